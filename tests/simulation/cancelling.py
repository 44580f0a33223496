"""Cancels a task at the k-th suspension of anything in its loop.

Invariant: a sweep over k from 0 until `reached` is False has cancelled between any two steps of any task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any

__all__ = ["Cancelling"]


class Cancelling:
    """Counts the suspensions of all tasks made after `install`, and cancels `target` at those in `at`.

    Counting starts with `begin`.
    """

    def __init__(self, *at: int) -> None:
        self.at = at
        self.count = 0
        self.on_cancel: Callable[[], None] = lambda: None
        self._target: asyncio.Task[None] | None = None

    @property
    def reached(self) -> bool:
        """Whether every cancel was made."""
        return self.count > max(self.at)

    def install(self) -> None:
        """Have the running loop's tasks counted from now on."""
        asyncio.get_running_loop().set_task_factory(
            lambda loop, coro, **options: asyncio.Task(_Driven(coro, self._suspended), loop=loop, **options)
        )

    def begin(self, target: asyncio.Task[None]) -> None:
        """Count from here, until `target` has ended."""
        self._target = target

    def _suspended(self) -> None:
        if self._target is None or self._target.done():
            return
        if self.count in self.at:
            self.on_cancel()
            asyncio.get_running_loop().call_soon(self._target.cancel)
        self.count += 1


class _Driven(Coroutine[Any, Any, Any]):
    """A coroutine that tells of each of its suspensions."""

    def __init__(self, inner: Any, suspended: Callable[[], None]) -> None:
        self._inner = inner
        self._suspended = suspended

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield from self._inner.__await__())

    def send(self, value: Any) -> Any:
        """Go on to the next suspension, and tell of it."""
        found = self._inner.send(value)
        self._suspended()
        return found

    def throw(self, *error: Any) -> Any:
        """Raise something at the suspension, and tell of the next."""
        found = self._inner.throw(*error)
        self._suspended()
        return found

    def close(self) -> None:
        """End it where it stands."""
        self._inner.close()
