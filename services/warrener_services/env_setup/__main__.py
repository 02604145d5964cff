"""The program `env_setup`: wiring only."""

from __future__ import annotations

import os
import sys

from warrener.broker import Broker
from warrener.environments import open_environments
from warrener.runtime.serve import serve_program
from warrener.settings import Settings
from warrener.worker.program import run_worker, site_of
from warrener.worker.several import Several

from .performer import EnvPerformer


async def run(settings: Settings, broker: Broker | None = None, several: Several | None = None) -> None:
    """Run until cancelled; one of `several` kinds shares their slots."""
    environments = open_environments(site_of(settings), environ=os.environ)
    await run_worker(settings, broker, EnvPerformer(environments), several=several)


if __name__ == "__main__":
    sys.exit(serve_program(run, name="env_setup"))
