from __future__ import annotations

from typing import Any

import pytest

from nodeipam.cli.demo.observer import Observer, Request, Violation

FOUR, SIX = "10.0.0.0/24", "fd00::/120"
OTHER = ("10.0.1.0/24", "fd00::100/120")
LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"


def node(name: str, *cidrs: str) -> dict[str, Any]:
    """A Node as a watch shows it."""
    return {"metadata": {"name": name, "uid": f"uid-{name}"}, "spec": {"podCIDRs": list(cidrs)}}


def pool(name: str = "pool", ipv4: str = "10.0.0.0/22", ipv6: str = "fd00::/118") -> dict[str, Any]:
    """A ClusterCIDR with four blocks."""
    return {"metadata": {"name": name}, "spec": {"ipv4": ipv4, "ipv6": ipv6, "perNodeHostBits": 8}}


def lease(holder: str) -> dict[str, Any]:
    """The Lease."""
    return {"metadata": {"name": "lock"}, "spec": {"holderIdentity": holder}}


def held(holder: str) -> Request:
    """A write of the Lease that was carried out."""
    body = f'{{"spec":{{"holderIdentity":"{holder}"}}}}'.encode()
    return Request("whoever", "PUT", f"{LEASE}/lock", body, 200)


def wrote(who: str, status: int = 200, method: str = "PATCH") -> Request:
    """A request to a Node."""
    return Request(who, method, "/api/v1/nodes/a", b"{}", status)


@pytest.fixture
def observer() -> Observer:
    """An observer who has seen a pool, and the Node a with the first block."""
    observer = Observer()
    observer.see_pool("ADDED", pool(), 0.0)
    observer.see_node("ADDED", node("a"), 1.0)
    observer.see_node("MODIFIED", node("a", FOUR, SIX), 1.5)
    return observer


class TestRanges:
    @pytest.mark.parametrize("ipv4", [FOUR, "10.0.0.128/25", "10.0.0.0/16", "10.0.0.255/32", "8.0.0.0/6"])
    def test_overlap(self, observer: Observer, ipv4: str) -> None:
        """A range that shares one address with another Node's is a violation, whatever its size."""
        observer.see_node("ADDED", node("b", ipv4, OTHER[1]), 2.0)

        text = f"b got {ipv4}, {OTHER[1]} though a has {FOUR}, {SIX}"
        assert [Violation("shared", text)] == observer.violations

    @pytest.mark.parametrize("third", [0, 1, 2, 3])
    def test_overlap_among_many(self, observer: Observer, third: int) -> None:
        """It is seen with whichever Node it is, in whatever order they came."""
        for index in (3, 1, 2):
            cidrs = f"10.0.{index}.0/24", f"fd00::{index}00/120"
            observer.see_node("ADDED", node(f"n{index}", *cidrs), 2.0)
        observer.see_node("ADDED", node("b", f"10.0.{third}.0/24", "fd00::400/120"), 3.0)

        assert ["shared"] == [violation.rule for violation in observer.violations]

    def test_overlap_of_ipv6(self, observer: Observer) -> None:
        """So it is in the other family."""
        observer.see_node("ADDED", node("b", OTHER[0], SIX), 2.0)

        assert ["shared"] == [violation.rule for violation in observer.violations]

    @pytest.mark.parametrize("ipv4", ["10.0.1.0/24", "9.255.255.0/24"])
    def test_neighbours(self, observer: Observer, ipv4: str) -> None:
        """Ranges side by side are none."""
        observer.see_node("ADDED", node("b", ipv4, OTHER[1]), 2.0)

        assert [] == observer.violations

    def test_free_again(self, observer: Observer) -> None:
        """The ranges of a Node that has gone may be another's."""
        observer.see_node("DELETED", node("a", FOUR, SIX), 2.0)
        observer.see_node("ADDED", node("b", FOUR, SIX), 3.0)

        assert ([], 1) == (observer.violations, observer.left)

    @pytest.mark.parametrize("cidrs,shown", [(OTHER, ", ".join(OTHER)), ((), "none")])
    def test_change(self, observer: Observer, cidrs: tuple[str, ...], shown: str) -> None:
        """Ranges that become others, or vanish, are a violation."""
        observer.see_node("MODIFIED", node("a", *cidrs), 2.0)

        text = f"the ranges of a changed from {FOUR}, {SIX} to {shown}"
        assert [Violation("changed", text)] == observer.violations


class TestWriters:
    def test_holder(self, observer: Observer) -> None:
        """Who holds the Lease may write, under the name before its random part; the next one after it."""
        observer.audit([held("alpha_1"), wrote("alpha"), held("beta_2"), wrote("beta")])

        assert ([], ["alpha", "beta"]) == (observer.violations, list(observer.writers))

    def test_second_writer(self, observer: Observer) -> None:
        """A write by who doesn't hold the Lease any more is a violation, between two audits too."""
        observer.audit([held("alpha_1"), wrote("alpha"), held("beta_2")])
        observer.audit([wrote("alpha")])

        assert [Violation("writers", "alpha wrote to a while beta held the Lease")] == observer.violations

    def test_released(self, observer: Observer) -> None:
        """Nobody may write while nobody holds it."""
        observer.audit([held("alpha_1"), held(""), wrote("alpha")])

        assert [Violation("writers", "alpha wrote to a while nobody held the Lease")] == observer.violations

    @pytest.mark.parametrize("request_", [wrote("beta", status=409), wrote("beta", method="GET")])
    def test_harmless(self, observer: Observer, request_: Request) -> None:
        """What was refused, and what only reads, is no write."""
        observer.audit([held("alpha_1"), request_])

        assert ([], {}) == (observer.violations, observer.writers)


class TestEnd:
    def test_all_is_well(self, observer: Observer) -> None:
        """A Node with a block of a pool in each family is as it should be."""
        observer.close()

        assert [] == observer.violations

    @pytest.mark.parametrize(
        "cidrs,text",
        [
            ((), "b never got its ranges"),
            (("10.0.1.0/24",), "b has 10.0.1.0/24, not one IPv4 and one IPv6 range"),
            (("11.0.0.0/24", OTHER[1]), f"b has 11.0.0.0/24, {OTHER[1]}, no block of any pool"),
            (("10.0.1.0/25", OTHER[1]), f"b has 10.0.1.0/25, {OTHER[1]}, no block of any pool"),
        ],
    )
    def test_unserved(self, observer: Observer, cidrs: tuple[str, ...], text: str) -> None:
        """A Node without ranges, or with others than a pool's blocks, is a violation at the end."""
        observer.see_node("ADDED", node("b", *cidrs), 2.0)
        assert [] == observer.violations
        observer.close()

        assert [Violation("unserved", text)] == observer.violations

    def test_lost(self, observer: Observer) -> None:
        """An observer who lost sight can't say that all was well."""
        observer.lose("it went dark")

        assert [Violation("seen", "it went dark")] == observer.violations


class TestFigures:
    @pytest.mark.parametrize("status,ready", [("True", True), ("False", False)])
    def test_ready(self, observer: Observer, status: str, ready: bool) -> None:  # noqa: FBT001 - a parameter
        """A pool is ready when its condition says so."""
        condition = {"type": "Ready", "status": status}
        observer.see_pool("MODIFIED", {**pool(), "status": {"conditions": [condition]}}, 2.0)

        assert ready is observer.pools["pool"].ready

    def test_use_of_pools(self, observer: Observer) -> None:
        """A pool's use is what Nodes have of it; Nodes seen before the pool count too."""
        observer.see_node("ADDED", node("b", "10.9.0.0/24", "fd09::/120"), 2.0)
        observer.see_pool("ADDED", pool("late", "10.9.0.0/22", "fd09::/118"), 3.0)
        observer.see_node("DELETED", node("a"), 4.0)

        used = [(pool.name, pool.used, pool.blocks) for pool in observer.pools.values()]
        assert [("pool", 0, 4), ("late", 1, 4)] == used

    def test_served_at_once(self, observer: Observer) -> None:
        """A Node's latency is from when it was first seen to when its ranges were."""
        assert ([0.5], [], []) == (observer.latencies, observer.waited_pool, observer.waited_leader)

    def test_waited(self, observer: Observer) -> None:
        """Nodes older than the newest pool, or than the leader's term, have waited for it."""
        observer.see_node("ADDED", node("b"), 2.0)
        observer.see_pool("ADDED", pool("late"), 3.0)
        observer.see_node("MODIFIED", node("b", *OTHER), 4.0)
        observer.see_node("ADDED", node("c"), 5.0)
        observer.see_lease("MODIFIED", lease("beta_1"), 6.0)
        observer.see_node("MODIFIED", node("c", "10.0.2.0/24", "fd00::200/120"), 9.0)

        assert ([0.5], [2.0], [4.0]) == (observer.latencies, observer.waited_pool, observer.waited_leader)
        assert "beta_1" == observer.leader
