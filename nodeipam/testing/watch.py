"""One open watch of the API server model: changes become lines, and wait here until they are read.

A watch has its own buffer, so compaction never takes an event from it. Everything but `readline` is
synchronous. Bookmarks come as kube-apiserver sends them: every minute, and 2 s before the timeout.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec

from nodeipam.runtime.errors import TransportError

from .status import Refusal
from .storage import Change, Collection, Record

__all__ = ["Watch", "WatchTerms"]


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


class Watch:
    """Lines for one client, in order of their versions."""

    def __init__(
        self,
        collection: Collection,
        terms: WatchTerms,
        *,
        version: int,
        lag: Callable[[], float],
        current: Callable[[], int],
        bookmark_interval: float,
    ) -> None:
        """Begin with what happens after `version`.

        `current` tells the server's version, `lag` by how many seconds lines are late.
        """
        self.terms = terms
        self.stalled = False
        self._collection = collection
        self._version = version
        self._lag = lag
        self._current = current
        self._lines: deque[tuple[float, bytes]] = deque()
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + terms.timeout
        self._interval = bookmark_interval
        self._next_bookmark = self._bookmark_time()
        self._ended = False
        self._broken = False
        self._closed = False
        collection.watchers.append(self._on_change)

    def initial(self, records: list[Record], *, end: int | None) -> None:
        """Begin with these objects; `end` is the version of the bookmark that closes them, or None."""
        for record in records:
            if self.terms.selected(record):
                self._push(_event("ADDED", self.terms.encode(record)))
        if end is not None:
            self._push(_event("BOOKMARK", self.terms.bookmark(end, True)))

    def replay(self, changes: list[Change]) -> None:
        """Begin with what happened before the watch was opened."""
        for change in changes:
            self._on_change(change)

    def refuse(self, refusal: Refusal) -> None:
        """Say by an ERROR event why there is nothing to watch, and end."""
        self._push(_event("ERROR", refusal.encode()))
        self.end()

    def send(self, line: bytes) -> None:
        """Put any line into the stream."""
        self._push(line)

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
        if not self._closed:
            self._closed = True
            self._collection.watchers.remove(self._on_change)

    async def readline(self, idle: float | None) -> bytes:
        """The next line; b"" once the server has ended the stream.

        Raises:
            TransportError: the stream was broken off, or silent for `idle` seconds.
        """
        give_up = None if idle is None else self._loop.time() + idle
        while True:
            now = self._loop.time()
            if self._broken:
                raise TransportError("the watch broke off")
            if not self.stalled and (line := self._due(now)) is not None:
                return line
            if give_up is not None and now >= give_up:
                raise TransportError(f"the watch was silent for {idle:g} s")
            await self._sleep(give_up)

    def _due(self, now: float) -> bytes | None:
        if self._lines and self._lines[0][0] <= now:
            return self._lines.popleft()[1]
        if self._ended or now >= self._deadline:
            return b""
        if self._may_bookmark and now >= self._next_bookmark:
            self._next_bookmark = self._bookmark_time()
            version = max(self._version, self._current())
            return _event("BOOKMARK", self.terms.bookmark(version, False))
        return None

    @property
    def _may_bookmark(self) -> bool:
        """Never before an event that is still to come: whoever went on from the bookmark would miss it."""
        return self.terms.bookmarks and not self._lines

    async def _sleep(self, give_up: float | None) -> None:
        """Until something may be due."""
        times = [] if give_up is None else [give_up]
        if not self.stalled:
            times.append(self._deadline)
            if self._may_bookmark:
                times.append(self._next_bookmark)
            if self._lines:
                times.append(self._lines[0][0])
        self._wake.clear()
        try:
            async with asyncio.timeout_at(min(times, default=None)):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _on_change(self, change: Change) -> None:
        if change.version <= self._version:
            return
        self._version = change.version
        was = change.previous is not None and self.terms.selected(change.previous)
        now = change.type != "DELETED" and self.terms.selected(change.record)
        if now:
            self._push(_event("MODIFIED" if was else "ADDED", self.terms.encode(change.record)))
        elif was:
            self._push(_event("DELETED", self.terms.encode(_last_state(change))))

    def _push(self, line: bytes) -> None:
        self._lines.append((self._loop.time() + self._lag(), line))
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
