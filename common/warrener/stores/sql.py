"""One store for both databases: SQLAlchemy Core over asyncpg for PostgreSQL, over sqlite3 in a thread for SQLite.

A transaction is one synchronous function. On PostgreSQL it runs on the event loop's own thread (SQLAlchemy's
greenlet bridge): waiting for the server does not block the loop. On SQLite it runs as a whole in one thread, which
costs one hop per transaction instead of one per statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, IntegrityError, ResourceClosedError
from sqlalchemy.exc import DataError as BadValueError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from warrener.errors import InvalidSettings, StoreRefused, StoreUnavailable, plain_words
from warrener.letters import Alerts, Delays, Letters
from warrener.store import (
    Changes,
    Configuration,
    Deployment,
    Mail,
    Notes,
    Past,
    Restraints,
    Runs,
    RunTimes,
    Schedulers,
    Shards,
    Tasks,
    Transaction,
)
from warrener.stores import migrations
from warrener.stores.alerts import SqlAlerts
from warrener.stores.applied import Applied
from warrener.stores.configuration import SqlConfiguration
from warrener.stores.delays import SqlDelays
from warrener.stores.letters import SqlLetters
from warrener.stores.mail import SqlMail
from warrener.stores.notes import SqlNotes
from warrener.stores.past import SqlPast
from warrener.stores.restraints import SqlRestraints
from warrener.stores.run_times import SqlRunTimes
from warrener.stores.runs import SqlRuns
from warrener.stores.schedulers import SqlSchedulers
from warrener.stores.shards import SqlShards
from warrener.stores.tables import deployment, shards
from warrener.stores.tasks import SqlTasks
from warrener.stores.writing import write_to_postgresql, write_to_sqlite

T = TypeVar("T")


Mode = Literal["transact", "read"]
"""A transaction that may write, or one that only reads."""

Reading = Callable[[Connection], tuple[T, Changes]]


class Database(Protocol):
    """Runs functions on a connection."""

    where: str

    async def run(self, work: Callable[[Connection], T], mode: Mode) -> T:
        """Run a function in one transaction."""
        ...

    async def apply(self, read: Reading[T], before: Applied | None) -> T:
        """Do as `Store.apply` says, behind the one before."""
        ...

    async def close(self) -> None: ...


class SqlStore:
    """The store over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last = Applied()

    async def migrate(self, *, shards: int) -> Deployment:
        if not await self._run(migrations.is_done, "read"):
            migrations.prepare()
            await self._run(migrations.upgrade, "transact")
        return await self._run(lambda connection: _make_deployment(connection, shards), "transact")

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        return await self._run(lambda connection: work(_transaction(connection)), "transact")

    async def apply(self, work: Callable[[Transaction], tuple[T, Changes]]) -> T:
        before, own = self._last, Applied()
        self._last = own

        def read(connection: Connection) -> tuple[T, Changes]:
            return work(_transaction(connection))

        with own:
            return await self._translated(self._database.apply(read, None if before.over else before))

    async def read(self, work: Callable[[Transaction], T]) -> T:
        return await self._run(lambda connection: work(_transaction(connection)), "read")

    async def look(self, work: Callable[[Connection], T]) -> T:
        """Run a function on the bare connection, without writing; tables may be missing or newer."""
        return await self._run(work, "read")

    async def close(self) -> None:
        await self._database.close()

    async def _run(self, work: Callable[[Connection], T], mode: Mode) -> T:
        return await self._translated(self._database.run(work, mode))

    async def _translated(self, running: Awaitable[T]) -> T:
        try:
            return await running
        except (DBAPIError, DisconnectionError, ResourceClosedError, PoolTimeoutError, OSError) as error:
            if _refused(error):
                raise StoreRefused(f"{self._database.where} refused the data: {_reason(error)}") from error
            raise StoreUnavailable(f"{self._database.where} is not available: {_reason(error)}") from error


class _Behind:
    """A connection whose first use waits until what is being written on another one is there to be read."""

    def __init__(self, connection: Connection, before: Applied) -> None:
        self._connection, self._before = connection, before
        self.dialect = connection.dialect

    def __getattr__(self, name: str) -> Any:
        await_only(self._before.wait())
        return getattr(self._connection, name)


def _behind(connection: Connection, before: Applied | None) -> Connection:
    return connection if before is None else cast("Connection", _Behind(connection, before))


class PostgreSQL:
    """PostgreSQL through asyncpg."""

    def __init__(self, url: URL, *, connections: int = 4) -> None:
        self.where = f"the database {url.set(query={}).render_as_string(hide_password=True)}"
        parsed = url.set(drivername="postgresql+asyncpg")
        self._engine = _postgresql_engine(parsed, connections, {}, answer_s=_ANSWER_S)
        self._applying = _postgresql_engine(parsed, 2, _KEYED, answer_s=_APPLY_ANSWER_S, isolation_level="AUTOCOMMIT")
        self._reading = asyncio.Lock()

    async def apply(self, read: Reading[T], before: Applied | None) -> T:
        """Let a function read and think while the database writes for the one before."""
        async with AsyncExitStack() as stack:
            async with self._reading:
                connection = await stack.enter_async_context(self._applying.connect())
                result, changes = await connection.run_sync(lambda sync: read(_behind(sync, before)))
            if before is not None:
                await before.wait()
            await connection.run_sync(write_to_postgresql, changes)
            return result

    async def run(self, work: Callable[[Connection], T], mode: Mode) -> T:
        async with self._engine.connect() as connection:
            if mode == "read":
                await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            async with connection.begin():
                return await connection.run_sync(work)

    async def close(self) -> None:
        await self._engine.dispose()
        await self._applying.dispose()


_ANSWER_S = 60.0
"""How long the answer to a statement may take; SQLAlchemy leaves a connection whose answer did not come."""
_APPLY_ANSWER_S = 15.0
"""The same for what a scheduler writes, which stands still meanwhile; migrations may take longer."""

_SHORT = {"jit": "off", "max_parallel_workers_per_gather": "0"}
"""Statements are many and short: compiling one, or starting processes for it, takes longer than running it."""

_KEYED = {
    "plan_cache_mode": "force_generic_plan",  # to plan a statement with so many parts takes longer than to execute it
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "join_collapse_limit": "1",  # tables are joined in the order in which a statement names them
}
"""What PostgreSQL must know of a scheduler's statements: each goes for its rows by an index, however many rows it
brings, and however many the statistics say that there are."""


def _postgresql_engine(
    url: URL, connections: int, settings: dict[str, str], *, answer_s: float, **options: Any
) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=10,
        connect_args={
            "timeout": 5,
            "command_timeout": answer_s,
            "prepared_statement_cache_size": 500,  # there are more statements than SQLAlchemy's default of 100
            "server_settings": {
                "application_name": "warrener",
                # A frozen program must not keep others from its shards by the locks of an open transaction.
                "idle_in_transaction_session_timeout": "4000",  # milliseconds
                **_SHORT,
                **settings,
            },
        },
        **options,
    )


class SQLite:
    """SQLite in a file, write-ahead log, fsync at every commit; one thread writes, another reads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.where = f"the database {path}"
        self._engine = sqlite_engine(str(path))
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="sqlite-reader")

    async def run(self, work: Callable[[Connection], T], mode: Mode) -> T:
        thread = self._reader if mode == "read" else self._writer
        job = asyncio.get_running_loop().run_in_executor(thread, _in_transaction, self._engine, work, mode)
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            # The thread cannot be stopped; whoever cancels must not go on while it still writes.
            await asyncio.wait([job])
            raise

    async def apply(self, read: Reading[T], before: Applied | None) -> T:
        return await _in_turn(self, read, before)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._writer, self._engine.dispose)
        self._writer.shutdown(wait=False)
        self._reader.shutdown(wait=False)


class Inline:
    """SQLite without a thread: the event loop stands still meanwhile. For simulations."""

    where = "the database in memory"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def run(self, work: Callable[[Connection], T], mode: Mode) -> T:
        return _in_transaction(self._engine, work, mode)

    async def apply(self, read: Reading[T], before: Applied | None) -> T:
        return await _in_turn(self, read, before)

    async def close(self) -> None:
        """The engine belongs to whoever made it: it outlives simulated crashes."""


def open_store(url: str) -> SqlStore:
    """Make the store of a URL (`postgresql://…`, `sqlite:///path`); connects at the first use."""
    parsed = read_url(url)
    if parsed.get_backend_name() == "sqlite":
        return SqlStore(SQLite(Path(parsed.database or "")))
    return SqlStore(PostgreSQL(parsed))


def read_url(text: str) -> URL:
    """Read WARRENER_STORE; raises InvalidSettings, which shows no password."""
    try:
        url = make_url(text)
        if url.get_backend_name() in ("postgresql", "postgres") or _is_file(url):
            return url
    except (ValueError, ArgumentError):
        pass  # its text may quote the password: the cause is not kept
    raise InvalidSettings(
        "WARRENER_STORE is no URL of a database; give postgresql://user:password@host:port/database or"
        " sqlite:///path/to/file"
    )


def _is_file(url: URL) -> bool:
    return url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")


def sqlite_engine(path: str) -> Engine:
    """Make an engine whose transactions begin when told to, and take the write lock at once."""
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30, "check_same_thread": False})
    begin_when_told(engine)
    return engine


def begin_when_told(engine: Engine) -> None:
    """Let the transactions of an SQLite engine begin as `sqlite_engine` says."""

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # sqlite3's own BEGIN comes too late; see SQLAlchemy's pysqlite notes
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("write", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _in_transaction(engine: Engine, work: Callable[[Connection], T], mode: Mode) -> T:
    with engine.connect().execution_options(write=mode != "read") as connection, connection.begin():
        return work(connection)


class SqlTransaction:
    """The queries of all parts over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.shards: Shards = SqlShards(connection)
        self.schedulers: Schedulers = SqlSchedulers(connection)
        self.runs: Runs = SqlRuns(connection)
        self.tasks: Tasks = SqlTasks(connection)
        self.mail: Mail = SqlMail(connection)
        self.notes: Notes = SqlNotes(connection)
        self.past: Past = SqlPast(connection)
        self.run_times: RunTimes = SqlRunTimes(connection)
        self.configuration: Configuration = SqlConfiguration(connection)
        self.alerts: Alerts = SqlAlerts(connection)
        self.letters: Letters = SqlLetters(connection)
        self.delays: Delays = SqlDelays(connection)
        self.restraints: Restraints = SqlRestraints(connection)

    def write(self, changes: Changes) -> None:
        if self._connection.dialect.name == "postgresql":
            write_to_postgresql(self._connection, changes)
        else:
            if changes.epochs:
                self.shards.fence(changes.epochs)
            write_to_sqlite(self._connection, changes)


async def _in_turn(database: Database, read: Reading[T], before: Applied | None) -> T:
    """Let a function read and write in one transaction, after the one before."""
    if before is not None:
        await before.wait()

    def read_and_write(connection: Connection) -> T:
        result, changes = read(connection)
        _transaction(connection).write(changes)
        return result

    return await database.run(read_and_write, "transact")


def _transaction(connection: Connection) -> Transaction:
    return SqlTransaction(connection)


def _make_deployment(connection: Connection, number: int) -> Deployment:
    migrations.take_turn(connection)
    found: int | None = connection.scalar(select(deployment.c.shards))
    if found is None:
        connection.execute(insert(deployment), {"id": 1, "shards": number})
        connection.execute(
            insert(shards),
            [{"shard": shard, "owner": None, "epoch": 0, "beat": 0} for shard in range(number)],
        )
    return Deployment(shards=number if found is None else found)


def _refused(error: Exception) -> bool:
    """Tell a value that the database will never take from a database that is away."""
    # asyncpg's bad values come as a plain DBAPIError: only their code tells (classes 22 and 23 of PostgreSQL's codes).
    code = getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None
    return isinstance(error, IntegrityError | BadValueError) or str(code or "")[:2] in ("22", "23")


def _reason(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return plain_words(str(cause).strip().splitlines()[0][:300]) if str(cause).strip() else type(cause).__name__
