"""The two lanes of a work queue: live keys go first, and background keys get one turn in eight."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from enum import IntEnum
from typing import Generic, NamedTuple, TypeVar

__all__ = ["Add", "Lane", "Ready"]

K = TypeVar("K", bound=Hashable)

_LIVE_TURNS = 7
"""Live keys that go first while a background key waits: it gets one turn in eight, so nothing starves."""


class Lane(IntEnum):
    """How urgent a key is. A key that is added in both lanes is in the more urgent one."""

    LIVE = 0
    """Something happened just now."""
    BACKGROUND = 1
    """The initial list, and what is looked at again from time to time."""


class Add(NamedTuple):
    """How and when a key came in."""

    lane: Lane
    since: float
    """When the key was first added, since it was last handed out."""


class Ready(Generic[K]):
    """The keys that can be handed out, each in one lane, in the order in which they came."""

    def __init__(self) -> None:
        # OrderedDict, not dict: taking the first of a dict passes over all entries that were taken before it.
        self._live: OrderedDict[K, Add] = OrderedDict()
        self._background: OrderedDict[K, Add] = OrderedDict()
        self._passed_over = 0

    def __len__(self) -> int:
        return len(self._live) + len(self._background)

    def __contains__(self, key: K) -> bool:
        return key in self._live or key in self._background

    def sizes(self) -> tuple[int, int]:
        """How many keys wait in the live lane, and how many in the background."""
        return len(self._live), len(self._background)

    def add(self, key: K, add: Add) -> bool:
        """Take the key in, and return whether it is new; a background key may move to the live lane."""
        if key in self._live:
            return False
        waiting = self._background.get(key)
        if add.lane is Lane.BACKGROUND:
            self._background.setdefault(key, add)
            return waiting is None
        if waiting is not None:
            del self._background[key]
        self._live[key] = add if waiting is None else waiting._replace(lane=Lane.LIVE)
        return waiting is None

    def pop(self) -> tuple[K, Add]:
        """Take out the key whose turn it is. KeyError when there is none."""
        if self._background and (not self._live or self._passed_over >= _LIVE_TURNS):
            self._passed_over = 0
            return _pop_first(self._background)
        self._passed_over = self._passed_over + 1 if self._background else 0
        return _pop_first(self._live)

    def clear(self) -> None:
        """Drop everything."""
        self._live.clear()
        self._background.clear()


def _pop_first(lane: OrderedDict[K, Add]) -> tuple[K, Add]:
    first = lane.popitem(last=False)
    if not lane:
        lane.clear()  # gives back the table, which a list of all objects has made large
    return first
