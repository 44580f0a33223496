"""Which ranges Nodes get: families, sizes, selectors, priorities, foreign ranges, restarts, default flags."""

import asyncio
import ipaddress
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.conftest import MANIFESTS
from tests.e2e.conftest import Replicas
from tests.e2e.kube import (
    CLUSTER_CIDRS,
    NODES,
    ApiError,
    Kube,
    Object,
    cluster_cidr,
    node,
    requires,
)
from tests.e2e.observer import Observer
from tests.e2e.replica import Replica
from tests.e2e.shown import join, notes, wait_event, wait_reason

EXAMPLES = MANIFESTS / "examples"
FINALIZER = "tests.nodeipam/keep"
LOCK = "--leader-elect-namespace=default"
GROUP = "platform.node-group"


def inside(text: str, outer: str) -> bool:
    """Whether a range lies in another."""
    return ipaddress.ip_network(text).subnet_of(ipaddress.ip_network(outer))  # type: ignore[arg-type]


async def versions(kube: Kube, path: str) -> dict[str, str]:
    """The resourceVersion of each object of a collection: it moves with every write."""
    return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in await kube.items(path)}


class TestExamples:
    @pytest.mark.parametrize(
        "example,expected",
        [
            ("ipv4", [["10.244.0.0/24"], ["10.244.1.0/24"], ["10.244.2.0/24"]]),
            ("ipv6", [["2001:db8::/120"], ["2001:db8::100/120"], ["2001:db8::200/120"]]),
            (
                "dual",
                [
                    ["10.244.0.0/24", "2001:db8::/120"],
                    ["10.244.1.0/24", "2001:db8::100/120"],
                    ["10.244.2.0/24", "2001:db8::200/120"],
                ],
            ),
        ],
    )
    async def test_families(
        self, kube: Kube, observer: Observer, replicas: Replicas, example: str, expected: list[list[str]]
    ) -> None:
        """IPv4, IPv6 or both: Nodes get one block of each family after the other; podCIDR is the first."""
        await kube.apply(EXAMPLES / f"{example}.yaml")
        replicas.start("a", LOCK)
        assert expected == await join(kube, observer, "n1", "n2", "n3")
        assert expected[0][0] == (await kube.get(f"{NODES}/n1"))["spec"]["podCIDR"]

    async def test_node_groups(self, kube: Kube, observer: Observer, replicas: Replicas) -> None:
        """Six pools, with blocks of five sizes, share one range: every Node gets its group's size."""
        pools = await kube.apply(EXAMPLES / "node-groups.yaml")
        replicas.start("a", LOCK)
        lengths = {pool["metadata"]["name"]: 32 - pool["spec"]["perNodeHostBits"] for pool in reversed(pools)}
        names = {f"{group}-{number}": group for number in range(4) for group in lengths}
        for name, group in names.items():
            await kube.create_node(name, labels={f"{GROUP}/{group}": ""})
        await observer.wait_assigned(*names)
        held = {name: observer.cidrs(name) for name in names}
        assert {name: lengths[group] for name, group in names.items()} == {
            name: int(text.partition("/")[2]) for name, (text,) in held.items()
        }
        assert all(inside(text, "10.244.0.0/16") for (text,) in held.values())

    async def test_two_ranges(self, kube: Kube, observer: Observer, replicas: Replicas) -> None:
        """The lower range serves Nodes to its last block, and then the other one does."""
        await kube.apply(EXAMPLES / "two-ranges.yaml")
        replicas.start("a", LOCK)
        names = [f"n{number}" for number in range(258)]
        labels = {f"{GROUP}/worker-medium": ""}
        for at in range(0, len(names), 43):
            await asyncio.gather(*(kube.create_node(name, labels=labels) for name in names[at : at + 43]))
        await observer.wait_assigned(*names, within=20.0)
        first = [f"10.244.{number}.0/24" for number in range(256)]
        held = [text for name in names for text in observer.cidrs(name)]
        assert sorted([*first, "10.245.0.0/24", "10.245.1.0/24"]) == sorted(held)


def one_of(case: str, *more: Object) -> Object:
    """A term that asks for a label `case`, and more."""
    return {
        "matchExpressions": [
            {"key": "case", "operator": "In", "values": [case]},
            *(expression for term in more for expression in term["matchExpressions"]),
        ]
    }


# Of each two pools the second is meant, though the first would be by every later rule.
PRIORITIES: Mapping[str, tuple[Object, Object]] = {
    "p0": (
        cluster_cidr("p0-one", ipv4="10.0.0.0/24", terms=[one_of("p0")]),
        cluster_cidr(
            "p0-two", ipv4="10.1.0.0/16", host_bits=9, terms=[one_of("p0", requires("zone", "Exists"))]
        ),
    ),
    "p1": (
        cluster_cidr("p1-large", ipv4="10.2.0.0/16", host_bits=4, terms=[one_of("p1")]),
        cluster_cidr("p1-small", ipv4="10.3.0.0/20", host_bits=8, terms=[one_of("p1")]),
    ),
    "p1-dual": (
        cluster_cidr("p1-dual-large", ipv4="10.4.0.0/19", terms=[one_of("p1-dual")]),
        cluster_cidr("p1-dual-small", ipv4="10.5.0.0/16", ipv6="fd05::/116", terms=[one_of("p1-dual")]),
    ),
    "p2": (
        cluster_cidr(
            "p2-more", ipv4="10.6.0.0/20", host_bits=8, terms=[one_of("p2", requires("a", "Exists"))]
        ),
        cluster_cidr(
            "p2-fewer", ipv4="10.7.0.0/24", host_bits=4, terms=[one_of("p2", requires("b", "Exists"))]
        ),
    ),
    "p2-d15": (
        cluster_cidr("p2-d15-v6", ipv6="fd08::/116", host_bits=8, terms=[one_of("p2-d15")]),
        cluster_cidr("p2-d15-v4", ipv4="10.8.0.0/22", host_bits=6, terms=[one_of("p2-d15")]),
    ),
    "p3": (
        cluster_cidr("p3-b", ipv4="10.9.0.0/20", terms=[one_of("p3", requires("b", "Exists"))]),
        cluster_cidr("p3-a", ipv4="10.10.0.0/20", terms=[one_of("p3", requires("a", "Exists"))]),
    ),
    "p4-d14": (
        cluster_cidr("p4-d14-ten", ipv4="10.11.0.0/20", terms=[one_of("p4-d14")]),
        cluster_cidr("p4-d14-nine", ipv4="9.0.0.0/20", terms=[one_of("p4-d14")]),
    ),
    "any-selector": (
        cluster_cidr("any-selector-none", ipv4="10.12.0.0/28", host_bits=4),
        cluster_cidr("any-selector-some", ipv4="10.13.0.0/16", terms=[one_of("any-selector")]),
    ),
}


class TestPriorities:
    async def test_p0_to_p4(self, kube: Kube, observer: Observer, replicas: Replicas) -> None:
        """D-14, D-15: requirements, capacity, host bits, selector text and address decide, in this order."""
        for pools in PRIORITIES.values():
            for pool in pools:
                await kube.create(CLUSTER_CIDRS, pool)
        replicas.start("a", LOCK)
        for case in PRIORITIES:
            await kube.create_node(case, labels={"case": case, "zone": "z", "a": "", "b": ""})
        await observer.wait_assigned(*PRIORITIES)
        expected = {case: ranges(meant["spec"]) for case, (_, meant) in PRIORITIES.items()}
        assert expected == {
            case: [_around(text, expected[case]) for text in observer.cidrs(case)] for case in PRIORITIES
        }

    async def test_d23_catch_alls(self, kube: Kube, observer: Observer, replicas: Replicas) -> None:
        """D-23: a pool of no terms comes before the catch-alls, and these go by capacity, not by name."""
        await kube.create_cluster_cidr("a-large", ipv4="10.1.0.0/26", host_bits=4)
        await kube.create_cluster_cidr("b-small", ipv4="10.2.0.0/28", host_bits=4)
        await kube.create_cluster_cidr("c-no-terms", ipv4="10.3.0.0/27", host_bits=4, terms=[])
        replicas.start("a", LOCK)
        assert [["10.3.0.0/28"], ["10.3.0.16/28"], ["10.2.0.0/28"], ["10.1.0.0/28"]] == await join(
            kube, observer, "n1", "n2", "n3", "n4"
        )


def ranges(spec: Object) -> list[str]:
    """The ranges of a ClusterCIDR's spec, IPv4 first."""
    return [spec[family] for family in ("ipv4", "ipv6") if family in spec]


def _around(text: str, candidates: Sequence[str]) -> str:
    return next(
        (
            outer
            for outer in candidates
            if ipaddress.ip_network(text).version == ipaddress.ip_network(outer).version
            and inside(text, outer)
        ),
        text,
    )


def field(operator: str, *values: str) -> Object:
    """A term on the Node's name."""
    return {"matchFields": [{"key": "metadata.name", "operator": operator, "values": list(values)}]}


def both(*terms: Object) -> Object:
    """One term with all requirements of these."""
    merged: Object = {}
    for term in terms:
        for key, requirements in term.items():
            merged.setdefault(key, []).extend(requirements)
    return merged


# What a selector says, and which of the Nodes yes and no it means. Both have the label of the case.
SELECTORS: Mapping[str, tuple[Sequence[Object], Mapping[str, str], Mapping[str, str]]] = {
    "in": ([requires("zone", "In", "a", "b")], {"zone": "b"}, {"zone": "c"}),
    "not-in": ([requires("zone", "NotIn", "a")], {}, {"zone": "a"}),
    "exists": ([requires("gpu", "Exists")], {"gpu": ""}, {}),
    "does-not-exist": ([requires("gpu", "DoesNotExist")], {}, {"gpu": ""}),
    "gt": ([requires("cores", "Gt", "9")], {"cores": "10"}, {"cores": "9"}),
    "lt": ([requires("cores", "Lt", "10")], {"cores": "9"}, {"cores": "ten"}),
    "d16-ored": ([requires("zone", "In", "a"), requires("gpu", "Exists")], {"gpu": ""}, {"zone": "b"}),
    "anded": (
        [both(requires("zone", "In", "a"), requires("gpu", "Exists"))],
        {"zone": "a", "gpu": ""},
        {"gpu": ""},
    ),
    "d16-name": ([field("In", "d16-name-yes")], {}, {}),
    "d16-not-name": ([field("NotIn", "d16-not-name-no")], {}, {}),
    "d16-empty-term": ([requires("zone", "In", "a"), {}], {"zone": "a"}, {"zone": "b"}),
}


class TestSelectors:
    async def test_d16_semantics(self, kube: Kube, observer: Observer, replicas: Replicas) -> None:
        """D-16: a selector means the Nodes that Kubernetes means by it, and the others are told so."""
        for number, (case, (terms, _, _)) in enumerate(SELECTORS.items()):
            own = [both(term, requires("case", "In", case)) if term else term for term in terms]
            await kube.create_cluster_cidr(case, ipv4=f"10.{number}.0.0/16", terms=own)
        replicas.start("a", LOCK)
        for case, (_, meant, others) in SELECTORS.items():
            await kube.create_node(f"{case}-no", labels={**others, "case": case})
            await kube.create_node(f"{case}-yes", labels={**meant, "case": case})
        for case in SELECTORS:
            assert "none of the 11 ClusterCIDRs" in await wait_event(kube, f"{case}-no", "CIDRNotAvailable")
        await observer.wait_assigned(*(f"{case}-yes" for case in SELECTORS))
        assert {case: [f"10.{number}.0.0/24"] for number, case in enumerate(SELECTORS)} == {
            case: observer.cidrs(f"{case}-yes") for case in SELECTORS
        }
        assert not any(observer.cidrs(f"{case}-no") for case in SELECTORS)


class TestForeignRanges:
    async def test_they_are_protected(self, kube: Kube, observer: Observer, replicas: Replicas) -> None:
        """D-01, D-02, D-03, D-18, D-54: nothing is given out over what a Node brought, of whatever size."""
        brought: dict[str, list[str]] = {
            "same-size": ["10.244.0.0/24"],
            "wider": ["10.244.2.0/23"],
            "narrower": ["10.244.5.64/26"],
            "foreign-first": ["192.168.0.0/24", "2001:db8::100/120"],
            "outside": ["172.16.0.0/24", "fd99::/64"],
            "six-only": ["2001:db8::400/119"],
            "twice-1": ["10.244.6.0/24"],
            "twice-2": ["10.244.6.0/25"],
        }
        for name, texts in brought.items():
            await kube.create_node(name, pod_cidrs=texts, labels={"pool": "none"})
        await kube.create_cluster_cidr(
            "dual", ipv4="10.244.0.0/16", ipv6="2001:db8::/110", terms=[requires("pool", "In", "dual")]
        )
        replicas.start("a", LOCK)
        # A term begins behind the highest block in use, so 16 blocks are what is left of each family.
        await kube.create_cluster_cidr(
            "small", ipv4="10.244.0.0/20", ipv6="2001:db8::/116", terms=[requires("pool", "In", "small")]
        )
        names = [f"n{number}" for number in range(11)]
        await join(kube, observer, *names, pool="small")
        free4 = {f"10.244.{number}.0/24" for number in range(16)} - {
            f"10.244.{number}.0/24" for number in (0, 2, 3, 5, 6)
        }
        free6 = {str(ipaddress.ip_network((0x20010DB8 << 96 | number << 8, 120))) for number in range(16)} - {
            f"2001:db8::{number}00/120" for number in (1, 4, 5)
        }
        assert free4 == {observer.cidrs(name)[0] for name in names}
        assert free6 > {observer.cidrs(name)[1] for name in names}
        await kube.create_node("one-too-many", labels={"pool": "small"})
        assert "small (10.244.0.0/20, 2001:db8::/116) is full" in await wait_event(
            kube, "one-too-many", "CIDRNotAvailable"
        )
        # Owners are told apart: one of two that share addresses goes, and the other keeps its part.
        await kube.delete(f"{NODES}/twice-1")
        await kube.delete(f"{NODES}/wider")
        await observer.wait_assigned("one-too-many")
        await kube.create_node("another", labels={"pool": "small"})
        await observer.wait_assigned("another")
        assert {"10.244.2.0/24", "10.244.3.0/24"} == {
            observer.cidrs(name)[0] for name in ("one-too-many", "another")
        }
        assert brought["twice-2"] == observer.cidrs("twice-2")

    async def test_they_are_reported(self, kube: Kube, observer: Observer, replicas: Replicas) -> None:
        """D-01: ranges in no pool, and ranges of two Nodes, are told in one event each; good ones in none."""
        await kube.create_cluster_cidr("pool", ipv4="10.244.0.0/16", ipv6="2001:db8::/110")
        await kube.create_node("inside", pod_cidrs=["10.244.0.0/24"])
        await kube.create_node("outside", pod_cidrs=["192.168.0.0/24", "2001:db8::100/120"])
        await kube.create_node("shared", pod_cidrs=["10.244.9.0/24"])
        replicas.start("a", LOCK)
        await observer.wait_assigned()
        outside = await wait_event(kube, "outside", "CIDROutOfRange")
        assert "podCIDRs outside every ClusterCIDR, protected as they are: 192.168.0.0/24" == outside
        await kube.create_node("sharing", pod_cidrs=["10.244.9.128/25"])
        conflict = await wait_event(kube, "sharing", "CIDRConflict")
        assert "10.244.9.128/25 overlaps 10.244.9.0/24 of Node shared" == conflict
        await join(kube, observer, "last")
        assert ([], []) == (await notes(kube, "inside"), await notes(kube, "last"))

    @pytest.mark.parametrize(
        "texts",
        [
            ["garbage"],
            ["10.244.0.0"],
            ["10.244.0.0/24", "10.244.1.0/24"],
            ["10.0.0.0/24", "fd00::/64", "fd01::/64"],
        ],
        ids=json.dumps,
    )
    async def test_malformed_ones_cannot_be_stored(self, kube: Kube, texts: list[str]) -> None:
        """No text but CIDRs, one a family, gets as far as a Node: the API server refuses it."""
        with pytest.raises(ApiError, match=r"spec\.podCIDRs") as refused:
            await kube.create(NODES, node("n", pod_cidrs=texts))
        assert 422 == refused.value.status


class TestTerminatingNodes:
    async def test_d08_it_keeps_its_range(self, kube: Kube, observer: Observer, replicas: Replicas) -> None:
        """D-08: the range of a Node that is being deleted is free when the Node is gone, and at once then."""
        await kube.create_cluster_cidr("pool", ipv4="10.244.0.0/24")
        await kube.create_node("leaving", finalizers=[FINALIZER])
        replicas.start("a", LOCK)
        await observer.wait_assigned("leaving")
        await kube.delete(f"{NODES}/leaving")
        await kube.create_node("coming")
        assert "pool (10.244.0.0/24) is full" in await wait_event(kube, "coming", "CIDRNotAvailable")
        await kube.patch(f"{NODES}/leaving", {"metadata": {"finalizers": None}})
        await observer.wait_assigned("coming", within=2.0)
        assert ["10.244.0.0/24"] == observer.cidrs("coming")

    async def test_it_gets_no_new_range(self, kube: Kube, observer: Observer, replicas: Replicas) -> None:
        """A Node that was being deleted before it had a range gets none, however much room there is."""
        await kube.create_node("leaving", finalizers=[FINALIZER])
        await kube.delete(f"{NODES}/leaving")
        replicas.start("a", LOCK)
        await kube.create_cluster_cidr("pool", ipv4="10.244.0.0/16")
        await kube.patch(f"{NODES}/leaving", {"metadata": {"labels": {"a": "b"}}})
        await join(kube, observer, "n1", "n2")
        assert ([], []) == (observer.cidrs("leaving"), await notes(kube, "leaving"))


class TestRestart:
    async def test_nothing_changes(self, kube: Kube, observer: Observer, replicas: Replicas) -> None:
        """With everything in place a new process writes no Node and no ClusterCIDR."""
        await kube.create_cluster_cidr("pool", ipv4="10.244.0.0/16", terms=[requires("pool", "In", "a")])
        await kube.create_node("inside", pod_cidrs=["10.244.7.0/24"])
        await kube.create_node("outside", pod_cidrs=["192.168.0.0/24"])
        await kube.create_node("waiting")
        first = replicas.start("first", LOCK)
        await join(kube, observer, "n1", "n2", "n3", pool="a")
        await wait_event(kube, "outside", "CIDROutOfRange")
        await wait_event(kube, "waiting", "CIDRNotAvailable")
        await wait_reason(kube, "pool", "Allocating")
        assert 0 == await asyncio.to_thread(first.stop)
        before = await versions(kube, NODES), await versions(kube, CLUSTER_CIDRS)
        second = replicas.start("second", LOCK)
        await second.logs("may write")
        await join(kube, observer, "n4", pool="a")
        nodes, pools = await versions(kube, NODES), await versions(kube, CLUSTER_CIDRS)
        del nodes["n4"]
        assert before == (nodes, pools)

    async def test_d50_freed_blocks_rest(self, kube: Kube, observer: Observer, replicas: Replicas) -> None:
        """D-03, D-50: after a restart freed blocks come last, and those of relabelled Nodes not at all."""
        await kube.create_cluster_cidr("pool", ipv4="10.244.0.0/22", terms=[requires("pool", "In", "a")])
        first = replicas.start("first", LOCK)
        await join(kube, observer, "n0", "n1", "n2", pool="a")
        await kube.patch(f"{NODES}/n2", {"metadata": {"labels": {"pool": "b"}}})
        await kube.delete(f"{NODES}/n0")
        assert 0 == await asyncio.to_thread(first.stop)
        replicas.start("second", LOCK)
        assert [["10.244.3.0/24"], ["10.244.0.0/24"]] == await join(kube, observer, "n3", "n4", pool="a")
        await kube.create_node("n5", labels={"pool": "a"})
        await wait_event(kube, "n5", "CIDRNotAvailable")
        # The relabelled Node goes, and its block with it.
        await kube.delete(f"{NODES}/n2")
        await observer.wait_assigned("n5", within=2.0)
        assert ["10.244.2.0/24"] == observer.cidrs("n5")


class TestDefaultClusterCIDR:
    async def test_it_is_made_once(self, kube: Kube, observer: Observer, replicas: Replicas) -> None:
        """Flags make default-cluster-cidr, without Service ranges; once there, it is never changed."""
        services = "--service-cluster-ip-range=10.96.0.0/23,fd00::/120"
        first = replicas.start(
            "first",
            LOCK,
            "--cluster-cidr=fd00::/108,10.96.0.0/12",
            "--node-cidr-mask-size-ipv6=120",
            services,
        )
        held = await join(kube, observer, "n1")
        spec = {"perNodeHostBits": 8, "ipv4": "10.96.0.0/12", "ipv6": "fd00::/108"}
        assert spec == (await kube.get(f"{CLUSTER_CIDRS}/default-cluster-cidr"))["spec"]
        assert [["10.96.2.0/24", "fd00::100/120"]] == held
        assert 0 == await asyncio.to_thread(first.stop)
        second = replicas.start("second", LOCK, "--cluster-cidr=10.0.0.0/16")
        await second.logs("the default ClusterCIDR exists already and differs from the flags")
        assert [["10.96.3.0/24", "fd00::200/120"]] == await join(kube, observer, "n2")
        assert spec == (await kube.get(f"{CLUSTER_CIDRS}/default-cluster-cidr"))["spec"]


class TestProbesAndMetrics:
    async def test_they_tell_what_is(self, kube: Kube, observer: Observer, replicas: Replicas) -> None:
        """D-26, D-32: probes name their checks; a range has its five metrics as long as its pool exists."""
        replica = replicas.start("a", LOCK)
        await replica.ready()
        assert "ok" == await replica.get("/healthz")
        assert [
            "[+]fence ok",
            "[+]informer-clustercidrs.networking.x-k8s.io ok",
            "[+]informer-nodes ok",
            "[+]leader-election ok",
            "[+]running ok",
            "healthz check passed",
        ] == (await replica.get("/readyz?verbose")).splitlines()
        await kube.apply(EXAMPLES / "dual.yaml")
        await wait_reason(kube, "dual", "Allocating")
        assert [0.0, 0.0, 256.0, 0.0, 0.0] == await self._metrics(replica, "10.244.0.0/16")
        await join(kube, observer, "n1", "n2", "n3", "n4")
        await kube.delete(f"{NODES}/n4")
        await wait_metric(replica, "node_ipam_controller_multicidrset_cidrs_releases_total", 1.0)
        assert [4.0, 1.0, 256.0, 3 / 256, 4.0] == await self._metrics(replica, "10.244.0.0/16")
        assert [4.0, 1.0, 1024.0, 3 / 1024, 4.0] == await self._metrics(replica, "2001:db8::/110")
        text = await replica.get("/metrics")
        tries = "node_ipam_controller_multicidrset_allocation_tries_per_request_bucket"
        labels = 'clusterCIDR="10.244.0.0/16",clusterCIDRName="dual"'
        for bound in ("1.0", "5.0", "25.0", "125.0", "625.0", "+Inf"):
            assert f'{tries}{{{labels},le="{bound}"}} 4.0\n' in text
        assert 1.0 == await replica.metric("leader_election_master_status", name="node-ipam-controller")
        for name in ("n1", "n2", "n3"):
            await kube.delete(f"{NODES}/{name}")
        await kube.delete(f"{CLUSTER_CIDRS}/dual")
        await wait_metric(replica, "node_ipam_controller_multicidrset_max_cidrs", None)
        assert "dual" not in await replica.get("/metrics")

    async def _metrics(self, replica: Replica, inside: str) -> list[float | None]:
        names = (
            "cidrs_allocations_total",
            "cidrs_releases_total",
            "max_cidrs",
            "usage_cidrs",
            "allocation_tries_per_request_count",
        )
        labels: dict[str, Any] = {"clusterCIDR": inside, "clusterCIDRName": "dual"}
        return [await replica.metric(f"node_ipam_controller_multicidrset_{name}", **labels) for name in names]


async def wait_metric(replica: Replica, name: str, value: float | None, *, within: float = 10.0) -> None:
    """Wait until a metric has a value (None: until it is gone); /metrics is rendered once a second."""
    async with asyncio.timeout(within):
        while await replica.metric(name) != value:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.1)
