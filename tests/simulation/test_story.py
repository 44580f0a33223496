from __future__ import annotations

import re
from unittest.mock import patch

from .observer import Observer
from .running import apart
from .schedule import AddPool, Compact, Fail, Join, Run, Schedule
from .story import story

SCHEDULE = Schedule(
    name="made up",
    seed=1,
    replicas=(Run(name="a", rate=0.85), Run(name="b", start=1.5)),
    steps=(
        AddPool(at=0.0, name="p", ipv4="10.0.0.0/26"),
        Join(at=0.0, node="n"),
        Fail(at=0.0, action="drop_before"),
        Compact(at=3.25),
    ),
    seconds=5.0,
    latency=0.05,
)


def test_what_it_tells() -> None:
    """A story has every step, request and log line, each with its time and whose it is, in order."""
    heading, *lines, end = apart(story, SCHEDULE).splitlines()
    assert "made up: replicas a from 0.000 s at rate 0.85, b from 1.500 s at rate 1" in heading
    assert "a message takes up to 0.05 s" in heading
    assert "Nothing was violated." == end
    text = "\n".join(lines)
    for what in (
        r"^ +0\.000  \*\*\* Join\(at=0\.0, node='n'",
        r"^ +3\.250  \*\*\* Compact\(at=3\.25\)$",
        r"^ +\d+\.\d+  a: \w+ \S+.* → lost$",
        r"^ +\d+\.\d+  b: WATCH /api/v1/nodes resourceVersion=\d+ → 200$",
        r"^ +\d+\.\d+  [ab]: PATCH /api/v1/nodes/n uid=\S+ .*podCIDRs=\['10\.0\.0\.16/28'\] → 200$",
        r"^ +\d+\.\d+  [ab]1: leading lock=.*$",
        r"^ +5\.000  \*\*\* — from here on nothing goes wrong any more —$",
    ):
        assert re.search(what, text, re.MULTILINE), f"{what} isn't in\n{text}"
    times = [float(line.split()[0]) for line in lines]
    assert sorted(times) == times


def test_what_was_violated() -> None:
    """It ends with what was violated."""

    def prepare() -> None:
        patch.object(Observer, "_node_changed", lambda seen, *_: seen.violated("I1", "made up")).start()

    told = apart(story, SCHEDULE, prepare=prepare)
    assert "VIOLATED I1 at 0.000 s: made up" in told.splitlines()[-1]
    assert "Nothing was violated." not in told


def test_renewals() -> None:
    """Of renewals in a row that succeed only the first is told."""
    lines = apart(story, SCHEDULE).splitlines()
    renewed = [float(line.split()[0]) for line in lines if re.search(" [ab]: PUT .*/leases/.* → 200$", line)]
    assert 1 <= len(renewed) <= 3
    assert renewed[-1] < 10.0


def test_it_is_always_the_same() -> None:
    """Two stories of one schedule have the same words."""
    assert apart(story, SCHEDULE) == apart(story, SCHEDULE)
