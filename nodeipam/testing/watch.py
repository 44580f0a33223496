"""One open watch of the API server model: changes become lines, and wait here until they are read.

A watch has its own buffer, so compaction never takes an event from it. A client for which too many changes
wait is a slow one: its watch ends behind them, as kube-apiserver ends it. Everything but `readline`, which
the client awaits, is synchronous and happens in the world outside of the client's host. Bookmarks come as
kube-apiserver sends them: every minute, and 2 s before the timeout.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import msgspec

from nodeipam.runtime.errors import TransportError

from .faults import Fault
from .hosts import outside
from .status import Refusal
from .storage import Change, Collection, Record

__all__ = ["Watch", "WatchTerms"]

_MOMENT = 1e-9
"""Seconds: sums of times can be short of each other by a rounding."""


class WatchTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a watch was asked for."""

    name: str
    """The kind's name in the model."""
    selected: Callable[[Record], bool]
    encode: Callable[[Record], bytes]
    """One object, as this client wants it."""
    bookmark: Callable[[int, bool], bytes]
    """The object of a bookmark at a version; True: the one that ends the initial events."""
    bookmarks: bool
    timeout: float
    """Seconds until the server ends it."""
    buffer: int
    """Changes that may wait to be read."""


class _Line(NamedTuple):
    """Something to be told; it becomes text when it is read, so that what waits costs next to nothing."""

    time: float
    text: Callable[[], bytes]
    change: bool


class Watch:
    """Lines for one client, in order of their versions."""

    def __init__(
        self,
        collection: Collection,
        terms: WatchTerms,
        *,
        version: int,
        current: Callable[[], int],
        bookmark_interval: float,
    ) -> None:
        """Begin with what happens after `version`; `current` tells the server's version."""
        self.terms = terms
        self._collection = collection
        self._version = version
        self._current = current
        self._lag: Callable[[], float] = float
        self._lines: deque[_Line] = deque()
        self._waiting = 0
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + terms.timeout
        self._interval = bookmark_interval
        self._next_bookmark = self._bookmark_time()
        self._duplicates = False
        self._cut_at = math.inf
        self._silent = False
        self._held = False
        self._ended = False
        self._broken = False
        self._closed = False
        collection.watchers.append(self._on_change)

    def begin(self, *, lag: Callable[[], float], fault: Fault | None = None) -> None:
        """Begin to send: each line `lag()` seconds late, and as far as the fault lets it."""
        self._lag = lag
        match fault.action if fault else "":
            case "stall":
                self._silent = True
            case "lag" if fault:
                self._lag = lambda: lag() + fault.delay
            case "duplicate":
                self._duplicates = True
            case "cut" if fault:
                self._cut_at = self._loop.time() + fault.delay
            case "drop" if fault:
                self._loop.call_later(fault.delay, self.break_off)
            case "close" if fault:
                self._loop.call_later(fault.delay, self.end)

    def initial(self, records: list[Record], *, end: int | None) -> None:
        """Begin with these objects; `end` is the version of the bookmark that closes them, or None."""
        for record in records:
            if self.terms.selected(record):
                self._push(partial(self._event, "ADDED", record))
        if end is not None:
            self.send(_event("BOOKMARK", self.terms.bookmark(end, True)))

    def replay(self, changes: list[Change]) -> None:
        """Begin with what happened before the watch was opened."""
        for change in changes:
            self._on_change(change)

    def refuse(self, refusal: Refusal) -> None:
        """Say by an ERROR event why there is nothing to watch, and end."""
        self.send(_event("ERROR", refusal.encode()))
        self.end()

    def send(self, line: bytes) -> None:
        """Put any line into the stream."""
        self._push(lambda: line)

    def hold(self) -> None:
        """Keep everything back until `go_on`, as a network that is cut does."""
        self._held = True

    def go_on(self) -> None:
        """Send what was kept back."""
        self._held = False
        self._wake.set()

    def end(self) -> None:
        """End the stream as a server does: what is due is still delivered, then it closes."""
        self._ended = True
        self._wake.set()

    def break_off(self) -> None:
        """End the stream as a lost connection does: at once, with an error."""
        self._broken = True
        self._wake.set()

    @property
    def open(self) -> bool:
        """Whether a client still reads it."""
        return not self._closed

    def close(self) -> None:
        """The client has gone. Safe to call again."""
        self._closed = True
        self._leave()
        if self._timer is not None:
            self._timer.cancel()

    async def readline(self, idle: float | None) -> bytes:
        """The next line; b"" once the server has ended the stream.

        Raises:
            TransportError: the stream was broken off, or silent for `idle` seconds by the reader's clock.
        """
        try:
            async with asyncio.timeout(idle):
                while (line := outside(self._next)) is None:
                    await self._wake.wait()
        except TimeoutError:
            raise TransportError(f"the watch was silent for {idle:g} s") from None
        return line

    def _next(self) -> bytes | None:
        """What is due now; None until `_wake` is set again."""
        now = self._loop.time()
        if self._broken:
            raise TransportError("the watch broke off")
        if not self._held and not self._silent and (line := self._due(now)) is not None:
            return line
        self._wake.clear()
        self._set_timer()
        return None

    def _due(self, now: float) -> bytes | None:
        if self._lines and self._lines[0].time + self._lag() <= now + _MOMENT:
            due = self._lines.popleft()
            self._waiting -= due.change
            line = due.text()
            if now >= self._cut_at:
                self.break_off()
                return line[: len(line) // 2]
            return line
        if (self._ended and not self._lines) or now >= self._deadline:
            return b""
        if self._may_bookmark and now >= self._next_bookmark:
            self._next_bookmark = self._bookmark_time()
            return _event("BOOKMARK", self.terms.bookmark(self._current(), False))
        return None

    @property
    def _may_bookmark(self) -> bool:
        """Never before an event that is still to come: whoever went on from the bookmark would miss it.

        Nor in a watch from a version that isn't there yet.
        """
        return self.terms.bookmarks and not self._lines and self._version <= self._current()

    def _set_timer(self) -> None:
        """Wake when something may be due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._held or self._silent:
            return
        times = [self._deadline]
        if self._may_bookmark:
            times.append(self._next_bookmark)
        if self._lines:
            times.append(self._lines[0].time + self._lag())
        self._timer = self._loop.call_at(min(times), self._wake.set)

    def _on_change(self, change: Change) -> None:
        if change.version <= self._version:
            return
        self._version = change.version
        was = change.previous is not None and self.terms.selected(change.previous)
        now = change.type != "DELETED" and self.terms.selected(change.record)
        kind, record = "MODIFIED" if was else "ADDED", change.record
        if not now:
            kind, record = "DELETED", _last_state(change)
        if was or now:
            self._push(partial(self._event, kind, record), change=True)
        if self._waiting >= self.terms.buffer:
            self._leave()
            self.end()

    def _event(self, kind: str, record: Record) -> bytes:
        return _event(kind, self.terms.encode(record))

    def _leave(self) -> None:
        """Hear of no more changes."""
        if self._on_change in self._collection.watchers:
            self._collection.watchers.remove(self._on_change)

    def _push(self, text: Callable[[], bytes], *, change: bool = False) -> None:
        line = _Line(self._loop.time(), text, change)
        for _ in range(2 if self._duplicates else 1):
            self._lines.append(line)
            self._waiting += change
        self._wake.set()

    def _bookmark_time(self) -> float:
        now = self._loop.time()
        before_end = self._deadline - 2.0
        return min(now + self._interval, before_end) if before_end > now else now + self._interval


def _last_state(change: Change) -> Record:
    """What a DELETED event shows: of an object that is merely no longer selected, the state when it was."""
    previous = change.previous
    if change.type == "DELETED" or previous is None:
        return change.record
    metadata = {**previous.metadata, "resourceVersion": str(change.version)}
    return Record(previous.key, change.version, {**previous.body, "metadata": metadata})


def _event(kind: str, obj: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), obj)
