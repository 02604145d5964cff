"""The calls of the load; each notes in the ledger that it started."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from warrener.worker.functions import Worker

from .ledger import note

worker = Worker("storm")


@worker.function
def double(n: int, mark: str, ledger: str) -> int:
    """Return 2n."""
    note(Path(ledger), f"call/{mark}")
    return 2 * n


@worker.function
def die() -> None:
    """Take the worker along."""
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    worker.run()
