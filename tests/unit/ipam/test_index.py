from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nodeipam.ipam import Prefix, PrefixIndex

from .universe import BITS, Model, addresses, prefixes, v4, v6

if TYPE_CHECKING:
    from _typeshed import TraceFunction

OWNERS = st.sampled_from(["a", "b", "c"])


class Comparison(RuleBasedStateMachine):
    """Whatever is added and removed, in any order, the index answers as the list of holdings does."""

    @initialize(family=st.sampled_from([4, 6]))
    def start(self, family: int) -> None:
        """An empty index and an empty model."""
        self.family = family
        self.index: PrefixIndex[str] = PrefixIndex(family)
        self.model = Model()

    @rule(data=st.data(), owner=OWNERS)
    def add(self, data: st.DataObject, owner: str) -> None:
        """Any prefix may be held by anybody."""
        prefix = data.draw(prefixes(self.family))
        self.index.add(prefix, owner)
        self.model.add(prefix, owner)

    @precondition(lambda self: self.model.held)
    @rule(data=st.data(), owner=OWNERS)
    def add_equal(self, data: st.DataObject, owner: str) -> None:
        """What is held already may be held by another, or once more."""
        prefix, _ = data.draw(st.sampled_from(sorted(self.model.held)))
        self.index.add(prefix, owner)
        self.model.add(prefix, owner)

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """What is held can be given back, in any order."""
        holding = data.draw(st.sampled_from(sorted(self.model.held)))
        self.index.remove(*holding)
        self.model.remove(*holding)

    @precondition(lambda self: self.model.held)
    @rule(data=st.data(), other=OWNERS)
    def hand_over(self, data: st.DataObject, other: str) -> None:
        """What one holds another may take over."""
        prefix, owner = data.draw(st.sampled_from(sorted(self.model.held)))
        self.index.hand_over(prefix, owner, other)
        self.model.remove(prefix, owner)
        self.model.add(prefix, other)

    @rule(data=st.data(), owner=OWNERS)
    def remove_what_is_not_there(self, data: st.DataObject, owner: str) -> None:
        """What isn't held can't be given back, and trying changes nothing."""
        prefix = data.draw(prefixes(self.family))
        if (prefix, owner) not in self.model.held:
            with pytest.raises(KeyError, match="is not held by"):
                self.index.remove(prefix, owner)
            with pytest.raises(KeyError, match="is not held by"):
                self.index.hand_over(prefix, owner, "other")

    @rule(data=st.data())
    def allocate(self, data: st.DataObject) -> None:
        """The block found is the model's, and is then held as an allocator would."""
        inside, length, cursor = data.draw(searches(self.family))
        found = self.index.find(inside, length, cursor)
        assert self.model.find(inside, length, cursor) == found
        if found is not None:
            self.index.add(Prefix(self.family, found, length), "found")
            self.model.add(Prefix(self.family, found, length), "found")

    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        """Every question about any prefix gets the model's answer."""
        prefix = data.draw(prefixes(self.family))
        overlapping = self.model.overlapping(prefix)
        assert overlapping == sorted(self.index.holders(prefix))
        assert [p for p, _ in overlapping] == [p for p, _ in self.index.holders(prefix)]
        assert [h for h in overlapping if h[0].length < prefix.length] == sorted(self.index.around(prefix))
        assert [h for h in overlapping if prefix.contains(h[0])] == sorted(self.index.inside(prefix))
        assert (not overlapping) == self.index.free(prefix)
        for owners in (("a",), ("a", "b")):
            assert {owner for _, owner in overlapping}.issubset(owners) == self.index.only(prefix, *owners)
        assert any(h[0].contains(prefix) for h in overlapping) == self.index.covers(prefix)
        assert self.model.used(prefix) == self.index.used(prefix)
        assert self.model.last(prefix) == self.index.last(prefix)

    @rule(data=st.data())
    def count_what_is_free(self, data: st.DataObject) -> None:
        """As many blocks of a length are free in a range as in the model."""
        inside, length, _ = data.draw(searches(self.family))
        assert self.model.vacant(inside, length) == self.index.vacant(inside, length)

    @rule(data=st.data())
    def ask_for_blocks(self, data: st.DataObject) -> None:
        """The blocks of one length in a range are the model's."""
        inside, length, _ = data.draw(searches(self.family))
        expected = [h for h in sorted(self.model.held) if inside.contains(h[0]) and h[0].length == length]
        assert expected == sorted(self.index.blocks(inside, length))

    @invariant()
    def sums(self) -> None:
        """After every step the number of holdings and of addresses in use agree."""
        if hasattr(self, "index"):
            assert len(self.model.held) == len(self.index)
            assert self.model.used(Prefix(self.family, 0, 0)) == self.index.used(Prefix(self.family, 0, 0))


def searches(family: int) -> st.SearchStrategy[tuple[Prefix, int, int]]:
    """Ranges with a block length that fits and a cursor, which may lie outside."""
    bits = BITS[family]
    return prefixes(family).flatmap(
        lambda inside: st.tuples(
            st.just(inside),
            st.integers(inside.length, min(bits, inside.length + 4)) | st.integers(inside.length, bits),
            st.integers(inside.value, inside.last) | addresses(family) | st.just(inside.last + 1),
        )
    )


Comparison.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestComparison = Comparison.TestCase


HOMES = {4: v4("10.0.0.0/27"), 6: v6("fd00::/123")}
PLACES = st.lists(st.tuples(st.integers(0, 31), st.integers(0, 5), st.sampled_from("ab")), max_size=40)
CHOICES = st.lists(st.integers(0, 1000), max_size=20)


@settings(deadline=None, max_examples=400)
@given(st.sampled_from([4, 6]), st.sampled_from([1, 2, 3, 5]), PLACES, CHOICES, PLACES)
def test_a_small_range_address_by_address(
    family: int,
    widest: int,
    first: list[tuple[int, int, str]],
    removed: list[int],
    then: list[tuple[int, int, str]],
) -> None:
    """In 32 addresses every block size is found from every cursor where sets of addresses say it is.

    Some holdings are added first, some of them removed, and others added again.
    """
    home = HOMES[family]
    index: PrefixIndex[str] = PrefixIndex(family)
    held: list[tuple[Prefix, str]] = []

    def add(places: list[tuple[int, int, str]]) -> None:
        for low, host_bits, owner in places:
            length = home.bits - min(host_bits, widest)
            held.append((Prefix.around(family, home.value | low, length), owner))
            index.add(*held[-1])

    add(first)
    for choice in removed[: len(held)]:
        index.remove(*held.pop(choice % len(held)))
    add(then)
    used = {address for prefix, _ in held for address in range(prefix.value, prefix.last + 1)}
    assert len(used) == index.used(home)
    for host_bits in range(6):
        size = 1 << host_bits
        free = [at for at in range(home.value, home.last + 1, size) if used.isdisjoint(range(at, at + size))]
        for cursor in range(home.value, home.last + 1):
            expected = next((at for at in free if at >= cursor), free[0] if free else None)
            assert expected == index.find(home, home.bits - host_bits, cursor)


NESTED = [
    Prefix.around(4, address, length) for address, length in [(0, 26), (0, 27), (32, 27), (0, 28), (16, 28)]
] + [Prefix(4, address, 30) for address in (0, 4, 8, 16, 28, 32, 48, 64)]


@settings(deadline=None, max_examples=50)
@given(st.permutations(NESTED), st.permutations(NESTED))
def test_nothing_is_left_behind(added: list[Prefix], removed: list[Prefix]) -> None:
    """An index from which everything was removed again, in any order, is as free as a new one."""
    index: PrefixIndex[str] = PrefixIndex(4)
    for prefix in added:
        index.add(prefix, "x")
    for prefix in removed:
        index.remove(prefix, "x")
    everything = v4("0.0.0.0/0")
    assert (0, 0, None) == (len(index), index.used(everything), index.last(everything))
    assert [] == list(index.holders(everything))
    assert index.find(everything, 0, 0) == 0


@settings(deadline=None, max_examples=50)
@given(st.permutations(NESTED), st.permutations(NESTED))
def test_the_way_does_not_matter(added: list[Prefix], removed: list[Prefix]) -> None:
    """Whatever was added and removed before, the same holdings give the same number of addresses in use."""
    index: PrefixIndex[str] = PrefixIndex(4)
    for prefix in added:
        index.add(prefix, "x")
    for number, prefix in enumerate(removed):
        index.remove(prefix, "x")
        left = {a for other in removed[number + 1 :] for a in range(other.value, other.last + 1)}
        assert len(left) == index.used(v4("0.0.0.0/0"))


class TestOwners:
    def test_others_keep_theirs(self) -> None:
        """Removing a wide holding frees no address that somebody holds inside it."""
        index: PrefixIndex[str] = PrefixIndex(4)
        inside = v4("10.0.0.0/22")
        narrow = [(v4("10.0.1.0/24"), "narrow"), (v4("10.0.3.0/24"), "narrow")]
        for holding in [(inside, "wide"), *narrow]:
            index.add(*holding)
        index.remove(inside, "wide")
        assert narrow == list(index.holders(inside))
        found = [index.find(inside, 24, prefix.value) for prefix in (inside, v4("10.0.1.0/24"))]
        assert [v4("10.0.0.0/24").value, v4("10.0.2.0/24").value] == found

    def test_duplicates(self) -> None:
        """A prefix that two owners hold stays in use until both have let go of it."""
        index: PrefixIndex[str] = PrefixIndex(6)
        block = v6("fd00::10/124")
        index.add(block, "a")
        index.add(block, "b")
        assert [(block, "a"), (block, "b")] == list(index.holders(block))
        index.remove(block, "a")
        assert (16, 1) == (index.used(v6("fd00::/64")), len(index))
        index.remove(block, "b")
        assert index.free(block)

    def test_the_same_twice(self) -> None:
        """An owner that adds a prefix twice holds it once for readers, and until it was removed twice."""
        index: PrefixIndex[str] = PrefixIndex(4)
        block = v4("10.0.0.0/24")
        index.add(block, "a")
        index.add(block, "a")
        assert (1, [(block, "a")]) == (len(index), list(index.holders(block)))
        index.remove(block, "a")
        assert not index.free(block)
        index.remove(block, "a")
        assert (0, True) == (len(index), index.free(block))

    def test_not_held(self) -> None:
        """Who removes what they don't hold is told so, and nothing changes."""
        index: PrefixIndex[str] = PrefixIndex(4)
        index.add(v4("10.0.0.0/24"), "a")
        with pytest.raises(KeyError, match=r"10\.0\.0\.0/24 is not held by 'b'"):
            index.remove(v4("10.0.0.0/24"), "b")
        with pytest.raises(KeyError, match=r"10\.0\.0\.0/25 is not held by 'a'"):
            index.remove(v4("10.0.0.0/25"), "a")
        with pytest.raises(KeyError, match=r"10\.0\.1\.0/24 is not held by 'a'"):
            index.remove(v4("10.0.1.0/24"), "a")
        assert (1, 256) == (len(index), index.used(v4("10.0.0.0/8")))


@contextmanager
def counted_lines() -> Iterator[Callable[[], int]]:
    """Counts the lines of Python that run meanwhile: a measure of cost that no busy machine disturbs."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: object) -> TraceFunction:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lambda: count
    finally:
        sys.settrace(before)


def steps_to_allocate(holdings: int) -> int:
    """Lines that run to find and record 20 blocks from cursors all over a fragmented range."""
    index: PrefixIndex[int] = PrefixIndex(6)
    inside = v6("fd00::/96")
    for number in range(holdings):
        scattered = (number * 2654435761) & 0xFFFF_FFF0
        index.add(Prefix(6, inside.value | scattered, 124), number)
    with counted_lines() as lines:
        for number in range(20):
            found = index.find(inside, 124, inside.value | (number * 40503 << 12) & 0xFFFF_FFFF)
            assert found is not None
            index.add(Prefix(6, found, 124), -1)
    return lines()


class TestLimits:
    def test_of_no_family(self) -> None:
        """There is no index but of the two families."""
        with pytest.raises(ValueError, match="not 5"):
            PrefixIndex(5)

    def test_wrong_family(self) -> None:
        """A prefix of the other family can't get in by mistake, nor be asked for."""
        index: PrefixIndex[str] = PrefixIndex(4)
        for call in (
            index.free,
            index.used,
            index.last,
            lambda p: index.add(p, "a"),
            lambda p: index.find(p, 64, 0),
            lambda p: index.vacant(p, 64),
        ):
            with pytest.raises(ValueError, match="is no IPv4 prefix"):
                call(v6("::/8"))

    @pytest.mark.parametrize("length", [7, 33])
    def test_block_that_cannot_exist(self, length: int) -> None:
        """A block wider than its range or narrower than an address is an error, not a full range."""
        with pytest.raises(ValueError, match=rf"no /{length} blocks in 10\.0\.0\.0/8"):
            PrefixIndex[str](4).find(v4("10.0.0.0/8"), length, 0)
        with pytest.raises(ValueError, match=rf"no /{length} blocks in 10\.0\.0\.0/8"):
            PrefixIndex[str](4).vacant(v4("10.0.0.0/8"), length)

    def test_vast_range(self) -> None:
        """A range of 2^116 blocks is searched around a few holdings as quickly as a small one."""
        index: PrefixIndex[str] = PrefixIndex(6)
        inside = v6("fd00::/8")
        index.add(v6("fd00::/9"), "a")
        index.add(v6("fdff::/16"), "b")
        assert v6("fd80::/124").value == index.find(inside, 124, inside.value)
        assert v6("fd80::/124").value == index.find(inside, 124, v6("fdff::/16").value)
        assert v6("fd80::/10").value == index.find(inside, 10, inside.value)

    def test_one_gap(self) -> None:
        """Among 4,096 blocks in use the one that is free is found from any cursor."""
        index: PrefixIndex[int] = PrefixIndex(4)
        inside, gap = v4("10.0.0.0/16"), v4("10.0.171.160/28")
        for number in range(4096):
            block = Prefix(4, inside.value + 16 * number, 28)
            if block != gap:
                index.add(block, number)
        cursors = [inside.value, gap.value, gap.value + 1, gap.last + 1, inside.last]
        assert [gap.value] * 5 == [index.find(inside, 28, cursor) for cursor in cursors]
        assert index.find(inside, 27, inside.value) is None

    def test_cost(self) -> None:
        """A hundred times the holdings make finding and recording a block less than three times as long."""
        few, many = (steps_to_allocate(holdings) for holdings in (100, 10_000))
        assert many < 3 * few

    def test_full_range(self) -> None:
        """That a range is full is seen at its top, not block by block."""
        index: PrefixIndex[int] = PrefixIndex(4)
        inside, cursor = v4("10.0.0.0/16"), v4("10.0.77.16/28").value
        for number in range(4096):
            index.add(Prefix(4, inside.value + 16 * number, 28), number)
        with counted_lines() as lines:
            assert index.find(inside, 28, cursor) is None
        assert lines() < 60

    def test_counting_ends(self) -> None:
        """Counting free blocks is exact among 4,000 scattered ones; among narrower holdings it stops early.

        What it then says is at most what the free addresses would make, and never less than the truth.
        """
        index: PrefixIndex[int] = PrefixIndex(4)
        inside = v4("10.0.0.0/8")
        for number in range(4000):
            index.add(Prefix.around(4, inside.value | (number * 2654435761) & 0xFF_FFFF, 28), number)
        assert (1 << 20) - len(index) == index.vacant(inside, 28)
        touched = {prefix.value >> 8 for prefix, _ in index.holders(inside)}
        with counted_lines() as lines:
            found = index.vacant(inside, 24)
        assert (1 << 16) - len(touched) <= found <= (1 << 16) - index.used(inside) // 256
        assert lines() < 20_000

    def test_the_collector_sees_none_of_it(self) -> None:
        """A thousand holdings add nothing that the garbage collector has to visit."""
        index: PrefixIndex[str] = PrefixIndex(4)
        blocks = [Prefix(4, number << 8, 24) for number in range(0, 2000, 2)]
        gc.collect()
        before = len(gc.get_objects())
        for block in blocks:
            index.add(block, "a")
        assert len(gc.get_objects()) - before < 10

    def test_repr(self) -> None:
        """An index says its family, how many holdings it has, and how much they cover."""
        index: PrefixIndex[str] = PrefixIndex(4)
        index.add(v4("10.0.0.0/24"), "a")
        index.add(v4("10.0.0.0/25"), "b")
        assert "<PrefixIndex IPv4: 2 holdings, 256 addresses>" == repr(index)
