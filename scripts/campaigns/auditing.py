"""Looking at the store from outside, and what must be true of it at every moment."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from .deployment import Deployment
from .history import History

_AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)

_STORED = """
SELECT json_build_object('run', r.id, 'key', r.key, 'state', r.state, 'n', (r.params::json->>'n')::int,
  'tasks', COALESCE((SELECT json_agg(json_build_array(t.name, t.kind, t.state, t.attempt, t.output::json, t.cause)
                                      ORDER BY t.n)
                     FROM tasks t WHERE t.run = r.id), '[]'::json)) AS line
FROM runs r WHERE r.owner = 'chaos' ORDER BY r.id"""

_FINAL = "('succeeded', 'failed', 'cancelled', 'expired', 'upstream_failed', 'skipped')"

HALF_STATES = f"""
SELECT 'run ' || r.id || ' counts ' || r.unfinished || ' unfinished tasks, and has ' || count(t.n) AS wrong
  FROM runs r LEFT JOIN tasks t ON t.run = r.id AND t.finished_at IS NULL
  WHERE r.state <> 'accepted' GROUP BY r.id, r.unfinished HAVING r.unfinished <> count(t.n)
UNION ALL
SELECT 'run ' || r.id || ' is ' || r.state || ', and its task ' || t.name || ' is ' || t.state
  FROM runs r JOIN tasks t ON t.run = r.id WHERE r.finished_at IS NOT NULL AND t.finished_at IS NULL
UNION ALL
SELECT 'task ' || run || '/' || name || ' is ' || state || ' and ' ||
       CASE WHEN finished_at IS NULL THEN 'has no' ELSE 'has an' END || ' end'
  FROM tasks WHERE (state IN {_FINAL}) <> (finished_at IS NOT NULL)
UNION ALL
SELECT 'task ' || run || '/' || name || ' is ' || state || ' and nobody holds it'
  FROM tasks WHERE state IN ('running', 'unreachable') AND (worker IS NULL OR boot IS NULL OR due_at IS NULL)
UNION ALL
SELECT 'task ' || run || '/' || name || ' waits for nothing, and nothing will make it ready'
  FROM tasks WHERE state = 'waiting' AND unmet = 0 AND due_at IS NULL
UNION ALL
SELECT 'task ' || t.run || '/' || t.name || ' waits for ' || t.unmet || ' tasks, and needs ' || count(u.n)
  FROM tasks t JOIN needs n ON n.run = t.run AND n.n = t.n
  JOIN tasks u ON u.run = n.run AND u.n = n.upstream AND u.state <> 'succeeded'
  WHERE t.state = 'waiting' AND t.unmet > 0 GROUP BY t.run, t.n, t.name, t.unmet HAVING t.unmet <> count(u.n)
UNION ALL
SELECT 'task ' || a.run || '/' || a.n || ' has succeeded ' || count(*) || ' times'
  FROM attempts a WHERE a.ended = 'succeed' GROUP BY a.run, a.n HAVING count(*) > 1
"""  # noqa: S608 - constants
"""Rows that contradict one another; one statement, so all of it is seen at one moment."""


class Eye:
    """Reads the store; while the store is away, it sees nothing (None) and comes back by itself."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()

    async def rows(self, sql: str, *values: object) -> list[asyncpg.Record] | None:
        """Return what a query finds, or None."""
        try:
            async with self._turn, asyncio.timeout(10):
                if self._connection is None:
                    self._connection = await asyncpg.connect(self._url, timeout=5)
                return list(await self._connection.fetch(sql, *values))
        except _AWAY:
            await self.close()
            return None

    async def close(self) -> None:
        """Let the connection go, whatever state it is in."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def count(self, sql: str, *values: object) -> int | None:
        """Return the one number that a query finds."""
        rows = await self.rows(sql, *values)
        return None if rows is None else int(rows[0][0])

    async def until_all_ended(self) -> None:
        """Return when no run is open any more."""
        while await self.count("SELECT count(*) FROM runs WHERE finished_at IS NULL") != 0:  # noqa: ASYNC110
            await asyncio.sleep(0.3)

    async def half_states(self) -> list[str]:
        """Return a sentence for every contradiction; nothing while the store is away."""
        return [str(row["wrong"]) for row in await self.rows(HALF_STATES) or []]


async def audit(deployment: Deployment, history: History, eye: Eye) -> None:
    """Write down what the store has, what in it is wrong, and what still runs on the hosts."""
    for row in await eye.rows(_STORED) or []:
        stored: dict[str, Any] = json.loads(row["line"])
        history.note("stored", **stored)
    for sentence in await eye.half_states():
        history.note("wrong", text=sentence, kind="unexpected")
    history.note("strays", count=await eye.count("SELECT count(*) FROM strays") or 0)
    parked = await eye.rows("SELECT reason, count(*) AS times FROM parked GROUP BY reason") or []
    for row in parked:
        history.note("parked", reason=row["reason"], times=row["times"])
    for process in await _still_there(deployment):
        history.note("wrong", text=f"a process of a job that has ended: {process}", kind="stuck")


async def _still_there(deployment: Deployment) -> list[str]:
    """Return the processes of jobs that do not go away; a runner takes a moment to end."""
    found: list[str] = []
    for _ in range(20):
        found = await asyncio.to_thread(deployment.leftovers)
        if not found:
            break
        await asyncio.sleep(0.5)
    return found
