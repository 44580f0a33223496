"""Handing on: from what a list-watch says to the store, and from there to the handlers.

Invariants: the store is changed first, then the handlers are told in the order of registration, each event to
all before the next; a handler sees every object's life in order, from on_add to on_delete, however late it
came; `version` never says more than what every handler has processed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from .objects import Request, Resource
from .ownwrites import OwnWrites
from .slices import Slices
from .store import Change, Store
from .watchevent import Deleted, Put

__all__ = ["Delivery", "Handler", "Registration"]

T = TypeVar("T")
H_contra = TypeVar("H_contra", contravariant=True)


class Handler(Protocol[H_contra]):
    """Is told what changes. Synchronous, and quick: the watch waits. What it raises ends the informer."""

    def on_add(self, obj: H_contra, initial: bool) -> None:  # noqa: FBT001 - as in client-go
        """`obj` is there; `initial`: it is part of what there was when this handler began."""

    def on_update(self, old: H_contra, new: H_contra) -> None:
        """What was `old` is `new`. They have one UID: another UID is a deletion and an addition."""

    def on_delete(self, obj: H_contra) -> None:
        """`obj`, this being its last state that is known, is no more."""


class Registration(Generic[T]):
    """One handler's subscription to an informer.

    `synced` says that this handler has processed everything that there was when it began.
    """

    def __init__(
        self,
        handler: Handler[T],
        resource: Resource[Any],
        wait: Callable[[Callable[[], bool]], Awaitable[None]],
        remove: Callable[[Registration[T]], None],
    ) -> None:
        self.synced = False
        self.removed = False
        self._handler = handler
        self._resource = resource
        self._wait = wait
        self._remove = remove
        self._untold: dict[Request, T] = {}

    def __repr__(self) -> str:
        state = "removed" if self.removed else "synced" if self.synced else "not synced"
        return f"<Registration of {self._handler!r} for {self._resource}: {state}>"

    def remove(self) -> None:
        """Tell the handler nothing more, starting now."""
        self.removed = True
        self._untold.clear()
        self._remove(self)

    async def wait_synced(self) -> None:
        """Wait for `synced`, or for the registration to be removed. Raises as `Informer.wait` does."""
        await self._wait(lambda: self.synced or self.removed)

    # What the delivery does

    def begin(self, store: Store[T]) -> None:
        """Owe the handler what is in the store; :meth:`tell_next` pays it off."""
        self._untold = store.newest_first()

    def tell_next(self) -> bool:
        """Tell of one object that the handler doesn't know; False if there is none left."""
        if not self._untold:
            return False
        _, obj = self._untold.popitem()
        self._handler.on_add(obj, initial=True)
        return True

    def tell(self, change: Change[T]) -> None:
        """Tell of a change, unless it is of an object that the handler doesn't know: then of what is left."""
        if self.removed:
            return
        old, new = change
        unknown = bool(self._untold) and self._untold.pop(self._request(old, new), None) is not None
        if new is None:
            if old is not None and not unknown:
                self._handler.on_delete(old)
        elif old is None or unknown:
            self._handler.on_add(new, initial=not self.synced)
        else:
            self._handler.on_update(old, new)

    def finish(self) -> None:
        """Note that the handler knows everything that there was, unless there is more to tell it of."""
        self.synced = not self._untold

    def _request(self, old: T | None, new: T | None) -> Request:
        obj: Any = old if new is None else new
        return self._resource.request(obj)


class Delivery(Generic[T]):
    """Keeps a store up to date and tells the handlers.

    Args:
        store: what is kept up to date.
        writes: is told what has been processed.
        processed: called after each event, bookmark and list, when all handlers have been told.
    """

    def __init__(
        self,
        store: Store[T],
        writes: OwnWrites,
        processed: Callable[[], None],
        *,
        slices: Callable[[], Slices],
    ) -> None:
        self.store = store
        self.version = -1
        self.replaces = 0
        self.replacing = False
        self._writes = writes
        self._processed = processed
        self._slices = slices
        self._registrations: tuple[Registration[T], ...] = ()
        self._late: deque[Registration[T]] = deque()
        self._wanted = asyncio.Event()

    def __repr__(self) -> str:
        return (
            f"<Delivery of {self.store!r} to {len(self._registrations)} handlers, {len(self._late)} to come>"
        )

    def add(self, registration: Registration[T]) -> None:
        """Tell it too: from the first list on, or, when that is over, by `replay`."""
        if self.replaces or self.replacing:
            self._late.append(registration)
            self._wanted.set()
        else:
            self._registrations += (registration,)

    def remove(self, registration: Registration[T]) -> None:
        """Tell it nothing more."""
        self._registrations = tuple(other for other in self._registrations if other is not registration)

    def fresh(self) -> Store[T]:
        """An empty store like this one, to be filled and given to `replace`."""
        return self.store.fresh()

    def apply(self, event: Put[T] | Deleted[T]) -> bool:
        """Take an event; False if it changes nothing."""
        changes = self.store.put(event.object) if isinstance(event, Put) else self.store.remove(event.object)
        for change in changes:
            self._tell(change)
        self.bookmark(event.version)
        return bool(changes)

    def bookmark(self, version: int) -> None:
        """Note that everything up to `version` has been told."""
        self.version = max(self.version, version)
        self._writes.processed(self.version)
        self._processed()

    async def replace(self, fresh: Store[T], version: int) -> None:
        """Hold what `fresh` holds, and tell what that changes, in slices.

        When cancelled, it isn't finished: `replacing` stays True, and nothing may be decided on any more.
        """
        self.replacing = True
        set_back = version < self.version
        if set_back:
            self.version = -1  # what was processed is no longer part of history
        slices = self._slices()
        for change in self.store.swap(fresh):
            if change is not None:
                self._tell(change)
            if slices.spent():
                await slices.rest()
        self.version = version
        self.replaces += 1
        self.replacing = False
        for registration in self._registrations:
            registration.finish()
        self._wanted.set()
        if set_back:
            self._writes.set_back()
        self._writes.processed(version)
        self._processed()

    async def replay(self) -> NoReturn:
        """Give late handlers what is in the store, one after the other, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._late and not self.replacing:
                registration = self._late.popleft()
                if not registration.removed:
                    await self._replay(registration)

    async def _replay(self, registration: Registration[T]) -> None:
        slices = self._slices()
        registration.begin(self.store)
        self._registrations += (registration,)
        while registration.tell_next():
            if slices.spent():
                await slices.rest()
        registration.finish()
        self._processed()

    def _tell(self, change: Change[T]) -> None:
        for registration in self._registrations:
            registration.tell(change)
