"""Accounts: what was accepted, and what became of it. Pure; the sums must meet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from warrener.runs import FINAL


@dataclass(slots=True)
class Account:
    """One run that was asked for. `expected` are the ends that are right for it."""

    key: str
    expected: frozenset[str]
    runs: set[str] = field(default_factory=set)
    ends: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Books:
    """All accounts, by key; and how often each attempt of a job was seen to start."""

    accounts: dict[str, Account] = field(default_factory=dict)
    starts: Counter[str] = field(default_factory=Counter)

    def open(self, key: str, expected: frozenset[str]) -> None:
        self.accounts[key] = Account(key, expected)

    def accepted(self, key: str, run: str, state: str) -> None:
        self.accounts[key].runs.add(run)
        self.seen(key, state)

    def seen(self, key: str, state: str) -> None:
        if state in FINAL and key in self.accounts:
            self.accounts[key].ends.add(state)

    def open_keys(self) -> list[str]:
        """Return the accepted ones that have not ended."""
        return [account.key for account in self.accounts.values() if account.runs and not account.ends]

    def summary(self, seconds: float) -> dict[str, float]:
        """Return the sums. `doubled`: two runs or two ends for one key, or an attempt that started twice."""
        accepted = [account for account in self.accounts.values() if account.runs]
        ends = Counter(next(iter(account.ends)) for account in accepted if len(account.ends) == 1)
        doubled = sum(len(account.runs) > 1 or len(account.ends) > 1 for account in accepted)
        return {
            "accepted": len(accepted),
            "succeeded": ends["succeeded"],
            "failed": ends["failed"],
            "cancelled": ends["cancelled"],
            "lost": sum(not account.ends for account in accepted),
            "doubled": doubled + sum(times > 1 for times in self.starts.values()),
            "seconds": round(seconds, 2),
        }

    def complaints(self) -> list[str]:
        """Return a sentence for everything that is not as it should be."""
        said = []
        for account in self.accounts.values():
            if not account.runs:
                said.append(f"{account.key}: was never accepted")
            elif not account.ends:
                said.append(f"{account.key}: run {_one(account.runs)} was accepted and never ended")
            elif not account.ends <= account.expected:
                wanted = " or ".join(sorted(account.expected))
                said.append(f"{account.key}: run {_one(account.runs)} is {_one(account.ends)}; it should be {wanted}")
            if len(account.runs) > 1:
                said.append(f"{account.key}: has {len(account.runs)} runs: {', '.join(sorted(account.runs))}")
            if len(account.ends) > 1:
                said.append(f"{account.key}: ended as {' and as '.join(sorted(account.ends))}")
        said += [f"attempt {attempt} was started {times} times" for attempt, times in self.starts.items() if times > 1]
        return said


def _one(values: set[str]) -> str:
    return min(values)
