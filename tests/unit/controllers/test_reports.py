"""What people are told, once for each change."""

from __future__ import annotations

from typing import Any

from nodeipam.api.cidr import parse_cidr
from nodeipam.api.clustercidr import ClusterCIDR
from nodeipam.api.node import Node
from nodeipam.controllers.reports import Reports
from nodeipam.runtime import ObjectMeta, ObjectReference

from .world import POOLS, World, node, pool, story

NODE = Node("n", "uid-1", "1")


class Recorder:
    """Takes down what would become Events."""

    def __init__(self) -> None:
        self.said: list[tuple[ObjectReference, str, str, str]] = []

    def event(self, regarding: ObjectReference, *, type: str, reason: str, action: str, note: str) -> None:
        """As EventRecorder does."""
        self.said.append((regarding, type, reason, note))

    @property
    def notes(self) -> list[str]:
        """The notes alone."""
        return [note for *_, note in self.said]


def a_reporter() -> tuple[Reports, Recorder]:
    """Reports, and where they go."""
    recorder: Any = Recorder()
    return Reports(recorder), recorder


def test_says_a_thing_once() -> None:
    """The same reason and note are told once, a new note is told again, and so is the old one after it."""
    reports, recorder = a_reporter()
    for note in ("p is full", "p is full", "q is full", "p is full"):
        reports.warn(NODE, "CIDRNotAvailable", note)
    assert ["p is full", "q is full", "p is full"] == recorder.notes


def test_a_gist_stands_for_notes_that_vary() -> None:
    """Where each retry has another block in its note, the gist tells whether anything has changed."""
    reports, recorder = a_reporter()
    for block in ("10.0.0.0/28", "10.0.0.16/28"):
        reports.warn(NODE, "CIDRAssignmentFailed", f"refused {block}", gist="403")
    reports.warn(NODE, "CIDRAssignmentFailed", "refused 10.0.0.32/28", gist="422")
    assert ["refused 10.0.0.0/28", "refused 10.0.0.32/28"] == recorder.notes


def test_reasons_are_kept_apart() -> None:
    """What was said for one reason says nothing about another."""
    reports, recorder = a_reporter()
    reports.warn(NODE, "CIDRNotAvailable", "x")
    reports.warn(NODE, "CIDRConflict", "x")
    reports.settle_node("n", "CIDRNotAvailable")
    reports.warn(NODE, "CIDRConflict", "x")
    assert 2 == len(recorder.said)
    reports.warn(NODE, "CIDRNotAvailable", "x")
    assert 3 == len(recorder.said)


def test_what_is_settled_may_be_said_again() -> None:
    """And nothing is remembered of an object about which all is settled."""
    reports, recorder = a_reporter()
    reports.warn(NODE, "CIDRNotAvailable", "x")
    assert reports.said_of_node("n")
    reports.settle_node("n")
    assert not reports.said_of_node("n")
    reports.warn(NODE, "CIDRNotAvailable", "x")
    assert 2 == len(recorder.said)


def test_another_uid_is_another_node() -> None:
    """A Node created again under its name is told of anew."""
    reports, recorder = a_reporter()
    reports.warn(NODE, "CIDRNotAvailable", "x")
    reports.warn(Node("n", "uid-2", "9"), "CIDRNotAvailable", "x")
    assert ["uid-1", "uid-2"] == [regarding.uid for regarding, *_ in recorder.said]


def test_pools_and_nodes_of_one_name_are_two_things() -> None:
    """Events name kind, version and UID of what they are about."""
    reports, recorder = a_reporter()
    reports.warn(NODE, "X", "x")
    reports.warn(ClusterCIDR(metadata=ObjectMeta(name="n", uid="uid-p")), "X", "x")
    kinds = [(regarding.api_version, regarding.kind) for regarding, *_ in recorder.said]
    assert [("v1", "Node"), ("networking.x-k8s.io/v1", "ClusterCIDR")] == kinds
    reports.settle_pool("n")
    assert reports.said_of_node("n")


# Stories


@story
async def test_a_conflict_that_others_made(w: World) -> None:
    """The Node that came second is told of, once, with both ranges and the other's name."""
    w.add(pool("p", "10.0.0.0/24", bits=4), node("a", "10.0.0.0/28"))
    w.start()
    await w.rest(1)
    w.add(node("b", "10.0.0.0/27"))
    w.brought.add(("a", "b"))
    await w.rest(60)
    [(kind, reason, note)] = w.events("b")
    assert ("Warning", "CIDRConflict") == (kind, reason)
    assert "10.0.0.0/27 overlaps 10.0.0.0/28 of Node a" in note
    assert [] == w.events("a")


@story
async def test_a_conflict_with_a_service_range(w: World) -> None:
    """A Node that brings Service addresses is told of as well."""
    w.add(pool("p", "10.0.0.0/24", bits=4), node("n", "10.0.0.0/28"))
    w.start(service_ranges=(parse_cidr("10.0.0.0/27"),))
    await w.rest(1)
    [(_, reason, note)] = w.events("n")
    assert "CIDRConflict" == reason
    assert "of the service range" in note


@story
async def test_text_that_is_no_range(w: World) -> None:
    """What can't be read is quoted in an event, and the rest of the Node's ranges counts."""
    w.add(pool("p", "10.0.0.0/27", bits=4), node("odd", "10.0.0.0/28", "nonsense"))
    w.start()
    w.add(node("n"), node("m"))
    await w.rest(60)
    [(_, reason, note)] = w.events("odd")
    assert "CIDRInvalid" == reason
    assert "nonsense" in note
    assert ["10.0.0.16/28"] == w.cidrs("n") + w.cidrs("m")


@story
async def test_why_a_node_gets_nothing(w: World) -> None:
    """No pool at all, none that matches, and one that is full are three different notes."""
    w.start()
    w.add(node("n"))
    await w.rest(1)
    w.add(pool("p", "10.0.0.0/28", bits=4, match={"role": "worker"}), node("m"))
    await w.rest(1)
    w.add(node("a", labels={"role": "worker"}))
    await w.until(lambda: bool(w.cidrs("a")))
    w.add(node("b", labels={"role": "worker"}))
    await w.rest(1)
    assert ["there is no ClusterCIDR: create one"] == [note for *_, note in w.events("n")]
    (note,) = [note for *_, note in w.events("m")]
    assert note.startswith(
        "none of the 1 ClusterCIDRs is in use and matches this Node: compare their nodeSelector"
    )
    assert ["no free block: p (10.0.0.0/28) is full; add a ClusterCIDR that matches this Node"] == [
        note for *_, note in w.events("b")
    ]


@story
async def test_another_pool_that_doesnt_match_is_no_news(w: World) -> None:
    """What is said about a Node doesn't change with the number of ClusterCIDRs."""
    w.start()
    w.add(node("n"), pool("p", "10.0.0.0/28", bits=4, match={"role": "worker"}))
    await w.rest(1)
    for number in range(3):
        w.add(pool(f"q{number}", f"10.1.{number}.0/28", bits=4, match={"role": "worker"}))
        await w.rest(1)
        w.server.patch("nodes", "n", {"metadata": {"labels": {"changed": str(number)}}})
        await w.rest(1)
    assert 1 == len(w.events("n"))


@story
async def test_a_pool_that_was_mended_and_broken_again(w: World) -> None:
    """Each time it becomes invalid is told."""
    w.add(pool("p", "10.0.0.0/28", bits=5))
    w.start()
    await w.rest(1)
    w.server.patch(POOLS, "p", {"spec": {"perNodeHostBits": 4}})
    await w.rest(1)
    assert ("True", "Allocating") == w.ready("p")
    w.server.patch(POOLS, "p", {"spec": {"perNodeHostBits": 6}})
    await w.rest(1)
    assert 2 == len(w.events("p"))
