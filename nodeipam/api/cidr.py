"""CIDR text to prefixes and back, by Kubernetes' rules; every prefix has one text, the one Go prints.

Two readers, because two things are read. What a person writes into a ClusterCIDR is read strictly, as Go's
`netip.ParsePrefix` and the CEL function `isCIDR` do: no leading zeros, no zone, no netmask, no IPv4-mapped
IPv6. What already stands on a Node is read as Go's `netutils.ParseCIDRSloppy` does, the parser behind every
podCIDR that kube-apiserver accepted before 1.37: it holds addresses, so it has to be understood.
Host bits are masked by both: 10.1.2.3/16 is 10.1.0.0/16.
"""

from __future__ import annotations

import re
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from nodeipam.ipam.prefix import Prefix

from .reasons import quote

__all__ = ["IPV4_MAPPED", "format_cidr", "parse_cidr", "parse_pod_cidr"]

IPV4_MAPPED = Prefix(6, 0xFFFF << 32, 96)
"""::ffff:0:0/96. Go takes an address in here for an IPv4 one, so it can be nobody's pod address."""

_LENGTHS = {str(length): length for length in range(129)}
_MASKS_4 = tuple((1 << 32) - (1 << (32 - length)) for length in range(33))
_MASKS_6 = tuple((1 << 128) - (1 << (128 - length)) for length in range(129))
_MAPPED_BLOCK = IPV4_MAPPED.value >> 32
_LEADING_ZEROS = re.compile(r"(?<![0-9A-Fa-f])0+(?=[0-9A-Fa-f])")
_OCTET = re.compile(r"[0-9]{1,9}")


def parse_cidr(text: str) -> Prefix:
    """Read a range as a person has to write it; bits behind the length are masked.

    Raises:
        ValueError: the text is no CIDR. The message quotes it, says what is wrong and what would be right.
    """
    address, _, digits = text.partition("/")
    try:
        length = _LENGTHS[digits]
        if ":" not in address:
            return Prefix(4, int.from_bytes(inet_pton(AF_INET, address), "big") & _MASKS_4[length], length)
        value = int.from_bytes(inet_pton(AF_INET6, address), "big")
        if value >> 32 == _MAPPED_BLOCK:
            raise ValueError(text)
        return Prefix(6, value & _MASKS_6[length], length)
    except (ValueError, LookupError, OSError):
        raise ValueError(f"{quote(text)} is no CIDR: {_fault(address, digits)}") from None


@lru_cache(maxsize=256)  # a Node's text is asked for by several, one right after the other: 5 us, then 0.1
def parse_pod_cidr(text: str) -> Prefix:
    """Read a range that stands on a Node, as Go's `ParseCIDRSloppy` and `IPNet.String` do together.

    Leading zeros count for nothing (010.0.0.0/024 is 10.0.0.0/24), and an IPv4-mapped range
    (::ffff:10.0.0.0/120) is the IPv4 range that every Go program takes it for.

    Raises:
        ValueError: Go can't read it either, so nobody can be using addresses of it.
    """
    try:
        return parse_cidr(text)
    except ValueError as strictly:
        found = _parse_sloppily(text)
        if found is None:
            raise strictly from None
        return found


def format_cidr(prefix: Prefix) -> str:
    """The one canonical text of a prefix, as Go's `netip.Prefix` prints it (RFC 5952)."""
    value = prefix.value
    if prefix.family == 4:
        return f"{inet_ntop(AF_INET, value.to_bytes(4, 'big'))}/{prefix.length}"
    if value >> 32 or not value >> 16:
        return f"{inet_ntop(AF_INET6, value.to_bytes(16, 'big'))}/{prefix.length}"
    # glibc would write these last 32 bits with dots, like the IPv4-compatible addresses of old.
    return f"::{value >> 16:x}:{value & 0xFFFF:x}/{prefix.length}"


def _parse_sloppily(text: str) -> Prefix | None:
    address, _, digits = _LEADING_ZEROS.sub("", text).partition("/")
    if ":" not in address:
        return _parse_4(address, digits)
    try:
        length = _LENGTHS[digits]
        value = int.from_bytes(inet_pton(AF_INET6, address), "big") & _MASKS_6[length]
    except (ValueError, LookupError, OSError):
        return None
    if value >> 32 == _MAPPED_BLOCK and length >= IPV4_MAPPED.length:
        return Prefix(4, value & 0xFFFFFFFF, length - IPV4_MAPPED.length)
    return Prefix(6, value, length)


def _parse_4(address: str, digits: str) -> Prefix | None:
    try:
        length = _LENGTHS[digits]
        return Prefix(4, int.from_bytes(inet_pton(AF_INET, address), "big") & _MASKS_4[length], length)
    except (ValueError, LookupError, OSError):
        return None


def _fault(address: str, digits: str) -> str:
    """What keeps `address/digits` from being a CIDR, for a person. Only called when something does."""
    family, limit, example = (6, 128, "2001:db8::/64") if ":" in address else (4, 32, "10.244.0.0/16")
    if "%" in address:
        return "a range has no zone; leave out the part from % on"
    try:
        packed = inet_pton(AF_INET6 if family == 6 else AF_INET, address)
    except (ValueError, OSError):
        return _address_fault(address, example)
    length = _LENGTHS.get(digits, -1)
    if family == 6 and int.from_bytes(packed, "big") >> 32 == _MAPPED_BLOCK:
        right = f"{inet_ntop(AF_INET, packed[12:])}/{length - 96 if length >= 96 else 32}"
        return f'it is an IPv4 range written as IPv6; write it as IPv4, as in "{right}"'
    if not digits:
        return f'its length is missing; add one from /0 to /{limit}, as in "{example}"'
    if "." in digits or ":" in digits:
        return f'it has a netmask; write a length from /0 to /{limit} instead, as in "{example}"'
    return f'its length must be a number from 0 to {limit} without leading zeros, as in "{example}"'


def _address_fault(address: str, example: str) -> str:
    octets = address.split(".")
    if len(octets) == 4 and all(map(_OCTET.fullmatch, octets)):
        return (
            "a number in its address is over 255"
            if any(int(octet) > 255 for octet in octets)
            else "its address has leading zeros, which some programs read as octal; write it without them"
        )
    return f'its address is neither IPv4 nor IPv6; write it as in "{example}"'
