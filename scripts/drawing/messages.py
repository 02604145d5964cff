"""Writes the AMQP contract as AsyncAPI 3.0, in docs/asyncapi.yaml, from the message types and the topology."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import yaml
from pydantic.json_schema import models_json_schema

from drawing.marked import draw
from warrener import messages, topology
from warrener.broker import Queue
from warrener.brokers import amqp_topology
from warrener.messages import KINDS, Body

FILE = "asyncapi.yaml"
_HEAD = "# Drawn by scripts/draw-messages from warrener.messages and warrener.topology; do not edit.\n"
_ABOUT = """\
The AMQP contract of Warrener, for clients and workers in any language. docs/amqp.md explains it. `send` and `receive`
are said from the side of Warrener's scheduler, gateway and workers: a client sends what Warrener receives.
"""


@dataclass(frozen=True, slots=True)
class _Way:
    """Bodies that travel over one exchange by one key, who sends them, and the queue that they reach."""

    name: str
    exchange: str
    key: str
    queue: Queue
    sender: str
    bodies: tuple[type[Body], ...]
    says: str


_WAYS = (
    _Way("submissions", topology.REPORTS, "submissions", topology.SUBMISSIONS, "client",
         (messages.Submit, messages.CancelRuns), "Runs asked for, or wanted gone; signed with submit.key."),
    _Way("orders", topology.ORDERS, "{lane}", topology.orders("{lane}"), "scheduler", (messages.Orders,),
         "Work to do, signed with orders.key. Lanes: `env`, `stage`, `job`, `call.<app>`, `worker.<worker>`."),
    _Way("reports", topology.REPORTS, "{shard}", topology.reports(0), "worker",
         (messages.Claims, messages.Reports, messages.Logs), "What workers say to the owner of a shard."),
    _Way("answers", topology.REPORTS, "answers.{worker}", topology.answers("{worker}"), "scheduler",
         (messages.Answers,), "What owners tell one worker."),
    _Way("alerts", topology.REPORTS, "alerts", topology.ALERTS, "worker", (messages.AlertNote,),
         "What admins should know, from programs without a store."),
    _Way("heartbeats", topology.CONTROL, "heartbeat", topology.control("{who}", "heartbeat"), "worker",
         (messages.Heartbeat,), "Who is alive, with what room, holding which attempts."),
    _Way("rollcalls", topology.CONTROL, "rollcall", topology.control("{who}", "rollcall"), "scheduler",
         (messages.RollCall,), "A scheduler asks every worker for a heartbeat now."),
    _Way("wakes", topology.CONTROL, "wake", topology.control("{who}", "wake"), "gateway", (messages.Wake,),
         "Something was written for the owners of these shards."),
    _Way("demands", topology.CONTROL, "demand", topology.control("{who}", "demand"), "scheduler", (messages.Demand,),
         "What a scheduler wants of each lane: for other schedulers, workers of several kinds, and elastic."),
    _Way("pools", topology.CONTROL, "elastic", topology.control("{who}", "elastic"), "elastic", (messages.Elastic,),
         "What is done about one pool of workers, and why."),
    _Way("members", topology.CONTROL, "member", topology.control("{who}", "member"), "gossip", (messages.Members,),
         "What gossip says about the members of the pool."),
    _Way("run-events", topology.EVENTS, "runs", topology.events("{who}", "runs"), "scheduler", (messages.Events,),
         "A run changed its state. Kept in the outbox until confirmed: at least once."),
    _Way("task-events", topology.EVENTS, "tasks", topology.events("{who}", "tasks"), "scheduler", (messages.Events,),
         "A task changed its state. Sent once: one may be missing."),
)  # fmt: skip


def contract() -> dict[str, Any]:
    """Return the whole document."""
    channels = {way.name: _channel(way) for way in _WAYS}
    channels["replies"] = {
        "description": "The queue that a submission names in `reply_to`, reached through the default exchange.",
        "address": None,
        "messages": {"accepted": {"$ref": "#/components/messages/accepted"}},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Warrener", "version": version("warrener"), "description": _ABOUT},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": _operations(),
        "components": {"messages": _messages(), "schemas": _schemas()},
    }


def _name(body: type[Body]) -> str:
    return body.KIND.partition("/")[0]


def _channel(way: _Way) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "description": way.says,
        "address": way.key,
        "messages": {_name(body): {"$ref": f"#/components/messages/{_name(body)}"} for body in way.bodies},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {"name": way.exchange, "type": topology.EXCHANGES[way.exchange], "durable": True},
                "bindingVersion": "0.3.0",
            }
        },
        "x-queue": _queue(way),
    }
    if "{" in way.key:
        parameter = way.key.partition("{")[2].partition("}")[0]
        channel["parameters"] = {parameter: {"description": _PARAMETERS[parameter]}}
    return channel


_PARAMETERS = {
    "lane": "`env`, `stage`, `job`, `call.<app>` or `worker.<worker>`",
    "shard": "a number from 0: the shard that the run's id carries",
    "worker": "the worker's name, 1 to 64 of a-z, 0-9 and -",
}


def _queue(way: _Way) -> dict[str, Any]:
    """Say how the queue is declared; AsyncAPI's binding has no place for its arguments."""
    name = "reports.{shard}" if way.name == "reports" else way.queue.name
    return {
        "name": name,
        "durable": not way.queue.exclusive,
        "exclusive": way.queue.exclusive,
        "arguments": dict(amqp_topology._arguments(way.queue, quorum=False)),  # noqa: SLF001 - the one place that knows
    }


def _operations() -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for way in _WAYS:
        action: Literal["send", "receive"] = "receive" if way.sender == "client" else "send"
        operations[f"{action}-{way.name}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{way.name}"},
            "summary": f"Sent by: {way.sender}",
            "messages": [{"$ref": f"#/channels/{way.name}/messages/{_name(body)}"} for body in way.bodies],
        }
    operations["receive-submissions"]["reply"] = {
        "address": {"location": "$message.header#/reply_to", "description": "A queue of the client's own."},
        "channel": {"$ref": "#/channels/replies"},
        "messages": [{"$ref": "#/channels/replies/messages/accepted"}],
    }
    return operations


def _messages() -> dict[str, Any]:
    signed: dict[type[Body], str] = {
        messages.Submit: "hex of HMAC-SHA256(submit.key, body)",
        messages.CancelRuns: "hex of HMAC-SHA256(submit.key, body)",
        messages.Orders: "hex of the Ed25519 signature of the body; check it with orders.pub",
    }
    return {_name(body): _message(body, signed.get(body)) for body in KINDS.values()}


def _message(body: type[Body], signature: str | None) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": body.KIND,
        "summary": (inspect.getdoc(body) or "").split("\n\n")[0].replace("\n", " "),
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{body.__name__}"},
        "bindings": {"amqp": {"messageType": body.KIND, "bindingVersion": "0.3.0"}},
    }
    if signature:
        headers = {"signature": {"type": "string", "description": signature}}
        message["headers"] = {"type": "object", "required": ["signature"], "properties": headers}
    return message


def _schemas() -> dict[str, Any]:
    wanted = [(body, "validation") for body in KINDS.values()]
    _, found = models_json_schema(wanted, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schemas: dict[str, Any] = found["$defs"]
    for body in KINDS.values():
        schemas[body.__name__]["required"] = sorted({"kind", *schemas[body.__name__].get("required", [])})
    return schemas


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the same value twice is written twice
        return True


def page(_was: str) -> str:
    """Return the file."""
    return _HEAD + yaml.dump(contract(), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=118)


if __name__ == "__main__":
    sys.exit(draw("messages", {FILE: page}))
