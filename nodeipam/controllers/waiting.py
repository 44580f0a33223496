"""The Nodes that wait for a range, known by what they wait for, so that each wakes when that may have come.

Invariant: a Node is in here exactly while no pool can serve it, and keeps its place in the line until one
has. A freed block wakes as many Nodes as it can serve, oldest first, and one that has no use for it any more
passes it on; a pool that appears, or stops being waited for, wakes the Nodes that it matches. Nothing is
polled.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from heapq import heappop, heappush

from nodeipam.api.node import Node
from nodeipam.ipam.pool import Pool
from nodeipam.ipam.prefix import Prefix
from nodeipam.runtime import Clock, Request, Slices

from .poolset import PoolEntry, PoolSet

__all__ = ["Cause", "Waiting"]


class Cause(StrEnum):
    """Why a Node waits, in few words: the label `cause` of a metric."""

    EXHAUSTED = "exhausted"
    """The ClusterCIDRs that match it have no free block."""
    NO_MATCH = "no_match"
    """No ClusterCIDR that is in use matches its labels."""
    REFUSED = "refused"
    """None matches but for those on which the API server doesn't let us put our finalizer."""
    UNCONFIRMED = "unconfirmed"
    """The first choice is being taken into use: its finalizer isn't seen yet."""


class Waiting:
    """The line of waiting Nodes.

    Args:
        pools: the pools they wait for.
        wake: puts a Node into the queue, to be looked at again.
        clock: for the length of a slice.
    """

    needs_leader = True

    def __init__(self, pools: PoolSet, wake: Callable[[Request], None], *, clock: Clock) -> None:
        self._pools = pools
        self._wake = wake
        self._clock = clock
        self._nodes: dict[str, Node] = {}
        self._causes: dict[str, Cause] = {}
        self._places: dict[str, int] = {}
        self._lines: dict[str, list[tuple[int, str]]] = {}
        self._woken: dict[str, list[str]] = {}
        self._next_place = 0
        self._appeared: deque[PoolEntry] = deque()
        self._work = asyncio.Event()

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, name: str) -> bool:
        """Whether the Node of this name waits, or is being looked at after it did."""
        return name in self._places

    def __repr__(self) -> str:
        return f"<Waiting: {len(self._nodes)} nodes, for {len(self._lines)} pools>"

    def by_cause(self) -> dict[Cause, int]:
        """How many Nodes wait for each cause, 0 included."""
        counts = Counter(self._causes[name] for name in self._nodes)
        return {cause: counts[cause] for cause in Cause}

    def add(self, node: Node, pools: Sequence[PoolEntry], cause: Cause) -> None:
        """`node` can't be served. It waits for these pools, and for any that appears and matches it."""
        name = node.metadata.name
        self._causes[name] = cause
        if name not in self._places:
            self._places[name] = self._next_place
            self._next_place += 1
        place = self._places[name]
        self._nodes[name] = node
        for entry in pools:
            line = self._lines.setdefault(entry.uid, [])
            heappush(line, (place, name))
            if len(line) > 2 * len(self._nodes) + 16:
                line[:] = sorted({item for item in line if self._in_line(item)})
        self._pass_on(name, *pools)

    def remove(self, name: str, *, served_by: PoolEntry | None = None) -> None:
        """The Node has its ranges, or is gone, or isn't to get any: it waits for nothing."""
        self._nodes.pop(name, None)
        self._causes.pop(name, None)
        self._places.pop(name, None)
        self._pass_on(name, *([served_by] if served_by is not None else []))

    def clear(self) -> None:
        """Forget everybody, at the end of a term."""
        self._nodes.clear()
        self._causes.clear()
        self._places.clear()
        self._lines.clear()
        self._woken.clear()
        self._appeared.clear()

    def freed(self, prefixes: Sequence[Prefix]) -> None:
        """These prefixes have become free: wake as many Nodes as they can serve, oldest first."""
        if not self._nodes:
            return
        for entry in self._pools.touching(prefixes):
            if entry.pool is not None and not entry.obj.terminating:
                self._wake_first(entry, _room(entry.pool, prefixes))

    def pool_changed(self, entry: PoolEntry) -> None:
        """A pool appeared, was confirmed or is out of the question: wake whom that may help, in slices."""
        if entry.pool is None or entry.obj.terminating:
            self._lines.pop(entry.uid, None)
        if self._nodes:
            self._appeared.append(entry)
            self._work.set()

    async def run(self) -> None:
        """Wake Nodes for pools that changed, a slice at a time, until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._appeared:
                await self._wake_matching(self._appeared.popleft())

    def _wake_first(self, entry: PoolEntry, room: int) -> None:
        line = self._lines.get(entry.uid, [])
        while room > 0 and line:
            place, name = heappop(line)
            if self._in_line((place, name)):
                del self._nodes[name]
                self._woken.setdefault(name, []).append(entry.uid)
                self._wake(Request(name))
                room -= 1

    def _pass_on(self, name: str, *looked_at: PoolEntry) -> None:
        """Wake somebody else for each block that woke this Node, if it isn't in that pool that it looked."""
        seen = {entry.uid for entry in looked_at}
        for uid in self._woken.pop(name, ()):
            entry = self._pools.get(uid)
            if uid not in seen and entry is not None and not entry.obj.terminating:
                self._wake_first(entry, 1)

    async def _wake_matching(self, entry: PoolEntry) -> None:
        slices = Slices(self._clock)
        for name, node in list(self._nodes.items()):
            if self._nodes.get(name) is node and self._concerns(entry, node):
                del self._nodes[name]
                self._wake(Request(name))
            if slices.spent():
                await slices.rest()

    def _concerns(self, entry: PoolEntry, node: Node) -> bool:
        selector = entry.spec.selector if entry.spec is not None else None
        return selector is None or selector.match(node.metadata.name, node.labels) is not None

    def _in_line(self, item: tuple[int, str]) -> bool:
        """Whether this place is still this Node's, and the Node isn't being looked at right now."""
        place, name = item
        return name in self._nodes and self._places.get(name) == place


def _room(pool: Pool, freed: Sequence[Prefix]) -> int:
    """How many Nodes these prefixes can serve from this pool, at most; one at least if they touch it."""
    return sum(
        max(1, min(prefix.size, inside.size) >> pool.host_bits)
        for prefix in freed
        for inside in pool.ranges
        if inside.overlaps(prefix)
    )
