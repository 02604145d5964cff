"""What the programs in the environment of the others are given: servers, the folder of the tally, and the filler."""

from __future__ import annotations

import os
from pathlib import Path

BROKER = os.environ["BENCH_BROKER"]
RESULTS = os.environ.get("BENCH_RESULTS", "")
"""Where Celery keeps results, as SQLAlchemy's URL; empty: nowhere."""

TALLY = Path(os.environ["BENCH_TALLY"])
BODY_BYTES = 360


def filler(envelope_bytes: int) -> str:
    """Return an argument for a task, so that the library's envelope and it make a body of `BODY_BYTES`."""
    return "x" * (BODY_BYTES - envelope_bytes)
