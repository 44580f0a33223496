"""Between winning and the first write: what each way of coming to lead asks for, and what it prevents.

"a" leads first as a rule, and "b" takes over. "x" is a Node that no pool matches: it never gets a range, so
the annotation on it shows whether, and in which epoch, a fence was put up.
"""

from __future__ import annotations

import pytest

from nodeipam.controllers.takeover import EPOCH
from nodeipam.runtime import Call
from nodeipam.testing import Requests

from .world import LEASE, LEASES, POOLS, Replica, World, asks, body_of, node, pool, story

BLOCK = "10.0.0.0/28"
WORKER = {"role": "worker"}


def worker(name: str, *cidrs: str) -> dict[str, object]:
    """A Node that the pool serves."""
    return node(name, *cidrs, labels=WORKER)


def marks(call: Call) -> bool:
    """Whether a request puts an epoch on a Node."""
    return asks("PATCH", "nodes")(call) and b"ipam-epoch" in (call.body or b"")


def gives(call: Call) -> bool:
    """Whether a request gives a Node its ranges."""
    return asks("PATCH", "nodes")(call) and b"podCIDRs" in (call.body or b"")


def epoch(w: World, name: str = "x") -> str:
    """The epoch on a Node, "" when there is none."""
    return str(w.server.get("nodes", name)["metadata"].get("annotations", {}).get(EPOCH, ""))


def now(w: World) -> float:
    """The time of the last request."""
    return w.server.log[-1].time


def drop_lease(w: World) -> None:
    """Delete the Lease, as somebody with too many rights might."""
    w.server.delete(LEASES, LEASE.name, namespace=LEASE.namespace)


async def lead(w: World, *, blocks: int = 1) -> Replica:
    """Let "a" lead and make ready to serve workers from 10.0.0.0/28, or from more such blocks."""
    w.add(pool("p", f"10.0.0.0/{29 - blocks.bit_length()}", bits=4, match=WORKER), node("x"))
    replica = w.start("a")
    await w.until(lambda: w.ready("p") == ("True", "Allocating"))
    return replica


# The table


@story
async def test_a_fresh_cluster_is_served_at_once(w: World) -> None:
    """Where no ClusterCIDR has our finalizer nobody has been at work: no waiting, no fence."""
    w.add(pool("p", BLOCK, bits=4), node("n"))
    w.start()
    await w.until(lambda: w.cidrs("n") == [BLOCK], seconds=0.5)
    assert [] == w.requests(marks)


@story
async def test_a_lease_that_expired_is_fenced_though_finalizers_are_gone(w: World) -> None:
    """Finalizers taken off while a write was under way say nothing where there is a lock."""
    first = await lead(w, blocks=2)
    w.fail(gives, "late", delay=40.0, identity="a")
    w.add(worker("n"))
    await w.rest(0.2)
    w.fail(asks("PATCH", "clustercidrs"), "drop_before", times=None, identity="a")
    w.server.patch(POOLS, "p", {"metadata": {"finalizers": None}})
    await first.crash()
    w.start("b")
    await w.until(lambda: bool(w.cidrs("n")), seconds=60)
    w.add(worker("m"))
    await w.until(lambda: bool(w.cidrs("m")))
    await w.rest(60)
    assert 2 == len(w.requests(marks))


@story
async def test_a_released_lease_is_taken_at_once(w: World) -> None:
    """A leader that left in good order has nothing in flight: its successor serves at once and unfenced."""
    first = await lead(w)
    w.start("b")
    await w.rest(1)
    await first.stop()
    w.add(worker("n"))
    await w.until(lambda: w.cidrs("n") == [BLOCK], seconds=0.5)
    assert [] == w.requests(marks)


@story
async def test_an_expired_lease_is_fenced(w: World) -> None:
    """After a crash every Node without ranges gets the epoch, terminating ones too, and others don't."""
    first = await lead(w, blocks=4)
    w.add(worker("n"))
    await w.until(lambda: w.cidrs("n") == [BLOCK])
    w.add(node("going", finalizers=["example.com/wait"]))
    w.server.delete("nodes", "going")
    second = w.start("b")
    await w.rest(1)
    await first.crash()
    w.add(worker("m"))
    await w.until(lambda: bool(w.cidrs("m")), seconds=30)
    assert f"1/{second.manager.identity}/1" == epoch(w)
    assert [epoch(w)] * 2 == [epoch(w, "going"), epoch(w, "m")]
    assert "" == epoch(w, "n")


@story
async def test_whoever_made_the_lease_waits_before_it_fences(w: World) -> None:
    """Where there are finalizers but no Lease, somebody may lead who doesn't know: 15 s, then the fence."""
    first = await lead(w)
    await first.stop()
    drop_lease(w)
    start = now(w)
    w.start("b")
    w.add(worker("n"))
    await w.rest(14.9)
    assert "" == epoch(w)
    assert [] == w.cidrs("n")
    await w.until(lambda: w.cidrs("n") == [BLOCK], seconds=5)
    assert "" != epoch(w)
    assert 15 <= next(line.time for line in w.requests(marks)) - start


@story
async def test_without_election_an_old_cluster_is_fenced_too(w: World) -> None:
    """A process that leads without an election can't know who wrote before."""
    first = await lead(w)
    await first.stop()
    w.start("b", election=None)
    w.add(worker("n"))
    await w.until(lambda: w.cidrs("n") == [BLOCK], seconds=1)
    assert "" != epoch(w)


# Old writes


@pytest.mark.parametrize("late", [0.0, 5.0, 14.0, 15.5, 17.0, 40.0, 600.0])
@story
async def test_a_late_write_of_an_old_leader_hurts_nobody(w: World, late: float) -> None:
    """What a crashed leader has sent lands before the fence, and is seen, or after it, and is refused."""
    first = await lead(w)
    w.fail(gives, "late", delay=late, identity="a")
    w.start("b")
    w.add(worker("n"))
    await w.rest(0.001)
    await first.crash()
    w.add(worker("m"))
    await w.rest(max(30, late + 10))
    assert [BLOCK] == w.cidrs("n") + w.cidrs("m")
    old = next(line for line in w.requests(gives) if line.identity == "a")
    assert (409 if late > 15 else 200) == old.status


@story
async def test_the_fence_waits_for_what_it_wrote(w: World) -> None:
    """Nothing is given out before the watch, 5 s late, has brought back every Node that was marked."""
    first = await lead(w)
    w.start("b")
    await w.rest(1)
    w.add(worker("n"))
    w.fail(gives, "drop_before", times=None, identity="a")
    await w.rest(1)
    w.server.watch_lag = 5.0
    await first.crash()
    await w.until(lambda: w.cidrs("n") == [BLOCK], seconds=60)
    marked = max(line.time for line in w.requests(marks))
    given = min(line.time for line in w.requests(gives) if line.identity == "b")
    assert 5 <= given - marked


@story
async def test_the_barrier_waits_for_a_watch_that_is_behind(w: World) -> None:
    """A watch that says nothing is replaced by a list, the barrier starts over, and only then b writes."""

    def watches_nodes(call: Call) -> bool:
        return ("watch", "1") in call.query and call.path.endswith("/nodes")

    w.fail(watches_nodes, "stall", identity="b")
    first = await lead(w, blocks=2)
    w.start("b")
    await w.rest(1)
    w.add(worker("n"))
    await w.until(lambda: bool(w.cidrs("n")))
    await first.crash()
    w.add(worker("m"))
    await w.rest(60)
    assert [] == [line for line in w.requests(gives) if line.identity == "b"]
    await w.until(lambda: bool(w.cidrs("m")), seconds=120)
    lists = [line for line in w.requests(asks("GET", "nodes")) if line.identity == "b"]
    barrier = [line for line in lists if "PartialObjectMetadataList" in line.call.headers["Accept"]]
    assert 2 <= len(barrier)


@story
async def test_the_barrier_waits_for_a_pool_that_has_gone(w: World) -> None:
    """A leader whose watch of ClusterCIDRs is behind gives nothing of a pool that its predecessor let go."""
    w.add(pool("p", "10.0.0.0/24"))
    first = w.start("a")
    await w.until(lambda: w.ready("p")[0] == "True")
    second = w.start("b")
    await w.rest(1)
    w.fail(Requests(verbs=("watch",), resource="clustercidrs"), "stall", identity="b")
    w.server.break_watches()
    await w.rest(1)
    w.server.delete(POOLS, "p")
    await w.until(lambda: not w.pools())
    await first.stop()
    w.add(worker("m"))
    await w.rest(150)
    assert second.manager.leading
    assert [] == w.requests(gives)


# The lock under attack


@story
async def test_a_lease_deleted_under_its_leader(w: World) -> None:
    """The leader stops, and nobody writes Nodes before a lease duration has passed and the fence is up."""
    await lead(w, blocks=4)
    w.start("b")
    await w.rest(1)
    drop_lease(w)
    start, since = now(w), len(w.server.log)
    await w.rest(3)
    w.add(worker("n"))
    await w.until(lambda: bool(w.cidrs("n")), seconds=40)
    assert 15 <= w.requests(gives, since=since)[0].time - start
    assert "" != epoch(w)


@story
async def test_a_holder_cleared_by_hand(w: World) -> None:
    """An empty holder that no leader left is waited for like a rival, and fenced."""
    first = await lead(w)
    w.start("b")
    await w.rest(1)
    await first.crash()
    start = now(w)
    w.server.patch(LEASES, LEASE.name, {"spec": {"holderIdentity": ""}}, namespace=LEASE.namespace)
    w.add(worker("n"))
    await w.until(lambda: w.cidrs("n") == [BLOCK], seconds=40)
    assert 15 <= w.requests(gives)[0].time - start
    assert "" != epoch(w)


@story
async def test_a_process_that_leads_again_has_another_epoch(w: World) -> None:
    """A patch that changes nothing fences nothing: every term of every process has a value of its own."""
    await lead(w)
    seen = {epoch(w)}
    for _ in range(3):
        drop_lease(w)
        await w.until(lambda: epoch(w) not in seen, seconds=60)
        seen.add(epoch(w))
    assert {1} == {len(w.replicas)}


@story
async def test_a_fence_voids_what_earlier_terms_reserved(w: World) -> None:
    """A block that was kept for a Node whose PATCH had no outcome is free once the next fence is up."""
    await lead(w)
    failing = w.fail(asks("PATCH", "nodes", "n"), "error_before", 503, times=None)
    w.add(worker("n"))
    await w.rest(1)
    w.server.faults.remove(failing)
    w.fail(lambda call: asks("PATCH", "nodes", "n")(call) and gives(call), "error_before", 503, times=None)
    w.add(worker("m"))
    drop_lease(w)
    await w.rest(5)
    w.server.patch("nodes", "n", {"metadata": {"labels": {"role": "other"}}})
    await w.rest(5)
    assert [] == w.cidrs("m")
    await w.until(lambda: w.cidrs("m") == [BLOCK], seconds=40)


# A Node that can't be fenced


@story
async def test_a_node_that_refuses_the_epoch_is_set_aside(w: World) -> None:
    """After five minutes the others are served; event, metric and readiness tell; later it gets its range."""
    first = await lead(w, blocks=4)
    w.fail(gives, "drop_before", times=None, identity="a")
    w.add(worker("n"), worker("m"))
    await w.rest(1)
    second = w.start("b")
    await w.rest(1)
    await first.crash()
    policy = w.fail(asks("PATCH", "nodes", "n"), "error_before", 403, times=None)
    await w.rest(300)
    assert {} == w.assigned()
    await w.until(lambda: ["m"] == list(w.assigned()), seconds=60)
    await w.rest(700)
    assert [("Warning", "CIDRAssignmentFailed")] == [event[:2] for event in w.events("n")]
    assert "Forbidden" in w.events("n")[0][2]
    assert 1 == second.metric("node_ipam_controller_set_aside_nodes")
    assert "1 set aside, n for one: 403 Forbidden" in await second.ready("fence")
    w.server.faults.remove(policy)
    await w.until(lambda: bool(w.cidrs("n")), seconds=301)
    await w.rest(1)
    assert 0 == second.metric("node_ipam_controller_set_aside_nodes")
    assert "ok" == await second.ready("fence")


@story
async def test_a_node_set_aside_keeps_what_was_reserved_for_it(w: World) -> None:
    """A write of an earlier term that comes 400 s late finds its block still reserved for its Node."""
    replica = await lead(w, blocks=2)
    w.fail(gives, "late", delay=400.0)
    w.add(worker("n"))
    await w.rest(0.1)
    w.fail(asks("PATCH", "nodes", "n"), "error_before", 403, times=None)
    drop_lease(w)
    await w.until(lambda: replica.manager.leading and replica.manager.lease.term == 2, seconds=60)
    w.add(worker("m"))
    await w.until(lambda: bool(w.cidrs("m")), seconds=350)
    await w.rest(120)
    assert {"n": [BLOCK], "m": ["10.0.0.16/28"]} == w.assigned()


@story
async def test_a_webhook_that_is_down_starves_one_node_and_no_more(w: World) -> None:
    """A Node whose changes are answered 500 for ever is set aside in the end, and readiness tells before."""
    first = await lead(w, blocks=4)
    w.add(worker("n"), worker("m"))
    w.fail(asks("PATCH", "nodes", "n"), "error_before", 500, times=None)
    w.fail(gives, "drop_before", times=None, identity="a")
    await first.crash()
    second = w.start("b")
    await w.rest(60)
    assert "1 not fenced off yet, n for one: 500" in await second.ready("fence")
    await w.until(lambda: bool(w.cidrs("m")), seconds=300)


@story
async def test_a_page_of_a_proxy_is_no_end_of_a_node(w: World) -> None:
    """A 404 without a Status doesn't fence: the Node is changed before anything is given out."""
    first = await lead(w, blocks=2)
    w.fail(gives, "late", delay=30.0, identity="a")
    w.add(worker("n"))
    await w.rest(0.1)
    await first.crash()
    w.fail(marks, "error_before", 404, body=b"<html>not here</html>", identity="b", times=2)
    w.add(worker("m"))
    w.start("b")
    await w.until(lambda: len(w.assigned()) == 2, seconds=60)
    await w.rest(60)


@story
async def test_a_standby_says_nothing_of_its_former_term(w: World) -> None:
    """Whoever led and was replaced is ready, and counts no Nodes as waiting or set aside."""
    first = await lead(w)
    waiting = "node_ipam_controller_waiting_nodes"
    w.add(worker("n"), worker("m"))
    await w.until(lambda: len(w.assigned()) == 1)
    await w.until(lambda: first.metric(waiting, cause="exhausted") == 1)
    w.fail(asks("PUT", "leases"), "drop_before", times=None, identity="a")
    second = w.start("b")
    await w.until(lambda: second.manager.leading, seconds=60)
    await w.until(lambda: second.metric(waiting, cause="exhausted") == 1, seconds=60)
    assert 0 == first.metric(waiting, cause="exhausted")
    assert "ok" == await first.ready("fence")


@story
async def test_a_term_with_a_node_set_aside_isnt_released(w: World) -> None:
    """The successor has to fence: what may still reach that Node was never shut out."""
    first = await lead(w, blocks=4)
    w.fail(gives, "drop_before", times=None, identity="a")
    w.add(worker("n"))
    await w.rest(1)
    second = w.start("b")
    await first.crash()
    w.fail(asks("PATCH", "nodes", "n"), "error_before", 403, times=None)
    await w.rest(400)
    assert 1 == second.metric("node_ipam_controller_set_aside_nodes")
    await second.stop()
    assert second.manager.identity == w.held_by()


# Leaving


@story
async def test_a_lease_is_released_when_every_outcome_is_known(w: World) -> None:
    """A stop at rest leaves an empty holder."""
    first = await lead(w)
    w.add(worker("n"))
    await w.until(lambda: w.cidrs("n") == [BLOCK])
    await first.stop()
    assert "" == w.held_by()


@pytest.mark.parametrize("action", ["drop_before", "hang", "late"])
@story
async def test_a_lease_isnt_released_over_an_unknown_outcome(w: World, action: str) -> None:
    """While a write may still land the lease is left to expire, and the next leader fences."""
    first = await lead(w)
    w.fail(gives, action, delay=60, times=None, identity="a")  # type: ignore[arg-type]
    w.start("b")
    w.add(worker("n"))
    await w.rest(1)
    await first.stop()
    assert first.manager.identity == w.held_by()
    w.add(worker("m"))
    await w.rest(100)
    assert [BLOCK] == w.cidrs("n") + w.cidrs("m")
    assert "" != epoch(w)


@story
async def test_a_stop_in_the_middle_of_the_fence_releases_nothing(w: World) -> None:
    """Whoever hasn't finished its own fence can't vouch for its predecessor."""
    first = await lead(w)
    second = w.start("b")
    await w.rest(1)
    await first.crash()
    w.fail(marks, "hang", times=None, identity="b")
    await w.until(lambda: bool(w.requests(marks)), seconds=30)
    await second.stop()
    assert second.manager.identity == w.held_by()


@story
async def test_a_crash_in_the_middle_of_the_fence(w: World) -> None:
    """The third leader fences anew, and the first one's write, 50 s late, is refused."""
    first = await lead(w)
    w.fail(gives, "late", delay=50, identity="a")
    second = w.start("b")
    w.add(worker("n"))
    await w.rest(0.001)
    await first.crash()
    w.fail(marks, "hang", times=None, identity="b")
    await w.until(lambda: bool(w.requests(marks)), seconds=30)
    await second.crash()
    w.add(worker("m"))
    third = w.start("c")
    await w.rest(60)
    assert [BLOCK] == w.cidrs("n") + w.cidrs("m")
    assert third.manager.identity in epoch(w)
    assert [409] == [line.status for line in w.requests(gives) if line.identity == "a"]


@story
async def test_requests_that_fail_hold_a_take_over_up_and_no_more(w: World) -> None:
    """Whatever the API server answers for 5 s, the take-over goes on when it is well again."""
    first = await lead(w)
    w.start("b")
    await w.rest(1)
    await first.crash()
    w.fail(lambda call: "/leases" not in call.path, "error_before", 500, times=8, identity="b")
    w.add(worker("n"))
    await w.until(lambda: w.cidrs("n") == [BLOCK], seconds=60)
    bodies = [body_of(line)["metadata"] for line in w.requests(marks)]
    assert all("resourceVersion" not in metadata and metadata["uid"] for metadata in bodies)
    assert "p" in {obj["metadata"]["name"] for obj in w.server.objects(POOLS)}
