"""Gossip through the Serf agent beside this program.

Two connections: a stalled stream would stall the commands of its connection. The agent drops events for a
slow reader without a sign, so the full picture is fetched every ten seconds, and again after every
reconnection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from typing import Any, Self, TypeAlias, TypeVar

from warrener.errors import GossipUnavailable, Refused, WarrenerError, plain_words
from warrener.gossip import Change, Member, Status
from warrener.serfrpc import (
    CommandRejected,
    Event,
    EventStream,
    KeyRejected,
    MemberEvent,
    QueryEvent,
    SerfClient,
    SerfError,
    SerfMember,
    UserEvent,
)

T = TypeVar("T")

Find: TypeAlias = Callable[[], tuple[str, int, str | None]]
"""Finds an agent's RPC address and key; raises GossipUnavailable when there is none now."""

_MEMBER_EVENTS = ("member-join", "member-leave", "member-failed", "member-update", "member-reap")


class SerfGossip:
    """The pool as one agent sees it. Connects when first asked; after a loss, when next asked."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        auth_key: str | None = None,
        full_every: timedelta = timedelta(seconds=10),
        answer_within: timedelta = timedelta(seconds=5),
    ) -> None:
        self._where = f"{host}:{port}"
        self._find: Find = lambda: (host, port, auth_key)
        self._full_every_s = full_every.total_seconds()
        self._answer_within = answer_within
        self._commands: SerfClient | None = None
        self._connecting = asyncio.Lock()
        self._streaming: set[SerfClient] = set()
        self._closed = False

    @classmethod
    def found_by(cls, find: Find, where: object) -> Self:
        """Make one whose agent is looked for at every connection; `where` is for people."""
        gossip = cls("", 0)
        gossip._find, gossip._where = find, str(where)
        return gossip

    def __repr__(self) -> str:
        return f"SerfGossip({self._where})"

    async def members(self) -> Sequence[Member]:
        return _members(await self._command(SerfClient.members))

    async def changes(self) -> AsyncIterator[Change]:
        loop = asyncio.get_running_loop()
        # The stream begins before the picture is taken: nothing can happen unseen between the two.
        async with self._stream(*_MEMBER_EVENTS) as (_, events):
            while True:
                yield Change(await self.members(), full=True)
                deadline = loop.time() + self._full_every_s
                while (change := await self._next(events, deadline)) is not None:
                    yield change

    async def own_name(self) -> str | None:
        return (await self.stats()).get("agent", {}).get("name")

    async def stats(self) -> dict[str, dict[str, str]]:
        """Return the agent's own figures, by section; raises GossipUnavailable."""
        return await self._command(SerfClient.stats)

    async def told(self) -> Mapping[str, str]:
        return (await self.stats()).get("tags", {})

    async def ask(self, name: str, *, within: timedelta = timedelta(seconds=2)) -> Sequence[tuple[str, bytes]]:
        """Ask the pool; return who has answered, and what. Best effort; raises GossipUnavailable."""
        with self._translating():
            client = await self._connect()
            try:
                async with asyncio.timeout((within + self._answer_within).total_seconds()):
                    _, answers = await (await client.query(name, within=within)).all()
            except TimeoutError:
                return ()
            finally:
                await client.close()
        return [(answer.member, answer.payload) for answer in answers]

    async def answer(self, name: str, payload: Callable[[], bytes]) -> None:
        """Answer the pool's queries of this name until cancelled; raises GossipUnavailable when the agent goes."""
        async with self._stream(f"query:{name}") as (client, events):
            with self._translating():
                async for query in events:
                    if isinstance(query, QueryEvent):
                        with suppress(CommandRejected):  # it came too late
                            await client.respond(query, payload())

    async def announce(self, name: str, payload: bytes) -> None:
        """Send a user event to the pool: best effort. Raises GossipUnavailable, and Refused if it is too large."""
        await self._command(lambda serf: serf.event(name, payload), refusal=Refused)

    async def announcements(self, name: str) -> AsyncIterator[bytes]:
        """Yield the payloads of user events of this name; raises GossipUnavailable when the agent goes."""
        async with self._stream(f"user:{name}") as (_, events):
            with self._translating():
                async for event in events:
                    if isinstance(event, UserEvent):
                        yield event.payload

    async def tell(self, tags: Mapping[str, str | None]) -> None:
        values = {name: value for name, value in tags.items() if value is not None}
        gone = [name for name, value in tags.items() if value is None]
        await self._command(lambda serf: serf.tags(values, delete=gone), refusal=Refused)

    async def close(self) -> None:
        self._closed = True
        for client in list(self._streaming):
            await client.close()
        async with self._connecting:
            if self._commands is not None:
                await self._commands.close()

    async def _command(
        self,
        ask: Callable[[SerfClient], Coroutine[Any, Any, T]],
        *,
        refusal: type[WarrenerError] = GossipUnavailable,
    ) -> T:
        with self._translating(refusal):
            client = await self._command_connection()
            try:
                return await ask(client)
            except CommandRejected:
                raise
            except SerfError:
                # An agent that does not answer may hang with this connection only: begin with a fresh one.
                await client.close()
                raise

    async def _command_connection(self) -> SerfClient:
        async with self._connecting:
            if self._commands is None or self._commands.lost:
                if self._commands is not None:
                    await self._commands.close()
                self._commands = await self._connect()
            return self._commands

    async def _connect(self) -> SerfClient:
        if self._closed:
            raise GossipUnavailable("this gossip was closed")
        host, port, auth_key = self._find()
        return await SerfClient.connect(host, port, auth_key=auth_key, answer_within=self._answer_within)

    @asynccontextmanager
    async def _stream(self, *types: str) -> AsyncIterator[tuple[SerfClient, EventStream]]:
        with self._translating():
            client = await self._connect()
        self._streaming.add(client)
        try:
            with self._translating():
                events = await client.stream(*types)
            yield client, events
        finally:
            self._streaming.discard(client)
            await client.close()

    async def _next(self, events: EventStream, deadline: float) -> Change | None:
        """Wait for a change; None when it is time for the full picture."""
        try:
            with self._translating():
                async with asyncio.timeout_at(deadline):
                    return _change(await anext(events))
        except TimeoutError:
            return None

    @contextmanager
    def _translating(self, refusal: type[WarrenerError] = GossipUnavailable) -> Iterator[None]:
        try:
            yield
        except KeyRejected as error:
            raise GossipUnavailable(
                f"the Serf agent at {self._where} refused the key: {error.reason}; "
                "put its rpc_auth into WARRENER_GOSSIP, as serf://key@host:port"
            ) from error
        except CommandRejected as error:
            raise refusal(str(error)) from error
        except SerfError as error:
            raise GossipUnavailable(_plain(error)) from error


def _plain(error: SerfError) -> str:
    subject, colon, reason = str(error).partition(": ")
    return f"{subject}{colon}{plain_words(reason)}"


def _change(event: Event) -> Change | None:
    """Read an event; None asks for the full picture, as a forgotten member can only be missing there."""
    if isinstance(event, MemberEvent) and event.event != "member-reap":
        return Change(_members(event.members), full=False)
    return None


def _members(members: Sequence[SerfMember]) -> tuple[Member, ...]:
    known = frozenset(Status)
    return tuple(
        Member(member.name, Status(member.status), member.address, member.tags)
        for member in members
        if member.status in known  # `none` is one that the agent has only heard of
    )
