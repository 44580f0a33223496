"""Machines in virtual time: each has a clock of its own, can stand still, and can die without a last word.

A host is a context variable: whatever is started in its context belongs to it, and so does whatever that
starts. Its callbacks come here before they run (:class:`~nodeipam.testing.loop.VirtualLoop` asks), and are
run, kept back, or never run. What has no host is the world outside: the network, the server, the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar
from weakref import WeakSet

from nodeipam.runtime.errors import ConfigurationError

if TYPE_CHECKING:
    from .loop import VirtualLoop

__all__ = ["Host", "current_host", "host_of", "outside"]

P = ParamSpec("P")
T = TypeVar("T")

_GRAVES: list[asyncio.Task[Any]] = []
_HOST: ContextVar[Host | None] = ContextVar("host", default=None)


def current_host() -> Host | None:
    """The host in whose context this is asked, None outside of all."""
    return _HOST.get()


def host_of(handle: asyncio.Handle) -> Host | None:
    """The host to which a callback belongs."""
    context: Context = handle._context  # type: ignore[attr-defined]
    return context.get(_HOST)


def outside(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call something in the world outside: by no host's clock, and no host's death ends what it starts."""
    return Context().run(function, *args, **kwargs)


class Host:
    """One machine with one process on it.

    Args:
        loop: the virtual loop on which it runs.
        name: for people.
        rate: seconds that its clocks count in one second.
        origin: what its clocks showed at the loop's time 0; no two machines need agree.
    """

    def __init__(self, loop: VirtualLoop, name: str, *, rate: float = 1.0, origin: float = 0.0) -> None:
        if not rate > 0:
            raise ConfigurationError(f"the rate of a host's clock is more than 0, not {rate:g}")
        self.name = name
        self.rate = rate
        self.state: Literal["running", "paused", "suspended", "dead"] = "running"
        self._loop = loop
        self._origin = origin
        self._lost = 0.0
        """Seconds of the loop's time in which it was suspended."""
        self._since = 0.0
        self._kept: list[asyncio.Handle] = []
        self._tasks: WeakSet[asyncio.Task[Any]] = WeakSet()

    def __repr__(self) -> str:
        return f"<Host {self.name}: {self.state}, clock rate {self.rate:g}>"

    # Its clocks; `now` is the loop's time

    def monotonic(self, now: float) -> float:
        """CLOCK_MONOTONIC, which stands still while the machine is suspended."""
        return self._origin + self.rate * (now - self._lost)

    def elapsed(self, now: float) -> float:
        """CLOCK_BOOTTIME, which doesn't."""
        return self._origin + self.rate * now

    def moment(self, monotonic: float) -> float:
        """The loop's time at which CLOCK_MONOTONIC will show this, unless the machine is suspended."""
        return (monotonic - self._origin) / self.rate + self._lost

    # What happens on it

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task on this host."""
        return self.run(self._loop.create_task, coroutine)

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something on this host, now."""
        context = copy_context()
        context.run(_HOST.set, self)
        return context.run(function, *args, **kwargs)

    def own(self, task: asyncio.Task[Any]) -> None:
        """Note that a task was started here. The loop calls it."""
        self._tasks.add(task)

    def admits(self, handle: asyncio.Handle) -> bool:
        """Whether a callback of this host may run now; if it is to run later, it is kept."""
        if self.state == "running":
            return True
        if self.state != "dead":
            self._kept.append(handle)
        return False

    # What happens to it

    def pause(self) -> None:
        """Stop the process in its tracks, as SIGSTOP or a long garbage collection does; time goes on."""
        if self.state == "running":
            self.state, self._since = "paused", self._loop.now

    def suspend(self) -> None:
        """Put the machine to sleep: CLOCK_MONOTONIC and every timer stand still too."""
        if self.state == "running":
            self.state, self._since = "suspended", self._loop.now

    def resume(self, *, timers_first: bool = False) -> None:
        """Go on: what has arrived meanwhile is handled, then timers that went off, or the other way round."""
        if self.state not in ("paused", "suspended"):
            return
        kept, self._kept = self._kept, []
        timers = [handle for handle in kept if isinstance(handle, asyncio.TimerHandle)]
        arrived = [handle for handle in kept if not isinstance(handle, asyncio.TimerHandle)]
        if self.state == "suspended":
            slept = self._loop.now - self._since
            self._lost += slept
            self._loop.postpone(self, slept, timers)
            timers = []
        self.state = "running"
        self._loop.run_again([*timers, *arrived] if timers_first else [*arrived, *timers])

    def crash(self) -> None:
        """End it as SIGKILL or a power cut does: nothing of it runs again, no `finally`, no cleaning up.

        Its tasks are kept for good, and the loop forgets them: collecting one would run its `finally`.
        """
        self.state = "dead"
        self._kept.clear()
        for task in self._tasks:
            _GRAVES.append(task)
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            asyncio.tasks._unregister_task(task)
