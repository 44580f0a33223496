"""A task group that never loses a cancel from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

__all__ = ["TaskScope", "all_of", "the_cause"]

T = TypeVar("T")


class TaskScope:
    """An :class:`asyncio.TaskGroup` out of which a cancel always comes as CancelledError.

    A TaskGroup gives a child's failure precedence: when a task is cancelled from outside while one of its
    children fails, the group raises the failure, and whoever handles it goes on working in a task that was
    told to end. That Python 3.13 repeats the cancel at the next await helps only where there is one. Asking
    `Task.cancelling()` afterwards isn't enough before 3.13 either: a group whose child fails while the body
    has ended already leaves its own cancel of the parent in that count.

    So the scope waits for its children inside the group's body, where the count is kept right, and raises
    CancelledError (its `__cause__` the failures) if the task was cancelled since it entered.

    Entering twice is an error. Leaving it awaits all children, however often it is cancelled.
    """

    __slots__ = ("_cancels", "_children", "_group")

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._children: set[asyncio.Task[Any]] = set()
        self._cancels = 0

    def create_task(self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Start a child. Its failure cancels the scope's body and the other children."""
        task = self._group.create_task(coroutine, name=name)
        self._children.add(task)
        task.add_done_callback(self._children.discard)
        return task

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._cancels = _cancels()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            error = await self._finish()
            kind = None if error is None else type(error)
        try:
            await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as failures:
            if _cancels() <= self._cancels:
                raise
            await asyncio.sleep(0)  # from 3.13 on the cancel is still to be delivered: it comes here, once
            raise asyncio.CancelledError from failures

    async def _finish(self) -> BaseException | None:
        try:
            while self._children:
                await asyncio.wait(self._children)
        except asyncio.CancelledError as cancelled:
            return cancelled  # handed to the group, which knows whether it is its own
        return None


def _cancels() -> int:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a TaskScope is entered and left in a task")
    return task.cancelling()


async def all_of(coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run coroutines side by side to their end. When one fails the others are cancelled and awaited.

    Raises:
        the failure itself if there was one, else a group of them.
    """
    try:
        async with TaskScope() as scope:
            for coroutine in coroutines:
                scope.create_task(coroutine)
    except BaseExceptionGroup as failures:
        raise the_cause(failures) from None


def the_cause(error: BaseException) -> BaseException:
    """What went wrong, taken out of any groups that hold nothing else."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
