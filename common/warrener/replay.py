"""The app `replay`: its calls only wait, as light stand-ins for work whose length is known.

    warrener up --app warrener.replay --slots 32        # on one machine
    WARRENER_SLOTS=32 python -m warrener.replay         # in a fleet

`warrener import` writes workflows that call it.
"""

from __future__ import annotations

import asyncio

from warrener.worker import Worker

APP = "replay"
worker = Worker(APP)


@worker.function
async def wait(seconds: float) -> None:
    """Take a slot for this long, and nothing else."""
    await asyncio.sleep(seconds)


if __name__ == "__main__":
    worker.run()
