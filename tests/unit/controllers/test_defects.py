"""The known defects of kubernetes-sigs/node-ipam-controller, one test a row: what we do instead.

The numbers are the project's own, and are those of the page on migration. Each is a story told to the real
controller; where the defect is one of cost, requests and steps are counted, never seconds of a real clock.
"""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from types import FrameType
from typing import Any

import pytest

from nodeipam.api.cidr import parse_cidr
from nodeipam.ipam.index import PrefixIndex
from nodeipam.ipam.pool import Choice, Pool

from .world import FINALIZER, LEASE, POOLS, World, asks, body_of, node, pool, story

A, B, C, D = "10.0.0.0/28", "10.0.0.16/28", "10.0.0.32/28", "10.0.0.48/28"
WAIT = ["example.com/wait"]
PREFIX = "node_ipam_controller_multicidrset"


async def begin(w: World, *pools: dict[str, Any], name: str = "a") -> None:
    """Start a leader and let it make ready to serve from these pools."""
    w.add(*pools)
    w.start(name)
    await w.until(lambda: all(w.ready(p["metadata"]["name"])[0] == "True" for p in pools))


async def restart(w: World, name: str) -> None:
    """Stop the replica that runs, and let another take its place."""
    await w.replicas[-1].stop()
    w.start(name)
    await w.until(lambda: w.held_by() != "")
    await w.rest(1)


def used(w: World, cidr: str, name: str = "p") -> float | None:
    """The share of a pool's range that is in use, as its metric says."""
    return w.replicas[-1].metric(f"{PREFIX}_usage_cidrs", clusterCIDR=cidr, clusterCIDRName=name)


@story
async def test_d01_a_pool_without_the_family_of_a_node(w: World) -> None:
    """D-01: a Node with a range of a family that its pool lacks is protected, and told once in an event."""
    w.add(pool("p", "10.0.0.0/26", bits=4), node("six", "fd00::/124"), node("n"))
    w.start()
    await w.until(lambda: w.cidrs("n") == [A])
    await w.rest(60)
    assert [("Warning", "CIDROutOfRange")] == [(kind, reason) for kind, reason, _ in w.events("six")]
    w.add(pool("q", ipv6="fd00::/120", bits=4, match={"v": "6"}), node("m", labels={"v": "6"}))
    await w.until(lambda: w.cidrs("m") == ["fd00::10/124"])


@story
async def test_d02_a_new_pool_sees_what_nodes_hold(w: World) -> None:
    """D-02: what a Node holds inside a pool that comes later isn't given out from it."""
    w.add(node("old", A))
    w.start()
    w.add(node("n"))
    await w.rest()
    w.add(pool("p", "10.0.0.0/26", bits=4))
    await w.until(lambda: w.cidrs("n") == [B])


@story
async def test_d03_labels_decide_nothing_about_occupancy(w: World) -> None:
    """D-03: a Node that matches no pool any more keeps its addresses over a restart."""
    await begin(w, pool("p", "10.0.0.0/27", bits=4, match={"role": "worker"}))
    w.add(node("n", labels={"role": "worker"}))
    await w.until(lambda: w.cidrs("n") == [A])
    w.server.patch("nodes", "n", {"metadata": {"labels": {"role": "other"}}})
    await restart(w, "b")
    w.add(node("m", labels={"role": "worker"}), node("k", labels={"role": "worker"}))
    await w.until(lambda: w.cidrs("m") == [B])
    await w.rest()
    assert [] == w.cidrs("k")


@story
async def test_d04_no_block_leaks_when_one_family_is_full(w: World) -> None:
    """D-04: a Node that gets no IPv6 block takes no IPv4 block either, however often it is tried."""
    await begin(w, pool("p", "10.0.0.0/26", "fd00::/124", bits=4))
    w.add(node("n"))
    await w.until(lambda: w.cidrs("n") == [A, "fd00::/124"])
    w.add(*[node(f"m{i}") for i in range(3)])
    await w.rest(60)
    assert 0.25 == used(w, "10.0.0.0/26")
    w.server.delete("nodes", "n")
    await w.until(lambda: len(w.assigned()) == 1)
    assert 0.25 == used(w, "10.0.0.0/26")


@story
async def test_d05_a_node_that_fits_one_family_takes_no_part_of_a_pool(w: World) -> None:
    """D-05: a failed attempt at one pool leaves nothing in use that the next pool then has to skip."""
    both = pool("both", "10.0.0.0/26", "fd00::/124", bits=4)
    await begin(w, both, pool("four", "10.0.0.0/25", bits=4), pool("none", "10.9.0.0/28", bits=4))
    w.add(node("a"), node("b"))
    await w.until(lambda: len(w.assigned()) == 2)
    w.add(node("c"))
    await w.until(lambda: w.cidrs("c") == [B])


@story
async def test_d06_a_terminating_catch_all_gives_out_nothing(w: World) -> None:
    """D-06: from a pool that is being deleted no Node gets a block, and people are told so."""
    await begin(w, pool("p", "10.0.0.0/26", bits=4))
    w.add(node("n"))
    await w.until(lambda: w.cidrs("n") == [A])
    w.server.delete(POOLS, "p")
    w.add(node("m"))
    await w.rest(60)
    assert [] == w.cidrs("m")
    assert ["CIDRNotAvailable"] == [reason for _, reason, _ in w.events("m")]


@story
async def test_d07_a_restart_forgets_no_user_of_a_terminating_pool(w: World) -> None:
    """D-07: a pool that is being deleted keeps its finalizer over a restart until its last Node has gone."""
    await begin(w, pool("p", "10.0.0.0/26", bits=4))
    w.add(node("n"))
    await w.until(lambda: w.cidrs("n") == [A])
    w.server.delete(POOLS, "p")
    await restart(w, "b")
    await w.rest(60)
    assert [FINALIZER] == w.pools()["p"]["metadata"]["finalizers"]
    w.add(pool("q", "10.0.0.0/26", bits=5), node("m"))
    await w.until(lambda: w.cidrs("m") == ["10.0.0.32/27"])
    w.server.delete("nodes", "n")
    await w.until(lambda: "p" not in w.pools())


@story
async def test_d08_a_terminating_node_keeps_its_addresses(w: World) -> None:
    """D-08: a range is free when the Node object is gone, not when its deletion begins."""
    await begin(w, pool("p", A, bits=4))
    w.add(node("n", finalizers=WAIT))
    await w.until(lambda: w.cidrs("n") == [A])
    w.server.delete("nodes", "n")
    w.add(node("m"))
    await w.rest(60)
    assert [] == w.cidrs("m")
    w.server.patch("nodes", "n", {"metadata": {"finalizers": None}})
    await w.until(lambda: w.cidrs("m") == [A])


@story
async def test_d09_a_node_in_two_pools_is_released_from_both(w: World) -> None:
    """D-09: what one Node holds is one holding, whichever pools it lies in."""
    await begin(w, pool("p", "10.0.0.0/27", bits=4), pool("q", "10.0.0.0/26", bits=4))
    w.add(node("n"))
    await w.until(lambda: w.cidrs("n") == [A])
    assert (0.5, 0.25) == (used(w, "10.0.0.0/27"), used(w, "10.0.0.0/26", "q"))
    w.server.delete("nodes", "n")
    await w.rest(0.1)
    assert (0, 0) == (used(w, "10.0.0.0/27"), used(w, "10.0.0.0/26", "q"))


@story
async def test_d10_a_relabelled_node_is_released(w: World) -> None:
    """D-10: when a Node goes that has left its pool's selector, its block is free for the next."""
    await begin(w, pool("p", A, bits=4, match={"role": "worker"}), pool("q", "10.1.0.0/24", bits=4))
    w.add(node("n", labels={"role": "worker"}))
    await w.until(lambda: w.cidrs("n") == [A])
    w.server.patch("nodes", "n", {"metadata": {"labels": {"role": "other"}}})
    await w.rest(1)
    w.server.delete("nodes", "n")
    w.add(node("m", labels={"role": "worker"}))
    await w.until(lambda: w.cidrs("m") == [A])


@story
async def test_d11_the_reservation_of_a_vanished_node_goes_with_it(w: World) -> None:
    """D-11: a Node that is deleted while its PATCH is tried again leaves nothing reserved."""
    await begin(w, pool("p", A, bits=4))
    w.fail(asks("PATCH", "nodes", "n"), "error_before", 503, times=None)
    w.add(node("n"))
    await w.rest(1)
    w.server.delete("nodes", "n")
    w.add(node("m"))
    await w.until(lambda: w.cidrs("m") == [A], seconds=1)


@story
async def test_d12_what_is_released_isnt_occupied_again(w: World) -> None:
    """D-12: an answer that comes after the Node has gone brings nothing back."""
    await begin(w, pool("p", A, bits=4))
    w.server.watch_lag = 0.2
    w.server.latency = 2.0
    w.add(node("n"))
    await w.rest(1.5)  # the PATCH has been carried out, and is answered in 0.7 s
    assert [A] == w.cidrs("n")
    w.server.delete("nodes", "n")
    w.add(node("m"))
    await w.until(lambda: w.cidrs("m") == [A])
    w.server.delete("nodes", "m")
    await w.rest(5)
    assert 0 == used(w, A)


@pytest.mark.parametrize("action, status", [("error_after", 504), ("drop_after", 0), ("hang_after", 0)])
@story
async def test_d13_a_failed_patch_may_have_landed(w: World, action: Any, status: int) -> None:
    """D-13: after a lost answer the block stays reserved, though the watch lags 1.5 s."""
    await begin(w, pool("p", A, bits=4))
    w.server.watch_lag = 1.5
    w.fail(asks("PATCH", "nodes", "n"), action, status)
    w.add(node("n"))
    await w.rest(0.001)
    w.add(node("m"))
    await w.rest(60)
    assert ([A], []) == (w.cidrs("n"), w.cidrs("m"))
    assert [] == w.requests(asks("PATCH", "nodes", "m"))


@story
async def test_d14_addresses_are_compared_as_numbers(w: World) -> None:
    """D-14: of two pools that are equal otherwise, 9.0.0.0 comes before 10.0.0.0."""
    await begin(w, pool("ten", "10.0.0.0/24", bits=4), pool("nine", "9.0.0.0/24", bits=4))
    w.add(node("n"))
    await w.until(lambda: w.cidrs("n") == ["9.0.0.0/28"])


@story
async def test_d15_pools_are_compared_by_host_bits(w: World) -> None:
    """D-15: 6 host bits of IPv4 (a /26) come before 8 of IPv6 (a /120)."""
    await begin(w, pool("six", ipv6="fd00::/116", bits=8), pool("four", "10.0.0.0/22", bits=6))
    w.add(node("n"))
    await w.until(lambda: w.cidrs("n") == ["10.0.0.0/26"])


def _in(key: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": list(values)}


@pytest.mark.parametrize(
    "terms, labels, served",
    [
        ([{"matchExpressions": [_in("a", "1")]}, {"matchExpressions": [_in("b", "1")]}], {"b": "1"}, True),
        ([{"matchExpressions": [_in("a", "1"), _in("b", "1")]}], {"b": "1"}, False),
        ([{"matchFields": [_in("metadata.name", "n")]}], {}, True),
        ([{"matchFields": [_in("metadata.name", "m")]}], {"metadata.name": "m"}, False),
        ([{}], {}, False),
        ([], {}, True),
    ],
)
@story
async def test_d16_selectors_mean_what_kubernetes_says(
    w: World,
    terms: Any,
    labels: dict[str, str],
    served: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """D-16: terms are ORed, metadata.name is a field, [{}] selects no Node, and [] all, before catch-alls."""
    await begin(w, pool("chosen", "10.0.0.0/24", bits=4, terms=terms), pool("rest", "10.9.0.0/28", bits=4))
    w.add(node("n", labels=labels))
    await w.until(lambda: w.cidrs("n") == ([A] if served else ["10.9.0.0/28"]))


@story
async def test_d16_the_best_term_counts(w: World) -> None:
    """D-16: a pool is as good a match as the best of its terms, not as all of them together."""
    one = [{"matchExpressions": [_in("a", "1")]}, {"matchExpressions": [_in("b", "1")]}]
    two = [{"matchExpressions": [_in("a", "1"), _in("b", "1"), _in("c", "1")]}]
    worse = pool("one", "10.9.0.0/28", bits=4, terms=[*one, *one])
    await begin(w, worse, pool("two", "10.0.0.0/24", bits=4, terms=two))
    w.add(node("n", labels={"a": "1", "b": "1", "c": "1"}))
    await w.until(lambda: w.cidrs("n") == [A])


@story
async def test_d18_a_wide_node_frees_only_its_own(w: World) -> None:
    """D-18: deleting a Node with a range of four blocks frees none that another Node holds."""
    w.add(node("wide", "10.0.0.0/26"), node("n", B))
    w.brought.add(("n", "wide"))
    await begin(w, pool("p", "10.0.0.0/26", bits=4))
    w.server.delete("nodes", "wide")
    w.add(*[node(f"m{i}") for i in range(4)])
    await w.until(lambda: len(w.assigned()) == 4)
    await w.rest()
    assert [B] == w.cidrs("n")


@pytest.mark.parametrize("bits", [-1, 33, 2**31, "8", None])
@story
async def test_d20_impossible_host_bits_are_refused(w: World, bits: Any) -> None:
    """D-20: a stored ClusterCIDR that can't work is Invalid, and nothing is ever written from it."""
    w.add(pool("p", "10.0.0.0/24", bits=bits))
    w.start()
    w.add(node("n"))
    await w.until(lambda: w.ready("p") == ("False", "Invalid"))
    await w.rest(30)
    assert [] == w.requests(asks("PATCH", "nodes"))
    assert ["InvalidClusterCIDR"] == [reason for _, reason, _ in w.events("p")]


@story
async def test_d20_few_host_bits_are_served_with_a_warning(w: World) -> None:
    """D-20: stored ClusterCIDRs of 0 to 3 host bits work as before, and a condition says what they mean."""
    await begin(w, pool("p", "10.0.0.0/30", bits=0))
    w.add(node("n"))
    await w.until(lambda: w.cidrs("n") == ["10.0.0.0/32"])
    conditions = {c["type"]: c["status"] for c in w.pools()["p"]["status"]["conditions"]}
    assert {"Ready": "True", "Warning": "True"} == conditions


@story
async def test_d21_any_number_of_blocks(w: World) -> None:
    """D-21: fd00::/8 in blocks of /124 is 2^116 blocks, and as good as any pool."""
    await begin(w, pool("p", ipv6="fd00::/8", bits=4))
    w.add(node("old", "fd00::/124"), node("n"))
    await w.until(lambda: w.cidrs("n") == ["fd00::10/124"])
    blocks = w.replicas[0].metric(f"{PREFIX}_max_cidrs", clusterCIDR="fd00::/8", clusterCIDRName="p")
    assert 2.0**116 == blocks


@story
async def test_d22_events_warn_and_name_the_cause(w: World) -> None:
    """D-22: a Node that gets nothing has one Warning that names what is full, however often it is tried."""
    await begin(w, pool("p", A, bits=4))
    w.add(node("n"))
    await w.until(lambda: w.cidrs("n") == [A])
    w.add(node("m"))
    for change in range(10):
        await w.rest(30)
        w.server.patch("nodes", "m", {"metadata": {"labels": {"change": str(change)}}})
    [(kind, reason, note)] = w.events("m")
    assert ("Warning", "CIDRNotAvailable") == (kind, reason)
    assert "p (10.0.0.0/28) is full" in note
    assert "series" not in w.server.objects("events.events.k8s.io")[0]


@story
async def test_d23_catch_alls_are_sorted(w: World) -> None:
    """D-23: of pools without a selector the smaller one comes first, whichever was created first."""
    await begin(w, pool("a-large", "10.1.0.0/16", bits=4), pool("z-small", "10.0.0.0/24", bits=4))
    w.add(node("n"))
    await w.until(lambda: w.cidrs("n") == [A])


def _steps_of_an_allocation(held: int) -> int:
    """Lines of nodeipam.ipam that are run to find and record a block where so many are held already."""
    index: PrefixIndex[str] = PrefixIndex(4)
    found = Pool(
        uid="u", name="p", ranges=(parse_cidr("10.0.0.0/8"),), host_bits=8, catch_all=True, selector_text=""
    )
    for i in random.Random(held).sample(range(held), held):
        index.add(parse_cidr(f"10.{i >> 8}.{i & 255}.0/24"), f"n{i}")
    steps = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal steps
        if "/nodeipam/ipam/" not in frame.f_code.co_filename:
            return None
        steps += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        choice = found.choose({4: index})
        assert isinstance(choice, Choice)
        index.add(choice.prefixes[0], "new")
    finally:
        sys.settrace(before)
    return steps


def test_d24_an_allocation_costs_what_it_costs() -> None:
    """D-24: among 20,000 blocks in use, finding the next takes few more steps than among 200."""
    few, many = _steps_of_an_allocation(200), _steps_of_an_allocation(20_000)
    assert many < 3 * few


@story
async def test_d25_a_pool_is_its_uid(w: World) -> None:
    """D-25: a pool that went without its finalizer is gone, and one of its name has its own range."""
    await begin(w, pool("p", "10.0.0.0/26", bits=4))
    w.add(node("n"))
    await w.until(lambda: w.cidrs("n") == [A])
    w.server.delete(POOLS, "p")
    w.server.patch(POOLS, "p", {"metadata": {"finalizers": None}})
    w.add(node("m"))
    await w.rest(10)
    assert [] == w.cidrs("m")
    w.add(pool("p", "10.7.0.0/26", bits=4))
    await w.until(lambda: w.cidrs("m") == ["10.7.0.0/28"])


@story
async def test_d26_series_live_and_die_with_the_pool(w: World) -> None:
    """D-26: usage is there before the first Node, and all series of a pool go with it."""
    await begin(w, pool("p", "10.0.0.0/26", bits=4))
    assert 0 == used(w, "10.0.0.0/26")
    w.add(node("n"))
    await w.until(lambda: w.cidrs("n") == [A])
    assert 0.25 == used(w, "10.0.0.0/26")
    w.server.delete("nodes", "n")
    w.server.delete(POOLS, "p")
    await w.until(lambda: not w.pools())
    await w.rest(0.1)
    names = {labels.get("clusterCIDRName") for _, labels, _ in w.replicas[0].samples()}
    assert "p" not in names


@story
async def test_d27_the_last_node_wakes_its_terminating_pool(w: World) -> None:
    """D-27: a pool that is being deleted goes with its last Node, at once."""
    await begin(w, pool("p", "10.0.0.0/26", bits=4))
    w.add(node("n"), node("m"))
    await w.until(lambda: len(w.assigned()) == 2)
    w.server.delete(POOLS, "p")
    await w.rest(300)
    w.server.delete("nodes", "n")
    await w.rest(1)
    assert "p" in w.pools()
    w.server.delete("nodes", "m")
    await w.until(lambda: "p" not in w.pools(), seconds=0.1)


@story
async def test_d28_patches_go_out_in_parallel(w: World) -> None:
    """D-28: sixteen PATCHes are in flight at a time, and nothing but the answers holds the next ones up."""
    await begin(w, pool("p", "10.0.0.0/16", bits=4))
    w.server.latency = 1.0
    w.add(*[node(f"n{i}") for i in range(64)])
    await w.until(lambda: len(w.assigned()) == 64)
    times = [line.time for line in w.requests(asks("PATCH", "nodes"))]
    assert [16] * 4 == [times.count(time) for time in sorted(set(times))]


@story
async def test_d29_nothing_is_done_at_rest(w: World) -> None:
    """D-29, I6: in ten minutes at rest there is the Lease, the watches, and no reconcile."""
    await begin(w, pool("p", "10.0.0.0/16", bits=4))
    w.add(*[node(f"n{i}") for i in range(40)], node("odd", "192.168.0.0/24"))
    await w.until(lambda: len(w.assigned()) == 41)
    await w.rest(60)

    def reconciles() -> float:
        samples = w.replicas[0].samples()
        return sum(value for name, _, value in samples if name == "controller_runtime_reconcile_total")

    since, before = len(w.server.log), reconciles()
    await w.rest(600)
    others = [
        line.call.path
        for line in w.server.log[since:]
        if "/leases" not in line.call.path and ("watch", "1") not in line.call.query
    ]
    assert ([], before) == (others, reconciles())


@story
async def test_d30_the_lease_is_released_after_the_last_write(w: World) -> None:
    """D-30: while a PATCH is in flight the lease is held, and what it did is seen by whoever takes over."""
    await begin(w, pool("p", A, bits=4))
    w.fail(asks("PATCH", "nodes", "n"), "delay", delay=3)
    w.add(node("n"))
    await w.rest(1)
    w.start("b")
    w.add(node("m"))
    await w.replicas[0].stop()
    log = w.server.log
    release = max(i for i, line in enumerate(log) if line.identity == "a" and "/leases" in line.call.path)
    patched = next(i for i, line in enumerate(log) if asks("PATCH", "nodes", "n")(line.call))
    assert patched < release
    await w.until(lambda: bool(w.held_by()))
    await w.rest()
    assert ([A], []) == (w.cidrs("n"), w.cidrs("m"))


@story
async def test_d30_a_new_leader_reads_before_it_writes(w: World) -> None:
    """D-30: a leader whose watch lags by 5 s sees all that was written before it won before it writes."""
    w.start("a")
    await w.rest(1)
    w.start("b")
    await w.rest(1)
    w.fail(asks("PATCH", "nodes", "early"), "error_before", 403, times=None, identity="a")
    w.add(pool("p", A, bits=4), node("early"))
    await w.rest(5)
    w.server.watch_lag = 5.0
    w.add(node("n"))
    await w.until(lambda: w.cidrs("n") == [A])  # and b won't hear of it in 5 s
    w.server.watch_lag = 0.0  # but it hears of the lease
    await w.replicas[0].stop()
    await w.rest(30)
    assert [] == w.cidrs("early")


@story
async def test_d31_one_leader_whatever_the_ids(w: World) -> None:
    """D-31: replicas that were given one id are told apart, and one of them leads."""
    election = replace(LEASE, id="same")
    for name in "abc":
        w.start(name, election=election)
    w.add(pool("p", "10.0.0.0/24", bits=4), *[node(f"n{i}") for i in range(9)])
    await w.until(lambda: len(w.assigned()) == 9)
    assert 3 == len({replica.manager.identity for replica in w.replicas})
    assert 1 == len({line.identity for line in w.requests(asks("PATCH", "nodes"))})


@story
async def test_d32_probes_check_something(w: World) -> None:
    """D-32: a replica that can't list ClusterCIDRs isn't ready, and says why; a standby is ready."""
    w.fail(asks("GET", "clustercidrs"), "error_before", 403, times=None, identity="b")
    w.start("a")
    w.start("b")
    await w.rest(1)
    assert "ok" == await w.replicas[0].ready(f"informer-{POOLS}")
    assert "Forbidden" in await w.replicas[1].ready(f"informer-{POOLS}")
    w.heal()
    await w.rest(60)
    assert (await w.replicas[1].manager.readiness.report()).healthy


@pytest.mark.parametrize("lock", ["leases", "endpoints", "configmaps"])
@story
async def test_d34_every_lock_works(w: World, lock: Any) -> None:
    """D-34: one of two replicas leads under each kind of lock, and the other takes over."""
    election = replace(LEASE, lock=lock)
    w.add(pool("p", "10.0.0.0/24", bits=4), node("n"))
    for name in "ab":
        w.start(name, election=election)
        await w.rest(0.1)
    await w.until(lambda: w.cidrs("n") == [A])
    await w.replicas[0].stop()
    w.add(node("m"))
    await w.until(lambda: w.cidrs("m") == [B])
    writes = [line for line in w.requests(asks("PATCH", "nodes")) if "spec" in body_of(line)]
    assert ["a", "b"] == [line.identity for line in writes]


@story
async def test_d40_events_about_pools_are_delivered(w: World) -> None:
    """D-40: what is wrong with a ClusterCIDR is told in an event about it, once, with the value."""
    w.add(pool("p", "10.0.0.0/33", bits=4))
    w.start()
    await w.rest(60)
    w.touch("p", POOLS)
    await w.rest(60)
    [(kind, reason, note)] = w.events("p")
    assert ("Warning", "InvalidClusterCIDR") == (kind, reason)
    assert "10.0.0.0/33" in note


@story
async def test_d41_pools_have_conditions(w: World) -> None:
    """D-41: Ready says whether a pool serves, for which generation, and is written once a change."""
    await begin(w, pool("p", "10.0.0.0/24", bits=4))
    w.add(node("n"))
    await w.until(lambda: w.cidrs("n") == [A])
    w.server.delete(POOLS, "p")
    await w.until(lambda: w.ready("p") == ("False", "Terminating"))
    await w.rest(60)
    [ready] = w.pools()["p"]["status"]["conditions"]
    assert w.pools()["p"]["metadata"]["generation"] == ready["observedGeneration"]
    assert "Node n" in ready["message"]
    assert 2 == len(w.requests(asks("PATCH", "clustercidrs", subresource="status")))


@story
async def test_d42_a_new_uid_is_a_new_node(w: World) -> None:
    """D-42: a Node that was deleted and created again between two lists has given its range back."""
    await begin(w, pool("p", A, bits=4))
    w.add(node("n"))
    await w.until(lambda: w.cidrs("n") == [A])
    w.fail(lambda call: ("watch", "1") in call.query and "/nodes" in call.path, "error_before", 503, times=2)
    w.server.break_watches()
    await w.rest(0.1)
    w.server.delete("nodes", "n")
    w.add(node("n"))
    w.server.compact()
    await w.until(lambda: w.cidrs("n") == [A])


@story
async def test_d44_no_second_block_before_the_cache_has_seen_the_first(w: World) -> None:
    """D-44: a Node that is looked at again before our own PATCH comes back gets no other block."""
    await begin(w, pool("p", "10.0.0.0/24", bits=4))
    w.server.watch_lag = 5.0
    w.fail(asks("PATCH", "nodes", "n"), "drop_after")
    w.add(node("n"))
    await w.rest(4)
    w.server.patch("nodes", "n", {"metadata": {"labels": {"look": "again"}}})
    await w.rest(20)
    offered = {tuple(body_of(line)["spec"]["podCIDRs"]) for line in w.requests(asks("PATCH", "nodes", "n"))}
    assert {(A,)} == offered
    labels = {"clusterCIDR": "10.0.0.0/24", "clusterCIDRName": "p"}
    assert 1 == w.replicas[0].metric(f"{PREFIX}_cidrs_allocations_total", **labels)


@story
async def test_d50_a_restart_goes_on_behind_the_highest_block(w: World) -> None:
    """D-50: a low block that was freed lately isn't given out again before the others, restart or not."""
    await begin(w, pool("p", "10.0.0.0/26", bits=4))
    w.add(node("a"), node("b"))
    await w.until(lambda: len(w.assigned()) == 2)
    w.server.delete("nodes", "a")
    await restart(w, "b")
    w.add(node("c"))
    await w.until(lambda: w.cidrs("c") == [C])
    w.add(node("d"))
    await w.until(lambda: w.cidrs("d") == [D])
    w.add(node("e"))
    await w.until(lambda: w.cidrs("e") == [A])


@story
async def test_d54_each_family_is_accounted_for(w: World) -> None:
    """D-54: the second range of a Node counts, though the first lies outside of every pool."""
    w.add(node("f", "192.168.0.0/28", "fd00::/124"))
    await begin(w, pool("p", "10.0.0.0/26", "fd00::/120", bits=4))
    w.add(node("n"))
    await w.until(lambda: w.cidrs("n") == [A, "fd00::10/124"])
