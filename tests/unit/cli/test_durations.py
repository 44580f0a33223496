from __future__ import annotations

import re

import pytest

from nodeipam.cli.durations import parse_duration


@pytest.mark.parametrize(
    "text,seconds",
    [
        ("15s", 15.0),
        ("1m30s", 90.0),
        ("500ms", 0.5),
        ("1.5h", 5400.0),
        ("1h2m3s", 3723.0),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("250μs", 0.00025),
        ("1ns", 1e-9),
        ("0", 0.0),
        ("+2s", 2.0),
        ("-2s", -2.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("0.1s", 0.1),
        ("2s1m", 62.0),
    ],
)
def test_what_go_reads(text: str, seconds: float) -> None:
    """Every form that Go's time.ParseDuration takes means the same number of seconds."""
    assert seconds == parse_duration(text)


@pytest.mark.parametrize(
    "text,fault",
    [
        ("", '"" is no duration; write one such as "15s", "1m30s" or "500ms"'),
        ("s", '"s" is no duration; write one such as "15s", "1m30s" or "500ms"'),
        ("-", '"-" is no duration; write one such as "15s", "1m30s" or "500ms"'),
        (".s", '".s" is no duration; write one such as "15s", "1m30s" or "500ms"'),
        ("1s-2s", '"1s-2s" is no duration; write one such as "15s", "1m30s" or "500ms"'),
        ("15", '"15" lacks a unit after 15; did you mean "15s"?'),
        ("1m30", '"1m30" lacks a unit after 30; did you mean "1m30s"?'),
        ("1d", '"1d" has the unknown unit "d"; use h, m, s, ms, us or ns'),
        ("15S", '"15S" has the unknown unit "S"; use h, m, s, ms, us or ns'),
        ("1m 30s", '"1m 30s" has a space in it; write it without, such as "1m30s"'),
        ("15 ", '"15 " has a space in it; write it without, such as "1m30s"'),
        ("2562048h", '"2562048h" is too long: a duration is 292 years at the most'),
        ("9" * 70 + "s", f'"{"9" * 64}…" is too long for a duration; write one such as "15s"'),
    ],
)
def test_what_go_refuses(text: str, fault: str) -> None:
    """Anything else is refused, with the text, what is wrong with it, and what would be right."""
    with pytest.raises(ValueError, match=f"^{re.escape(fault)}$"):
        parse_duration(text)
