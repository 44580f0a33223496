"""The pools in force: by UID, indexed by what they require, and used by whom."""

from __future__ import annotations

from typing import Any

import pytest

from nodeipam.api.cidr import parse_cidr
from nodeipam.api.clustercidr import FINALIZER, ClusterCIDR
from nodeipam.api.node import Node
from nodeipam.controllers.ledger import Holder, Ledger
from nodeipam.controllers.poolset import PoolEntry, PoolSet
from nodeipam.ipam.pool import Choice
from nodeipam.runtime import ObjectMeta, Slices
from nodeipam.testing import VirtualClock, run_virtual

from .world import pool


class Set:
    """A set of pools over a ledger, with a record of which it told of."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.pools = PoolSet(self.ledger)
        self.told: list[str] = []
        self.pools.on_change(lambda entry: self.told.append(entry.obj.metadata.name))

    def add(self, name: str, *ranges: str, **spec: Any) -> PoolEntry:
        """A pool, which carries our finalizer."""
        self.pools.on_add(a_pool(name, *ranges, **spec), initial=False)
        return self.entry(name)

    def entry(self, name: str) -> PoolEntry:
        """The entry of the pool `name`."""
        found = self.pools.get(f"uid-{name}")
        assert found is not None
        return found

    def hold(self, name: str, *cidrs: str) -> Node:
        """A Node with these ranges."""
        node = Node(name, f"uid-{name}", "1", cidrs)
        self.ledger.on_add(node, False)
        return node


def a_pool(
    name: str, *ranges: str, finalized: bool = True, terminating: bool = False, **spec: Any
) -> ClusterCIDR:
    """A ClusterCIDR as it is cached."""
    given = pool(name, *ranges, **({"bits": 4} | spec))["spec"]
    meta = ObjectMeta(
        name=name,
        uid=f"uid-{name}",
        resource_version="1",
        finalizers=[FINALIZER] if finalized else None,
        deletion_timestamp="2026-01-01T00:00:00Z" if terminating else None,
    )
    return ClusterCIDR(metadata=meta, spec=given)


def user_of(pools: PoolSet, entry: PoolEntry, ledger: Ledger) -> Holder | None:
    """Who uses a pool and would lose it."""

    async def asked() -> Holder | None:
        return await pools.user_of(entry, ledger, Slices(VirtualClock()))

    return run_virtual(asked())


def test_is_found_by_what_it_requires() -> None:
    """A Node's candidates are those that match its labels, the catch-alls last, terminating ones left out."""
    found = Set()
    found.add("all", "10.0.0.0/24")
    found.add("worker", "10.1.0.0/24", match={"role": "worker"})
    found.add("other", "10.2.0.0/24", match={"role": "other"})
    found.pools.on_add(a_pool("going", "10.3.0.0/24", terminating=True), initial=False)
    node = Node("n", "uid-n", "1", (), ("role",), ("worker",))
    assert ["worker", "all"] == [entry.obj.metadata.name for entry in found.pools.candidates(node)]


def test_a_deletion_that_is_undone() -> None:
    """A pool whose deletion was undone, as when etcd is restored, is a candidate again."""
    found = Set()
    before, going = a_pool("p", "10.0.0.0/24"), a_pool("p", "10.0.0.0/24", terminating=True)
    found.pools.on_add(before, initial=False)
    node = Node("n", "uid-n", "1")
    for obj, right in ((going, []), (before, ["p"])):
        found.pools.on_update(found.entry("p").obj, obj)
        assert right == [entry.obj.metadata.name for entry in found.pools.candidates(node)]


def test_nothing_is_given_out_before_it_is_confirmed() -> None:
    """A pool is in use from `confirm` on, which does nothing without our finalizer, until the term ends."""
    found = Set()
    bare = a_pool("p", "10.0.0.0/24", finalized=False)
    found.pools.on_add(bare, initial=False)
    entry = found.entry("p")
    seen = []
    found.pools.confirm(entry)
    seen.append(entry.confirmed)
    found.pools.on_update(bare, a_pool("p", "10.0.0.0/24"))
    seen.append(entry.confirmed)
    found.pools.confirm(entry)
    seen.append(entry.confirmed)
    found.pools.begin_term()
    seen.append(entry.confirmed)
    assert [False, False, True, False] == seen


def test_losing_the_finalizer_is_losing_the_confirmation() -> None:
    """Whoever removes it by hand ends the use of the pool until it is back."""
    found = Set()
    entry = found.add("p", "10.0.0.0/24")
    found.pools.confirm(entry)
    found.pools.on_update(entry.obj, a_pool("p", "10.0.0.0/24", finalized=False))
    assert not entry.confirmed


def test_an_entry_that_is_gone_isnt_confirmed() -> None:
    """A confirmation that comes after the end of a pool, or of its spec, says nothing of its successor."""
    found = Set()
    entry = found.add("p", "10.0.0.0/24")
    found.pools.on_update(entry.obj, a_pool("p", "10.1.0.0/24"))
    found.pools.confirm(entry)
    assert not entry.confirmed
    assert not found.entry("p").confirmed
    found.pools.on_delete(found.entry("p").obj)
    assert 0 == len(found.pools)


def test_a_change_is_told_once() -> None:
    """A new pool, its confirmation, its deletion and its end are news; a new label or condition isn't."""
    found = Set()
    entry = found.add("p", "10.0.0.0/24")
    found.pools.confirm(entry)
    found.pools.confirm(entry)
    found.pools.on_update(entry.obj, a_pool("p", "10.0.0.0/24"))
    assert ["p"] * 2 == found.told
    going = a_pool("p", "10.0.0.0/24", terminating=True)
    found.pools.on_update(entry.obj, going)
    found.pools.on_update(going, going)
    found.pools.on_delete(going)
    assert ["p"] * 4 == found.told


def test_a_new_spec_is_another_pool() -> None:
    """Nothing of the old ranges is left, whether the new spec is valid or not."""
    found = Set()
    entry = found.add("p", "10.0.0.0/24")
    found.pools.on_update(entry.obj, a_pool("p", "10.1.0.0/24"))
    assert [] == found.pools.around(parse_cidr("10.0.0.0/28"))
    assert ["p"] == [e.obj.metadata.name for e in found.pools.around(parse_cidr("10.1.0.0/28"))]
    found.pools.on_update(found.entry("p").obj, a_pool("p", "10.1.0.0/33"))
    assert [] == found.pools.around(parse_cidr("10.1.0.0/28"))
    assert found.entry("p").fault


def test_a_new_term_goes_on_behind_the_highest_block() -> None:
    """D-50: blocks that were freed before the term aren't the first to be given out in it."""
    found = Set()
    entry = found.add("p", "10.0.0.0/24")
    found.hold("n", "10.0.0.32/28")
    found.pools.begin_term()
    assert entry.pool is not None
    choice = entry.pool.choose(found.ledger.indexes)
    assert isinstance(choice, Choice)
    assert (parse_cidr("10.0.0.48/28"),) == choice.prefixes


@pytest.mark.parametrize(
    "other, user",
    [
        (a_pool("q", "10.0.0.0/16"), None),
        (a_pool("q", "10.0.0.0/16", finalized=False), "uid-n"),
        (a_pool("q", "10.0.0.0/16", terminating=True), "uid-n"),
        (a_pool("q", "10.0.0.0/16", bits=5), "uid-n"),
        (a_pool("q", "10.0.1.0/24"), "uid-n"),
        (a_pool("q", "10.0.0.0/33"), "uid-n"),
    ],
)
def test_who_uses_a_pool_that_goes(other: ClusterCIDR, user: str | None) -> None:
    """A Node with its blocks does, unless a pool of that size stays, finalizer and all, and has them too."""
    found = Set()
    entry = found.add("p", "10.0.0.0/24", terminating=True)
    found.hold("n", "10.0.0.32/28")
    found.pools.on_add(other, initial=False)
    assert user == user_of(found.pools, entry, found.ledger)


@pytest.mark.parametrize(
    "cidrs, uses",
    [
        (("10.0.0.0/28", "fd00::/124"), True),
        (("10.0.0.0/28",), False),
        (("10.0.0.0/28", "fd01::/124"), False),
        (("10.0.0.0/27", "fd00::/124"), False),
        (("10.0.0.0/28", "fd00::/124", "10.9.0.0/28"), True),
    ],
)
def test_a_node_uses_a_pool_in_all_its_families(cidrs: tuple[str, ...], uses: bool) -> None:  # noqa: FBT001
    """It holds a block of the pool's size in each."""
    found = Set()
    entry = found.add("p", "10.0.0.0/24", "fd00::/120", terminating=True)
    found.hold("n", *cidrs)
    assert uses == (user_of(found.pools, entry, found.ledger) is not None)


def test_a_service_range_uses_no_pool() -> None:
    """Excluded addresses keep nothing from being deleted."""
    ledger = Ledger([parse_cidr("10.0.0.0/28")])
    pools = PoolSet(ledger)
    pools.on_add(a_pool("p", "10.0.0.0/24", terminating=True), initial=False)
    entry = pools.get("uid-p")
    assert entry is not None
    assert user_of(pools, entry, ledger) is None


def test_counts_releases_of_its_own_size() -> None:
    """What a Node gives back counts in each pool that it could have come from."""
    found = Set()
    small, large = found.add("p", "10.0.0.0/24"), found.add("q", "10.0.0.0/24", bits=6)
    node = found.hold("n", "10.0.0.0/28")
    found.ledger.on_delete(node)
    assert (1, 0) == (small.stats[4].releases, large.stats[4].releases)
