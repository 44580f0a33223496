"""From text to values, for flags and environment variables alike.

Every reader takes a text and returns its value, or raises a ValueError that quotes the text and says what
would be right. Who wrote the text is the caller's to say. The empty text means "not set" wherever that makes
sense.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from nodeipam.ipam.prefix import Prefix

__all__ = ["address", "boolean", "integer", "number", "one_of", "optional", "ranges", "text"]

T = TypeVar("T")
W = TypeVar("W", bound=str)

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9})")
_ADDRESS = re.compile(r"(\[[^][\s]+\]|[^][:\s]*):([0-9]{1,6})")


def text(given: str) -> str:
    """Any text, as it is."""
    return given


def boolean(given: str) -> bool:
    """What Go's `strconv.ParseBool` takes for true or false."""
    if given in _TRUE:
        return True
    if given in _FALSE:
        return False
    raise ValueError(f'"{given}" is neither true nor false; write "true" or "false"')


def integer(given: str) -> int:
    """A decimal integer."""
    if not _INTEGER.fullmatch(given):
        raise ValueError(f'"{given}" is no integer; write one such as "16"')
    return int(given)


def number(given: str) -> float:
    """A decimal number."""
    if not _NUMBER.fullmatch(given):
        raise ValueError(f'"{given}" is no number; write one such as "20"')
    return float(given)


def optional(read: Callable[[str], T], nothing: str = "") -> Callable[[str], T | None]:
    """A reader for which the empty text, and the word `nothing`, mean None."""
    return lambda given: None if given in {"", nothing} else read(given)


def one_of(*words: W) -> Callable[[str], W]:
    """A reader for one of some words."""

    def read(given: str) -> W:
        for word in words:
            if word == given:
                return word
        raise ValueError(f'"{given}" isn\'t known here; use {", ".join(words[:-1])} or {words[-1]}')

    return read


def ranges(given: str) -> tuple[Prefix, ...]:
    """Ranges separated by commas, each read strictly; none for the empty text."""
    from nodeipam.api.cidr import parse_cidr  # noqa: PLC0415 - it isn't needed for --help

    return tuple([parse_cidr(part.strip()) for part in given.split(",")]) if given.strip() else ()


def address(given: str) -> str:
    """A TCP address to listen at: a port behind a colon, with or without a host before it."""
    found = _ADDRESS.fullmatch(given)
    if found and int(found[2]) <= 65535:
        return given
    if found:
        right = f"the port has to be between 0 and 65535, not {found[2]}"
    elif given.isdecimal():
        right = f'a colon comes before the port: ":{given}"'
    elif given.count(":") > 1:
        right = 'an IPv6 address stands in brackets, as in "[::1]:8081"'
    else:
        right = 'write a port as ":8081", or with a host as "127.0.0.1:8081"'
    raise ValueError(f'"{given}" is no address to listen at: {right}')
