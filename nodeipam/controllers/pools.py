"""Looks after ClusterCIDRs: the finalizer that keeps one from going while it is used, and its conditions.

Invariant: the finalizer is there before any block is given out, and is taken off only when no Node and no
reservation uses the pool. Usage is derived from what Nodes hold, never from what we remember (D-07).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from nodeipam.api.clustercidr import CLUSTER_CIDRS, FINALIZER, ClusterCIDR, Condition
from nodeipam.api.node import Node
from nodeipam.ipam.prefix import Prefix
from nodeipam.runtime import (
    APIError,
    Client,
    Informer,
    KubeError,
    Lease,
    Request,
    Result,
    Slices,
    TransportError,
    get_logger,
)

from .ledger import Ledger, Reservation
from .poolset import PoolEntry, PoolSet
from .reports import Reports

__all__ = ["PoolReconciler"]

log = get_logger(__name__)

_PATIENCE = 30.0
"""Seconds for which Nodes wait for a pool whose finalizer can't be written."""
_NO_STATUS = 300.0
"""Seconds after which it is tried again to write conditions where there was no status, or no right to it."""


@dataclass(kw_only=True, slots=True)
class PoolReconciler:
    """The reconciler of ClusterCIDRs."""

    client: Client
    informer: Informer[ClusterCIDR]
    nodes: Informer[Node]
    """Asked whether the ledger is whole: of a list that is being taken in, deletions come first."""
    ledger: Ledger
    pools: PoolSet
    reports: Reports
    lease: Callable[[], Lease]
    """The current term; raises LeadershipLost when there is none."""
    enqueue: Callable[[Request], None]
    """Puts a ClusterCIDR into this reconciler's own queue."""
    _status_from: float = field(default=0.0, init=False)
    """When conditions are tried again, after it was found that they can't be written."""
    _told: bool = field(default=False, init=False)
    """Whether that was logged."""

    async def __call__(self, request: Request) -> Result | None:
        """Look at one ClusterCIDR and do what it needs: one write of its metadata, then one of its status."""
        obj = self.informer.store.get(request)
        entry = self.pools.get(obj.metadata.uid) if obj is not None else None
        if obj is None or entry is None:
            self.reports.settle_pool(request.name)
            return None
        if obj.terminating:
            await self.nodes.wait(lambda: not self.nodes.replacing)
            user = await self.pools.user_of(entry, self.ledger, Slices(self.client.clock))
            if user is None and obj.finalized:
                rest = [name for name in obj.metadata.finalizers or () if name != FINALIZER]
                await self._set_finalizers(request, entry, rest)
                return None
            return await self._set_conditions(request, obj, self._terminating(user))
        if entry.pool is not None and not obj.finalized:
            await self._set_finalizers(request, entry, [*(obj.metadata.finalizers or ()), FINALIZER])
            return None
        await self._confirm(request, entry)
        self._report(entry)
        return await self._set_conditions(request, obj, *self._serving(entry))

    def freed(self, prefixes: Sequence[Prefix]) -> None:
        """Addresses were given up: pools that are being deleted may go now (D-27)."""
        for entry in self.pools.touching(prefixes):
            if entry.obj.terminating:
                self.enqueue(Request(entry.obj.metadata.name))

    def pool_changed(self, entry: PoolEntry) -> None:
        """A pool changed: it may cover Nodes of one that is being deleted."""
        for other in self.pools:
            if other.obj.terminating and other is not entry:
                self.enqueue(Request(other.obj.metadata.name))

    # The finalizer

    async def _confirm(self, request: Request, entry: PoolEntry) -> None:
        """Let blocks be taken from the pool: it has our finalizer, and after that we lead still."""
        if entry.pool is None or entry.confirmed:
            return
        await self.lease().confirm()
        self.pools.confirm(entry)
        log.info("ClusterCIDR in use", clusterCIDR=request.name, pool=repr(entry.pool))
        for note in entry.spec.notes if entry.spec is not None else ():
            log.info("differs from kubernetes-sigs/node-ipam-controller", clusterCIDR=request.name, note=note)

    def _report(self, entry: PoolEntry) -> None:
        if entry.spec is None:
            self.reports.warn(entry.obj, "InvalidClusterCIDR", entry.fault)
            return
        self.reports.settle_pool(entry.obj.metadata.name)

    async def _set_finalizers(self, request: Request, entry: PoolEntry, names: list[str]) -> None:
        meta = entry.obj.metadata

        def body() -> Mapping[str, Any]:
            self.lease().check()
            return {"metadata": {"finalizers": names}}

        try:
            answer = await self.client.patch(
                CLUSTER_CIDRS, request, body, uid=meta.uid, resource_version=meta.resource_version
            )
        except (APIError, TransportError) as error:
            if isinstance(error, APIError) and error.gone:
                return
            self._unmarked(entry, error)
            raise
        else:
            self.informer.expect(request, answer.metadata.resource_version)
            if FINALIZER in names and FINALIZER not in (answer.metadata.finalizers or ()):
                self.pools.refuse(entry, "the finalizer was accepted and dropped")
                raise _Dropped(
                    f"no finalizer on ClusterCIDR {request} after a 200: is there an admission webhook?"
                )

    def _unmarked(self, entry: PoolEntry, error: APIError | TransportError) -> None:
        """Let Nodes pass a pool over whose finalizer is refused, or can't be written for a while."""
        now = self.client.clock.monotonic()
        if entry.failing_since is None:
            entry.failing_since = now
        refused = isinstance(error, APIError) and error.refused and error.code not in (401, 409, 429)
        if refused or now - entry.failing_since >= _PATIENCE:
            self.pools.refuse(entry, str(error))

    # The conditions

    def _serving(self, entry: PoolEntry) -> tuple[Condition, ...]:
        if entry.pool is None or entry.spec is None:
            return (Condition("Ready", "False", "Invalid", entry.fault),)
        text = (
            f"Nodes get 2^{entry.pool.host_bits} addresses each of {', '.join(map(str, entry.pool.ranges))}"
        )
        ready = Condition("Ready", "True", "Allocating", f"{text}, for up to {entry.pool.capacity} Nodes")
        if not entry.spec.warnings:
            return (ready,)
        return ready, Condition("Warning", "True", "Questionable", "; ".join(entry.spec.warnings))

    def _terminating(self, user: str | Reservation | None) -> Condition:
        if user is None:
            return Condition("Ready", "False", "Terminating", "no Node uses it")
        node = self.ledger.node(user) if isinstance(user, str) else None
        name = (
            user.name if isinstance(user, Reservation) else node.metadata.name if node is not None else user
        )
        message = f"no new blocks; it goes when no Node uses it any more, Node {name} for one"
        return Condition("Ready", "False", "Terminating", message)

    async def _set_conditions(self, request: Request, obj: ClusterCIDR, *wanted: Condition) -> Result | None:
        """Write the conditions if they differ from those that stand there; others' conditions are kept."""
        conditions = _merged(obj, wanted, self.client.clock.wall())
        if conditions is None:
            return None
        now = self.client.clock.monotonic()
        if now < self._status_from:
            return Result(requeue_after=self._status_from - now)

        def body() -> Mapping[str, Any]:
            self.lease().check()
            return {"status": {"conditions": msgspec.to_builtins(conditions)}}

        meta = obj.metadata
        try:
            await self.client.patch(
                CLUSTER_CIDRS,
                request,
                body,
                subresource="status",
                uid=meta.uid,
                resource_version=meta.resource_version,
            )
        except APIError as error:
            if not error.refused or error.code in (401, 409, 429):
                raise
            return await self._without_conditions(request, error)
        self._told = False
        return None

    async def _without_conditions(self, request: Request, error: APIError) -> Result | None:
        """Find out why: the object is gone, there is no status to write to, or these conditions won't do."""
        if error.code == 404:
            try:
                await self.client.get(CLUSTER_CIDRS, request)
            except APIError as missing:
                if missing.gone:
                    return None
                raise
        if error.code not in (403, 404):
            log.warning("conditions are refused", clusterCIDR=request.name, cause=str(error))
            return None
        if not self._told:
            log.warning(
                "no conditions: the installed CRD or Role has no clustercidrs/status", cause=str(error)
            )
        self._told = True
        self._status_from = self.client.clock.monotonic() + _NO_STATUS
        return Result(requeue_after=_NO_STATUS)


class _Dropped(KubeError):
    """Raised to try again later: a write was answered 200 and not carried out."""


_OURS = ("Ready", "Warning")


def _merged(obj: ClusterCIDR, wanted: Sequence[Condition], now: datetime) -> list[Condition] | None:
    """What conditions the object should have, or None if it has them."""
    held = {condition.type: condition for condition in obj.conditions}
    merged = [condition for condition in obj.conditions if condition.type not in _OURS]
    for condition in wanted:
        before = held.get(condition.type)
        same_status = before is not None and before.status == condition.status
        since = before.last_transition_time if before is not None and same_status else ""
        merged.append(
            msgspec.structs.replace(
                condition,
                observed_generation=obj.metadata.generation,
                last_transition_time=since or now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            )
        )
    return merged if {c.type: c for c in merged} != held else None
