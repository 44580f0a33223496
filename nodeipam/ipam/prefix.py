"""Aligned blocks of addresses, as integers.

Invariant: a prefix that exists is valid. Its family is 4 or 6, its length fits the family, and no bit behind
the length is set. Two prefixes of one family are therefore equal, nested or disjoint, and nothing else.
"""

from __future__ import annotations

import ipaddress

import msgspec

__all__ = ["BITS", "Prefix"]

BITS = {4: 32, 6: 128}
"""The width of an address, by family."""


class Prefix(msgspec.Struct, frozen=True, order=True, gc=False):
    """A range of 2^k addresses that begins at a multiple of 2^k: 10.244.0.0/16, fd00::/64.

    Prefixes are hashable and ordered: IPv4 before IPv6, then by address as a number, then wide before narrow.

    Raises:
        ValueError: family, value and length don't make a prefix.
    """

    family: int
    """4 or 6."""
    value: int
    """The first address."""
    length: int
    """How many leading bits all its addresses share, 0 to 32 or 128."""

    def __post_init__(self) -> None:
        bits = BITS.get(self.family)
        if bits is None:
            raise ValueError(f"the family of a prefix is 4 or 6, not {self.family}")
        if not 0 <= self.length <= bits:
            raise ValueError(f"an IPv{self.family} prefix has a length from 0 to {bits}, not {self.length}")
        if not 0 <= self.value < 1 << bits:
            raise ValueError(f"an IPv{self.family} address has {bits} bits, {self.value:#x} doesn't fit")
        if self.value & ((1 << (bits - self.length)) - 1):
            raise ValueError(
                f"{_text(self.family, self.value)}/{self.length} has bits set behind its length: "
                f"the prefix around it is {Prefix.around(self.family, self.value, self.length)}"
            )

    @classmethod
    def around(cls, family: int, address: int, length: int) -> Prefix:
        """The prefix of this length that `address` lies in: the bits behind the length are dropped.

        Raises:
            ValueError: family, address and length don't make a prefix.
        """
        host_bits = max(0, BITS.get(family, 0) - length)
        return cls(family, address >> host_bits << host_bits, length)

    @property
    def bits(self) -> int:
        """The width of an address: 32 or 128."""
        return BITS[self.family]

    @property
    def host_bits(self) -> int:
        """How many bits tell its addresses apart: 8 for an IPv4 /24, 64 for an IPv6 /64."""
        return BITS[self.family] - self.length

    @property
    def size(self) -> int:
        """The number of addresses."""
        return 1 << self.host_bits

    @property
    def last(self) -> int:
        """The last address."""
        return self.value + self.size - 1

    def contains(self, other: Prefix) -> bool:
        """Whether every address of `other` is one of ours; so it is for an equal prefix."""
        return (
            self.family == other.family
            and self.length <= other.length
            and not (self.value ^ other.value) >> self.host_bits
        )

    def overlaps(self, other: Prefix) -> bool:
        """Whether there is an address in both."""
        return self.contains(other) or other.contains(self)

    def blocks(self, length: int) -> int:
        """How many prefixes of this length fit in, side by side; 0 if they are wider."""
        return 1 << (length - self.length) if length >= self.length else 0

    def __str__(self) -> str:
        return f"{_text(self.family, self.value)}/{self.length}"

    def __repr__(self) -> str:
        return f"Prefix({self})"


def _text(family: int, address: int) -> str:
    """An address for people to read; what goes to the API server is written by the `api` package."""
    return str(ipaddress.IPv4Address(address) if family == 4 else ipaddress.IPv6Address(address))
