"""A submission becomes a run: pure rules, shared by every way in.

A run is accepted when its row is committed; expanding it into tasks is the owner's.
"""

from __future__ import annotations

import json
from datetime import datetime
from random import Random

from warrener.ids import new_run_id, shard_for
from warrener.messages import RunRequest
from warrener.runs import RunState
from warrener.store import Definition as DefinitionRow
from warrener.store import RunRow
from warrener.workflows import Definition, RunFacts


def make_run(
    owner: str, definition: Definition, request: RunRequest, *, now: datetime, shards: int, rng: Random
) -> RunRow:
    """Make the row of a new run, accepted and not expanded."""
    shard = shard_for(owner, request.key, shards)
    return RunRow(
        id=new_run_id(now, shard, rng),
        shard=shard,
        owner=owner,
        key=request.key,
        workflow=definition.name,
        digest=definition.digest,
        params=json.dumps(request.params, separators=(",", ":")),
        priority=request.priority,
        logical_time=request.logical_time,
        state=RunState.ACCEPTED,
        accepted_at=now,
    )


def facts_of(run: RunRow) -> RunFacts:
    """Return what templates may know of a run."""
    return RunFacts(id=run.id, owner=run.owner, logical_time=run.logical_time, priority=run.priority)


def definition_row(definition: Definition, now: datetime) -> DefinitionRow:
    """Return a definition as the store keeps it: its tasks in their order."""
    text = json.dumps(definition.definition, separators=(",", ":"))
    return DefinitionRow(definition.digest, definition.name, definition.version, text, now)
