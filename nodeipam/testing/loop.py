"""An event loop in virtual time: sleeps take no time, and the same program takes the same steps every time.

The loop has no selector and so no sockets. Whenever nothing is ready to run, its clock jumps to the next
timer; when there is no timer either, nothing could ever happen again: that is an error rather than a hang.
"""

from __future__ import annotations

import asyncio
from asyncio import base_events
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

__all__ = ["Deadlock", "VirtualClock", "VirtualLoop", "run_virtual"]

T = TypeVar("T")

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Deadlock(AssertionError):
    """Raised by a virtual loop when every task waits and no timer is left."""


class VirtualLoop(base_events.BaseEventLoop):
    """A BaseEventLoop whose time is a number that jumps from timer to timer."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = _TimeTravel(self)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once."""
        self._now += seconds

    def _process_events(self, event_list: list[Any]) -> None:
        """There are no sockets, so there are no events."""

    def _write_to_self(self) -> None:
        """There is no other thread to be woken by."""


class _TimeTravel:
    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Deadlock("every task is waiting and no timer is set: nothing can ever happen again")
        self._loop.advance(max(timeout, 0.0))
        return []


class VirtualClock:
    """A Clock that follows the running loop; `offset` shifts `elapsed()`, as a suspended machine would."""

    def __init__(self) -> None:
        self.offset = 0.0

    def monotonic(self) -> float:
        """The loop's time."""
        return asyncio.get_running_loop().time()

    def elapsed(self) -> float:
        """The loop's time and `offset`."""
        return asyncio.get_running_loop().time() + self.offset

    def wall(self) -> datetime:
        """The loop's time after the first of January 2026."""
        return _EPOCH + timedelta(seconds=asyncio.get_running_loop().time())


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on a fresh virtual loop, as :func:`asyncio.run` does on a real one."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
