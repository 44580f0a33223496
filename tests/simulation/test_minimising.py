from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import msgspec
import pytest

from .deeds import Deeds
from .minimising import minimise
from .schedule import AddPool, Break, Compact, Join, Lock, Run, Schedule, Step, Touch

STEPS: tuple[Step, ...] = (
    AddPool(at=0.0, name="p", ipv4="10.0.0.0/26"),
    *(Join(at=0.1, node=f"n{i}") for i in range(4)),
    *(Touch(at=1.0 + i / 10, node=f"n{i}") for i in range(4)),
    Compact(at=2.0),
    *(Touch(at=2.0 + i / 10, node=f"n{i}") for i in range(4)),
    Break(at=3.0, replica="a"),
    Break(at=3.5, replica="b"),
    Lock(at=4.0, how="cleared"),
)
SCHEDULE = Schedule(
    name="made up",
    seed=1,
    replicas=(Run(name="a", rate=0.85), Run(name="b", start=1.0)),
    steps=STEPS,
    seconds=5.0,
    latency=0.05,
)


def harmful(*kinds: type[Step]) -> Callable[[], None]:
    """Makes it a violation that steps of all these types have been taken."""

    def prepare() -> None:
        perform = Deeds.perform
        taken: set[type[Step]] = set()

        def watched(deeds: Deeds, step: Step) -> None:
            perform(deeds, step)
            taken.add(type(step))
            if taken >= set(kinds):
                deeds.cluster.observer.violated("I1", f"there was {step}")

        patch.object(Deeds, "perform", watched).start()

    return prepare


@pytest.mark.parametrize("kinds", [(Compact,), (Compact, Lock), (AddPool, Join, Compact)])
def test_what_it_takes(kinds: tuple[type[Step], ...]) -> None:
    """Only steps that it takes are left, each of them as it was and in its place."""
    small = minimise(SCHEDULE, prepare=harmful(*kinds))
    assert sorted(kind.__name__ for kind in kinds) == sorted(type(step).__name__ for step in small.steps)
    places = [STEPS.index(step) for step in small.steps]
    assert sorted(places) == places


def test_what_doesnt_matter() -> None:
    """Where clocks and delays don't matter, the clocks run evenly and messages take no time."""
    small = minimise(SCHEDULE, prepare=harmful(Compact))
    assert ({1.0}, 0.0) == ({run.rate for run in small.replicas}, small.latency)
    assert (SCHEDULE.seed, SCHEDULE.seconds) == (small.seed, small.seconds)


def test_another_violation() -> None:
    """A schedule that violates something else isn't taken for a smaller one of the same."""

    def prepare() -> None:
        perform = Deeds.perform

        def watched(deeds: Deeds, step: Step) -> None:
            perform(deeds, step)
            if isinstance(step, Lock):
                there = {type(each) for each in deeds.cluster.schedule.steps}
                deeds.cluster.observer.violated("I1" if Compact in there else "I2", "made up")

        patch.object(Deeds, "perform", watched).start()

    small = minimise(SCHEDULE, prepare=prepare)
    assert (Compact, Lock) == tuple(map(type, small.steps))


def test_nothing_to_minimise() -> None:
    """A schedule that violates nothing is refused."""
    with pytest.raises(ValueError, match="made up violates nothing: there is nothing to minimise"):
        minimise(msgspec.structs.replace(SCHEDULE, steps=STEPS[:2]))
