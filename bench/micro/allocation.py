"""What allocation costs: finding and recording a block among few and many holdings, and the memory of them.

The peer is the plain way: `ipaddress`, each block in turn checked against all that are in use. Times are
process time, the best of several rounds: others may be at work on the machine.
"""

from __future__ import annotations

import ipaddress
import random
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

from bench.report import Figure
from nodeipam.ipam import Pool, Prefix, PrefixIndex

V4 = Prefix(4, 10 << 24, 8)
V6 = Prefix(6, 0xFD << 120, 8)
ROUNDS = 9


@dataclass(frozen=True, slots=True)
class World:
    """A range, the block lengths in it, and how many bits of it are in play."""

    name: str
    inside: Prefix
    lengths: tuple[int, ...]
    spread: int


WORLDS = (
    World("10.0.0.0/8 with /24 to /28, fragmented", V4, (24, 25, 26, 27, 28), 24),
    World("fd00::/8 with /124, fragmented", V6, (124,), 22),
    World("fd00::/8 with /124, scattered", V6, (124,), 120),
)


def fragmented(world: World, holdings: int, rng: random.Random) -> PrefixIndex[str]:
    """An index with so many disjoint holdings at random places."""
    index: PrefixIndex[str] = PrefixIndex(world.inside.family)
    while len(index) < holdings:
        address = world.inside.value | rng.getrandbits(world.spread)
        prefix = Prefix.around(world.inside.family, address, rng.choice(world.lengths))
        if index.free(prefix):
            index.add(prefix, "holder")
    return index


def find_and_claim(world: World, holdings: int) -> float:
    """Seconds to find a block from a random cursor on and to record it."""
    rng = random.Random(1)
    index = fragmented(world, holdings, rng)
    family, length, count = world.inside.family, world.lengths[-1], max(100, holdings // 50)
    rounds = []
    for _ in range(ROUNDS):
        cursors = [world.inside.value | rng.getrandbits(world.spread) for _ in range(count)]
        taken = []
        start = time.process_time()
        for cursor in cursors:
            found = index.find(world.inside, length, cursor)
            if found is None:
                raise RuntimeError(f"{world.name} is full")
            block = Prefix(family, found, length)
            if not index.claim(block, "taken"):
                raise RuntimeError(f"{block} was found free and isn't")
            taken.append(block)
        rounds.append((time.process_time() - start) / count)
        for block in taken:
            index.remove(block, "taken")
    return min(rounds)


def filled(blocks: int, choose: Callable[[], None]) -> float:
    """Seconds a block to fill an empty range with so many of them."""
    start = time.process_time()
    for _ in range(blocks):
        choose()
    return (time.process_time() - start) / blocks


def with_pool() -> Callable[[], None]:
    """The index: choose the next block and record it."""
    pool = Pool(uid="u", name="p", ranges=(V4,), host_bits=8, catch_all=True, selector_text="")
    indexes: dict[int, PrefixIndex[str]] = {4: PrefixIndex(4)}

    def choose() -> None:
        choice = pool.choose(indexes)
        indexes[4].add(choice.prefixes[0], "node")  # type: ignore[union-attr]

    return choose


def with_ipaddress() -> Callable[[], None]:
    """The plain way: try each block in turn against all that are in use."""
    inside = ipaddress.IPv4Network(str(V4))
    used: list[ipaddress.IPv4Network] = []

    def choose() -> None:
        for block in inside.subnets(new_prefix=24):
            if not any(block.overlaps(other) for other in used):
                used.append(block)
                return

    return choose


def allocated(nodes: int, record: Callable[[int], object]) -> float:
    """Bytes a Node that stay allocated after `record` was called for each."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept = [record(number) for number in range(nodes)]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / len(kept)


def index_memory(nodes: int) -> float:
    """Bytes a dual-stack Node in two indexes, integers included; owners and prefixes belong to the caller."""
    uids = [f"uid-{number}" for number in range(nodes)]
    v4, v6 = PrefixIndex[str](4), PrefixIndex[str](6)

    def record(number: int) -> None:
        v4.add(Prefix(4, V4.value + (number << 8), 24), uids[number])
        v6.add(Prefix(6, V6.value + (number << 64), 64), uids[number])

    return allocated(nodes, record)


def ipaddress_memory(nodes: int) -> float:
    """Bytes a dual-stack Node as two networks in a dict."""
    uids = [f"uid-{number}" for number in range(nodes)]
    held: dict[str, tuple[ipaddress.IPv4Network, ipaddress.IPv6Network]] = {}

    def record(number: int) -> None:
        held[uids[number]] = (
            ipaddress.IPv4Network((V4.value + (number << 8), 24)),
            ipaddress.IPv6Network((V6.value + (number << 64), 64)),
        )

    return allocated(nodes, record)


def measure() -> list[Figure]:
    """All of it."""
    figures = []
    for world in WORLDS:
        few, many = find_and_claim(world, 1_000), find_and_claim(world, 100_000)
        beside = f"{many / few:.2f} times that at 1,000 holdings"
        figures.append(Figure(f"find and reserve, {world.name}", many * 1e6, "µs", 12, beside=beside))
    for blocks in (50, 200):
        plain, index = filled(blocks, with_ipaddress()), filled(blocks, with_pool())
        beside = f"with ipaddress, block by block: {plain / index:,.0f} times that"
        figures.append(
            Figure(f"fill {blocks} blocks of an empty 10.0.0.0/8", index * 1e6, "µs", beside=beside)
        )
    plain, index = ipaddress_memory(65_000), index_memory(65_000)
    beside = f"in ipaddress's networks: {plain / index:.2f} times that"
    return [*figures, Figure("memory of 65,000 dual-stack Nodes, each", index, "B", beside=beside)]
