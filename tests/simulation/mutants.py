"""Mistakes, put into the controller one at a time, to see whether the simulator finds them.

Each is a small patch of a named seam, made in the process that plays the schedules. Those with a D-number are
defects of kubernetes-sigs/node-ipam-controller; the others break a rule of our own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from nodeipam.api.node import Node
from nodeipam.controllers import ledger, nodes, pools, poolset, takeover, waiting
from nodeipam.controllers.reports import Reports
from nodeipam.ipam.index import PrefixIndex
from nodeipam.ipam.pool import Choice, Pool
from nodeipam.runtime import (
    APIError,
    LeadershipLost,
    Lease,
    TransportError,
    candidate,
    controller,
    election,
    electionlock,
    electionrecord,
    fence,
    leader,
    reflector,
    store,
    workqueue,
)
from nodeipam.runtime.informer import Informer
from nodeipam.testing import VirtualClock

__all__ = ["MUTANTS", "Mutant"]

Patch = Callable[[], None]


@dataclass(frozen=True)
class Mutant:
    """A mistake."""

    name: str
    """What is wrong, in a few words."""
    apply: Patch
    """Makes the mistake, in this process and for good."""


MUTANTS: list[Mutant] = []
"""All of them."""


def _mutant(name: str) -> Callable[[Patch], Patch]:
    def note(apply: Patch) -> Patch:
        MUTANTS.append(Mutant(name, apply))
        return apply

    return note


def _around(owner: Any, name: str, wrap: Callable[..., Any]) -> None:
    """Replace a function by `wrap(original, *its arguments)`."""
    original = getattr(owner, name)
    setattr(owner, name, lambda *args, **kwargs: wrap(original, *args, **kwargs))


def _instead(owner: Any, name: str, result: Callable[..., Any]) -> None:
    setattr(owner, name, result)


async def _nothing(*_: object) -> None:
    """Do nothing."""


# The preconditions of a write


def _without(field: str) -> Patch:
    def compose(original: Callable[..., dict[str, Any]], body: Any) -> dict[str, Any]:
        found = original(body)
        del found["metadata"][field]
        return found

    return partial(_around, nodes._Body, "__call__", compose)


_mutant("no UID precondition")(_without("uid"))
_mutant("no resourceVersion precondition")(_without("resourceVersion"))


@_mutant("no lease check at the write")
def _() -> None:
    original = nodes._Body.__call__

    class Lenient:
        term = 0

        def __init__(self, lease: Lease | None) -> None:
            self.term = lease.term if lease else 0

        def check(self) -> None:
            pass

    def call(body: Any) -> dict[str, Any]:
        reconciler = body.reconciler
        lease = _last_lease(reconciler.lease)
        body.reconciler = _Proxy(reconciler, lease=lambda: Lenient(lease))
        try:
            return original(body)
        finally:
            body.reconciler = reconciler

    _instead(nodes._Body, "__call__", call)
    _instead(leader.Scope, "lost", lambda _: None)


@_mutant("the lease is checked when the reconcile begins, not when it writes")
def _() -> None:
    original = nodes._Body.__call__

    def call(body: Any) -> dict[str, Any]:
        reconciler = body.reconciler
        lease = _last_lease(reconciler.lease)
        body.reconciler = _Proxy(reconciler, lease=lambda: _Proxy(lease, check=lambda: None))
        try:
            return original(body)
        finally:
            body.reconciler = reconciler

    _instead(nodes._Body, "__call__", call)


def _last_lease(ask: Callable[[], Lease]) -> Lease | None:
    try:
        return ask()
    except LeadershipLost:
        return None


class _Proxy:
    """Another object, with some of its attributes replaced."""

    def __init__(self, inner: Any, **replaced: Any) -> None:
        self.__dict__.update(replaced, _inner=inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


# The fence


@_mutant("no fence after an unclean take-over")
def _() -> None:
    async def erect(self: Any, _: Lease) -> None:
        self.lower()
        self.skip()

    _instead(fence.Fence, "erect", erect)


@_mutant("the fence doesn't wait for what it wrote to come back")
def _() -> None:
    def lags(original: Callable[..., bool], self: Any, obj: Any, term: Any) -> bool:
        return obj.metadata.uid not in term.changed and original(self, obj, term)

    _around(fence.Fence, "_lags", lags)


@_mutant("the fence's annotation doesn't change when the same process leads again")
def _() -> None:
    async def erect(original: Callable[..., Awaitable[None]], self: Any, lease: Lease) -> None:
        await original(self, _Proxy(lease, term=1))

    _around(fence.Fence, "erect", erect)


@_mutant("the fence leaves out Nodes that match no pool")
def _() -> None:
    _instead(
        takeover.TakeOver,
        "__call__",
        _fenced_only(takeover.TakeOver.__call__, lambda gate, node: bool(gate.pools.candidates(node))),
    )


def _fenced_only(original: Callable[..., Awaitable[None]], which: Callable[[Any, Node], bool]) -> Any:
    async def call(self: Any, lease: Lease) -> None:
        exposed = self.fence._exposed
        self.fence._exposed = lambda node: exposed(node) and which(self, node)
        try:
            await original(self, lease)
        finally:
            self.fence._exposed = exposed

    return call


@_mutant("released before the fence is done")
def _() -> None:
    def may_release(self: Any) -> bool:
        return bool(self.ledger.unsettled == 0)

    async def call(original: Callable[..., Awaitable[None]], self: Any, lease: Lease) -> None:
        lease.release_when = self._may_release
        await original(self, lease)

    _instead(takeover.TakeOver, "_may_release", may_release)
    _around(takeover.TakeOver, "__call__", call)


@_mutant("released while a write's outcome is unknown (D-30)")
def _() -> None:
    _instead(takeover.TakeOver, "_may_release", lambda self: self.fence.finished)


@_mutant("reservations are kept over a later fence")
def _() -> None:
    _instead(ledger.Ledger, "void_before", lambda *_, **__: None)
    _instead(nodes.NodeReconciler, "_is_stale", lambda *_: False)


@_mutant("a Node that was set aside gets ranges all the same")
def _() -> None:
    async def erect(original: Callable[..., Awaitable[None]], self: Any, lease: Lease) -> None:
        await original(self, lease)
        self.aside.clear()

    _around(fence.Fence, "erect", erect)


@_mutant("no read barrier")
def _() -> None:
    _instead(takeover, "read_barrier", _nothing)


@_mutant("the read barrier asks the store, not the ledger, and takes any list for the truth")
def _() -> None:
    async def barrier(_: Any, informer: Any, __: Any) -> None:
        await informer.wait_synced()

    _instead(takeover, "read_barrier", barrier)


# Leader election


@_mutant("any empty holder is taken for released")
def _() -> None:
    def read(original: Callable[..., Any], self: Any, raw: Any) -> Any:
        record = original(self, raw)
        return replace(record, released=record.holder == "")

    _around(electionrecord.Lock, "read", read)


@_mutant("no wait after creating the Lease")
def _() -> None:
    _instead(takeover.TakeOver, "_wait_out", _nothing)


@_mutant("whoever creates the Lease takes the cluster for a fresh one")
def _() -> None:
    async def is_fresh(_: Any, lease: Lease) -> bool:
        return lease.created

    _instead(takeover.TakeOver, "_is_fresh", is_fresh)


@_mutant("validity is counted from the reply")
def _() -> None:
    async def write(original: Callable[..., Awaitable[float]], self: Any, *args: Any) -> float:
        await original(self, *args)
        return float(self._clock.elapsed())

    _around(electionlock.LockClient, "write", write)


@_mutant("validity is the lease duration instead of the renew deadline")
def _() -> None:
    def init(original: Callable[..., None], self: Any, *args: Any, **options: Any) -> None:
        original(self, *args, **{**options, "deadline": options["duration"]})

    _around(leader.Leader, "__init__", init)
    _around(candidate.Candidate, "__init__", init)


@_mutant("time is taken from a clock that stands still while the machine sleeps")
def _() -> None:
    _instead(VirtualClock, "elapsed", VirtualClock.monotonic)


@_mutant("a renewal acquires: it doesn't look who holds the lock")
def _() -> None:
    def still_ours(self: Any, _: Lease, raw: Any) -> Any:
        if raw is None:
            raise LeadershipLost(f"{self._lock} is gone")
        return raw

    _instead(leader.Leader, "_still_ours", still_ours)


@_mutant("every process of a place has the same identity (D-31)")
def _() -> None:
    def init(original: Callable[..., None], self: Any, options: Any, client: Any) -> None:
        original(self, options, client)
        self.identity = "node-ipam-controller"
        self._lock.identity = self.identity
        self._lock.sighting._identity = self.identity

    _around(election.Elector, "__init__", init)


@_mutant("a name of its own in the Lease is taken for a version that it wrote")
def _() -> None:
    _instead(electionlock.LockClient, "wrote", lambda *_: True)


@_mutant("a rival's lease is waited for by its timestamps")
def _() -> None:
    def left(self: Any, now: float) -> float:
        record = self.record
        if record is None or record.released or record.holder == self._identity or not record.renewed:
            return 0.0
        renewed = datetime.fromisoformat(record.renewed).astimezone(UTC)
        # 2026-01-01 is the beginning of the virtual clock's time
        return float(
            max(0.0, (renewed - datetime(2026, 1, 1, tzinfo=UTC)).total_seconds() + record.duration - now)
        )

    _instead(electionrecord.Sighting, "left", left)


@_mutant("the lock is released before the work has ended")
def _() -> None:
    releasing: dict[int, tuple[Any, Lease]] = {}

    async def reign(inner: Callable[..., Awaitable[bool]], self: Any, lease: Lease, work: Any) -> bool:
        task = asyncio.current_task()
        releasing[id(task)] = self, lease
        return await inner(self, lease, work)

    async def wait(self: Any, task: Any, *, cancel_at: int) -> None:
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                self.cancels += 1
                if self.cancels == 1 and id(asyncio.current_task()) in releasing:
                    elector, lease = releasing[id(asyncio.current_task())]
                    await elector._leader.release(lease)
                if self.cancels >= cancel_at:
                    task.cancel()

    _around(election.Elector, "_reign", reign)
    _instead(election._Patience, "wait", wait)


# What is known of a write


@_mutant("a write of unknown outcome releases the block (D-13)")
def _() -> None:
    async def write(
        original: Callable[..., Awaitable[Any]], self: Any, request: Any, reservation: Any
    ) -> Any:
        try:
            return await original(self, request, reservation)
        except (TransportError, TimeoutError):
            self.ledger.release(reservation)
            raise
        except APIError as error:
            if error.code >= 500:
                self.ledger.release(reservation)
            raise

    _around(nodes.NodeReconciler, "_write", write)


@_mutant("a 429 after an attempt of unknown outcome releases the block")
def _() -> None:
    def refused(
        original: Callable[..., None], self: Any, request: Any, reservation: Any, error: APIError
    ) -> None:
        if error.code == 429:
            self.ledger.release(reservation)
        original(self, request, reservation, error)

    _around(nodes.NodeReconciler, "_refused", refused)


@_mutant("a 200 is believed before the ledger has the range")
def _() -> None:
    def answered(original: Callable[..., Any], self: Any, body: Any, version: str) -> Any:
        result = original(self, body, version)
        self.ledger.release(body.reservation)
        return result

    _around(nodes.NodeReconciler, "_answered", answered)


@_mutant("a 409 is answered with another block")
def _() -> None:
    async def denied(original: Callable[..., Awaitable[Any]], self: Any, body: Any, error: APIError) -> Any:
        if error.code == 409:
            self.ledger.release(body.reservation)
            raise error
        return await original(self, body, error)

    _around(nodes.NodeReconciler, "_denied", denied)


@_mutant("what a Node brings along doesn't stop a block that is reserved already")
def _() -> None:
    _instead(ledger.Ledger, "overlapped", lambda *_: False)


@_mutant("a sync before the cache shows our own write (D-44)")
def _() -> None:
    _instead(controller.Controller, "_is_current", lambda *_: True)
    _instead(Informer, "current", lambda *_: True)


# The account


@_mutant("a Node that comes with ranges isn't accounted for (D-02)")
def _() -> None:
    def record(original: Callable[..., None], self: Any, node: Node) -> None:
        known = node.metadata.uid in self._nodes or self.reservation(node.metadata.uid) is not None
        if known or not node.pod_cidrs:
            original(self, node)

    _around(ledger.Ledger, "_record", record)


@_mutant("only Nodes with labels are accounted for (D-03)")
def _() -> None:
    def held(original: Callable[..., Iterator[Any]], node: Node) -> Iterator[Any]:
        return original(node) if node.metadata.labels else iter(())

    _around(ledger, "holdings", held)


@_mutant("only a Node's first range is accounted for (D-54)")
def _() -> None:
    _around(ledger, "holdings", lambda original, node: iter([*original(node)][:1]))


@_mutant("ranges are free as soon as a Node is being deleted (D-08)")
def _() -> None:
    def record(original: Callable[..., None], self: Any, node: Node) -> None:
        original(self, node)
        if node.terminating:
            for prefix in self.held_by(node.metadata.uid):
                self.indexes[prefix.family].remove(prefix, node.metadata.uid)
            self._tell(self.held_by(node.metadata.uid))
            self._nodes.pop(node.metadata.uid)

    _around(ledger.Ledger, "_record", record)


@_mutant("a block has no owner: who leaves frees everybody's (D-18)")
def _() -> None:
    def on_delete(original: Callable[..., None], self: Any, node: Node) -> None:
        held = self.held_by(node.metadata.uid)
        original(self, node)
        for prefix in held:
            for theirs, owner in list(self.indexes[prefix.family].holders(prefix)):
                self.indexes[prefix.family].remove(theirs, owner)

    _around(ledger.Ledger, "on_delete", on_delete)
    original = PrefixIndex.remove

    def remove(self: Any, prefix: Any, owner: Any) -> None:
        if any(held == prefix and other == owner for held, other in self.holders(prefix)):
            original(self, prefix, owner)

    _instead(PrefixIndex, "remove", remove)


@_mutant("a reservation outlives its Node (D-11)")
def _() -> None:
    def on_delete(original: Callable[..., None], self: Any, node: Node) -> None:
        kept = self._reservations.pop(node.metadata.uid, None)
        original(self, node)
        if kept is not None:
            self._reservations[node.metadata.uid] = kept

    def release(original: Callable[..., None], self: Any, reservation: Any) -> None:
        if reservation.uid in self._nodes:
            original(self, reservation)

    _around(ledger.Ledger, "on_delete", on_delete)
    _around(ledger.Ledger, "release", release)


@_mutant("an IPv4 block leaks when IPv6 is full (D-04)")
def _() -> None:
    def choose(original: Callable[..., Any], self: Any, indexes: Mapping[int, Any]) -> Any:
        found = original(self, indexes)
        if not isinstance(found, Choice) and len(self.ranges) == 2:
            inside, length = self.ranges[0], self.lengths[0]
            block = indexes[4].find(inside, length, inside.value)
            if block is not None:
                prefix = type(inside)(4, block, length)
                indexes[4].add(prefix, ledger.SERVICES)
        return found

    _around(Pool, "choose", choose)


@_mutant("the service range isn't excluded")
def _() -> None:
    _around(ledger.Ledger, "__init__", lambda original, self, *_: original(self))


# Pools


@_mutant("a pool that is being deleted goes on serving (D-06)")
def _() -> None:
    def on_update(original: Callable[..., None], self: Any, old: Any, new: Any) -> None:
        original(self, old, new)
        entry = self.get(new.metadata.uid)
        if entry is not None and entry.pool is not None:
            entry.pool.terminating = False

    def on_add(original: Callable[..., None], self: Any, obj: Any, initial: bool) -> None:  # noqa: FBT001
        original(self, obj, initial)
        entry = self.get(obj.metadata.uid)
        if entry is not None and entry.pool is not None:
            entry.pool.terminating = False

    _around(poolset.PoolSet, "on_update", on_update)
    _around(poolset.PoolSet, "on_add", on_add)


@_mutant("a pool that is being deleted forgets its Nodes (D-07)")
def _() -> None:
    _instead(poolset.PoolSet, "user_of", _nothing)


@_mutant("a pool that is gone goes on serving (D-25)")
def _() -> None:
    _instead(poolset.PoolSet, "on_delete", lambda *_: None)


@_mutant("the end of a pool's last Node wakes nobody (D-27)")
def _() -> None:
    _instead(pools.PoolReconciler, "freed", lambda *_: None)


@_mutant("a freed block wakes nobody")
def _() -> None:
    _instead(waiting.Waiting, "freed", lambda *_: None)


@_mutant("a new pool wakes nobody")
def _() -> None:
    _instead(waiting.Waiting, "pool_changed", lambda *_: None)


@_mutant("blocks are given out before the pool has its finalizer")
def _() -> None:
    def on_add(original: Callable[..., None], self: Any, obj: Any, initial: bool) -> None:  # noqa: FBT001
        original(self, obj, initial)
        self.get(obj.metadata.uid).confirmed = True

    def begin(original: Callable[..., None], self: Any) -> None:
        original(self)
        for entry in self:
            entry.confirmed = True

    _around(poolset.PoolSet, "on_add", on_add)
    _around(poolset.PoolSet, "begin_term", begin)


# The runtime


@_mutant("workers start on a list that is being taken in, and there is no read barrier")
def _() -> None:
    # Each of the two alone is made up for by the other.
    _instead(controller.Controller, "_wait_synced", _nothing)
    _instead(Informer, "wait_synced", _nothing)
    _instead(takeover, "read_barrier", _nothing)


@_mutant("no tombstones: what went between two lists is never told")
def _() -> None:
    def changes(original: Callable[..., Iterable[Any]], self: Any, before: Any, after: Any) -> Iterator[Any]:
        for change in original(self, before, after):
            yield None if change is not None and change[1] is None else change

    _around(store.Store, "_changes", changes)


@_mutant("a changed UID under one name is an update (D-42)")
def _() -> None:
    def merged(found: Iterable[Any]) -> Iterator[Any]:
        gone: dict[str, Any] = {}
        for change in found:
            if change is not None and change[1] is None:
                gone[change[0].metadata.name] = change[0]
            elif change is not None and change[0] is None and change[1].metadata.name in gone:
                yield gone.pop(change[1].metadata.name), change[1]
            else:
                yield change
        for old in gone.values():
            yield old, None

    _around(store.Store, "_changes", lambda original, *args: merged(original(*args)))
    _around(store.Store, "put", lambda original, *args: tuple(merged(original(*args))))


@_mutant("an add is lost while its key is in work")
def _() -> None:
    def add(original: Callable[..., None], self: Any, key: Any, lane: Any) -> None:
        if key not in self._processing:
            original(self, key, lane)

    _around(workqueue.WorkQueue, "_add", add)


@_mutant("a watch that says nothing is trusted for ever")
def _() -> None:
    _instead(reflector.Reflector, "timed_out", lambda self, now: self.ended(now))


@_mutant("after a 410 the watch goes on from the old version")
def _() -> None:
    def failed(original: Callable[..., None], self: Any, error: Any, now: float) -> None:
        version = self.version
        original(self, error, now)
        if self.version < 0 <= version and isinstance(error, APIError) and error.code == 410:
            self.version = version

    _around(reflector.Reflector, "failed", failed)


@_mutant("a warning is told at each retry (D-22)")
def _() -> None:
    def warn(original: Callable[..., None], self: Any, *args: Any, **options: Any) -> None:
        self._said.clear()
        original(self, *args, **options)

    _around(Reports, "warn", warn)
