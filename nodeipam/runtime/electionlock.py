"""The lock object as one candidate reads and writes it: the asynchronous edge of leader election.

It remembers what was seen (`sighting`), who holds the lock (`holder`), and which version was the last that we
know to have written ourselves. An ambiguous write leaves no such version behind: whoever finds our name later
can tell that it wasn't seen being written.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime

import msgspec

from .client import Client, WatchStream
from .electionrecord import Entry, Lock, Object, Record, Sighting
from .errors import APIError, ProtocolError
from .logs import get_logger
from .objects import Request

__all__ = ["LockClient"]

log = get_logger(__name__)


class LockClient:
    """Reads and writes the lock object `request` of kind `lock` in the name of `identity`.

    `duration` is the lease duration and `timeout` the longest time for one request, both in seconds. Every
    method that talks to the server raises APIError, TransportError or TimeoutError, and can be cancelled; a
    write that was cancelled or failed may still be carried out by the server.
    """

    def __init__(
        self, client: Client, lock: Lock, request: Request, *, identity: str, duration: float, timeout: float
    ) -> None:
        self.identity = identity
        self.sighting = Sighting(identity, duration)
        self.holder = ""
        """The holder that was seen last; empty when there is none."""
        self.current: Object | None = None
        """The object as we last wrote it; None when something else may stand there."""
        self._client = client
        self._clock = client.clock
        self._lock = lock
        self._request = request
        self._timeout = timeout
        self._written: tuple[str, str] | None = None
        self._stamp: datetime | None = None

    def __str__(self) -> str:
        return f"{self._lock.resource} {self._request}"

    def record(self, raw: Object) -> Record:
        """The election record in `raw`."""
        return self._lock.read(raw)

    def wrote(self, record: Record) -> bool:
        """Whether `record` is the version that we last saw ourselves write."""
        return (record.uid, record.version) == self._written

    def left(self) -> float:
        """Seconds until the lock may be taken, by what was seen last; 0.0 when it may be taken now."""
        return self.sighting.left(self._clock.elapsed())

    async def read(self, limit: float = math.inf) -> Object | None:
        """Read the lock object and take note of it; None when there is none. `limit`: seconds at most."""
        try:
            async with asyncio.timeout(min(limit, self._timeout)):
                raw = await self._client.get_raw(self._lock.resource, self._request)
        except APIError as error:
            if error.code != 404 or not error.structured:  # without a Status somebody else may have answered
                raise
            raw = None
        self.see(raw)
        return raw

    async def write(
        self, raw: Object | None, entry: Callable[[str], Entry], limit: float = math.inf
    ) -> float:
        """Write the record that `entry` makes into `raw`, or into a new object if that is None.

        `entry` is given the time as text. It is called in the step in which the request is sent; what it
        raises keeps the request back. `limit`: seconds at most.

        Returns:
            The elapsed time at which the request was sent, in seconds.
        """
        blank = self._lock.blank(self._request.namespace, self._request.name)
        sent, body = math.inf, blank

        def compose() -> Object:
            nonlocal sent, body
            body = self._lock.write(blank if raw is None else raw, entry(self._now()))
            sent = self._clock.elapsed()
            return body

        self.current = None
        async with asyncio.timeout(min(limit, self._timeout)):
            if raw is None:
                answer = await self._client.create(
                    self._lock.resource, compose, namespace=self._request.namespace
                )
            else:
                answer = await self._client.update(self._lock.resource, self._request, compose)
        written = answer.metadata
        self._written = (written.uid, written.resource_version)
        self.holder = self._lock.read(body).holder
        if raw is not None:  # a new object has fields that only the server knows
            metadata = {**body["metadata"], "resourceVersion": written.resource_version}
            self.current = {**body, "metadata": metadata}
        return sent

    def watch(
        self, version: str, *, timeout_seconds: int, idle: float
    ) -> AbstractAsyncContextManager[WatchStream]:
        """Watch the lock object, and no other, from `version` on."""
        return self._client.watch(
            self._lock.resource,
            namespace=self._request.namespace,
            resource_version=version,
            field_selector=f"metadata.name={self._request.name}",
            timeout_seconds=timeout_seconds,
            idle=idle,
        )

    def take_in(self, line: bytes) -> None:
        """Take note of what one line of the watch says.

        Raises:
            ProtocolError: it is an error event or no event at all; the watch is of no use any more.
        """
        try:
            event = msgspec.json.decode(line, type=_Event)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"the watch of {self} sent {line[:100]!r}: {error}") from error
        if event.type in {"ADDED", "MODIFIED"}:
            self.see(event.object)
        elif event.type == "DELETED":
            self.see(None)
        elif event.type != "BOOKMARK":
            raise ProtocolError(f"the watch of {self} sent {event.type or 'no type'}: {line[:200]!r}")

    def see(self, raw: Object | None) -> None:
        """Take note of the lock object's state."""
        record = None if raw is None else self._lock.read(raw)
        self.sighting.see(record, self._clock.elapsed())
        holder = record.holder if record else ""
        if holder != self.holder:
            self.holder = holder
            log.info("the lock changed hands", lock=str(self), holder=holder or "nobody", us=self.identity)

    def _now(self) -> str:
        # Later by a tick at least than what we wrote before: a renewal that changes nothing is none to the
        # server either, and others would take the lock as untouched.
        now = self._clock.wall()
        self._stamp = now if self._stamp is None else max(now, self._stamp + self._lock.tick)
        return self._lock.text(self._stamp)


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    object: Object = {}
