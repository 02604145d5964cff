"""Real Serf agents: what the client, the gossip and the program `gossip` make of joins, deaths and absences."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from datetime import timedelta
from random import Random

import pytest

from fleet.process import free_port
from fleet.serf import SerfAgent, private_serf
from warrener.broker import Message
from warrener.brokers.memory import MemoryBroker
from warrener.errors import GossipUnavailable
from warrener.gossip import Change, Member, Status
from warrener.gossips import open_gossip
from warrener.gossips.serf import SerfGossip
from warrener.membership import News, Notice, Picture, after
from warrener.messages import Members, MemberSeen, RollCall, decode, encode
from warrener.serfrpc import (
    CommandRejected,
    ConnectionLost,
    EventStream,
    KeyRejected,
    MalformedAnswer,
    MemberEvent,
    NoAnswer,
    OtherEvent,
    QueryAck,
    QueryEvent,
    QueryResponse,
    SerfClient,
    TooSlow,
    UserEvent,
)
from warrener.topology import CONTROL, control
from warrener_services.gossip.service import GossipService

pytestmark = pytest.mark.serf

FAILURE_KNOWN_WITHIN_S = 15.0


async def client_of(agent: SerfAgent, **more: object) -> SerfClient:
    return await SerfClient.connect("127.0.0.1", agent.rpc_port, auth_key=agent.rpc_auth, **more)


@pytest.fixture
async def serf(serf_agent: SerfAgent) -> AsyncIterator[SerfClient]:
    async with await client_of(serf_agent) as client:
        yield client


# ── the client ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_members_can_be_filtered(serf, serf_agent):
    await serf.tags({"role": "job"})
    (own,) = await serf.members()
    assert (own.name, own.status, own.host, own.tags) == ("warren-1", "alive", "127.0.0.1", {"role": "job"})
    assert own.address == serf_agent.address
    assert await serf.members_filtered(tags={"role": "j.*"}, status="alive", name="warren.*") == (own,)
    assert await serf.members_filtered(tags={"role": "j"}) == ()
    assert await serf.members_filtered(status="failed") == ()
    await serf.tags({}, delete=["role"])


async def test_the_agent_tells_its_own_name(serf):
    assert (await serf.stats())["agent"]["name"] == "warren-1"


async def test_many_calls_at_once_each_get_their_own_answer(serf):
    calls = [serf.members() if n % 2 else serf.stats() for n in range(60)]
    for n, answer in enumerate(await asyncio.gather(*calls)):
        assert isinstance(answer, tuple if n % 2 else dict)


async def test_user_events_arrive_as_they_were_sent(serf):
    async with asyncio.timeout(10):
        stream = await serf.stream("user")
        await serf.event("deploy", b"\xff\x00payload")
        event = await anext(stream)
    assert isinstance(event, UserEvent)
    assert (event.name, event.payload, event.coalesce) == ("deploy", b"\xff\x00payload", False)


async def test_streams_get_their_own_types_and_end_when_stopped(serf):
    async with asyncio.timeout(10):
        users, members = await serf.stream("user:b"), await serf.stream("member-update")
        await serf.event("a")
        await serf.event("b")
        await serf.tags({"free": "1"})
        assert (await anext(users)).name == "b"
        update = await anext(members)
        assert isinstance(update, MemberEvent)
        assert (update.event, update.members[0].tags) == ("member-update", {"free": "1"})
        await serf.stop(users.seq)
        assert [event async for event in users] == []
        await serf.tags({}, delete=["free"])
        assert isinstance(await anext(members), MemberEvent)


async def test_a_query_is_heard_answered_and_over(serf_agent, serf):
    async with asyncio.timeout(20), await client_of(serf_agent) as other:
        heard = await other.stream("query")
        answers = await serf.query("where", b"\x00carrots", ack=True, within=timedelta(seconds=2))
        query = await anext(heard)
        assert isinstance(query, QueryEvent)
        assert (query.name, query.payload) == ("where", b"\x00carrots")
        await other.respond(query, b"in the \xff meadow")
        with pytest.raises(CommandRejected):
            await other.respond(query, b"twice")
        assert await answers.all() == ((QueryAck("warren-1"),), (QueryResponse("warren-1", b"in the \xff meadow"),))
        assert [answer async for answer in answers] == []


async def test_a_query_can_be_meant_for_some_and_end_without_an_answer(serf):
    async with asyncio.timeout(20):
        soon = timedelta(milliseconds=300)
        assert await (await serf.query("where", nodes=["nobody"], within=soon)).all() == ((), ())
        assert await (await serf.query("where", tags={"role": "hare"}, ack=True, within=soon)).all() == ((), ())
        with pytest.raises(CommandRejected, match="limit"):
            await serf.query("where", b"x" * 1100)
    assert len(await serf.members()) == 1


async def test_the_log_can_be_followed(serf_agent, serf):
    async with asyncio.timeout(20):
        lines = await serf.monitor("DEBUG")
        await serf.event("thump")
        async for line in lines:
            if "thump" in line or "user" in line:
                break
        with pytest.raises(CommandRejected):
            await serf.monitor()
        await serf.stop(lines.seq)
        async for _ in lines:
            pass


async def test_coordinates_of_members_are_told_where_agents_keep_them(tmp_path):
    async with private_serf(tmp_path, "there", coordinates=True) as agent, await client_of(agent) as client:
        own = await client.coordinate("there")
        assert own is not None
        assert len(own.vector) == 8
        assert own.height > 0
        assert await client.coordinate("nowhere") is None


async def test_keys_are_installed_used_and_removed(tmp_path):
    first, second = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
    async with private_serf(tmp_path, "locked", encrypt_key=first) as agent, await client_of(agent) as client:
        async with asyncio.timeout(60):
            assert dict((await client.list_keys()).keys) == {first: 1}
            report = await client.install_key(second)
            assert (report.members, report.responses, report.errors) == (1, 1, 0)
            assert dict((await client.list_keys()).keys) == {first: 1, second: 1}
            with pytest.raises(CommandRejected):
                await client.remove_key(first)
            await client.use_key(second)
            await client.remove_key(first)
            assert dict((await client.list_keys()).keys) == {second: 1}
            with pytest.raises(CommandRejected):
                await client.use_key(first)


async def test_keys_of_a_pool_without_encryption_are_refused_in_the_agents_words(serf):
    with pytest.raises(CommandRejected):
        await serf.list_keys()
    assert len(await serf.members()) == 1


async def test_waiting_for_an_event_can_be_given_up_without_losing_one(serf):
    stream = await serf.stream("user")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await anext(stream)
    await serf.event("late")
    async with asyncio.timeout(10):
        assert (await anext(stream)).name == "late"


async def test_a_refusal_is_told_in_the_agents_words_and_the_connection_goes_on(serf):
    with pytest.raises(CommandRejected, match="refused tags: Encoded length of tags exceeds limit of 512"):
        await serf.tags({"role": "x" * 600})
    with pytest.raises(CommandRejected, match=r"refused join: .*connection refused$"):
        await serf.join([f"127.0.0.1:{free_port()}"])
    assert len(await serf.members()) == 1


async def test_a_command_that_the_agent_does_not_know_ends_in_an_error_and_not_in_silence(serf):
    with pytest.raises(CommandRejected, match="Unsupported command"):
        await serf._ask("dig")
    with pytest.raises((ConnectionLost, CommandRejected)):
        await serf._ask("dig")


@pytest.mark.parametrize("key", ["wrong", "", None])
async def test_a_wrong_key_is_refused_and_not_shown(serf_agent, key):
    with pytest.raises(KeyRejected) as caught:
        async with await SerfClient.connect("127.0.0.1", serf_agent.rpc_port, auth_key=key) as client:
            await client.members()
    assert "wrong" not in str(caught.value)


async def test_the_key_is_in_no_log_and_no_repr(serf_agent, caplog):
    caplog.set_level(logging.DEBUG)
    gossip = open_gossip(serf_agent.rpc_url)
    async with await client_of(serf_agent) as client:
        await gossip.members()
        shown = repr(client) + repr(vars(client)) + repr(gossip) + repr(vars(gossip)) + caplog.text
    await gossip.close()
    assert serf_agent.rpc_auth not in shown


async def test_closing_fails_what_is_pending_and_ends_streams(serf_agent):
    client = await client_of(serf_agent)
    stream = await client.stream("user")
    waiting = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    await client.close()
    with pytest.raises(ConnectionLost, match="closed here"):
        await waiting
    with pytest.raises(ConnectionLost, match="closed here"):
        await client.members()
    await client.close()


async def test_an_agent_that_dies_fails_calls_and_streams(tmp_path):
    async with private_serf(tmp_path, "mortal") as agent, await client_of(agent) as client:
        stream = await client.stream()
        agent.kill()
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionLost, match=rf"127\.0\.0\.1:{agent.rpc_port} "):
                async for _ in stream:
                    pass
        with pytest.raises(ConnectionLost):
            await client.members()
        assert client.lost


async def test_a_frozen_agent_is_an_error_in_time(tmp_path):
    async with private_serf(tmp_path, "frozen") as agent:
        patience = timedelta(milliseconds=200)
        async with await client_of(agent, answer_within=patience) as client:
            agent.pause()
            with pytest.raises(NoAnswer, match=r"did not answer members within 0\.2 s"):
                await client.members()
            with pytest.raises(NoAnswer):
                await client_of(agent, answer_within=patience)
            agent.unpause()


async def test_an_answer_that_comes_too_late_is_dropped():
    async with odd_agent(late_answers) as port:
        patience = timedelta(milliseconds=100)
        async with await SerfClient.connect("127.0.0.1", port, answer_within=patience) as client:
            with pytest.raises(NoAnswer):
                await client.members()
            assert await client.stats() == {"agent": {"name": "odd"}}


async def test_what_is_no_serf_agent_is_an_error_and_not_silence():
    async with odd_agent(speaks_http) as port:
        with pytest.raises((MalformedAnswer, ConnectionLost)):
            await SerfClient.connect("127.0.0.1", port)


async def test_nobody_listening_is_an_error():
    with pytest.raises(ConnectionLost, match="cannot be reached"):
        await SerfClient.connect("127.0.0.1", free_port())


async def test_a_reader_that_is_too_slow_is_told_so_after_what_has_come(monkeypatch):
    monkeypatch.setattr("warrener.serfrpc.streams._MAX_WAITING", 2)
    stream = EventStream(seq=1)
    for n in range(4):
        stream.put(OtherEvent(f"e{n}"))
    assert [await anext(stream), await anext(stream)] == [OtherEvent("e0"), OtherEvent("e1")]
    for _ in range(2):
        with pytest.raises(TooSlow, match="take a full picture"):
            await anext(stream)


# ── the gossip ───────────────────────────────────────────────────────────────────────────────────────────────────


class Ear:
    """Follows a gossip as the program does, and lets a test wait for news."""

    def __init__(self, gossip: SerfGossip) -> None:
        self.picture = Picture()
        self.notices: list[Notice] = []
        self.fulls = 0
        self.absences = 0
        self._gossip = gossip
        self._heard = asyncio.Condition()

    async def listen(self) -> None:
        while True:
            with suppress(GossipUnavailable):
                async for change in self._gossip.changes():
                    await self._take(change)
            self.absences += 1
            await asyncio.sleep(0.1)

    async def _take(self, change: Change) -> None:
        async with self._heard:
            self.picture, notices = after(self.picture, change)
            self.notices += notices
            self.fulls += change.full
            self._heard.notify_all()

    async def until(self, condition: Callable[[Ear], bool], *, within_s: float = 60.0) -> None:
        async with asyncio.timeout(within_s), self._heard:
            await self._heard.wait_for(lambda: condition(self))

    async def until_news(self, name: str, news: News, *, within_s: float = 60.0) -> Member:
        await self.until(lambda ear: (name, news) in ear.said, within_s=within_s)
        return self.picture.members[name]

    @property
    def said(self) -> set[tuple[str, News]]:
        return {(notice.member.name, notice.news) for notice in self.notices}


@asynccontextmanager
async def ear_at(url: str) -> AsyncIterator[Ear]:
    gossip = open_gossip(url)
    assert isinstance(gossip, SerfGossip)
    ear = Ear(gossip)
    listening = asyncio.create_task(ear.listen())
    try:
        yield ear
    finally:
        listening.cancel()
        await asyncio.wait([listening])
        await gossip.close()


@pytest.mark.slow
async def test_a_pool_is_seen_as_it_grows_changes_and_shrinks(tmp_path):
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(private_serf(tmp_path, "first"))
        ear = await stack.enter_async_context(ear_at(first.rpc_url))
        await ear.until_news("first", News.JOINED)

        second = SerfAgent(tmp_path, "second", join=first.address, tags={"role": "job"})
        third = SerfAgent(tmp_path, "third")
        for agent in (second, third):
            stack.push_async_callback(asyncio.to_thread, agent.stop)
            await asyncio.to_thread(agent.start)
        beside_third = await stack.enter_async_context(await client_of(third))
        assert await beside_third.join([first.address]) == 1
        joined = await ear.until_news("second", News.JOINED)
        await ear.until_news("third", News.JOINED)
        assert joined == Member("second", Status.ALIVE, second.address, {"role": "job"})

        beside_second = open_gossip(second.rpc_url)
        await beside_second.tell({"free": "3", "role": None})
        await ear.until(lambda ear: ear.picture.members["second"].tags == {"free": "3"}, within_s=10)
        await beside_second.close()

        second.kill()
        failed = await ear.until_news("second", News.FAILED, within_s=FAILURE_KNOWN_WITHIN_S)
        assert failed.status is Status.FAILED

        await beside_third.leave()
        left = await ear.until_news("third", News.LEFT, within_s=15)
        assert left.status is Status.LEFT
        assert ("third", News.FAILED) not in ear.said

        async with await client_of(first) as beside_first:
            await beside_first.force_leave("second")
        await ear.until_news("second", News.LEFT, within_s=15)

        await asyncio.to_thread(second.start)
        back = await ear.until_news("second", News.BACK)
        assert back.status is Status.ALIVE


async def test_an_agent_that_is_away_at_start_is_heard_when_it_comes(tmp_path):
    agent = SerfAgent(tmp_path, "late")
    async with ear_at(agent.rpc_url) as ear:
        gossip = open_gossip(agent.rpc_url)
        with pytest.raises(GossipUnavailable, match="cannot be reached"):
            await gossip.own_name()
        try:
            await asyncio.to_thread(agent.start)
            await ear.until_news("late", News.JOINED)
            assert await gossip.own_name() == "late"
        finally:
            await gossip.close()
            await asyncio.to_thread(agent.stop)


async def test_an_agent_that_comes_back_gives_the_full_picture_anew(tmp_path):
    async with private_serf(tmp_path, "again") as agent, ear_at(agent.rpc_url) as ear:
        beside = open_gossip(agent.rpc_url)
        await beside.tell({"free": "3"})
        await ear.until(lambda ear: "again" in ear.picture.here)
        absences, fulls = ear.absences, ear.fulls
        agent.kill()
        with pytest.raises(GossipUnavailable):
            await beside.tell({"free": "2"})
        await asyncio.to_thread(agent.start)
        await ear.until(lambda ear: ear.absences > absences and ear.fulls > fulls)
        await beside.tell({"free": "2"})
        await ear.until(lambda ear: ear.picture.members["again"].tags == {"free": "2"}, within_s=10)
        await beside.close()


async def test_a_frozen_agent_ends_the_changes_when_the_picture_is_due(tmp_path):
    async with private_serf(tmp_path, "frozen") as agent:
        soon = timedelta(milliseconds=200)
        gossip = SerfGossip("127.0.0.1", agent.rpc_port, auth_key=agent.rpc_auth, full_every=soon, answer_within=soon)
        async with asyncio.timeout(10), aclosing(gossip.changes()) as changes:
            await anext(changes)
            agent.pause()
            with pytest.raises(GossipUnavailable, match="did not answer members"):
                async for _ in changes:
                    pass
            agent.unpause()
            while not await are_there(gossip):
                await asyncio.sleep(0.01)
        await gossip.close()


async def test_a_wrong_key_says_which_setting_to_correct(serf_agent):
    gossip = SerfGossip("127.0.0.1", serf_agent.rpc_port, auth_key="wrong")
    for asking in (gossip.members(), gossip.tell({"a": "b"}), anext(gossip.changes())):
        with pytest.raises(GossipUnavailable, match=r"refused the key: .*WARRENER_GOSSIP") as caught:
            await asking
        assert "wrong" not in str(caught.value)
    await gossip.close()


async def are_there(gossip: SerfGossip) -> bool:
    try:
        return bool(await gossip.members())
    except GossipUnavailable:
        return False


# ── the program ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_program_publishes_what_the_agent_says_through_its_restart(tmp_path):
    agent = SerfAgent(tmp_path, "lonely")
    gossip, broker = open_gossip(agent.rpc_url), MemoryBroker()
    ear = await broker.subscribe([control("scheduler-1", "member")], prefetch=1000)
    service = GossipService(gossip=gossip, broker=broker, who="gossip-1", rng=Random(1), first_pause_s=0.05)

    async def heard(status: str, **tags: str) -> None:
        wanted = MemberSeen(name="lonely", status=status, address=agent.address, tags=tags)
        while True:
            (delivery,) = await ear.take(1)
            if wanted in decode(delivery.kind, delivery.body, Members).members:
                return

    running = asyncio.create_task(service.run())
    try:
        async with asyncio.timeout(60):
            await asyncio.to_thread(agent.start)
            await heard("alive")
            await gossip.tell({"free": "3"})
            await heard("alive", free="3")
            body = encode(RollCall())
            await broker.publish(Message(CONTROL, "rollcall", RollCall.KIND, body, "m1", mandatory=False))
            await heard("alive", free="3")
            await asyncio.to_thread(agent.kill)
            await asyncio.to_thread(agent.start)
            await heard("alive")
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.wait([running])
        await broker.close()
        await gossip.close()
        await asyncio.to_thread(agent.stop)


# ── agents that behave oddly ─────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def odd_agent(talk) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def speaks_http(reader, writer) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()


async def late_answers(reader, writer) -> None:
    """Answer the handshake; then the members only when the stats are asked for."""
    await reader.read(1000)
    writer.write(packed({"Seq": 1, "Error": ""}))
    await reader.read(1000)
    await reader.read(1000)
    writer.write(packed({"Seq": 2, "Error": ""}, {"Members": []}))
    writer.write(packed({"Seq": 3, "Error": ""}, {"agent": {"name": "odd"}}))
    await writer.drain()
    await reader.read(1000)


def packed(*items: object) -> bytes:
    import msgpack

    return b"".join(msgpack.packb(item, use_bin_type=False) for item in items)
