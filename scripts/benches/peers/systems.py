"""What is compared, and how each is set: the best fair configuration on two cores."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class System:
    """One row of the table. Without a `command` it is Warrener.

    `keeps_label` is short, for the plot. `command` starts the workers; its first word is a program of the environment
    of the others. `share` is its part of a round's tasks, so that a slow one takes about as long as a quick one.
    """

    name: str
    title: str
    keeps: str
    settings: str
    keeps_label: str = "keeps nothing"
    command: tuple[str, ...] = ()
    app: str = ""
    results: bool = False
    share: float = 1.0


_CELERY = (
    "celery", "-A", "benches.peers.celery_app", "worker",
    "--without-gossip", "--without-mingle", "--loglevel", "WARNING",
)  # fmt: skip

WARRENER = System(
    "warrener",
    "Warrener",
    keeps="every task, its moves and its result, in PostgreSQL",
    keeps_label="keeps all, in PostgreSQL",
    settings="a scheduler, a worker with 100 slots; 100 tasks in a submission, 20 submissions at once",
)
SYSTEMS = (
    WARRENER,
    System(
        "faststream",
        "FastStream",
        keeps="nothing",
        settings="1 process on uvloop, 100 messages prefetched, acknowledges by hand when the work is done;"
        " 100 confirms in flight",
        app="faststream_app",
        command=("faststream", "run", "benches.peers.faststream_app:app", "--log-level", "warning"),
    ),
    System(
        "taskiq",
        "Taskiq",
        keeps="nothing",
        settings="1 process on uvloop, 100 messages prefetched and 100 tasks at once, orjson, `--ack-type"
        " when_executed`, a classic queue as all others have; 100 confirms in flight",
        app="taskiq_app",
        command=(
            "taskiq", "worker", "benches.peers.taskiq_app:broker", "--workers", "1", "--max-async-tasks", "100",
            "--ack-type", "when_executed", "--log-level", "WARNING",
        ),
    ),
    System(
        "dramatiq",
        "Dramatiq",
        keeps="nothing",
        settings="1 process with 8 threads, 16 messages prefetched (its default), `confirm_delivery`; 4 threads"
        " submit, each waiting for its confirms",
        app="dramatiq_app",
        command=("dramatiq", "benches.peers.dramatiq_app:broker", "--processes", "1", "--threads", "8"),
    ),
    System(
        "celery",
        "Celery",
        keeps="nothing",
        settings="1 process, the pool `threads` with 8 (quicker here than its default, `prefork`), 128 messages"
        " prefetched, `acks_late`, `confirm_publish`, no gossip, no mingle; 8 threads submit, each waiting for its"
        " confirms",
        app="celery_app",
        command=(*_CELERY, "--pool", "threads", "--concurrency", "8", "--prefetch-multiplier", "16"),
        share=0.6,
    ),
    System(
        "celery-postgresql",
        "Celery",
        keeps="results, in PostgreSQL",
        keeps_label="keeps results, in PostgreSQL",
        settings="the same, but the pool `prefork` with 2: with `threads`, its backend connects for each result",
        app="celery_app",
        command=(*_CELERY, "--pool", "prefork", "--concurrency", "2", "--prefetch-multiplier", "64"),
        results=True,
        share=0.2,
    ),
)  # fmt: skip
