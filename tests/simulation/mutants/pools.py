"""Mistakes about ClusterCIDRs and those that wait for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nodeipam.controllers import pools, poolset, waiting

from .registry import around, instead, mutant, nothing


@mutant("a pool that is being deleted goes on serving (D-06)")
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

    around(poolset.PoolSet, "on_update", on_update)
    around(poolset.PoolSet, "on_add", on_add)


@mutant("a pool that is being deleted forgets its Nodes (D-07)")
def _() -> None:
    instead(poolset.PoolSet, "user_of", nothing)


@mutant("a pool that is gone goes on serving (D-25)")
def _() -> None:
    instead(poolset.PoolSet, "on_delete", lambda *_: None)


@mutant("the end of a pool's last Node wakes nobody (D-27)")
def _() -> None:
    instead(pools.PoolReconciler, "freed", lambda *_: None)


@mutant("a freed block wakes nobody")
def _() -> None:
    instead(waiting.Waiting, "freed", lambda *_: None)


@mutant("a new pool wakes nobody")
def _() -> None:
    instead(waiting.Waiting, "pool_changed", lambda *_: None)


@mutant("blocks are given out before the pool has its finalizer")
def _() -> None:
    def on_add(original: Callable[..., None], self: Any, obj: Any, initial: bool) -> None:  # noqa: FBT001
        original(self, obj, initial)
        self.get(obj.metadata.uid).confirmed = True

    def begin(original: Callable[..., None], self: Any) -> None:
        original(self)
        for entry in self:
            entry.confirmed = True

    around(poolset.PoolSet, "on_add", on_add)
    around(poolset.PoolSet, "begin_term", begin)
