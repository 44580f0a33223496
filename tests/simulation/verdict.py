"""What has to be true once nothing goes wrong any more: I3, I4, I6 and I8, told by brute force.

| | asked | of |
|---|---|---|
| I3 | does a Node wait that could be served? does a pool stay that nobody uses? | the objects in store |
| I4 | is as much accounted for as Nodes hold? | the leader's metrics |
| I6 | is anything asked for but Leases and watches? | the server's log |
| I8 | was an event told again though nothing had changed? | the server's log |
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from nodeipam.controllers.metrics import PoolCollector
from nodeipam.testing import Logged
from nodeipam.testing.listoptions import asks_to_watch

from .deeds import ZONE
from .observer import EVENTS, EXCLUDED, Span, holds, ranges, span, uses

if TYPE_CHECKING:
    from .cluster import Cluster

__all__ = ["Verdict"]

_PATIENCE = 900.0
"""Seconds for which a Node may wait after the last fault: one that was set aside is tried again after 300."""
_HEARTBEAT = 300.0
"""Seconds after which a kubelet reports its Node's status though nothing has changed."""
_NEWS = ("AddPool", "DropPool", "Join", "Leave", "Rejoin", "Unpin", "Restore", "Lock")
"""What may let a Node be served that wasn't, or the other way round."""
_QUIET = 20.0
"""Seconds in which nothing may be asked for at rest."""


class Verdict:
    """The end of one run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._observer = cluster.observer

    async def reach(self) -> None:
        """Wait until all is as it should be, or note what isn't."""
        await self._settle()
        if self._cluster.under_way:
            self._cluster.land()
            await self._settle()
        if not self._observer.violations:
            self._check_answers()

    async def _settle(self) -> None:
        cluster, observer = self._cluster, self._observer
        if observer.violations:
            return
        until = cluster.loop.now + _PATIENCE
        while any(self._wrong()) and cluster.loop.now < until and not observer.violations:
            await cluster.wait(lambda: not any(self._wrong()), seconds=_HEARTBEAT)
            cluster.heartbeat()
        if any(self._wrong()) and not observer.violations:
            for invariant, what in self._wrong():
                observer.violated(invariant, what)
                return
        since = len(cluster.server.log)
        for _ in range(int(_PATIENCE / _QUIET)):
            await asyncio.sleep(_QUIET)
            noise = [line for line in cluster.server.log[since:] if _is_noise(line)]
            if not noise or observer.violations:
                return
            since = len(cluster.server.log)
        observer.violated("I6", f"{len(noise)} requests in {_QUIET:g} s at rest, such as {_say(noise[-1])}")

    def _wrong(self) -> Iterator[tuple[str, str]]:
        """What isn't yet as it should be: the invariant, and in what way."""
        for what in self._undone():
            yield "I3", what
        for what in self._misaccounted():
            yield "I4", what

    # I3

    def _undone(self) -> Iterator[str]:
        """What the controller should have done by now."""
        taken = self._taken()
        for name, body in self._observer.nodes.items():
            if holds(body) or "deletionTimestamp" in body["metadata"]:
                continue
            for pool_name, pool in self._observer.pools.items():
                if _serves(pool, body) and (free := _free(pool, taken)):
                    yield f"{name} waits, and {pool_name} has {' and '.join(free)}"
        for name, pool in self._observer.pools.items():
            used = any(uses(pool, holds(body)) for body in self._observer.nodes.values())
            if "deletionTimestamp" in pool["metadata"] and not used:
                yield f"{name} is being deleted, and no Node uses it"

    def _taken(self) -> list[Span]:
        held = [text for body in self._observer.nodes.values() for text in holds(body)]
        return [span(text) for text in (*EXCLUDED, *held)]

    # I4

    def _misaccounted(self) -> Iterator[str]:
        """Where the leader's metrics differ from what Nodes hold."""
        leader = next((r for r in self._cluster.replicas.values() if r.alive and r.manager.leading), None)
        if leader is None:
            yield "nobody leads"
            return
        samples = _samples(leader.manager.client.metrics.registry)
        waiting = sum(
            not holds(body) and "deletionTimestamp" not in body["metadata"]
            for body in self._observer.nodes.values()
        )
        for metric, right in (("waiting_nodes", waiting), ("reserved_nodes", 0), ("set_aside_nodes", 0)):
            name = f"node_ipam_controller_{metric}"
            found = sum(value for (of, *_), value in samples.items() if of == name)
            if found != right:
                yield f"{metric} of {leader.name} is {found} where {right} would be right"
        taken = self._taken()
        for name, pool in self._observer.pools.items():
            for text in ranges(pool):
                used = samples.get(("node_ipam_controller_multicidrset_usage_cidrs", text, name))
                share = _share(text, taken)
                if used is None or abs(used - share) > 1e-9:
                    yield f"usage of {name}'s {text} at {leader.name} is {used} where {share} would be right"

    # What the log shows

    def _check_answers(self) -> None:
        log = self._cluster.server.log
        for line in log:
            if (
                line.status == 422
                and "/nodes/" in line.call.path
                and b'"podCIDRs"' in (line.call.body or b"")
            ):
                self._observer.violated("I2", f"{line.identity} tried to change podCIDRs: {_say(line)}")
        told: Counter[tuple[str, str, str]] = Counter()
        for event in self._cluster.server.objects(EVENTS):
            about, note = event["regarding"], event.get("note", "")
            if "dropped" in note:
                self._observer.violated("I8", f"a false alarm: {event['reason']} of {about['name']}: {note}")
            times = (event.get("series") or {}).get("count", 1)
            told[about["uid"], about["name"], event["reason"]] += times
        for (_, name, reason), times in told.items():
            if times > (changes := self._changes(name)):
                self._observer.violated(
                    "I8", f"{reason} of {name} told {times} times after {changes} changes"
                )

    def _changes(self, name: str) -> int:
        """How often something changed that may be worth telling of an object: it, a pool, or who is there."""
        steps = sum(f"'{name}'" in text or text.startswith(_NEWS) for _, text in self._cluster.told)
        return steps + sum(replica.started for replica in self._cluster.replicas.values())


def _samples(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    """What Node IPAM says of itself, by the name of the metric and its labels; the runtime isn't asked."""
    collectors = registry._collector_to_names  # noqa: SLF001 - a collection of all takes too long
    return {
        (sample.name, *sample.labels.values()): sample.value
        for collector in collectors
        if isinstance(collector, PoolCollector)
        for family in collector.collect()
        for sample in family.samples
    }


def _is_noise(line: Logged) -> bool:
    call = line.call
    if "/leases" in call.path:
        return False
    return call.method != "GET" or not asks_to_watch(call.query)


def _say(line: Logged) -> str:
    return f"{line.call.method} {line.call.path} by {line.identity}: {line.status}"


def _serves(pool: Any, node: Any) -> bool:
    if "deletionTimestamp" in pool["metadata"]:
        return False
    selector = pool["spec"].get("nodeSelector")
    if selector is None:
        return True
    zone = (node["metadata"].get("labels") or {}).get(ZONE)
    return any(
        zone in expression["values"]
        for term in selector["nodeSelectorTerms"]
        for expression in term["matchExpressions"]
    )


def _free(pool: Any, taken: list[Span]) -> list[str]:
    """A free block of each family, [] unless there is one of each."""
    found = []
    for text in ranges(pool):
        network = ip_network(text)
        length = network.max_prefixlen - pool["spec"]["perNodeHostBits"]
        for block in network.subnets(new_prefix=length):
            addresses = span(str(block))
            if not any(addresses.overlaps(other) for other in taken):
                found.append(str(block))
                break
        else:
            return []
    return found


def _share(text: str, taken: list[Span]) -> float:
    """The share of a range that is taken, whoever takes it how often."""
    whole = span(text)
    used, last = 0, whole.first - 1
    for other in sorted(other for other in taken if other.overlaps(whole)):
        first, end = max(other.first, last + 1), min(other.last, whole.last)
        used += max(0, end - first + 1)
        last = max(last, end)
    return used / (whole.last - whole.first + 1)
