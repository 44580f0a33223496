"""ClusterCIDRs: when the finalizer comes and goes, and what their conditions say."""

from __future__ import annotations

import msgspec
import pytest

from nodeipam.runtime import Call
from nodeipam.testing import run_virtual

from .world import FINALIZER, LEASE, POOLS, BusyClock, World, asks, body_of, node, pool, story, world

BLOCK = "10.0.0.0/28"
STATUS = asks("PATCH", "clustercidrs", subresource="status")
FINALIZERS = asks("PATCH", "clustercidrs")


async def serve(w: World) -> None:
    """A pool of four blocks, and a Node that has the first."""
    w.add(pool("p", "10.0.0.0/26", bits=4), node("n"))
    w.start()
    await w.until(lambda: w.cidrs("n") == [BLOCK])


# The finalizer comes


@story
async def test_the_finalizer_comes_before_the_first_block(w: World) -> None:
    """First the finalizer, then a read of the lock, and then a Node is written: a new leader relies on it."""
    w.server.latency = 0.1
    await serve(w)
    log = w.server.log
    finalized = next(i for i, line in enumerate(log) if FINALIZERS(line.call))
    given = next(i for i, line in enumerate(log) if asks("PATCH", "nodes")(line.call))
    assert any(asks("GET", "leases", LEASE.name)(line.call) for line in log[finalized:given])


@story
async def test_others_finalizers_stay(w: World) -> None:
    """Ours is added to those that are there, and taken from among them."""
    w.add(pool("p", BLOCK, bits=4, finalizers=["example.com/x"]))
    w.start()
    await w.until(lambda: w.pools()["p"]["metadata"]["finalizers"] == ["example.com/x", FINALIZER])
    w.server.delete(POOLS, "p")
    await w.until(lambda: w.pools()["p"]["metadata"]["finalizers"] == ["example.com/x"])


@story
async def test_a_finalizer_removed_by_hand_comes_back(w: World) -> None:
    """And as long as it isn't there, nothing is given out."""
    await serve(w)
    refused = w.fail(FINALIZERS, "error_before", 503, times=None)
    w.server.patch(POOLS, "p", {"metadata": {"finalizers": None}})
    w.add(node("m"))
    await w.rest(10)
    assert [] == w.cidrs("m")
    w.server.faults.remove(refused)
    await w.until(lambda: bool(w.cidrs("m")), seconds=60)
    assert [FINALIZER] == w.pools()["p"]["metadata"]["finalizers"]


@story
async def test_a_pool_that_refuses_the_finalizer_is_passed_over(w: World) -> None:
    """Nodes take from the next pool meanwhile, and from this one as soon as it can be used."""
    refused = w.fail(asks("PATCH", "clustercidrs", "a"), "error_before", 403, times=None)
    w.add(pool("a", BLOCK, bits=4), pool("b", "10.1.0.0/24", bits=4), node("n"))
    w.start()
    await w.until(lambda: w.cidrs("n") == ["10.1.0.0/28"], seconds=5)
    w.server.faults.remove(refused)
    await w.until(lambda: w.ready("a")[0] == "True", seconds=300)
    w.add(node("m"))
    await w.until(lambda: w.cidrs("m") == [BLOCK], seconds=1)


@story
async def test_a_pool_whose_finalizer_keeps_failing_is_passed_over(w: World) -> None:
    """A 500 may pass: Nodes wait for the pool for half a minute, then are served elsewhere."""
    w.fail(asks("PATCH", "clustercidrs", "best"), "error_before", 500, times=None)
    w.add(pool("best", "10.1.0.0/28", bits=4), pool("other", "10.0.0.0/26", bits=4), node("n"))
    w.start()
    await w.rest(25)
    assert [] == w.cidrs("n")
    await w.until(lambda: w.cidrs("n") == [BLOCK], seconds=60)
    w.heal()
    await w.until(lambda: w.ready("best") == ("True", "Allocating"), seconds=301)
    w.add(node("m"))
    await w.until(lambda: w.cidrs("m") == ["10.1.0.0/28"])


@story
async def test_a_finalizer_that_is_dropped_is_tried_again(w: World) -> None:
    """A webhook answers 200 and drops the finalizer: the pool is passed over, and used when that ends."""

    def drop(call: Call) -> Call:
        if not asks("PATCH", "clustercidrs", "a")(call):
            return call
        body = msgspec.json.decode(call.body or b"{}")
        body["metadata"].pop("finalizers")
        return msgspec.structs.replace(call, body=msgspec.json.encode(body))

    w.webhook = drop
    w.add(pool("a", BLOCK, bits=4), pool("b", "10.1.0.0/24", bits=4), node("n"))
    w.start()
    await w.until(lambda: w.cidrs("n") == ["10.1.0.0/28"], seconds=5)
    await w.rest(30)
    assert 20 > len(w.requests(asks("PATCH", "clustercidrs", "a")))
    w.webhook = lambda call: call
    await w.until(lambda: w.ready("a")[0] == "True", seconds=300)


# The finalizer goes


@story
async def test_an_unused_pool_goes_at_once(w: World) -> None:
    """Nobody uses it, so nothing keeps it."""
    w.add(pool("p", BLOCK, bits=4))
    w.start()
    await w.until(lambda: w.ready("p")[0] == "True")
    w.server.delete(POOLS, "p")
    await w.until(lambda: not w.pools(), seconds=0.1)


@story
async def test_a_reservation_keeps_a_pool(w: World) -> None:
    """A block that may have been written is in use."""
    w.add(pool("p", BLOCK, bits=4))
    w.start()
    await w.until(lambda: w.ready("p")[0] == "True")
    failing = w.fail(asks("PATCH", "nodes", "n"), "drop_before", times=None)
    w.add(node("n"))
    await w.rest(1)
    w.server.delete(POOLS, "p")
    await w.rest(10)
    assert [FINALIZER] == w.pools()["p"]["metadata"]["finalizers"]
    w.server.faults.remove(failing)
    await w.until(lambda: w.cidrs("n") == [BLOCK], seconds=60)
    w.server.delete("nodes", "n")
    await w.until(lambda: not w.pools(), seconds=1)


@story
async def test_nodes_of_a_pool_that_stays_dont_keep_one_that_goes(w: World) -> None:
    """A pool of equal size that covers its Nodes makes it free to go, and the Nodes keep what they have."""
    await serve(w)
    w.add(pool("wide", "10.0.0.0/24", bits=4))
    await w.until(lambda: w.ready("wide")[0] == "True")
    w.server.delete(POOLS, "p")
    await w.until(lambda: "p" not in w.pools(), seconds=0.1)
    assert [BLOCK] == w.cidrs("n")


@pytest.mark.parametrize("other", [pool("q", "10.0.0.0/24", bits=5), pool("q", "10.0.0.32/27", bits=4)])
@story
async def test_a_pool_that_covers_them_differently_doesnt_help(w: World, other: dict[str, object]) -> None:
    """Blocks of another size, or a range that doesn't hold them: the Node still keeps its pool."""
    await serve(w)
    w.add(other)
    await w.until(lambda: w.ready("q")[0] == "True")
    w.server.delete(POOLS, "p")
    await w.rest(30)
    assert ("False", "Terminating") == w.ready("p")


@story
async def test_a_pool_that_comes_later_lets_one_go(w: World) -> None:
    """The new pool takes over the Nodes of the one that is being deleted, as soon as it has its finalizer."""
    await serve(w)
    w.server.delete(POOLS, "p")
    await w.rest(10)
    late = w.fail(asks("PATCH", "clustercidrs", "wide"), "error_before", 503, times=None)
    w.add(pool("wide", "10.0.0.0/24", bits=4))
    await w.rest(10)
    assert "p" in w.pools()
    w.server.faults.remove(late)
    await w.until(lambda: "p" not in w.pools(), seconds=60)
    assert [FINALIZER] == w.pools()["wide"]["metadata"]["finalizers"]


@story
async def test_a_list_that_is_being_taken_in_lets_no_pool_go(w: World) -> None:
    """Its Node was created again, holding the same: between deletion and addition the pool seems unused."""
    w.add(pool("p", "10.0.0.0/26", bits=4), node("n"))
    w.start(clock=BusyClock())
    await w.until(lambda: w.cidrs("n") == [BLOCK])
    w.server.delete(POOLS, "p")
    await w.until(lambda: w.ready("p")[1] == "Terminating")
    w.fail(lambda call: ("watch", "1") in call.query and "/nodes" in call.path, "error_before", 410)
    w.server.break_watches()
    w.server.delete("nodes", "n")
    w.add(*[node(f"foreign{i}", f"10.1.{i}.0/24") for i in range(100)], node("z", BLOCK))
    await w.rest(60)
    assert [FINALIZER] == w.pools()["p"]["metadata"]["finalizers"]


# Conditions


@story
async def test_conditions_are_written_once(w: World) -> None:
    """However many Nodes come, and whatever else changes about the object."""
    await serve(w)
    w.add(*[node(f"m{i}") for i in range(9)])
    w.touch("p", POOLS)
    await w.rest(60)
    assert 1 == len(w.requests(STATUS))
    [ready] = w.pools()["p"]["status"]["conditions"]
    assert ("Ready", "True", "Allocating", 1) == (
        ready["type"],
        ready["status"],
        ready["reason"],
        ready["observedGeneration"],
    )
    assert "10.0.0.0/26" in ready["message"]
    assert ready["lastTransitionTime"].startswith("2026-01-01T00:00:0")


@story
async def test_others_conditions_stay(w: World) -> None:
    """A condition that somebody else maintains is written back as it was."""
    theirs = {"type": "Theirs", "status": "True", "reason": "X", "message": "y", "observedGeneration": 1}
    theirs["lastTransitionTime"] = "2025-01-01T00:00:00Z"
    w.add({**pool("p", BLOCK, bits=4), "status": {"conditions": [theirs]}})
    w.start()
    await w.until(lambda: w.ready("p")[0] == "True")
    assert theirs in w.pools()["p"]["status"]["conditions"]


@story
async def test_an_invalid_pool_says_why(w: World) -> None:
    """Ready=False with the reason Invalid, the values in the message, one event, no finalizer."""
    w.add(pool("p", "10.0.0.0/33", "fd00::/200", bits=-3))
    w.start()
    await w.rest(60)
    assert ("False", "Invalid") == w.ready("p")
    [ready] = w.pools()["p"]["status"]["conditions"]
    assert all(text in ready["message"] for text in ("10.0.0.0/33", "fd00::/200", "-3"))
    assert ["InvalidClusterCIDR"] == [reason for _, reason, _ in w.events("p")]
    assert "finalizers" not in w.pools()["p"]["metadata"]
    assert 1 == len(w.requests(STATUS))


@story
async def test_a_pool_with_ten_thousand_faults_has_a_condition(w: World) -> None:
    """The message is kept within what the CRD allows."""
    terms = [{"matchExpressions": [{"key": f"k{i}", "operator": "Inn"}]} for i in range(10_000)]
    w.add(pool("p", BLOCK, bits=4, terms=terms))
    w.start()
    await w.until(lambda: w.ready("p") == ("False", "Invalid"))
    [ready] = w.pools()["p"]["status"]["conditions"]
    assert 32768 > len(ready["message"])


@story
async def test_an_invalid_pool_goes_at_once(w: World) -> None:
    """Even one that has our finalizer from times when it was valid."""
    w.add(pool("p", "10.0.0.0/33", bits=4, finalizers=[FINALIZER]))
    w.start()
    await w.until(lambda: w.ready("p")[1] == "Invalid", seconds=60)
    w.server.delete(POOLS, "p")
    await w.until(lambda: not w.pools(), seconds=1)


def test_a_crd_without_status(caplog: pytest.LogCaptureFixture) -> None:
    """The reference's CRD: one warning, no conditions, and everything else works."""

    async def main() -> None:
        async with world(status=False) as w:
            await serve(w)
            w.add(pool("q", "10.1.0.0/24", bits=4), pool("bad", "10.1.0.0/33", bits=4))
            w.add(*[node(f"m{i}") for i in range(6)])
            await w.until(lambda: len(w.assigned()) == 7)
            await w.rest(60)
            assert 1 == len(w.requests(STATUS))

    run_virtual(main())
    assert 1 == sum("no conditions" in record.getMessage() for record in caplog.records)


def test_a_difference_to_the_reference_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """However often the pool is looked at while it is served."""
    caplog.set_level("INFO")

    async def main() -> None:
        async with world() as w:
            terms = [{"matchExpressions": [{"key": key, "operator": "Exists"}]} for key in "ab"]
            w.add(pool("p", BLOCK, bits=4, terms=terms))
            w.start()
            await w.until(lambda: w.ready("p")[0] == "True")
            for _ in range(5):
                w.touch("p", POOLS)
                await w.rest(1)

    run_virtual(main())
    assert 1 == sum("differs from" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("code", [401, 409, 429, 500])
@story
async def test_conditions_that_fail_for_now_are_written_later(w: World, code: int) -> None:
    """Nothing but the error itself brings them back to mind."""
    w.fail(STATUS, "error_before", code, times=3)
    await serve(w)
    await w.until(lambda: w.ready("p") == ("True", "Allocating"), seconds=10)


@story
async def test_a_role_without_status(w: World) -> None:
    """The same, where the right is missing; five minutes after it was granted the conditions are there."""
    w.fail(STATUS, "error_before", 403, times=None)
    await serve(w)
    w.add(pool("q", "10.1.0.0/24", bits=4))
    await w.rest(60)
    assert 1 == len(w.requests(STATUS))
    w.heal()
    await w.until(lambda: w.ready("p") == w.ready("q") == ("True", "Allocating"), seconds=301)


@story
async def test_a_pool_that_is_gone_already_isnt_taken_for_a_crd_without_status(w: World) -> None:
    """The cache still has it, and its status answers 404: the next pool has conditions nevertheless."""
    w.start()
    await w.rest(1)
    w.server.watch_lag = 2.0
    w.add(pool("bad", "10.0.0.0/33", bits=4))
    await w.rest(1)
    w.server.delete(POOLS, "bad")
    await w.rest(10)
    w.add(pool("p", BLOCK, bits=4))
    await w.until(lambda: w.ready("p") == ("True", "Allocating"), seconds=30)


@story
async def test_only_the_finalizers_and_conditions_are_written(w: World) -> None:
    """No PATCH carries a spec, and each names UID and version."""
    await serve(w)
    w.server.delete(POOLS, "p")
    await w.until(lambda: w.ready("p")[1] == "Terminating")
    w.server.delete("nodes", "n")
    await w.until(lambda: not w.pools())
    bodies = [body_of(line) for line in w.requests(FINALIZERS) + w.requests(STATUS)]
    assert 4 == len(bodies)
    assert {"metadata", "status"} == {key for body in bodies for key in body}
    assert all({"uid", "resourceVersion"} <= body["metadata"].keys() for body in bodies)
