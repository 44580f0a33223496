"""What has to be done between winning the lease and the first write, so that no predecessor's write can hurt.

| how we came to lead | what is done first |
|---|---|
| a lease that was released in good order | the read barriers |
| we made the lock object, and no ClusterCIDR has our finalizer: a fresh cluster | the read barriers |
| any other way | the read barriers and the fence |
| … and somebody may lead who doesn't know of us (`Lease.doubtful`) | a lease duration of waiting, then all |

There is a barrier for Nodes and one for ClusterCIDRs: a predecessor may have let a pool go that our cache
still takes to be in service.

That on a fresh cluster nobody has been at work rests on an order which every leader keeps: the finalizer is
on a pool, *then* the lock is read and found to be ours still, and only then are blocks taken from the pool.
Had a rival done so before our list, the list would show its finalizer; if it tries later, it finds that the
lock is ours. (Who deletes the lock and takes all finalizers off by hand takes the proof away with them.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from nodeipam.api.clustercidr import CLUSTER_CIDRS, FINALIZER, ClusterCIDR
from nodeipam.api.node import Node
from nodeipam.runtime import (
    APIError,
    Backoff,
    Client,
    Fence,
    Informer,
    Lease,
    TransportError,
    get_logger,
    read_barrier,
)

from .ledger import Ledger
from .poolset import PoolSet
from .waiting import Waiting

__all__ = ["EPOCH", "TakeOver"]

log = get_logger(__name__)

T = TypeVar("T")

EPOCH = "networking.x-k8s.io/ipam-epoch"
"""The annotation that the fence changes."""

_RETRY = Backoff(base=0.2, cap=10.0, factor=2.0, jitter=0.2)


@dataclass(frozen=True, kw_only=True, slots=True)
class TakeOver:
    """The gate that every term of leadership passes before Nodes and ClusterCIDRs are written."""

    client: Client
    nodes: Informer[Node]
    cluster_cidrs: Informer[ClusterCIDR]
    ledger: Ledger
    pools: PoolSet
    waiting: Waiting
    fence: Fence[Node]

    async def __call__(self, lease: Lease) -> None:
        """Return once this term may write.

        Raises:
            LeadershipLost: the term ended meanwhile.

        When cancelled, nothing may be written, and the lease will not be released.
        """
        self.fence.lower()
        lease.release_when = self._may_release
        self.waiting.clear()
        self.pools.begin_term()
        unfenced = lease.released or await self._is_fresh(lease)
        if lease.doubtful and not unfenced:
            await self._wait_out(lease)
        await read_barrier(self.client, self.nodes, self.ledger.processed)
        await read_barrier(self.client, self.cluster_cidrs, self.pools.processed, self.pools.uids)
        if unfenced:
            self.fence.skip()
        else:
            await self.fence.erect(lease)
        self.ledger.void_before(lease.term, keep=self.fence.aside)
        finalized = [entry for entry in self.pools if entry.obj.finalized]
        await self._persist(lease.confirm)
        for entry in finalized:
            self.pools.confirm(entry)
        log.info("may write", lease=repr(lease), ledger=repr(self.ledger), fence=repr(self.fence))

    def _may_release(self) -> bool:
        """A successor that finds the lease released relies on both."""
        return self.fence.finished and self.ledger.unsettled == 0

    async def _wait_out(self, lease: Lease) -> None:
        log.info("somebody may lead who doesn't know of us: waiting", seconds=lease.lease_duration)
        clock = self.client.clock
        until = clock.elapsed() + lease.lease_duration
        while (left := until - clock.elapsed()) > 0:  # noqa: ASYNC110 - the clock decides, not the timer
            await asyncio.sleep(left)

    async def _persist(self, request: Callable[[], Awaitable[T]]) -> T:
        """Make a request until it succeeds; the lease bounds it."""
        failures = 0
        while True:
            try:
                return await request()
            except (APIError, TransportError, TimeoutError) as error:
                failures += 1
                delay = _RETRY.delay(failures, self.client.rng)
                log.warning("taking over: a request failed", cause=repr(error), retry=delay)
                await asyncio.sleep(delay)

    async def _is_fresh(self, lease: Lease) -> bool:
        """Whether nobody has been at work: no lock, no finalizer, and nothing of our own under way."""
        return lease.created and self.ledger.unsettled == 0 and await self._persist(self._none_finalized)

    async def _none_finalized(self) -> bool:
        """Whether a consistent list shows no ClusterCIDR with our finalizer."""
        async with self.client.pages_metadata(CLUSTER_CIDRS, limit=500) as pages:
            while (page := await pages.next()) is not None:
                if any(FINALIZER in (item.metadata.finalizers or ()) for item in page.items):
                    return False
        return True
