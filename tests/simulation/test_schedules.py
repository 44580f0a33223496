"""Plays the schedules of the first seeds: `make simulate` plays more of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .campaign import JOBS, KINDS, PLANS, Failure, Figures, accounts, draw
from .running import simulate_all

ROOT = Path(__file__).parents[2]
SEEDS = range(500)
TRACES = """
from tests.simulation.campaign import KINDS, draw
from tests.simulation.running import simulate_all
print(*(outcome.trace for _, outcome in simulate_all(draw(KINDS, range(8)))))
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", [*KINDS, *PLANS])
def test_nothing_is_violated(kind: str, say: Callable[[str], None]) -> None:
    """Whatever happens to the cluster in the first seeds and in all plans, every invariant holds."""
    figures = Figures(kind)
    failures: list[Failure] = []
    for schedule, outcome in simulate_all(draw([kind], SEEDS), jobs=JOBS):
        figures.add(outcome)
        if outcome.violations:
            failures.append((schedule, outcome))
    say(f"simulation: {figures}")
    if failures:
        pytest.fail("\n\n".join(accounts(failures)), pytrace=False)


def test_a_run_is_a_function_of_its_schedule() -> None:
    """The same seeds leave the same traces, however a process hashes its strings."""
    first, second = (_traces(hash_seed) for hash_seed in ("1", "2"))
    assert 8 * len(KINDS) == len(set(first))
    assert first == second


def _traces(hash_seed: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", TRACES],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.split()
