"""A leader's part: renew the lock while the guarded work runs, end that work when the lease is lost, release.

Two things end the work, and neither relies on the other: whoever reads the lock and finds it missing or in
other hands, as a rule the renew loop; and a timer, when the lease has run out while a request still hangs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .clock import Clock
from .electionlock import LockClient
from .electionrecord import Entry, Object
from .errors import APIError, KubeError, LeadershipLost
from .lease import Lease
from .logs import get_logger

__all__ = ["Leader", "Scope"]

log = get_logger(__name__)

_TICK = 0.001
"""Seconds of the shortest timer: what is left of a deadline can be too short for the loop's clock to move."""
_RELEASE = 5.0
"""Seconds at most that a release may take: it is a courtesy, and somebody waits for us to end."""
_TRIES = 5
"""How often a release is tried when renewals that we had given up get in between."""


class Scope:
    """Guarded work under a lease. A timer apart from the renew loop ends it when the lease has run out."""

    def __init__(self, lease: Lease, work: asyncio.Task[Exception | None]) -> None:
        self.lease = lease
        self._work = work
        self._told = False
        self._timer = self._arm()

    def lost(self) -> None:
        """Cancel the work, once: a second cancel would cut its cleaning up short."""
        if not self._told:
            self._told = True
            self._work.cancel()

    def close(self) -> None:
        """Stop the timer; the work has ended."""
        self._timer.cancel()

    def _arm(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(max(self.lease.remaining(), _TICK), self._ring)

    def _ring(self) -> None:
        if self.lease.valid:  # renewed meanwhile, or our clock is slower than the loop's
            self._timer = self._arm()
        else:
            self.lost()


class Leader:
    """Renews and releases one lock, term after term.

    `deadline` (the effective renew deadline), `duration` (of the lease) and `retry_period` are in seconds;
    `slow` is called for each renewal that can't build on the last one.
    """

    def __init__(
        self,
        lock: LockClient,
        *,
        clock: Clock,
        deadline: float,
        duration: float,
        retry_period: float,
        slow: Callable[[], None],
    ) -> None:
        self._lock = lock
        self._clock = clock
        self._deadline = deadline
        self._duration = duration
        self._retry_period = retry_period
        self._slow = slow

    async def keep(self, scope: Scope) -> None:
        """Renew until the lease is lost; then end the guarded work."""
        pause = period = self._retry_period
        while scope.lease.valid:
            await asyncio.sleep(min(pause, max(scope.lease.remaining(), _TICK)))
            started, pause = self._clock.monotonic(), period
            try:
                scope.lease.check()
                await self._renew(scope.lease)
            except LeadershipLost as lost:
                scope.lease.end(str(lost))
            except (KubeError, TimeoutError) as error:
                # A request that hung has used up its period: the next one follows at once.
                pause = max(_TICK, started + period - self._clock.monotonic())
                self._slow()
                left = f"{scope.lease.remaining():.1f} s"
                log.warning("can't renew the lock", lock=str(self._lock), left=left, error=repr(error))
        scope.lost()

    async def _renew(self, lease: Lease) -> None:
        if self._lock.current is not None:
            try:
                await self._extend(lease, self._lock.current)
                return
            except APIError as error:
                if error.code not in {404, 409}:
                    raise
                self._slow()
        await self._extend(lease, self._still_ours(lease, await self._lock.read(self._limit(lease))))

    async def _extend(self, lease: Lease, raw: Object) -> None:
        def entry(now: str) -> Entry:
            lease.check()
            return Entry(
                holder=self._lock.identity,
                duration=int(self._duration),
                transitions=lease.transitions,
                acquired=self._lock.record(raw).acquired or now,
                renewed=now,
            )

        sent = await self._lock.write(raw, entry, self._limit(lease))
        lease.extend(sent + self._deadline)

    def _limit(self, lease: Lease) -> float:
        """How long one request may take: half of what is left, so that one which hangs isn't the last."""
        left = lease.remaining()
        return min(left, max(left / 2, self._retry_period))

    async def confirm(self, scope: Scope) -> None:
        """Read the lock; if it isn't ours any more, end the term and the guarded work at once."""
        lease = scope.lease
        try:
            self._still_ours(lease, await self._lock.read(lease.remaining()))
        except LeadershipLost as lost:
            lease.end(str(lost))
            scope.lost()
            raise

    def _still_ours(self, lease: Lease, raw: Object | None) -> Object:
        if raw is None:
            raise LeadershipLost(f"{self._lock} is gone")
        record = self._lock.record(raw)
        if record.holder != self._lock.identity or record.transitions != lease.transitions:
            raise LeadershipLost(f"{self._lock} is held by {record.holder or 'nobody'}")
        return raw

    async def release(self, lease: Lease) -> None:
        """Let the next candidate take the lock at once; whatever fails, it is left to expire."""
        try:
            async with asyncio.timeout(min(_RELEASE, self._deadline)):
                for _ in range(_TRIES):
                    if await self._try_release(lease):
                        return
        except (KubeError, TimeoutError) as error:
            log.warning("can't release the lock: it will expire", lock=str(self._lock), error=repr(error))

    async def _try_release(self, lease: Lease) -> bool:
        raw = self._still_ours(lease, await self._lock.read())
        acquired = self._lock.record(raw).acquired

        def entry(now: str) -> Entry:
            return Entry(
                holder="",
                duration=1,
                transitions=lease.transitions,
                acquired=acquired or now,
                renewed=now,
                released=True,
            )

        try:
            await self._lock.write(raw, entry)
        except APIError as error:
            if error.code != 409:
                raise
            return False  # a renewal that we had given up was carried out meanwhile
        log.info("released the lock", lock=str(self._lock), transitions=lease.transitions)
        return True
