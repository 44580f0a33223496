"""Somebody who believes nothing: sees what the API server shows to anyone, and knows what must never be.

Nothing here is the controller's: not its types, not its arithmetic. It holds that

- no two Nodes that exist have ranges that overlap, and a range, once a Node has it, never changes;
- a Node has one IPv4 and one IPv6 range, each a whole block of one pool;
- nobody writes to a Node but the replica that holds the Lease at that moment.

:class:`Observer` is told what was seen; who looks is :mod:`.watching`.
"""

from __future__ import annotations

import bisect
import ipaddress
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

__all__ = ["Observer", "Request", "Rule", "SeenNode", "SeenPool", "Violation"]

Rule = Literal["shared", "changed", "unserved", "writers", "seen", "told"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_LEASES = "/apis/coordination.k8s.io/v1/"


@dataclass(slots=True)
class SeenNode:
    """A Node as it was last seen."""

    name: str
    joined: float
    """When it was first seen, in seconds."""
    cidrs: tuple[str, ...] = ()
    served: float = math.nan
    """When its ranges were first seen."""


@dataclass(slots=True)
class SeenPool:
    """A ClusterCIDR, and what is taken from it."""

    name: str
    ranges: tuple[Network, ...]
    host_bits: int
    label: str
    ready: bool = False
    """Whether the controller has said that it works with it."""
    used: int = 0

    @property
    def blocks(self) -> int:
        """How many Nodes it has room for."""
        return min((net.num_addresses >> self.host_bits for net in self.ranges), default=0)

    def has(self, network: Network) -> bool:
        """Whether this is one of its blocks."""
        return network.max_prefixlen - network.prefixlen == self.host_bits and any(
            network.version == mine.version
            and int(mine[0]) <= int(network[0])
            and int(network[-1]) <= int(mine[-1])
            for mine in self.ranges
        )


class Request(NamedTuple):
    """A line of the API server's audit log."""

    identity: str
    method: str
    path: str
    body: bytes
    status: int


class Violation(NamedTuple):
    """What must not be, and was."""

    rule: Rule
    text: str


class _Span(NamedTuple):
    first: int
    last: int
    uid: str


@dataclass(slots=True)
class Observer:
    """What was seen, and what was wrong with it. Times are the caller's, in seconds."""

    nodes: dict[str, SeenNode] = field(default_factory=dict)
    """The Nodes that exist, by UID."""
    pools: dict[str, SeenPool] = field(default_factory=dict)
    leader: str = ""
    """The holder of the Lease, as it calls itself; "" while nobody holds it."""
    left: int = 0
    """How many Nodes have gone."""
    violations: list[Violation] = field(default_factory=list)
    writers: dict[str, None] = field(default_factory=dict)
    """Who has written to a Node, in order."""
    latencies: list[float] = field(default_factory=list)
    """Seconds from ADDED to podCIDRs, of Nodes that had to wait for nothing."""
    waited_pool: list[float] = field(default_factory=list)
    """The same, of Nodes that a new pool or a Node's leaving woke."""
    waited_leader: list[float] = field(default_factory=list)
    """The same, of Nodes that joined before the present leader led."""
    _spans: dict[int, list[_Span]] = field(default_factory=lambda: {4: [], 6: []})
    _led_since: float = -math.inf
    _pool_since: float = -math.inf
    closed: bool = False
    """Whether it has judged what only counts when all is over."""
    _holder: str = ""  # by the audit log

    @property
    def waiting(self) -> list[SeenNode]:
        """The Nodes without ranges."""
        return [node for node in self.nodes.values() if not node.cidrs]

    def see_node(self, event: str, body: Mapping[str, Any], now: float) -> None:
        """An event of the watch of Nodes."""
        metadata = body["metadata"]
        uid, name = metadata["uid"], metadata["name"]
        if event == "DELETED":
            if node := self.nodes.pop(uid, None):
                self.left += 1
                self._count(node.cidrs, -1)
                for spans in self._spans.values():
                    spans[:] = [span for span in spans if span.uid != uid]
            return
        node = self.nodes.setdefault(uid, SeenNode(name, now))
        cidrs = tuple(body.get("spec", {}).get("podCIDRs", ()))
        if cidrs == node.cidrs:
            return
        if node.cidrs:
            before, after = _text(node.cidrs), _text(cidrs) or "none"
            self._violated("changed", f"the ranges of {name} changed from {before} to {after}")
            self._count(node.cidrs, -1)
        else:
            node.served = now
            self._time(node)
        node.cidrs = cidrs
        self._count(cidrs, 1)
        self._take(uid, node)

    def see_pool(self, event: str, body: Mapping[str, Any], now: float) -> None:
        """An event of the watch of ClusterCIDRs."""
        name, spec = body["metadata"]["name"], body["spec"]
        if event == "DELETED":
            self.pools.pop(name, None)
            return
        if name in self.pools:  # whose spec doesn't change
            conditions = body.get("status", {}).get("conditions", ())
            self.pools[name].ready = ("Ready", "True") in {(c["type"], c["status"]) for c in conditions}
            return
        terms = spec.get("nodeSelector", {}).get("nodeSelectorTerms", ())
        keys = [match["key"] for term in terms for match in term.get("matchExpressions", ())]
        ranges = tuple(ipaddress.ip_network(spec[family]) for family in ("ipv4", "ipv6") if spec.get(family))
        pool = self.pools[name] = SeenPool(name, ranges, spec["perNodeHostBits"], ", ".join(keys))
        self._pool_since = now
        for node in self.nodes.values():
            pool.used += any(pool.has(net) for net in _networks(node.cidrs))

    def see_lease(self, event: str, body: Mapping[str, Any], now: float) -> None:
        """An event of the watch of the Lease."""
        holder = "" if event == "DELETED" else body.get("spec", {}).get("holderIdentity") or ""
        if holder != self.leader:
            self.leader, self._led_since = holder, now

    def lose(self, text: str) -> None:
        """Something escapes the observer from here on."""
        self._violated("seen", text)

    def audit(self, requests: Iterable[Request]) -> None:
        """What the API server carried out since the last time, in its order."""
        for who, method, path, body, status in requests:
            if method == "GET" or not 200 <= status < 300:
                continue
            if path.startswith(_LEASES):
                self._holder = (json.loads(body or b"{}").get("spec") or {}).get("holderIdentity") or ""
            elif path.startswith("/api/v1/nodes/"):
                self.writers[who] = None
                if not self._holder.startswith(f"{who}_"):
                    holder = self._holder.partition("_")[0] or "nobody"
                    name = path.rpartition("/")[2]
                    self._violated("writers", f"{who} wrote to {name} while {holder} held the Lease")

    def close(self) -> None:
        """Judge what only counts when all is over: Nodes without ranges, ranges out of no pool."""
        self.closed = True
        for node in self.nodes.values():
            networks = _networks(node.cidrs)
            if not networks:
                self._violated("unserved", f"{node.name} never got its ranges")
            elif sorted(net.version for net in networks) != [4, 6]:
                has = _text(node.cidrs)
                self._violated("unserved", f"{node.name} has {has}, not one IPv4 and one IPv6 range")
            elif not any(all(pool.has(net) for net in networks) for pool in self.pools.values()):
                self._violated("unserved", f"{node.name} has {_text(node.cidrs)}, no block of any pool")

    def _violated(self, rule: Rule, text: str) -> None:
        self.violations.append(Violation(rule, text))

    def _take(self, uid: str, node: SeenNode) -> None:
        """Enter a Node's ranges, in the order of addresses: whoever overlaps is a neighbour."""
        for network in _networks(node.cidrs):
            spans = self._spans[network.version]
            mine = _Span(int(network[0]), int(network[-1]), uid)
            place = bisect.bisect(spans, mine)
            for other in spans[max(0, place - 1) : place + 1]:
                if other.uid != uid and other.first <= mine.last and mine.first <= other.last:
                    held = self.nodes[other.uid]
                    got, has = _text(node.cidrs), _text(held.cidrs)
                    self._violated("shared", f"{node.name} got {got} though {held.name} has {has}")
            spans.insert(place, mine)

    def _time(self, node: SeenNode) -> None:
        took = node.served - node.joined
        if node.joined < self._led_since:
            self.waited_leader.append(took)
        elif node.joined < self._pool_since:
            self.waited_pool.append(took)
        else:
            self.latencies.append(took)

    def _count(self, cidrs: tuple[str, ...], change: int) -> None:
        networks = _networks(cidrs)
        for pool in self.pools.values():
            if any(pool.has(network) for network in networks):
                pool.used += change


def _networks(cidrs: Iterable[str]) -> list[Network]:
    return [ipaddress.ip_network(text) for text in cidrs]


def _text(cidrs: Iterable[str]) -> str:
    return ", ".join(cidrs)
