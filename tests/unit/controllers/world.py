"""A cluster in memory with the real controller in it: what tests of whole stories are told with.

Everything runs on the virtual-time loop. The controller is the one that `wiring.build` makes; only transport,
clock and randomness are the test's.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from nodeipam.api.cidr import parse_pod_cidr
from nodeipam.controllers.settings import Settings
from nodeipam.controllers.wiring import build
from nodeipam.runtime import Client, Election, Manager
from nodeipam.testing.apiserver import APIServer
from nodeipam.testing.loop import VirtualClock
from nodeipam.testing.transport import ModelTransport

FINALIZER = "networking.x-k8s.io/cluster-cidr-finalizer"
LEASE = Election(namespace="nodeipam", name="node-ipam-controller")


def node(
    name: str,
    *cidrs: str,
    labels: Mapping[str, str] | None = None,
    finalizers: Sequence[str] = (),
) -> dict[str, Any]:
    """A Node, with podCIDRs that it brings along."""
    spec: dict[str, Any] = {"podCIDR": cidrs[0], "podCIDRs": list(cidrs)} if cidrs else {}
    metadata: dict[str, Any] = {"name": name, "labels": dict(labels or {})}
    if finalizers:
        metadata["finalizers"] = list(finalizers)
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec}


def pool(
    name: str,
    ipv4: str = "",
    ipv6: str = "",
    *,
    bits: Any = 8,
    match: Mapping[str, str] | None = None,
    terms: Any = None,
    finalizers: Sequence[str] = (),
) -> dict[str, Any]:
    """A ClusterCIDR; `match` asks for labels with these values, `terms` are nodeSelectorTerms as they are."""
    spec: dict[str, Any] = {"perNodeHostBits": bits}
    if ipv4:
        spec["ipv4"] = ipv4
    if ipv6:
        spec["ipv6"] = ipv6
    if match is not None:
        wanted = [{"key": key, "operator": "In", "values": [value]} for key, value in match.items()]
        spec["nodeSelector"] = {"nodeSelectorTerms": [{"matchExpressions": wanted}]}
    if terms is not None:
        spec["nodeSelector"] = {"nodeSelectorTerms": terms}
    metadata: dict[str, Any] = {"name": name}
    if finalizers:
        metadata["finalizers"] = list(finalizers)
    return {"apiVersion": "networking.x-k8s.io/v1", "kind": "ClusterCIDR", "metadata": metadata, "spec": spec}


@dataclass
class Replica:
    """One process of the controller, as far as the others can tell."""

    name: str
    manager: Manager
    client: Client
    task: asyncio.Task[None]

    async def stop(self) -> None:
        """End it as SIGTERM would, and wait for it."""
        self.task.cancel()
        await asyncio.wait({self.task})


@dataclass
class World:
    """The model of an API server, and the replicas that talk to it."""

    server: APIServer
    replicas: list[Replica] = field(default_factory=list)

    def add(self, *objects: Mapping[str, Any]) -> None:
        """Create or replace objects."""
        for obj in objects:
            self.server.put(obj)

    def start(self, name: str = "a", *, election: Election | None = LEASE, **settings: Any) -> Replica:
        """Start a replica."""
        rng = random.Random(name)
        client = Client(ModelTransport(self.server, identity=name), clock=VirtualClock(), rng=rng)
        manager = build(Settings(election=election, bind_address=None, **settings), client)
        replica = Replica(name, manager, client, asyncio.create_task(manager.run()))
        self.replicas.append(replica)
        return replica

    def cidrs(self, name: str) -> list[str]:
        """The podCIDRs of a Node, [] when it has none."""
        found: list[str] = self.server.get("nodes", name)["spec"].get("podCIDRs", [])
        return found

    def assigned(self) -> dict[str, list[str]]:
        """The podCIDRs of all Nodes that have some."""
        nodes = self.server.nodes()
        return {n["metadata"]["name"]: n["spec"]["podCIDRs"] for n in nodes if n["spec"].get("podCIDRs")}

    def pools(self) -> dict[str, dict[str, Any]]:
        """All ClusterCIDRs, by name."""
        return {
            obj["metadata"]["name"]: obj for obj in self.server.objects("clustercidrs.networking.x-k8s.io")
        }

    def ready(self, name: str) -> tuple[str, str]:
        """Status and reason of a ClusterCIDR's Ready condition."""
        for condition in self.pools()[name].get("status", {}).get("conditions", []):
            if condition["type"] == "Ready":
                return condition["status"], condition["reason"]
        return "", ""

    def events(self, name: str) -> list[tuple[str, str, str]]:
        """(type, reason, note) of the events regarding an object, each once however often it happened."""
        found = self.server.objects("events.events.k8s.io")
        return [(e["type"], e["reason"], e["note"]) for e in found if e["regarding"]["name"] == name]

    def writes(self, plural: str, *, since: int = 0) -> list[str]:
        """Method, path and status of every write to a kind, from the `since`-th line of the log on."""
        return [
            f"{line.call.method} {line.call.path} {line.status}"
            for line in self.server.log[since:]
            if line.call.method != "GET" and f"/{plural}" in line.call.path
        ]

    async def until(self, condition: Callable[[], bool], *, seconds: float = 120.0) -> None:
        """Wait for a condition, in virtual time, and check that no two Nodes share an address."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._check()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s; Nodes: {self.assigned()}") from None
        self._check()

    async def rest(self, seconds: float = 5.0) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)
        self._check()

    def _check(self) -> None:
        for replica in self.replicas:
            if replica.task.done() and not replica.task.cancelled():
                replica.task.result()

    def overlaps(self) -> list[tuple[str, str]]:
        """Pairs of Nodes that share addresses."""
        held = [(name, parse_pod_cidr(text)) for name, texts in self.assigned().items() for text in texts]
        return [(a, b) for (a, one), (b, other) in combinations(held, 2) if a != b and one.overlaps(other)]


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """A cluster without Nodes or pools; what was started in it is stopped at the end."""
    server = APIServer()
    server.register("networking.x-k8s.io/v1", "ClusterCIDR", "clustercidrs", namespaced=False, status=True)
    cluster = World(server)
    try:
        yield cluster
        assert not cluster.overlaps(), f"Nodes share addresses: {cluster.overlaps()}"
    finally:
        for replica in cluster.replicas:
            await replica.stop()
