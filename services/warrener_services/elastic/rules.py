"""The file of rules, as people write it: checked strictly, with every problem at once and its line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from warrener.errors import InvalidSettings, InvalidWorkflow
from warrener.ids import is_name
from warrener.messages import PROGRAMS, Json
from warrener.problems import Path as Place
from warrener.problems import Problem, findings, join, sentences
from warrener.reading import read_yaml
from warrener.retries import Duration, PositiveDuration

from .decision import Rule

_APP = re.compile(r"call\.([a-z0-9-]+)")
_HOW_LANES = 'write env, stage, job, or call.APP for the functions of Worker("APP")'


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Processes(_Written):
    """Processes of this host, of a program of their own each; they live on when `elastic` ends."""

    argv: tuple[str, ...] = ()
    """What to start; default: the program of the lanes, `warrener serve …`. A worker of calls must be named here."""
    environment: dict[str, str] = {}
    """Settings and other variables, added to those of `elastic` itself."""


class Compose(_Written):
    """Containers of one service of docker compose."""

    service: str = Field(min_length=1)
    folder: Path = Path()
    """Where the compose file is."""
    compose: tuple[str, ...] = Field(default=("docker", "compose"), min_length=1)
    """How compose is called; `[docker-compose]` for version 1."""
    docker: tuple[str, ...] = Field(default=("docker",), min_length=1)


class Command(_Written):
    """A command of the user's, given the number of workers that there should be."""

    argv: tuple[str, ...] = Field(min_length=1)
    """`{count}` and `{pool}` are filled in."""
    count: tuple[str, ...] = ()
    """A command that prints how many there are: only so a program that takes over knows it, and that some have died."""
    timeout: PositiveDuration = timedelta(minutes=2)
    """How long either may take; then it is killed, with what it started."""

    @model_validator(mode="after")
    def _counts(self) -> Self:
        if not self.count:
            raise ValueError(
                "count is missing: name a command that prints how many workers there are, for example"
                " count: [./count-workers]"
            )
        return self


class Pool(_Written):
    """The rule of one pool."""

    serves: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(min_length=1)
    """The lanes whose backlog counts: `env`, `stage`, `job`, `call.APP`."""
    site: str | None = None
    """Where its workers are; work that is bound to another site does not count. Default: WARRENER_SITE."""
    minimum: int = Field(default=0, ge=0, le=10_000)
    maximum: int = Field(ge=0, le=10_000)
    slots: int | None = Field(default=None, ge=1, le=100_000)
    """Of one worker; default: WARRENER_SLOTS."""
    drain_within: PositiveDuration = timedelta(seconds=30)
    """In which time the backlog should be gone. Shorter: more workers, for a shorter while."""
    wait_at_most: PositiveDuration | None = None
    """When the oldest ready task has waited longer, there is one worker more."""
    up_after: Duration = timedelta(seconds=5)
    """How long after growing the pool may grow again. Longer: new workers can show what they do first."""
    down_after: PositiveDuration = timedelta(minutes=1)
    """For how long fewer must have been enough before it shrinks. Longer: calmer, and dearer."""
    patience: PositiveDuration = timedelta(hours=1)
    """How long a worker that drains may take; then it is stopped, and what it ran is placed anew."""
    processes: Processes | None = None
    compose: Compose | None = None
    command: Command | None = None

    @model_validator(mode="before")
    @classmethod
    def _empty_driver(cls, value: object) -> object:
        """Let `processes:` with nothing behind it be all defaults."""
        if isinstance(value, dict) and "processes" in value and value["processes"] is None:
            return {**value, "processes": {}}
        return value

    @model_validator(mode="after")
    def _sound(self) -> Self:
        for number, lane in enumerate(self.serves):
            if lane in self.serves[:number]:
                raise ValueError(f"serves: {lane[:40]} is there twice; write it once")
            app = _APP.fullmatch(lane)
            if lane not in PROGRAMS and not (app and is_name(app[1])):
                raise ValueError(f"serves: there is no lane {lane[:40]!r}; {_HOW_LANES}")
        if self.site is not None and not is_name(self.site):
            raise ValueError(f"site: {self.site[:40]!r} is no name of a site: 1 to 64 of a-z, 0-9 and -")
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is more than maximum {self.maximum}; swap them")
        drivers = [name for name in ("processes", "compose", "command") if getattr(self, name) is not None]
        if len(drivers) != 1:
            found = f"it has {' and '.join(drivers)}" if drivers else "it has none"
            raise ValueError(f"a pool has one of processes, compose and command to start its workers; {found}")
        if self.processes is not None and not self.processes.argv and any(lane not in PROGRAMS for lane in self.serves):
            raise ValueError("processes: a pool that serves calls needs argv, for example [python, images.py]")
        return self

    def rule(self, slots: int) -> Rule:
        """Return the rule, with the deployment's slots of a worker where the file says nothing."""
        return Rule(
            minimum=self.minimum, maximum=self.maximum, slots=self.slots or slots,
            drain_within_s=self.drain_within.total_seconds(),
            wait_at_most_s=None if self.wait_at_most is None else self.wait_at_most.total_seconds(),
            up_after_s=self.up_after.total_seconds(), down_after_s=self.down_after.total_seconds(),
        )  # fmt: skip


class Rules(_Written):
    """A file of rules."""

    elastic: Literal[1] = 1
    """The version of the file."""
    every: PositiveDuration = timedelta(seconds=1)
    """How often is looked. Shorter: bursts are answered sooner."""
    pools: dict[str, Pool] = Field(min_length=1)


def read_rules(path: Path) -> Rules:
    """Read a file of rules; raises InvalidSettings with every problem, each with its line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidSettings(
            f"{path}: cannot be read: {error.strerror or error}; WARRENER_ELASTIC names it"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidSettings(f"{path}: is no text in UTF-8 (byte {error.start})") from error
    try:
        value, lines = read_yaml(text, str(path))
    except InvalidWorkflow as error:
        raise InvalidSettings(str(error)) from error
    if not isinstance(value, dict):
        raise InvalidSettings(f"{path}: a file of rules is a mapping with pools:")
    place = _places(path, lines)
    rules, problems = _checked(value)
    if rules is None or problems:
        raise InvalidSettings("\n".join(sentences(problems, place)))
    return rules


def _checked(value: dict[str, Json]) -> tuple[Rules | None, list[Problem]]:
    """Check pool by pool, so that each problem knows the fields that its place has."""
    written = value.get("pools")
    pools: dict[str, Pool] = {}
    problems: list[Problem] = []
    for name, pool in written.items() if isinstance(written, dict) else ():
        try:
            pools[str(name)] = Pool.model_validate(pool)
        except ValidationError as error:
            problems += [problem for problem, _ in findings(error, Pool, ("pools", str(name)))]
    try:
        rules = Rules.model_validate({**value, "pools": pools} if pools else value)
    except ValidationError as error:
        problems += [
            problem for problem, _ in findings(error, Rules, ()) if problem.path[:1] != ("pools",) or not problems
        ]
        return None, problems
    return rules, [*problems, *_across(rules)]


def _places(path: Path, lines: dict[Place, int]) -> Callable[[Place], str]:
    def place(at: Place) -> str:
        known = next((at[:end] for end in range(len(at), -1, -1) if at[:end] in lines), ())
        where = f"{path}:{lines.get(known, 1)}"
        return f"{where}: {join(at)}" if at else where

    return place


def _across(rules: Rules) -> Iterator[Problem]:
    """Yield what is wrong between pools, and with their names."""
    served: dict[tuple[str, str | None], str] = {}
    for name, pool in rules.pools.items():
        if not is_name(name) or len(name) > _LONGEST_NAME:
            yield Problem(
                ("pools", name), f"a pool's name has 1 to {_LONGEST_NAME} of a-z, 0-9 and -, and no - at its ends"
            )
        for lane in pool.serves:
            other = served.setdefault((lane, pool.site), name)
            if other != name:
                yield Problem(
                    ("pools", name, "serves"),
                    f"the pool {other} serves {lane} at the same site already; two would answer the same backlog",
                )


_LONGEST_NAME = 24
"""The names of its workers, which have 64 letters, begin with it."""
