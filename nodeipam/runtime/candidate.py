"""A candidate's campaign: wait until the lock is free, then take it.

While somebody holds the lock, the candidate watches it, so that it sees a release at once and needs no
request for each renewal; where it may not watch, it polls. When the lock has stood still for its duration (a
timer is set to that very moment), it is read once more, and taken if it is still the same. Each write carries
the version that the decision was based on, so of several candidates one succeeds.
"""

from __future__ import annotations

import asyncio

from .clock import Clock, Rng
from .electionlock import LockClient
from .electionrecord import Entry, Object, next_transitions
from .errors import APIError, KubeError
from .lease import Lease
from .logs import get_logger

__all__ = ["Candidate"]

log = get_logger(__name__)

_TICK = 0.001
"""Seconds of the shortest sleep: what is left of a wait can be too short for the loop's clock to move."""
_JITTER = 0.2
"""By which share of the retry period attempts vary, so that candidates don't keep in step."""
_WATCH_AGAIN = 300.0
"""Seconds for which we poll, once we were told that we may not watch, before we ask again."""
_WATCH_SECONDS = (200.0, 240.0)
"""How long one watch lasts, as in the reflector."""


class Candidate:
    """Campaigns for one lock, again and again; each time it wins it makes a new term.

    `deadline` (the effective renew deadline), `duration` (of the lease) and `retry_period` are in seconds.
    """

    def __init__(
        self,
        lock: LockClient,
        *,
        clock: Clock,
        rng: Rng,
        deadline: float,
        duration: float,
        retry_period: float,
    ) -> None:
        self.problem: str | None = None
        """Why the server refused us the lock when that was last tried: a right or the kind is missing, say.
        None when it didn't; an outage is nothing that is wrong with us.
        """
        self._lock = lock
        self._clock = clock
        self._rng = rng
        self._deadline = deadline
        self._duration = duration
        self._retry_period = retry_period
        self._terms = 0
        self._poll_until = 0.0
        self._warned = False
        self._trouble = ""

    async def campaign(self) -> Lease:
        """Wait until the lock is free, take it, and return the term. Errors are logged, and never raised.

        Cancelled while it takes the lock, it may leave it taken: then it is left to expire.
        """
        while True:
            try:
                lease = await self._note_problem()
                if lease is None:
                    await self._wait()
                self._trouble = ""
            except (KubeError, TimeoutError) as error:
                self._report(error)
                await asyncio.sleep(max(self._pause(), min(_retry_after(error), self._duration)))
                continue
            if lease is not None:
                return lease

    async def _note_problem(self) -> Lease | None:
        try:
            lease = await self._attempt()
        except APIError as error:
            if error.refused and error.code not in {409, 429}:
                self.problem = f"{self._lock}: {_say(error)}"
            raise
        self.problem = None
        return lease

    async def _attempt(self) -> Lease | None:
        raw = await self._lock.read()
        if self._lock.left() > 0:
            return None
        try:
            return await self._claim(raw)
        except APIError as error:
            if error.code != 409:
                raise
        await self._lock.read()  # somebody was faster: see who, from now on
        return None

    async def _claim(self, raw: Object | None) -> Lease | None:
        """Take the lock, which is free; None when the answer took so long that the term is over already."""
        seen = None if raw is None else self._lock.record(raw)
        ours = seen is not None and seen.holder == self._lock.identity
        transitions = 0 if seen is None else seen.transitions if ours else next_transitions(seen)

        def entry(now: str) -> Entry:
            return Entry(
                holder=self._lock.identity,
                duration=int(self._duration),
                transitions=transitions,
                acquired=now,
                renewed=now,
            )

        # Decided before the write, which makes a version of its own.
        doubtful = seen is None or (ours and not self._lock.wrote(seen))
        sent = await self._lock.write(raw, entry)
        lease = Lease(
            clock=self._clock,
            identity=self._lock.identity,
            transitions=transitions,
            term=self._terms + 1,
            released=seen is not None and seen.released,
            doubtful=doubtful,
            created=seen is None,
            lease_duration=self._duration,
            deadline=sent + self._deadline,
        )
        if not lease.valid:
            return None
        self._terms += 1
        return lease

    async def _wait(self) -> None:
        """Wait until the lock looks free, or until it should be looked at again."""
        left = self._lock.left()
        if left > 0 and self._clock.monotonic() >= self._poll_until:
            await self._watch(left)
        else:
            await asyncio.sleep(self._pause())

    async def _watch(self, left: float) -> None:
        started = self._clock.monotonic()
        try:
            async with asyncio.timeout(max(left, _TICK)) as expiry:
                await self._follow(expiry)
        except TimeoutError:
            return
        except APIError as error:
            if error.code not in {403, 404, 405}:
                raise
            self._poll_instead(error)
            return
        if self._lock.left() > 0 and self._clock.monotonic() - started < self._retry_period:
            await asyncio.sleep(self._pause())  # a watch that ends as soon as it began

    async def _follow(self, expiry: asyncio.Timeout) -> None:
        """Take in what happens to the lock, until it is free or the watch ends; moves `expiry` along."""
        seen = self._lock.sighting.record
        shortest, longest = _WATCH_SECONDS
        seconds = int(shortest + (longest - shortest) * self._rng.random())
        version = seen.version if seen else ""
        async with self._lock.watch(version, timeout_seconds=seconds, idle=2 * self._duration) as stream:
            while (left := self._lock.left()) > 0:
                expiry.reschedule(asyncio.get_running_loop().time() + max(left, _TICK))
                line = await stream.next()
                if line is None:
                    return
                self._lock.take_in(line)

    def _poll_instead(self, error: APIError) -> None:
        self._poll_until = self._clock.monotonic() + _WATCH_AGAIN
        if not self._warned:
            self._warned = True
            log.warning("can't watch the lock: polling instead", lock=str(self._lock), error=str(error))

    def _report(self, error: Exception) -> None:
        text = _say(error)
        tell = log.debug if text == self._trouble else log.warning
        self._trouble = text
        tell("can't campaign for the lock", lock=str(self._lock), error=text, us=self._lock.identity)

    def _pause(self) -> float:
        """Seconds until the next attempt: a jittered retry period, but not past the moment of expiry."""
        pause = self._retry_period * (1 + _JITTER * self._rng.random())
        left = self._lock.left()
        return max(min(pause, left), _TICK) if left > 0 else pause


def _say(error: Exception) -> str:
    return str(error) or type(error).__name__


def _retry_after(error: Exception) -> float:
    return (error.retry_after or 0.0) if isinstance(error, APIError) else 0.0
