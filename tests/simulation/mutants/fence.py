"""Mistakes about the fence, the read barrier, and what a term leaves to the next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nodeipam.api.node import Node
from nodeipam.controllers import ledger, nodes, takeover
from nodeipam.runtime import (
    Lease,
    fence,
)

from .registry import Proxy, around, instead, mutant, nothing


@mutant("no fence after an unclean take-over")
def _() -> None:
    async def erect(self: Any, _: Lease) -> None:
        self.lower()
        self.skip()

    instead(fence.Fence, "erect", erect)


@mutant("the fence doesn't wait for what it wrote to come back")
def _() -> None:
    def lags(original: Callable[..., bool], self: Any, obj: Any, term: Any) -> bool:
        return obj.metadata.uid not in term.changed and original(self, obj, term)

    around(fence.Fence, "_lags", lags)


@mutant("the fence's annotation doesn't change when the same process leads again")
def _() -> None:
    async def erect(original: Callable[..., Awaitable[None]], self: Any, lease: Lease) -> None:
        await original(self, Proxy(lease, term=1))

    around(fence.Fence, "erect", erect)


@mutant("the fence leaves out Nodes that match no pool")
def _() -> None:
    instead(
        takeover.TakeOver,
        "__call__",
        _fenced_only(takeover.TakeOver.__call__, lambda gate, node: bool(gate.pools.candidates(node))),
    )


def _fenced_only(original: Callable[..., Awaitable[None]], which: Callable[[Any, Node], bool]) -> Any:
    async def call(self: Any, lease: Lease) -> None:
        exposed = self.fence._exposed
        self.fence._exposed = lambda node: exposed(node) and which(self, node)
        try:
            await original(self, lease)
        finally:
            self.fence._exposed = exposed

    return call


@mutant("released before the fence is done")
def _() -> None:
    def may_release(self: Any) -> bool:
        return bool(self.ledger.unsettled == 0)

    async def call(original: Callable[..., Awaitable[None]], self: Any, lease: Lease) -> None:
        lease.release_when = self._may_release
        await original(self, lease)

    instead(takeover.TakeOver, "_may_release", may_release)
    around(takeover.TakeOver, "__call__", call)


@mutant("released while a write's outcome is unknown (D-30)")
def _() -> None:
    instead(takeover.TakeOver, "_may_release", lambda self: self.fence.finished)


@mutant("reservations are kept over a later fence")
def _() -> None:
    instead(ledger.Ledger, "void_before", lambda *_, **__: None)
    instead(nodes.NodeReconciler, "_is_stale", lambda *_: False)


@mutant("a Node that was set aside gets ranges all the same")
def _() -> None:
    async def erect(original: Callable[..., Awaitable[None]], self: Any, lease: Lease) -> None:
        await original(self, lease)
        self.aside.clear()

    around(fence.Fence, "erect", erect)


@mutant("no read barrier")
def _() -> None:
    instead(takeover, "read_barrier", nothing)


@mutant("there is no read barrier for ClusterCIDRs")
def _() -> None:
    async def barrier(
        original: Callable[..., Awaitable[None]], client: Any, informer: Any, *rest: Any
    ) -> None:
        if informer.resource.plural != "clustercidrs":
            await original(client, informer, *rest)

    around(takeover, "read_barrier", barrier)


@mutant("the read barrier asks the store, not the ledger, and takes any list for the truth")
def _() -> None:
    async def barrier(_: Any, informer: Any, *__: Any) -> None:
        await informer.wait_synced()

    instead(takeover, "read_barrier", barrier)
