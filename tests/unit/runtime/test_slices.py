from __future__ import annotations

import asyncio

from nodeipam.runtime.slices import Slices
from nodeipam.testing.loop import VirtualClock, run_virtual


class _Working(VirtualClock):
    """A clock of a machine that works: each item takes a fifth of a millisecond."""

    worked = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.worked

    def work(self) -> None:
        self.worked += 0.0002


def _rests(items: int, length: float) -> int:
    async def main() -> int:
        clock = _Working()
        slices = Slices(clock, length)
        rests = 0
        for _ in range(items):
            clock.work()
            if slices.spent():
                await slices.rest()
                rests += 1
        return rests

    return run_virtual(main())


class TestSlices:
    def test_by_the_clock(self) -> None:
        """640 items of 0.2 ms are 128 ms: about twenty slices of 5 ms."""
        assert 15 <= _rests(640, 0.005) <= 25

    def test_short_work(self) -> None:
        """Work that takes less than a slice isn't interrupted."""
        assert 0 == _rests(20, 0.005)

    def test_others_run(self) -> None:
        """While one task rests, the others run."""

        async def main() -> list[str]:
            ran: list[str] = []
            asyncio.get_running_loop().call_soon(ran.append, "other")
            await Slices(VirtualClock()).rest()
            return [*ran, "rested"]

        assert ["other", "rested"] == run_virtual(main())

    def test_shortest(self) -> None:
        """A slice of no length ends as often as the clock is read."""
        assert 20 == _rests(640, 0.0)
