"""What is odd about the ranges that a Node has: they are protected as they are, and people are told, once."""

from __future__ import annotations

from dataclasses import dataclass

from nodeipam.api.node import Node
from nodeipam.runtime import get_logger

from .ledger import Ledger, Reservation, holdings, malformed
from .poolset import PoolSet
from .reports import Reports

__all__ = ["Oddities"]

log = get_logger(__name__)

_SHOWN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Oddities:
    """Finds and reports ranges that are malformed, outside every ClusterCIDR, or overlap somebody else's."""

    ledger: Ledger
    pools: PoolSet
    reports: Reports

    def concern(self, node: Node) -> bool:
        """Whether there is anything to report."""
        uid = node.metadata.uid
        return self.ledger.in_conflict(uid) or bool(malformed(node)) or bool(self._outside(node))

    def report(self, node: Node) -> None:
        """Tell what there is to tell."""
        if faults := malformed(node):
            self.reports.warn(node, "CIDRInvalid", "podCIDRs that are no range: " + "; ".join(faults))
        if outside := self._outside(node):
            note = f"podCIDRs outside every ClusterCIDR, protected as they are: {', '.join(outside)}"
            self.reports.warn(node, "CIDROutOfRange", note)
        if conflicts := self._conflicts(node):
            log.error("two Nodes share addresses", node=node.metadata.name, conflicts=conflicts)
            self.reports.warn(node, "CIDRConflict", conflicts)

    def _outside(self, node: Node) -> list[str]:
        """Those of its ranges that lie in no ClusterCIDR, if there is any ClusterCIDR at all."""
        if not len(self.pools):
            return []
        return [str(prefix) for prefix in holdings(node) if not self.pools.covers(prefix)]

    def _conflicts(self, node: Node) -> str:
        found = self.ledger.conflicts(node)
        shown = "; ".join(
            f"{mine} overlaps {theirs} of {self._who(owner)}" for mine, owner, theirs in found[:_SHOWN]
        )
        return f"{shown} and {len(found) - _SHOWN} more" if len(found) > _SHOWN else shown

    def _who(self, owner: str | Reservation) -> str:
        if isinstance(owner, Reservation):
            return f"Node {owner.name} (reserved)"
        other = self.ledger.node(owner)
        return f"Node {other.metadata.name}" if other is not None else f"the {owner}"
