"""Submit a run over AMQP and watch it to its end, with nothing of Warrener: aio-pika, JSON and an HMAC."""

import asyncio
import hashlib
import hmac
import json
import os
import uuid
from pathlib import Path

import aio_pika

WORKFLOW = {"workflow": "hello", "params": {"name": "world"},
            "tasks": {"greet": {"job": {"argv": ["echo", "Hello, {{ params.name }}!"]}}}}  # fmt: skip


async def main(secret: bytes) -> None:
    key = f"hello-{uuid.uuid4()}"  # submit the same key again, and it is the same run
    runs = [{"key": key, "params": {"name": "AMQP"}}]
    body = json.dumps({"kind": "submit/1", "owner": "ada", "workflow": WORKFLOW, "runs": runs}).encode()
    signature = hmac.new(secret, body, hashlib.sha256).hexdigest()
    async with await aio_pika.connect(os.environ["WARRENER_BROKER"]) as connection:
        channel = await connection.channel()  # with publisher confirms
        replies = await channel.declare_queue(f"replies.{uuid.uuid4().hex}", exclusive=True)
        events = await channel.declare_queue(f"events.{uuid.uuid4().hex}", exclusive=True)
        await events.bind("warrener.events", "runs")  # before submitting, so that nothing is missed
        submissions = await channel.get_exchange("warrener.reports")
        message = aio_pika.Message(
            body, type="submit/1", message_id=uuid.uuid4().hex, reply_to=replies.name, correlation_id=key,
            headers={"signature": signature}, delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )  # fmt: skip
        await submissions.publish(message, "submissions", mandatory=True)
        async with replies.iterator(timeout=30) as answers:
            (result,) = json.loads((await anext(answers)).body)["results"]  # sent after the commit
        print(result)
        async with events.iterator(timeout=60, no_ack=True) as heard:
            async for delivery in heard:
                for event in json.loads(delivery.body)["events"]:
                    if event["run"] == result.get("run"):
                        print(event["state"])
                        if event["state"] in ("succeeded", "failed", "cancelled"):
                            return


asyncio.run(main(bytes.fromhex(Path(os.environ["WARRENER_KEYS"], "submit.key").read_text().strip())))
