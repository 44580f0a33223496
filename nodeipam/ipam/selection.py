"""Which pools come into question for a Node, in which order, and which pools a Node uses.

Invariant: both are decided from the pools and the holdings alone. Labels decide which new blocks a Node gets,
and never whether a pool is in use.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from .index import PrefixIndex
from .pool import Pool
from .prefix import Prefix

__all__ = ["blocks", "order", "users", "uses"]

OwnerT = TypeVar("OwnerT", bound=Hashable)


def order(candidates: Iterable[tuple[Pool, int]]) -> list[Pool]:
    """The pools that a Node may be served from, the first choice first.

    Pools with a selector come before the catch-alls. Among each: more matched requirements (P0), then the
    pool's own rank (P1 to P4). Terminating pools are left out.

    Args:
        candidates: the pools whose selector matches the Node, each with the number of requirements matched.
    """
    serving = [(pool, matched) for pool, matched in candidates if not pool.terminating]
    serving.sort(key=lambda candidate: (candidate[0].catch_all, -candidate[1], candidate[0].rank))
    return [pool for pool, _ in serving]


def uses(pool: Pool, holdings: Sequence[Prefix]) -> bool:
    """Whether a Node with these holdings uses the pool: one of its block size in each of its ranges."""
    return all(
        any(block.length == length and inside.contains(block) for block in holdings)
        for inside, length in zip(pool.ranges, pool.lengths, strict=True)
    )


def blocks(pool: Pool, indexes: Mapping[int, PrefixIndex[OwnerT]]) -> Iterator[tuple[Prefix, OwnerT]]:
    """Every holding of the pool's block size inside its ranges, an entry for each owner.

    IPv4 comes first, then it goes by address. The indexes must not change before the iteration ends.
    """
    for inside, length in zip(pool.ranges, pool.lengths, strict=True):
        yield from indexes[inside.family].blocks(inside, length)


def users(pool: Pool, indexes: Mapping[int, PrefixIndex[OwnerT]]) -> list[OwnerT]:
    """The owners that use the pool, each once, ordered by their lowest block in its first range.

    Costs as much as there are holdings in its ranges: for a pool that appears or goes, not for each Node.
    """
    first, *others = (
        dict.fromkeys(owner for _, owner in indexes[inside.family].blocks(inside, length))
        for inside, length in zip(pool.ranges, pool.lengths, strict=True)
    )
    return [owner for owner in first if all(owner in other for other in others)]
