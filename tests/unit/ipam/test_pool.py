from __future__ import annotations

import pytest

from nodeipam.ipam import Choice, Full, Pool, Prefix, PrefixIndex

from .universe import v4, v6


def pool(*ranges: Prefix, host_bits: int = 8, name: str = "p", terminating: bool = False) -> Pool:
    """A pool with what matters to a test."""
    return Pool(
        uid=f"uid-{name}",
        name=name,
        ranges=ranges,
        host_bits=host_bits,
        catch_all=False,
        selector_text="",
        terminating=terminating,
    )


def indexes(*held: Prefix) -> dict[int, PrefixIndex[str]]:
    """Indexes in which somebody holds these prefixes."""
    made: dict[int, PrefixIndex[str]] = {4: PrefixIndex(4), 6: PrefixIndex(6)}
    for prefix in held:
        made[prefix.family].add(prefix, "somebody")
    return made


def take(source: Pool, held: dict[int, PrefixIndex[str]]) -> list[str]:
    """Choose and record, as the caller does in one step."""
    choice = source.choose(held)
    assert isinstance(choice, Choice)
    for prefix in choice.prefixes:
        held[prefix.family].add(prefix, "taken")
    return [str(prefix) for prefix in choice.prefixes]


class TestWhatMakesAPool:
    def test_no_range(self) -> None:
        """A pool without a range is refused."""
        with pytest.raises(ValueError, match="pool p needs one range, or one of each family, not none"):
            pool()

    def test_two_of_one_family(self) -> None:
        """A pool with two ranges of one family is refused, with both named."""
        with pytest.raises(ValueError, match=r"not 10\.0\.0\.0/16 \+ 10\.1\.0\.0/16"):
            pool(v4("10.1.0.0/16"), v4("10.0.0.0/16"))

    @pytest.mark.parametrize("host_bits", [-1, 17])
    def test_blocks_that_do_not_fit(self, host_bits: int) -> None:
        """Host bits that are negative or more than a range has are refused with the numbers."""
        with pytest.raises(ValueError, match=rf"{host_bits} host bits .* 10\.0\.0\.0/16, .* 0 to 16"):
            pool(v4("10.0.0.0/16"), v6("fd00::/64"), host_bits=host_bits)

    def test_what_follows(self) -> None:
        """IPv4 comes first; block lengths and capacity follow from the ranges, the smaller family counts."""
        made = pool(v6("fd00::/64"), v4("10.0.0.0/16"), host_bits=10)
        assert ((v4("10.0.0.0/16"), v6("fd00::/64")), (22, 118), 64) == (
            made.ranges,
            made.lengths,
            made.capacity,
        )

    def test_the_whole_range(self) -> None:
        """A block may be the whole range: a pool for one Node, then full."""
        made, held = pool(v4("10.0.0.0/24")), indexes()
        assert (1, ["10.0.0.0/24"]) == (made.capacity, take(made, held))
        assert Full(4) == made.choose(held)

    def test_repr(self) -> None:
        """A pool says what it has and what state it is in."""
        made = pool(v4("10.0.0.0/16"), v6("fd00::/64"), name="gpu", terminating=True)
        assert "<Pool gpu 10.0.0.0/16 + fd00::/64, 8 host bits, 256 blocks, terminating>" == repr(made)

    def test_identity(self) -> None:
        """Two pools with the same fields are two pools."""
        assert 2 == len({pool(v4("10.0.0.0/16")), pool(v4("10.0.0.0/16"))})


class TestTheCursor:
    def test_one_after_the_other(self) -> None:
        """A fresh pool gives out its blocks in order from the first, in both families."""
        made, held = pool(v4("10.244.0.0/16"), v6("2001:db8::/110")), indexes()
        assert ["10.244.0.0/24", "2001:db8::/120"] == take(made, held)
        assert ["10.244.1.0/24", "2001:db8::100/120"] == take(made, held)

    def test_a_freed_block_waits_for_the_next_round(self) -> None:
        """A block that is freed comes back only after the cursor has gone round."""
        made, held = pool(v4("10.0.0.0/22")), indexes()
        taken = [take(made, held)[0] for _ in range(2)]
        held[4].remove(v4(taken[0]), "taken")
        assert ["10.0.2.0/24", "10.0.3.0/24", "10.0.0.0/24"] == [take(made, held)[0] for _ in range(3)]

    def test_choosing_reserves_nothing(self) -> None:
        """A choice that isn't recorded leaves the index as it was; only the cursor has moved."""
        made, held = pool(v4("10.0.0.0/16")), indexes()
        made.choose(held)
        assert 0 == len(held[4])
        assert ["10.0.1.0/24"] == take(made, held)

    def test_around_what_others_hold(self) -> None:
        """Blocks are skipped that overlap anything in use, whatever its size and whoever holds it."""
        held = indexes(v4("10.0.0.0/25"), v4("10.0.1.77/32"), v4("10.0.2.0/23"))
        assert ["10.0.4.0/24"] == take(pool(v4("10.0.0.0/16")), held)

    def test_pools_that_share_a_range(self) -> None:
        """Pools of different block sizes on one range never give out the same address."""
        wide, narrow, held = (
            pool(v4("10.0.0.0/16"), host_bits=10),
            pool(v4("10.0.0.0/16"), host_bits=7),
            indexes(),
        )
        taken = [take(source, held)[0] for source in (narrow, wide, narrow, wide)]
        assert ["10.0.0.0/25", "10.0.4.0/22", "10.0.0.128/25", "10.0.8.0/22"] == taken


class TestAfterARestart:
    def test_behind_the_highest(self) -> None:
        """A rewound pool goes on behind the highest address in use, not at a low block just freed."""
        made, held = pool(v4("10.0.0.0/16")), indexes(v4("10.0.1.0/24"), v4("10.0.7.0/24"))
        made.rewind()
        assert ["10.0.8.0/24"] == take(made, held)
        assert ["10.0.9.0/24"] == take(made, held)

    def test_aligned(self) -> None:
        """Behind a block narrower than its own, a pool goes on at the next block of its own size."""
        made, held = pool(v4("10.0.0.0/16")), indexes(v4("10.0.7.16/28"))
        made.rewind()
        assert ["10.0.8.0/24"] == take(made, held)

    def test_at_the_end(self) -> None:
        """Where the highest block is in use, the next is the first free one of the range."""
        made, held = pool(v4("10.0.0.0/16")), indexes(v4("10.0.0.0/24"), v4("10.0.255.0/24"))
        made.rewind()
        assert ["10.0.1.0/24"] == take(made, held)

    def test_nothing_in_use(self) -> None:
        """A rewound pool in which nothing is in use starts at the first block."""
        made = pool(v6("fd00::/64"))
        made.rewind()
        assert ["fd00::/120"] == take(made, indexes())

    def test_decided_when_chosen(self) -> None:
        """What is in use counts at the first choice, not when the pool was told to rewind."""
        made, held = pool(v4("10.0.0.0/16")), indexes()
        made.rewind()
        held[4].add(v4("10.0.5.0/24"), "late")
        assert ["10.0.6.0/24"] == take(made, held)


class TestAllFamiliesOrNone:
    @pytest.mark.parametrize("family, full", [(4, "10.0.0.0/15"), (6, "fd00::/63")])
    def test_full(self, family: int, full: str) -> None:
        """The family without a free block is named, and the cursors of both stay where they are."""
        made, held = pool(v4("10.0.0.0/16"), v6("fd00::/64")), indexes()
        for text in take(made, held):
            block = v6(text) if ":" in text else v4(text)
            held[block.family].remove(block, "taken")
        obstacle = v4(full) if family == 4 else v6(full)
        held[family].add(obstacle, "foreign")
        assert [Full(family)] * 3 == [made.choose(held) for _ in range(3)]
        held[family].remove(obstacle, "foreign")
        assert ["10.0.1.0/24", "fd00::100/120"] == take(made, held)

    def test_one_family_only(self) -> None:
        """A pool of one family looks at no other."""
        assert ["fd00::/120"] == take(pool(v6("fd00::/64")), indexes(v4("0.0.0.0/0")))


class TestTries:
    def test_how_far_it_went(self) -> None:
        """One for the block at the cursor, two where blocks were skipped, three where it went round."""
        made, held = pool(v4("10.0.0.0/22")), indexes(v4("10.0.1.0/24"))
        seen: list[tuple[str, int]] = []
        for _ in range(3):
            choice = made.choose(held)
            assert isinstance(choice, Choice)
            held[4].add(choice.prefixes[0], str(len(seen)))
            seen.append((str(choice.prefixes[0]), choice.tries))
        held[4].remove(v4("10.0.1.0/24"), "somebody")
        held[4].remove(v4("10.0.2.0/24"), "1")
        assert [("10.0.0.0/24", 1), ("10.0.2.0/24", 2), ("10.0.3.0/24", 1)] == seen
        assert Choice((v4("10.0.1.0/24"),), 2) == made.choose(held)
        held[4].add(v4("10.0.2.0/23"), "foreign")
        assert Choice((v4("10.0.1.0/24"),), 3) == made.choose(held)

    def test_the_family_that_went_furthest(self) -> None:
        """Of two families the longer search counts."""
        held = indexes(v6("fd00::/96"))
        choice = pool(v4("10.0.0.0/16"), v6("fd00::/64")).choose(held)
        assert Choice((v4("10.0.0.0/24"), v6("fd00::1:0:0/120")), 2) == choice
