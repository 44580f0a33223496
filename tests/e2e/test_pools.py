"""The life of ClusterCIDRs, and what is seen of it: added, filled, deleted; conditions, columns, events."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable

from tests.conftest import MANIFESTS
from tests.e2e.conftest import Replicas
from tests.e2e.controlplane import ControlPlane
from tests.e2e.kube import CLUSTER_CIDRS, EVENTS, NODES, Kube, requires
from tests.e2e.observer import Observer
from tests.e2e.shown import (
    Items,
    about,
    condition,
    join,
    kubectl_environment,
    notes,
    shell,
    wait_event,
    wait_gone,
    wait_reason,
    wait_shown,
)

EXAMPLES = MANIFESTS / "examples"
CLUSTER_CIDR_FINALIZER = "networking.x-k8s.io/cluster-cidr-finalizer"
LOCK = "--leader-elect-namespace=default"
AT_ONCE = 2.0  # seconds; whoever slept instead of being woken would be minutes late, or never come


async def columns(kube: Kube, plane: ControlPlane, line: str) -> list[list[str]]:
    """What a kubectl command prints, as columns, which two spaces or more keep apart."""
    printed = await shell(line, env=kubectl_environment(plane))
    return [re.split(r"\s{2,}", row.strip()) for row in printed.splitlines()]


class TestWaitingNodes:
    async def test_they_wake_at_once(self, kube: Kube, observer: Observer, replicas: Replicas) -> None:
        """What is waited for, a pool, a block or a label, is used at once, by the oldest Node first."""
        replicas.start("a", LOCK)
        for name in ("n1", "n2", "n3", "n4"):
            await kube.create_node(name)
            assert "there is no ClusterCIDR: create one" == await wait_event(kube, name, "CIDRNotAvailable")
        await kube.create_cluster_cidr("two", ipv4="10.1.0.0/27", host_bits=4)
        await observer.wait_assigned("n1", "n2", within=AT_ONCE)
        await kube.delete(f"{NODES}/n2")
        await observer.wait_assigned("n3", within=AT_ONCE)
        assert ["10.1.0.16/28"] == observer.cidrs("n3")
        await kube.create_cluster_cidr(
            "more", ipv4="10.2.0.0/28", host_bits=4, terms=[requires("a", "Exists")]
        )
        await wait_reason(kube, "more", "Allocating")
        assert [] == observer.cidrs("n4")
        await kube.patch(f"{NODES}/n4", {"metadata": {"labels": {"a": ""}}})
        await observer.wait_assigned("n4", within=AT_ONCE)
        assert ["10.2.0.0/28"] == observer.cidrs("n4")

    async def test_d04_all_families_or_none(self, kube: Kube, observer: Observer, replicas: Replicas) -> None:
        """D-04: a pool serves as many as it can in all families; the others take nothing from it."""
        replicas.start("a", LOCK)
        names = [f"n{number}" for number in range(40)]
        await asyncio.gather(*(kube.create_node(name) for name in names))
        await self._all_told(kube, names, "there is no ClusterCIDR: create one")
        await kube.create_cluster_cidr("dual", ipv4="10.1.0.0/20", ipv6="fd00::/117")
        await observer.wait_for(lambda seen: 8 == _families(seen)[2], what="8 Nodes with ranges")
        left = [name for name in names if not observer.cidrs(name)]
        await self._all_told(kube, left, "dual (10.1.0.0/20, fd00::/117) is full")
        # What is left of the IPv4 range is there to the last block, for a pool of IPv4 alone.
        await kube.create_cluster_cidr("four", ipv4="10.1.0.0/20")
        await observer.wait_for(lambda seen: 8 == _families(seen)[1], what="8 more")
        await kube.create_cluster_cidr("six", ipv6="fd01::/112")
        await observer.wait_assigned()
        assert {2: 8, 1: 32} == _families(observer)

    async def _all_told(self, kube: Kube, names: Iterable[str], why: str) -> None:
        def told(items: Items) -> bool:
            return all(
                any(why in event["note"] for event in about(items, name, "CIDRNotAvailable"))
                for name in names
            )

        await wait_shown(kube, EVENTS, told, what=f"each of these Nodes is told: {why}")


def _families(observer: Observer) -> Counter[int]:
    return Counter(len(node.pod_cidrs) for node in observer.nodes.values())


class TestDeletedPools:
    async def test_d27_it_goes_with_its_last_node(
        self, kube: Kube, observer: Observer, replicas: Replicas
    ) -> None:
        """D-06, D-27: a deleted pool serves nobody, says who uses it, and goes at once when nobody does."""
        replicas.start("a", LOCK)
        await kube.create_cluster_cidr("old", ipv4="10.1.0.0/16")
        await join(kube, observer, "n1", "n2")
        assert [CLUSTER_CIDR_FINALIZER] == (await kube.get(f"{CLUSTER_CIDRS}/old"))["metadata"]["finalizers"]
        await kube.delete(f"{CLUSTER_CIDRS}/old")
        told = await wait_reason(kube, "old", "Terminating")
        assert ("False", "no new blocks; it goes when no Node uses it any more, Node n1 for one") == (
            told["status"],
            told["message"],
        )
        await kube.create_node("n3")
        await wait_event(kube, "n3", "CIDRNotAvailable")
        await kube.create_cluster_cidr("new", ipv4="10.2.0.0/16")
        await observer.wait_assigned("n3", within=AT_ONCE)
        assert ["10.2.0.0/24"] == observer.cidrs("n3")
        await kube.delete(f"{NODES}/n1")
        assert "old" in {item["metadata"]["name"] for item in await kube.items(CLUSTER_CIDRS)}
        await kube.delete(f"{NODES}/n2")
        await wait_gone(kube, "old", within=AT_ONCE)

    async def test_one_that_nobody_uses_goes_at_once(
        self, kube: Kube, observer: Observer, replicas: Replicas
    ) -> None:
        """An unused pool goes at once, and one whose Nodes a pool of the same size covers that stays."""
        replicas.start("a", LOCK)
        await kube.create_cluster_cidr("unused", ipv4="10.1.0.0/16", terms=[requires("a", "Exists")])
        await kube.create_cluster_cidr("narrow", ipv4="10.2.0.0/24")
        await join(kube, observer, "n1")
        assert ["10.2.0.0/24"] == observer.cidrs("n1")
        for name in ("unused", "narrow"):
            await wait_reason(kube, name, "Allocating")
            await kube.delete(f"{CLUSTER_CIDRS}/{name}")
        await wait_gone(kube, "unused", within=AT_ONCE)
        await wait_reason(kube, "narrow", "Terminating")
        await kube.create_cluster_cidr("wide", ipv4="10.2.0.0/16")
        await wait_gone(kube, "narrow", within=AT_ONCE)
        assert [["10.2.1.0/24"]] == await join(kube, observer, "n2")

    async def test_d07_a_restart_forgets_no_user(
        self, kube: Kube, observer: Observer, replicas: Replicas
    ) -> None:
        """D-07: a process that starts while a pool is being deleted knows its users by their ranges."""
        await kube.create_cluster_cidr("old", ipv4="10.1.0.0/16", terms=[requires("pool", "In", "a")])
        first = replicas.start("first", LOCK)
        await join(kube, observer, "n1", pool="a")
        await kube.delete(f"{CLUSTER_CIDRS}/old")
        await wait_reason(kube, "old", "Terminating")
        assert 0 == await asyncio.to_thread(first.stop)
        await kube.patch(f"{NODES}/n1", {"metadata": {"labels": {"pool": None}}})
        await kube.create_cluster_cidr(
            "new", ipv4="10.1.0.0/16", host_bits=9, terms=[requires("pool", "In", "a")]
        )
        replicas.start("second", LOCK)
        assert [["10.1.2.0/23"]] == await join(kube, observer, "n2", pool="a")
        assert "old" in {item["metadata"]["name"] for item in await kube.items(CLUSTER_CIDRS)}
        await kube.delete(f"{NODES}/n1")
        await wait_gone(kube, "old", within=AT_ONCE)

    async def test_d25_the_name_is_not_the_pool(
        self, kube: Kube, observer: Observer, replicas: Replicas
    ) -> None:
        """D-25: a pool freed by hand serves nobody, and another under its name has a range of its own."""
        replicas.start("a", LOCK)
        await kube.create_cluster_cidr("pool", ipv4="10.1.0.0/16")
        await join(kube, observer, "n1")
        await kube.delete(f"{CLUSTER_CIDRS}/pool")
        await wait_reason(kube, "pool", "Terminating")
        await kube.patch(f"{CLUSTER_CIDRS}/pool", {"metadata": {"finalizers": None}})
        await wait_gone(kube, "pool")
        await kube.create_node("n2")
        assert "there is no ClusterCIDR: create one" == await wait_event(kube, "n2", "CIDRNotAvailable")
        await kube.create_cluster_cidr("pool", ipv4="10.2.0.0/16")
        await observer.wait_assigned("n2", within=AT_ONCE)
        assert ["10.2.0.0/24"] == observer.cidrs("n2")


class TestWhatPeopleSee:
    async def test_kubectl_get_clustercidrs(
        self, plane: ControlPlane, kube: Kube, observer: Observer, replicas: Replicas
    ) -> None:
        """D-41: kubectl shows whether a pool serves Nodes, and why; `-o wide` has the reason in full."""
        replicas.start("a", LOCK)
        await kube.apply(EXAMPLES / "dual.yaml")
        await kube.create_cluster_cidr("old", ipv4="10.1.0.0/16", terms=[requires("pool", "In", "old")])
        await join(kube, observer, "n1", pool="old")
        await kube.delete(f"{CLUSTER_CIDRS}/old")
        for name, reason in (("dual", "Allocating"), ("old", "Terminating")):
            await wait_reason(kube, name, reason)
        header, dual, old = await columns(kube, plane, "kubectl get clustercidrs -o wide")
        assert ["NAME", "READY", "REASON", "IPV4", "IPV6", "HOSTBITS", "AGE", "MESSAGE"] == header
        assert ["dual", "True", "Allocating", "10.244.0.0/16", "2001:db8::/110", "8"] == dual[:6]
        assert (
            "Nodes get 2^8 addresses each of 10.244.0.0/16, 2001:db8::/110, for up to 256 Nodes" == dual[-1]
        )
        assert ["old", "False", "Terminating", "10.1.0.0/16", "8"] == old[:5]
        assert "Node n1 for one" in old[-1]
        assert 1 == condition(await kube.get(f"{CLUSTER_CIDRS}/dual"))["observedGeneration"]
        await shell(
            "kubectl wait clustercidr/dual --for=condition=Ready --timeout=5s", env=kubectl_environment(plane)
        )

    async def test_kubectl_get_events(
        self, plane: ControlPlane, kube: Kube, observer: Observer, replicas: Replicas
    ) -> None:
        """D-22, D-40: one Warning a change, with its cause, however often the Node is looked at."""
        replicas.start("a", LOCK)
        await kube.create_node("n1")
        await wait_event(kube, "n1", "CIDRNotAvailable")
        await kube.create_cluster_cidr("small", ipv4="10.1.0.0/28", host_bits=4)
        await observer.wait_assigned("n1")
        await kube.create_node("n2")
        full = "no free block: small (10.1.0.0/28) is full; add a ClusterCIDR that matches this Node"
        assert full == await wait_event(kube, "n2", "CIDRNotAvailable")
        for number in range(3):
            await kube.patch(f"{NODES}/n2", {"metadata": {"labels": {"look": str(number)}}})
        await kube.create_node("n3")
        await wait_event(kube, "n3", "CIDRNotAvailable")
        assert [f"CIDRNotAvailable: {full}"] == await notes(kube, "n2")
        rows = await columns(kube, plane, "kubectl get events --field-selector reason=CIDRNotAvailable")
        assert ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"] == rows[0]
        assert sorted(
            [
                ["Warning", "CIDRNotAvailable", "node/n1", "there is no ClusterCIDR: create one"],
                ["Warning", "CIDRNotAvailable", "node/n2", full],
                ["Warning", "CIDRNotAvailable", "node/n3", full],
            ]
        ) == sorted(row[1:] for row in rows[1:])
