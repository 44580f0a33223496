"""What becomes of a Node after each answer to its PATCH: the table in docs/architecture.md, row by row.

Most stories have a pool of a single block and two Nodes: as long as the block is kept for "n", "m" waits.
"""

from __future__ import annotations

import msgspec
import pytest

from nodeipam.runtime import Call
from nodeipam.testing import VirtualClock
from nodeipam.testing.faults import Action

from .world import BusyClock, World, asks, body_of, node, pool, refusal, story

BLOCK = "10.0.0.0/28"

WRITE = asks("PATCH", "nodes", "n")


def patches(w: World, name: str = "n") -> list[tuple[int, list[str]]]:
    """Status and podCIDRs of every PATCH of a Node that carries some."""
    found = [(line.status, body_of(line)) for line in w.requests(asks("PATCH", "nodes", name))]
    return [(status, body["spec"]["podCIDRs"]) for status, body in found if "spec" in body]


async def begin(w: World, *, blocks: int = 1) -> None:
    """Let a leader make ready to serve from 10.0.0.0/28, or a range of more such blocks."""
    w.add(pool("p", f"10.0.0.0/{29 - blocks.bit_length()}", bits=4))
    w.start()
    await w.until(lambda: w.ready("p") == ("True", "Allocating"))


async def add_both(w: World) -> None:
    """Node n comes first, and then m."""
    w.add(node("n"))
    await w.rest(0.001)
    w.add(node("m"))


def without_pod_cidrs(call: Call) -> Call:
    """A webhook that drops podCIDRs and keeps the rest."""
    if call.method != "PATCH" or "/nodes/" not in call.path:
        return call
    body = msgspec.json.decode(call.body or b"{}")
    body.pop("spec", None)
    return msgspec.structs.replace(call, body=msgspec.json.encode(body))


# 200


@story
async def test_the_patch_says_what_it_was_decided_on(w: World) -> None:
    """The PATCH has podCIDR and podCIDRs, the UID and the resourceVersion, and nothing else."""
    w.add(pool("p", "10.0.0.0/24", "fd00::/120", bits=4), node("n"))
    meta = w.server.get("nodes", "n")["metadata"]
    w.start()
    await w.until(lambda: bool(w.cidrs("n")))
    [line] = w.requests(WRITE)
    assert {
        "metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]},
        "spec": {"podCIDR": "10.0.0.0/28", "podCIDRs": ["10.0.0.0/28", "fd00::/124"]},
    } == body_of(line)
    assert "application/merge-patch+json" == line.call.headers["Content-Type"]


@story
async def test_a_200_that_changed_nothing_proves_nothing(w: World) -> None:
    """Where a webhook drops podCIDRs, the same block is offered again, ever later, with one event."""
    await begin(w)
    w.webhook = without_pod_cidrs
    await add_both(w)
    await w.rest(100)
    tries = len(w.requests(WRITE))
    assert 4 <= tries <= 9
    assert [] == w.requests(asks("PATCH", "nodes", "m"))
    assert ["CIDRAssignmentFailed"] == [reason for _, reason, _ in w.events("n")]
    w.webhook = lambda call: call
    await w.until(lambda: w.cidrs("n") == [BLOCK], seconds=400)
    await w.rest()
    assert [] == w.cidrs("m")


@story
async def test_a_200_for_a_node_that_was_re_created(w: World) -> None:
    """When it comes, the new Node of that name gets its own ranges, and no webhook is suspected."""
    await begin(w)
    w.fail(WRITE, "slow", delay=3.0)
    w.add(node("n"))
    await w.until(lambda: bool(w.cidrs("n")))
    w.server.delete("nodes", "n")
    w.add(node("n"))
    await w.until(lambda: bool(w.cidrs("n")))
    await w.rest()
    assert [] == w.events("n")


@story
async def test_a_node_that_is_deleted_amid_its_write(w: World) -> None:
    """Where the write never came, its block is free for the next Node, though the Node stays for a while."""
    await begin(w)
    w.fail(WRITE, "hang")
    w.add(node("n", finalizers=["example.com/stays"]))
    await w.rest(1)
    w.server.delete("nodes", "n")
    w.add(node("m"))
    await w.until(lambda: w.cidrs("m") == [BLOCK])


@story
async def test_a_200_that_changed_something_else_proves_nothing(w: World) -> None:
    """The same, where the webhook changes the Node in another way, so that its version moves each time."""
    await begin(w)

    def stamp(call: Call) -> Call:
        if not WRITE(call):
            return call
        body = msgspec.json.decode(call.body or b"{}")
        body.pop("spec", None)
        body["metadata"]["annotations"] = {"seen": str(w.server.version)}
        return msgspec.structs.replace(call, body=msgspec.json.encode(body))

    w.webhook = stamp
    await add_both(w)
    await w.rest(100)
    assert 4 <= len(w.requests(WRITE)) <= 9
    assert [] == w.requests(asks("PATCH", "nodes", "m"))
    w.webhook = lambda call: call
    await w.until(lambda: w.cidrs("n") == [BLOCK], seconds=400)


@pytest.mark.parametrize("code", [401, 403, 409, 422, 429])
@story
async def test_a_refusal_after_a_200_releases_nothing(w: World, code: int) -> None:
    """A 200 whose effect isn't seen may have landed: refusals of later attempts keep the block."""
    await begin(w)
    w.webhook = without_pod_cidrs
    w.fail(WRITE, "error_before", code, skip=1, times=3)
    await add_both(w)
    await w.rest(3)
    w.webhook = lambda call: call
    await w.until(lambda: w.cidrs("n") == [BLOCK], seconds=400)
    assert [] == w.requests(asks("PATCH", "nodes", "m"))


@story
async def test_an_unknown_attempt_isnt_settled_by_a_200_that_changed_nothing(w: World) -> None:
    """The version that a 200 names is the old one: the earlier attempt, on that version, may still land."""
    await begin(w, blocks=2)
    w.fail(WRITE, "late", delay=60)
    w.add(node("n"))
    await w.rest(0.001)
    w.webhook = without_pod_cidrs
    await w.rest(10)
    w.add(node("f", BLOCK))
    w.brought.add(("f", "n"))
    w.webhook = lambda call: call
    await w.rest(40)
    assert [] == [given for status, given in patches(w) if given != [BLOCK]]


# 409


@story
async def test_a_409_is_tried_again_at_once_with_the_same_block(w: World) -> None:
    """A Node that changed behind our cache is read again and patched in the same reconcile."""
    await begin(w)
    w.server.watch_lag = 2.0
    w.add(node("n"))
    await w.rest(1)
    w.touch("n")
    await w.rest(1.001)
    assert [(409, [BLOCK]), (200, [BLOCK])] == patches(w)
    assert 0 == w.replicas[0].metric("controller_runtime_reconcile_errors_total", controller="nodes")


@story
async def test_a_storm_of_409s_is_no_failure(w: World) -> None:
    """A Node that changes before each of 23 attempts gets its range with the 24th. No error is counted."""
    await begin(w)
    storm = iter(range(23))

    def change_first(call: Call) -> Call:
        if WRITE(call) and next(storm, None) is not None:
            w.touch("n")
        return call

    w.webhook = change_first
    w.add(node("n"))
    await w.until(lambda: w.cidrs("n") == [BLOCK], seconds=5)
    assert [409] * 23 + [200] == [status for status, _ in patches(w)]
    assert 0 == w.replicas[0].metric("controller_runtime_reconcile_errors_total", controller="nodes")


@story
async def test_a_409_that_isnt_about_the_version_backs_off(w: World) -> None:
    """Where 409 comes though the Node hasn't changed, it isn't asked again and again without a pause."""
    await begin(w)
    w.fail(WRITE, "error_before", 409, times=None)
    w.add(node("n"))
    await w.rest(60)
    assert 80 > len(w.requests(WRITE))
    w.heal()
    await w.until(lambda: w.cidrs("n") == [BLOCK], seconds=300)


# Others were first


@pytest.mark.parametrize("injected", [False, True])
@story
async def test_somebody_was_first(w: World, injected: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """The block is given back when the ledger has the Node's own ranges on record, and not before."""
    await begin(w)
    if injected:
        w.fail(WRITE, "error_before", 422, body=refusal(422, "Invalid", "spec.podCIDRs"))
    w.server.watch_lag = 3.0
    w.add(node("n"), node("m"))
    await w.rest(1)
    w.server.patch("nodes", "n", {"spec": {"podCIDR": "10.9.0.0/28", "podCIDRs": ["10.9.0.0/28"]}})
    await w.rest(2.9)
    assert [422 if injected else 409] == [status for status, _ in patches(w)]
    assert [] == w.requests(asks("PATCH", "nodes", "m"))
    await w.until(lambda: w.cidrs("m") == [BLOCK], seconds=1)
    assert ["10.9.0.0/28"] == w.cidrs("n")


# The Node is gone


@story
async def test_a_404_frees_the_block_at_once(w: World) -> None:
    """The Node is gone, whatever the cache still says, and the next one gets its block."""
    await begin(w)
    w.server.watch_lag = 3.0
    w.add(node("n"), node("m"))
    await w.rest(1)
    w.server.delete("nodes", "n")
    await w.rest(2.5)
    assert [404] == [status for status, _ in patches(w)]
    assert [BLOCK] == w.cidrs("m")


@pytest.mark.parametrize("injected", [False, True])
@story
async def test_a_node_created_again_under_its_name_is_another(w: World, injected: bool) -> None:  # noqa: FBT001
    """By a 409 and a GET or by a 422 on metadata.uid: the block of the Node that is no more is free."""
    await begin(w)
    if injected:
        w.fail(WRITE, "error_before", 422, body=refusal(422, "Invalid", "metadata.uid"))
    w.server.watch_lag = 3.0
    w.add(node("n"), node("m"))
    await w.rest(1)
    w.server.delete("nodes", "n")
    w.add(node("n"))
    await w.rest(2.5)
    assert [422 if injected else 409] == [status for status, _ in patches(w)]
    assert [BLOCK] == w.cidrs("m")
    await w.rest()
    assert [] == w.cidrs("n")
    assert ["CIDRNotAvailable"] == [reason for _, reason, _ in w.events("n")]


# A definite no


@pytest.mark.parametrize("code", [401, 429])
@story
async def test_401_and_429_keep_the_block(w: World, code: int) -> None:
    """Nothing was written, and it will work later: the same block, no event."""
    await begin(w)
    w.fail(WRITE, "error_before", code, times=4)
    await add_both(w)
    await w.until(lambda: w.cidrs("n") == [BLOCK])
    await w.rest()
    assert [(code, [BLOCK])] * 4 + [(200, [BLOCK])] == patches(w)
    assert [] == w.cidrs("m")
    assert [] == w.events("n")


@pytest.mark.parametrize("code", [400, 403, 413, 422])
@story
async def test_another_4xx_gives_the_block_to_the_next(w: World, code: int) -> None:
    """The first attempt was refused for certain: the block is free, and one event says why."""
    await begin(w)
    w.fail(WRITE, "error_before", code, times=None)
    await add_both(w)
    await w.until(lambda: w.cidrs("m") == [BLOCK], seconds=2)
    await w.rest(60)
    assert 1 == [reason for _, reason, _ in w.events("n")].count("CIDRAssignmentFailed")


@story
async def test_a_refusal_is_told_once(w: World) -> None:
    """However often a Node is refused, and whichever block it is offered, people are told once."""
    await begin(w, blocks=4)
    w.fail(WRITE, "error_before", 403, times=None)
    w.add(node("n"))
    await w.rest(100)
    assert 8 < len(w.requests(WRITE))
    [(kind, reason, note)] = w.events("n")
    assert ("Warning", "CIDRAssignmentFailed") == (kind, reason)
    assert "Forbidden" in note
    [event] = w.server.objects("events.events.k8s.io")
    assert "series" not in event


# Outcome unknown

UNKNOWN: list[tuple[Action, int, bytes | None]] = [
    ("error_before", 500, None),
    ("error_after", 500, None),
    ("error_before", 503, None),
    ("error_after", 504, None),
    ("error_before", 408, None),
    ("error_after", 408, None),
    ("error_before", 403, b"<html>Sign in</html>"),
    ("error_after", 403, b"<html>Sign in</html>"),
    ("error_after", 200, b"<html>Sign in</html>"),
    ("drop_before", 0, None),
    ("drop_after", 0, None),
    ("hang", 0, None),
    ("hang_after", 0, None),
]


@pytest.mark.parametrize("action, status, body", UNKNOWN)
@story
async def test_an_unknown_outcome_keeps_the_block(
    w: World, action: Action, status: int, body: bytes | None
) -> None:
    """Carried out or not, the block stays with its Node, and no other block is ever offered to it."""
    await begin(w)
    w.fail(WRITE, action, status, body=body)
    await add_both(w)
    await w.until(lambda: w.cidrs("n") == [BLOCK])
    await w.rest()
    assert [] == w.cidrs("m")
    assert {(BLOCK,)} == {tuple(given) for _, given in patches(w)}


@pytest.mark.parametrize("code", [401, 403, 409, 422, 429])
@story
async def test_a_refusal_after_an_unknown_attempt_releases_nothing(w: World, code: int) -> None:
    """An attempt that seems lost lands 20 s later: refusals in between have kept its block."""
    await begin(w)
    w.fail(WRITE, "late", delay=20)
    refused = w.fail(WRITE, "error_before", code, times=None)
    await add_both(w)
    await w.until(lambda: w.cidrs("n") == [BLOCK], seconds=25)
    assert refused.met >= 2
    await w.rest()
    assert [] == w.requests(asks("PATCH", "nodes", "m"))


@story
async def test_being_cancelled_leaves_the_outcome_unknown(w: World) -> None:
    """A PATCH that was cut off by the end of a term lands later, and its block is given to nobody else."""
    await begin(w)
    w.server.watch_lag = 1.0
    w.fail(WRITE, "delay", delay=8)
    await add_both(w)
    await w.rest(1.5)
    w.server.delete("leases.coordination.k8s.io", "node-ipam-controller", namespace="nodeipam")
    await w.until(lambda: w.cidrs("n") == [BLOCK], seconds=60)
    await w.rest(30)
    assert [] == w.cidrs("m")


@story
async def test_a_late_write_meets_a_node_that_has_changed(w: World) -> None:
    """The retry changes the version, so that the first attempt, arriving at last, is answered 409."""
    await begin(w)
    w.fail(WRITE, "late", delay=30)
    w.add(node("n"))
    await w.until(lambda: w.cidrs("n") == [BLOCK], seconds=5)
    w.server.delete("nodes", "n")
    w.add(node("m"))
    await w.until(lambda: w.cidrs("m") == [BLOCK], seconds=5)
    w.add(node("n"))
    await w.rest(40)
    assert [200, 409] == [status for status, _ in patches(w)]


# etcd is restored


@story
async def test_a_node_that_lost_its_ranges_is_served_again(w: World) -> None:
    """A Node that is back at a time before it had ranges gets some, though nothing else of it has changed."""
    await begin(w)
    w.add(node("n"))
    backup = w.server.backup()
    await w.until(lambda: w.cidrs("n") == [BLOCK])
    uid = w.server.get("nodes", "n")["metadata"]["uid"]
    w.server.restore(backup, bump=1_000_000)
    assert [] == w.cidrs("n")
    await w.until(lambda: w.cidrs("n") == [BLOCK])
    assert uid == w.server.get("nodes", "n")["metadata"]["uid"]


# Others bring ranges


@story
async def test_a_foreign_range_makes_a_reservation_useless(w: World) -> None:
    """When a Node brings the block that we were about to write, it isn't written any more: another one is."""
    await begin(w, blocks=2)
    w.fail(WRITE, "drop_before")
    w.add(node("n"))
    await w.rest(0.003)
    w.add(node("f", BLOCK))
    since = len(w.server.log)
    await w.rest(20)
    assert [] == [line for line in w.requests(WRITE, since=since) if BLOCK in str(body_of(line))]
    w.touch("n")  # only now is it certain that the lost attempt can't land
    await w.until(lambda: w.cidrs("n") == ["10.0.0.16/28"], seconds=10)


@story
async def test_waiting_for_certainty_is_no_hot_loop(w: World) -> None:
    """A lost attempt at a block that others hold by now may still land: that is asked now and then."""
    await begin(w, blocks=2)
    w.fail(WRITE, "drop_before")
    w.add(node("n"))
    await w.rest(0.003)
    w.add(node("f", BLOCK))
    since = len(w.server.log)
    await w.rest(100)
    assert 40 > len(w.requests(asks("GET", "nodes", "n"), since=since))


# Who gets nothing


@story
async def test_a_terminating_node_gets_nothing(w: World) -> None:
    """A Node that is being deleted is not written, and no event complains about it."""
    await begin(w)
    w.add(node("n", finalizers=["example.com/wait"]))
    w.server.delete("nodes", "n")
    since = len(w.server.log)
    await w.rest(10)
    assert [] == w.requests(WRITE, since=since)
    assert [] == w.events("n")


@story
async def test_a_node_that_begins_to_terminate_isnt_written_again(w: World) -> None:
    """It was deleted behind our cache: the 409 leads to a GET, and that to leaving it alone."""
    await begin(w)
    w.server.watch_lag = 2.0
    w.add(node("n", finalizers=["example.com/wait"]))
    await w.rest(1)
    w.server.delete("nodes", "n")
    await w.rest(20)
    assert [(409, [BLOCK])] == patches(w)


@story
async def test_a_terminating_node_keeps_no_block_that_was_never_written(w: World) -> None:
    """A block that was only refused so far goes to the next Node when its own begins to terminate."""
    await begin(w)
    w.fail(WRITE, "error_before", 429, times=None)
    w.add(node("n", finalizers=["example.com/wait"]))
    await w.rest(0.01)
    w.add(node("m"))
    await w.rest(1)
    assert [] == w.cidrs("m")
    w.server.delete("nodes", "n")
    await w.until(lambda: w.cidrs("m") == [BLOCK], seconds=300)


@story
async def test_a_node_with_ranges_is_never_written(w: World) -> None:
    """I2: whatever it holds, and whatever else changes about it."""
    await begin(w)
    w.add(node("n", "192.168.0.0/30"))
    await w.rest(1)
    w.server.patch("nodes", "n", {"metadata": {"labels": {"a": "b"}}})
    await w.rest(60)
    assert [] == w.requests(WRITE)


@story
async def test_sixteen_at_a_time(w: World) -> None:
    """As many PATCHes as `concurrent_node_syncs` are in flight, no more and no fewer."""
    w.server.latency = 1.0
    w.add(pool("p", "10.0.0.0/16", bits=4), *[node(f"n{i}") for i in range(32)])
    w.start(concurrent_node_syncs=16)
    await w.until(lambda: len(w.assigned()) == 32)
    times = [line.time for line in w.requests(asks("PATCH", "nodes"))]
    assert 2 == len(set(times))


# Who may not write, and when


@story
async def test_nothing_is_written_after_the_lease_has_run_out(w: World) -> None:
    """The machine sleeps for a minute between a GET and the PATCH after it: that isn't sent any more."""
    clock = VirtualClock()
    w.add(pool("p", BLOCK, bits=4))
    w.start(clock=clock)
    await w.until(lambda: w.ready("p") == ("True", "Allocating"))

    def sleep(call: Call) -> Call:
        if asks("GET", "nodes", "n")(call):
            clock.offset += 60
        return call

    w.webhook = sleep
    w.fail(WRITE, "delay", delay=1)  # so that the Node changes before it arrives
    w.add(node("n"))
    await w.rest(0.5)
    w.touch("n")
    await w.rest(1)
    assert [409] == [status for status, _ in patches(w)]
    await w.until(lambda: w.cidrs("n") == [BLOCK], seconds=60)


@story
async def test_nothing_is_given_out_while_a_list_is_taken_in(w: World) -> None:
    """Of a new list, deletions come first: the block that seems free then is held by a later Node."""
    w.add(pool("p", "10.0.0.0/27", bits=4), node("n"))
    w.start(clock=BusyClock())
    await w.until(lambda: w.cidrs("n") == [BLOCK])
    w.add(node("k"), node("m"))
    await w.until(lambda: bool(w.cidrs("k") + w.cidrs("m")))
    waiting = "m" if w.cidrs("k") else "k"
    w.fail(lambda call: ("watch", "1") in call.query and "/nodes" in call.path, "error_before", 410)
    w.server.break_watches()
    w.server.delete("nodes", "n")
    w.add(*[node(f"foreign{i}", f"10.1.{i}.0/24") for i in range(100)], node("z", BLOCK))
    await w.rest(60)
    assert [] == w.cidrs(waiting)
