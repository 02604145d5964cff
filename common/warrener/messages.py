"""What travels: every message, its versioned kind, and its check on entry.

A body is JSON. Its kind travels twice: in the AMQP `type` property, for whoever routes, and as `kind` in the body,
which is what counts. A reader ignores fields it does not know, so programs can be upgraded one at a time; a change that
an old reader must not ignore gets a new number. `decode` is the only way in, `encode` the only way out.

Batches are the rule: one message carries many submissions, orders, claims, answers or reports.

Who may say what is proved, not believed: submissions carry an HMAC of the body, orders an Ed25519 signature of the body
(`warrener.signing`), reports and heartbeats the claim token of each attempt they speak of.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from warrener.alerts import Alert, Severity
from warrener.errors import Cause, InvalidMessage
from warrener.ids import MAX_SHARDS, AttemptRef, BootId, RunId, TaskRef, WorkerName

Json = Any
"""A JSON value; outputs, parameters and arguments are nothing else."""

RunIdText = Annotated[RunId, StringConstraints(pattern=r"^[0-9a-hjkmnp-tv-z]{16}$")]
WorkerText = Annotated[WorkerName, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$")]
BootText = Annotated[BootId, StringConstraints(pattern=r"^[0-9a-z]{1,32}$")]
NameText = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$")]
Token = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
KeyText = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]

_LARGEST = 2**31 - 1  # what the store's columns take

MAX_OUTPUT_BYTES = 64 * 1024
"""The largest output of a task, as JSON; larger data is staged."""


class Kind(StrEnum):
    """The kinds of tasks, each served by a program of its own."""

    ENV = "env"
    STAGE = "stage"
    JOB = "job"
    CALL = "call"


PROGRAMS: Mapping[str, str] = {Kind.ENV: "env_setup", Kind.STAGE: "data_staging", Kind.JOB: "job_submission"}
"""The program of each kind, for `warrener serve`; calls are served by programs of the user's."""


class Part(BaseModel):
    """A part of a message: frozen, tolerant of fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class Body(Part):
    """A whole message body."""

    KIND: ClassVar[str]


class AttemptPart(Part):
    """Whatever speaks of one attempt."""

    run: RunIdText
    n: int = Field(ge=0, le=_LARGEST)
    attempt: int = Field(ge=1, le=_LARGEST)

    @property
    def ref(self) -> AttemptRef:
        return AttemptRef(self.run, self.n, self.attempt)

    @property
    def task(self) -> TaskRef:
        return TaskRef(self.run, self.n)


# ── from clients to the scheduler ────────────────────────────────────────────────────────────────────────────────


class RunRequest(Part):
    """One run asked for. The same `owner` and `key` always give the same run."""

    key: KeyText
    params: dict[str, Json] = {}
    priority: int | None = Field(default=None, ge=0, le=9)
    logical_time: AwareDatetime | None = None


class Submit(Body):
    """Runs of one workflow. Answered by `accepted/1` on `reply_to` after the commit, if that is set."""

    KIND = "submit/1"
    kind: Literal["submit/1"] = "submit/1"
    owner: NameText
    workflow: dict[str, Json]
    runs: list[RunRequest] = Field(min_length=1)


class Acceptance(Part):
    """What became of one request: a run (new, or the one of an earlier request with this key), or the problems.

    Repeating a request is therefore also how a client asks for the state of its run.
    """

    key: str
    run: RunIdText | None = None
    new: bool = True
    state: str = "accepted"
    problems: list[str] = []


class Accepted(Body):
    """The answer to `submit/1`, in the order of its runs; sent after the commit."""

    KIND = "accepted/1"
    kind: Literal["accepted/1"] = "accepted/1"
    results: list[Acceptance]


class CancelRuns(Body):
    """Runs that are wanted gone. The same key and authority as a submission."""

    KIND = "cancel/1"
    kind: Literal["cancel/1"] = "cancel/1"
    owner: NameText
    runs: list[RunIdText] = Field(min_length=1)


# ── from the scheduler to workers ────────────────────────────────────────────────────────────────────────────────


class Order(AttemptPart):
    """One task to do. `body` is the rendered section of its kind (see `warrener.workflows`).

    `token` is set for direct calls only: the proof for (attempt, app). A claimed attempt gets its token by the grant.
    """

    task_name: str
    workflow: str
    task_kind: Kind
    body: dict[str, Json]
    priority: int = 4
    timeout_s: float | None = None
    lease_s: float = 30.0
    weight: int = 1
    on_lost: Literal["retry", "hold", "fail"] = "retry"
    token: Token | None = None


class Orders(Body):
    """A bundle of orders, all claimed or all direct. The signature of the whole body is in the header `signature`."""

    KIND = "orders/1"
    kind: Literal["orders/1"] = "orders/1"
    issued_at: AwareDatetime
    orders: list[Order] = Field(min_length=1)
    claim: bool = True
    """Whether each must be claimed before it starts. A redelivered message is claimed whatever this says."""
    home: int | None = Field(default=None, ge=0, le=MAX_SHARDS - 1)
    """The shard whose queue takes the reports of direct calls: one of the sender's, the same in all that it sends, so
    that reports of many bundles travel together. Without it: the shard of the first order."""


class Grant(AttemptPart):
    """The attempt is yours. `seq` is that of the claim: the lease counts from the sending of that claim."""

    token: Token
    seq: int


class Refusal(AttemptPart):
    """The attempt is not yours: drop the order."""

    reason: str
    seq: int


class Receipt(AttemptPart):
    """The report of a claimed attempt is committed; forget it. `applied` is false for late and strange ones."""

    applied: bool


class Stop(AttemptPart):
    """Stop this attempt: cancelled, or no longer yours."""

    reason: Literal["cancelled", "not yours"]


class Extension(Part):
    """The answer to one heartbeat: these attempts' leases begin anew at the sending of heartbeat `seq`."""

    seq: int
    attempts: list[AttemptPart]


class Limit(Part):
    """How many of its slots a worker may fill until it is told otherwise; None: all of them. What runs, runs on."""

    slots: int | None = Field(default=None, ge=0, le=100_000)
    reason: str = Field(default="", max_length=1_000)


class Answers(Body):
    """What an owner tells one worker.

    `boot` names the life of the worker it is meant for; others ignore grants, refusals and extensions, but heed
    receipts (a spool outlives its boot) and stops.
    """

    KIND = "answers/1"
    kind: Literal["answers/1"] = "answers/1"
    boot: BootText
    grants: list[Grant] = []
    refusals: list[Refusal] = []
    receipts: list[Receipt] = []
    stops: list[Stop] = []
    extensions: list[Extension] = []
    limit: Limit | None = None
    """Set when the worker obeys another limit than it should: it is drained, or its host is in the penalty box."""


class RollCall(Body):
    """A scheduler asks every worker for a heartbeat now; with `describe`, these workers, with their attributes."""

    KIND = "rollcall/1"
    kind: Literal["rollcall/1"] = "rollcall/1"
    describe: list[WorkerText] = []


# ── from workers to the scheduler ────────────────────────────────────────────────────────────────────────────────


class Claim(AttemptPart):
    """May I have this attempt? `token` is that of a direct order that turned out long or came again."""

    token: Token | None = None


class Claims(Body):
    """Claims of one worker, to the shard of the first. `seq` counts this boot's claims messages."""

    KIND = "claims/1"
    kind: Literal["claims/1"] = "claims/1"
    worker: WorkerText
    boot: BootText
    site: NameText
    seq: int
    claims: list[Claim] = Field(min_length=1)


class Outcome(StrEnum):
    """How an attempt ended, as its worker saw it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Report(AttemptPart):
    """How one attempt ended. `token` is the claim token, or the direct order's token if it was never claimed."""

    token: Token
    outcome: Outcome
    cause: Cause | None = None
    message: str = Field(default="", max_length=16_384)
    output: Json = None
    exit_code: int | None = Field(default=None, ge=-_LARGEST, le=_LARGEST)
    seconds: float = Field(default=0.0, ge=0)
    blames_host: bool = False
    """Whether the worker puts a failure down to its host: the disk is full, no process can be started."""


class Reports(Body):
    """Reports of one worker, to the shard of the first or the home that their orders named.

    `boot` is the life in which these attempts ran.
    """

    KIND = "reports/1"
    kind: Literal["reports/1"] = "reports/1"
    worker: WorkerText
    boot: BootText
    reports: list[Report] = Field(min_length=1)


class LogChunk(AttemptPart):
    """A piece of what an attempt printed, at an offset (in characters) of its stream. Late or doubled is harmless."""

    token: Token
    stream: Literal["stdout", "stderr"]
    offset: int = Field(ge=0, le=_LARGEST)
    text: str = Field(max_length=65_536)


class Logs(Body):
    """Log pieces of one worker, to the shard of the first. Not kept by the broker: what is lost is lost."""

    KIND = "logs/1"
    kind: Literal["logs/1"] = "logs/1"
    worker: WorkerText
    boot: BootText
    chunks: list[LogChunk] = Field(min_length=1)


class Held(AttemptPart):
    """An attempt that a worker holds, with its proof."""

    token: Token


class EndedLife(AttemptPart):
    """A boot of a worker that is over, proved by the token of some attempt that it was granted."""

    boot: BootText
    token: Token


class Attributes(Part):
    """What a worker's host has, as the worker says."""

    cores: int = Field(default=0, ge=0, le=_LARGEST)
    memory_mib: int = Field(default=0, ge=0, le=2**40)
    gpus: int = Field(default=0, ge=0, le=_LARGEST)
    platform: str = Field(default="", max_length=200)
    python: str = Field(default="", max_length=50)
    software: list[Annotated[str, StringConstraints(max_length=100)]] = Field(default=[], max_length=500)
    """Programs that were looked for and found."""
    labels: dict[str, str] = Field(default={}, max_length=100)
    targets: list[str] = Field(default=[], max_length=100)
    """Where its jobs can run."""

    @property
    def digest(self) -> str:
        """Return 40 bits of a hash: equal attributes have equal ones."""
        text = json.dumps(self.model_dump(), sort_keys=True).encode()
        return base64.b32encode(hashlib.blake2b(text, digest_size=5).digest()).decode().lower()


class LostLane(Part):
    """A lane whose queue was deleted some time ago: what was ordered through it before and not begun is gone."""

    lane: str
    ago_s: float = Field(ge=0)


class Heartbeat(Body):
    """A worker is alive, and holds these attempts. To all schedulers; each answers for its own shards."""

    KIND = "heartbeat/1"
    kind: Literal["heartbeat/1"] = "heartbeat/1"
    worker: WorkerText
    boot: BootText
    seq: int
    task_kind: Kind
    apps: list[NameText] = []
    site: NameText
    host: str
    member: str | None = None
    """The Serf member beside it, if there is one."""
    slots: int = Field(ge=0, le=100_000)
    free: int = Field(ge=0, le=100_000)
    load: float = Field(default=0.0, ge=0)
    withheld: int = Field(default=0, ge=0, le=100_000)
    """How many slots it keeps empty because its host is loaded, or short of memory."""
    limit: int | None = Field(default=None, ge=0, le=100_000)
    """The limit that it obeys, as a scheduler told it."""
    state: Literal["up", "draining", "leaving"] = "up"
    """`leaving` is the last heartbeat of a worker that stops as planned."""
    attempts: list[Held] = []
    ended: list[EndedLife] = []
    """Lives of this worker that are over. What they held and `attempts` does not list, nobody works on any more."""
    digest: str = Field(default="", max_length=32)
    """Of its attributes: whoever knows others asks for these, by `rollcall/1` with `describe`."""
    attributes: Attributes | None = None
    """In the first heartbeat of a life, and when asked."""
    lost: list[LostLane] = []
    """Lanes of this worker whose queue was not there any more when it took orders from it."""


# ── between the other programs ───────────────────────────────────────────────────────────────────────────────────


class Wake(Body):
    """Something was written for the owners of these shards: a run, an intent. A hint; they look by themselves too."""

    KIND = "wake/1"
    kind: Literal["wake/1"] = "wake/1"
    shards: list[int]


class LaneDemand(Part):
    """What a scheduler has of one lane: slots in flight, and tasks that are ready."""

    in_flight: int = Field(ge=0, le=_LARGEST)
    ready: int = Field(ge=0, le=_LARGEST)
    queued: int = Field(default=0, ge=0, le=_LARGEST)
    """The slots that the ready tasks need together; of a very long line the first few thousand."""
    sites: dict[NameText, Annotated[int, Field(ge=0, le=_LARGEST)]] = {}
    """By site: how many of the slots in `queued` can be nowhere else."""
    heaviest: int = Field(default=1, ge=1, le=_LARGEST)
    """The most slots that one of its tasks takes, in flight or ready."""
    oldest_s: float = Field(default=0.0, ge=0)
    """How long the ready task has waited that has waited longest."""
    mean_s: float = Field(default=0.0, ge=0)
    """How long its tasks run, on average of late; 0 when nobody knows."""

    @property
    def total(self) -> int:
        return self.in_flight + self.ready

    def elsewhere(self, site: str) -> int:
        """Return how many of the slots in `queued` cannot be at a site."""
        return sum(number for place, number in self.sites.items() if place != site)


DEMAND_BELIEVED_S = 15.0
"""How long a scheduler's word of its demand counts: it repeats it every five seconds."""


class Demand(Body):
    """A scheduler tells what it wants of each lane. A hint, soon repeated.

    Schedulers share the slots of a lane by it, workers of several kinds divide their slots, and `elastic` starts and
    stops workers.
    """

    KIND = "demand/1"
    kind: Literal["demand/1"] = "demand/1"
    scheduler: NameText
    lanes: dict[str, LaneDemand] = {}
    """By lane; a lane that is missing has none."""
    used: dict[WorkerText, Annotated[int, Field(ge=0, le=_LARGEST)]] = {}
    """By worker: the slots that its tasks take or are meant for."""
    slots: dict[str, Annotated[int, Field(ge=0, le=_LARGEST)]] = {}
    """By lane: the slots of the workers that it hears."""


class Elastic(Body):
    """What an `elastic` program does about one pool, and why. Said about once a second; also how it knows that it acts.

    Several programs may have a rule for the same pool: `acting` is only the one that holds its turn.
    """

    KIND = "elastic/1"
    kind: Literal["elastic/1"] = "elastic/1"
    who: str
    host: str
    pool: NameText
    turn: str
    """What no two programs may act for at once: the pool, with the host where it is one of processes."""
    acting: bool = False
    lanes: list[str] = []
    site: str = ""
    minimum: int = Field(ge=0)
    maximum: int = Field(ge=0)
    wanted: int = Field(ge=0)
    running: int = Field(ge=0)
    leaving: int = Field(default=0, ge=0)
    """Workers that take nothing more and end with what they run."""
    why: str = ""
    action: str = ""
    """What was done last."""
    action_at: AwareDatetime | None = None
    trouble: str = ""
    """Why workers cannot be counted, started or stopped; empty when they can."""


class MemberSeen(Part):
    """One member, as gossip sees it."""

    name: str
    status: Literal["alive", "leaving", "left", "failed"]
    address: str = ""
    tags: dict[str, str] = {}


class Members(Body):
    """What gossip says. `full`: these are all members, not only those that changed."""

    KIND = "members/1"
    kind: Literal["members/1"] = "members/1"
    members: list[MemberSeen]
    full: bool = False


class Event(Part):
    """Something happened to a run, or to a task if `n` is set."""

    run: RunIdText
    owner: str
    key: str = ""
    n: int | None = None
    task: str | None = None
    state: str
    attempt: int | None = None
    at: datetime
    message: str = ""


class Events(Body):
    """What happened. Routing key `runs` or `tasks`. One may come twice, or after a later one: a final state stands."""

    KIND = "events/1"
    kind: Literal["events/1"] = "events/1"
    events: list[Event] = Field(min_length=1)


class AlertNote(Body):
    """Something that admins should know, or need not worry about any more; from programs without a store.

    To the queue `alerts`, from which the gossip program takes it into the store, once for each message id.
    """

    KIND = "alert/1"
    kind: Literal["alert/1"] = "alert/1"
    alert_kind: NameText
    subject: str = Field(min_length=1, max_length=1_000)
    text: str = Field(max_length=4_000)
    severity: Severity | None = None
    """Without it: that of the kind."""
    site: str = Field(default="", max_length=200)
    owner: str = Field(default="", max_length=200)
    cause: str = Field(default="", max_length=4_000)
    look: str = Field(default="", max_length=4_000)
    excerpt: str = Field(default="", max_length=16_384)
    over: bool = False
    at: AwareDatetime

    @classmethod
    def of(cls, alert: Alert, at: datetime) -> AlertNote:
        """Write an alert as a message."""
        return cls(alert_kind=alert.kind, at=at, **{name: getattr(alert, name) for name in _ALERT_FIELDS})

    def alert(self) -> Alert:
        """Return the alert; its lines are clean and bounded, whoever sent it."""
        return Alert(kind=self.alert_kind, **{name: getattr(self, name) for name in _ALERT_FIELDS})


_ALERT_FIELDS = ("subject", "text", "severity", "site", "owner", "cause", "look", "excerpt", "over")

_ALL: tuple[type[Body], ...] = (
    Submit, Accepted, CancelRuns, Orders, Answers, RollCall, Claims, Reports, Logs, Heartbeat, Wake, Demand, Elastic,
    Members, Events, AlertNote,
)  # fmt: skip
KINDS: dict[str, type[Body]] = {body.KIND: body for body in _ALL}
"""Every kind this version reads."""

B = TypeVar("B", bound=Body)


def encode(body: Body) -> bytes:
    """Write a body; fields that have their default are left out, except its kind."""
    fields = body.model_dump_json(exclude_defaults=True).encode()[1:]
    return b'{"kind":"%s"%s%s' % (body.KIND.encode(), b"" if fields == b"}" else b",", fields)


def decode(kind: str, raw: bytes, *expected: type[B]) -> B:
    """Read and check a body of one of the expected types.

    Raises InvalidMessage, saying what is wrong: another kind, a newer version of a known kind, or a malformed body.
    """
    for body in expected:
        if kind == body.KIND:
            try:
                return body.model_validate_json(raw)
            except ValidationError as error:
                raise InvalidMessage(f"a malformed {kind} message: {_first_problem(error)}") from error
    raise InvalidMessage(_unknown(kind, expected))


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(step) for step in first["loc"]) or "the body"
    return f"{place}: {first['msg']}"


def _unknown(kind: str, expected: tuple[type[Body], ...]) -> str:
    name, _, version = kind.partition("/")
    known = {body.KIND.partition("/")[0]: body.KIND for body in expected}
    if name in known and version.isdigit():
        return f"a {kind} message: this program reads {known[name]}; upgrade it, then replay the message"
    return f"a message of kind {kind or '(none)'} does not belong here; expected {', '.join(sorted(known.values()))}"
