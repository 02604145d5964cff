"""Raising alerts from a program without a store: as a message, which the broker keeps until a desk takes it."""

from __future__ import annotations

from datetime import datetime
from random import Random

from warrener.alerts import Alert
from warrener.broker import Broker, Message
from warrener.errors import Unroutable
from warrener.ids import new_token
from warrener.messages import AlertNote, encode
from warrener.topology import ALERTS, REPORTS


def alert_message(alert: Alert, at: datetime, *, message_id: str) -> Message:
    """Write an alert as the message that takes it to the desk. The same id again changes nothing."""
    return Message(REPORTS, "alerts", AlertNote.KIND, encode(AlertNote.of(alert, at)), message_id)


async def send_alert(broker: Broker, alert: Alert, at: datetime, rng: Random) -> None:
    """Send an alert; returns when the broker has it. Raises BrokerUnavailable: send it again, or log it."""
    message = alert_message(alert, at, message_id=new_token(rng))
    try:
        await broker.publish(message)
    except Unroutable:  # no desk was ever there; who may declare nothing is told so
        await broker.declare([ALERTS])
        await broker.publish(message)
