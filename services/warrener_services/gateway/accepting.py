"""Accepting runs: checked first, committed once, the same for the same key."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from warrener.errors import InvalidWorkflow, StoreRefused
from warrener.ids import new_token
from warrener.messages import RunRequest
from warrener.reading import read_workflow
from warrener.store import Changes, RunRow, Transaction
from warrener.submission import definition_row, facts_of, make_run
from warrener.views import RunAsked, Submission, Submitted, SubmittedRun
from warrener.workflows import Definition

from .gateway import Gateway

_LOOKS = 3
"""How often a refused insertion is looked at again: another request may have taken its key meanwhile."""


async def accept(gateway: Gateway, asked: Submission) -> Submitted:
    """Accept runs, all or none; returns after the commit. Raises InvalidWorkflow with every problem, Overloaded."""
    now, shards = gateway.clock.now(), gateway.known_shards()
    runs = 1 if asked.runs is None else len(asked.runs)
    await gateway.backlog.add(runs, now, lambda most: gateway.read(lambda tx: tx.runs.count_accepted(most)))
    definition, rows = await asyncio.to_thread(_check, gateway, asked, now, shards)
    submitted = await _commit(gateway, definition, rows, now)
    new = {row.shard for row, run in zip(rows, submitted.runs, strict=True) if run.new}
    if new:
        gateway.wake(new)
    return submitted


def _check(gateway: Gateway, asked: Submission, now: datetime, shards: int) -> tuple[Definition, list[RunRow]]:
    definition = _definition(asked.workflow)
    wanted = _wanted(asked)
    rows: list[RunRow] = []
    problems: list[str] = []
    for n, one in enumerate(wanted):
        request = RunRequest(
            key=one.key or new_token(gateway.rng),
            params=one.params,
            priority=one.priority,
            logical_time=one.logical_time,
        )
        row = make_run(asked.owner, definition, request, now=now, shards=shards, rng=gateway.rng)
        place = "" if asked.runs is None else f"runs[{n}]: "
        try:
            definition.plan(one.params, run=facts_of(row))
        except InvalidWorkflow as error:
            problems += [place + problem for problem in error.problems]
        rows.append(row)
    if problems:
        raise InvalidWorkflow(problems)
    return definition, rows


def _definition(workflow: dict[str, object] | str) -> Definition:
    return read_workflow(workflow, "workflow") if isinstance(workflow, str) else Definition.parse(workflow)


def _wanted(asked: Submission) -> Sequence[RunAsked]:
    if asked.runs is None:
        return [asked]
    given = sorted(asked.model_fields_set & RunAsked.model_fields.keys())
    if given:
        raise InvalidWorkflow([f"{', '.join(given)}: with runs, this belongs into each of them"])
    return asked.runs


async def _commit(gateway: Gateway, definition: Definition, rows: Sequence[RunRow], now: datetime) -> Submitted:
    for look in range(_LOOKS):
        try:
            return await gateway.write(lambda tx: _add(tx, definition, rows, now))
        except StoreRefused:
            if look == _LOOKS - 1:
                raise
    raise AssertionError("unreachable")


def _add(tx: Transaction, definition: Definition, rows: Sequence[RunRow], now: datetime) -> Submitted:
    owner = rows[0].owner
    known = {key: run.id for (_, key), run in tx.runs.known([(owner, row.key) for row in rows]).items()}
    new: list[RunRow] = []
    results: list[SubmittedRun] = []
    for row in rows:
        if row.key not in known:
            known[row.key] = row.id
            new.append(row)
        results.append(SubmittedRun(id=known[row.key], key=row.key, new=known[row.key] == row.id))
    if new:
        tx.write(Changes(definitions=[definition_row(definition, now)], new_runs=new))
    return Submitted(runs=results)
