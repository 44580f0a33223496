"""Watches over a simulated cluster: I1, I2 and I9, at each step in which one of them could break.

It shares no code with what it watches: addresses are compared as `ipaddress` reads them, and who may write is
told from what was sent and what is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_network
from typing import Any, NamedTuple

import msgspec

from nodeipam.runtime import Call
from nodeipam.testing import APIServer
from nodeipam.testing.storage import Change

__all__ = ["EXCLUDED", "LEASES", "NODES", "POOLS", "Observer", "Span", "Writer", "holds", "span"]

NODES = "nodes"
POOLS = "clustercidrs.networking.x-k8s.io"
LEASES = "leases.coordination.k8s.io"
EXCLUDED = ("10.0.0.0/28",)
"""The service range, of which no Node gets an address."""

_RECOVERY = 150.0
"""Seconds after an etcd was restored for which who held what is open: a silent watch is noticed after 90."""


class Span(NamedTuple):
    """Addresses, as numbers."""

    version: int
    first: int
    last: int

    def overlaps(self, other: Span) -> bool:
        """Whether they have an address in common."""
        return self.version == other.version and self.first <= other.last and other.first <= self.last


@lru_cache(maxsize=65536)
def span(text: str) -> Span:
    """The addresses that a CIDR names."""
    network = ip_network(text)
    return Span(network.version, int(network.network_address), int(network.broadcast_address))


def holds(body: Any) -> tuple[str, ...]:
    """The podCIDRs of a Node."""
    return tuple((body.get("spec") or {}).get("podCIDRs") or ())


class Writer:
    """One process, as far as its right to write can be told from outside.

    Args:
        name: which the holder that it writes into the Lease begins with.
        elapsed: its own clock.
        deadline: seconds after a renewal was sent for which it may write.
        knows: whether it has seen what the Node of a name and UID holds.
    """

    def __init__(
        self,
        name: str,
        *,
        elapsed: Callable[[], float],
        deadline: float,
        knows: Callable[[str, str], bool],
    ) -> None:
        self.name = name
        self.elapsed = elapsed
        self.deadline = deadline
        self.knows = knows
        self.valid_until = -1.0
        """By its clock: no renewal that the server has carried out lets it write for longer."""
        self.elected_at = -1.0
        """When, on the loop's clock, the Lease last became its own."""
        self.renewals: dict[str, float] = {}
        """When each was sent by its clock, by the renewTime in it."""


class _Held(NamedTuple):
    name: str
    cidrs: tuple[str, ...]
    foreign_since: float
    """When somebody else gave it these ranges; -1: we did."""


class Observer:
    """Sees every request as it is sent, and every change as it is made.

    Attributes:
        violations: what happened that must never happen.
        nodes: all Nodes by name, as they are stored; not to be changed.
        pools: all ClusterCIDRs alike.
        assigned: how many Nodes were given ranges by replicas.
    """

    def __init__(self, server: APIServer, *, now: Callable[[], float]) -> None:
        self.violations: list[str] = []
        self.nodes: dict[str, Any] = {}
        self.pools: dict[str, Any] = {}
        self.assigned = 0
        self._server = server
        self._now = now
        self._excluded = {text: span(text) for text in EXCLUDED}
        self._held: dict[str, _Held] = {}
        """By UID."""
        self._writers: dict[str, Writer] = {}
        self._last: Writer | None = None
        """Who gave out ranges last."""
        self._open_until = -1.0
        server.observe(NODES, self._node_changed)
        server.observe(POOLS, self._pool_changed)
        server.observe(LEASES, self._lease_changed)

    def began(self, writer: Writer) -> None:
        """A process was started."""
        self._writers[writer.name] = writer

    def restored(self) -> None:
        """The server was set back: what it forgot has never been, and what it holds was given by others."""
        self._open_until = self._now() + _RECOVERY
        self.nodes = {body["metadata"]["name"]: body for body in self._server.objects(NODES)}
        self.pools = {body["metadata"]["name"]: body for body in self._server.objects(POOLS)}
        self._held = {
            body["metadata"]["uid"]: _Held(name, holds(body), self._now())
            for name, body in self.nodes.items()
        }

    def violated(self, invariant: str, what: str) -> None:
        """Note what must never happen."""
        self.violations.append(f"{invariant} at {self._now():.3f} s: {what}")

    # What is sent

    def sent(self, writer: Writer, call: Call) -> None:
        """A process hands a request over."""
        if call.method == "GET" or "/events" in call.path:
            return
        if "/leases" in call.path:
            spec = msgspec.json.decode(call.body or b"{}").get("spec", {})
            writer.renewals[spec.get("renewTime", "")] = writer.elapsed()
            return
        if writer.elapsed() > writer.valid_until:
            late = writer.elapsed() - writer.valid_until
            self.violated("I9", f"{writer.name} sends {_say(call)} {late:.3f} s after its lease ran out")
        if "/nodes/" in call.path and b'"podCIDRs"' in (call.body or b""):
            self._offered(writer, call)

    def _offered(self, writer: Writer, call: Call) -> None:
        """A process tries to give a Node ranges."""
        last, self._last = self._last, writer
        if last is not None and writer.elected_at < last.elected_at and self._now() > self._open_until:
            self.violated(
                "I9", f"{writer.name} sends {_say(call)}, and {last.name}, elected later, has begun to"
            )
        name = call.path.rpartition("/")[2]
        uid = self.nodes.get(name, {}).get("metadata", {}).get("uid", "")
        if holds(self.nodes.get(name, {})) and writer.knows(name, uid):
            self.violated("I2", f"{writer.name} sends {_say(call)} though it has seen that {name} has ranges")
        for text in holds(msgspec.json.decode(call.body or b"{}")):
            for other_uid, held in self._held.items():
                if held.foreign_since < 0 or not self._is_known(writer, other_uid, held):
                    continue
                for theirs in held.cidrs if other_uid != uid else ():
                    if span(text).overlaps(span(theirs)):
                        self.violated(
                            "I1",
                            f"{writer.name} offers {name} {text}, and knows that {held.name} has {theirs}",
                        )

    def _is_known(self, writer: Writer, uid: str, held: _Held) -> bool:
        """Whether a process has to know what others gave: it came before its term, or it has seen it."""
        before = self._open_until < held.foreign_since < writer.elected_at
        return before or writer.knows(held.name, uid)

    # What is stored

    def _node_changed(self, actor: str, change: Change) -> None:
        body = change.record.body
        uid, name = body["metadata"]["uid"], body["metadata"]["name"]
        if change.type == "DELETED":
            self._held.pop(uid, None)
            self.nodes.pop(name, None)
            return
        self.nodes[name] = body
        before, after = self._held.get(uid), holds(body)
        if before is not None and before.cidrs == after:
            return
        self._held[uid] = _Held(name, after, -1.0 if actor else self._now())
        if before is not None and before.cidrs:
            self.violated("I2", f"{name} had {', '.join(before.cidrs)} and has {', '.join(after)}")
        if actor:
            self.assigned += 1
            self._check(actor, uid, body)

    def _check(self, actor: str, uid: str, body: Any) -> None:
        """A replica gave this Node ranges."""
        name = body["metadata"]["name"]
        if "deletionTimestamp" in body["metadata"]:
            self.violated("I1", f"{actor} gave {name} {', '.join(holds(body))} while it was being deleted")
        for text in holds(body):
            given = span(text)
            for other, held in self._held.items():
                if other == uid or held.foreign_since >= 0:
                    continue
                for theirs in held.cidrs:
                    if given.overlaps(span(theirs)) and self._now() > self._open_until:
                        self.violated("I1", f"{actor} gave {name} {text}, and {held.name} has {theirs}")
            for excluded, never in self._excluded.items():
                if given.overlaps(never):
                    self.violated("I1", f"{actor} gave {name} {text}, of the service range {excluded}")

    def _pool_changed(self, _: str, change: Change) -> None:
        body = change.record.body
        if change.type == "DELETED":
            self.pools.pop(body["metadata"]["name"], None)
        else:
            self.pools[body["metadata"]["name"]] = body

    def _lease_changed(self, _: str, change: Change) -> None:
        before = "" if change.previous is None else _holder(change.previous.body)
        after = "" if change.type == "DELETED" else _holder(change.record.body)
        writer = self._writers.get(after.partition("_")[0])
        if writer is None:
            return
        if after != before or change.type == "ADDED":
            writer.elected_at = self._now()
        sent = writer.renewals.get(change.record.body["spec"].get("renewTime", ""))
        if sent is not None:
            writer.valid_until = max(writer.valid_until, sent + writer.deadline)


def _say(call: Call) -> str:
    return f"{call.method} {call.path}"


def _holder(body: Any) -> str:
    return str((body.get("spec") or {}).get("holderIdentity") or "")
