"""Policies as they stand in the store: JSON text, the same for many tasks, read once."""

from __future__ import annotations

from functools import lru_cache

from warrener.workflows import Policy


@lru_cache(maxsize=4096)
def policy_of(text: str) -> Policy:
    """Return the policy of a task's `policy` column."""
    return Policy.model_validate_json(text)
