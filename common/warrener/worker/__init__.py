"""The worker's side of the protocol, and the user's own `Worker`.

orders.py        takes orders in, checks who signed them, parks what is not right
performing.py    slots, and the attempts that use them
claims.py        asks owners for attempts
leases.py        heartbeats, extensions, and the fence before a lease ends
direct.py        the reports of direct calls, in batches
spooled.py       the reports of claimed attempts, kept in a spool until their receipt
printed.py       what attempts print
service.py       all of these together: one worker
several.py       workers of several kinds that share one budget of slots
leaving.py       the signal that drains a worker
functions.py     the functions of a user's own worker
"""

from warrener.worker.functions import CallPerformer, Worker
from warrener.worker.service import WorkerService
from warrener.worker.spool import FolderSpool, MemorySpool, Spool, Spooled

__all__ = ["CallPerformer", "FolderSpool", "MemorySpool", "Spool", "Spooled", "Worker", "WorkerService"]
