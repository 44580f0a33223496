from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeipam.ipam import Prefix

from .universe import network, prefixes, v4, v6


class TestWhatMakesAPrefix:
    @pytest.mark.parametrize(
        "family, value, length, message",
        [
            (5, 0, 0, "the family of a prefix is 4 or 6, not 5"),
            (4, 0, 33, "an IPv4 prefix has a length from 0 to 32, not 33"),
            (6, 0, -1, "an IPv6 prefix has a length from 0 to 128, not -1"),
            (4, 1 << 32, 32, "an IPv4 address has 32 bits, 0x100000000 doesn't fit"),
            (4, -1, 32, "an IPv4 address has 32 bits"),
            (
                4,
                0x0A010203,
                16,
                "10.1.2.3/16 has bits set behind its length: the prefix around it is 10.1.0.0/16",
            ),
        ],
    )
    def test_refused(self, family: int, value: int, length: int, message: str) -> None:
        """What is no prefix is refused, with the offending value and what would be right."""
        with pytest.raises(ValueError, match=message.replace(".", r"\.")):
            Prefix(family, value, length)

    def test_around(self) -> None:
        """The prefix around an address drops the bits behind the length."""
        assert v4("10.1.0.0/16") == Prefix.around(4, 0x0A010203, 16)

    def test_around_nonsense(self) -> None:
        """A length that no address has is refused by `around` as well."""
        with pytest.raises(ValueError, match="not 129"):
            Prefix.around(6, 0, 129)


class TestArithmetic:
    @given(prefixes(4) | prefixes(6))
    def test_agrees_with_ipaddress(self, prefix: Prefix) -> None:
        """Size, first and last address and text are what the standard library says."""
        expected = network(prefix)
        assert expected.num_addresses == prefix.size
        assert int(expected.network_address) == prefix.value
        assert int(expected.broadcast_address) == prefix.last
        assert expected.max_prefixlen == prefix.bits == prefix.length + prefix.host_bits
        assert str(expected) == str(prefix)

    @given(st.sampled_from([4, 6]).flatmap(lambda family: st.tuples(prefixes(family), prefixes(family))))
    def test_nesting(self, pair: tuple[Prefix, Prefix]) -> None:
        """Containing and overlapping are what they are for sets of addresses."""
        one, other = pair
        a, b = set_of(one), set_of(other)
        assert (a.start <= b.start and b.stop <= a.stop) == one.contains(other)
        assert (a.start < b.stop and b.start < a.stop) == one.overlaps(other)

    def test_families_never_meet(self) -> None:
        """The whole of IPv4 has nothing in common with the whole of IPv6."""
        assert not v4("0.0.0.0/0").overlaps(v6("::/0"))

    def test_order(self) -> None:
        """Prefixes sort IPv4 first, by address as a number, wide before narrow."""
        expected = [v4("9.0.0.0/8"), v4("10.0.0.0/8"), v4("10.0.0.0/9"), v6("::/0"), v6("fd00::/8")]
        assert expected == sorted(expected[3:] + expected[:3])

    def test_blocks(self) -> None:
        """A range has 2^(difference of the lengths) blocks, and none that is wider than itself."""
        assert (256, 1, 0) == tuple(v4("10.0.0.0/16").blocks(length) for length in (24, 16, 15))

    def test_repr(self) -> None:
        """A prefix shows itself as people write it."""
        assert "Prefix(fd00::/64)" == repr(v6("fd00::/64"))


def set_of(prefix: Prefix) -> range:
    """The addresses of a prefix."""
    return range(prefix.value, prefix.value + prefix.size)
