"""Mistakes about who holds which addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nodeipam.api.node import Node
from nodeipam.controllers import ledger
from nodeipam.ipam.index import PrefixIndex
from nodeipam.ipam.pool import Choice, Pool

from .registry import around, instead, mutant


@mutant("a Node that comes with ranges isn't accounted for (D-02)")
def _() -> None:
    def record(original: Callable[..., None], self: Any, node: Node) -> None:
        known = node.metadata.uid in self._nodes or self.reservation(node.metadata.uid) is not None
        if known or not node.pod_cidrs:
            original(self, node)

    around(ledger.Ledger, "_record", record)


@mutant("only Nodes with labels are accounted for (D-03)")
def _() -> None:
    def held(original: Callable[..., Iterator[Any]], node: Node) -> Iterator[Any]:
        return original(node) if node.metadata.labels else iter(())

    around(ledger, "holdings", held)


@mutant("only a Node's first range is accounted for (D-54)")
def _() -> None:
    around(ledger, "holdings", lambda original, node: iter([*original(node)][:1]))


@mutant("ranges are free as soon as a Node is being deleted (D-08)")
def _() -> None:
    def record(original: Callable[..., None], self: Any, node: Node) -> None:
        original(self, node)
        if node.terminating:
            for prefix in self.held_by(node.metadata.uid):
                self.indexes[prefix.family].remove(prefix, node.metadata.uid)
            self._tell(self.held_by(node.metadata.uid))
            self._nodes.pop(node.metadata.uid)

    around(ledger.Ledger, "_record", record)


@mutant("a block has no owner: who leaves frees everybody's (D-18)")
def _() -> None:
    def on_delete(original: Callable[..., None], self: Any, node: Node) -> None:
        held = self.held_by(node.metadata.uid)
        original(self, node)
        for prefix in held:
            for theirs, owner in list(self.indexes[prefix.family].holders(prefix)):
                self.indexes[prefix.family].remove(theirs, owner)

    around(ledger.Ledger, "on_delete", on_delete)
    original = PrefixIndex.remove

    def remove(self: Any, prefix: Any, owner: Any) -> None:
        if any(held == prefix and other == owner for held, other in self.holders(prefix)):
            original(self, prefix, owner)

    instead(PrefixIndex, "remove", remove)


@mutant("a reservation outlives its Node (D-11)")
def _() -> None:
    def on_delete(original: Callable[..., None], self: Any, node: Node) -> None:
        kept = self._reservations.pop(node.metadata.uid, None)
        original(self, node)
        if kept is not None:
            self._reservations[node.metadata.uid] = kept

    def release(original: Callable[..., None], self: Any, reservation: Any) -> None:
        if reservation.uid in self._nodes:
            original(self, reservation)

    around(ledger.Ledger, "on_delete", on_delete)
    around(ledger.Ledger, "release", release)


@mutant("an IPv4 block leaks when IPv6 is full (D-04)")
def _() -> None:
    def choose(original: Callable[..., Any], self: Any, indexes: Mapping[int, Any]) -> Any:
        found = original(self, indexes)
        if not isinstance(found, Choice) and len(self.ranges) == 2:
            inside, length = self.ranges[0], self.lengths[0]
            block = indexes[4].find(inside, length, inside.value)
            if block is not None:
                prefix = type(inside)(4, block, length)
                indexes[4].add(prefix, ledger.SERVICES)
        return found

    around(Pool, "choose", choose)


@mutant("the service range isn't excluded")
def _() -> None:
    around(ledger.Ledger, "__init__", lambda original, self, *_: original(self))
