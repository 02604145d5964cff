"""A Serf agent that Warrener starts beside its programs, and keeps running.

    async with agent_of(settings) as told:       # `told.gossip` is the agent's URL, if an agent was asked for
        ...

The agent is a child of this process and dies with it, so that its silence tells of the program's death. It is
started again when it ends, or when it has not answered three times; after growing pauses, as what is wrong is mostly
so for a while. It joins its seeds again every minute: after a split that lasted longer than Serf's own patience
(72 hours) nobody else would. What is wrong with it is read from its log, and told in a sentence, once. Nothing of
this ever stops the program: gossip is a hint.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from random import Random, SystemRandom

import structlog

from warrener.errors import InvalidSettings
from warrener.gossips.agent_folder import AgentFolder
from warrener.gossips.agent_plan import LOOPBACK, AgentPlan, configuration, free_port, plan_of
from warrener.gossips.agent_words import Told, Trouble, joined_by, told_by
from warrener.ids import new_token
from warrener.serfrpc import SerfClient, SerfError
from warrener.settings import Settings

log = structlog.get_logger("warrener.agent")

LEAVING_S = 4.0
"""What a planned end takes: the others are told, and pass it on."""

_READY_WITHIN_S = 10.0
_ENDING_WITHIN_S = 5.0
_TELL_AGAIN_S = 600.0
_LAST_LINES = 5


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an agent may take, in seconds; tests are less patient."""

    check_every_s: float = 10.0
    answer_within_s: float = 5.0
    misses: int = 3
    rejoin_every_s: float = 60.0
    first_pause_s: float = 1.0
    longest_pause_s: float = 60.0


@asynccontextmanager
async def agent_of(settings: Settings) -> AsyncIterator[Settings]:
    """Run the agent that the settings ask for, if any; lend settings whose gossip is that agent.

    Raises InvalidSettings. Leaving takes a few seconds, which are taken from `stop_timeout`.
    """
    if not settings.agent and not settings.join:
        yield settings
        return
    plan = await plan_of(settings)
    stop_timeout = settings.stop_timeout - timedelta(seconds=LEAVING_S)
    async with running_agent(plan) as agent:
        yield settings.model_copy(
            update={
                "gossip": agent.url,
                "stop_timeout": max(stop_timeout, settings.stop_timeout / 2),
            }
        )


@asynccontextmanager
async def running_agent(
    plan: AgentPlan, *, patience: Patience | None = None, rng: Random | None = None
) -> AsyncIterator[Agent]:
    """Run an agent for as long as the context lasts; waits a moment for its first answer. Raises InvalidSettings."""
    agent = Agent(plan, serf_program(), patience or Patience(), rng or SystemRandom())
    with agent.folder.held():
        running = asyncio.create_task(agent.run(), name="the Serf agent")
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_READY_WITHIN_S):
                    await agent.ready.wait()
            yield agent
        finally:
            running.cancel()
            await asyncio.wait([running])
            if not running.cancelled() and (error := running.exception()) is not None:
                log.error("the supervisor of the Serf agent broke", exc_info=error)


def serf_program() -> str:
    """Return where Serf is on this host; raises InvalidSettings."""
    found = shutil.which("serf")
    if found is None:
        raise InvalidSettings(
            "WARRENER_AGENT: there is no program `serf` on the PATH of this host; install it (Debian and Ubuntu:"
            " apt-get install serf), or unset WARRENER_AGENT to do without gossip"
        )
    return found


class Agent:
    """One agent and its supervisor; `run` keeps it running."""

    def __init__(self, plan: AgentPlan, program: str, patience: Patience, rng: Random) -> None:
        self.plan = plan
        self.folder = AgentFolder(plan.folder)
        self.ready = asyncio.Event()
        """Set once the agent has answered."""
        self.name = ""
        """The member's name."""
        self._program = program
        self._patience = patience
        self._rng = rng
        self._rpc: tuple[int, str] = (0, "")
        self._told: dict[Trouble, tuple[str, float]] = {}
        self._last: deque[str] = deque(maxlen=_LAST_LINES)

    @property
    def url(self) -> str:
        """What WARRENER_GOSSIP is to be, for programs of this host and user."""
        return f"agent://{self.folder.path}"

    async def run(self) -> None:
        """Keep the agent running until cancelled; then have it leave."""
        patience, loop = self._patience, asyncio.get_running_loop()
        pause_s = patience.first_pause_s
        while True:
            began_s = loop.time()
            try:
                why = await self._one_life()
            finally:
                self.folder.forget_url()
            if loop.time() - began_s > patience.longest_pause_s:
                pause_s = patience.first_pause_s
            log.warning("the Serf agent ended; it is started again", reason=why, seconds=round(pause_s, 1))
            await asyncio.sleep(pause_s * self._rng.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, patience.longest_pause_s)

    async def _one_life(self) -> str:
        """Run the agent until it ends, or has to be ended; return why."""
        self._last.clear()
        try:
            child = await self._start()
        except OSError as error:
            return f"it cannot be started: {error}"
        reading = asyncio.create_task(self._read(child))
        checking = asyncio.create_task(self._check())
        ending = asyncio.create_task(child.wait())
        try:
            await asyncio.wait([checking, ending], return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                return await checking
            await asyncio.wait([reading], timeout=_ENDING_WITHIN_S)
            return self._why_ended(ending.result())
        except asyncio.CancelledError:
            checking.cancel()
            await self._leave(child, ending)
            raise
        finally:
            if child.returncode is None:
                with suppress(ProcessLookupError):
                    child.kill()
            checking.cancel()
            # Its last lines first: a child counts as ended when its output has been read.
            await asyncio.wait([reading, ending], timeout=_ENDING_WITHIN_S)
            reading.cancel()
            ending.cancel()
            await asyncio.wait([checking, reading, ending])

    async def _start(self) -> asyncio.subprocess.Process:
        folder = self.folder
        folder.end_leftover()
        self.name = folder.name(self.plan.host, self._rng)
        port, auth = free_port(), new_token(self._rng)
        self._rpc = port, auth
        folder.write_configuration(
            configuration(self.plan, self.name, rpc_port=port, rpc_auth=auth, snapshot=folder.snapshot),
            f"serf://{auth}@{LOOPBACK}:{port}",
        )
        child = await asyncio.create_subprocess_exec(
            *_dying_with_us(), self._program, "agent", f"-config-file={folder.configuration}",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", "")},  # no secret of the program is its business
            cwd=folder.path, start_new_session=True,
        )  # fmt: skip
        folder.note_process(child.pid)
        log.info(
            "the Serf agent starts", member=self.name, bind=str(self.plan.bind), seeds=len(self.plan.seeds),
            folder=str(folder.path),
        )  # fmt: skip
        return child

    # ── whether it lives ─────────────────────────────────────────────────────────────────────────────────────────

    async def _check(self) -> str:
        """Return when the agent has not answered several times; join the seeds now and then."""
        patience, loop = self._patience, asyncio.get_running_loop()
        misses, rejoin_at_s = 0, loop.time() + patience.rejoin_every_s
        first, pause_s = True, 0.05
        while misses < patience.misses:
            await asyncio.sleep(pause_s)
            try:
                async with await self._client() as serf:
                    await serf.stats()
                    if first:
                        log.info("the Serf agent runs", member=self.name)
                    first, misses = False, 0
                    self.ready.set()
                    if self.plan.seeds and loop.time() >= rejoin_at_s:
                        rejoin_at_s = loop.time() + patience.rejoin_every_s
                        await serf.join(self.plan.seeds)
            except SerfError as error:
                log.debug("the Serf agent did not answer", reason=str(error))
                # While it starts, nobody listens yet; its own end, or a longer silence, is noticed anyway.
                misses += not first or pause_s >= patience.check_every_s
            pause_s = min(2 * pause_s, patience.check_every_s) if first else patience.check_every_s
        return f"it did not answer {misses} times"

    async def _client(self) -> SerfClient:
        port, auth = self._rpc
        within = timedelta(seconds=self._patience.answer_within_s)
        return await SerfClient.connect(LOOPBACK, port, auth_key=auth, answer_within=within)

    # ── what it says ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _read(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdout is not None
        while True:
            try:
                raw = await child.stdout.readline()
            except ValueError:  # a line without an end; what follows begins anew
                continue
            if not raw:
                return
            if line := raw.decode(errors="replace").strip():
                self._hear(line)

    def _hear(self, line: str) -> None:
        self._last.append(line)
        log.debug("the Serf agent says", line=line)
        if joined_by(line):
            for cured in (Trouble.SEED, Trouble.KEY):
                self._told.pop(cured, None)
        told = told_by(line)
        if told is not None:
            self._tell(told)

    def _tell(self, told: Told) -> None:
        """Say a sentence once; again after ten minutes, if it is still so."""
        now_s = asyncio.get_running_loop().time()
        sentence, at_s = self._told.get(told.trouble, ("", float("-inf")))
        if sentence != told.sentence or now_s - at_s > _TELL_AGAIN_S:
            self._told[told.trouble] = told.sentence, now_s
            if told.trouble is Trouble.SLOW:
                log.info("gossip took this host for dead", reason=told.sentence)
            else:
                log.warning("the Serf agent has a problem", problem=told.trouble.value, reason=told.sentence)

    def _why_ended(self, code: int) -> str:
        fatal = (Trouble.NAME, Trouble.PORT, Trouble.ADDRESS, Trouble.OTHER)
        found = [told for line in self._last if (told := told_by(line)) is not None and told.trouble in fatal]
        if any(told.trouble is Trouble.NAME for told in found):
            self.folder.forget_name()
        if found:
            return found[-1].sentence
        return f"it ended with {code}; its last words: {self._last[-1] if self._last else 'none'}"

    # ── its end ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _leave(self, child: asyncio.subprocess.Process, ending: asyncio.Task[int]) -> None:
        """Have the agent tell the others that this end is planned; after a while, end it anyway."""
        with suppress(SerfError, TimeoutError):
            async with asyncio.timeout(LEAVING_S - 1), await self._client() as serf:
                await serf.leave()
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(ending), 1.0)
            if child.returncode is not None:
                return
            with suppress(ProcessLookupError):
                child.send_signal(number)


def _dying_with_us() -> list[str]:
    """Return what makes a child die with this process, however that ends; without it, the next start ends the child."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
