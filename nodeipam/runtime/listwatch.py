"""The thin edge of the reflector: it lists, watches and waits as it is told, and hands on what comes of it.

Invariant: what the target raises is never taken for a failure of the server, and no timer interrupts the
handing on: events are handed on synchronously, lists outside of timers.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from .client import Client, WatchStream
from .errors import KubeError, ProtocolError, TransportError
from .logs import get_logger
from .objects import Resource
from .reflector import List, Reflector, ReflectorOptions, StreamedList, Wait, Watch
from .slices import Slices
from .store import Store
from .watchevent import Bookmark, Deleted, Event, EventDecoder, Ignored, Put

__all__ = ["ListWatch", "Selection", "Target"]

log = get_logger(__name__)

T = TypeVar("T")

_IDLE = 10.0
"""Seconds that a watch may outlive the time that the server was given."""
_LATE = 1.0
"""Seconds that silence is noticed late, so that there needn't be a timer an event."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which objects of a kind: the arguments of every list and watch."""

    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""


class Target(Protocol[T]):
    """What a ListWatch fills: an informer. What these methods raise ends the ListWatch."""

    def fresh(self) -> Store[T]:
        """An empty store, to be filled and given to `replace`."""

    async def replace(self, fresh: Store[T], version: int) -> None:
        """Hold what `fresh` holds."""

    def apply(self, event: Put[T] | Deleted[T]) -> bool:
        """Take an event; False if it changes nothing."""

    def bookmark(self, version: int) -> None:
        """Note that everything up to `version` was told."""


class ListWatch(Generic[T]):
    """Carries out what a reflector says, for as long as :meth:`run` runs."""

    def __init__(
        self,
        client: Client,
        resource: Resource[Any],
        *,
        selection: Selection,
        options: ReflectorOptions,
        reflector: Reflector,
        decoder: EventDecoder[T],
        target: Target[T],
    ) -> None:
        self._client = client
        self._resource = resource
        self._selection = selection
        self._options = options
        self._reflector = reflector
        self._decoder = decoder
        self._target = target
        self._now = client.clock.monotonic
        self._reported: str | None = None

    async def run(self) -> NoReturn:
        """List and watch for ever, until cancelled or until the target raises."""
        reflector = self._reflector
        while True:
            match reflector.next(self._now()):
                case Wait(seconds):
                    await asyncio.sleep(seconds)
                case List():
                    await self._list()
                case Watch() | StreamedList() as action:
                    await self._watch(action)
            self._report()

    async def _list(self) -> None:
        fresh, version = self._target.fresh(), -1
        slices = Slices(self._client.clock, self._options.slice)
        selection = self._selection
        try:
            async with self._client.pages(
                self._resource,
                namespace=selection.namespace,
                label_selector=selection.label_selector,
                field_selector=selection.field_selector,
                limit=self._options.page_size,
            ) as pages:
                while (page := await pages.next()) is not None:
                    version = _version(page.resource_version) if version < 0 else version
                    for wire in page.items:
                        fresh.put(self._decoder.object(wire))
                        if slices.spent():
                            await slices.rest()
            if version < 0:
                raise ProtocolError("a list without a page")
        except KubeError as error:
            self._reflector.failed(error, self._now())
            return
        await self._listed(fresh, version)

    async def _listed(self, fresh: Store[T], version: int) -> None:
        reflector, resource = self._reflector, str(self._resource)
        self._relisted(reflector.reason)
        log.info("listed", resource=resource, objects=len(fresh), version=version, reason=reflector.reason)
        if version < reflector.lost:
            self._relisted("went_back")
            log.warning("the server was set back", resource=resource, version=version, before=reflector.lost)
        await self._target.replace(fresh, version)
        reflector.listed(version, self._now())

    async def _watch(self, action: Watch | StreamedList) -> None:
        selection, streamed = self._selection, isinstance(action, StreamedList)
        async with AsyncExitStack() as stack:
            try:
                stream = await stack.enter_async_context(
                    self._client.watch(
                        self._resource,
                        namespace=selection.namespace,
                        label_selector=selection.label_selector,
                        field_selector=selection.field_selector,
                        resource_version="" if isinstance(action, StreamedList) else str(action.version),
                        timeout_seconds=action.timeout,
                        idle=action.timeout + _IDLE,
                        send_initial_events=streamed,
                    )
                )
            except KubeError as error:
                self._reflector.failed(error, self._now())
                return
            self._reflector.opened(self._now())
            self._report()
            if not streamed or await self._stream_list(stream):
                await self._follow(stream)

    async def _stream_list(self, stream: WatchStream) -> bool:
        fresh = self._target.fresh()
        try:
            async with asyncio.timeout_at(self._reflector.deadline) as deadline:
                version = await self._fill(fresh, stream)
        except TimeoutError:
            if not deadline.expired():
                raise
            self._reflector.timed_out(self._now())
            return False
        if version >= 0:
            await self._listed(fresh, version)
        return version >= 0

    async def _fill(self, fresh: Store[T], stream: WatchStream) -> int:
        slices = Slices(self._client.clock, self._options.slice)
        while (event := await self._read(stream)) is not None:
            match event:
                case Put(obj):
                    fresh.put(obj)
                case Deleted(obj):
                    fresh.remove(obj)
                case Bookmark(version, True):
                    return version
                case Ignored(reason):
                    self._ignored(reason)
            if slices.spent():
                await slices.rest()
        return -1

    async def _follow(self, stream: WatchStream) -> None:
        reflector = self._reflector
        slices = Slices(self._client.clock, self._options.slice)
        try:
            async with asyncio.timeout_at(reflector.deadline + _LATE) as silence:
                while (event := await self._read(stream)) is not None:
                    self._take(event)
                    if reflector.deadline > (silence.when() or 0.0):
                        silence.reschedule(reflector.deadline + _LATE)
                    if slices.spent():
                        await slices.rest()
        except TimeoutError:
            if not silence.expired():
                raise
            reflector.timed_out(self._now())

    async def _read(self, stream: WatchStream) -> Event[T] | None:
        """The next event, None once the watch is over and the reflector was told why."""
        line: bytes | None = b""
        try:
            line = await stream.next()
            if line is not None:
                return self._decoder.event(line)
        except KubeError as error:
            whole = not line or line.endswith(b"\n")
            self._reflector.failed(error if whole else TransportError("cut off within a line"), self._now())
        else:
            self._reflector.ended(self._now())
        return None

    def _take(self, event: Event[T]) -> None:
        if isinstance(event, Ignored):
            self._ignored(event.reason)
            return
        reflector = self._reflector
        if isinstance(event, Bookmark):
            taken = event.version >= reflector.version
            if taken:
                self._target.bookmark(event.version)
        elif isinstance(event, Put) and event.version <= reflector.version:
            # A watch tells only what came after its version, so this is a replay: it could bring back an
            # object that was deleted since. A deletion is true at any time.
            taken = False
        else:
            taken = self._target.apply(event)
        if not taken:
            self._ignored("stale")
        if taken or event.version > reflector.version:
            reflector.moved(event.version, self._now())

    def _relisted(self, reason: str) -> None:
        self._client.metrics.reflector_relists.labels(str(self._resource), reason).inc()

    def _ignored(self, reason: str) -> None:
        self._client.metrics.reflector_ignored_events.labels(str(self._resource), reason).inc()

    def _report(self) -> None:
        """Log a problem once, and its end."""
        problem = self._reflector.problem
        if problem == self._reported:
            return
        self._reported = problem
        if problem:
            log.warning("can't list or watch", resource=str(self._resource), problem=problem)
        else:
            log.info("lists and watches again", resource=str(self._resource))


def _version(resource_version: str) -> int:
    try:
        return int(resource_version)
    except ValueError as error:
        raise ProtocolError(f"a list has {resource_version!r} as its resourceVersion") from error
