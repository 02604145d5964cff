"""What the gateway shows and takes: the bodies of the REST contract, shared by the gateway and its clients.

What comes from the gateway is read tolerantly: a client ignores fields it does not know. What a person sends is read
strictly: an unknown field is refused.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from warrener.alerts import Severity
from warrener.messages import Attributes, Json, KeyText, NameText
from warrener.states import State

LIMIT = 1000
"""The most rows of anything that one answer holds."""


class View(BaseModel):
    """Something shown: frozen, tolerant of fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Asked(BaseModel):
    """Something asked for by a person: an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# ── runs ────────────────────────────────────────────────────────────────────────────────────────────────────────


class RunAsked(Asked):
    """One run of a batch."""

    key: KeyText | None = Field(default=None, description="Idempotency key: the same owner and key, the same run.")
    params: dict[str, Json] = Field(default={}, description="Values of the workflow's parameters.")
    priority: Annotated[int, Field(ge=0, le=9)] | None = Field(
        default=None, description="0 to 9, 9 goes first; overrides the priority of every task."
    )
    logical_time: AwareDatetime | None = Field(default=None, description="The moment that the run is about.")


class Submission(RunAsked):
    """A workflow and what to run of it: one run, or a batch with `runs`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "workflow": "workflow: hello\ntasks:\n  greet:\n    job: {argv: [echo, hello]}\n",
                    "key": "hello-2026-11-21",
                    "owner": "ada",
                },
                {
                    "workflow": {
                        "workflow": "plots",
                        "params": {"day": {"type": "string"}},
                        "tasks": {"plot": {"job": {"argv": ["plot", "{{ params.day }}"]}}},
                    },
                    "runs": [
                        {"key": "day-1", "params": {"day": "1"}},
                        {"key": "day-2", "params": {"day": "2"}},
                    ],
                },
            ]
        }
    )

    workflow: dict[str, Json] | str = Field(description="The definition: a JSON object, or YAML text.")
    owner: NameText = Field(default="local", description="Whose run it is.")
    runs: list[RunAsked] | None = Field(default=None, min_length=1, max_length=LIMIT, description="The batch form.")


class SubmittedRun(View):
    """An accepted run; `new` is false when the key was known."""

    id: str
    key: str
    new: bool = True


class Submitted(View):
    """What became of a submission, in its order. All of it is committed."""

    runs: list[SubmittedRun]


class RunView(View):
    """A run."""

    id: str
    workflow: str
    owner: str
    key: str
    state: str
    priority: int | None = None
    logical_time: AwareDatetime | None = None
    site: str | None = None
    accepted_at: AwareDatetime
    finished_at: AwareDatetime | None = None
    task_count: int = Field(default=0, description="0 until a scheduler has taken the run up.")
    unfinished: int = 0
    failed: int = 0
    cancelled: int = 0


class TaskView(View):
    """A task of a run. `tries` counts failed tries; `attempt` counts every one, also those lost with a worker."""

    n: int
    name: str
    kind: str
    lane: str
    state: State
    priority: int
    weight: int = 1
    attempt: int = 0
    tries: int = 0
    worker: str | None = None
    ready_at: AwareDatetime | None = None
    due_at: AwareDatetime | None = None
    ordered_at: AwareDatetime | None = None
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    cause: str | None = None
    message: str | None = None
    exit_code: int | None = None


class RunDetail(RunView):
    """A run with its parameters and tasks. `seen` names this picture: give it back to wait for another one."""

    params: dict[str, Json] = {}
    counts: dict[str, int] = Field(default={}, description="How many tasks are in each state.")
    tasks: list[TaskView] = []
    seen: str = ""


class RunPage(View):
    """Runs, newest first. `next` is the `before` of the following page."""

    runs: list[RunView]
    next: str | None = None


# ── tasks ───────────────────────────────────────────────────────────────────────────────────────────────────────


class AttemptView(View):
    """An attempt that ended without ending its task."""

    attempt: int
    ended: str
    worker: str | None = None
    ordered_at: AwareDatetime | None = None
    started_at: AwareDatetime | None = None
    ended_at: AwareDatetime
    cause: str | None = None
    message: str | None = None
    exit_code: int | None = None


class StrayView(View):
    """A report that came too late or was strange; kept, never applied."""

    attempt: int
    worker: str
    reason: str
    at: AwareDatetime


class TaskDetail(TaskView):
    """A task with its output, what it needs, and its history."""

    run: str
    needs: list[str] = []
    output: Json = None
    attempts: list[AttemptView] = []
    strays: list[StrayView] = []


class LogPieceView(View):
    """What was printed, from an offset in characters. Between two pieces something may be missing."""

    start: int
    text: str


class LogPage(View):
    """Pieces of one stream of one attempt. Ask again from `next`; `open` tells whether more may come."""

    attempt: int
    stream: str
    pieces: list[LogPieceView]
    next: int
    open: bool


class Waiting(View):
    """What a task waits for, in one sentence."""

    task: str
    state: State
    why: str


class WaitingPage(View):
    """What a run waits for: a sentence for the run, and one for each task that is not final (the first ones)."""

    run: str
    state: str
    why: str
    tasks: list[Waiting] = []


# ── the deployment ──────────────────────────────────────────────────────────────────────────────────────────────


class TagView(View):
    """What a worker's tag says."""

    state: str
    free: int
    slots: int
    load: float | None = None


class WorkerView(View):
    """A worker as the gateway has heard it."""

    name: str
    kind: str
    apps: list[str] = []
    site: str
    host: str
    member: str | None = None
    slots: int
    free: int
    load: float = 0.0
    state: Literal["up", "draining", "drained", "quarantined", "silent", "gone"] = "up"
    attempts: int = 0
    heard_at: AwareDatetime
    gossip: Literal["alive", "leaving", "left", "failed"] | None = None
    """What gossip thinks of the member beside it; None: there is none, or nothing was heard of it."""
    gossip_since: AwareDatetime | None = None
    """Since when, as far as the gateway knows."""
    tag: TagView | None = None
    """What its member tells of it in the pool; usually a few seconds old."""
    digest: str = ""
    attributes: Attributes | None = None
    withheld: int = Field(default=0, description="How many slots it keeps empty for the load of its host.")
    limit: int | None = Field(default=None, description="How many slots it may fill, if not all; it says so itself.")
    note: str = Field(default="", description="Why it gets less work than it could take, or none.")


class ConfiguredView(View):
    """A setting of all programs, as it is configured while they run."""

    name: str
    value: str
    version: int
    at: AwareDatetime


class ConfiguredAsked(Asked):
    """A value asked for."""

    value: str = Field(max_length=200)


class MemberView(View):
    """A member of the gossip pool: a host, or a program with an agent of its own."""

    name: str
    status: Literal["alive", "leaving", "left", "failed"]
    since: AwareDatetime
    """Since when, as far as the gateway knows."""
    address: str = ""
    workers: list[str] = []
    """The workers that it has, or had when it was last heard."""
    asks: bool = False
    """Whether it is no host, but an agent that lives only to ask the pool something (`warrener find`)."""


class DrainView(View):
    """A worker or a host that gets no more work because a person said so."""

    what: Literal["worker", "host"]
    name: str
    by: str
    reason: str = ""
    at: AwareDatetime


class DrainAsked(Asked):
    """Who wants it, and why."""

    by: str = Field(default="somebody", min_length=1, max_length=100, description="Who wants it.")
    reason: str = Field(default="", max_length=500, description="Why.")


class PoolView(View):
    """A pool of workers that an elastic program keeps, as the gateway has heard of it."""

    name: str
    host: str
    lanes: list[str] = []
    site: str = ""
    minimum: int
    maximum: int
    wanted: int
    running: int
    leaving: int = 0
    why: str = ""
    action: str = ""
    action_at: AwareDatetime | None = None
    trouble: str = ""
    silent: bool = False
    heard_at: AwareDatetime


class ParkedView(View):
    """A message that nobody could handle."""

    id: int
    message_id: str
    reason: str
    exchange: str
    routing_key: str
    kind: str
    size_bytes: int
    at: AwareDatetime


class ParkedDetail(ParkedView):
    """A parked message with its body, as text, and its headers."""

    headers: dict[str, str] = {}
    body: str = ""


class AlertView(View):
    """Something that admins should know. `sorted`: an alert desk has seen it; `repeats`: raised so often again."""

    id: int
    kind: str
    subject: str
    severity: Severity
    site: str = ""
    owner: str = ""
    text: str
    cause: str = ""
    look: str = ""
    at: AwareDatetime
    sorted: bool = True
    repeats: int = 0
    over_at: AwareDatetime | None = None
    over_text: str = ""
    acked_at: AwareDatetime | None = None
    acked_by: str = ""
    note: str = ""


class LetterView(View):
    """A mail to one address, or a call of one webhook: how it went, or why it waits."""

    destination: str
    tries: int = 0
    ended_at: AwareDatetime | None = None
    outcome: str = ""


class AlertDetail(AlertView):
    """An alert with the end of what was printed; a test also with its letters."""

    excerpt: str = ""
    letters: list[LetterView] = []


class AckAsked(Asked):
    """Who takes care of an alert, and what of it."""

    by: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$", description="Who acknowledges it.")
    note: str = Field(
        default="", max_length=2_000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$", description="What is done."
    )


class Health(View):
    """Whether the gateway can take submissions (store), and whether anybody is told at once (broker)."""

    store: bool
    broker: bool
    broker_trouble: str = Field(default="", description="What is wrong with the broker, such as an alarm of its own.")
    version: str = ""
