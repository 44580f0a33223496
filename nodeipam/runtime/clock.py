"""Time and randomness, as injected dependencies.

Everything in nodeipam that asks for the time or for a random number asks one of these two, so that a
simulator can run the real code in virtual time and a test can decide what "now" is. Sleeps and timeouts are
asyncio's own: a timer only wakes us, the clock decides.
"""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime
from typing import Protocol, runtime_checkable

__all__ = ["Clock", "Rng", "SystemClock", "system_rng"]


@runtime_checkable
class Clock(Protocol):
    """Three readings of time, each for one purpose."""

    def monotonic(self) -> float:
        """Seconds on the event loop's clock: queues, backoff, ages."""

    def elapsed(self) -> float:
        """Seconds on a clock that counts suspend: the validity of a lease, and nothing else."""

    def wall(self) -> datetime:
        """The date in UTC: text that is written to the API, never compared with anything."""


@runtime_checkable
class Rng(Protocol):
    """The part of :class:`random.Random` that is used: jitter and identities."""

    def random(self) -> float:
        """A float in [0, 1)."""

    def getrandbits(self, k: int, /) -> int:
        """An integer of `k` random bits."""


class SystemClock:
    """The clock of this machine and of the running event loop.

    `elapsed()` reads CLOCK_BOOTTIME, since CLOCK_MONOTONIC stands still while a machine sleeps and a lease
    does not; where the system has no such clock it falls back to the monotonic one.

    Where no loop runs, as when another thread scrapes the metrics, `monotonic()` reads `time.monotonic()`:
    that is what the loops of asyncio and uvloop count by, so the two can be compared.
    """

    __slots__ = ()

    def monotonic(self) -> float:
        """The running loop's own time; `time.monotonic()` where none runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return time.monotonic()
        return loop.time()

    def elapsed(self) -> float:
        """CLOCK_BOOTTIME, or else the monotonic clock."""
        return _boottime()

    def wall(self) -> datetime:
        """The machine's date, in UTC."""
        return datetime.now(UTC)


def system_rng() -> Rng:
    """A random source seeded by the operating system."""
    return random.SystemRandom()


def _boottime() -> float:
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
