"""The ledger: who holds which addresses, by UID, whatever happens in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeipam.api.cidr import parse_cidr
from nodeipam.api.node import Node
from nodeipam.controllers.ledger import SERVICES, Ledger, holdings, malformed


def a_node(name: str, *cidrs: str, uid: str = "", version: int = 1) -> Node:
    """A Node with these ranges."""
    return Node(name, uid or f"uid-{name}", str(version), cidrs)


class TestNodes:
    def test_holds_what_a_node_holds_until_the_node_is_gone(self) -> None:
        """A Node's addresses are in use from its first event to the last."""
        ledger = Ledger()
        node = a_node("a", "10.0.0.0/24", "fd00::/64")
        ledger.on_add(node, True)
        assert not ledger.indexes[4].free(parse_cidr("10.0.0.128/25"))
        assert not ledger.indexes[6].free(parse_cidr("fd00::/64"))
        ledger.on_delete(node)
        assert ledger.indexes[4].free(parse_cidr("10.0.0.0/8"))
        assert len(ledger.indexes[6]) == 0

    def test_d08_a_terminating_node_keeps_its_addresses(self) -> None:
        """D-08: a deletionTimestamp frees nothing, the end of the object does."""
        ledger = Ledger()
        node = a_node("a", "10.0.0.0/24")
        ledger.on_add(node, True)
        ledger.on_update(node, Node("a", "uid-a", "2", ("10.0.0.0/24",), terminating=True))
        assert not ledger.indexes[4].free(parse_cidr("10.0.0.0/24"))

    def test_d18_releasing_a_wide_range_frees_nobody_elses(self) -> None:
        """D-18: a /22 Node that goes leaves the /24 inside it with the Node that has it."""
        ledger = Ledger()
        wide, narrow = a_node("wide", "10.0.0.0/22"), a_node("narrow", "10.0.1.0/24")
        ledger.on_add(wide, True)
        ledger.on_add(narrow, True)
        ledger.on_delete(wide)
        assert not ledger.indexes[4].free(parse_cidr("10.0.1.0/24"))
        assert ledger.indexes[4].free(parse_cidr("10.0.0.0/24"))

    def test_d54_each_family_is_accounted_for_on_its_own(self) -> None:
        """D-54: a first podCIDR that nobody can read doesn't hide the second."""
        ledger = Ledger()
        ledger.on_add(a_node("a", "not-a-range", "fd00::/64"), True)
        assert not ledger.indexes[6].free(parse_cidr("fd00::/64"))

    def test_reads_sloppy_text_as_go_does(self) -> None:
        """010.0.0.0/024 is 10.0.0.0/24, and that is what it occupies."""
        ledger = Ledger()
        ledger.on_add(a_node("a", "010.0.0.0/024"), True)
        assert [(parse_cidr("10.0.0.0/24"), "uid-a")] == list(
            ledger.indexes[4].holders(parse_cidr("10.0.0.0/8"))
        )

    def test_a_range_listed_twice_counts_once(self) -> None:
        """A Node that lists one range twice holds it once, and gives it back."""
        ledger = Ledger()
        node = a_node("a", "10.0.0.0/24", "10.0.0.0/24")
        ledger.on_add(node, True)
        ledger.on_delete(node)
        assert len(ledger.indexes[4]) == 0

    def test_believes_a_change_of_ranges(self) -> None:
        """Ranges that change, as they never should, are followed: the new ones are in use, the old not."""
        ledger = Ledger()
        old, new = a_node("a", "10.0.0.0/24"), a_node("a", "10.0.1.0/24", version=2)
        ledger.on_add(old, True)
        ledger.on_update(old, new)
        assert ledger.indexes[4].free(parse_cidr("10.0.0.0/24"))
        assert not ledger.indexes[4].free(parse_cidr("10.0.1.0/24"))

    def test_excluded_ranges_are_nobodys(self) -> None:
        """A Service range is in use from the start."""
        ledger = Ledger([parse_cidr("10.96.0.0/12")])
        assert [(parse_cidr("10.96.0.0/12"), SERVICES)] == list(
            ledger.indexes[4].holders(parse_cidr("10.0.0.0/8"))
        )

    def test_gives_back_what_is_on_record(self) -> None:
        """A deletion whose last state differs frees what was recorded, and raises nothing."""
        ledger = Ledger()
        ledger.on_add(a_node("a", "10.0.0.0/24"), True)
        ledger.on_delete(a_node("a", "10.0.9.0/24"))
        ledger.on_delete(a_node("never-seen", "10.0.1.0/24"))
        assert len(ledger.indexes[4]) == 0

    def test_knows_the_version_it_has_processed(self) -> None:
        """`processed` is the Node's version after each event, and -1 for a Node that isn't there."""
        ledger = Ledger()
        node, newer = a_node("a", version=7), a_node("a", version=9)
        assert ledger.processed("uid-a") == -1
        ledger.on_add(node, True)
        assert ledger.processed("uid-a") == 7
        ledger.on_update(node, newer)
        assert ledger.processed("uid-a") == 9
        ledger.on_delete(newer)
        assert ledger.processed("uid-a") == -1

    def test_tells_what_is_malformed(self) -> None:
        """Text that is no range is quoted in the complaint, and the rest still counts."""
        node = a_node("a", "10.0.0.0/99", "10.0.1.0/24")
        assert [parse_cidr("10.0.1.0/24")] == list(holdings(node))
        assert "10.0.0.0/99" in malformed(node)[0]


class TestConflicts:
    def test_reports_an_overlap_that_others_made(self) -> None:
        """The Node that came second knows whom it overlaps, and with what."""
        ledger = Ledger()
        second = a_node("b", "10.0.0.128/25")
        ledger.on_add(a_node("a", "10.0.0.0/24"), True)
        ledger.on_add(second, True)
        assert [(parse_cidr("10.0.0.128/25"), "uid-a", parse_cidr("10.0.0.0/24"))] == ledger.conflicts(second)
        assert ledger.conflicted == 1

    def test_a_conflict_ends_with_the_other_node(self) -> None:
        """When the first Node is gone there is nothing left to report."""
        ledger = Ledger()
        first, second = a_node("a", "10.0.0.0/24"), a_node("b", "10.0.0.0/24")
        ledger.on_add(first, True)
        ledger.on_add(second, True)
        ledger.on_delete(first)
        assert ledger.conflicts(second) == []
        assert ledger.conflicted == 0

    def test_the_count_of_conflicts_goes_down_by_itself(self) -> None:
        """A conflict that has ended isn't counted, though nobody asked about it."""
        ledger = Ledger()
        first = a_node("a", "10.0.0.0/24")
        ledger.on_add(first, True)
        ledger.on_add(a_node("b", "10.0.0.0/25"), True)
        assert ledger.conflicted == 1
        ledger.on_delete(first)
        assert ledger.conflicted == 0

    def test_ones_own_reservation_is_no_conflict(self) -> None:
        """A Node whose reserved block arrives on it conflicts with nobody."""
        ledger = Ledger()
        node = a_node("a")
        ledger.on_add(node, False)
        ledger.reserve(node, "pool", (parse_cidr("10.0.0.0/24"),), 1)
        assigned = a_node("a", "10.0.0.0/24", version=2)
        ledger.on_update(node, assigned)
        assert ledger.conflicts(assigned) == []
        assert ledger.reservation("uid-a") is None


class TestReservations:
    def test_is_in_use_until_the_node_shows_ranges(self) -> None:
        """The block passes from reservation to Node without a moment in which it is free."""
        ledger = Ledger()
        node, block = a_node("a"), parse_cidr("10.0.0.0/24")
        freed: list[object] = []
        ledger.on_freed(freed.extend)
        ledger.on_add(node, False)
        ledger.reserve(node, "pool", (block,), 1)
        ledger.on_update(node, a_node("a", "10.0.0.0/24", version=2))
        assert not ledger.indexes[4].free(block)
        assert freed == []

    def test_another_range_on_the_node_frees_the_reserved_one(self) -> None:
        """Somebody was first: what the Node shows is in use, what we meant for it is free."""
        ledger = Ledger()
        node, block = a_node("a"), parse_cidr("10.0.0.0/24")
        freed: list[object] = []
        ledger.on_freed(freed.extend)
        ledger.on_add(node, False)
        ledger.reserve(node, "pool", (block,), 1)
        ledger.on_update(node, a_node("a", "10.0.9.0/24", version=2))
        assert ledger.indexes[4].free(block)
        assert freed == [block]

    def test_goes_with_the_node(self) -> None:
        """A Node that is gone leaves neither holdings nor reservation (D-09 to D-12)."""
        ledger = Ledger()
        node, block = a_node("a"), parse_cidr("10.0.0.0/24")
        ledger.on_add(node, False)
        ledger.attempt(ledger.reserve(node, "pool", (block,), 1), 1)
        ledger.on_delete(node)
        assert ledger.indexes[4].free(block)
        assert ledger.unsettled == 0

    def test_d42_a_new_uid_under_the_name_inherits_nothing(self) -> None:
        """D-42: after delete and add the old Node's block is free and the new one has no reservation."""
        ledger = Ledger()
        old, new, block = a_node("a", uid="1"), a_node("a", uid="2"), parse_cidr("10.0.0.0/24")
        ledger.on_add(old, False)
        ledger.reserve(old, "pool", (block,), 1)
        ledger.on_delete(old)
        ledger.on_add(new, False)
        assert ledger.reservation("2") is None
        assert ledger.indexes[4].free(block)

    def test_refuses_a_block_that_is_in_use(self) -> None:
        """Reserving what overlaps anything is a bug of the caller's, found at once, and records nothing."""
        ledger = Ledger()
        ledger.on_add(a_node("a", "10.0.0.0/25"), False)
        with pytest.raises(AssertionError, match=r"10\.0\.0\.0/24"):
            ledger.reserve(a_node("b"), "pool", (parse_cidr("fd00::/64"), parse_cidr("10.0.0.0/24")), 1)
        assert ledger.indexes[6].free(parse_cidr("fd00::/64"))

    def test_refuses_a_second_reservation(self) -> None:
        """One Node, one reservation (D-44)."""
        ledger = Ledger()
        ledger.reserve(a_node("a"), "pool", (parse_cidr("10.0.0.0/24"),), 1)
        with pytest.raises(AssertionError, match="already"):
            ledger.reserve(a_node("a"), "pool", (parse_cidr("10.0.1.0/24"),), 1)

    def test_a_newer_version_settles_an_unknown_outcome(self) -> None:
        """What was decided on version 5 can't land on a Node at version 6; at version 5 it still can."""
        ledger = Ledger()
        node = a_node("a", version=5)
        ledger.on_add(node, False)
        ledger.attempt(ledger.reserve(node, "pool", (parse_cidr("10.0.0.0/24"),), 1), 5)
        ledger.on_update(node, a_node("a", version=5))
        assert ledger.unsettled == 1
        ledger.on_update(node, a_node("a", version=6))
        assert ledger.unsettled == 0
        assert not ledger.indexes[4].free(parse_cidr("10.0.0.0/24"))

    def test_a_later_fence_voids_earlier_terms_only(self) -> None:
        """What earlier terms reserved is free after the fence; what this one reserved stays."""
        ledger = Ledger()
        ledger.attempt(ledger.reserve(a_node("a"), "pool", (parse_cidr("10.0.0.0/24"),), 1), 1)
        ledger.reserve(a_node("b"), "pool", (parse_cidr("10.0.1.0/24"),), 2)
        ledger.void_before(2)
        assert ledger.indexes[4].free(parse_cidr("10.0.0.0/24"))
        assert not ledger.indexes[4].free(parse_cidr("10.0.1.0/24"))

    def test_a_fence_keeps_what_it_could_not_shut_out(self) -> None:
        """The reservation of a Node that was set aside isn't voided: an old write may still land."""
        ledger = Ledger()
        ledger.reserve(a_node("a"), "pool", (parse_cidr("10.0.0.0/24"),), 1)
        ledger.void_before(2, keep={"uid-a"})
        assert not ledger.indexes[4].free(parse_cidr("10.0.0.0/24"))

    def test_releasing_twice_frees_once(self) -> None:
        """A reservation that was given back already isn't given back from under its successor."""
        ledger = Ledger()
        first = ledger.reserve(a_node("a"), "pool", (parse_cidr("10.0.0.0/24"),), 1)
        ledger.release(first)
        ledger.reserve(a_node("a"), "pool", (parse_cidr("10.0.0.0/24"),), 1)
        ledger.release(first)
        assert not ledger.indexes[4].free(parse_cidr("10.0.0.0/24"))

    def test_sees_a_foreign_holder_of_a_reserved_block(self) -> None:
        """A Node that brings an overlapping range makes the reservation overlapped, its own Node's never."""
        ledger = Ledger()
        reservation = ledger.reserve(a_node("a"), "pool", (parse_cidr("10.0.0.0/24"),), 1)
        assert not ledger.overlapped(reservation)
        ledger.on_add(a_node("b", "10.0.0.64/26"), False)
        assert ledger.overlapped(reservation)


_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["add", "assign", "delete", "reserve", "release", "unknown"]),
        st.integers(0, 4),
        st.integers(0, 7),
        st.integers(24, 26),
    ),
    max_size=60,
)


@given(_EVENTS)
def test_in_use_is_the_union_of_nodes_and_reservations(events: list[tuple[str, int, int, int]]) -> None:
    """I4: after any history the index holds what existing Nodes hold and what is reserved, no more."""
    ledger = Ledger()
    nodes: dict[str, Node] = {}
    for step, (what, who, third, length) in enumerate(events):
        name = f"n{who}"
        node = nodes.get(name)
        if what == "add" and node is None:
            nodes[name] = a_node(name, uid=f"{name}-{step}", version=step)
            ledger.on_add(nodes[name], False)
        elif node is None:
            continue
        elif what == "assign":
            nodes[name] = a_node(name, f"10.0.{third}.0/{length}", uid=node.uid, version=step)
            ledger.on_update(node, nodes[name])
        elif what == "delete":
            ledger.on_delete(nodes.pop(name))
        else:
            _reserve_or_release(ledger, node, what, f"10.0.{third}.0/{length}", step)
    held = {(prefix, n.uid) for n in nodes.values() for prefix in holdings(n)}
    held |= {(prefix, f"r{r.uid}") for r in ledger.reservations() for prefix in r.prefixes}
    found = {
        (prefix, owner if isinstance(owner, str) else f"r{owner.uid}")
        for prefix, owner in ledger.indexes[4].holders(parse_cidr("0.0.0.0/0"))
    }
    assert held == found


def _reserve_or_release(ledger: Ledger, node: Node, what: str, text: str, step: int) -> None:
    reservation, block = ledger.reservation(node.uid), parse_cidr(text)
    if what == "reserve" and reservation is None and not node.pod_cidrs and ledger.indexes[4].free(block):
        ledger.reserve(node, "pool", (block,), 1)
    elif what == "unknown" and reservation is not None:
        ledger.attempt(reservation, step)
    elif what == "release" and reservation is not None:
        ledger.release(reservation)
