"""The pools in force: what ClusterCIDRs stand for, by UID, and which of them a Node may be served from.

A pool looks at the ledger and holds no occupancy of its own, so it can come, go, change and come back at any
time without anything being forgotten or handed out twice. Invariant: no block is taken from a pool before its
ClusterCIDR carries our finalizer and this term's leadership was confirmed after that (see `confirm`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from nodeipam.api.clustercidr import ClusterCIDR, InvalidClusterCIDR, PoolSpec, validate
from nodeipam.api.node import Node
from nodeipam.api.selectorindex import SelectorIndex
from nodeipam.ipam.index import PrefixIndex
from nodeipam.ipam.pool import Pool
from nodeipam.ipam.prefix import Prefix
from nodeipam.ipam.selection import order, uses
from nodeipam.runtime import Slices, version_number

from .ledger import Holder, Ledger

__all__ = ["PoolEntry", "PoolSet", "RangeStats", "State"]


class State(StrEnum):
    """What Nodes can expect of a ClusterCIDR, in one word; the first three are reasons of its `Ready`."""

    ALLOCATING = "Allocating"
    INVALID = "Invalid"
    TERMINATING = "Terminating"
    REFUSED = "Refused"
    """The API server doesn't let us put our finalizer on it."""
    UNCONFIRMED = "Unconfirmed"
    """It is being taken into use: its finalizer isn't seen yet."""


@dataclass(slots=True)
class RangeStats:
    """What the metrics count for one range of a pool, for as long as the pool exists."""

    allocations: int = 0
    releases: int = 0
    tries: list[int] = field(default_factory=list)
    """How often a search took so many tries: the number of tries is the index."""

    def observe(self, tries: int) -> None:
        """Count one search for a block."""
        self.tries += [0] * (tries + 1 - len(self.tries))
        self.tries[tries] += 1


@dataclass(slots=True, eq=False)
class PoolEntry:
    """One ClusterCIDR: the object as last seen, and the pool that it stands for, if it is valid."""

    obj: ClusterCIDR
    spec: PoolSpec | None = None
    pool: Pool | None = None
    fault: str = ""
    """Why it is invalid; empty when it is valid."""
    confirmed: bool = False
    """Whether this term may take blocks from it, as far as our finalizer and our leadership go."""
    failing_since: float | None = None
    """Since when our finalizer can't be put on it, on the monotonic clock."""
    refused: str = ""
    """Why the API server won't let us put our finalizer on it; Nodes don't wait for such a pool."""
    stats: dict[int, RangeStats] = field(default_factory=dict)
    """By family."""

    @property
    def state(self) -> State:
        """What Nodes can expect of it."""
        if self.obj.terminating:
            return State.TERMINATING
        if self.fault:
            return State.INVALID
        if self.confirmed:
            return State.ALLOCATING
        return State.REFUSED if self.refused else State.UNCONFIRMED

    @property
    def uid(self) -> str:
        """The identity of the pool: a ClusterCIDR re-created under its name is another one (D-25)."""
        return self.obj.metadata.uid


class PoolSet:
    """The handler of ClusterCIDR events that keeps the pools, indexed by what their selectors require."""

    def __init__(self, ledger: Ledger) -> None:
        self._entries: dict[str, PoolEntry] = {}
        self._by_selector: SelectorIndex[PoolEntry] = SelectorIndex()
        self._ranges: dict[int, PrefixIndex[str]] = {4: PrefixIndex(4), 6: PrefixIndex(6)}
        self._changed: list[Callable[[PoolEntry], None]] = []
        ledger.on_freed(self._count_releases)

    def __repr__(self) -> str:
        confirmed = sum(entry.confirmed for entry in self)
        return f"<PoolSet: {len(self._entries)} ClusterCIDRs, {confirmed} in use by this term>"

    def __iter__(self) -> Iterator[PoolEntry]:
        return iter(tuple(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, uid: str) -> PoolEntry | None:
        """The entry of the ClusterCIDR of this UID."""
        return self._entries.get(uid)

    def on_change(self, listener: Callable[[PoolEntry], None]) -> None:
        """Have `listener` called, synchronously, when what Nodes can expect of a pool has changed."""
        self._changed.append(listener)

    # What ClusterCIDR events do

    def on_add(self, obj: ClusterCIDR, initial: bool) -> None:  # noqa: FBT001 - the handler's protocol
        """A ClusterCIDR appeared."""
        entry = PoolEntry(obj)
        self._entries[entry.uid] = entry
        self._compile(entry)

    def on_update(self, old: ClusterCIDR, new: ClusterCIDR) -> None:
        """A ClusterCIDR changed. Its spec is immutable under our CRD, but not under everybody's."""
        if old.spec != new.spec:  # another pool: whoever waits for the old one is told that it is gone
            self.on_delete(old)
            self.on_add(new, initial=False)
            return
        entry = self._entries[new.metadata.uid]
        was = entry.obj.terminating
        entry.obj = new
        if not entry.obj.finalized:
            entry.confirmed = False
        if entry.obj.terminating != was and entry.pool is not None:
            entry.pool.terminating = entry.obj.terminating  # a restored etcd may take a deletion back
            self._tell(entry)

    def on_delete(self, obj: ClusterCIDR) -> None:
        """A ClusterCIDR is gone; what its Nodes hold stays on record as theirs."""
        entry = self._entries.pop(obj.metadata.uid)
        entry.confirmed = False
        self._drop(entry)
        self._tell(entry)

    def _compile(self, entry: PoolEntry) -> None:
        meta = entry.obj.metadata
        try:
            entry.spec, entry.fault = validate(entry.obj), ""
        except InvalidClusterCIDR as error:
            entry.spec, entry.fault = None, str(error)
            return
        selector = entry.spec.selector
        entry.pool = Pool(
            uid=meta.uid,
            name=meta.name,
            ranges=entry.spec.ranges,
            host_bits=entry.spec.host_bits,
            catch_all=selector is None,
            selector_text=selector.text if selector is not None else "",
            terminating=entry.obj.terminating,
        )
        entry.stats = {inside.family: RangeStats() for inside in entry.pool.ranges}
        self._by_selector.add(entry, selector)
        for inside in entry.pool.ranges:
            self._ranges[inside.family].add(inside, meta.uid)
        self._tell(entry)

    def _drop(self, entry: PoolEntry) -> None:
        pool, entry.pool = entry.pool, None
        if pool is None:
            return
        self._by_selector.remove(entry)
        for inside in pool.ranges:
            self._ranges[inside.family].remove(inside, pool.uid)

    def _tell(self, entry: PoolEntry) -> None:
        for listener in self._changed:
            listener(entry)

    # What a term of leadership does

    def begin_term(self) -> None:
        """Take nothing for granted: confirm each pool anew, and go on behind the highest block in use."""
        for entry in self._entries.values():
            entry.confirmed, entry.refused, entry.failing_since = False, "", None
            if entry.pool is not None:
                entry.pool.rewind()

    def confirm(self, entry: PoolEntry) -> None:
        """Let blocks be taken: our finalizer was seen on it, and *after* that the lease was seen to be ours.

        The order is what makes the finalizers tell a new leader whether anybody can have been at work before.
        """
        if entry.obj.finalized and not entry.confirmed and self._entries.get(entry.uid) is entry:
            entry.confirmed, entry.refused, entry.failing_since = True, "", None
            self._tell(entry)

    def refuse(self, entry: PoolEntry, cause: str) -> None:
        """Let Nodes pass this pool over: the API server doesn't let us put our finalizer on it."""
        if entry.refused != cause:
            entry.refused = cause
            self._tell(entry)

    # Questions

    def uids(self) -> Iterable[str]:
        """The UIDs of all ClusterCIDRs that are taken to exist."""
        return self._entries.keys()

    def processed(self, uid: str) -> int:
        """The resourceVersion at which the ClusterCIDR of this UID was last taken in; -1 if it is unknown."""
        entry = self._entries.get(uid)
        return version_number(entry.obj.metadata.resource_version) if entry is not None else -1

    def candidates(self, node: Node) -> list[PoolEntry]:
        """The pools that a Node may be served from, the first choice first; terminating ones are left out."""
        meta = node.metadata
        labels = meta.labels if self._by_selector.selective else {}
        matches = self._by_selector.match(meta.name, labels)
        by_uid = {entry.uid: entry for entry, _ in matches}
        pools = order((entry.pool, matched) for entry, matched in matches if entry.pool is not None)
        return [by_uid[pool.uid] for pool in pools]

    def around(self, prefix: Prefix) -> list[PoolEntry]:
        """The pools with a range that contains this prefix, terminating ones included."""
        holders = self._ranges[prefix.family].holders(prefix)
        return [self._entries[uid] for inside, uid in holders if inside.contains(prefix)]

    def covers(self, prefix: Prefix) -> bool:
        """Whether it lies in a range of a pool, terminating ones included."""
        return self._ranges[prefix.family].covers(prefix)

    def touching(self, prefixes: Iterable[Prefix]) -> list[PoolEntry]:
        """The pools with a range that shares addresses with one of these, each once."""
        found = {uid: None for prefix in prefixes for _, uid in self._ranges[prefix.family].holders(prefix)}
        return [self._entries[uid] for uid in found]

    async def user_of(self, entry: PoolEntry, ledger: Ledger, slices: Slices) -> Holder | None:
        """Somebody who uses this pool and would lose it, or None.

        Those that a pool of the same size which stays covers as well don't count, once it has our finalizer:
        as long as anything is in use, a finalizer tells a new leader so.
        """
        pool = entry.pool
        if pool is None:
            return None
        staying = [
            other.pool
            for other in self.touching(pool.ranges)
            if other.pool is not None
            and other.obj.finalized
            and not other.obj.terminating
            and other.pool.host_bits == pool.host_bits
        ]
        index, length = ledger.indexes[pool.ranges[0].family], pool.lengths[0]
        for part in _parts(pool.ranges[0], length):
            for _, owner in list(index.blocks(part, length)):
                held = ledger.held_by(owner)
                if uses(pool, held) and not any(uses(other, held) for other in staying):
                    return owner
                if slices.spent():
                    await slices.rest()
        return None

    def _count_releases(self, prefixes: Sequence[Prefix]) -> None:
        for prefix in prefixes:
            for entry in self.around(prefix):
                if entry.pool is not None and entry.pool.host_bits == prefix.host_bits:
                    entry.stats[prefix.family].releases += 1


def _parts(inside: Prefix, length: int) -> Iterator[Prefix]:
    """`inside` in up to 256 parts, none smaller than a block, so that each is quickly looked through."""
    cut = min(length, inside.length + 8)
    size = 1 << (inside.bits - cut)
    for number in range(inside.blocks(cut)):
        yield Prefix(inside.family, inside.value + number * size, cut)
