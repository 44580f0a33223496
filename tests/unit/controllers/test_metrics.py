"""The metrics of Node IPAM: their exact names, their labels, and how long a series lives."""

from __future__ import annotations

import platform

import pytest
from prometheus_client import generate_latest

import nodeipam
from nodeipam.controllers.waiting import Cause

from .world import POOLS, World, asks, node, pool, story

PREFIX = "node_ipam_controller_multicidrset"
LABELS = {"clusterCIDR": "10.0.0.0/26", "clusterCIDRName": "p"}


async def serve(w: World) -> None:
    """A pool of both families with four blocks, and two Nodes that have one each."""
    w.add(pool("p", "10.0.0.0/26", "fd00::/122", bits=4), node("a"))
    w.start()
    await w.until(lambda: bool(w.cidrs("a")))
    w.add(node("b"))
    await w.until(lambda: bool(w.cidrs("b")))


@story
async def test_names_and_labels_are_the_references(w: World) -> None:
    """The text that Prometheus reads has the names, types and labels that dashboards ask for."""
    await serve(w)
    text = generate_latest(w.replicas[0].client.metrics.registry).decode()
    labels = '{clusterCIDR="10.0.0.0/26",clusterCIDRName="p"}'
    assert f"# TYPE {PREFIX}_cidrs_allocations_total counter" in text
    assert f"{PREFIX}_cidrs_allocations_total{labels} 2.0" in text
    assert f"{PREFIX}_cidrs_releases_total{labels} 0.0" in text
    assert f"{PREFIX}_max_cidrs{labels} 4.0" in text
    assert f"{PREFIX}_usage_cidrs{labels} 0.5" in text
    tries = f'{PREFIX}_allocation_tries_per_request_bucket{{clusterCIDR="10.0.0.0/26"'
    buckets = [line for line in text.splitlines() if line.startswith(tries)]
    bounds = [line.partition('le="')[2].partition('"')[0] for line in buckets]
    assert ["1.0", "5.0", "25.0", "125.0", "625.0", "+Inf"] == bounds
    assert f"{PREFIX}_allocation_tries_per_request_count{labels} 2.0" in text


@story
async def test_each_range_is_a_series(w: World) -> None:
    """A dual-stack pool has one series a family."""
    await serve(w)
    six = {"clusterCIDR": "fd00::/122", "clusterCIDRName": "p"}
    assert 0.5 == w.replicas[0].metric(f"{PREFIX}_usage_cidrs", **six)


@story
async def test_usage_and_releases_follow_the_nodes(w: World) -> None:
    """A Node that goes lowers the usage and raises the releases; one that brings its range counts too."""
    await serve(w)
    w.server.delete("nodes", "a")
    w.add(node("c", "10.0.0.48/28"), node("d", "10.0.0.32/29"))
    await w.rest(0.1)
    replica = w.replicas[0]
    assert 1 == replica.metric(f"{PREFIX}_cidrs_releases_total", **LABELS)
    assert 0.625 == replica.metric(f"{PREFIX}_usage_cidrs", **LABELS)
    assert 2 == replica.metric(f"{PREFIX}_cidrs_allocations_total", **LABELS)


@story
async def test_series_end_with_the_pool(w: World) -> None:
    """D-26: and a new pool under the same name begins at zero."""
    await serve(w)
    for name in "ab":
        w.server.delete("nodes", name)
    w.server.delete(POOLS, "p")
    await w.until(lambda: not w.pools())
    await w.rest(0.1)
    assert w.replicas[0].metric(f"{PREFIX}_max_cidrs", **LABELS) is None
    w.add(pool("p", "10.0.0.0/26", bits=5))
    await w.rest(0.1)
    assert 2 == w.replicas[0].metric(f"{PREFIX}_max_cidrs", **LABELS)
    assert 0 == w.replicas[0].metric(f"{PREFIX}_cidrs_allocations_total", **LABELS)


@story
async def test_an_invalid_pool_has_no_series(w: World) -> None:
    """There is nothing to count, and nothing fails."""
    w.add(pool("p", "10.0.0.0/26", bits=-1))
    w.start()
    await w.rest(1)
    assert w.replicas[0].metric(f"{PREFIX}_max_cidrs", **LABELS) is None


@story
async def test_what_is_still_to_be_done(w: World) -> None:
    """Nodes that wait, that have a reserved block, and that are in conflict are counted."""
    w.fail(asks("PATCH", "nodes", "n"), "drop_before", times=None)
    w.add(pool("p", "10.0.0.0/28", bits=4), node("n"))
    replica = w.start()
    await w.rest(1)
    w.add(node("m"), node("f", "10.1.0.0/24"), node("g", "10.1.0.0/25"))
    w.brought.add(("f", "g"))
    await w.rest(1)
    counted = ("reserved", "conflicting", "set_aside")
    assert [1, 1, 0] == [replica.metric(f"node_ipam_controller_{name}_nodes") for name in counted]
    assert 1 == replica.metric("node_ipam_controller_waiting_nodes", cause="exhausted")


@story
async def test_why_nodes_wait(w: World) -> None:
    """Each cause has a series from the start, and a Node counts for one."""
    replica = w.start()
    await w.rest(1)

    def waiting() -> dict[str, float | None]:
        found = {cause: replica.metric("node_ipam_controller_waiting_nodes", cause=cause) for cause in Cause}
        return {cause: count for cause, count in found.items() if count != 0}

    assert {} == waiting()
    w.add(node("n"))
    await w.rest(1)
    assert {"no_match": 1} == waiting()
    w.add(pool("tiny", "10.3.0.0/28", bits=4))
    await w.rest(1)
    assert {} == waiting()
    w.add(node("m"))
    await w.rest(1)
    assert {"exhausted": 1} == waiting()


@story
async def test_blocks_that_are_left(w: World) -> None:
    """It counts the blocks to give out, and is 0 exactly when there is none, however broken up they are."""
    await serve(w)
    replica = w.replicas[0]
    free = f"{PREFIX}_free_cidrs"
    assert 2 == replica.metric(free, **LABELS)
    w.add(node("c", "10.0.0.40/29"))
    await w.rest(0.1)
    assert 1 == replica.metric(free, **LABELS)
    w.add(node("d", "10.0.0.56/29"))
    await w.rest(0.1)
    assert 0 == replica.metric(free, **LABELS)


@story
async def test_states_of_cluster_cidrs(w: World) -> None:
    """Each ClusterCIDR has one series, of the state that it is in."""
    await serve(w)
    w.add(pool("broken", "10.1.0.0/26", bits=-1), pool("other", "10.2.0.0/26", bits=4))
    await w.rest(0.1)
    w.server.delete(POOLS, "p")
    await w.rest(0.1)
    name = "node_ipam_controller_cluster_cidr_state"
    found = [labels for of, labels, _ in w.replicas[0].samples() if of == name]
    states = {labels["clusterCIDRName"]: labels["state"] for labels in found}
    assert {"broken": "Invalid", "other": "Allocating", "p": "Terminating"} == states


@story
async def test_a_standby_says_nothing_about_states(w: World) -> None:
    """What only a leader knows would be wrong on another replica."""
    await serve(w)
    standby = w.start("b")
    await w.rest(1)
    assert 4 == standby.metric(f"{PREFIX}_max_cidrs", **LABELS)
    assert "node_ipam_controller_cluster_cidr_state" not in {name for name, _, _ in standby.samples()}


@story
async def test_which_version_it_is(w: World) -> None:
    """One series says which nodeipam this is, and on which Python."""
    replica = w.start()
    labels = {"version": nodeipam.__version__, "python": platform.python_version()}
    assert 1 == replica.metric("node_ipam_controller_build_info", **labels)


@pytest.mark.parametrize("ranges", [("10.0.0.0/8", ""), ("", "fd00::/8")])
@story
async def test_any_size_is_a_number(w: World, ranges: tuple[str, str]) -> None:
    """Usage of 2^116 blocks is a float between 0 and 1."""
    w.add(pool("p", *ranges, bits=4), node("n"))
    replica = w.start()
    await w.until(lambda: bool(w.cidrs("n")))
    labels = {"clusterCIDR": "".join(ranges), "clusterCIDRName": "p"}
    used = replica.metric(f"{PREFIX}_usage_cidrs", **labels)
    assert used is not None
    assert 0 < used < 0.001
