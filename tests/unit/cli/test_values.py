from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from nodeipam.api.cidr import parse_cidr
from nodeipam.cli import values


@pytest.mark.parametrize("text", ["1", "t", "T", "true", "TRUE", "True"])
def test_true(text: str) -> None:
    """What Go's ParseBool takes for true is true."""
    assert values.boolean(text) is True


@pytest.mark.parametrize("text", ["0", "f", "F", "false", "FALSE", "False"])
def test_false(text: str) -> None:
    """What Go's ParseBool takes for false is false."""
    assert values.boolean(text) is False


@pytest.mark.parametrize("text", [":8081", ":0", "127.0.0.1:65535", "[::1]:80", "localhost:80"])
def test_address(text: str) -> None:
    """A port with or without a host is an address to listen at."""
    assert text == values.address(text)


@pytest.mark.parametrize(
    "read,text,value",
    [
        (values.integer, "-16", -16),
        (values.number, "0.5", 0.5),
        (values.optional(values.integer), "", None),
        (values.optional(values.integer), "24", 24),
        (values.optional(values.number, "off"), "off", None),
        (values.optional(values.number, "off"), "20", 20.0),
        (values.one_of("text", "json"), "json", "json"),
        (values.ranges, "", ()),
        (values.ranges, "10.0.0.0/16", (parse_cidr("10.0.0.0/16"),)),
        (values.ranges, "10.0.0.0/16, fd00::/48", (parse_cidr("10.0.0.0/16"), parse_cidr("fd00::/48"))),
    ],
)
def test_reads(read: Callable[[str], Any], text: str, value: object) -> None:
    """A text that means something becomes its value."""
    assert value == read(text)


@pytest.mark.parametrize(
    "read,text,fault",
    [
        (values.boolean, "yes", '"yes" is neither true nor false; write "true" or "false"'),
        (values.boolean, "tRUE", '"tRUE" is neither true nor false; write "true" or "false"'),
        (values.boolean, "", '"" is neither true nor false; write "true" or "false"'),
        (values.integer, "1_6", '"1_6" is no integer; write one such as "16"'),
        (values.integer, "16.0", '"16.0" is no integer; write one such as "16"'),
        (values.integer, "", '"" is no integer; write one such as "16"'),
        (values.number, "nan", '"nan" is no number; write one such as "20"'),
        (values.number, "many", '"many" is no number; write one such as "20"'),
        (values.one_of("a", "b", "c"), "d", '"d" isn\'t known here; use a, b or c'),
        (values.address, "8081", '"8081" is no address to listen at: a colon comes before the port: ":8081"'),
        (
            values.address,
            ":65536",
            '":65536" is no address to listen at: the port has to be between 0 and 65535, not 65536',
        ),
        (
            values.address,
            "::1:8081",
            '"::1:8081" is no address to listen at: an IPv6 address stands in brackets, as in "[::1]:8081"',
        ),
        (
            values.address,
            "localhost",
            (
                '"localhost" is no address to listen at: '
                'write a port as ":8081", or with a host as "127.0.0.1:8081"'
            ),
        ),
        (
            values.ranges,
            "10.0.0.0",
            '"10.0.0.0" is no CIDR: its length is missing; add one from /0 to /32, as in "10.244.0.0/16"',
        ),
    ],
)
def test_refuses(read: Callable[[str], Any], text: str, fault: str) -> None:
    """A text that means nothing is refused, with the text and what would be right."""
    with pytest.raises(ValueError, match=f"^{re.escape(fault)}$"):
        read(text)
