"""A cluster in memory with the real controller in it: what tests of whole stories are told with.

Everything runs on the virtual-time loop. The controller is the one that `wiring.build` makes; only transport,
clock and randomness are the test's.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec

import msgspec

from nodeipam.api.cidr import parse_pod_cidr
from nodeipam.controllers.settings import Settings
from nodeipam.controllers.wiring import build
from nodeipam.runtime import Answer, Call, Client, Election, Manager
from nodeipam.testing.apiserver import APIServer, Logged
from nodeipam.testing.faults import Action, Fault, Requests
from nodeipam.testing.loop import VirtualClock, run_virtual
from nodeipam.testing.transport import ModelTransport

P = ParamSpec("P")

FINALIZER = "networking.x-k8s.io/cluster-cidr-finalizer"
LEASE = Election(namespace="nodeipam", name="node-ipam-controller")
LEASES = "leases.coordination.k8s.io"
POOLS = "clustercidrs.networking.x-k8s.io"


def node(
    name: str,
    *cidrs: str,
    labels: Mapping[str, str] | None = None,
    finalizers: Sequence[str] = (),
) -> dict[str, Any]:
    """A Node, with podCIDRs that it brings along."""
    spec: dict[str, Any] = {"podCIDR": cidrs[0], "podCIDRs": list(cidrs)} if cidrs else {}
    metadata: dict[str, Any] = {"name": name}
    if labels:
        metadata["labels"] = dict(labels)
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


_VERBS = {"GET": ("get", "list", "watch"), "POST": ("create",), "PUT": ("update",), "PATCH": ("patch",)}


def asks(method: str, plural: str, name: str = "", *, subresource: str = "") -> Requests:
    """The requests of this verb, for this kind (of this name)."""
    return Requests(verbs=_VERBS[method], resource=plural, name=name, subresource=subresource)


def refusal(code: int, reason: str, *fields: str) -> bytes:
    """A Status that refuses, with a cause for each of these fields."""
    causes = [{"reason": "FieldValueInvalid", "message": "injected", "field": field} for field in fields]
    details = {"causes": causes} if causes else {}
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
    return msgspec.json.encode({**status, "message": f"injected: {reason}", "details": details})


def body_of(line: Logged) -> dict[str, Any]:
    """What a logged request carried."""
    found: dict[str, Any] = msgspec.json.decode(line.call.body or b"{}")
    return found


def _unchanged(call: Call) -> Call:
    return call


@dataclass(slots=True)
class _Admitted:
    """A transport behind which a mutating webhook stands."""

    inner: ModelTransport
    cluster: World

    @property
    def host(self) -> str:
        return self.inner.host

    def open(self, call: Call) -> AbstractAsyncContextManager[Answer]:
        return self.inner.open(self.cluster.webhook(call))


@dataclass
class Replica:
    """One process of the controller, as far as the others can tell."""

    name: str
    manager: Manager
    client: Client
    task: asyncio.Task[None]
    server: APIServer

    async def stop(self) -> None:
        """End it as SIGTERM would, and wait for it."""
        self.task.cancel()
        await asyncio.wait({self.task})

    async def crash(self) -> None:
        """End it as SIGKILL would: nothing more that it says is heard. What it has sent is carried out."""
        self.server.faults.insert(
            0, Fault(match=lambda _: True, action="drop_before", times=None, identity=self.name)
        )
        self.task.cancel()
        await asyncio.sleep(0)
        self.task.cancel()
        await asyncio.wait({self.task})

    def metric(self, name: str, **labels: str) -> float | None:
        """The value of one series, None where there is none."""
        return self.client.metrics.registry.get_sample_value(name, labels)

    def samples(self) -> list[tuple[str, dict[str, str], float]]:
        """Name, labels and value of every series."""
        families = self.client.metrics.registry.collect()
        return [(sample.name, sample.labels, sample.value) for f in families for sample in f.samples]

    async def ready(self, check: str = "fence") -> str:
        """What a check of /readyz says: "ok", or what is wrong."""
        report = await self.manager.readiness.report_one(check)
        assert report is not None
        return report.text


class BusyClock(VirtualClock):
    """A clock on which every step takes time, so that big work is done in slices as on a real machine."""

    def __init__(self) -> None:
        super().__init__()
        self._spent = 0.0

    def monotonic(self) -> float:
        """The loop's time, and a millisecond more for each time that it was asked for."""
        self._spent += 0.001
        return super().monotonic() + self._spent


@dataclass
class World:
    """The model of an API server, and the replicas that talk to it."""

    server: APIServer
    replicas: list[Replica] = field(default_factory=list)
    webhook: Callable[[Call], Call] = _unchanged
    """What an admission webhook makes of requests."""
    brought: set[tuple[str, str]] = field(default_factory=set)
    """Pairs of Nodes that were given overlapping ranges by others."""

    def add(self, *objects: Mapping[str, Any]) -> None:
        """Create or replace objects."""
        for obj in objects:
            self.server.put(obj)

    def start(
        self,
        name: str = "a",
        *,
        election: Election | None = LEASE,
        clock: VirtualClock | None = None,
        **settings: Any,
    ) -> Replica:
        """Start a replica."""
        rng = random.Random(name)
        transport = _Admitted(ModelTransport(self.server, identity=name), self)
        client = Client(transport, clock=clock or VirtualClock(), rng=rng)
        manager = build(Settings(election=election, bind_address=None, **settings), client)
        replica = Replica(name, manager, client, asyncio.create_task(manager.run()), self.server)
        self.replicas.append(replica)
        return replica

    def fail(
        self,
        match: Callable[[Call], bool],
        action: Action,
        status: int = 503,
        *,
        body: bytes | None = None,
        times: int | None = 1,
        delay: float = 0.0,
        skip: int = 0,
        identity: str | None = None,
    ) -> Fault:
        """Have requests go wrong; see `Fault`."""
        fault = Fault(
            match=match,
            action=action,
            status=status,
            body=body,
            times=times,
            delay=delay,
            skip=skip,
            identity=identity,
        )
        self.server.faults.append(fault)
        return fault

    def heal(self) -> None:
        """Nothing goes wrong any more, but for those that have crashed."""
        self.server.faults[:] = [fault for fault in self.server.faults if fault.identity in self._crashed()]

    def _crashed(self) -> set[str]:
        return {replica.name for replica in self.replicas if replica.task.done()}

    def touch(self, name: str, plural: str = "nodes") -> None:
        """Change an object in a way that matters to nobody, as a heartbeat does."""
        self.server.patch(plural, name, {"metadata": {"annotations": {"touched": str(self.server.version)}}})

    def lease(self) -> dict[str, Any]:
        """The Lease as it stands."""
        return self.server.get(LEASES, LEASE.name, namespace=LEASE.namespace)

    def held_by(self) -> str:
        """Who holds the Lease: the name of the identity's process, "" when nobody does."""
        return str(self.lease()["spec"].get("holderIdentity") or "")

    def requests(self, match: Callable[[Call], bool], *, since: int = 0) -> list[Logged]:
        """The requests of this kind, from the `since`-th line of the log on."""
        return [line for line in self.server.log[since:] if match(line.call)]

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
        return {obj["metadata"]["name"]: obj for obj in self.server.objects(POOLS)}

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
                    self._check_replicas()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s; Nodes: {self.assigned()}") from None
        self._check()

    async def rest(self, seconds: float = 5.0) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)
        self._check()

    def _check(self) -> None:
        self._check_replicas()
        assert not self.overlaps(), f"Nodes share addresses: {self.overlaps()}"

    def _check_replicas(self) -> None:
        for replica in self.replicas:
            if replica.task.done() and not replica.task.cancelled():
                replica.task.result()

    def overlaps(self) -> set[tuple[str, str]]:
        """Pairs of Nodes, by name, that share addresses, but for those that others made."""
        texts = [(text, name) for name, texts in self.assigned().items() for text in texts]
        held = sorted((parse_pod_cidr(text), name) for text, name in texts if "/" in text)
        found = set()
        for at, (one, a) in enumerate(held):
            for other, b in held[at + 1 :]:
                if (other.family, other.value) > (one.family, one.last):
                    break
                if a != b:
                    found.add((min(a, b), max(a, b)))
        return found - self.brought


@asynccontextmanager
async def world(*, status: bool = True) -> AsyncIterator[World]:
    """A cluster without Nodes or pools; what was started in it is stopped at the end.

    `status`: its CRD has a status subresource.
    """
    server = APIServer()
    server.register("networking.x-k8s.io/v1", "ClusterCIDR", "clustercidrs", namespaced=False, status=status)
    server.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": LEASE.namespace}})
    cluster = World(server)
    try:
        yield cluster
    finally:
        for replica in cluster.replicas:
            await replica.stop()
    assert not cluster.overlaps(), f"Nodes share addresses: {cluster.overlaps()}"


def story(tell: Callable[Concatenate[World, P], Awaitable[None]]) -> Callable[P, None]:
    """Make a test of a story that happens in a world of its own, in virtual time."""

    async def told(*args: P.args, **kwargs: P.kwargs) -> None:
        async with world() as cluster:
            await tell(cluster, *args, **kwargs)

    def test(*args: P.args, **kwargs: P.kwargs) -> None:
        run_virtual(told(*args, **kwargs))

    test.__name__ = test.__qualname__ = tell.__name__
    test.__doc__, test.__module__ = tell.__doc__, tell.__module__
    signature = inspect.signature(tell)
    rest = list(signature.parameters.values())[1:]
    setattr(test, "__signature__", signature.replace(parameters=rest))  # noqa: B010 - what pytest reads
    return test
