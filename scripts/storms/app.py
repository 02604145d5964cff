"""The calls of the load; each notes in the ledger that it started."""

from __future__ import annotations

from pathlib import Path

from warrener.worker.functions import Worker

from .ledger import note

worker = Worker("storm")


@worker.function
def double(n: int, mark: str, ledger: str) -> int:
    """Return 2n."""
    note(Path(ledger), f"call/{mark}")
    return 2 * n


if __name__ == "__main__":
    worker.run()
