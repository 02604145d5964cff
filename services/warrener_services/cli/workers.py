"""`warrener workers`: who is there, what they have, how busy they are, and what gossip thinks of their hosts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.text import Text

    from warrener.client import Client
    from warrener.views import MemberView, WorkerView

_EXAMPLES = """\
[bold]Examples[/bold]
  warrener workers
  warrener workers --watch             # until Ctrl-C
  warrener workers job-meadow          # with cores, memory, software, labels
  warrener workers --members --json    # hosts, as gossip sees them

GOSSIP is what Serf thinks of the host: a hint. STATE is what the worker said itself, and counts.
"""
_EVERY_S = 1.0
_INTERRUPTED = 130
_HEADINGS = ("WORKER", "SERVES", "STATE", "SLOTS", "FREE", "LOAD", "SITE", "HOST", "GOSSIP", "HEARD", "")
_MEMBER_HEADINGS = ("MEMBER", "GOSSIP", "SINCE", "ADDRESS", "WORKERS")
_RIGHT = ("SLOTS", "FREE", "LOAD")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES, rich_help_panel="Programs")(workers)


def workers(
    name: Annotated[str | None, typer.Argument(help="Show this worker in full.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    members: Annotated[bool, typer.Option("--members", help="Show the members of the gossip pool instead.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it live, until Ctrl-C.")] = False,
) -> None:
    """List the workers: who is there, and how busy they are."""
    from warrener.client import Client
    from warrener.errors import Refused

    if sum((name is not None, members, watch)) > 1 or (watch and as_json):
        raise Refused("give one of NAME, --members and --watch; --json goes with the first two, or alone")
    with Client() as client:
        if watch:
            raise typer.Exit(_watch(client))
        if members:
            _show_members(client.members(), as_json=as_json)
        elif name is not None:
            _show_one(_named(client.workers(), name), client.members(), as_json=as_json)
        elif as_json:
            _say_json(client.workers())
        else:
            _show_all(client.workers(), client.members())


def _say_json(views: Iterable[WorkerView | MemberView]) -> None:
    from .screen import say

    say("[" + ",\n ".join(view.model_dump_json() for view in views) + "]")


# ── all of them ─────────────────────────────────────────────────────────────────────────────────────────────────


def _show_all(found: Sequence[WorkerView], members: Sequence[MemberView]) -> None:
    from .screen import say, show_table

    if found:
        show_table(_HEADINGS, [_row(worker) for worker in found], right=_RIGHT)
    else:
        say("No worker was heard. Start one with `warrener up`, or `warrener serve job_submission` in a fleet.")
    if others := _others(found, members):
        say()
        show_table(_MEMBER_HEADINGS, [_member_row(member) for member in others])


def _show_members(members: Sequence[MemberView], *, as_json: bool) -> None:
    from .screen import say, show_table

    if as_json:
        _say_json(members)
    elif not members:
        say("Gossip tells of nobody: is `warrener serve gossip` running, with WARRENER_GOSSIP or WARRENER_AGENT?")
    else:
        show_table(_MEMBER_HEADINGS, [_member_row(member) for member in members])


def _others(found: Sequence[WorkerView], members: Sequence[MemberView]) -> list[MemberView]:
    """Return the members that the workers' rows do not tell of: those that are not well, or have unheard workers."""
    heard = {worker.name for worker in found}
    hosts = (member for member in members if not member.asks)
    return [member for member in hosts if member.status != "alive" or set(member.workers) - heard]


def _row(worker: WorkerView) -> tuple[str | Text, ...]:
    from .screen import ago, one_line, state_text

    return (
        worker.name, " ".join([worker.kind, *worker.apps]), state_text(worker.state), str(worker.slots),
        str(worker.free), f"{worker.load:.2f}", worker.site, worker.host, _gossip(worker), ago(worker.heard_at),
        one_line(worker.note, 100),
    )  # fmt: skip


def _gossip(worker: WorkerView) -> str | Text:
    from .screen import ago, state_text

    if worker.gossip is None:
        return ""
    return state_text(worker.gossip) if worker.gossip == "alive" else f"{worker.gossip} {ago(worker.gossip_since)}"


def _member_row(member: MemberView) -> tuple[str | Text, ...]:
    from .screen import ago, state_text

    what = "no host: it only asks" if member.asks else " ".join(member.workers)
    return member.name, state_text(member.status), ago(member.since), member.address, what


# ── one in full ─────────────────────────────────────────────────────────────────────────────────────────────────


def _named(found: Sequence[WorkerView], name: str) -> WorkerView:
    from warrener.errors import NotFound
    from warrener.problems import meant

    for worker in found:
        if worker.name == name:
            return worker
    raise NotFound(f"no worker {name} was heard{meant(name, [worker.name for worker in found])}")


def _show_one(worker: WorkerView, members: Sequence[MemberView], *, as_json: bool) -> None:
    from .screen import say

    if as_json:
        say(worker.model_dump_json())
        return
    member = next((one for one in members if one.name == worker.member), None)
    for name, value in _facts(worker, member):
        if value:
            say(f"{name:<10} {value}")


def _facts(worker: WorkerView, member: MemberView | None) -> Iterable[tuple[str, str]]:
    from .screen import ago, lasted

    yield "worker", worker.name
    yield "serves", " ".join([worker.kind, *worker.apps])
    yield "state", f"{worker.state}, heard {ago(worker.heard_at)}"
    yield "note", worker.note
    yield "slots", f"{worker.free} free of {worker.slots}, {worker.attempts} attempts held"
    yield "withheld", f"{worker.withheld} slots, for the load of its host" if worker.withheld else ""
    yield "load", f"{worker.load:.2f} per core"
    yield "host", f"{worker.host} at site {worker.site}"
    if worker.member is not None:
        address = f" at {member.address}" if member is not None and member.address else ""
        since = f"{worker.gossip} for {lasted(worker.gossip_since, None)}" if worker.gossip else "not in gossip's sight"
        yield "member", f"{worker.member}{address}, {since}"
    if (tag := worker.tag) is not None:
        load = "" if tag.load is None else f", load {tag.load:.1f}"
        yield "tag", f"{tag.state}, {tag.free} free of {tag.slots}{load}"
    if (has := worker.attributes) is not None:
        yield "cores", str(has.cores)
        yield "memory", f"{has.memory_mib / 1024:.1f} GiB"
        yield "GPUs", str(has.gpus)
        yield "system", f"{has.platform}, Python {has.python}"
        yield "software", " ".join(has.software)
        yield "labels", " ".join(f"{name}={value}" if value else name for name, value in sorted(has.labels.items()))
        yield "targets", " ".join(has.targets)


# ── live ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _watch(client: Client) -> int:
    import sys

    from .screen import say_aside

    try:
        _live(client) if sys.stdout.isatty() else _plain(client)
    except KeyboardInterrupt:
        say_aside("")
    return _INTERRUPTED


def _live(client: Client) -> None:
    """Draw the table anew every second."""
    import time

    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from warrener.errors import GatewayUnavailable

    from .screen import console, table_of

    with Live(console=console(), auto_refresh=False, screen=False) as live:
        while True:
            try:
                found, members = client.workers(), client.members()
            except GatewayUnavailable:
                live.update(Text("the gateway is away; waiting for it", style="yellow"), refresh=True)
            else:
                parts = [table_of(_HEADINGS, [_row(worker) for worker in found], right=_RIGHT)]
                if others := _others(found, members):
                    parts.append(table_of(_MEMBER_HEADINGS, [_member_row(member) for member in others]))
                live.update(Group(*parts, Text("Ctrl-C stops watching", style="dim")), refresh=True)
            time.sleep(_EVERY_S)


def _plain(client: Client) -> None:
    """Write a line for each change of a state: for pipes and logs."""
    import time

    from warrener.errors import GatewayUnavailable

    from .screen import say, say_aside

    before: dict[str, str] = {}
    away = False
    while True:
        try:
            states: dict[str, str] = {f"worker {one.name}": one.state for one in client.workers()}
            states.update((f"member {one.name}", one.status) for one in client.members())
        except GatewayUnavailable:
            if not away:
                say_aside("the gateway is away; waiting for it")
            away = True
        else:
            away = False
            for who, state in states.items():
                if before.get(who) != state:
                    say(f"{who} {state}")
            for who in sorted(before.keys() - states.keys()):
                say(f"{who} forgotten")
            before = states
        time.sleep(_EVERY_S)
