"""Chaos: a fleet on several hosts, a load that keeps going, seeded faults, a history of all of it, and its check."""
