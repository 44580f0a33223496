"""What a new leader does between winning and its first write: read everything, then shut out its predecessor.

A lease alone can't stop a write that an old leader has already sent and that lands after the take-over; no
timeout can. The *read barrier* makes sure that whatever has landed is in the cache. The *fence* then changes
every object that such a write could still hit: writes carry the resourceVersion they were decided on, so from
then on the server answers them 409.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .client import Client
from .election import Lease
from .errors import APIError, ProtocolError, TransportError
from .informer import Informer
from .logs import get_logger
from .objects import HasMetadata, Request, version_number
from .ratelimit import Backoff
from .slices import Slices
from .tasks import all_of

__all__ = ["Fence", "Refusal", "read_barrier"]

log = get_logger(__name__)

T = TypeVar("T", bound=HasMetadata)

_RETRY = Backoff(base=0.2, cap=15.0, factor=2.0, jitter=0.2)
_TRANSIENT = (401, 409, 429)
_NEVER = sys.maxsize
_GONE = -1
"""Below every version, so that an object that is no more counts as processed."""


async def read_barrier(
    client: Client,
    informer: Informer[T],
    processed: Callable[[str], int],
    known: Callable[[], Iterable[str]] = tuple,
) -> None:
    """Wait until the cache holds at least what the server holds now.

    Args:
        client: lists the objects consistently, as metadata only.
        informer: the cache in question.
        processed: the resourceVersion at which the handler that matters has processed the object of a UID,
            -1 when it doesn't know it. A full store isn't enough: decisions are made from what this handler
            made of it.
        known: the UIDs that this handler takes to exist, where it matters that none of them has gone: those
            that the server holds no more are waited for to be forgotten.

    A relist of the cache meanwhile starts it over, since versions from before it prove nothing about what
    came after. Failing requests are retried for ever: the caller's lease bounds it. May be cancelled at any
    time.
    """
    failures = 0
    while True:
        await informer.wait_synced()
        replaces = informer.replaces
        try:
            pending, version = await _list_versions(client, informer)
            listed = {uid for uid, _ in pending}
        except (APIError, TransportError) as error:
            failures += 1
            delay = _RETRY.delay(failures, client.rng)
            log.warning(
                "read barrier: the list failed",
                resource=str(informer.resource),
                cause=str(error),
                retry=delay,
            )
            await asyncio.sleep(delay)
            continue

        def reached(
            pending: list[tuple[str, int]] = pending,
            listed: set[str] = listed,
            version: int = version,
            replaces: int = replaces,
        ) -> bool:
            if informer.replaces != replaces or informer.version >= version:
                return True
            while pending and processed(pending[-1][0]) >= pending[-1][1]:
                pending.pop()
            return not pending and listed.issuperset(known())

        await informer.wait(reached)
        if informer.replaces == replaces:
            return


async def _list_versions(client: Client, informer: Informer[T]) -> tuple[list[tuple[str, int]], int]:
    versions: list[tuple[str, int]] = []
    at = -1
    async with client.pages_metadata(informer.resource, limit=500) as pages:
        while (page := await pages.next()) is not None:
            at = _version(page.resource_version)
            versions += [(item.metadata.uid, _version(item.metadata.resource_version)) for item in page.items]
    return versions, at


def _version(resource_version: str) -> int:
    """A version that proves something: no number, or none at all, would let the barrier pass unread."""
    if not resource_version.isdecimal():
        raise ProtocolError(f"a list of metadata has {resource_version!r} as a resourceVersion")
    return int(resource_version)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An object that was set aside, and why it can't be changed."""

    request: Request
    cause: str


class Fence(Generic[T]):
    """Makes every write that was decided before this term fail, by changing what it could hit.

    Args:
        client: writes the annotation.
        informer: the objects in question, cached.
        annotation: the annotation that is changed; its value is new for every term of every process, since a
            patch that changes nothing leaves the version as it was and fences nothing.
        exposed: whether an old leader's write could still do harm to this object.
        processed: as for :func:`read_barrier`.
        parallel: requests in flight.
        patience: seconds after which an object that can't be changed is set aside, so that it doesn't starve
            the others. Whoever uses the fence must leave such objects alone.
    """

    def __init__(
        self,
        client: Client,
        informer: Informer[T],
        *,
        annotation: str,
        exposed: Callable[[T], bool],
        processed: Callable[[str], int],
        parallel: int = 16,
        patience: float = 300.0,
    ) -> None:
        self._client = client
        self._informer = informer
        self._annotation = annotation
        self._exposed = exposed
        self._processed = processed
        self._parallel = parallel
        self._patience = patience
        self._epoch = ""
        self._up = False
        self._failing: dict[str, Refusal] = {}
        self.aside: dict[str, Refusal] = {}
        """What was set aside, by UID."""

    def __repr__(self) -> str:
        state = "up" if self._up else "not up"
        return f"<Fence {self._annotation}={self._epoch!r}: {state}, {len(self.aside)} set aside>"

    @property
    def problem(self) -> str | None:
        """Which objects can't be changed now, and why; None when nothing is in the way."""
        if self.aside:
            first = next(iter(self.aside.values()))
            return f"{len(self.aside)} set aside, {first.request} for one: {first.cause}"
        if self._failing:
            first = next(iter(self._failing.values()))
            return f"{len(self._failing)} not fenced off yet, {first.request} for one: {first.cause}"
        return None

    @property
    def finished(self) -> bool:
        """Whether every exposed object has been changed, and the cache has seen it: nothing old can land."""
        return self._up and not self.aside

    def lower(self) -> None:
        """Begin a term: nothing is known of what a predecessor may have in flight."""
        self._up = False
        self.aside.clear()
        self._failing.clear()

    def skip(self) -> None:
        """Note that no predecessor has a write in flight, so that nothing needs to be changed."""
        self._up = True

    async def erect(self, lease: Lease) -> None:
        """Change every exposed object, and wait until the cache has processed each as changed.

        Call it after the read barrier. It returns when nothing is left but objects set aside.

        Raises:
            LeadershipLost: the lease ended meanwhile.

        When cancelled, the fence is not up.
        """
        self.lower()
        self._epoch = f"{lease.transitions}/{lease.identity}/{lease.term}"
        term = _Term(lease)
        pending = await self._remaining(self._informer.store.list(), term)
        while pending:
            await self._change_all(pending, term)
            term.rounds += 1
            pending = await self._remaining(pending, term)
            if pending:
                await asyncio.sleep(_RETRY.delay(term.rounds, self._client.rng))
        self._up = True
        log.info("fence is up", epoch=self._epoch, changed=len(term.changed), set_aside=len(self.aside))

    async def readmit(self, lease: Lease, obj: T) -> bool:
        """Try once more to change an object that was set aside; tell whether it may be written again."""
        term = _Term(lease)
        uid = obj.metadata.uid
        await self._change_all([obj], term)
        while uid in term.changed and self._lags(obj, term):  # the cache was replaced meanwhile
            await self._change_all([obj], term)
        failed = self._failing.pop(uid, None)
        if uid in term.changed or self._is_gone(obj):
            self.aside.pop(uid, None)
        elif failed is not None:
            self.aside[uid] = failed
        return uid not in self.aside

    def forget(self, request: Request) -> None:
        """The object is gone, or not exposed any more, and with it whatever could have hit it."""
        for uid in [uid for uid, refusal in self.aside.items() if refusal.request == request]:
            del self.aside[uid]

    async def _remaining(self, candidates: Iterable[T], term: _Term) -> list[T]:
        """Those that were neither set aside nor seen at the version that changing them returned."""
        remaining, slices = [], Slices(self._client.clock)
        for obj in candidates:
            if obj.metadata.uid not in self.aside and self._lags(obj, term):
                remaining.append(obj)
            if slices.spent():
                await slices.rest()
        return remaining

    def _lags(self, obj: T, term: _Term) -> bool:
        """Whether it is still exposed, and was not changed yet or not yet seen as it was changed."""
        uid = obj.metadata.uid
        return not self._is_gone(obj) and self._processed(uid) < term.changed.get(uid, _NEVER)

    def _is_gone(self, obj: T) -> bool:
        held = self._informer.store.get(self._informer.resource.request(obj))
        return held is None or held.metadata.uid != obj.metadata.uid or not self._exposed(held)

    async def _change_all(self, pending: list[T], term: _Term) -> None:
        work = iter(pending)

        async def worker() -> None:
            for obj in work:
                await self._change(obj, term)

        try:
            await all_of(worker() for _ in range(min(self._parallel, len(pending))))
        except BaseExceptionGroup:
            term.lease.check()  # several workers have noticed in the same moment: it is one cause
            raise
        written = [obj for obj in pending if obj.metadata.uid in term.changed]
        replaces = self._informer.replaces

        def processed() -> bool:
            while written and not self._lags(written[-1], term):
                written.pop()
            return not written or self._informer.replaces != replaces

        await self._informer.wait(processed)

    async def _change(self, obj: T, term: _Term) -> None:
        uid = obj.metadata.uid
        if self._is_gone(obj):
            return

        def body() -> dict[str, Any]:
            term.lease.check()
            return {"metadata": {"annotations": {self._annotation: self._epoch}}}

        request: Request = self._informer.resource.request(obj)
        try:
            answer = await self._client.patch(self._informer.resource, request, body, uid=uid)
        except (APIError, TransportError) as error:
            self._failed(uid, request, error, term)
        else:
            term.changed[uid] = version_number(answer.metadata.resource_version)
            self._failing.pop(uid, None)

    def _failed(self, uid: str, request: Request, error: APIError | TransportError, term: _Term) -> None:
        """Note why an object wasn't changed; set it aside when that has lasted too long.

        A server that is down, or out of reach, doesn't count for long: then the lease is lost. Whoever renews
        it and still can't change this one object has an object, a webhook or a policy that says no.
        """
        code = error.code if isinstance(error, APIError) else 0
        if isinstance(error, APIError) and error.gone:
            term.changed[uid] = _GONE
            self._failing.pop(uid, None)
            return
        if uid not in self._failing:
            log.warning("fence: an object can't be changed yet", object=str(request), cause=str(error))
        refusal = self._failing[uid] = Refusal(request, str(error))
        now = self._client.clock.monotonic()
        if code in _TRANSIENT or now - term.failing_since.setdefault(uid, now) < self._patience:
            return
        self.aside[uid] = refusal
        del self._failing[uid]
        log.error("fence: set aside, it gets no write in this term", object=str(request), cause=str(error))


class _Term:
    """What one term's fence has done so far."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.rounds = 0
        self.changed: dict[str, int] = {}
        self.failing_since: dict[str, float] = {}
