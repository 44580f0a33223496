"""One pool: its ranges, the size of its blocks, and where in each range the search goes on.

Invariant: a pool knows nothing of what is in use. It only looks at the indexes that everybody shares, so
pools may overlap, come and go, and still never give out the same address. Choosing reserves nothing: the
caller adds the chosen blocks to the indexes in the same synchronous step.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from .index import PrefixIndex
from .prefix import Prefix

__all__ = ["Choice", "Full", "Pool"]

OwnerT = TypeVar("OwnerT", bound=Hashable)


class Choice(msgspec.Struct, frozen=True, gc=False):
    """A free block in each family of a pool."""

    prefixes: tuple[Prefix, ...]
    """One block a range, in the order of the pool's ranges: IPv4 first."""
    tries: int
    """How far the search went, in the family where it went furthest.

    1: the block at the cursor was free; 2: blocks in use were skipped; 3: it went round, past the end of the
    range. How many blocks were skipped isn't known, since they aren't looked at one by one.
    """


class Full(msgspec.Struct, frozen=True, gc=False):
    """A pool has no free block in at least one of its families."""

    family: int
    """The first family without one: 4 or 6."""


@dataclass(kw_only=True, slots=True, eq=False)
class Pool:
    """The ranges of one ClusterCIDR and the way through them. Pools are compared and hashed by identity.

    A new pool starts at the first block of each range. One that was there before this process, or before this
    term of leadership, is told to `rewind`.

    Raises:
        ValueError: there is no range, two of one family, or a range that no block fits into.
    """

    uid: str
    name: str
    ranges: tuple[Prefix, ...]
    """One or two, of different families. Kept with IPv4 first, however they were given."""
    host_bits: int
    """A block has 2^host_bits addresses, in each family."""
    catch_all: bool
    """It has no node selector, so it comes after all pools that have one."""
    selector_text: str
    """The selector in its canonical print, which breaks ties between pools."""
    terminating: bool = False
    """Set once the ClusterCIDR is being deleted: no new blocks from here."""

    lengths: tuple[int, ...] = field(init=False)
    """The prefix length of a block, in each range."""
    capacity: int = field(init=False)
    """How many Nodes it serves in all: the number of blocks in the family that has fewest."""
    rank: tuple[int, int, str, tuple[Prefix, ...], str] = field(init=False, repr=False)
    """Its place among pools that match a Node equally well (P1 to P4), the smaller the sooner.

    Capacity; host bits; selector text; the ranges, by address as a number, IPv4 before IPv6. The name comes
    last, so that the order is total.
    """
    _cursors: tuple[int | None, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.ranges = tuple(sorted(self.ranges))
        families = [inside.family for inside in self.ranges]
        if families not in ([4], [6], [4, 6]):
            raise ValueError(f"pool {self.name} needs one range, or one of each family, not {self._text()}")
        for inside in self.ranges:
            if not 0 <= self.host_bits <= inside.host_bits:
                raise ValueError(
                    f"pool {self.name}: blocks of {self.host_bits} host bits don't fit into {inside}, "
                    f"which has room for 0 to {inside.host_bits}"
                )
        self.lengths = tuple(inside.bits - self.host_bits for inside in self.ranges)
        self.capacity = min(
            inside.blocks(length) for inside, length in zip(self.ranges, self.lengths, strict=True)
        )
        self.rank = (self.capacity, self.host_bits, self.selector_text, self.ranges, self.name)
        self._cursors = tuple(inside.value for inside in self.ranges)

    def __repr__(self) -> str:
        state = ", terminating" if self.terminating else ""
        return f"<Pool {self.name} {self._text()}, {self.host_bits} host bits, {self.capacity} blocks{state}>"

    def rewind(self) -> None:
        """Forget the way: the next choice starts after the highest address then in use in each range.

        Blocks that were freed lately lie below it as a rule, so they aren't given out again at once.
        """
        self._cursors = (None,) * len(self.ranges)

    def choose(self, indexes: Mapping[int, PrefixIndex[OwnerT]]) -> Choice | Full:
        """Find the next free block in every family; all or none.

        The cursors move past the blocks only if every family has one. Nothing is reserved.

        Args:
            indexes: what is in use, by family (4, 6).
        """
        blocks: list[Prefix] = []
        tries = 1
        for inside, length, known in zip(self.ranges, self.lengths, self._cursors, strict=True):
            index = indexes[inside.family]
            cursor = self._behind(inside, index.last(inside)) if known is None else known
            found = index.find(inside, length, cursor)
            if found is None:
                return Full(inside.family)
            if found != cursor:
                tries = max(tries, 2 if found > cursor else 3)
            blocks.append(Prefix(inside.family, found, length))
        self._cursors = tuple(
            self._behind(inside, block.last) for inside, block in zip(self.ranges, blocks, strict=True)
        )
        return Choice(tuple(blocks), tries)

    def _behind(self, inside: Prefix, last: int | None) -> int:
        """The first block that begins after the address `last`; the range's first where there is none."""
        if last is None:
            return inside.value
        cursor = ((last >> self.host_bits) + 1) << self.host_bits
        return cursor if cursor <= inside.last else inside.value

    def _text(self) -> str:
        return " + ".join(map(str, self.ranges)) or "none"
