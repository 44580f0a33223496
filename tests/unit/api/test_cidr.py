from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeipam.api.cidr import format_cidr, parse_cidr, parse_pod_cidr
from nodeipam.ipam import Prefix

ADDRESSES_4 = st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 0x0A000000, 2**32 - 1])
ADDRESSES_6 = (
    st.integers(0, 2**128 - 1)
    | st.integers(0, 2**33)
    | st.lists(st.sampled_from([0, 0, 0, 1, 0xDB8, 0xFFFF]), min_size=8, max_size=8).map(
        lambda groups: sum(group << 16 * at for at, group in enumerate(groups))
    )
).filter(lambda value: value >> 32 != 0xFFFF)


class TestEveryPrefix:
    @settings(deadline=None)
    @given(ADDRESSES_4, st.integers(0, 32))
    def test_ipv4_has_the_text_of_ipaddress(self, value: int, length: int) -> None:
        """An IPv4 range is printed as the standard library prints it, and read back as the same prefix."""
        prefix = Prefix.around(4, value, length)
        assert str(ipaddress.IPv4Network((prefix.value, length))) == format_cidr(prefix)
        assert prefix == parse_cidr(format_cidr(prefix)) == parse_pod_cidr(format_cidr(prefix))

    @settings(deadline=None)
    @given(ADDRESSES_6, st.integers(0, 128))
    def test_ipv6_has_the_text_of_ipaddress(self, value: int, length: int) -> None:
        """An IPv6 range is printed as RFC 5952 says, and read back as the same prefix."""
        prefix = Prefix.around(6, value, length)
        assert str(ipaddress.IPv6Network((prefix.value, length))) == format_cidr(prefix)
        assert prefix == parse_cidr(format_cidr(prefix)) == parse_pod_cidr(format_cidr(prefix))

    @settings(deadline=None)
    @given(ADDRESSES_4, st.integers(0, 32))
    def test_host_bits_are_masked(self, value: int, length: int) -> None:
        """An address with a length stands for the range around it."""
        text = f"{ipaddress.IPv4Address(value)}/{length}"
        assert Prefix.around(4, value, length) == parse_cidr(text) == parse_pod_cidr(text)

    @settings(deadline=None)
    @given(ADDRESSES_6, st.integers(0, 128))
    def test_ipv6_is_read_in_full(self, value: int, length: int) -> None:
        """IPv6 groups may be written out, in capitals too."""
        text = f"{ipaddress.IPv6Address(value).exploded.upper()}/{length}"
        assert Prefix.around(6, value, length) == parse_cidr(text) == parse_pod_cidr(text)

    @settings(deadline=None)
    @given(st.text(alphabet="0123456789abf.:/% x", max_size=24))
    def test_nonsense_is_a_value_error(self, text: str) -> None:
        """What is no range is a ValueError that quotes it, and what is one has a text that reads the same."""
        try:
            found: Prefix | ValueError = parse_pod_cidr(text)
        except ValueError as fault:
            found = fault
        if isinstance(found, ValueError):
            assert text in str(found)
        else:
            assert found == parse_pod_cidr(format_cidr(found))


@pytest.mark.parametrize(
    "text,right",
    [
        ("10.0.0.0", "/32"),
        ("10.0.0.0/", "/32"),
        ("10.0.0.0/33", "from 0 to 32"),
        ("10.0.0.0/-1", "from 0 to 32"),
        ("10.0.0.0/+8", "from 0 to 32"),
        ("10.0.0.0/8 ", "from 0 to 32"),
        ("10.0.0.0/8/8", "from 0 to 32"),
        ("10.0.0.0/٨", "from 0 to 32"),
        ("2001:db8::/129", "from 0 to 128"),
        ("10.0.0.256/8", "over 255"),
        ("10.0.0/8", "neither IPv4 nor IPv6"),
        ("10.0.0.0.0/8", "neither IPv4 nor IPv6"),
        ("2001:db8/32", "neither IPv4 nor IPv6"),
        ("1::2::3/64", "neither IPv4 nor IPv6"),
        (" 10.0.0.0/8", "neither IPv4 nor IPv6"),
        ("10.0.0.0\n/8", "neither IPv4 nor IPv6"),
        ("10.0.0.0\0/8", "neither IPv4 nor IPv6"),
        ("10.99999999999999999999.0.0/8", "neither IPv4 nor IPv6"),
        ("", "neither IPv4 nor IPv6"),
        ("all", "neither IPv4 nor IPv6"),
        ("fe80::1%eth0/64", "leave out the part from % on"),
        ("10.0.0.0/255.0.0.0", "netmask"),
        ("2001:db8::/ffff::", "netmask"),
    ],
)
def test_what_neither_reader_takes(text: str, right: str) -> None:
    """Text that Go can't read either is refused by both readers, with what would be right."""
    for read in (parse_cidr, parse_pod_cidr):
        with pytest.raises(ValueError, match="is no CIDR") as refused:
            read(text)
        assert right in str(refused.value)


@pytest.mark.parametrize(
    "text,right,meant",
    [
        ("010.0.0.0/8", "leading zeros", "10.0.0.0/8"),
        ("10.000.0.0/8", "leading zeros", "10.0.0.0/8"),
        ("10.0.0.0/08", "leading zeros", "10.0.0.0/8"),
        ("10.244.0.0/024", "leading zeros", "10.244.0.0/24"),
        ("0000000010.1.2.3/16", "neither IPv4", "10.1.0.0/16"),
        ("02001:0db8::/0032", "neither IPv4", "2001:db8::/32"),
        ("::ffff:10.0.0.0/120", 'as in "10.0.0.0/24"', "10.0.0.0/24"),
        ("::ffff:0a01:0203/112", 'as in "10.1.2.3/16"', "10.1.0.0/16"),
        ("::ffff:10.1.2.3/64", "written as IPv6", "::/64"),
        ("64:ff9b::010.0.0.0/104", "neither IPv4", "64:ff9b::a00:0/104"),
    ],
)
def test_what_only_nodes_may_have(text: str, right: str, meant: str) -> None:
    """What older API servers let through on Nodes is understood as by Go, but refused in a ClusterCIDR."""
    with pytest.raises(ValueError, match="is no CIDR") as refused:
        parse_cidr(text)
    assert right in str(refused.value)
    assert meant == format_cidr(parse_pod_cidr(text))


def test_ipv4_compatible_addresses_have_no_dots() -> None:
    """The lowest IPv6 addresses are printed in groups, as Go does and glibc doesn't."""
    assert "::102:304/128" == format_cidr(parse_cidr("::1.2.3.4/128"))
    assert "::1/128" == format_cidr(parse_cidr("0:0:0:0:0:0:0:1/128"))
    assert "::/0" == format_cidr(parse_cidr("::/0"))
