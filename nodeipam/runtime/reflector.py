"""When to list, when to watch, when to wait: the reflector as a state machine.

It is told what happened and the time, and says what to do next; :mod:`nodeipam.runtime.listwatch` does it.
Invariants: a watch goes on from the last version that was handed on, so nothing is skipped; the version is
given up only where it can't be trusted any more; whatever a server answers, failures in a row are further and
further apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .clock import Rng
from .errors import APIError, ConfigurationError, KubeError, ProtocolError, TransportError
from .objects import Resource
from .ratelimit import Backoff

__all__ = ["Action", "List", "Reflector", "ReflectorOptions", "StreamedList", "Wait", "Watch"]

_AT_ONCE = 1.0
"""Seconds: a watch that ends sooner, and brought nothing, has failed (client-go's rule)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReflectorOptions:
    """How to list and watch.

    Raises:
        ConfigurationError: the numbers can't work together.
    """

    page_size: int = 100
    """Objects in one page of a list: larger ones cost memory, smaller ones requests."""
    watch_timeout: tuple[float, float] = (200.0, 240.0)
    """Seconds after which the server is to end a watch: from, to; random, lest all watches end together."""
    silence: float = 90.0
    """Seconds without event or bookmark after which a watch isn't believed; bookmarks come each minute."""
    settled: float = 10.0
    """Seconds that a watch must stay open for earlier failures to be forgotten."""
    backoff: Backoff = field(default_factory=lambda: Backoff(base=0.8, cap=30.0, jitter=1.0))
    watch_list: bool = False
    """Whether the first list is streamed as a watch: less memory on the server, twice the CPU here."""
    watch_list_deadline: float = 60.0
    """Seconds that a streamed list may take; after that lists are paged, for good."""
    slice: float = 0.005
    """Seconds of work after which other tasks get a turn."""

    def __post_init__(self) -> None:
        if self.page_size < 1:
            raise ConfigurationError(f"page_size is 1 or more, not {self.page_size}")
        shortest, longest = self.watch_timeout
        if not 1 <= shortest <= longest:
            raise ConfigurationError(
                f"watch_timeout is two times of 1 s or more in order, not {self.watch_timeout}"
            )
        for name in ("silence", "settled", "watch_list_deadline"):
            if getattr(self, name) <= 0:
                raise ConfigurationError(f"{name} is more than 0 s, not {getattr(self, name)}")
        if self.slice < 0:
            raise ConfigurationError(f"slice is 0 s or more, not {self.slice}")


@dataclass(frozen=True, slots=True)
class List:
    """Read everything, in pages, consistently."""


@dataclass(frozen=True, slots=True)
class StreamedList:
    """Watch from nothing: the server sends everything, then a bookmark, then goes on."""

    timeout: int


@dataclass(frozen=True, slots=True)
class Watch:
    """Watch what changes after `version`; the server is to end it after `timeout` seconds."""

    version: int
    timeout: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so many seconds."""

    seconds: float


Action: TypeAlias = List | StreamedList | Watch | Wait


class Reflector:
    """The state machine. Every method takes `now`, a monotonic reading in seconds.

    `version` is that of the last list, event or bookmark, -1 when there is none to go on from. `problem` says
    why it can't list or watch, None when it can. `reason` says why the next list is necessary.
    """

    def __init__(self, resource: Resource[Any], options: ReflectorOptions, *, rng: Rng) -> None:
        self.version = -1
        self.problem: str | None = None
        self.reason = "initial"
        self.activity: float | None = None
        """When the last event or bookmark was taken, or the last list."""
        self.lost = -1
        """The version that was given up last. A list older than that: the server was set back."""
        self._resource = resource
        self._options = options
        self._rng = rng
        self._streaming = options.watch_list
        self._opened: float | None = None
        self._moved = False
        self._failures = 0
        self._not_before = 0.0

    def __repr__(self) -> str:
        return f"<Reflector {self._resource}: at {self.version}, {self.state}, {self._failures} failures>"

    @property
    def state(self) -> str:
        """What it does now, in a word."""
        if self._opened is not None:
            return "watching"
        if self.problem:
            return "failing"
        return "listing" if self.version < 0 else "between watches"

    @property
    def deadline(self) -> float:
        """When an open watch that stays silent is to be given up."""
        opened = self._opened or 0.0
        if self.version < 0:
            return opened + self._options.watch_list_deadline
        return max(opened, self.activity or 0.0) + self._options.silence

    def next(self, now: float) -> Action:
        """What to do now."""
        if now < self._not_before:
            return Wait(self._not_before - now)
        shortest, longest = self._options.watch_timeout
        timeout = round(shortest + (longest - shortest) * self._rng.random())
        if self.version >= 0:
            return Watch(self.version, timeout)
        return StreamedList(timeout) if self._streaming else List()

    def listed(self, version: int, now: float) -> None:
        """Everything as of `version` was handed on."""
        self.version = version
        self.activity = now
        self._moved = False

    def opened(self, now: float) -> None:
        """The server accepted the watch."""
        self._opened = now
        self._moved = False
        self.problem = None

    def moved(self, version: int, now: float) -> None:
        """An event or a bookmark of the open watch was handed on."""
        self.activity = now
        if version > self.version:
            self.version = version
            self._moved = True

    def ended(self, now: float) -> None:
        """The open watch is over: closed, cut off, or without a byte for longer than a watch may be.

        It is opened again from the last version: API servers end watches, and also cut off who reads slowly.
        """
        if self._close(now) < _AT_ONCE and not self._moved:
            self._fail(f"watches end within {_AT_ONCE:g} s, without an event", now)

    def timed_out(self, now: float) -> None:
        """The timer set to `deadline` went off."""
        if now < self.deadline:  # it went off during a stall, and what was waiting has been read since
            self.ended(now)
        elif self.version < 0:
            self._streaming = False
            self._close(now)
        else:
            # A watch from the future, which is what a restored etcd makes of it, stays silent for ever.
            self._close(now)
            self._forget("silent", now)

    def failed(self, error: KubeError, now: float) -> None:
        """Listing, opening a watch, or reading it raised `error`, or an ERROR event said so."""
        streaming = self.version < 0 and self._streaming
        if (
            self._opened is not None
            and isinstance(error, TransportError)
            and not isinstance(error, ProtocolError)
        ):
            self.ended(now)
            return
        self._close(now)
        if isinstance(error, ProtocolError):
            self._lose("protocol")
            self._fail(str(error), now)
        elif not isinstance(error, APIError):
            self._fail(str(error), now)
        elif error.code == 410:
            self._forget("expired", now)
        elif error.code == 504 and any(cause.reason == "ResourceVersionTooLarge" for cause in error.causes):
            self._forget("version_too_large", now)
        elif streaming and error.code in (400, 422):
            self._streaming = False  # the server doesn't know how to, or isn't allowed to
        else:
            self._refused(error, now)

    def _refused(self, error: APIError, now: float) -> None:
        text = str(error)
        if error.code == 403:
            text = f"403 no right to list and watch: {error.message}"
        elif error.code == 404:
            self._lose("not_found")  # whatever comes back under this name is another collection
            group, _, _ = self._resource.api_version.rpartition("/")
            custom = "." in group and not group.endswith(".k8s.io")
            text = f"404 {'the CustomResourceDefinition is missing' if custom else 'not served'}"
        self._fail(text, now, at_least=error.retry_after or 0.0)

    def _forget(self, reason: str, now: float) -> None:
        """List again: at once if the last watch brought anything, else suspecting that it won't help."""
        if self.version < 0 or not self._moved:
            self._fail(f"a list is good for nothing: {reason}" if self._failures else None, now)
        self._lose(reason)

    def _lose(self, reason: str) -> None:
        if self.version >= 0:
            self.lost, self.version = self.version, -1
            self.reason = reason

    def _close(self, now: float) -> float:
        lasted = 0.0 if self._opened is None else now - self._opened
        self._opened = None
        if lasted >= self._options.settled:
            self._failures = 0
        return lasted

    def _fail(self, problem: str | None, now: float, *, at_least: float = 0.0) -> None:
        self._failures += 1
        self._not_before = now + max(self._options.backoff.delay(self._failures, self._rng), at_least)
        self.problem = problem and f"{self._resource}: {problem}"
