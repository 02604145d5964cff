"""The command `scripts/stack`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from random import SystemRandom

from .engine import ROOT, Engine, StackError
from .sealed import make_secrets
from .trial import Plan, table, trial

SECRETS = ROOT / ".warrener" / "stack"
PORTS = ROOT / "scripts" / "stacks" / "ports.yml"
_UP_WITHIN_S = 300.0
"""On a quiet machine with two cores it takes a quarter of a minute; on one that is very busy, minutes."""

_SHOW_MAIL = """
import email, email.policy, pathlib
for path in sorted(pathlib.Path("/mail/new").glob("*"), key=lambda path: path.stat().st_mtime):
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    body = mail.get_body(("plain",))
    print(f"From: {mail['From']}\\nTo: {mail['To']}\\nDate: {mail['Date']}\\nSubject: {mail['Subject']}\\n")
    print(body.get_content() if body else "(no text)", "-" * 79, sep="\\n")
"""


def main() -> int:
    options = _options()
    try:
        code: int = options.do(options)
    except StackError as error:
        print(f"stack: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _keys(_: argparse.Namespace) -> int:
    made = make_secrets(SECRETS)
    new = f"new: {', '.join(made)}" if made else "none was missing"
    print(f"The secrets of the stack are in {SECRETS}; {new}")
    return 0


def _up(options: argparse.Namespace) -> int:
    begun = time.monotonic()
    engine = Engine.found(*([PORTS] if options.ports else []))
    make_secrets(SECRETS)
    _built(engine)
    built_s = time.monotonic() - begun
    if engine.compose("up", "-d", "--no-build", "--remove-orphans"):
        raise StackError(f"{engine.compose_name} could not start the stack; it says why above")
    engine.wait_until_well(_UP_WITHIN_S, _Progress().say)
    print(_greeting(built_s, time.monotonic() - begun - built_s, ports=options.ports))
    return 0


def _down(options: argparse.Namespace) -> int:
    return Engine.found().compose("down", "--remove-orphans", *(["--volumes"] if options.volumes else []))


def _ps(_: argparse.Namespace) -> int:
    containers = Engine.found().containers()
    for name, one in sorted(containers.items()):
        print(f"{name:<18} {one.state:<10} {one.health}")
    if not containers:
        print("The stack is down; `scripts/stack up` starts it.")
    return 0 if containers and all(one.well for one in containers.values()) else 1


def _logs(options: argparse.Namespace) -> int:
    return Engine.found().compose("logs", "--tail", "200", *(["-f"] if options.follow else []), *options.services)


def _mail(_: argparse.Namespace) -> int:
    engine = Engine.found()
    mail = engine.containers().get("mail")
    if mail is None:
        raise StackError("the stack is down; `scripts/stack up` starts it")
    print(engine.docker("exec", mail.id, "python", "-c", _SHOW_MAIL), end="")
    return 0


def _test(options: argparse.Namespace) -> int:
    engine = Engine.found()
    make_secrets(SECRETS)
    if options.build:
        _built(engine)
    if engine.compose("up", "-d", "--no-build"):
        raise StackError(f"{engine.compose_name} could not start the stack; it says why above")
    engine.wait_until_well(_UP_WITHIN_S, _Progress().say)
    seed = options.seed if options.seed is not None else SystemRandom().randrange(10**6)
    runs = options.runs or (40 if options.short else 500)
    plan = Plan(
        runs=runs, rate=2.0 if options.short else 1.5, most_faults=6 if options.short else 60,
        timeout_s=150.0 if options.short else 1200.0, seed=seed, short=options.short,
    )  # fmt: skip
    print(f"{runs} runs on {engine.compose_name}, --seed {seed}", file=sys.stderr)
    outcome = trial(engine, plan)
    print(table(outcome))
    for sentence in outcome.complaints:
        print(sentence)
    print("every run is accounted for" if not outcome.complaints else f"FAILED; again with --seed {seed}")
    return 1 if outcome.complaints else 0


def _built(engine: Engine) -> None:
    if engine.compose("build", "mail"):  # the image of all programs
        raise StackError("the image could not be built; the builder says why above. Can this machine reach a registry?")


def _greeting(built_s: float, started_s: float, *, ports: bool) -> str:
    port = os.environ.get("STACK_PORT", "8080")
    lines = [
        f"The stack is up: built in {built_s:.0f} s, well after {started_s:.0f} s more.",
        "",
        f"  export PATH={ROOT}/.venv/bin:$PATH",
        f"  export WARRENER_GATEWAY=http://127.0.0.1:{port}",
        f"  export WARRENER_TOKEN=$(cat {SECRETS}/token)",
        f"  warrener submit {_shown(ROOT / 'examples/seattle-weather.yaml')} --watch",
        "  warrener workers",
        "",
        "  scripts/stack ps | logs [SERVICE] | mail | test",
        "  scripts/stack down               stops it; what was accepted goes on at the next start",
        "  scripts/stack down --volumes     and forgets everything",
    ]
    if ports:
        lines[1:1] = [
            "",
            f"RabbitMQ: AMQP on 127.0.0.1:5672, management on http://127.0.0.1:15672; see {SECRETS}/broker",
            f"PostgreSQL: 127.0.0.1:5432; see {SECRETS}/store",
        ]
    return "\n".join(lines)


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


class _Progress:
    """Says the same thing once."""

    def __init__(self) -> None:
        self._said = ""

    def say(self, sentence: str) -> None:
        if sentence != self._said:
            print(sentence, file=sys.stderr)
        self._said = sentence


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="stack", description="Every program of Warrener and its servers, in containers."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="make the secrets, build, start, and wait until everything is well")
    up.add_argument("--ports", action="store_true", help="also publish RabbitMQ and PostgreSQL on 127.0.0.1")
    up.set_defaults(do=_up)

    down = commands.add_parser("down", help="stop and remove the containers")
    down.add_argument("--volumes", action="store_true", help="and everything that they kept")
    down.set_defaults(do=_down)

    commands.add_parser("ps", help="say how every container is").set_defaults(do=_ps)

    logs = commands.add_parser("logs", help="show what the programs say")
    logs.add_argument("services", nargs="*", metavar="SERVICE")
    logs.add_argument("-f", "--follow", action="store_true")
    logs.set_defaults(do=_logs)

    commands.add_parser("mail", help="show the mails that were caught").set_defaults(do=_mail)
    commands.add_parser("keys", help="make the secrets that `docker compose up` needs").set_defaults(do=_keys)

    test = commands.add_parser(
        "test",
        help="run a load while containers are killed, frozen and cut off, and account for every run",
        epilog="Exits with 1 unless every run ended once, as it should, by the client's account and the database's.",
    )
    test.add_argument("--runs", type=int, help="how many (default 500; 40 with --short)")
    test.add_argument("--seed", type=int, help="the same seed gives the same load and the same faults")
    test.add_argument("--short", action="store_true", help="a minute or two instead of ten")
    test.add_argument("--no-build", dest="build", action="store_false", help="take the image that is there")
    test.set_defaults(do=_test)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
