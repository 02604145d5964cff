"""The program `job_submission`: wiring only."""

from __future__ import annotations

import sys

from warrener.broker import Broker
from warrener.messages import Kind
from warrener.runtime.serve import serve_program
from warrener.settings import Settings
from warrener.targets.local import LocalTarget
from warrener.worker.program import run_worker, site_of, worker_name
from warrener.worker.several import Several

from .performer import JobPerformer


async def run(settings: Settings, broker: Broker | None = None, several: Several | None = None) -> None:
    """Run until cancelled; one of `several` kinds shares their slots."""
    site = site_of(settings)
    performer = JobPerformer(
        LocalTarget(site.attempts), settings.secrets_folder, site=site, worker=worker_name(settings, Kind.JOB)
    )
    await run_worker(settings, broker, performer, several=several)


if __name__ == "__main__":
    sys.exit(serve_program(run, name="job_submission"))
