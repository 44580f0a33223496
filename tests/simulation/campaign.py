"""Plays many schedules of a kind, adds up what that came to, and gives a full account of a failure.

The kinds are named here: whoever knows a kind and a seed has the schedule.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from .cluster import Outcome
from .directed import directed
from .drawing import hand_over, random_schedule
from .minimising import minimise
from .plans import exhaustive
from .record import write
from .running import apart
from .schedule import Schedule
from .story import story

__all__ = ["HEADINGS", "JOBS", "KINDS", "PLANS", "Failure", "Figures", "accounts", "draw", "kind_of"]

KINDS: dict[str, Callable[[int], Schedule]] = {"random": random_schedule, "hand-over": hand_over}
"""How the schedule of a seed is drawn, by kind."""
PLANS: dict[str, Callable[[], Iterator[Schedule]]] = {"exhaustive": exhaustive, "directed": directed}
"""All schedules of the kinds that know no seeds."""
JOBS = len(os.sched_getaffinity(0))
"""How many CPUs we may use."""
_ACCOUNTS = 3
"""How many failures are worth a full account: the next ones are mostly the same once more."""
HEADINGS = (
    "kind",
    "schedules",
    "requests",
    "Nodes served",
    "virtual hours",
    "CPU seconds",
    "schedules per CPU second",
    "violations",
)


Failure = tuple[Schedule, Outcome]
"""A schedule that violated something."""


class Figures(msgspec.Struct):
    """What the schedules of one kind came to."""

    kind: str
    schedules: int = 0
    requests: int = 0
    assigned: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    violating: int = 0
    """How many of the schedules violated something."""

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.schedules += 1
        self.requests += outcome.requests
        self.assigned += outcome.assigned
        self.seconds += outcome.seconds
        self.cpu += outcome.cpu
        self.violating += bool(outcome.violations)

    def __str__(self) -> str:
        kind, *numbers = self.row()
        of = zip(numbers, HEADINGS[1:], strict=True)
        return f"{kind}: {', '.join(f'{number} {what}' for number, what in of)}"

    def row(self) -> tuple[str, ...]:
        """One cell for each of the HEADINGS."""
        return (
            self.kind,
            f"{self.schedules:,}",
            f"{self.requests:,}",
            f"{self.assigned:,}",
            f"{self.seconds / 3600:,.1f}",
            f"{self.cpu:,.1f}",
            f"{self.schedules / self.cpu:,.1f}" if self.cpu else "-",
            f"{self.violating:,}",
        )


def draw(kinds: Iterable[str], seeds: range) -> Iterator[Schedule]:
    """The schedules of these kinds, one kind after the other: of these seeds, or all plans that there are."""
    for kind in kinds:
        if kind in PLANS:
            yield from PLANS[kind]()
        else:
            yield from (KINDS[kind](seed) for seed in seeds)


def kind_of(schedule: Schedule) -> str:
    """Of which kind it is, by its name: "random 17", "directed: a storm of 409"."""
    return re.split("[: ]", schedule.name, maxsplit=1)[0]


def accounts(failures: Sequence[Failure], *, prepare: Callable[[], object] = int) -> Iterator[str]:
    """All that there is to say of them: a full account of the first few, and which others there are."""
    for schedule, outcome in failures[:_ACCOUNTS]:
        yield _account(schedule, outcome, prepare)
    if others := failures[_ACCOUNTS:]:
        yield f"Others that violate something: {', '.join(schedule.name for schedule, _ in others)}"


def _account(schedule: Schedule, outcome: Outcome, prepare: Callable[[], object]) -> str:
    """What it is, the few steps that it takes, and their story."""
    try:
        small = minimise(schedule, prepare=prepare)
    except ValueError as error:  # it did, a moment ago
        return (
            f"{schedule.name} violated {outcome.violations[0]}, and played again it doesn't: {error}. "
            "So its run depends on more than its schedule, which is a bug of the simulator."
        )
    return (
        f"{schedule.name} violates {outcome.violations[0]}\n"
        f"{len(small.steps)} of its {len(schedule.steps)} steps are enough. Kept in a file, they are played "
        "again by `python -m tests.simulation --replay FILE`:\n"
        f"{write(small)}\n{apart(story, small, prepare=prepare)}"
    )
