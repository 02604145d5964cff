"""The deterministic simulation in CI: some seeds, the replay of one, and that broken rules are found.

`scripts/simulate --seeds 1000` runs more of them; `scripts/simulate --seed N --trace` shows what happened in one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulation.mutations import MUTATIONS

SEEDS = int(os.environ.get("WARRENER_SIMULATIONS", "40"))
FIRST = int(os.environ.get("WARRENER_FIRST_SEED", "0"))
ENOUGH = 400


def simulate(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the simulation as `scripts/simulate` does: the order of sets of text must not depend on the process."""
    tests = Path(__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-m", "simulation", *map(str, arguments)],
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(tests)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.timeout(60 + 5 * SEEDS)
def test_every_promise_holds_under_every_fault():
    done = simulate("--first", FIRST, "--seeds", SEEDS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("seed", [3, 19])
def test_a_seed_replays_step_by_step(seed):
    once, again = simulate("--seed", seed), simulate("--seed", seed)
    assert "trace" in once.stdout, once.stderr
    assert once.stdout == again.stdout


@pytest.mark.mutation
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_broken_rule_is_found(mutation):
    done = simulate("--mutation", mutation, "--seeds", ENOUGH, "--stop-at", 1)
    assert done.returncode == 1, f"{ENOUGH} seeds did not find it\n{done.stdout}{done.stderr}"
    assert "replay" in done.stdout, done.stderr
