"""Leader election: at most one of many processes does the guarded work.

`Elector.run` campaigns for the lock object (:mod:`.candidate`), runs the guarded work in a task of its own
while it holds the lock (:mod:`.leader`), and releases it when that work has ended. What it keeps, whatever
clocks, networks and people do:

- Our term ends by our own clock before others may take over by theirs: it is counted from the moment the
  last successful renewal was *sent*, and is shorter than the time for which others wait.
- A rival's timestamps are never compared. The lock is free when we have seen the same version of it for as
  long as that version says, when there is none, or when its holder released it.
- A renewal never acquires: if the lock object is missing or names somebody else, the term is over at once.
- The lock is released only after the guarded work has ended, if `Lease.release_when` allows it, and if the
  holder that was just read is us.

Election reduces the overlap of two leaders to requests that are still on their way; it can't exclude those.
"""

from __future__ import annotations

import asyncio
import math
import platform
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from .candidate import Candidate
from .client import Client
from .electionlock import LockClient
from .electionrecord import LOCKS, RELEASED
from .errors import ConfigurationError, LeadershipLost
from .leader import Leader, Scope
from .lease import Lease
from .logs import get_logger
from .objects import Request
from .tasks import TaskScope

__all__ = ["RELEASED", "Election", "Elector", "Lease"]

log = get_logger(__name__)

Lead = Callable[[Lease], Awaitable[None]]

_CLOCKS = 0.74
"""The largest share of the lease duration for which we may lead, so that clock rates may differ by 15 %."""
_JITTER = 1.2
"""client-go's JitterFactor: the renew deadline must leave room for so many retry periods."""
_OVERDUE = 20.0
"""Seconds for which guarded work may outlive its lease, as with client-go's HealthzAdaptor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Election:
    """The lock, and how long its holder may lead. Defaults and rules are client-go's.

    Raises:
        ConfigurationError: the values can't work together; the message gives them.
    """

    namespace: str
    name: str
    """Of the lock object; also the label of the metrics."""
    lock: Literal["leases", "endpoints", "configmaps"] = "leases"
    """The kind of the lock object. All candidates must agree."""
    id: str = ""
    """Who we are, for people; the host name when empty. A random suffix is added, new for every elector."""
    lease_duration: float = 15.0
    """Seconds for which others wait before they take the lock by force; stored as a whole number."""
    renew_deadline: float = 10.0
    """Seconds after the last successful renewal was sent until the leader stops."""
    retry_period: float = 2.0
    """Seconds between two attempts, of the leader to renew and of a candidate to acquire."""

    def __post_init__(self) -> None:
        lease, renew, retry = self.lease_duration, self.renew_deadline, self.retry_period
        if not self.namespace or not self.name:
            raise ConfigurationError(
                f"the lock needs a namespace and a name, not {self.namespace!r} and {self.name!r}"
            )
        if self.lock not in LOCKS:
            raise ConfigurationError(f"the lock is one of {', '.join(LOCKS)}, not {self.lock!r}")
        if not 1 <= lease < math.inf or lease != int(lease):
            raise ConfigurationError(
                f"the lease duration is a whole number of seconds from 1 on, not {lease} s"
            )
        if not 0 < retry < math.inf or not 0 < renew < math.inf:
            raise ConfigurationError(
                f"renew deadline and retry period must be positive, not {renew:g} s and {retry:g} s"
            )
        if lease <= renew:
            raise ConfigurationError(
                f"the lease duration ({lease:g} s) must be longer than the renew deadline ({renew:g} s)"
            )
        if renew <= _JITTER * retry:
            raise ConfigurationError(
                f"the renew deadline ({renew:g} s) must be longer than {_JITTER} x the retry period "
                f"({_JITTER} x {retry:g} s = {_JITTER * retry:g} s)"
            )

    @property
    def effective_renew_deadline(self) -> float:
        """The renew deadline, or 0.74 x the lease duration where that is less.

        Our clock and another candidate's may run at rates that differ by 15 %, and still we stop first.
        """
        return min(self.renew_deadline, _CLOCKS * self.lease_duration)

    @property
    def effective_retry_period(self) -> float:
        """The leader's retry period, shortened in the same proportion as the renew deadline."""
        return self.retry_period * self.effective_renew_deadline / self.renew_deadline


class Elector:
    """Campaigns for a lock, and runs the guarded work while it holds it.

    It logs a warning when it is made with a renew deadline that leaves too little room for clocks to differ:
    the effective one is shorter then.
    """

    def __init__(self, options: Election, client: Client) -> None:
        self.identity = f"{options.id or platform.node() or 'unknown'}_{client.rng.getrandbits(128):032x}"
        self._options = options
        self._clock = client.clock
        self._deadline = options.effective_renew_deadline
        self._lock = LockClient(
            client.unlimited(),
            LOCKS[options.lock],
            Request(options.name, options.namespace),
            identity=self.identity,
            duration=options.lease_duration,
            timeout=self._deadline / 2,
        )
        self._candidate = Candidate(
            self._lock,
            clock=client.clock,
            rng=client.rng,
            deadline=self._deadline,
            duration=options.lease_duration,
            retry_period=options.retry_period,
        )
        self._leader = Leader(
            self._lock,
            clock=client.clock,
            deadline=self._deadline,
            duration=options.lease_duration,
            retry_period=options.effective_retry_period,
            slow=client.metrics.leader_election_slowpath.labels(options.name).inc,
        )
        self._lease: Lease | None = None
        client.metrics.leader_election_master_status.labels(options.name).set_function(lambda: self.leading)
        if self._deadline < options.renew_deadline:
            log.warning(
                "the renew deadline leaves too little room for clocks that differ: a shorter one is used",
                lock=str(self._lock),
                renew_deadline=options.renew_deadline,
                effective_renew_deadline=self._deadline,
                lease_duration=options.lease_duration,
            )

    def __repr__(self) -> str:
        state = repr(self._lease) if self._lease else f"standby, held by {self.holder or 'nobody'}"
        return f"<Elector {self.identity} for {self._lock}, {state}>"

    @property
    def leading(self) -> bool:
        """Whether guarded work runs under a lease that is valid now."""
        return self._lease is not None and self._lease.valid

    @property
    def holder(self) -> str:
        """Identity of the lock's holder as far as it is known; empty when there is none."""
        return self._lock.holder

    @property
    def problem(self) -> str | None:
        """Why the server refuses us the lock; None when it doesn't, or while we lead.

        A readiness check should complain about it.
        """
        return self._candidate.problem

    def health(self) -> str | None:
        """What a liveness check should complain about, or None: guarded work that long outlives its lease.

        It means that the work was told to stop and doesn't. Only a restart helps.
        """
        lease = self._lease
        if lease is None or lease.valid:
            return None
        overdue = self._clock.elapsed() - lease.ended_at
        if overdue <= _OVERDUE:
            return None
        return f"the lease on {self._lock} was lost {overdue:.0f} s ago, and the work under it hasn't ended"

    async def run(self, lead: Lead, *, campaign_again: bool = True) -> None:
        """Campaign; run `lead(lease)` under each term won; return, or raise, when it ends by itself.

        `lead` runs in a task of its own. When the lease is lost, that task is cancelled and awaited, however
        long it takes; then it is campaigned again, or LeadershipLost is raised if `campaign_again` is False.

        Cancelling cancels `lead` and awaits it, renewing meanwhile, then releases the lock for at most five
        seconds, then raises CancelledError. A second cancel is passed on to `lead` and skips the release.

        Raises:
            LeadershipLost: the lease was lost, and `campaign_again` is False.
            Exception: what `lead` raised, except LeadershipLost when the lease was lost indeed.
        """
        while True:
            lease = await self._candidate.campaign()
            if not await self._reign(lease, lead):
                return
            if not campaign_again:
                lease.check()

    async def _reign(self, lease: Lease, lead: Lead) -> bool:
        """Run the guarded work for one term; whether the lease was lost (else the work ended by itself)."""
        self._lease, patience = lease, _Patience()
        log.info("leading", lock=str(self._lock), lease=repr(lease))
        async with TaskScope() as tasks:
            work = tasks.create_task(_outcome(lead, lease))
            scope = Scope(lease, work)
            lease.confirm_by(partial(self._leader.confirm, scope))
            keeper = tasks.create_task(self._leader.keep(scope))
            await patience.wait(work, cancel_at=1)
            lost = not lease.valid
            lease.end("the guarded work has ended")
            scope.close()
            keeper.cancel()
            await patience.wait(keeper, cancel_at=1)
            self._lease = None
            if not lost and patience.cancels < 2 and _releasable(lease):
                await patience.wait(tasks.create_task(self._leader.release(lease)), cancel_at=2)
        error = asyncio.CancelledError() if work.cancelled() else work.result()
        patience.check(error)
        if lost and (error is None or isinstance(error, LeadershipLost | asyncio.CancelledError)):
            log.warning("lost the lease", lock=str(self._lock), lease=repr(lease))
            return True
        if error is not None:
            raise error
        return False


class _Patience:
    """Awaits tasks of ours to their end, however often we are cancelled meanwhile, and doesn't forget it."""

    def __init__(self) -> None:
        self.cancels = 0

    async def wait(self, task: asyncio.Task[object], *, cancel_at: int) -> None:
        """Await `task`; pass every cancel on to it, from the `cancel_at`-th that we got on."""
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                self.cancels += 1
                if self.cancels >= cancel_at:
                    task.cancel()

    def check(self, cause: BaseException | None) -> None:
        """Raise the cancel that we got, if we did; `cause` is what the work ended with."""
        if not self.cancels:
            return
        if isinstance(cause, Exception) and not isinstance(cause, LeadershipLost):
            log.error("the guarded work failed while it was being cancelled", exc_info=cause)
        raise asyncio.CancelledError from cause


async def _outcome(lead: Lead, lease: Lease) -> Exception | None:
    """Run the guarded work; its error is its result, so that it doesn't end the group that it runs in."""
    try:
        await lead(lease)
    except Exception as error:  # noqa: BLE001 - it is raised later, when the term has been brought to its end
        return error
    return None


def _releasable(lease: Lease) -> bool:
    try:
        return lease.release_when()
    except Exception:
        log.exception("release_when failed: the lock is left to expire", lease=repr(lease))
        return False
