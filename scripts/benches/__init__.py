"""Benchmarks: one thing measured each, bounded, with one JSON line at the end."""
