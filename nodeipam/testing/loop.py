"""An event loop in virtual time: sleeps take no time, and the same program takes the same steps every time.

The loop has no selector and so no sockets. Whenever nothing is ready to run, its clock jumps to the next
timer; when there is no timer either, nothing could ever happen again: that is an error rather than a hang.
Callbacks that belong to a :class:`~nodeipam.testing.hosts.Host` run when that host lets them, by its clock.
"""

from __future__ import annotations

import asyncio
from asyncio import base_events
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop
from typing import Any, TypeVar, TypeVarTuple

from .hosts import Host, current_host, host_of

__all__ = ["Deadlock", "VirtualClock", "VirtualLoop", "run_virtual"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_RESOLUTION = 1e-9
"""Seconds: what is due within this is due now, since clocks that run at their own rates round differently."""


class Deadlock(AssertionError):
    """Raised by a virtual loop when every task waits and no timer is left."""


class VirtualLoop(base_events.BaseEventLoop):
    """A BaseEventLoop whose time is a number that jumps from timer to timer.

    `time` and the times given to `call_at` are those of the host in whose context they are asked for.
    """

    # What the base class keeps, and this one keeps in its stead.
    _ready: Any
    _scheduled: list[asyncio.TimerHandle]
    _stopping: bool

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        """Virtual seconds since the loop was made, by nobody's clock in particular."""

    def time(self) -> float:
        """The time on the clock of the current host; outside of all hosts, `now`."""
        host = current_host()
        return self.now if host is None else host.monotonic(self.now)

    def elapsed(self) -> float:
        """As `time`, but on a clock that counts while the host is suspended."""
        host = current_host()
        return self.now if host is None else host.elapsed(self.now)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once."""
        self.now += seconds

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As in every loop; `when` is on the clock of the current host."""
        host = current_host()
        return super().call_at(when if host is None else host.moment(when), callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As in every loop; `delay` is in seconds of the current host's clock."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def create_task(
        self, coro: Generator[Any, None, T] | Coroutine[Any, Any, T], **options: Any
    ) -> asyncio.Task[T]:
        """As in every loop; the task belongs to the current host."""
        task = super().create_task(coro, **options)
        host = current_host()
        if host is not None:
            host.own(task)
        return task

    def postpone(self, host: Host, seconds: float, gone_off: list[asyncio.TimerHandle]) -> None:
        """Have everything that is set for `host`, and what has gone off already, happen so much later."""
        self._scheduled += gone_off
        for timer in self._scheduled:
            if host_of(timer) is host:
                timer._when += seconds  # type: ignore[attr-defined]
        heapify(self._scheduled)

    def run_again(self, handles: list[asyncio.Handle]) -> None:
        """Run callbacks that a host has kept back."""
        self._ready.extend(handles)

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        while scheduled and scheduled[0].cancelled():
            heappop(scheduled)
        if not ready and not self._stopping:
            if not scheduled:
                raise Deadlock("every task is waiting and no timer is set: nothing can ever happen again")
            self.now = max(self.now, scheduled[0].when())
        due = self.now + _RESOLUTION
        while scheduled and scheduled[0].when() <= due:
            ready.append(heappop(scheduled))
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle.cancelled():
                continue
            host = host_of(handle)
            if host is None or host.admits(handle):
                handle._run()

    def _write_to_self(self) -> None:
        """There is no other thread to be woken by."""


class VirtualClock:
    """A Clock that follows the running loop; `offset` shifts `elapsed()`, as a suspended machine would."""

    def __init__(self) -> None:
        self.offset = 0.0

    def monotonic(self) -> float:
        """The loop's time."""
        return asyncio.get_running_loop().time()

    def elapsed(self) -> float:
        """The loop's time, what it was suspended included, and `offset`."""
        loop = asyncio.get_running_loop()
        return (loop.elapsed() if isinstance(loop, VirtualLoop) else loop.time()) + self.offset

    def wall(self) -> datetime:
        """The loop's time after the first of January 2026."""
        return _EPOCH + timedelta(seconds=asyncio.get_running_loop().time())


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on a fresh virtual loop, as :func:`asyncio.run` does on a real one."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
