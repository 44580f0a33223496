"""Which of many selectors match a Node, found without asking each of them.

Every term is filed under one thing that a Node must have to match it: a name, a label with one of certain
values, or a label of a certain key. A Node is compared only with the terms filed under its own name and
labels. Terms that require nothing to be there (NotIn and DoesNotExist alone) are compared with every Node.

Of a term's requirements the one whose places hold the fewest terms so far is chosen, so what all terms have
in common, such as the operating system, doesn't gather them in one place.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

import msgspec

from .nodeselector import Operator, Requirement, Selector, Term

__all__ = ["SelectorIndex"]

K = TypeVar("K", bound=Hashable)

_Place = tuple[str | None, str | None]
"""(key, value), (key, None) for any value, (None, name) for the Node's name, or (None, None)."""

_ANYWHERE: _Place = (None, None)
_NEEDS_KEY = frozenset({Operator.EXISTS, Operator.GT, Operator.LT})


class _Entry(msgspec.Struct, Generic[K], eq=False, frozen=True, gc=False):
    """One term of one selector, as it is filed."""

    key: K
    term: Term


class SelectorIndex(Generic[K]):
    """Selectors by key, and the question which of them match.

    `match` takes the time of a look-up for each of the Node's labels and of a comparison for each term filed
    there; the number of other terms doesn't count.
    """

    def __init__(self) -> None:
        self._places: dict[_Place, dict[_Entry[K], None]] = {}
        self._filed: dict[K, list[tuple[_Entry[K], tuple[_Place, ...]]]] = {}
        self._everywhere: dict[K, None] = {}

    def __len__(self) -> int:
        return len(self._filed)

    def __contains__(self, key: K) -> bool:
        return key in self._filed

    @property
    def selective(self) -> bool:
        """Whether any selector looks at a Node's name or labels."""
        return bool(self._places)

    def add(self, key: K, selector: Selector | None) -> None:
        """File `selector` under `key`, in place of the one it had. None matches every Node."""
        self.remove(key)
        self._filed[key] = []
        if selector is None or not selector.terms:
            self._everywhere[key] = None
            return
        for term in selector.terms:
            if not term.requirements:
                continue
            entry, places = _Entry(key, term), self._choose(term)
            self._filed[key].append((entry, places))
            for place in places:
                self._places.setdefault(place, {})[entry] = None

    def remove(self, key: K) -> None:
        """Forget the selector of `key`, if it has one."""
        self._everywhere.pop(key, None)
        for entry, places in self._filed.pop(key, ()):
            for place in places:
                entries = self._places[place]
                del entries[entry]
                if not entries:
                    del self._places[place]

    def match(self, name: str, labels: Mapping[str, str]) -> list[tuple[K, int]]:
        """The keys of all selectors that match a Node, each with what `Selector.match` gives for it."""
        best: dict[K, int] = dict.fromkeys(self._everywhere, 0)
        for entry in self._candidates(name, labels):
            count = len(entry.term.requirements)
            if best.get(entry.key, 0) < count and entry.term.matches(name, labels):
                best[entry.key] = count
        return list(best.items())

    def _candidates(self, name: str, labels: Mapping[str, str]) -> Iterator[_Entry[K]]:
        places = self._places
        for place in _own_places(name, labels):
            yield from places.get(place, ())

    def _choose(self, term: Term) -> tuple[_Place, ...]:
        """Where to file a term: the places of the requirement that has the least crowded ones."""
        choices = [places for places in map(_places, term.requirements) if places]
        if not choices:
            return (_ANYWHERE,)
        return min(choices, key=lambda places: max(len(self._places.get(place, ())) for place in places))


def _places(requirement: Requirement) -> tuple[_Place, ...]:
    """What a Node must have one of to meet the requirement; nothing if it can be met by having nothing."""
    if requirement.operator is Operator.IN:
        key = None if requirement.field else requirement.key
        return tuple([(key, value) for value in dict.fromkeys(requirement.values)])
    if requirement.operator in _NEEDS_KEY:
        return ((requirement.key, None),)
    return ()


def _own_places(name: str, labels: Mapping[str, str]) -> Iterable[_Place]:
    yield _ANYWHERE
    yield (None, name)
    for label in labels.items():
        yield label
        yield (label[0], None)
