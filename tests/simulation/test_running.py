from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from unittest.mock import patch

import msgspec
import pytest

from . import running
from .campaign import KINDS
from .cluster import Outcome
from .running import BATCH, apart, simulate_all
from .schedule import AddPool, Break, Join, Run, Schedule


def quick(number: int, *, seconds: float = 1.0) -> Schedule:
    """One that is over soon."""
    return Schedule(
        name=f"quick {number}",
        seed=number,
        replicas=(Run(name="a"),),
        steps=(AddPool(at=0.0, name="p", ipv4="10.0.0.0/26"), Join(at=0.0, node="n")),
        seconds=seconds,
    )


def _untimed(outcome: Outcome) -> Outcome:
    return msgspec.structs.replace(outcome, cpu=0.0)


class TestAll:
    def test_each_is_played(self) -> None:
        """Every schedule is played once, by as many processes as it takes, each in order."""
        schedules = [quick(number) for number in range(BATCH + 3)]
        played = list(simulate_all(iter(schedules), jobs=2))
        assert sorted(schedules, key=lambda each: each.name) == sorted(
            (schedule for schedule, _ in played), key=lambda each: each.name
        )
        assert schedules[:BATCH] == [schedule for schedule, _ in played if schedule.seed < BATCH]
        assert {1} == {outcome.assigned for _, outcome in played}
        assert all(outcome.cpu > 0 for _, outcome in played)

    def test_none(self) -> None:
        """Of no schedules, nothing comes."""
        assert [] == list(simulate_all([]))

    @pytest.mark.parametrize("kind", KINDS)
    def test_alone_or_in_company(self, kind: str) -> None:
        """What comes of a schedule doesn't depend on what its process has played before."""
        schedules = [KINDS[kind](seed) for seed in range(6)]
        together = [_untimed(outcome) for _, outcome in simulate_all(schedules)]
        alone = [_untimed(outcome) for each in schedules for _, outcome in simulate_all([each])]
        assert alone == together

    def test_as_many_at_a_time_as_it_may(self) -> None:
        """Schedules are drawn when there is a process for them, not before."""
        drawn = 0

        def draw() -> Iterator[Schedule]:
            nonlocal drawn
            for number in range(10 * BATCH):
                drawn += 1
                yield quick(number)

        played = simulate_all(draw(), jobs=2)
        next(played)
        played.close()
        assert 2 * BATCH == drawn


class TestFailures:
    def test_a_schedule_that_cant_be_played(self) -> None:
        """It is named, with the reason."""
        wrong = msgspec.structs.replace(quick(7), steps=(Break(at=0.5, replica="z"),))
        with pytest.raises(RuntimeError, match=r"quick 7 wasn't played .* no such replica, only a$"):
            list(simulate_all([wrong]))

    def test_a_process_that_dies(self) -> None:
        """The schedule that it was at is named, and what it died of."""
        with pytest.raises(RuntimeError, match="the process that played quick 1 died with code -9"):
            list(simulate_all([quick(1)], prepare=lambda: os.kill(os.getpid(), signal.SIGKILL)))

    def test_an_error(self) -> None:
        """The schedule is named, and the error is shown with where it came from."""
        with pytest.raises(
            RuntimeError, match=r"quick 1 wasn't played(?s:.)*in _fail(?s:.)*ZeroDivisionError"
        ):
            list(simulate_all([quick(1)], prepare=_fail))

    def test_a_process_that_hangs(self) -> None:
        """The schedule that nothing was heard of is named, and the process doesn't stay."""
        with (
            patch.object(running, "_HUNG", 0.2),
            pytest.raises(RuntimeError, match=r"no news for 0\.2 s of quick 1"),
        ):
            list(simulate_all([quick(1)], prepare=signal.pause))


class TestApart:
    def test_a_result(self) -> None:
        """What the work returns is handed over; what it does to its process stays there."""
        before = os.getpid()
        pid, name = apart(lambda schedule: (os.getpid(), schedule.name), quick(3), prepare=_untidy)
        assert ("quick 3", True, False) == (name, pid != before, "UNTIDY" in os.environ)

    def test_an_error(self) -> None:
        """An error of the work is told."""
        with pytest.raises(RuntimeError, match=r"quick 3 wasn't played to its end: (?s:.)*ZeroDivisionError"):
            apart(lambda _: _fail(), quick(3))


def _fail() -> None:
    raise ZeroDivisionError


def _untidy() -> None:
    os.environ["UNTIDY"] = "1"
