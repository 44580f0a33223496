"""Durations as Go writes them: "15s", "1m30s", "1.5h", "500ms"."""

from __future__ import annotations

import re
from decimal import Decimal

__all__ = ["parse_duration"]

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # the micro sign
    "μs": 1_000,  # the Greek letter
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([^0-9.+-]*)")
_LONGEST = 2**63 - 1
_LONGEST_TEXT = 64


def parse_duration(text: str) -> float:
    """The seconds that `text` means, as Go's `time.ParseDuration` reads it. It may be negative.

    Raises:
        ValueError: the text is no duration; the message quotes it and says what would be right.
    """
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f'"{text[:_LONGEST_TEXT]}…" is too long for a duration; write one such as "15s"')
    unsigned = text[1:] if text[:1] in {"+", "-"} else text
    if unsigned == "0":
        return 0.0
    nanoseconds, at = Decimal(0), 0
    for part in _PART.finditer(unsigned):
        if part.start() != at:
            break
        at = part.end()
        number, unit = part.groups()
        if unit not in _NANOSECONDS:
            raise ValueError(_unit_fault(text, number, unit))
        nanoseconds += Decimal(number) * _NANOSECONDS[unit]
    if not unsigned or at != len(unsigned):
        raise ValueError(f'"{text}" is no duration; write one such as "15s", "1m30s" or "500ms"')
    if nanoseconds > _LONGEST:
        raise ValueError(f'"{text}" is too long: a duration is 292 years at the most')
    seconds = float(nanoseconds / 1_000_000_000)
    return -seconds if text.startswith("-") else seconds


def _unit_fault(text: str, number: str, unit: str) -> str:
    if not unit:
        return f'"{text}" lacks a unit after {number}; did you mean "{text}s"?'
    if not unit.strip() or unit != unit.strip():
        return f'"{text}" has a space in it; write it without, such as "1m30s"'
    return f'"{text}" has the unknown unit "{unit}"; use h, m, s, ms, us or ns'
