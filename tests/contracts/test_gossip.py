"""What every gossip promises, on every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta

import pytest

from fleet.serf import SerfAgent
from warrener.errors import GossipUnavailable, InvalidSettings, Refused
from warrener.gossip import Change, Gossip, Member, Status
from warrener.gossips import open_gossip
from warrener.gossips.serf import SerfGossip
from warrener.gossips.static import StaticGossip

SOON = timedelta(milliseconds=300)


@dataclass(frozen=True)
class Pool:
    """A gossip over a pool with at least the member `own`."""

    gossip: Gossip
    own: str


@pytest.fixture(params=["static", pytest.param("serf", marks=pytest.mark.serf)])
async def pool(request: pytest.FixtureRequest) -> AsyncIterator[Pool]:
    if request.param == "static":
        member = Member("warren-1", Status.ALIVE, "127.0.0.1:7946")
        gossip: Gossip = StaticGossip([member], own_name=member.name, full_every=SOON)
        yield Pool(gossip, member.name)
        await gossip.close()
        return
    agent: SerfAgent = request.getfixturevalue("serf_agent")
    gossip = SerfGossip("127.0.0.1", agent.rpc_port, auth_key=agent.rpc_auth, full_every=SOON)
    yield Pool(gossip, agent.name)
    mender = SerfGossip("127.0.0.1", agent.rpc_port, auth_key=agent.rpc_auth)
    await mender.tell({"role": None, "free": None})
    await mender.close()
    await gossip.close()


async def test_members_are_there_with_status_and_address(pool):
    (member,) = [m for m in await pool.gossip.members() if m.name == pool.own]
    assert member.status is Status.ALIVE
    assert member.address.startswith("127.0.0.1:")


async def test_its_own_name_is_that_of_a_member(pool):
    assert await pool.gossip.own_name() == pool.own


async def test_what_was_told_can_be_read_back(pool):
    await pool.gossip.tell({"free": "3"})
    assert dict(await pool.gossip.told()) == {"free": "3"}
    await pool.gossip.tell({"free": None})
    assert dict(await pool.gossip.told()) == {}


async def test_the_full_picture_comes_first_and_again(pool):
    async with aclosing(pool.gossip.changes()) as changes, asyncio.timeout(10):
        first = await anext(changes)
        assert first.full
        assert pool.own in {member.name for member in first.members}
        async for change in changes:
            if change.full:
                break


async def test_tags_that_are_told_are_seen_and_removed(pool):
    await pool.gossip.tell({"role": "job", "free": "3"})
    assert await own_tags(pool) == {"role": "job", "free": "3"}
    await pool.gossip.tell({"role": None, "free": "2"})
    assert await own_tags(pool) == {"free": "2"}


async def test_removing_a_tag_that_is_not_there_does_nothing(pool):
    await pool.gossip.tell({"never": None})
    assert await own_tags(pool) == {}


async def test_told_tags_come_as_a_change(pool):
    async with aclosing(pool.gossip.changes()) as changes, asyncio.timeout(10):
        await anext(changes)
        await pool.gossip.tell({"role": "stage"})
        async for change in changes:
            if not change.full:
                break
    (member,) = change.members
    assert member.tags == {"role": "stage"}


async def test_tags_that_are_too_long_are_refused_and_change_nothing(pool):
    await pool.gossip.tell({"free": "1"})
    with pytest.raises(Refused, match="512"):
        await pool.gossip.tell({"role": "x" * 600})
    assert await own_tags(pool) == {"free": "1"}


async def test_the_longest_tags_that_are_carried_are_the_same(pool):
    await pool.gossip.tell({"role": "w", "free": "x" * 495})
    with pytest.raises(Refused):
        await pool.gossip.tell({"role": "w", "free": "x" * 496})


async def test_several_watchers_see_the_same(pool):
    async with (
        aclosing(pool.gossip.changes()) as one,
        aclosing(pool.gossip.changes()) as other,
        asyncio.timeout(10),
    ):
        assert await anext(one) == await anext(other)


async def test_closing_ends_watchers_and_commands_with_gossip_unavailable(pool):
    seen = asyncio.Event()

    async def watch() -> None:
        async for _ in pool.gossip.changes():
            seen.set()

    async with asyncio.timeout(10):
        watching = asyncio.create_task(watch())
        await seen.wait()
        await pool.gossip.close()
        with pytest.raises(GossipUnavailable):
            await watching
        with pytest.raises(GossipUnavailable):
            await pool.gossip.members()
        await pool.gossip.close()


async def own_tags(pool: Pool) -> dict[str, str]:
    (member,) = [member for member in await pool.gossip.members() if member.name == pool.own]
    return dict(member.tags)


async def test_gossip_without_agents_has_no_name_and_takes_no_tags():
    gossip = open_gossip("static://")
    assert await gossip.own_name() is None
    await gossip.tell({"role": "job"})
    assert await gossip.members() == ()
    assert await anext(gossip.changes()) == Change((), full=True)


async def test_opening_waits_for_nothing_and_hides_the_key():
    gossip = open_gossip("serf://s3cr%40t@127.0.0.1:1")
    assert "s3cr" not in repr(gossip) + repr(vars(gossip))
    with pytest.raises(GossipUnavailable, match=r"127\.0\.0\.1:1 cannot be reached"):
        await gossip.members()
    await gossip.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "serf://s3cr@host",
        "serf://s3cr@:7373",
        "serf://s3cr@host:many",
        "serf://s3cr/t@host:7373",
        "serf://s3cr@host:7373/more",
        "serf://s3cr@[host:7373",
        "consul://s3cr@host:8500",
        "static://s3cr",
        "memory://",
    ],
)
def test_another_url_is_refused_by_name_and_without_the_key(url):
    with pytest.raises(InvalidSettings, match=r"WARRENER_GOSSIP: .*serf://\[key@\]host:port") as caught:
        open_gossip(url)
    assert "s3cr" not in str(caught.value)
    assert caught.value.__cause__ is None
