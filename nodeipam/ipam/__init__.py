"""Allocation of address blocks, as plain integers: which pool, which block, who holds what.

A leaf of the project: it knows neither Kubernetes nor asyncio, reads no clock and does no I/O. Every call is
one synchronous step, so whoever chooses a block and records its holder without an await in between can't be
raced.
"""

from __future__ import annotations

from .index import PrefixIndex
from .pool import Choice, Full, Pool
from .prefix import Prefix
from .selection import order, uses

__all__ = ["Choice", "Full", "Pool", "Prefix", "PrefixIndex", "order", "uses"]
