"""Which of our own writes the cache doesn't show yet, so that nobody decides on what we changed already.

Versions of one resource are told in order, so whatever was told last settles every write up to its version. A
list does so too, and settles no later write: it may have begun before that was made.
Invariant: a write that was expected is settled once: when its version has been processed, or when the server
was set back, so that its version is no longer part of history.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from .objects import Request

__all__ = ["OwnWrites"]


class OwnWrites:
    """A synchronous machine: told what was written and what has been processed."""

    __slots__ = ("_callbacks", "_expected", "_order")

    def __init__(self) -> None:
        self._expected: dict[Request, int] = {}
        self._order: list[tuple[int, Request]] = []
        self._callbacks: dict[Request, list[Callable[[], None]]] = {}

    def __repr__(self) -> str:
        return f"<OwnWrites: {len(self._expected)} not seen yet>"

    def __contains__(self, request: Request) -> bool:
        return request in self._expected

    def __len__(self) -> int:
        return len(self._expected)

    def expect(self, request: Request, version: int) -> None:
        """A write to `request` made this version, which hasn't been processed yet."""
        if version > self._expected.get(request, -1):
            self._expected[request] = version
            heapq.heappush(self._order, (version, request))

    def notify(self, request: Request, callback: Callable[[], None]) -> None:
        """Call `callback` once no write to `request` is expected: now, if that is so."""
        if request in self._expected:
            self._callbacks.setdefault(request, []).append(callback)
        else:
            callback()

    def processed(self, version: int) -> None:
        """Everything up to `version` has been processed."""
        while self._order and self._order[0][0] <= version:
            reached, request = heapq.heappop(self._order)
            if self._expected.get(request) == reached:
                self._settle(request)

    def set_back(self) -> None:
        """A list has been processed that is older than the cache was: nothing is to be expected any more."""
        self._order.clear()
        for request in tuple(self._expected):
            self._settle(request)

    def _settle(self, request: Request) -> None:
        del self._expected[request]
        for callback in self._callbacks.pop(request, ()):
            callback()
