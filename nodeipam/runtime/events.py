"""Kubernetes Events: telling people what happened to an object, without ever getting in the way.

`EventRecorder.event` only takes note; `run` sends. What is repeated becomes one Event with a count, an object
that draws too many Events is silenced, the queue is bounded, and no failure to send is anybody's error. The
limits are client-go's. Everything remembered is bounded too.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import Any, Generic, Literal, TypeVar

from .client import Client
from .errors import APIError, KubeError
from .eventseries import ObjectReference, Reporter, Series
from .logs import get_logger
from .objects import Request, Resource
from .ratelimit import Backoff, TokenBucket

__all__ = ["EventRecorder", "ObjectReference"]

log = get_logger(__name__)

V = TypeVar("V")

_EVENTS: Resource[dict[str, Any]] = Resource(
    "events.k8s.io/v1", "Event", plural="events", namespaced=True, type=dict
)
_CORE_EVENTS: Resource[dict[str, Any]] = Resource("v1", "Event", plural="events", namespaced=True, type=dict)

_QUEUE = 1000
"""Events that may wait to be sent."""
_REMEMBERED = 4096
"""Series, and objects with a token bucket, that are remembered."""
_WINDOW = 360.0
"""Seconds after which the same thing happening again is a new Event."""
_BURST = 25
_RATE = 1 / 300
"""One object may draw 25 Events at once, and then one in five minutes."""
_TRIES = 6
_LATER = frozenset({401, 429})
"""Refusals that may not last: the next attempt has renewed credentials, or meets a server that has time."""
_BACKOFF = Backoff(base=1.0, cap=30.0, jitter=0.5)
_LONGEST_WAIT = 60.0
"""Seconds at most for which a server may ask us to wait (Retry-After)."""


class EventRecorder:
    """Records Events in the name of `component` and of `instance`.

    The component is a qualified name such as "example.com/widgets", the instance perhaps the Pod's name.
    Events go to `events.k8s.io/v1`; where that isn't served or allowed (404, 403), to core `v1`.

    Raises:
        ConfigurationError: the API server would refuse `component` or `instance`.
    """

    def __init__(self, client: Client, *, component: str, instance: str) -> None:
        self._client = client
        self._reporter = Reporter(component=component, instance=instance)
        self._queue: deque[Series] = deque()
        self._series: _Recent[Series] = _Recent(_REMEMBERED)
        self._buckets: _Recent[TokenBucket] = _Recent(_REMEMBERED)
        self._wake = asyncio.Event()
        self._sending = asyncio.Lock()
        self._core = False
        self._fell_back = False
        self._warned = False

    def __repr__(self) -> str:
        api = _CORE_EVENTS if self._core else _EVENTS
        return f"<EventRecorder {self._reporter.component}, {len(self._queue)} waiting, to {api.api_version}>"

    def event(
        self,
        regarding: ObjectReference,
        *,
        type: Literal["Normal", "Warning"],
        reason: str,
        action: str,
        note: str,
    ) -> None:
        """Take note that `reason` (UpperCamelCase) was found about `regarding`, and `action` taken.

        Never blocks, never raises. `note` is for people; what is longer than 1024 bytes is cut off. The same
        again within six minutes counts in the Event that is there. A new one is dropped, and counted in
        `events_dropped_total`, when 1000 wait, or when the object has drawn more than 25 at once and one in
        five minutes.
        """
        now, wall = self._client.clock.monotonic(), self._client.clock.wall()
        key = (*regarding.identity, type, reason, action, note)
        known = self._series.get(key)
        if known is not None and now - known.seen <= _WINDOW:
            series = known
            series.again(now, wall)
        else:
            name = regarding.event_name(self._client.rng.getrandbits(64))
            series = Series(name, regarding, now, wall, type=type, reason=reason, action=action, note=note)
        if series.waiting:
            return
        if len(self._queue) >= _QUEUE or not self._bucket(regarding).try_take(now):
            if series is not known:  # a repetition is counted in the series, and told with the next one
                self._client.metrics.events_dropped.inc()
            return
        self._series.put(key, series)
        series.waiting = True
        self._queue.append(series)
        self._wake.set()

    async def run(self) -> None:
        """Send what is recorded, until cancelled. What was not sent then is left for `flush`."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await self._send_first()

    async def flush(self, seconds: float) -> None:
        """Send what waits, for at most so many seconds; then drop the rest. Failures are not raised."""
        try:
            async with asyncio.timeout(seconds):
                while self._queue:
                    await self._send_first()
        except TimeoutError:
            log.warning("some events were not sent in time", waiting=len(self._queue), seconds=seconds)
            self._client.metrics.events_dropped.inc(len(self._queue))
            self._queue.clear()

    async def _send_first(self) -> None:
        # It stays the first until it was sent: who is cancelled in between leaves it to the next one, and an
        # Event that was created twice has one name.
        async with self._sending:
            if not self._queue:
                return
            first = self._queue[0]
            await self._deliver(first)
            if self._queue and self._queue[0] is first:  # flush may have dropped it meanwhile
                self._queue.popleft()

    async def _deliver(self, series: Series) -> None:
        failures = 0
        while (error := await self._try(series)) is not None:
            failures += 1
            if failures == _TRIES or (
                isinstance(error, APIError) and error.refused and error.code not in _LATER
            ):
                self._drop(series, error)
                return
            wish = (error.retry_after or 0.0) if isinstance(error, APIError) else 0.0
            await asyncio.sleep(max(_BACKOFF.delay(failures, self._client.rng), min(wish, _LONGEST_WAIT)))

    async def _try(self, series: Series) -> KubeError | None:
        try:
            await self._send(series)
        except KubeError as error:
            return error
        return None

    def _drop(self, series: Series, error: KubeError) -> None:
        self._client.metrics.events_dropped.inc()
        tell = log.debug if self._warned else log.warning
        self._warned = True
        tell("an event could not be sent", about=repr(series), error=str(error))

    async def _send(self, series: Series) -> None:
        refusal: APIError | None = None
        if not self._core:
            try:
                await self._write(_EVENTS, series)
                return
            except APIError as error:
                if error.code not in {403, 404} or _blames_namespace(error):
                    raise
                refusal = error
        try:
            await self._write(_CORE_EVENTS, series)
        except APIError:
            self._core = False  # neither works now; which one will first is not known
            raise
        if refusal is not None:
            self._fall_back(refusal)

    def _fall_back(self, refusal: APIError) -> None:
        self._core = True
        tell = log.debug if self._fell_back else log.warning
        self._fell_back = True
        tell("events.k8s.io isn't for us: core events instead", error=str(refusal))

    async def _write(self, resource: Resource[Any], series: Series) -> None:
        series.waiting = False  # what is counted from here on needs another patch
        form = series.core if resource is _CORE_EVENTS else series.event
        if series.made:
            try:
                await self._client.patch(resource, Request(series.name, series.namespace), form.count())
                return
            except APIError as error:
                if error.code != 404:
                    raise  # else the Event has expired: a new one
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **form.whole(self._reporter)}
        try:
            await self._client.create(resource, body, namespace=series.namespace)
        except APIError as error:
            if error.code != 409:
                raise  # else an attempt before, whose answer was lost, has made it
        series.made = True

    def _bucket(self, regarding: ObjectReference) -> TokenBucket:
        bucket = self._buckets.get(regarding.identity) or TokenBucket(_RATE, _BURST)
        self._buckets.put(regarding.identity, bucket)
        return bucket


class _Recent(Generic[V]):
    """A dict of so many entries: those that were used last."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[tuple[object, ...], V] = OrderedDict()

    def get(self, key: tuple[object, ...]) -> V | None:
        return self._entries.get(key)

    def put(self, key: tuple[object, ...], value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)


def _blames_namespace(error: APIError) -> bool:
    """Whether the namespace is gone or going: that says nothing about the API group."""
    terminating = any(cause.reason == "NamespaceTerminating" for cause in error.causes)
    return terminating or (error.code == 404 and error.message.startswith("namespaces "))
