"""Who holds which addresses of one family, and where the next free block is.

Invariant: what is in use is exactly what was added and not removed, owner by owner. Each operation costs the
compressed edges between the root and one prefix, about log2 of the number of holdings, whatever the sizes of
ranges and blocks; `trie` says why.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Final, Generic, TypeVar, cast

from . import trie
from .prefix import BITS, Prefix
from .trie import NOBODY, Branch, Leaf, Several

__all__ = ["PrefixIndex"]

OwnerT = TypeVar("OwnerT", bound=Hashable)

_STEPS = 1000
"""Half a millisecond of counting."""


class PrefixIndex(Generic[OwnerT]):
    """The holdings of one address family: prefixes of any size, each held by one owner or more.

    Holdings may be equal, nested and disjoint in any mixture, whoever made them. An owner is anything that
    can be hashed. One owner may hold one prefix several times over (a reservation, and then the Node's own
    field): that is counted, and the prefix stays in use until it was removed as often.

    Args:
        family: 4 or 6. A prefix of the other family raises ValueError in every method.
    """

    __slots__ = ("_bits", "_holdings", "_top", "family")

    def __init__(self, family: int) -> None:
        if family not in BITS:
            raise ValueError(f"an index is of family 4 or 6, not {family}")
        self.family: Final = family
        self._bits: Final = BITS[family]
        self._top: Leaf | None = None
        self._holdings = 0

    def __len__(self) -> int:
        """The number of holdings: a prefix counts once for each owner."""
        return self._holdings

    def __repr__(self) -> str:
        return f"<PrefixIndex IPv{self.family}: {self._holdings} holdings, {trie.used(self._top)} addresses>"

    def add(self, prefix: Prefix, owner: OwnerT) -> None:
        """Record that `owner` holds `prefix`; once more, if it does already."""
        value, shift = prefix.value, self._shift(prefix)
        path, node = self._walk(value, shift)
        if node is not None and node.shift == shift and node.value == value:
            self._share(path, node, owner)
        else:
            self._insert(path, node, Leaf(value, shift, owner))

    def claim(self, prefix: Prefix, owner: OwnerT) -> bool:
        """Record that `owner` holds `prefix` if no address of it is in use; returns whether that was so."""
        value, shift = prefix.value, self._shift(prefix)
        path, node = self._walk(value, shift)
        if node is not None and not (value ^ node.value) >> max(shift, node.shift):
            return False
        for branch in path:
            if branch.owner is not NOBODY:
                return False
        self._insert(path, node, Leaf(value, shift, owner))
        return True

    def _insert(self, path: list[Branch], node: Leaf | None, leaf: Leaf) -> None:
        """Put in a prefix that no node has yet, where `_walk` found the way to it."""
        value, shift = leaf.value, leaf.shift
        self._holdings += 1
        if node is None:
            self._put(path, leaf, value)
            trie.ascend(path, 1 << shift)
            return
        fork = (value ^ node.value).bit_length()
        if fork > max(shift, node.shift):
            self._put(path, trie.join(node, leaf, fork), value)
            trie.ascend(path, 1 << shift)
        elif shift > node.shift:
            outer = Branch(value, shift, leaf.owner, None, None, -1, 1 << shift)
            outer.put(node, node.value)
            self._put(path, outer, value)
            trie.ascend(path, (1 << shift) - trie.used(node))
        else:  # a leaf around us has all of this in use: it becomes a branch, and nothing changes above it
            outer = Branch(node.value, node.shift, node.owner, None, None, -1, 1 << node.shift)
            outer.put(leaf, value)
            self._put(path, outer, value)

    def remove(self, prefix: Prefix, owner: OwnerT) -> None:
        """Take back one `add` of the same prefix and owner. No other holding changes.

        Raises:
            KeyError: `owner` doesn't hold exactly this prefix.
        """
        value, shift = prefix.value, self._shift(prefix)
        path, node = self._walk(value, shift)
        if node is None or node.shift != shift or node.value != value or not _holds(node.owner, owner):
            raise KeyError(f"{prefix} is not held by {owner!r}")
        if isinstance(node.owner, Several):
            self._unshare(node, node.owner, owner)
            return
        self._holdings -= 1
        if not isinstance(node, Branch):
            self._prune(path, value)
            trie.ascend(path, -(1 << shift))
            return
        node.owner = NOBODY
        if node.zero is not None and node.one is not None:
            node.room, node.used = trie.room(node), trie.used(node.zero) + trie.used(node.one)
            trie.ascend(path, node.used - (1 << shift))
            return
        child = node.zero or node.one
        self._put(path, child, value)
        trie.ascend(path, trie.used(child) - (1 << shift))

    def hand_over(self, prefix: Prefix, owner: OwnerT, other: OwnerT) -> None:
        """Have `other` hold once what `owner` held once: `remove` and `add` in one.

        Raises:
            KeyError: `owner` doesn't hold exactly this prefix.
        """
        value, shift = prefix.value, self._shift(prefix)
        node = self._below(value, shift)
        if node is not None and node.shift == shift and node.value == value and node.owner == owner:
            node.owner = other  # the one holder there is: nothing else changes, above or below
            return
        self.remove(prefix, owner)
        self.add(prefix, other)

    def only(self, prefix: Prefix, *owners: OwnerT) -> bool:
        """Whether nobody but these holds an address of `prefix`."""
        value, shift = prefix.value, self._shift(prefix)
        node = self._top
        while type(node) is Branch and node.shift > shift:
            side = (value ^ node.value) >> (node.shift - 1)
            if side > 1:
                return True
            if node.owner is not NOBODY and not _held_by(node.owner, owners):
                return False
            node = node.one if side else node.zero
        if node is None or (value ^ node.value) >> max(shift, node.shift):
            return True
        if not isinstance(node, Branch):
            return _held_by(node.owner, owners)
        return all(_held_by(found.owner, owners) for found in trie.below(node, 0))

    def covers(self, prefix: Prefix) -> bool:
        """Whether one holding contains all of `prefix`."""
        node = self._within(prefix)
        return node is not None and node.owner is not NOBODY and node.shift >= self._shift(prefix)

    def free(self, prefix: Prefix) -> bool:
        """Whether no address of `prefix` is in use."""
        return self._within(prefix) is None

    def find(self, inside: Prefix, length: int, cursor: int) -> int | None:
        """The first free aligned block at or after an address, going round once inside a range.

        Args:
            inside: the range to look in.
            length: the block's prefix length, not below the range's.
            cursor: the address to start at. Outside of the range it means the range's first address.

        Returns:
            The block's first address, or None where no block of this length is free.

        Raises:
            ValueError: the block is wider than the range, or narrower than an address.
        """
        start, (shift, span) = inside.value, self._shifts(inside, length)
        node, end = self._within(inside), start + (1 << span)
        if cursor > start:
            found = trie.first_free(node, end, shift, -(-cursor >> shift) << shift)
            if found is not None:
                return found
        return trie.first_free(node, end, shift, start)

    def vacant(self, inside: Prefix, length: int) -> int:
        """How many aligned blocks of a length are free in a range.

        Exact where nothing in the range is narrower than a block. Where something is, each place that has
        both free blocks and others costs a step, and there are at most 1,000: beyond, it is an upper bound.

        Raises:
            ValueError: the block is wider than the range, or narrower than an address.
        """
        shift, span = self._shifts(inside, length)
        node = self._within(inside)
        if node is not None and node.shift > span:
            return 0
        return (1 << (span - shift)) - trie.touched(node, shift, _STEPS)

    def used(self, inside: Prefix) -> int:
        """How many addresses of the range are in use, each counted once."""
        return min(trie.used(self._within(inside)), inside.size)

    def last(self, inside: Prefix) -> int | None:
        """The highest address of the range that is in use, or None."""
        node = self._within(inside)
        if node is None:
            return None
        while type(node) is Branch and node.owner is NOBODY:
            node = cast("Leaf", node.one)
        return min(node.value + (1 << node.shift) - 1, inside.last)

    def holders(self, prefix: Prefix) -> Iterator[tuple[Prefix, OwnerT]]:
        """Every holding that overlaps `prefix`: those around it, then it, then those inside.

        That is the order of addresses, wide before narrow; the owners of one prefix come in the order in
        which they were added. The index must not change before the iteration ends.
        """
        yield from self.around(prefix)
        yield from self.inside(prefix)

    def around(self, prefix: Prefix) -> Iterator[tuple[Prefix, OwnerT]]:
        """Every holding that contains `prefix` and is wider, the widest first."""
        value, shift = prefix.value, self._shift(prefix)
        path, node = self._walk(value, shift)
        for branch in path:
            yield from self._holdings_of(branch)
        if node is not None and node.shift > shift and not (value ^ node.value) >> node.shift:
            yield from self._holdings_of(node)

    def inside(self, prefix: Prefix) -> Iterator[tuple[Prefix, OwnerT]]:
        """Every holding that lies in `prefix`, an equal one included, ordered as by `holders`."""
        for node in trie.below(self._topmost(prefix), 0):
            yield from self._holdings_of(node)

    def blocks(self, inside: Prefix, length: int) -> Iterator[tuple[Prefix, OwnerT]]:
        """Every holding of exactly this length that lies in the range, by address."""
        shift = self._bits - length
        for node in trie.below(self._topmost(inside), shift):
            if node.shift == shift:
                yield from self._holdings_of(node)

    def _shift(self, prefix: Prefix) -> int:
        if prefix.family != self.family:
            raise ValueError(f"{prefix} is no IPv{self.family} prefix")
        return self._bits - prefix.length

    def _shifts(self, inside: Prefix, length: int) -> tuple[int, int]:
        """The host bits of a block in a range, and of the range."""
        shift, span = self._bits - length, self._shift(inside)
        if not 0 <= shift <= span:
            raise ValueError(f"there are no /{length} blocks in {inside}")
        return shift, span

    def _walk(self, value: int, shift: int) -> tuple[list[Branch], Leaf | None]:
        """The branches around a prefix, the widest first, and what stands in its way below them."""
        path: list[Branch] = []
        node = self._top
        while type(node) is Branch and node.shift > shift:
            side = (value ^ node.value) >> (node.shift - 1)  # 0 or 1 in the branch, more outside of it
            if side > 1:
                break
            path.append(node)
            node = node.one if side else node.zero
        return path, node

    def _below(self, value: int, shift: int) -> Leaf | None:
        """What `_walk` finds in the way of a prefix."""
        node = self._top
        while type(node) is Branch and node.shift > shift:
            side = (value ^ node.value) >> (node.shift - 1)
            if side > 1:
                break
            node = node.one if side else node.zero
        return node

    def _within(self, prefix: Prefix) -> Leaf | None:
        """What overlaps a prefix: the widest holding around it, else the topmost node in it, else None."""
        value, shift = prefix.value, self._shift(prefix)
        node = self._top
        while type(node) is Branch and node.shift > shift and node.owner is NOBODY:
            side = (value ^ node.value) >> (node.shift - 1)
            if side > 1:
                return None
            node = node.one if side else node.zero
        if node is None or (value ^ node.value) >> max(shift, node.shift):
            return None
        return node

    def _topmost(self, prefix: Prefix) -> Leaf | None:
        """The topmost node inside a prefix, whatever lies around it."""
        value, shift = prefix.value, self._shift(prefix)
        node = self._below(value, shift)
        if node is None or node.shift > shift or (value ^ node.value) >> shift:
            return None
        return node

    def _holdings_of(self, node: Leaf) -> Iterator[tuple[Prefix, OwnerT]]:
        if node.owner is NOBODY:
            return
        prefix = Prefix(self.family, node.value, self._bits - node.shift)
        for owner in node.owner.counts if isinstance(node.owner, Several) else (node.owner,):
            yield prefix, cast("OwnerT", owner)

    def _put(self, path: list[Branch], node: Leaf | None, value: int) -> None:
        """Set what lies below a path on the side of `value`."""
        if path:
            path[-1].put(node, value)
        else:
            self._top = node

    def _prune(self, path: list[Branch], value: int) -> None:
        """Take the leaf at `value` off its path, and the branch above it too if it has lost its purpose."""
        self._put(path, None, value)
        if not path:
            return
        parent = path[-1]
        child = parent.zero or parent.one
        if parent.owner is NOBODY:
            path.pop()
            self._put(path, child, value)
        elif child is None:
            path.pop()
            self._put(path, Leaf(parent.value, parent.shift, parent.owner), value)
            path.clear()  # the parent is held as before: nothing changes above it

    def _share(self, path: list[Branch], node: Leaf, owner: OwnerT) -> None:
        """Add an owner to a node that has exactly the prefix."""
        if node.owner is NOBODY:
            self._holdings += 1
            node.owner = owner
            size = 1 << node.shift
            trie.ascend(path, size - trie.used(node))
            if isinstance(node, Branch):
                node.room, node.used = -1, size
            return
        if not isinstance(node.owner, Several):
            node.owner = Several({node.owner: 1})
        counts = node.owner.counts
        self._holdings += owner not in counts
        counts[owner] = counts.get(owner, 0) + 1

    def _unshare(self, node: Leaf, several: Several, owner: OwnerT) -> None:
        counts = several.counts
        counts[owner] -= 1
        if not counts[owner]:
            del counts[owner]
            self._holdings -= 1
        if len(counts) == 1 and 1 in counts.values():
            (node.owner,) = counts


def _held_by(holder: Hashable, owners: tuple[Hashable, ...]) -> bool:
    """Whether whoever holds a node is among these."""
    if holder in owners:
        return True
    return isinstance(holder, Several) and all(owner in owners for owner in holder.counts)


def _holds(owners: Hashable, owner: Hashable) -> bool:
    return owner in owners.counts if isinstance(owners, Several) else owners == owner
