"""Bring a deployment up, submit the example as a person would, and say where the results are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fleet.process import FleetError, Process

CHECKOUT = Path(__file__).parents[2]
EXAMPLE = CHECKOUT / "examples" / "seattle-weather.yaml"
WARRENER = (sys.executable, "-m", "warrener_services.cli")


def main() -> int:
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    begun = time.monotonic()
    place = CHECKOUT / ".warrener" / "demo"
    place.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(place / "results", ignore_errors=True)
    deployment = _fleet if "--fleet" in sys.argv[1:] else _embedded
    try:
        with deployment(place) as settings:
            code = _show(settings)
    except FleetError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    if code == 0:
        print(f"\nThe results, after {time.monotonic() - begun:.0f} s:")
        for result in sorted((place / "results").iterdir()):
            print(f"  {result}")
    return code


def _show(settings: Mapping[str, str]) -> int:
    environ = {**os.environ, **settings}
    print("\n$ warrener workers", flush=True)
    subprocess.run([*WARRENER, "workers"], env=environ, check=False)
    print(f"\n$ warrener submit {EXAMPLE.relative_to(CHECKOUT)} --watch", flush=True)
    return subprocess.run([*WARRENER, "submit", str(EXAMPLE), "--watch"], env=environ, check=False).returncode


@contextmanager
def _embedded(place: Path) -> Iterator[Mapping[str, str]]:
    """Run `warrener up`, everything in one process."""
    with tempfile.TemporaryDirectory(prefix="warrener-demo-") as state:
        settings = {
            "WARRENER_STATE": state,
            "WARRENER_STAGE_ROOTS": str(place),
            "WARRENER_SITE_ROOT": str(place / "site"),
        }
        up = Process.start("warrener up", [*WARRENER, "up"], log=place / "up.log", env=settings, cwd=place)
        try:
            socket = Path(state) / "gateway.sock"
            print("Bringing up everything in one process: `warrener up`")
            up.wait_until(socket.exists)
            yield settings
        finally:
            up.stop()


@contextmanager
def _fleet(place: Path) -> Iterator[Mapping[str, str]]:
    """Run every service as a process of its own, on private servers."""
    from fleet.stack import SERVICES, Fleet

    settings = {"WARRENER_STAGE_ROOTS": str(place), "WARRENER_SITE_ROOT": str(place / "site")}
    print("Bringing up RabbitMQ, PostgreSQL and four Serf agents, each private to this demonstration")
    with (
        tempfile.TemporaryDirectory(prefix="warrener-fleet-") as folder,
        Fleet(Path(folder), with_serf=True, settings=settings) as fleet,
    ):
        print(f"Starting {', '.join(SERVICES)}")
        fleet.start()
        socket = fleet.state / "gateway.sock"
        fleet.wait_until("gateway", socket.exists)
        yield fleet.settings


if __name__ == "__main__":
    sys.exit(main())
