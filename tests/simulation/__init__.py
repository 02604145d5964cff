"""The deterministic simulation: the real scheduler and worker on virtual time, under seeded faults.

loop.py       the event loop: virtual time, seeded order, lives that can be frozen and killed between any two awaits
broker.py     the in-process broker, with everything that a network and a broker's crash can do to it
store.py      the store in memory, whose transactions may fail before, in, and after their commit
work.py       what the workers do: a ledger of who performed what when, and the runners of jobs
client.py     who submits, cancels, tries again
checks.py     what must be true after every commit, and at the end
world.py      one seed: its fleet, its faults, its end
mutations.py  broken rules, to show that the checks find them
__main__.py   `scripts/simulate`
"""
