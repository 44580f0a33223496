"""Mistakes about caches, watches, queues and events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from nodeipam.controllers import takeover
from nodeipam.controllers.reports import Reports
from nodeipam.runtime import (
    APIError,
    controller,
    reflector,
    store,
    workqueue,
)
from nodeipam.runtime.informer import Informer

from .registry import around, instead, mutant, nothing


@mutant("workers start on a list that is being taken in, and there is no read barrier")
def _() -> None:
    # Each of the two alone is made up for by the other.
    instead(controller.Controller, "_wait_synced", nothing)
    instead(Informer, "wait_synced", nothing)
    instead(takeover, "read_barrier", nothing)


@mutant("no tombstones: what went between two lists is never told")
def _() -> None:
    def changes(original: Callable[..., Iterable[Any]], self: Any, before: Any, after: Any) -> Iterator[Any]:
        for change in original(self, before, after):
            yield None if change is not None and change[1] is None else change

    around(store.Store, "_changes", changes)


@mutant("a changed UID under one name is an update (D-42)")
def _() -> None:
    def merged(found: Iterable[Any]) -> Iterator[Any]:
        gone: dict[str, Any] = {}
        for change in found:
            if change is not None and change[1] is None:
                gone[change[0].metadata.name] = change[0]
            elif change is not None and change[0] is None and change[1].metadata.name in gone:
                yield gone.pop(change[1].metadata.name), change[1]
            else:
                yield change
        for old in gone.values():
            yield old, None

    around(store.Store, "_changes", lambda original, *args: merged(original(*args)))
    around(store.Store, "put", lambda original, *args: tuple(merged(original(*args))))


@mutant("an add is lost while its key is in work")
def _() -> None:
    def add(original: Callable[..., None], self: Any, key: Any, lane: Any) -> None:
        if key not in self._processing:
            original(self, key, lane)

    around(workqueue.WorkQueue, "_add", add)


@mutant("a watch that says nothing is trusted for ever")
def _() -> None:
    instead(reflector.Reflector, "timed_out", lambda self, now: self.ended(now))


@mutant("after a 410 the watch goes on from the old version")
def _() -> None:
    def failed(original: Callable[..., None], self: Any, error: Any, now: float) -> None:
        version = self.version
        original(self, error, now)
        if self.version < 0 <= version and isinstance(error, APIError) and error.code == 410:
            self.version = version

    around(reflector.Reflector, "failed", failed)


@mutant("a warning is told at each retry (D-22)")
def _() -> None:
    def warn(original: Callable[..., None], self: Any, *args: Any, **options: Any) -> None:
        self._said.clear()
        original(self, *args, **options)

    around(Reports, "warn", warn)
