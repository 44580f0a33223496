"""Small worlds of prefixes in which everything meets, and a model of an index too simple to be wrong."""

from __future__ import annotations

import ipaddress
from collections import Counter

from hypothesis import strategies as st

from nodeipam.ipam import Prefix

BITS = {4: 32, 6: 128}


def v4(text: str) -> Prefix:
    """An IPv4 prefix from its text."""
    network = ipaddress.IPv4Network(text)
    return Prefix(4, int(network.network_address), network.prefixlen)


def v6(text: str) -> Prefix:
    """An IPv6 prefix from its text."""
    network = ipaddress.IPv6Network(text)
    return Prefix(6, int(network.network_address), network.prefixlen)


def network(prefix: Prefix) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """The standard library's view of a prefix."""
    kind = ipaddress.IPv4Network if prefix.family == 4 else ipaddress.IPv6Network
    return kind((prefix.value, prefix.length))


def addresses(family: int) -> st.SearchStrategy[int]:
    """Addresses that are near each other, far apart, and at both ends of the family."""
    bits = BITS[family]
    home = 0xFD << 120 if family == 6 else 10 << 24
    near = st.integers(0, 63).map(lambda low: home | low)
    middling = st.integers(0, bits - 1).map(lambda bit: home ^ (1 << bit))
    return near | middling | st.integers(0, (1 << bits) - 1) | st.sampled_from([0, (1 << bits) - 1])


def prefixes(family: int) -> st.SearchStrategy[Prefix]:
    """Prefixes of one family, many of them nested, equal or neighbours."""
    bits = BITS[family]
    lengths = st.integers(bits - 6, bits) | st.integers(0, bits)
    return st.builds(Prefix.around, st.just(family), addresses(family), lengths)


class Model:
    """An index as a plain list of holdings. `find` steps from holding to holding, `used` merges intervals."""

    def __init__(self) -> None:
        self.held: Counter[tuple[Prefix, str]] = Counter()

    def add(self, prefix: Prefix, owner: str) -> None:
        """One more holding, or one that is held once more."""
        self.held[prefix, owner] += 1

    def remove(self, prefix: Prefix, owner: str) -> None:
        """Take one back."""
        self.held[prefix, owner] -= 1
        if not self.held[prefix, owner]:
            del self.held[prefix, owner]

    def overlapping(self, prefix: Prefix) -> list[tuple[Prefix, str]]:
        """Every holding that has an address in common with `prefix`, by address."""
        return sorted(holding for holding in self.held if holding[0].overlaps(prefix))

    def spans(self, inside: Prefix) -> list[tuple[int, int]]:
        """What is in use of a range: half-open intervals, sorted, neighbours not merged."""
        merged: list[tuple[int, int]] = []
        for prefix, _ in self.overlapping(inside):
            start, stop = max(prefix.value, inside.value), min(prefix.last, inside.last) + 1
            if merged and stop <= merged[-1][1]:
                continue
            merged.append((start, stop))
        return merged

    def used(self, inside: Prefix) -> int:
        """How many addresses of a range are in use."""
        return sum(stop - start for start, stop in self.spans(inside))

    def vacant(self, inside: Prefix, length: int) -> int:
        """How many free aligned blocks a range has: all but those that an interval in use touches."""
        shift = BITS[inside.family] - length
        count, behind = inside.blocks(length), -1
        for start, stop in self.spans(inside):
            first, last = max(start >> shift, behind + 1), (stop - 1) >> shift
            count -= max(0, last - first + 1)
            behind = max(behind, last)
        return count

    def last(self, inside: Prefix) -> int | None:
        """The highest address of a range that is in use."""
        return max((stop - 1 for _, stop in self.spans(inside)), default=None)

    def find(self, inside: Prefix, length: int, cursor: int) -> int | None:
        """The first free aligned block from the cursor on, else from the start of the range on."""
        size = 1 << (BITS[inside.family] - length)
        spans = self.spans(inside)
        for start in (cursor if inside.value < cursor <= inside.last else inside.value, inside.value):
            at = -(-start // size) * size
            while at + size <= inside.last + 1:
                ends = [stop for first, stop in spans if first < at + size and at < stop]
                if not ends:
                    return at
                at = -(-max(ends) // size) * size
        return None
