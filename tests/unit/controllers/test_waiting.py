"""Waiting Nodes: who is woken by what, in which order, and that nobody is forgotten."""

from __future__ import annotations

import asyncio
from typing import Any

from nodeipam.api.cidr import parse_cidr
from nodeipam.api.clustercidr import FINALIZER, ClusterCIDR
from nodeipam.api.node import Node
from nodeipam.controllers.ledger import Ledger
from nodeipam.controllers.poolset import PoolEntry, PoolSet
from nodeipam.controllers.waiting import Cause, Waiting
from nodeipam.runtime import ObjectMeta, Request
from nodeipam.testing import VirtualClock, run_virtual

from .world import POOLS, World, node, pool, story

BLOCK = "10.0.0.0/28"


class Line:
    """A line of waiting Nodes, the pools that they wait for, and a record of who was woken."""

    def __init__(self) -> None:
        self.pools = PoolSet(Ledger())
        self.woken: list[str] = []
        self.waiting = Waiting(self.pools, self._wake, clock=VirtualClock())
        self.pools.on_change(self.waiting.pool_changed)

    def _wake(self, request: Request) -> None:
        self.woken.append(request.name)

    def pool(self, name: str, ipv4: str, *, match: dict[str, str] | None = None) -> PoolEntry:
        """A pool in force with blocks of 16 addresses."""
        spec: dict[str, Any] = pool(name, ipv4, bits=4, match=match)["spec"]
        meta = ObjectMeta(name=name, uid=f"uid-{name}", resource_version="1", finalizers=[FINALIZER])
        self.pools.on_add(ClusterCIDR(metadata=meta, spec=spec), initial=False)
        entry = self.pools.get(f"uid-{name}")
        assert entry is not None
        return entry

    def free(self, *texts: str) -> list[str]:
        """Who is woken when these ranges become free."""
        self.woken.clear()
        self.waiting.freed([parse_cidr(text) for text in texts])
        return list(self.woken)


def a_node(name: str, **labels: str) -> Node:
    """A Node without ranges."""
    return Node(name, f"uid-{name}", "1", (), tuple(labels), tuple(labels.values()))


def test_a_freed_block_wakes_the_oldest() -> None:
    """One block, one Node: the one that has waited longest, whatever its name."""
    line = Line()
    entry = line.pool("p", "10.0.0.0/24")
    for name in ("c", "a", "b"):
        line.waiting.add(a_node(name), [entry], Cause.EXHAUSTED)
    assert ["c"] == line.free(BLOCK)
    assert ["a"] == line.free(BLOCK)


def test_a_wide_range_wakes_as_many_as_it_can_serve() -> None:
    """A /26 has four blocks of /28."""
    line = Line()
    entry = line.pool("p", "10.0.0.0/24")
    for name in "abcdef":
        line.waiting.add(a_node(name), [entry], Cause.EXHAUSTED)
    assert ["a", "b", "c", "d"] == line.free("10.0.0.0/26")


def test_who_was_woken_in_vain_keeps_its_place() -> None:
    """A Node that could not be served after all is the first to be woken again."""
    line = Line()
    entry = line.pool("p", "10.0.0.0/24")
    for name in "ab":
        line.waiting.add(a_node(name), [entry], Cause.EXHAUSTED)
    assert ["a"] == line.free("10.0.0.0/29")
    line.waiting.add(a_node("a"), [entry], Cause.EXHAUSTED)
    assert ["a"] == line.free("10.0.0.8/29")


def test_only_those_that_wait_for_the_pool() -> None:
    """A block of another pool is no help, and a Node that waits for both is woken by either."""
    line = Line()
    p, q = line.pool("p", "10.0.0.0/24"), line.pool("q", "10.1.0.0/24")
    line.waiting.add(a_node("a"), [p], Cause.EXHAUSTED)
    line.waiting.add(a_node("b"), [p, q], Cause.EXHAUSTED)
    assert ["b"] == line.free("10.1.0.0/28")
    assert [] == line.free("10.2.0.0/28")


def test_a_wake_that_isnt_used_is_passed_on() -> None:
    """The Node that was woken is gone, served from elsewhere, or waits for others: the next one is woken."""
    line = Line()
    p, q = line.pool("p", "10.0.0.0/24"), line.pool("q", "10.1.0.0/24")
    for name in "abcd":
        line.waiting.add(a_node(name), [p], Cause.EXHAUSTED)
    assert ["a"] == line.free(BLOCK)
    line.waiting.remove("a")
    assert ["a", "b"] == line.woken
    line.waiting.remove("b", served_by=q)
    assert ["a", "b", "c"] == line.woken
    line.waiting.add(a_node("c"), [q], Cause.EXHAUSTED)
    assert ["a", "b", "c", "d"] == line.woken
    line.waiting.remove("d", served_by=p)
    assert ["a", "b", "c", "d"] == line.woken


def test_a_wake_that_is_used_is_not_passed_on() -> None:
    """Whoever is still not served by the pool has seen that it is full: nobody else is woken."""
    line = Line()
    entry = line.pool("p", "10.0.0.0/24")
    for name in "ab":
        line.waiting.add(a_node(name), [entry], Cause.EXHAUSTED)
    line.free(BLOCK)
    line.waiting.add(a_node("a"), [entry], Cause.EXHAUSTED)
    assert ["a"] == line.woken


def test_a_terminating_pool_wakes_nobody() -> None:
    """What becomes free in it is not given out."""
    line = Line()
    entry = line.pool("p", "10.0.0.0/24")
    line.waiting.add(a_node("a"), [entry], Cause.EXHAUSTED)
    meta = ObjectMeta(name="p", uid="uid-p", deletion_timestamp="now", finalizers=[FINALIZER])
    line.pools.on_update(entry.obj, ClusterCIDR(metadata=meta, spec=entry.obj.spec))
    assert [] == line.free(BLOCK)


def test_many_looks_dont_make_the_line_long() -> None:
    """A Node that is looked at a thousand times stands in the line a few times at most."""
    line = Line()
    entry = line.pool("p", "10.0.0.0/24")
    for _ in range(1000):
        line.waiting.add(a_node("a"), [entry], Cause.EXHAUSTED)
    assert 20 > len(line.waiting._lines[entry.uid])  # noqa: SLF001 - memory is what is tested


def test_a_new_pool_wakes_those_it_matches() -> None:
    """The others sleep on."""

    async def main() -> None:
        line = Line()
        line.waiting.add(a_node("a", role="worker"), [], Cause.EXHAUSTED)
        line.waiting.add(a_node("b", role="other"), [], Cause.EXHAUSTED)
        running = asyncio.create_task(line.waiting.run())
        line.pool("p", "10.0.0.0/24", match={"role": "worker"})
        await asyncio.sleep(1)
        assert ["a"] == line.woken
        line.pool("q", "10.0.0.0/24")
        await asyncio.sleep(1)
        assert ["a", "b"] == line.woken
        running.cancel()

    run_virtual(main())


# Stories


async def full(w: World, *waiting: str) -> None:
    """A pool of one block, which Node n has, and Nodes that wait for it."""
    w.add(pool("p", BLOCK, bits=4), node("n"))
    w.start()
    await w.until(lambda: w.cidrs("n") == [BLOCK])
    for name in waiting:
        w.add(node(name))
        await w.rest(0.01)


def looks(w: World) -> float:
    """How many Nodes have been reconciled."""
    samples = w.replicas[0].samples()
    name = "controller_runtime_reconcile_total"
    return sum(v for found, labels, v in samples if found == name and labels["controller"] == "nodes")


@story
async def test_a_block_goes_to_the_oldest_at_once(w: World) -> None:
    """Of a hundred that wait, one is looked at, and it gets the block."""
    await full(w, *[f"m{i}" for i in range(100, 0, -1)])
    before = looks(w)
    w.server.delete("nodes", "n")
    await w.until(lambda: w.cidrs("m100") == [BLOCK], seconds=0.1)
    await w.rest()
    assert 3 >= looks(w) - before


@story
async def test_the_oldest_goes_before_it_is_served(w: World) -> None:
    """A block is freed, and the Node it would serve is deleted in the same moment: the next gets it."""
    await full(w, "first", "second")
    w.server.delete("nodes", "n")
    w.server.delete("nodes", "first")
    await w.until(lambda: w.cidrs("second") == [BLOCK], seconds=1)


@story
async def test_the_oldest_is_relabelled_before_it_is_served(w: World) -> None:
    """The Node that would have been served takes from another pool by now: the next one gets the block."""
    await full(w, "first", "second")
    w.add(pool("q", "10.1.0.0/24", bits=4, match={"role": "worker"}))
    await w.until(lambda: w.ready("q")[0] == "True")
    w.server.delete("nodes", "n")
    w.server.patch("nodes", "first", {"metadata": {"labels": {"role": "worker"}}})
    await w.until(lambda: w.cidrs("second") == [BLOCK], seconds=1)
    assert ["10.1.0.0/28"] == w.cidrs("first")


@story
async def test_a_new_pool_is_used_at_once(w: World) -> None:
    """All that wait are served as soon as there is a pool for them."""
    await full(w, *[f"m{i}" for i in range(9)])
    w.add(pool("q", "10.1.0.0/24", bits=4))
    await w.until(lambda: len(w.assigned()) == 10, seconds=1)


@story
async def test_a_label_makes_a_pool_match(w: World) -> None:
    """A Node that comes to match a pool is served at once."""
    w.add(pool("p", BLOCK, bits=4, match={"role": "worker"}), node("n"))
    w.start()
    await w.rest(60)
    w.server.patch("nodes", "n", {"metadata": {"labels": {"role": "worker"}}})
    await w.until(lambda: w.cidrs("n") == [BLOCK], seconds=0.1)


@story
async def test_a_pool_that_becomes_invalid_keeps_nobody_waiting(w: World) -> None:
    """Under a lax CRD a pool may turn invalid while Nodes wait for it: they pass on to the next."""
    w.fail(lambda call: call.path.endswith("/clustercidrs/a"), "error_before", 503, times=None)
    w.add(pool("a", "10.0.0.0/28", bits=4), pool("b", "10.1.0.0/24", bits=4))
    w.start()
    w.add(node("n"))
    await w.rest(5)
    assert [] == w.cidrs("n")
    w.server.patch(POOLS, "a", {"spec": {"perNodeHostBits": 40}})
    await w.until(lambda: w.cidrs("n") == ["10.1.0.0/28"], seconds=1)


@story
async def test_a_pool_that_is_deleted_keeps_nobody_waiting(w: World) -> None:
    """The same, where it is deleted."""
    w.fail(lambda call: call.path.endswith("/clustercidrs/a"), "error_before", 503, times=None)
    w.add(pool("a", "10.0.0.0/28", bits=4), pool("b", "10.1.0.0/24", bits=4))
    w.start()
    w.add(node("n"))
    await w.rest(5)
    w.server.delete(POOLS, "a")
    await w.until(lambda: w.cidrs("n") == ["10.1.0.0/28"], seconds=1)
