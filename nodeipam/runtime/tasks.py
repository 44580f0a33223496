"""Groups of tasks that end when they are told to: no cancel from outside is ever lost."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator, Iterable
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

    Entering twice is an error. Leaving it awaits all children, however often it is cancelled. From the second
    cancel on each is passed on to the children that are left (a TaskGroup would keep it to itself).
    """

    __slots__ = ("_cancels", "_children", "_ending", "_group", "_outside")

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._children: set[asyncio.Task[Any]] = set()
        self._cancels = 0
        self._outside = 0
        self._ending = False

    @property
    def ending(self) -> bool:
        """Whether its children are being cancelled: the body or a child has failed, or was cancelled.

        A child that has called foreign code asks this, not its own `Task.cancelling()`, which that code may
        have left in disorder (see above): to end although the cancel was swallowed, and to tell a
        CancelledError that means this child from one of something that was awaited.
        """
        return self._ending

    def create_task(self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Start a child. Its failure cancels the scope's body and the other children."""
        task = self._group.create_task(coroutine, name=name)
        self._children.add(task)
        task.add_done_callback(self._child_done)
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
        # If a child has failed, one of the cancels so far is the group's own.
        self._outside = _cancels() - self._cancels - self._ending
        self._ending = error is not None
        try:
            await _noticing_cancels(self._group.__aexit__(kind, error, trace), self._cancel_again)
        except BaseExceptionGroup as failures:
            if _cancels() <= self._cancels:
                raise
            try:
                await asyncio.sleep(0)  # from 3.13 on the cancel is still to be delivered: here, once
            except asyncio.CancelledError as cancelled:
                raise cancelled from failures
            raise asyncio.CancelledError from failures

    def _child_done(self, task: asyncio.Task[Any]) -> None:
        # Runs right after the group's own callback has cancelled the others, and before they notice.
        self._children.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._ending = True

    def _cancel_again(self) -> None:
        self._outside += 1
        if self._outside < 2:
            return  # the children were cancelled once, be it for this or for a failure
        for child in tuple(self._children):
            child.cancel()

    async def _finish(self) -> BaseException | None:
        try:
            while self._children:
                await asyncio.wait(self._children)
        except asyncio.CancelledError as cancelled:
            return cancelled  # handed to the group, which knows whether it is its own
        return None


@types.coroutine
def _noticing_cancels(
    waiting: Coroutine[Any, Any, object], notice: Callable[[], None]
) -> Generator[Any, Any, None]:
    """Await `waiting`, and call `notice` for each cancel that it gets meanwhile."""
    try:
        waited_for = waiting.send(None)
        while True:
            try:
                sent = yield waited_for
            except asyncio.CancelledError as cancelled:
                notice()
                waited_for = waiting.throw(cancelled)
            else:
                waited_for = waiting.send(sent)
    except StopIteration:
        return


def _cancels() -> int:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("only a task can be cancelled, and none is running")
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
