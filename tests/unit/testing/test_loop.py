from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from nodeipam.testing import Deadlock, VirtualClock, run_virtual


class TestTime:
    def test_sleep_takes_exactly_its_time(self) -> None:
        """After sleeping a day the loop's clock has moved by a day, and by nothing else."""

        async def main() -> float:
            await asyncio.sleep(86_400)
            return asyncio.get_running_loop().time()

        assert 86_400.0 == run_virtual(main())

    def test_timers_fire_in_order(self) -> None:
        """Of several sleepers the one with the earliest time wakes first, whatever order they began in."""
        woken: list[float] = []

        async def sleeper(seconds: float) -> None:
            await asyncio.sleep(seconds)
            woken.append(seconds)

        async def main() -> None:
            await asyncio.gather(*(sleeper(seconds) for seconds in (3.0, 1.0, 2.0)))

        run_virtual(main())

        assert [1.0, 2.0, 3.0] == woken

    def test_timeouts_are_timers_too(self) -> None:
        """A timeout cuts off a longer sleep at its own time."""

        async def main() -> float:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5):
                    await asyncio.sleep(3600)
            return asyncio.get_running_loop().time()

        assert 5.0 == run_virtual(main())

    def test_a_new_run_begins_at_zero(self) -> None:
        """Each run has a fresh loop, whose time begins at 0."""

        async def main() -> float:
            now = asyncio.get_running_loop().time()
            await asyncio.sleep(7)
            return now

        assert (0.0, 0.0) == (run_virtual(main()), run_virtual(main()))


class TestDeadlock:
    def test_waiting_for_nothing_is_an_error(self) -> None:
        """When all tasks wait and no timer is set, the run fails at once instead of hanging."""

        async def main() -> None:
            await asyncio.get_running_loop().create_future()

        with pytest.raises(Deadlock, match="nothing can ever happen"):
            run_virtual(main())


class TestVirtualClock:
    def test_follows_the_loop(self) -> None:
        """monotonic(), elapsed() and wall() move with the loop's time."""

        async def main() -> tuple[float, float, datetime]:
            clock = VirtualClock()
            await asyncio.sleep(90)
            return clock.monotonic(), clock.elapsed(), clock.wall()

        assert (90.0, 90.0, datetime(2026, 1, 1, 0, 1, 30, tzinfo=UTC)) == run_virtual(main())

    def test_offset_is_suspended_time(self) -> None:
        """An offset shifts elapsed(), which counts suspend, and leaves monotonic(), which doesn't."""

        async def main() -> tuple[float, float]:
            clock = VirtualClock()
            clock.offset = 60.0
            return clock.monotonic(), clock.elapsed()

        assert (0.0, 60.0) == run_virtual(main())
