"""What a controller is told about: the objects of an informer, and the requests that follow from a change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

from .delivery import Handler
from .lanes import Lane
from .objects import Request, Resource

__all__ = ["Feed", "Observed", "Source", "Subscription"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Subscription(Protocol):
    """A handler's place at an informer."""

    async def wait_synced(self) -> None:
        """Wait until this handler has been told of everything that the initial list held."""

    def remove(self) -> None:
        """Tell the handler nothing more."""


class Observed(Protocol[T_co]):
    """The part of an informer that a controller needs."""

    @property
    def resource(self) -> Resource[Any]:
        """The kind of its objects."""

    def add_handler(self, handler: Handler[T_co]) -> Subscription:
        """Tell `handler` of every object and, from then on, of every change."""

    def current(self, request: Request) -> bool:
        """Whether the cache has caught up with what this process wrote to the object."""

    def notify(self, request: Request, callback: Callable[[], None]) -> None:
        """Call `callback` once it has."""


class Source(Generic[T]):
    """The objects of one informer, as a reason to reconcile.

    Args:
        informer: where the objects come from.
        map: the requests that follow from an object; None: a request for the object itself. When an object
            changes, those of its old and its new state are taken together, so that what it left is looked at
            too.
        predicate: whether a change matters, given the old and the new state; None for the old one means that
            the object was added, for the new one that it was deleted.

    Both functions must not block. What they raise ends the informer, since a change would be lost otherwise.
    """

    __slots__ = ("_map", "_predicate", "informer")

    def __init__(
        self,
        informer: Observed[T],
        *,
        map: Callable[[T], Iterable[Request]] | None = None,
        predicate: Callable[[T | None, T | None], bool] | None = None,
    ) -> None:
        self.informer = informer
        self._map = map
        self._predicate = predicate

    def __repr__(self) -> str:
        return f"<Source {self.informer.resource}{'' if self.identity else ', mapped'}>"

    @property
    def identity(self) -> bool:
        """Whether a request names the very object that has changed."""
        return self._map is None

    def requests(self, old: T | None, new: T | None) -> Iterable[Request]:
        """What is to be reconciled after this change; a request may be there twice."""
        if self._predicate is not None and not self._predicate(old, new):
            return
        states = [state for state in (old, new) if state is not None]
        if self._map is None:
            yield self.informer.resource.request(states[-1])
            return
        for state in states:
            yield from self._map(state)


class Feed(Generic[T]):
    """The handler that puts a source's requests into a queue: the initial list in the background lane."""

    __slots__ = ("_add", "_source")

    def __init__(self, source: Source[T], add: Callable[[Request, Lane], None]) -> None:
        self._source = source
        self._add = add

    def __repr__(self) -> str:
        return f"<Feed of {self._source!r}>"

    def on_add(self, obj: T, initial: bool) -> None:  # noqa: FBT001 - the handler's protocol
        """Queue what follows from a new object."""
        self._queue(None, obj, Lane.BACKGROUND if initial else Lane.LIVE)

    def on_update(self, old: T, new: T) -> None:
        """Queue what follows from a change."""
        self._queue(old, new, Lane.LIVE)

    def on_delete(self, obj: T) -> None:
        """Queue what follows from a deletion."""
        self._queue(obj, None, Lane.LIVE)

    def _queue(self, old: T | None, new: T | None, lane: Lane) -> None:
        for request in self._source.requests(old, new):
            self._add(request, lane)
