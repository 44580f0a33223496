"""The cache of one kind of object, with its indexes: what an informer writes and everybody else reads.

Each change is answered with what changed, as pairs of old and new, so that the store can never say one thing
and the handlers another. Invariants: an event never takes an object back to an older state, nor to an older
object of the same name; an object of a new UID is a new object, so its predecessor is deleted first.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

from .objects import Request, Resource, version_number

__all__ = ["Change", "IndexFunction", "Store"]

T = TypeVar("T")

Change: TypeAlias = tuple[T | None, T | None]
"""(None, new): added. (old, new): updated. (old, None): deleted, `old` being the last state known."""

_Found: TypeAlias = list[T]  # within the class, `list` is a method

IndexFunction: TypeAlias = Callable[[T], Iterable[Hashable]]
"""Under which values an object is to be found. It must depend on nothing but the object."""


class Store(Generic[T]):
    """All objects of one kind by :class:`Request`, as of the last event.

    Args:
        resource: the kind.
        indexes: functions by name; see :meth:`index`.
        objects: what it holds to begin with, for tests.

    Only the informer that owns it calls `put`, `remove` and `swap`. The objects are shared, not copied: don't
    change them. Everything that returns several objects returns a snapshot, in no particular order.
    """

    __slots__ = ("_indexes", "_objects", "_resource")

    def __init__(
        self,
        resource: Resource[Any],
        *,
        indexes: Mapping[str, IndexFunction[T]] | None = None,
        objects: Iterable[T] = (),
    ) -> None:
        self._resource = resource
        self._objects: dict[Request, T] = {}
        self._indexes: dict[str, _Index[T]] = {name: _Index(of) for name, of in (indexes or {}).items()}
        for obj in objects:
            self.put(obj)

    def __repr__(self) -> str:
        return f"<Store {self._resource}: {len(self._objects)} objects>"

    def get(self, request: Request) -> T | None:
        """The object of that name, None if there is none."""
        return self._objects.get(request)

    def list(self) -> list[T]:
        """All objects."""
        return [*self._objects.values()]

    def index(self, name: str, value: Hashable) -> _Found[T]:
        """The objects for which the index function `name` gave `value`.

        Raises:
            KeyError: the store was made without such an index.
        """
        return [self._objects[request] for request in self._indexes[name].get(value)]

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, request: Request) -> bool:
        return request in self._objects

    def __iter__(self) -> Iterator[T]:
        return iter(self.list())

    # What the informer does

    def put(self, obj: T) -> tuple[Change[T], ...]:
        """Take `obj` as added or modified; empty if what is held is as new, or newer."""
        request = self._resource.request(obj)
        old = self._objects.get(request)
        if old is None:
            self._set(request, None, obj)
            return ((None, obj),)
        held, meta = self._resource.metadata(old), self._resource.metadata(obj)
        if version_number(meta.resource_version) <= version_number(held.resource_version):
            return ()
        self._set(request, old, obj)
        if held.uid != meta.uid:
            return (old, None), (None, obj)
        return ((old, obj),)

    def remove(self, obj: T) -> tuple[Change[T], ...]:
        """Take `obj` as deleted, this being its last state; empty if no object of its UID is held.

        The version doesn't matter, since no UID ever comes back.
        """
        request = self._resource.request(obj)
        old = self._objects.get(request)
        if old is None or self._resource.metadata(old).uid != self._resource.metadata(obj).uid:
            return ()
        del self._objects[request]
        for index in self._indexes.values():
            index.move(request, old, None)
        return ((obj, None),)

    def fresh(self) -> Store[T]:
        """An empty store of the same kind, with the same indexes."""
        return Store(self._resource, indexes={name: index.of for name, index in self._indexes.items()})

    def newest_first(self) -> dict[Request, T]:
        """A copy of the content whose last items are the oldest, for `popitem`."""
        return dict(reversed(self._objects.items()))

    def swap(self, fresh: Store[T]) -> Iterator[Change[T] | None]:
        """Hold from now on what `fresh` holds, whatever the versions say; `fresh` is used up.

        Returns the changes, deletions first, found one by one as they are asked for, so that the caller may
        pause between them; for that there is a None in place of each comparison that found no change.
        """
        before, self._objects = self._objects, fresh._objects
        self._indexes = fresh._indexes
        return self._changes(before, self._objects)

    def _changes(self, before: dict[Request, T], after: dict[Request, T]) -> Iterator[Change[T] | None]:
        metadata = self._resource.metadata
        for request, old in before.items():
            new = after.get(request)
            gone = new is None or metadata(old).uid != metadata(new).uid
            yield (old, None) if gone else None
        for request, new in after.items():
            held = before.get(request)
            if held is None or metadata(held).uid != metadata(new).uid:
                yield None, new
            else:
                yield (held, new) if held != new else None

    def _set(self, request: Request, old: T | None, new: T) -> None:
        self._objects[request] = new
        for index in self._indexes.values():
            index.move(request, old, new)


class _Index(Generic[T]):
    """Value → the names of the objects that have it, in the order in which they got it."""

    __slots__ = ("_requests", "of")

    def __init__(self, of: IndexFunction[T]) -> None:
        self.of = of
        self._requests: dict[Hashable, dict[Request, None]] = {}

    def get(self, value: Hashable) -> Iterable[Request]:
        return self._requests.get(value, ())

    def move(self, request: Request, old: T | None, new: T | None) -> None:
        before = dict.fromkeys(self.of(old)) if old is not None else {}
        after = dict.fromkeys(self.of(new)) if new is not None else {}
        for value in before.keys() - after.keys():
            del self._requests[value][request]
            if not self._requests[value]:
                del self._requests[value]
        for value in after:
            if value not in before:
                self._requests.setdefault(value, {})[request] = None
