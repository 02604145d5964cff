"""The client of the gateway on asyncio; see `warrener.client`.

async with AsyncClient() as client:
    run = await client.submit("plots.yaml", params={"day": "2026-11-21"})
    print(await run.result(timeout=600))
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from warrener import asking
from warrener.asking import Ask
from warrener.errors import GatewayUnavailable, Overloaded, Unavailable
from warrener.messages import Json
from warrener.runs import FINAL
from warrener.views import (
    AlertDetail,
    AlertView,
    ConfiguredView,
    DrainView,
    Health,
    LogPage,
    MemberView,
    ParkedDetail,
    ParkedView,
    PoolView,
    RunAsked,
    RunDetail,
    RunPage,
    RunView,
    Submitted,
    SubmittedRun,
    TaskDetail,
    Waiting,
    WaitingPage,
    WorkerView,
)

if TYPE_CHECKING:
    from warrener.building import Workflow


class AsyncClient:
    """A connection to the gateway, for programs on asyncio; the methods are those of `Client`."""

    def __init__(
        self,
        gateway: str | None = None,
        *,
        token: str | None = None,
        patience_s: float = asking.PATIENCE_S,
        on_busy: Callable[[Overloaded, float], None] | None = None,
    ) -> None:
        """`patience_s`: how long a call goes on trying while the gateway takes no more; Overloaded is raised then.

        `on_busy` hears of each such answer, and for how many seconds the call waits now.
        """
        import httpx

        self._at = asking.address(gateway, token)
        self._patience_s, self._on_busy = patience_s, on_busy
        self._http = httpx.AsyncClient(
            base_url=self._at.base_url,
            headers=self._at.headers,
            transport=httpx.AsyncHTTPTransport(uds=self._at.socket),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    # ── runs ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def submit(
        self,
        workflow: Workflow | Mapping[str, Json] | Path | str,
        params: Mapping[str, Json] | None = None,
        *,
        key: str | None = None,
        owner: str | None = None,
        priority: int | None = None,
        logical_time: datetime | None = None,
    ) -> AsyncRun:
        """Submit a workflow (built, a mapping, or the path of a YAML file); returns when its run is committed.

        The same owner (default: the user's name) and key give the same run. While the gateway takes no more,
        this waits and tries again. Raises InvalidWorkflow, GatewayUnavailable, Overloaded.
        """
        one = asking.one_run(params, key, priority, logical_time)
        return (await self.submit_many(workflow, [one], owner=owner))[0]

    async def submit_many(
        self,
        workflow: Workflow | Mapping[str, Json] | Path | str,
        runs: Sequence[RunAsked],
        *,
        owner: str | None = None,
    ) -> list[AsyncRun]:
        """Submit many runs of one workflow in one transaction: all are accepted, or none."""
        answer = await self._ask(asking.submission(workflow, owner=owner, runs=runs))
        return [AsyncRun(self, run) for run in asking.read(Submitted, answer).runs]

    async def run(self, run: str) -> AsyncRun:
        """Find a run by its id or the beginning of one; raises NotFound, Conflict."""
        found = await self.status(run)
        return AsyncRun(self, SubmittedRun(id=found.id, key=found.key, new=False))

    async def runs(
        self,
        *,
        state: Sequence[str] = (),
        owner: str | None = None,
        workflow: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> RunPage:
        """List runs, newest first; give `next` of the page as `before` for the following one."""
        ask = asking.list_runs(state=state, owner=owner, workflow=workflow, before=before, limit=limit)
        return asking.read(RunPage, await self._ask(ask))

    async def status(self, run: str, *, wait_s: float = 0, seen: str = "") -> RunDetail:
        """Look at a run; with `wait_s`, wait so long for a picture other than `seen`."""
        return asking.read(RunDetail, await self._ask(asking.show_run(run, wait_s=wait_s, seen=seen)))

    async def outputs(self, run: str) -> dict[str, Json]:
        """Return the outputs of the tasks that succeeded, by name."""
        outputs: dict[str, Json] = await self._ask(Ask("GET", asking.path_of("runs", run, "outputs")))
        return outputs

    async def cancel(self, run: str) -> RunView:
        """Ask for the end of a run; raises Conflict when it has ended."""
        return asking.read(RunView, await self._ask(Ask("POST", asking.path_of("runs", run, "cancel"))))

    async def retry(self, run: str) -> RunView:
        """Ask for another go of what did not succeed; raises Conflict unless the run has failed or was cancelled.

        Waits a moment until the run has begun again, so that whoever waits for it then waits for its new end.
        """
        seen = (await self.status(run)).seen
        view = asking.read(RunView, await self._ask(Ask("POST", asking.path_of("runs", run, "retry"))))
        await self.status(view.id, wait_s=asking.RETRY_SEEN_S, seen=seen)
        return view

    async def why(self, run: str) -> WaitingPage:
        """Say what a run and its tasks wait for."""
        return asking.read(WaitingPage, await self._ask(Ask("GET", asking.path_of("runs", run, "why"))))

    # ── tasks ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def task(self, run: str, task: str) -> TaskDetail:
        """Look at a task with its output and history."""
        return asking.read(TaskDetail, await self._ask(Ask("GET", asking.path_of("runs", run, "tasks", task))))

    async def why_task(self, run: str, task: str) -> Waiting:
        """Say what a task waits for."""
        return asking.read(Waiting, await self._ask(Ask("GET", asking.path_of("runs", run, "tasks", task, "why"))))

    async def log_page(
        self,
        run: str,
        task: str,
        *,
        stream: Literal["stdout", "stderr"] = "stdout",
        attempt: int | None = None,
        start: int = 0,
    ) -> LogPage:
        """Read what a task printed, from an offset; ask again from `next` while `open`."""
        ask = asking.log_page(run, task, stream=stream, attempt=attempt, start=start)
        return asking.read(LogPage, await self._ask(ask))

    async def logs(
        self, run: str, task: str, *, stream: Literal["stdout", "stderr"] = "stdout", attempt: int | None = None
    ) -> str:
        """Return everything that a task printed so far on one stream."""
        pieces: list[str] = []
        start = 0
        while True:
            page = await self.log_page(run, task, stream=stream, attempt=attempt, start=start)
            if not page.pieces:
                return "".join(pieces)
            pieces += [piece.text for piece in page.pieces]
            start = page.next

    # ── the deployment ──────────────────────────────────────────────────────────────────────────────────────────

    async def configuration(self) -> list[ConfiguredView]:
        """List what is configured for all programs while they run."""
        return [asking.read(ConfiguredView, one) for one in await self._ask(Ask("GET", "/configuration"))]

    async def configure(self, name: str, value: str | None) -> ConfiguredView:
        """Configure a setting for all programs, or with None let their own hold again."""
        return asking.read(ConfiguredView, await self._ask(asking.configure(name, value)))

    async def members(self) -> list[MemberView]:
        """List the members of the gossip pool, as far as the gateway has heard."""
        return [asking.read(MemberView, one) for one in await self._ask(Ask("GET", "/members"))]

    async def workers(self) -> list[WorkerView]:
        """List the workers that the gateway has heard."""
        return [asking.read(WorkerView, one) for one in await self._ask(Ask("GET", "/workers"))]

    async def drain(self, name: str, *, host: bool = False, reason: str = "", by: str | None = None) -> DrainView:
        """Give a worker, or all workers of a host, no more work; raises NotFound, with the nearest name."""
        return asking.read(DrainView, await self._ask(asking.drain(name, host=host, reason=reason, by=by)))

    async def undrain(self, name: str, *, host: bool = False) -> DrainView:
        """Let a drained worker or host work again; raises NotFound."""
        return asking.read(DrainView, await self._ask(asking.undrain(name, host=host)))

    async def pools(self) -> list[PoolView]:
        """List the pools of workers that elastic programs keep."""
        return [asking.read(PoolView, one) for one in await self._ask(Ask("GET", "/pools"))]

    async def parked(self, *, limit: int = 100) -> list[ParkedView]:
        """List messages that nobody could handle."""
        return [asking.read(ParkedView, one) for one in await self._ask(Ask("GET", "/parked", {"limit": limit}))]

    async def parked_message(self, number: int) -> ParkedDetail:
        """Look at a parked message."""
        return asking.read(ParkedDetail, await self._ask(Ask("GET", asking.path_of("parked", number))))

    async def replay(self, number: int) -> ParkedView:
        """Publish a parked message again."""
        ask = Ask("POST", asking.path_of("parked", number, "replay"), safe=False)
        return asking.read(ParkedView, await self._ask(ask))

    async def drop(self, number: int) -> ParkedView:
        """Drop a parked message for good."""
        ask = Ask("DELETE", asking.path_of("parked", number), safe=False)
        return asking.read(ParkedView, await self._ask(ask))

    async def alerts(
        self,
        *,
        open_only: bool = False,
        kind: Sequence[str] = (),
        severity: Sequence[str] = (),
        site: str | None = None,
        owner: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[AlertView]:
        """List alerts, newest first; with `open_only`, what is neither over nor acknowledged."""
        ask = asking.list_alerts(
            open_only=open_only, kind=kind, severity=severity, site=site, owner=owner, before=before, limit=limit
        )
        return [asking.read(AlertView, one) for one in await self._ask(ask)]

    async def alert(self, number: int) -> AlertDetail:
        """Look at an alert."""
        return asking.read(AlertDetail, await self._ask(Ask("GET", asking.path_of("alerts", number))))

    async def ack_alert(self, number: int, *, by: str, note: str = "") -> AlertView:
        """Say that somebody takes care of an alert; raises Conflict when somebody has said so."""
        body = {"by": by, "note": note}
        ask = Ask("POST", asking.path_of("alerts", number, "ack"), body=body, safe=False)
        return asking.read(AlertView, await self._ask(ask))

    async def test_alert(self) -> AlertDetail:
        """Send a test alert on its way; look at it with `alert` until its letters have ended."""
        return asking.read(AlertDetail, await self._ask(Ask("POST", "/alerts/test", safe=False)))

    async def health(self) -> Health:
        """Tell whether store and broker are there; raises GatewayUnavailable."""
        import httpx

        try:
            return asking.read(Health, (await self._http.get("/health", timeout=asking.TIMEOUT_S)).json())
        except (httpx.TransportError, ValueError) as error:
            raise asking.unavailable(self._at, error) from error

    # ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _ask(self, ask: Ask) -> Json:
        tries = asking.Tries(ask, self._patience_s)
        while True:
            try:
                return await self._ask_once(ask)
            except (GatewayUnavailable, Overloaded) as error:
                pause_s = tries.pause_s(error)
                if pause_s is None:
                    raise
                if isinstance(error, Overloaded) and self._on_busy is not None:
                    self._on_busy(error, pause_s)
            await asyncio.sleep(pause_s)

    async def _ask_once(self, ask: Ask) -> Json:
        import httpx

        try:
            response = await self._http.request(
                ask.method, ask.path, params=ask.query, json=ask.body, timeout=httpx.Timeout(ask.timeout_s, pool=None)
            )
        except httpx.TransportError as error:
            raise asking.unavailable(self._at, error) from error
        return asking.check(response, self._at)


class AsyncRun:
    """A run that was accepted. `new` tells whether this submission made it; else its key was known."""

    def __init__(self, client: AsyncClient, run: SubmittedRun) -> None:
        self._client = client
        self.id, self.key, self.new = run.id, run.key, run.new

    def __repr__(self) -> str:
        return f"AsyncRun({self.id!r}, key={self.key!r})"

    async def status(self) -> RunDetail:
        """Look at the run and its tasks."""
        return await self._client.status(self.id)

    async def changes(self) -> AsyncIterator[RunDetail]:
        """Yield the run now and whenever it has changed; the last picture is its end."""
        detail = await self.status()
        yield detail
        while detail.state not in FINAL:
            newer = await self._client.status(self.id, wait_s=asking.LONG_POLL_S, seen=detail.seen)
            if newer.seen != detail.seen:
                yield newer
            detail = newer

    async def wait(self, timeout: timedelta | float | None = None) -> RunDetail:  # noqa: ASYNC109 - as Run.wait
        """Wait for the end of the run, at most `timeout` (seconds); raises TimeoutError, and the run goes on.

        A gateway that is away meanwhile is waited for.
        """
        until = asking.deadline(timeout)
        seen = ""
        while True:
            left_s = until - time.monotonic()
            wait_s = round(max(0.0, min(asking.LONG_POLL_S, left_s)), 3)
            try:
                detail = await self._client.status(self.id, wait_s=wait_s if seen else 0, seen=seen)
            except Unavailable:
                if left_s <= 0:
                    raise
                await asyncio.sleep(min(1.0, left_s))
                continue
            if detail.state in FINAL:
                return detail
            if left_s <= 0:
                raise TimeoutError(f"run {self.id} is still {detail.state}; it goes on")
            seen = detail.seen

    async def result(self, timeout: timedelta | float | None = None) -> dict[str, Json]:  # noqa: ASYNC109
        """Wait for the end and return the outputs; raises TaskFailed when the run did not succeed."""
        detail = await self.wait(timeout)
        failure = asking.failure(detail)
        if failure is not None:
            raise failure
        return await self.outputs()

    async def outputs(self) -> dict[str, Json]:
        """Return the outputs of the tasks that succeeded, by name."""
        return await self._client.outputs(self.id)

    async def logs(
        self, task: str, *, stream: Literal["stdout", "stderr"] = "stdout", attempt: int | None = None
    ) -> str:
        """Return what a task printed so far."""
        return await self._client.logs(self.id, task, stream=stream, attempt=attempt)

    async def cancel(self) -> RunView:
        """Ask for the end of the run; raises Conflict when it has ended."""
        return await self._client.cancel(self.id)

    async def retry(self) -> RunView:
        """Ask for another go of what did not succeed."""
        return await self._client.retry(self.id)

    async def why(self) -> WaitingPage:
        """Say what the run and its tasks wait for."""
        return await self._client.why(self.id)
