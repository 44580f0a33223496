"""The nodes of a path-compressed binary trie of prefixes, and what can be told from a node alone.

A leaf is a prefix that somebody holds. A branch is where holdings part, or a holding with others inside; it
carries two aggregates of what lies in it, whatever lies above it:

- `room`, the host bits of the largest aligned block that is still free (-1: none);
- `used`, the number of addresses in use, each counted once however many hold it.

An edge that skips levels leaves free exactly what it skips, so the largest free block on it is known without
looking further down: see `room`. That is what makes one edge one step, however long it is.

Invariants: a branch that nobody holds has two children, a held one at least one; a leaf is held. Nodes point
only down (whoever walks keeps the path in a list), so they form no cycles and the garbage collector need not
know them. `shift` is the number of host bits, since that is what every step computes with.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Final

import msgspec

__all__ = [
    "NOBODY",
    "Branch",
    "Leaf",
    "Several",
    "ascend",
    "below",
    "first_free",
    "join",
    "room",
    "touched",
    "used",
]

NOBODY: Final = object()
"""The owner of a branch that isn't held itself."""


class Leaf(msgspec.Struct, gc=False, eq=False):
    """A holding with nothing inside it."""

    value: int
    """The first address. Where it equals a neighbour's it is the same int object, which saves memory."""
    shift: int
    owner: Hashable
    """Who holds it; `Several` where that is more than one owner once."""


class Branch(Leaf, gc=False, eq=False):
    """A prefix with holdings in one of its halves or both; NOBODY's, or a holding itself."""

    zero: Leaf | None
    one: Leaf | None
    room: int
    used: int

    def put(self, child: Leaf | None, value: int) -> None:
        """Set the child on the side of the address `value`."""
        if value >> (self.shift - 1) & 1:
            self.one = child
        else:
            self.zero = child


class Several(msgspec.Struct, gc=False, eq=False):
    """The owners of one prefix, with how many times each holds it. Rare: somebody made a duplicate."""

    counts: dict[Hashable, int]


def room(branch: Branch) -> int:
    """The host bits of the largest free block in a branch that isn't held, from its children."""
    half = branch.shift - 1
    best = -1
    for node in (branch.zero, branch.one):
        if node is None:
            return half
        if node.shift < half:  # then it leaves free the half of its slot in which it is not
            best = max(best, half - 1)
        elif type(node) is Branch:
            best = max(best, node.room)
    return best


def used(node: Leaf | None) -> int:
    """How many addresses under a node are in use."""
    if isinstance(node, Branch):
        return node.used
    return 0 if node is None else 1 << node.shift


def touched(node: Leaf | None, shift: int, steps: int) -> int:
    """How many aligned blocks of 2^shift addresses hold an address that is in use under a node.

    After so many steps what is left is counted by its addresses instead, as if the blocks it touches were in
    use as a whole. That is right where nothing is narrower than a block, and too few elsewhere.
    """
    count = 0
    stack = [node]
    while stack:
        node = stack.pop()
        if node is None:
            continue
        if node.shift <= shift:
            count += 1
        elif not isinstance(node, Branch) or node.room < shift:
            count += 1 << (node.shift - shift)
        elif steps > 0:
            steps -= 1
            stack += (node.zero, node.one)
        else:
            count += -(-node.used >> shift)
    return count


def join(node: Leaf, leaf: Leaf, shift: int) -> Branch:
    """The branch, nobody's, of 2^shift addresses in whose two halves a node and a new leaf lie."""
    low = min(node.value, leaf.value)
    first = low >> shift << shift
    value = low if low == first else first  # as an object the first is kept by its holder anyway
    branch = Branch(value, shift, NOBODY, None, None, -1, used(node) + (1 << leaf.shift))
    branch.put(node, node.value)
    branch.put(leaf, leaf.value)
    branch.room = room(branch)
    return branch


def ascend(path: list[Branch], more: int) -> None:
    """Bring the aggregates of a path up to date, after `more` addresses are in use below its end.

    From a branch that is held itself upwards nothing changes, nor does any room above one that kept its own.
    """
    rooms = True
    for branch in reversed(path):
        if branch.owner is not NOBODY:
            return
        branch.used += more
        if rooms:
            now = room(branch)
            rooms = now != branch.room
            branch.room = now


def first_free(node: Leaf | None, end: int, shift: int, at: int) -> int | None:
    """The first free aligned block of 2^shift addresses, at or after `at` and before `end`.

    `node` is all there is between the two, or a holding around them; both are multiples of 2^shift. Off the
    cursor's own path only branches with room are entered, and those do have a block: so no more than two
    paths are walked.
    """
    if at >= end:
        return None
    path: list[Branch] = []
    while True:
        since = at
        while type(node) is Branch and node.room >= shift:
            side = (at ^ node.value) >> (node.shift - 1)
            if side > 1:  # before the branch or behind it: there is nothing else in its slot
                return at
            path.append(node)
            node = node.one if side else node.zero
        at = _clear_of(node, shift, at)
        while path:
            branch = path[-1]
            side = (at ^ branch.value) >> (branch.shift - 1)
            if side == (since ^ branch.value) >> (branch.shift - 1):
                return at  # still in the slot in which the node was alone
            if side == 1:
                node = branch.one
                break
            path.pop()
        else:
            return at if at < end else None


def below(node: Leaf | None, shift: int) -> Iterator[Leaf]:
    """A node and everything under it that holds 2^shift addresses or more: by address, wide before narrow."""
    stack = [node]
    while stack:
        node = stack.pop()
        if node is None or node.shift < shift:
            continue
        if node.owner is not NOBODY:
            yield node
        if isinstance(node, Branch):
            stack += (node.one, node.zero)


def _clear_of(node: Leaf | None, shift: int, at: int) -> int:
    """The first block of 2^shift addresses, at or after `at`, that doesn't touch a node."""
    if node is None:
        return at
    wider = max(shift, node.shift)
    return ((at >> wider) + 1) << wider if at >> wider == node.value >> wider else at
