"""The program `data_staging`: wiring only."""

from __future__ import annotations

import sys

from warrener.broker import Broker
from warrener.runtime.serve import serve_program
from warrener.settings import Settings
from warrener.transfers import open_transfers
from warrener.worker.program import run_worker, site_of
from warrener.worker.several import Several

from .performer import StagePerformer


async def run(settings: Settings, broker: Broker | None = None, several: Several | None = None) -> None:
    """Run until cancelled; one of `several` kinds shares their slots."""
    transfers = open_transfers(site_of(settings), roots=settings.stage_roots, hosts=settings.stage_hosts)
    await run_worker(settings, broker, StagePerformer(transfers), several=several)


if __name__ == "__main__":
    sys.exit(serve_program(run, name="data_staging"))
