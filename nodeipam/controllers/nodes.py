"""Gives a Node its ranges: choose and reserve in one synchronous step, then follow one PATCH to its outcome.

Invariants kept here: a Node that has podCIDRs is never written (I2); the same Node is always offered the same
block until the truth is read; a version is read, the lease checked and the request handed over in one step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nodeipam.api.cidr import format_cidr
from nodeipam.api.node import NODES, Node, NodeTransform
from nodeipam.ipam.pool import Choice
from nodeipam.runtime import (
    APIError,
    Backoff,
    Client,
    Fence,
    Informer,
    KubeError,
    Lease,
    Request,
    Result,
    get_logger,
    version_number,
)

from .ledger import Ledger, Reservation
from .oddities import Oddities
from .poolset import PoolEntry, PoolSet
from .reports import Reports
from .waiting import Cause, Waiting

__all__ = ["NodeReconciler"]

log = get_logger(__name__)

_ATTEMPTS = 5
"""How often a PATCH is repeated at once when the Node changed meanwhile."""
_AGAIN = 0.1
_READMIT = 300.0
_DROPPED = Backoff(base=0.5, cap=300.0, factor=2.0, jitter=0.1)
_ASSIGNMENT = ("CIDRNotAvailable", "CIDRAssignmentFailed")


class _Moot(Exception):
    """The Node no longer needs what was going to be written."""


class _NotNow(Exception):
    """The ledger can't vouch for the block: a list is being taken in, or a Node brought addresses of it."""


class _Undecided(KubeError):
    """Raised to look again later: an earlier attempt may still land, so nothing else can be written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeReconciler:
    """The reconciler of Nodes."""

    client: Client
    nodes: Informer[Node]
    ledger: Ledger
    pools: PoolSet
    waiting: Waiting
    reports: Reports
    oddities: Oddities
    fence: Fence[Node]
    lease: Callable[[], Lease]
    """The current term; raises LeadershipLost when there is none."""
    transform: NodeTransform

    async def __call__(self, request: Request) -> Result | None:
        """Look at one Node and do what it needs."""
        await self.nodes.wait(lambda: not self.nodes.replacing)
        node = self.nodes.store.get(request)
        if node is None or node.pod_cidrs:
            self.waiting.remove(request.name)
            self.fence.forget(request)
        if node is None:
            self.reports.settle_node(request.name)
            return None
        if node.pod_cidrs:
            self.reports.settle_node(request.name, *_ASSIGNMENT)
            self.oddities.report(node)
            return None
        if node.terminating:
            self._give_up(node)
            return None
        if node.metadata.uid in self.fence.aside:
            readmitted = await self.fence.readmit(self.lease(), node)
            return await self(request) if readmitted else self._set_aside(node)
        held = self.ledger.reservation(node.metadata.uid)
        if held is not None and held.answered:
            return self._dropped(node, held)
        reservation = self._reserve(node)
        return await self._write(request, reservation) if reservation is not None else None

    def concerns(self, old: Node | None, new: Node | None) -> bool:
        """Whether an event is worth a look: the predicate of the source of Nodes.

        A quiet Node, with ranges and nothing wrong about them, costs nothing after this.
        """
        if new is None:
            name = old.metadata.name if old is not None else ""
            return name in self.waiting or self.reports.said_of_node(name) or bool(self.fence.aside)
        if not new.pod_cidrs:
            if old is None or old.pod_cidrs:  # it appeared, or etcd was restored to a time before its ranges
                return True
            if old.terminating != new.terminating or not old.same_labels(new):
                return True
            held = self.ledger.reservation(new.metadata.uid)
            return held is not None and (held.answered or self.ledger.overlapped(held))
        if old is not None and old.pod_cidrs == new.pod_cidrs:
            return False
        return (
            new.metadata.name in self.waiting
            or self.reports.said_of_node(new.metadata.name)
            or self.oddities.concern(new)
        )

    def _give_up(self, node: Node) -> None:
        """A Node that is being deleted waits for nothing, and keeps no block that it can't have.

        The cache shows every write that was answered, and the Node has no ranges: so only an attempt whose
        outcome isn't known, and which the deletion hasn't overtaken, may still give it some.
        """
        self.waiting.remove(node.metadata.name)
        held = self.ledger.reservation(node.metadata.uid)
        if held is not None and held.unknown_at < 0:
            self.ledger.release(held)

    # Choosing

    def _reserve(self, node: Node) -> Reservation | None:
        """What the Node is to get, from now on in the ledger; None if it has to wait. No await in here."""
        lease = self.lease()
        lease.check()
        held = self.ledger.reservation(node.metadata.uid)
        if held is not None:
            if not self._is_stale(held):
                return held
            self.ledger.release(held)
        full: list[PoolEntry] = []
        for entry in self.pools.candidates(node):
            if not entry.confirmed and not entry.refused:
                self.waiting.add(node, full, Cause.UNCONFIRMED)
                return None
            if entry.pool is None or entry.refused:
                continue
            choice = entry.pool.choose(self.ledger.indexes)
            if isinstance(choice, Choice):
                return self._take(node, entry, choice, lease)
            full.append(entry)
        cause, note, gist = self._why_none(full)
        self.waiting.add(node, full, cause)
        self.reports.warn(node, "CIDRNotAvailable", note, gist=gist)
        return None

    def _take(self, node: Node, entry: PoolEntry, choice: Choice, lease: Lease) -> Reservation:
        reservation = self.ledger.reserve(node, entry.uid, choice.prefixes, lease.term)
        for prefix in choice.prefixes:
            stats = entry.stats[prefix.family]
            stats.allocations += 1
            stats.observe(choice.tries)
        self.waiting.remove(node.metadata.name, served_by=entry)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("reserved", reservation=reservation, clusterCIDR=entry.obj.metadata.name)
        return reservation

    def _is_stale(self, held: Reservation) -> bool:
        """Whether a reservation must not be written any more, and can't have been: then another is chosen.

        Its pool may be going, or a Node may have brought a range of its own that overlaps. As long as an
        attempt of unknown outcome may land, the block stays the only one that this Node is offered.
        """
        if held.term < self.lease().term:  # kept while its Node was set aside, which it is no more
            return True
        if held.unknown_at >= 0:
            return False
        if self.ledger.overlapped(held):
            return True
        entry = self.pools.get(held.pool)
        return entry is None or entry.obj.terminating or not entry.confirmed

    def _why_none(self, full: list[PoolEntry]) -> tuple[Cause, str, str]:
        """The cause, what to tell people, and the gist of it: without what changes and changes nothing."""
        if full:
            names = ", ".join(f"{_name(entry)} is full" for entry in full)
            note = f"no free block: {names}; add a ClusterCIDR that matches this Node"
            return Cause.EXHAUSTED, note, names
        refused = [f"{_name(entry)}: {entry.refused}" for entry in self.pools if entry.refused]
        if refused:
            note = f"no usable ClusterCIDR matches this Node: {'; '.join(refused)}"
            return Cause.REFUSED, note, "refused"
        count = len(self.pools)
        if not count:
            return Cause.NO_MATCH, "there is no ClusterCIDR: create one", "none"
        note = (
            f"none of the {count} ClusterCIDRs is in use and matches this Node: compare their nodeSelector "
            f"with its labels, and see their conditions"
        )
        return Cause.NO_MATCH, note, "no match"

    # Writing

    async def _write(self, request: Request, reservation: Reservation) -> Result | None:
        """PATCH the Node, with its UID and the version it was decided on as preconditions."""
        fresh: Node | None = None
        for _ in range(_ATTEMPTS):
            body = _Body(self, request, reservation, fresh)
            try:
                answer = await self.client.patch(NODES, request, body)
            except _Moot:
                return None
            except _NotNow:
                return await self._later(request, reservation)
            except APIError as error:
                fresh = await self._denied(body, error)
                if fresh is None:
                    return None
            else:
                return self._answered(body, answer.metadata.resource_version)
        return Result(requeue_after=_AGAIN)

    def _answered(self, body: _Body, version: str) -> Result | None:
        """The answer was 200: what it is worth is seen when the cache has caught up with it."""
        request, reservation = body.request, body.reservation
        # What changed nothing leaves the version, and says nothing of earlier attempts on it.
        body.take_back()
        self.ledger.settle(reservation, version_number(version))
        reservation.maybe_landed = reservation.answered = True
        self.nodes.expect(request, version)
        node = self.nodes.store.get(request)
        if node is None or node.metadata.uid != reservation.uid:  # re-created before the answer came
            return None
        if node.pod_cidrs or not self.nodes.current(request):
            return None
        return self._dropped(node, reservation)

    async def _denied(self, body: _Body, error: APIError) -> Node | None:
        """Follow up a refusal: the Node as it is by now, if the same block is to be offered again at once."""
        request, reservation = body.request, body.reservation
        if not error.refused:
            raise error
        body.take_back()
        if error.gone:
            self.ledger.release(reservation)
            return None
        if error.code == 409 or error.blames("spec.podCIDRs"):
            fresh = await self._reread(request, reservation)
            if fresh is None or _version(fresh) != body.version:
                return fresh
        self._refused(request, reservation, error)
        raise error

    async def _later(self, request: Request, reservation: Reservation) -> Result:
        """Let the cache catch up, and find out whether an attempt may still land."""
        await self._reread(request, reservation)
        if reservation.unknown_at >= 0 and self.ledger.overlapped(reservation):
            raise _Undecided(
                f"{_text(reservation)} is held by another Node by now, and an attempt to write it to "
                f"{request} may still land: no other range before this Node has changed"
            )
        return Result(requeue_after=_AGAIN)

    async def _reread(self, request: Request, reservation: Reservation) -> Node | None:
        """The Node as the API server holds it now, or None when nothing is left to be written to it."""
        try:
            fresh = self.transform(await self.client.get(NODES, request))
        except APIError as error:
            if not error.gone:
                raise
            self.ledger.release(reservation)
            return None
        if fresh.metadata.uid != reservation.uid:
            self.ledger.release(reservation)
            return None
        self.ledger.settle(reservation, version_number(fresh.metadata.resource_version))
        if fresh.pod_cidrs:
            # Settled, but the block is only given back once the ledger has these ranges on record.
            self.nodes.expect(request, fresh.metadata.resource_version)
            return None
        return fresh

    def _refused(self, request: Request, reservation: Reservation, error: APIError) -> None:
        """The API server said no to the first attempt, for certain, and for a reason that may last."""
        if error.code in (401, 429):
            return
        node = self.nodes.store.get(request)
        if node is not None:
            note = f"the API server refuses podCIDRs {_text(reservation)}: {error}"
            gist = f"{error.code} {error.reason} {[cause.field for cause in error.causes]}"
            self.reports.warn(node, "CIDRAssignmentFailed", note, gist=gist)
        if not reservation.maybe_landed:
            self.ledger.release(reservation)

    def _dropped(self, node: Node, reservation: Reservation) -> Result:
        """Offer the same block again, later and later: the answer was 200, but the Node shows no ranges.

        Something between us and the storage drops the field, an admission webhook as a rule.
        """
        reservation.answered = False
        reservation.dropped += 1
        note = f"podCIDRs {_text(reservation)} were accepted and dropped: is there an admission webhook?"
        self.reports.warn(node, "CIDRAssignmentFailed", note)
        return Result(requeue_after=_DROPPED.delay(reservation.dropped, self.client.rng))

    def _set_aside(self, node: Node) -> Result:
        cause = self.fence.aside[node.metadata.uid].cause
        note = f"no range, since a write of an earlier leader may still land and can't be shut out: {cause}"
        self.reports.warn(node, "CIDRAssignmentFailed", note, gist="fence")
        return Result(requeue_after=_READMIT)


@dataclass(slots=True)
class _Body:
    """The merge patch for one attempt, made in the step in which it is handed to the transport."""

    reconciler: NodeReconciler
    request: Request
    reservation: Reservation
    fresh: Node | None
    version: int = -1
    """The version of the Node that the patch was decided on."""
    _before: tuple[bool, int] = (False, -1)

    def __call__(self) -> dict[str, Any]:
        reconciler, reservation = self.reconciler, self.reservation
        node = reconciler.nodes.store.get(self.request)
        if node is None or reconciler.ledger.reservation(node.metadata.uid) is not reservation:
            raise _Moot
        if self.fresh is not None and _version(self.fresh) > _version(node):
            node = self.fresh
        if node.pod_cidrs or node.terminating:
            raise _Moot
        if reconciler.nodes.replacing or reconciler.ledger.overlapped(reservation):
            raise _NotNow
        reconciler.lease().check()
        self.version = _version(node)
        self._before = (reservation.maybe_landed, reservation.unknown_at)
        reconciler.ledger.attempt(reservation, self.version)
        texts = [format_cidr(prefix) for prefix in reservation.prefixes]
        return {
            "metadata": {"uid": reservation.uid, "resourceVersion": node.metadata.resource_version},
            "spec": {"podCIDR": texts[0], "podCIDRs": texts},
        }

    def take_back(self) -> None:
        """The outcome of this attempt is known: what is still open is what was open before it."""
        reservation, ledger = self.reservation, self.reconciler.ledger
        reservation.maybe_landed, reservation.unknown_at = self._before
        ledger.settle(reservation, ledger.processed(reservation.uid))


def _version(node: Node) -> int:
    return version_number(node.metadata.resource_version)


def _text(reservation: Reservation) -> str:
    return ", ".join(format_cidr(prefix) for prefix in reservation.prefixes)


def _name(entry: PoolEntry) -> str:
    ranges = ", ".join(map(str, entry.pool.ranges)) if entry.pool is not None else ""
    return f"{entry.obj.metadata.name} ({ranges})"
