"""Finds the few steps of a failing schedule that matter: ddmin (Zeller and Hildebrandt, 2002)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from .running import simulate_all
from .schedule import Schedule, Step

__all__ = ["minimise"]


def minimise(schedule: Schedule, *, prepare: Callable[[], object] = int) -> Schedule:
    """A schedule from which no step can be left out without the violation going, or becoming another one."""
    wanted = _violated(schedule, prepare)
    if not wanted:
        raise ValueError(f"{schedule.name} violates nothing: there is nothing to minimise")

    def fails(candidate: Schedule) -> bool:
        return _violated(candidate, prepare) == wanted

    schedule = _fewer_steps(schedule, fails)
    for simplify in (_evenly_clocked, _without_delays):
        simpler = simplify(schedule)
        if simpler != schedule and fails(simpler):
            schedule = simpler
    return schedule


def _violated(schedule: Schedule, prepare: Callable[[], object]) -> str:
    """The first invariant that is violated, "" if none is."""
    ((_, outcome),) = simulate_all([schedule], prepare=prepare)
    return outcome.violations[0].partition(" ")[0] if outcome.violations else ""


def _fewer_steps(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    parts = 2
    while len(schedule.steps) > 1:
        size = max(1, len(schedule.steps) // parts)
        for start in range(0, len(schedule.steps), size):
            candidate = _without(schedule, schedule.steps[start : start + size])
            if fails(candidate):
                schedule, parts = candidate, max(parts - 1, 2)
                break
        else:
            if size == 1:
                return schedule
            parts = min(2 * parts, len(schedule.steps))
    return schedule


def _without(schedule: Schedule, steps: tuple[Step, ...]) -> Schedule:
    dropped = set(map(id, steps))
    kept = tuple(step for step in schedule.steps if id(step) not in dropped)
    return msgspec.structs.replace(schedule, steps=kept)


def _evenly_clocked(schedule: Schedule) -> Schedule:
    replicas = tuple(msgspec.structs.replace(run, rate=1.0) for run in schedule.replicas)
    return msgspec.structs.replace(schedule, replicas=replicas)


def _without_delays(schedule: Schedule) -> Schedule:
    return msgspec.structs.replace(schedule, latency=0.0)
