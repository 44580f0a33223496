"""Exhaustive plans: one fixed workload, and each thing that can go wrong at each step of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import msgspec

from nodeipam.testing import Requests, VirtualLoop
from nodeipam.testing.faults import Action

from .cluster import Cluster
from .observer import LEASES, NODES, POOLS
from .running import apart
from .schedule import (
    AddPool,
    Break,
    Compact,
    DropPool,
    Fail,
    Join,
    Label,
    Lag,
    Leave,
    Rejoin,
    Run,
    Schedule,
    Stall,
    Start,
    Step,
)

__all__ = ["WORKLOAD", "exhaustive"]

WORKLOAD = Schedule(
    name="workload",
    seed=1,
    replicas=(Run(name="a"), Run(name="b", start=0.5)),
    steps=(
        AddPool(at=0.0, name="p0", ipv4="10.0.0.0/26", ipv6="fd00::/120"),
        Join(at=0.0, node="n0"),
        Join(at=0.0, node="n1"),
        Join(at=0.8, node="n2"),
        Leave(at=1.0, node="n1"),
        Join(at=1.2, node="n3"),
        AddPool(at=1.4, name="p1", ipv4="10.0.1.0/27", zone="a"),
        Label(at=1.5, node="n3", zone="a"),
        Rejoin(at=1.6, node="n2"),
        DropPool(at=1.8, name="p1"),
    ),
    seconds=4.0,
    latency=0.004,
)
"""A pool that fills up, another one for a zone that comes and goes, Nodes that come, go and come back."""

_WRITE = Requests(verbs=("write",))
_FAULTS: tuple[tuple[Action, float, int], ...] = (
    ("drop_before", 0.0, 0),
    ("drop_after", 0.0, 0),
    ("hang", 0.0, 0),
    ("hang_after", 0.0, 0),
    ("late", 0.5, 0),
    ("late", 25.0, 0),
    ("delay", 3.0, 0),
    ("slow", 3.0, 0),
    ("error_before", 0.0, 409),
    ("error_before", 0.0, 429),
    ("error_before", 0.0, 500),
    ("error_before", 0.0, 503),
    ("error_after", 0.0, 500),
    ("error_after", 0.0, 504),
    ("pause", 12.0, 0),
    ("pause_before", 12.0, 0),
    ("pause_before", 40.0, 0),
    ("crash", 0.0, 0),
    ("crash_before", 0.0, 0),
)
"""What can become of a write: action, seconds, status."""
_JUST = 1e-6
"""Seconds by which something happens before an event, or after it."""


def exhaustive() -> Iterator[Schedule]:
    """Each write with each fault, and each watch event with each fault."""
    writes, events = _clean()
    for number in range(writes):
        for action, delay, status in _FAULTS:
            fail = Fail(
                at=0.0, action=action, requests=_WRITE, delay=delay, status=status or 503, skip=number
            )
            # Whoever was killed is back in time to meet what it has left.
            back = (Start(at=3.0, replica="a"), Start(at=3.0, replica="b"))
            steps: tuple[Step, ...] = (fail, *back) if action.startswith("crash") else (fail,)
            yield _with(f"write {number}, {action} {delay:g} s {status or ''}".strip(), *steps)
    for number, at in enumerate(events):
        for replica in ("a", "b"):
            for what, steps in _at_event(replica, at):
                yield _with(f"event {number}, {what} at {replica}", *steps)


def _at_event(replica: str, at: float) -> Iterator[tuple[str, tuple[Step, ...]]]:
    before, after = max(0.0, at - _JUST), at + _JUST
    yield "broken off before", (Break(at=before, replica=replica),)
    yield "broken off after", (Break(at=after, replica=replica),)
    yield "history lost before", (Compact(at=after), Break(at=before, replica=replica))
    yield "history lost after", (Compact(at=after), Break(at=after, replica=replica))
    yield "stalled", (Stall(at=before, replica=replica, seconds=1.0),)
    yield "late", (Lag(at=before, replica=replica, lag=0.7, seconds=3.0),)
    for action in _WATCH_ENDS:
        fail = Fail(
            at=0.0, action=action, requests=Requests(verbs=("watch",)), replica=replica, delay=at, times=None
        )
        yield action, (fail,)


_WATCH_ENDS: tuple[Action, ...] = ("cut", "drop", "close")


def _with(name: str, *steps: Step) -> Schedule:
    every = tuple(sorted((*WORKLOAD.steps, *steps), key=lambda step: step.at))
    return msgspec.structs.replace(WORKLOAD, name=f"exhaustive: {name}", steps=every)


@cache
def _clean() -> tuple[int, tuple[float, ...]]:
    """How many writes the workload makes when nothing goes wrong, and when objects change."""
    return apart(_count, WORKLOAD)


def _count(schedule: Schedule) -> tuple[int, tuple[float, ...]]:
    loop = VirtualLoop()
    cluster = Cluster(schedule, loop)
    times: list[float] = []
    for kind in (NODES, POOLS, LEASES):
        cluster.server.observe(kind, lambda *_: times.append(loop.now))
    outcome = loop.run_until_complete(cluster.play())
    if outcome.violations:
        raise AssertionError(f"nothing went wrong, and yet: {'; '.join(outcome.violations)}")
    writes = [
        line for line in cluster.server.log if line.call.method != "GET" and line.time < schedule.seconds
    ]
    return len(writes), tuple(sorted({time for time in times if time < schedule.seconds}))
