"""The tables. Migrations make them; this is what queries speak of.

JSON is kept as text: no query looks into it, and both databases keep it byte for byte. Moments are microseconds since
1970, so that both databases order and index them alike. Ids are digits and lower-case letters only, which every
collation orders alike.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""The deadline of what has none: it sorts behind every other."""


@lru_cache(maxsize=8192)  # the rows of a tick share their moments
def to_microseconds(moment: datetime) -> int:
    """Return a moment as the database keeps it."""
    return (moment - _EPOCH) // _MICROSECOND


class Moment(TypeDecorator[datetime]):
    """An aware datetime, kept as microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        del dialect
        return None if value is None else to_microseconds(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        del dialect
        return None if value is None else _EPOCH + timedelta(microseconds=value)


metadata = MetaData()

IS_READY = text("state = 'ready'")
IS_IN_FLIGHT = text("state IN ('ordered', 'running', 'unreachable', 'cancelling')")
HAS_DEADLINE = text("deadline_at < 253370764800000000 AND finished_at IS NULL")  # the number is `NEVER`
"""The conditions of partial indexes. Queries use them word for word: a bound parameter would hide the index."""

AGEING = "(ready_at - CAST(priority + level AS BIGINT) * 600000000)"
"""What the index `tasks_ageing` orders: the moment, less a constant, when a ready task deserves its next level.

600,000,000 is `ordering.STEP` in microseconds. The migration alone makes this index, as neither database tells
SQLAlchemy of an expression in a way that it could compare.
"""

Serial = BigInteger().with_variant(Integer, "sqlite")

deployment = Table(
    "deployment",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("shards", SmallInteger, nullable=False),
)

shards = Table(
    "shards",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("owner", Text),  # the scheduler's name; none before the first
    Column("epoch", BigInteger, nullable=False),
    Column("beat", BigInteger, nullable=False),  # moves while the owner lives
)

schedulers = Table(
    "schedulers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("life", Text, nullable=False),  # of its process: the same name comes again after a restart
    Column("beat", BigInteger, nullable=False),  # moves while it lives
)

workflows = Table(
    "workflows",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("definition", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("shard", SmallInteger, nullable=False),
    Column("owner", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("workflow", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("params", Text, nullable=False),
    Column("priority", SmallInteger),
    Column("logical_time", Moment),
    Column("state", Text, nullable=False),
    Column("tasks", Integer, nullable=False),
    Column("unfinished", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("cancelled", Integer, nullable=False),
    Column("site", Text),
    Column("accepted_at", Moment, nullable=False),
    Column("finished_at", Moment),
    UniqueConstraint("owner", "key", name="runs_owner_key"),
    Index(
        "runs_accepted",
        "id",
        sqlite_where=text("state = 'accepted'"),
        postgresql_where=text("state = 'accepted'"),
    ),
    Index(
        "runs_over",
        "shard",
        "finished_at",
        "id",
        sqlite_where=text("finished_at IS NOT NULL"),
        postgresql_where=text("finished_at IS NOT NULL"),
    ),
    Index(
        "runs_open",
        "accepted_at",
        "id",
        sqlite_where=text("finished_at IS NULL"),
        postgresql_where=text("finished_at IS NULL"),
    ),
    Index(
        "runs_sited",
        "shard",
        sqlite_where=text("finished_at IS NULL AND site IS NOT NULL"),
        postgresql_where=text("finished_at IS NULL AND site IS NOT NULL"),
    ),
)

tasks = Table(
    "tasks",
    metadata,
    Column("run", Text, nullable=False),
    Column("n", Integer, nullable=False),
    Column("shard", SmallInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("workflow", Text, nullable=False),
    Column("section", Text, nullable=False),
    Column("templated", Boolean, nullable=False),
    Column("policy", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("weight", Integer, nullable=False),
    Column("deadline_at", Moment, nullable=False),
    Column("fanout", Integer, nullable=False),  # how many tasks need this one
    Column("state", Text, nullable=False),
    Column("unmet", Integer, nullable=False),  # how many tasks this one still waits for
    Column("level", SmallInteger, nullable=False),  # 9 - priority, less what ageing gave; 0 goes first
    Column("minus_path_s", Double, nullable=False),  # expected seconds to the end of the run; the longest path first
    Column("ready_at", Moment),
    Column("due_at", Moment),  # when the owner must look again: retry, grace, order, lease; not for age
    Column("attempt", Integer, nullable=False),
    Column("tries", Integer, nullable=False),  # failed tries that count against `retry`
    Column("worker", Text),
    Column("boot", Text),
    Column("ordered_at", Moment),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("cause", Text),
    Column("message", Text),
    Column("exit_code", Integer),
    Column("output", Text),
    PrimaryKeyConstraint("run", "n"),
    Index(
        "tasks_ready",
        "shard",
        "lane",
        "level",
        "deadline_at",
        "minus_path_s",
        "ready_at",
        "run",
        "n",
        sqlite_where=IS_READY,
        postgresql_where=IS_READY,
    ),
    Index(
        "tasks_due",
        "due_at",
        sqlite_where=text("due_at IS NOT NULL"),
        postgresql_where=text("due_at IS NOT NULL"),
    ),
    Index(
        "tasks_late",
        "deadline_at",
        sqlite_where=HAS_DEADLINE,
        postgresql_where=HAS_DEADLINE,
    ),
    Index(
        "tasks_in_flight",
        "shard",
        sqlite_where=IS_IN_FLIGHT,
        postgresql_where=IS_IN_FLIGHT,
    ),
)

needs = Table(
    "needs",
    metadata,
    Column("run", Text, nullable=False),
    Column("upstream", Integer, nullable=False),
    Column("n", Integer, nullable=False),
    PrimaryKeyConstraint("run", "upstream", "n"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("run", Text, nullable=False),
    Column("n", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("ended", Text, nullable=False),  # the move that ended it
    Column("worker", Text),
    Column("ordered_at", Moment),
    Column("started_at", Moment),
    Column("ended_at", Moment, nullable=False),
    Column("cause", Text),
    Column("message", Text),
    Column("exit_code", Integer),
    PrimaryKeyConstraint("run", "n", "attempt"),
)

configuration = Table(
    "configuration",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text),  # NULL: not configured any more
    Column("version", Integer, nullable=False),  # of the whole table, when this row changed
    Column("at", Moment, nullable=False),
    UniqueConstraint("version", name="configuration_version"),
)

run_times = Table(
    "run_times",
    metadata,
    Column("workflow", Text, nullable=False),  # the name: versions share what they have learned
    Column("task", Text, nullable=False),
    Column("mean_s", Double, nullable=False),
    Column("at", Moment, nullable=False),
    PrimaryKeyConstraint("workflow", "task"),
    Index("run_times_at", "at"),
)

drains = Table(
    "drains",
    metadata,
    Column("what", Text, nullable=False),  # worker, host
    Column("name", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Moment, nullable=False),
    PrimaryKeyConstraint("what", "name"),
)

penalties = Table(
    "penalties",
    metadata,
    Column("host", Text, nullable=False),
    Column("strikes", Integer, nullable=False),
    Column("quarantines", Integer, nullable=False),
    Column("until", Moment),
    Column("reason", Text, nullable=False),
    Column("at", Moment, nullable=False),
    PrimaryKeyConstraint("host"),
)

deaths = Table(
    "deaths",
    metadata,
    Column("run", Text, nullable=False),
    Column("n", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),  # that the worker held when it died
    Column("shard", SmallInteger, nullable=False),
    Column("worker", Text, nullable=False),
    Column("boot", Text, nullable=False),
    Column("at", Moment, nullable=False),
    PrimaryKeyConstraint("run", "n", "attempt"),
    Index("deaths_boot", "boot"),
    Index("deaths_shard", "shard"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("message_id", Text, primary_key=True),
    Column("shard", SmallInteger, nullable=False),
    Column("exchange", Text, nullable=False),
    Column("routing_key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("mandatory", Boolean, nullable=False),
    Column("correlation_id", Text),
    Column("headers", Text, nullable=False),
)

inbox = Table(
    "inbox",
    metadata,
    Column("message_id", Text, primary_key=True),
    Column("at", Moment, nullable=False),
    Index("inbox_at", "at"),
)

intents = Table(
    "intents",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("shard", SmallInteger, nullable=False),
    Column("run", Text, nullable=False),
    Column("what", Text, nullable=False),  # cancel, retry
    Column("at", Moment, nullable=False),
    Index("intents_shard", "shard", "id"),
)

logs = Table(
    "logs",
    metadata,
    Column("run", Text, nullable=False),
    Column("n", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("stream", Text, nullable=False),
    Column("start", Integer, nullable=False),  # in characters, from the beginning of the stream
    Column("text", Text, nullable=False),
    PrimaryKeyConstraint("run", "n", "attempt", "stream", "start"),
)

strays = Table(
    "strays",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("run", Text, nullable=False),
    Column("n", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("worker", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("report", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Index("strays_run", "run", "n"),
)

parked = Table(
    "parked",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("message_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("exchange", Text, nullable=False),
    Column("routing_key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("headers", Text, nullable=False),
    Column("at", Moment, nullable=False),
    UniqueConstraint("message_id", name="parked_message"),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("message_id", Text),  # of the `alert/1` that brought it; none where it was written directly
    Column("episode", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("site", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("look", Text, nullable=False),
    Column("excerpt", Text, nullable=False),
    Column("over", Boolean, nullable=False),  # this row is the recovery of an earlier one
    Column("at", Moment, nullable=False),
    # From here on it is the desk's, which every gossip program runs.
    Column("sorted_at", Moment),  # when it was given to letters, or found to be told already
    Column("repeats", Integer, nullable=False, server_default=text("0")),  # raised so often again while open
    Column("over_at", Moment),
    Column("over_text", Text),
    Column("acked_at", Moment),
    Column("acked_by", Text),
    Column("note", Text),
    UniqueConstraint("message_id", name="alerts_message"),
    Index(
        "alerts_unsorted",
        "id",
        sqlite_where=text("sorted_at IS NULL"),
        postgresql_where=text("sorted_at IS NULL"),
    ),
    Index("alerts_episode", "episode", "id"),
)

letters = Table(
    "letters",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("token", Text, nullable=False),  # names it for ever: its Message-ID
    Column("destination", Text, nullable=False),  # mail:ADDRESS, webhook:NAME
    Column("fold", Text, nullable=False),  # alerts of one fold and destination share letters
    Column("content", Text, nullable=False),  # which alerts, and how many of what
    Column("opened_at", Moment, nullable=False),
    Column("due_at", Moment, nullable=False),  # from here, for `span_s`, what follows is gathered for the next one
    Column("span_s", Double, nullable=False),
    Column("try_at", Moment, nullable=False),  # when to hand it over, or to try again
    Column("tries", Integer, nullable=False),
    Column("sealed", Boolean, nullable=False),  # it may be out already: nothing is added any more
    Column("taken_by", Text),  # who hands it over now
    Column("ended_at", Moment),
    Column("outcome", Text),  # how it went, or why it waits
    UniqueConstraint("token", name="letters_token"),
    Index(
        "letters_waiting",
        "try_at",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    Index("letters_fold", "destination", "fold", "id"),
)
