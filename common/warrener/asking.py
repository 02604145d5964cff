"""What a client asks of the gateway and how it reads the answer, without I/O; the two clients share it."""

from __future__ import annotations

import getpass
import math
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from warrener.alerts import redacted
from warrener.errors import (
    Cause,
    Conflict,
    GatewayUnavailable,
    InvalidWorkflow,
    NotFound,
    Overloaded,
    Refused,
    TaskFailed,
)
from warrener.messages import Json
from warrener.runs import RunState
from warrener.settings import Settings
from warrener.states import State
from warrener.views import RunAsked, RunDetail

if TYPE_CHECKING:
    import httpx

    from warrener.building import Workflow

V = TypeVar("V", bound=BaseModel)

TRIES = 4
FIRST_DELAY_S = 0.25
"""Repeating what is safe to repeat: after 0.25, 0.5 and 1 s."""

PATIENCE_S = 300.0
"""How long a call goes on trying while the gateway says that it takes no more for now."""
_RETRY_AFTER_S = 2.0
_LONGEST_PAUSE_S = 30.0
_SLOWER = 1.5
_random = secrets.SystemRandom()

TIMEOUT_S = 30.0
LONG_POLL_S = 20.0
RETRY_SEEN_S = 3.0
"""How long a client waits to see a retried run move; its wish is committed in any case."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request. `safe`: repeating it changes nothing more, so it is repeated when its fate is unknown."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Json = None
    safe: bool = True
    timeout_s: float = TIMEOUT_S


# ── where the gateway is ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Address:
    """Where the gateway is: a Unix socket, or a URL."""

    shown: str
    base_url: str
    socket: str | None
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def address(gateway: str | None, token: str | None) -> Address:
    """Find the gateway: as given, else as WARRENER_GATEWAY and WARRENER_TOKEN say. Raises InvalidSettings."""
    settings = Settings.read()
    url = gateway or settings.gateway_url
    token = settings.token if token is None else token
    if url.startswith("unix:"):
        path = url.removeprefix("unix:")
        return Address(path, "http://warrener", path, token)
    if not url.startswith(("http://", "https://")):
        raise Refused("WARRENER_GATEWAY is no address of a gateway; give unix:/path or http(s)://host:port")
    return Address(redacted(url), url.rstrip("/"), None, token)


def default_owner() -> str:
    """Return the user's name as an owner: lower case, with `-` for what names cannot have."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no name for this user id, as in some containers
        return "local"
    return re.sub(r"[^a-z0-9-]+", "-", user.lower()).strip("-")[:64] or "local"


# ── what is asked ───────────────────────────────────────────────────────────────────────────────────────────────


def definition_of(workflow: Workflow | Mapping[str, Json] | Path | str) -> dict[str, Json]:
    """Return the JSON of a workflow: from the builder, a mapping, or a YAML file. Raises InvalidWorkflow."""
    if isinstance(workflow, Mapping):
        return dict(workflow)
    if isinstance(workflow, (str, Path)):
        from warrener.reading import read_workflow

        return read_workflow(Path(workflow)).definition
    return workflow.definition()


def submission(
    workflow: Workflow | Mapping[str, Json] | Path | str,
    *,
    owner: str | None,
    runs: Sequence[RunAsked],
) -> Ask:
    """Ask for runs. Those without a key get one now, so that repeating the request is safe."""
    asked = [run if run.key else run.model_copy(update={"key": secrets.token_hex(10)}) for run in runs]
    body = {"workflow": definition_of(workflow), "owner": owner or default_owner()}
    written = [run.model_dump(mode="json", exclude_defaults=True) for run in asked]
    # One run alone goes without the list, so that its problems are named without a number.
    return Ask("POST", "/runs", body=body | (written[0] if len(written) == 1 else {"runs": written}))


def configure(name: str, value: str | None) -> Ask:
    """Ask for a setting of all programs; None gives it up."""
    path = path_of("configuration", name)
    return Ask("DELETE", path) if value is None else Ask("PUT", path, body={"value": value})


def one_run(
    params: Mapping[str, Json] | None, key: str | None, priority: int | None, logical_time: datetime | None
) -> RunAsked:
    """Check what is asked of a run; raises InvalidWorkflow."""
    try:
        return RunAsked(params=dict(params or {}), key=key, priority=priority, logical_time=logical_time)
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise InvalidWorkflow([f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found]) from error


def path_of(*steps: object) -> str:
    """Build a path; a name in it cannot lead elsewhere."""
    return "/" + "/".join(quote(str(step), safe="") for step in steps)


def show_run(run: str, *, wait_s: float = 0, seen: str = "") -> Ask:
    """Ask for a run and its tasks."""
    query = {"wait": wait_s, "seen": seen} if wait_s else {}
    return Ask("GET", path_of("runs", run), query, timeout_s=TIMEOUT_S + wait_s)


def list_runs(*, state: Sequence[str], owner: str | None, workflow: str | None, before: str | None, limit: int) -> Ask:
    """Ask for a page of runs."""
    query = {"state": list(state), "owner": owner, "workflow": workflow, "before": before, "limit": limit}
    return Ask("GET", "/runs", {name: value for name, value in query.items() if value not in (None, [])})


def list_alerts(
    *,
    open_only: bool,
    kind: Sequence[str],
    severity: Sequence[str],
    site: str | None,
    owner: str | None,
    before: int | None,
    limit: int,
) -> Ask:
    """Ask for alerts."""
    query: dict[str, Any] = {"limit": limit, "open": open_only, "kind": list(kind), "severity": list(severity)}
    query |= {
        name: value for name, value in (("site", site), ("owner", owner), ("before", before)) if value is not None
    }
    return Ask("GET", "/alerts", query)


def log_page(run: str, task: str, *, stream: str, attempt: int | None, start: int) -> Ask:
    """Ask for what a task printed."""
    query: dict[str, Any] = {"stream": stream, "start": start}
    if attempt is not None:
        query["attempt"] = attempt
    return Ask("GET", path_of("runs", run, "tasks", task, "logs"), query)


def drain(name: str, *, host: bool, reason: str, by: str | None) -> Ask:
    """Ask that a worker or a host gets no more work."""
    body = {"by": by or default_owner(), "reason": reason}
    return Ask("PUT", path_of("drains", "host" if host else "worker", name), body=body)


def undrain(name: str, *, host: bool) -> Ask:
    """Ask that a worker or a host works again."""
    return Ask("DELETE", path_of("drains", "host" if host else "worker", name), safe=False)


# ── what is answered ────────────────────────────────────────────────────────────────────────────────────────────


def unavailable(where: Address, error: Exception) -> GatewayUnavailable:
    """Say that nobody answers, and what to do."""
    return GatewayUnavailable(
        f"no gateway answers at {where.shown} ({_reason(error)}); is `warrener up` running? Start it, or say with"
        " WARRENER_GATEWAY where the gateway is"
    )


def _reason(error: Exception) -> str:
    text = str(error).strip()
    if "[Errno 2]" in text:
        return "there is no such socket"
    if "[Errno 111]" in text:
        return "nobody listens there"
    if "[Errno 13]" in text:
        return "this user may not open it"
    return text or type(error).__name__


def delays(ask: Ask) -> list[float]:
    """Return how long to wait before each further try."""
    return [FIRST_DELAY_S * 2**n for n in range(TRIES - 1)] if ask.safe else []


class Tries:
    """What a call does when a try has failed: it repeats what is safe a few times, and slows down while it is told to.

    An answer 429 means that nothing was done, so anything is repeated then; each time after a longer pause, and by
    everybody after another one, until the patience is over.
    """

    def __init__(self, ask: Ask, patience_s: float) -> None:
        self._delays_s = delays(ask)
        self._until_s = time.monotonic() + patience_s
        self._refusals = 0

    def pause_s(self, error: GatewayUnavailable | Overloaded) -> float | None:
        """Return how long to wait before the next try; None when there should be none."""
        if isinstance(error, Overloaded):
            longer = error.retry_after_s * _SLOWER ** min(self._refusals, 10)
            pause_s = max(error.retry_after_s, min(longer, _LONGEST_PAUSE_S)) * _random.uniform(1.0, 1.5)
            self._refusals += 1
            return pause_s if time.monotonic() + pause_s <= self._until_s else None
        if not self._delays_s or not worth_repeating(error):
            return None
        return self._delays_s.pop(0)


def worth_repeating(error: GatewayUnavailable) -> bool:
    """Tell whether the gateway was there: when nobody listens at all, a person wants to know at once."""
    import httpx

    return not isinstance(error.__cause__, httpx.ConnectError)


def deadline(timeout: timedelta | float | None) -> float:
    """Return the end of a time-out on the monotonic clock."""
    if timeout is None:
        return math.inf
    return time.monotonic() + (timeout.total_seconds() if isinstance(timeout, timedelta) else timeout)


def failure(run: RunDetail) -> TaskFailed | None:
    """Return what to raise for a run that ended without success."""
    if run.state == RunState.SUCCEEDED:
        return None
    bad = next((task for task in run.tasks if task.state is State.FAILED), None)
    if bad is None:
        if run.state == RunState.CANCELLED:
            return TaskFailed(Cause.CANCELLED, f"run {run.id} was cancelled")
        return TaskFailed(Cause.ERROR, f"run {run.id} has {run.state}")
    cause = Cause(bad.cause) if bad.cause in set(Cause) else Cause.ERROR
    return TaskFailed(cause, f"run {run.id}, task {bad.name}: {bad.message or bad.cause}", exit_code=bad.exit_code)


def check(response: httpx.Response, where: Address) -> Json:
    """Return the JSON of an answer, or raise what its status means, with the gateway's own sentences."""
    if response.is_success:
        return response.json()
    problems = _problems(response, where)
    text = "\n".join(problems)
    match response.status_code:
        case 404:
            raise NotFound(text)
        case 409:
            raise Conflict(text)
        case 422:
            raise InvalidWorkflow(problems)
        case 429:
            raise Overloaded(text, retry_after_s=_retry_after_s(response))
        case status if status < 500:  # noqa: PLR2004
            raise Refused(text)
        case 503:
            raise GatewayUnavailable(text)
        case status:
            raise GatewayUnavailable(f"the gateway at {where.shown} answered {status}: {text}")


def _retry_after_s(response: httpx.Response) -> float:
    given = response.headers.get("retry-after", "")
    return float(given) if given.isdecimal() and len(given) <= 6 else _RETRY_AFTER_S  # noqa: PLR2004 - it may be a date


def _problems(response: httpx.Response, where: Address) -> list[str]:
    try:
        problems = response.json()["problems"]
    except (ValueError, KeyError, TypeError):
        told = f"an answer that is not the gateway's came from {where.shown}"
        return [f"{told} ({response.status_code} {response.reason_phrase}); say with WARRENER_GATEWAY where it is"]
    return [str(problem) for problem in problems]


def read(view: type[V], value: Json) -> V:
    """Read an answer as a view; raises GatewayUnavailable when something else answers there."""
    try:
        return view.model_validate(value)
    except ValidationError as error:
        raise GatewayUnavailable(f"the answer is not a gateway's: {error.errors()[0]['msg']}") from error
