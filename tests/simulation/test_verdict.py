"""What has to be true at rest is told by brute force: each way to fall short of it is made up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from nodeipam.api.node import NODES
from nodeipam.controllers.ledger import Ledger
from nodeipam.controllers.nodes import NodeReconciler
from nodeipam.runtime import Call, Request, Result
from nodeipam.testing import Logged

from . import verdict
from .observer import span
from .running import simulate_all
from .schedule import AddPool, Join, Leave, Run, Schedule
from .verdict import _free, _is_noise, _serves, _share

ZONE = "topology.kubernetes.io/zone"
PLAIN = Schedule(
    name="plain",
    seed=1,
    replicas=(Run(name="a"),),
    steps=(
        AddPool(at=0.0, name="p", ipv4="10.0.0.0/26"),
        Join(at=0.0, node="n"),
        Join(at=0.0, node="m"),
        Leave(at=3.0, node="m"),
    ),
    seconds=5.0,
)


def found(prepare: Callable[[], object] = int) -> list[str]:
    """What the plain schedule violates when the controller is broken beforehand, without the times."""

    def impatiently() -> None:
        patch.object(verdict, "_PATIENCE", 60.0).start()
        prepare()

    ((_, outcome),) = simulate_all([PLAIN], prepare=impatiently)
    return [f"{what.partition(' ')[0]}: {what.partition(': ')[2]}" for what in outcome.violations]


def pool(*, zone: str = "", bits: int = 4, going: bool = False, **ranges: str) -> Any:
    """A ClusterCIDR."""
    expression = {"key": ZONE, "operator": "In", "values": [zone]}
    selector = {"nodeSelector": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}} if zone else {}
    metadata = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if going else {}
    return {"metadata": metadata, "spec": {"perNodeHostBits": bits, **ranges, **selector}}


@pytest.mark.parametrize(
    "made, zone, expected",
    [
        (pool(), "", True),
        (pool(zone="a"), "a", True),
        (pool(zone="a"), "b", False),
        (pool(zone="a"), "", False),
        (pool(going=True), "", False),
    ],
)
def test_whom_a_pool_serves(made: Any, zone: str, expected: bool) -> None:  # noqa: FBT001
    """A pool serves the Nodes of its zone, or all, unless it is being deleted."""
    node = {"metadata": {"labels": {ZONE: zone}} if zone else {}}
    assert expected == _serves(made, node)


@pytest.mark.parametrize(
    "made, taken, expected",
    [
        (pool(ipv4="10.0.0.0/27"), (), ["10.0.0.0/28"]),
        (pool(ipv4="10.0.0.0/27"), ("10.0.0.0/29",), ["10.0.0.16/28"]),
        (pool(ipv4="10.0.0.0/27"), ("10.0.0.0/29", "10.0.0.30/32"), []),
        (pool(ipv4="10.0.0.0/27"), ("10.0.0.0/8",), []),
        (pool(ipv4="10.0.0.0/27", ipv6="fd00::/124"), (), ["10.0.0.0/28", "fd00::/124"]),
        (pool(ipv4="10.0.0.0/27", ipv6="fd00::/124"), ("fd00::/124",), []),
        (pool(ipv4="10.0.0.0/27", bits=5), ("10.0.0.16/28",), []),
    ],
)
def test_what_is_free(made: Any, taken: tuple[str, ...], expected: list[str]) -> None:
    """A pool has room if there is a block of its size in each of its families that nobody has a part of."""
    assert expected == _free(made, [span(text) for text in taken])


@pytest.mark.parametrize(
    "taken, expected",
    [
        ((), 0.0),
        (("10.0.0.0/25",), 0.5),
        (("10.0.0.0/25", "10.0.0.0/26", "10.0.0.64/26"), 0.5),
        (("10.0.0.0/26", "10.0.0.128/26"), 0.5),
        (("10.0.0.0/8",), 1.0),
        (("10.0.1.0/24", "fd00::/8"), 0.0),
    ],
)
def test_the_share_that_is_taken(taken: tuple[str, ...], expected: float) -> None:
    """Each address counts once, whoever has it how often, and only those of the range."""
    assert expected == _share("10.0.0.0/24", [span(text) for text in taken])


@pytest.mark.parametrize(
    "method, path, query, expected",
    [
        ("PATCH", "/api/v1/nodes/n", (), True),
        ("GET", "/api/v1/nodes", (), True),
        ("GET", "/api/v1/nodes", (("watch", "1"),), False),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/nodeipam/leases/l", (), False),
    ],
)
def test_what_is_noise(method: str, path: str, query: tuple[tuple[str, str], ...], expected: bool) -> None:  # noqa: FBT001
    """At rest, everything but the Lease and the watches is too much."""
    call = Call(method=method, path=path, query=query, timeout=1.0)
    assert expected == _is_noise(Logged(0.0, "a", call, 200))


def test_nothing_wrong() -> None:
    """A controller that isn't broken violates nothing."""
    assert [] == found()


def test_a_node_that_waits() -> None:
    """A controller that gives a Node nothing, though there is room, is found (I3)."""
    assert ["I3: n waits, and p has 10.0.0.16/28"] == found(_idle)


def test_a_block_that_leaks() -> None:
    """A controller that keeps a block whose Node has gone is found (I4)."""
    (what,) = found(_keep_all)
    assert what.startswith("I4: usage of p's 10.0.0.0/26 at a is 0.75 where 0.5 would be right")


def test_a_controller_that_never_rests() -> None:
    """A controller that goes on asking for what it knows is found (I6)."""
    (what,) = found(_ask_on)
    assert what.startswith("I6: ")
    assert what.endswith("such as GET /api/v1/nodes/n by a: 200")


def test_a_controller_that_ends() -> None:
    """A controller that ends with an error is found (I7)."""
    (what,) = found(_fall)
    assert "I7: a1 ended with" in what


# What breaks it, in a process that ends with the run


def _idle() -> None:
    async def nothing(*_: object) -> None:
        pass

    patch.object(NodeReconciler, "__call__", nothing).start()


def _keep_all() -> None:
    patch.object(Ledger, "on_delete", lambda *_: None).start()


def _ask_on() -> None:
    reconcile = NodeReconciler.__call__

    async def curious(reconciler: NodeReconciler, request: Request) -> Result:
        await reconcile(reconciler, request)
        await reconciler.client.get(NODES, request)
        return Result(requeue_after=7.0)

    patch.object(NodeReconciler, "__call__", curious).start()


def _fall() -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    patch.object(Ledger, "on_add", fail).start()
