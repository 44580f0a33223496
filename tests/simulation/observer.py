"""Watches over a simulated cluster: I1, I2 and I9, at each step in which one of them could break.

It shares no code with what it watches: addresses are compared as `ipaddress` reads them, and who may write is
told from what was sent and what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import ip_network
from typing import Any, NamedTuple

import msgspec

from nodeipam.runtime import Call
from nodeipam.testing import APIServer
from nodeipam.testing.storage import Change

__all__ = [
    "EXCLUDED",
    "LEASES",
    "NODES",
    "POOLS",
    "Observer",
    "Span",
    "Writer",
    "holds",
    "ranges",
    "span",
    "uses",
]

NODES = "nodes"
POOLS = "clustercidrs.networking.x-k8s.io"
EVENTS = "events.events.k8s.io"
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

    def within(self, other: Span) -> bool:
        """Whether all of its addresses are the other's too."""
        return self.version == other.version and other.first <= self.first and self.last <= other.last


@lru_cache(maxsize=65536)
def span(text: str) -> Span:
    """The addresses that a CIDR names."""
    network = ip_network(text)
    return Span(network.version, int(network.network_address), int(network.broadcast_address))


def holds(body: Any) -> tuple[str, ...]:
    """The podCIDRs of a Node."""
    return tuple((body.get("spec") or {}).get("podCIDRs") or ())


def ranges(pool: Any) -> list[str]:
    """The ranges of a ClusterCIDR."""
    return [text for family in ("ipv4", "ipv6") if (text := pool["spec"].get(family))]


def uses(pool: Any, cidrs: Iterable[str]) -> bool:
    """Whether a Node that holds these uses a pool: it has a block of its size in each of its ranges."""
    size = 1 << pool["spec"]["perNodeHostBits"]
    held = [block for block in map(span, cidrs) if block.last - block.first + 1 == size]
    return all(any(block.within(whole) for block in held) for whole in map(span, ranges(pool)))


class Writer:
    """One process, as far as its right to write can be told from outside.

    Args:
        name: for people.
        place: who the server takes it for.
        elapsed: its own clock.
        deadline: seconds after a renewal was sent for which it may write.
        knows: whether it has seen what the Node of a name and UID holds.
        serving: the ranges of the pools that it takes to be in service, by what it has seen.
    """

    def __init__(
        self,
        name: str,
        *,
        place: str,
        elapsed: Callable[[], float],
        deadline: float,
        knows: Callable[[str, str], bool],
        serving: Callable[[], Iterable[str]],
    ) -> None:
        self.name = name
        self.place = place
        self.elapsed = elapsed
        self.deadline = deadline
        self.knows = knows
        self.serving = serving
        self.valid_until = -1.0
        """By its clock: no renewal that the server has carried out lets it write for longer."""
        self.elected_at = -1.0
        """When, on the loop's clock, the Lease last became its own."""
        self.renewals: dict[str, float] = {}
        """When each was sent by its clock, by the renewTime in it."""
        self.offered: set[tuple[str, str]] = set()
        """UID and range of what it has tried to write in this term."""


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
        self._writers: list[Writer] = []
        self._elected: Writer | None = None
        """Whose the Lease is."""
        self._last: tuple[Writer, float] | None = None
        """Who gave out ranges last, and when it had been elected."""
        self._open_until = -1.0
        server.observe(NODES, self._node_changed)
        server.observe(POOLS, self._pool_changed)
        server.observe(LEASES, self._lease_changed)

    def began(self, writer: Writer) -> None:
        """A process was started."""
        self._writers.append(writer)

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
        last, self._last = self._last, (writer, writer.elected_at)
        if last is not None and writer.elected_at < last[1] and self._now() > self._open_until:
            self.violated(
                "I9", f"{writer.name} sends {_say(call)}, and {last[0].name}, elected later, has begun to"
            )
        name = call.path.rpartition("/")[2]
        uid = self.nodes.get(name, {}).get("metadata", {}).get("uid", "")
        if holds(self.nodes.get(name, {})) and writer.knows(name, uid):
            self.violated("I2", f"{writer.name} sends {_say(call)} though it has seen that {name} has ranges")
        body = msgspec.json.decode(call.body or b"{}")
        for field in ("uid", "resourceVersion"):
            if not body.get("metadata", {}).get(field):
                self.violated("I1", f"{writer.name} sends {_say(call)} without its {field}")
        for text in holds(body):
            if (uid, text) not in writer.offered:
                self._taken(writer, name, text)
            writer.offered.add((uid, text))
            for other_uid, held in self._held.items():
                if other_uid == uid or held.foreign_since < 0 or not self._is_known(writer, other_uid, held):
                    continue
                if any(span(text).overlaps(span(theirs)) for theirs in held.cidrs):
                    has = ", ".join(held.cidrs)
                    self.violated(
                        "I1", f"{writer.name} offers {name} {text}, and knows that {held.name} has {has}"
                    )

    def _taken(self, writer: Writer, name: str, text: str) -> None:
        """A process has chosen this range for a Node."""
        if not any(map(span(text).within, map(span, writer.serving()))):
            self.violated("I3", f"{writer.name} takes {text} for {name} from no pool that is in service")
        elif self._now() > self._open_until and not any(
            pool["metadata"].get("finalizers") and any(map(span(text).within, map(span, ranges(pool))))
            for pool in self.pools.values()
        ):
            self.violated("I3", f"{writer.name} takes {text} for {name} from a pool without a finalizer")

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

    def _pool_changed(self, actor: str, change: Change) -> None:
        body = change.record.body
        if change.type != "DELETED":
            self.pools[body["metadata"]["name"]] = body
            return
        self.pools.pop(body["metadata"]["name"], None)
        for held in self._held.values() if actor and self._now() > self._open_until else ():
            others = any(uses(pool, held.cidrs) for pool in self.pools.values())
            if held.foreign_since < 0 and uses(body, held.cidrs) and not others:
                self.violated("I3", f"{actor} let {body['metadata']['name']} go, and {held.name} uses it")

    def _lease_changed(self, actor: str, change: Change) -> None:
        spec = change.record.body["spec"]
        known = [writer for writer in self._writers if writer.place == actor]
        writer = next((each for each in reversed(known) if spec.get("renewTime", "") in each.renewals), None)
        holder = str(spec.get("holderIdentity") or "")
        if writer is None or change.type == "DELETED" or not holder:
            self._elected = None
            return
        if writer is not self._elected:
            self._elected = writer
            writer.elected_at = self._now()
            writer.offered.clear()
        sent = writer.renewals[spec["renewTime"]]
        writer.valid_until = max(writer.valid_until, sent + writer.deadline)


def _say(call: Call) -> str:
    return f"{call.method} {call.path}"
