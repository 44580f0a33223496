"""Which pools come into question for a Node, in which order, and which pools a Node uses.

Invariant: both are decided from the pools and the holdings alone. Labels decide which new blocks a Node gets,
and never whether a pool is in use.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .pool import Pool
from .prefix import Prefix

__all__ = ["order", "uses"]


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
