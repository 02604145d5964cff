"""A host dies, by real gossip: the mail is there within 20 s, and one when it is back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fleet.serf import private_serf
from mailserver import Authority, mail_server
from warrener.brokers.memory import MemoryBroker
from warrener.messages import Members, decode
from warrener.settings import Settings
from warrener.topology import control
from warrener_services.gossip.__main__ import run

MAILED_WITHIN_S = 20.0


@pytest.mark.serf
@pytest.mark.slow
async def test_a_hosts_death_is_in_a_mail_within_20_s(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with (
        private_serf(tmp_path / "a", "warren-1") as first,
        private_serf(tmp_path / "b", "warren-2", join=first.address, tags={"site": "lab"}) as second,
        mail_server(tls=authority.server("127.0.0.1")) as server,
    ):
        settings = Settings(
            state=tmp_path / "state", broker="memory://", gossip=first.rpc_url, store=f"sqlite:///{tmp_path / 'a.db'}",
            mail_servers=(f"smtp://127.0.0.1:{server.port}",), mail_ca=authority.file,
            mail_from="warrener@lab.example", mail_to=("ada@example.org",), health="off",
        )  # fmt: skip
        broker = MemoryBroker()
        program = asyncio.create_task(run(settings, broker))
        try:
            await _until_seen(broker, "warren-1", "warren-2")
            await asyncio.to_thread(second.kill)
            died_s = asyncio.get_running_loop().time()
            (mail,) = await server.until_mails(1)
            assert asyncio.get_running_loop().time() - died_s < MAILED_WITHIN_S
            assert mail["Subject"] == "[warrener] Host failed: warren-2, site lab"
            await asyncio.to_thread(second.start)
            await server.until(lambda: any("(over)" in mail["Subject"] for mail in server.mails))
        finally:
            program.cancel()
            await asyncio.wait([program])
            await broker.close()


async def _until_seen(broker: MemoryBroker, *names: str) -> None:
    """Wait until the gossip program tells of these members."""
    ear = await broker.subscribe([control("a-scheduler", "member")], prefetch=10)
    seen: set[str] = set()
    async with asyncio.timeout(30):
        while not seen.issuperset(names):
            for delivery in await ear.take(10):
                message = decode(delivery.kind, delivery.body, Members)
                seen |= {member.name for member in message.members if member.status == "alive"}
                await ear.settle([delivery])
    await ear.close()
