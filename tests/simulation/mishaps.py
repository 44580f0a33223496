"""Draws what goes wrong in a simulated cluster.

Swarm style: each seed first draws which kinds of mishaps it uses at all, since a run in which everything goes
wrong all the time gets nowhere near the interesting states.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from nodeipam.testing import Requests
from nodeipam.testing.faults import Action

from .schedule import Break, Compact, Cut, Fail, Lag, Lock, Pause, Stall, Start, Step, Stop

__all__ = ["CRASHING", "LATE", "NODES", "PAUSING", "mishaps", "times"]

PAUSING: tuple[Action, ...] = ("pause", "pause_before")
CRASHING: tuple[Action, ...] = ("crash", "crash_before")
_LOSING: tuple[Action, ...] = ("drop_before", "drop_after", "hang", "hang_after", "slow", "delay")
_WATCHING: tuple[Action, ...] = ("stall", "lag", "duplicate", "cut", "drop", "close")
NODES = Requests(verbs=("patch",), resource="nodes")
_WRITES = (
    NODES,
    NODES,
    Requests(verbs=("write",), resource="leases"),
    Requests(verbs=("patch",), resource="clustercidrs"),
    Requests(verbs=("write",)),
    Requests(verbs=("write",), resource="events"),
)
_READS = (
    Requests(verbs=("list",)),
    Requests(verbs=("get",), resource="nodes"),
    Requests(verbs=("list",), resource="nodes"),
    Requests(verbs=("get",), resource="leases"),
)
_WATCHES = (
    Requests(verbs=("watch",)),
    Requests(verbs=("watch",), resource="nodes"),
    Requests(verbs=("watch",), resource="leases"),
)
LATE = (0.5, 3.0, 12.0, 20.0, 45.0, 120.0, 600.0)
"""Seconds by which a write can be late."""

_Draw = Callable[[random.Random, str, float], Step | tuple[Step, ...]]


def mishaps(rng: random.Random, names: list[str], seconds: float) -> Iterator[Step]:
    """What goes wrong for these replicas within so many seconds."""
    kinds = rng.sample(_KINDS, rng.randint(1, 5))
    for _ in range(rng.randint(1, 9)):
        found = rng.choice(kinds)(rng, rng.choice(names), rng.uniform(0.0, seconds * 0.9))
        yield from found if isinstance(found, tuple) else (found,)


def times(rng: random.Random) -> int:
    """How often it goes wrong."""
    return rng.choice((1, 1, 2, 5, 20))


def _lost(rng: random.Random, name: str, at: float) -> Step:
    action = rng.choice(_LOSING)
    requests = rng.choice(_WRITES + _READS)
    delay = rng.choice((0.2, 2.0, 8.0, 30.0))
    return Fail(
        at=at,
        action=action,
        requests=requests,
        replica=name,
        delay=delay,
        skip=rng.randint(0, 3),
        times=times(rng),
    )


def _late(rng: random.Random, name: str, at: float) -> Step:
    requests = rng.choice(_WRITES)
    return Fail(
        at=at,
        action="late",
        requests=requests,
        replica=name,
        delay=rng.choice(LATE),
        skip=rng.randint(0, 3),
        times=times(rng),
    )


def _refused(rng: random.Random, name: str, at: float) -> Step:
    requests = rng.choice(_WRITES + _READS + _WATCHES)
    status = rng.choice((409, 410, 429, 429, 500, 503, 504))
    if status == 409 and requests in _READS + _WATCHES:
        status = 429
    if status == 410 and requests in _WRITES:
        status = 500
    return Fail(
        at=at,
        action="error_before",
        requests=requests,
        replica=name,
        status=status,
        retry_after=rng.choice((None, 1)) if status == 429 else None,
        skip=rng.randint(0, 2),
        times=times(rng),
    )


def _failed(rng: random.Random, name: str, at: float) -> Step:
    return Fail(
        at=at,
        action="error_after",
        requests=rng.choice(_WRITES),
        replica=name,
        status=rng.choice((500, 503, 504)),
        skip=rng.randint(0, 3),
        times=times(rng),
    )


def _watch(rng: random.Random, name: str, at: float) -> Step | tuple[Step, ...]:
    action = rng.choice(_WATCHING)
    fail = Fail(
        at=at,
        action=action,
        requests=rng.choice(_WATCHES),
        replica=name,
        delay=rng.choice((0.0, 1.0, 5.0, 20.0)),
        times=rng.choice((1, 2, 5)),
    )
    return fail, Break(at=at, replica=name)


def _lag(rng: random.Random, name: str, at: float) -> Step:
    return Lag(at=at, replica=name, lag=rng.choice((0.1, 1.0, 10.0)), seconds=rng.choice((3.0, 15.0)))


def _stall(rng: random.Random, name: str, at: float) -> Step:
    return Stall(at=at, replica=name, seconds=rng.choice((1.0, 5.0, 25.0)))


def _break(rng: random.Random, name: str, at: float) -> Step | tuple[Step, ...]:
    if rng.random() < 0.5:
        return Break(at=at, replica=name)
    return Compact(at=at), Break(at=at, replica=name)


def _compact(_: random.Random, __: str, at: float) -> Step:
    return Compact(at=at)


def _pause(rng: random.Random, name: str, at: float) -> Step:
    seconds = rng.choice((0.5, 4.0, 9.0, 12.0, 18.0, 40.0, 120.0))
    if rng.random() < 0.5:
        return Pause(
            at=at,
            replica=name,
            seconds=seconds,
            suspended=rng.random() < 0.4,
            timers_first=rng.random() < 0.5,
        )
    action = rng.choice(PAUSING)
    requests = rng.choice(_WRITES)
    return Fail(at=at, action=action, requests=requests, replica=name, delay=seconds, skip=rng.randint(0, 3))


def _crash(rng: random.Random, name: str, at: float) -> tuple[Step, ...]:
    back = Start(at=at + rng.choice((0.0, 1.0, 10.0)), replica=name)
    if rng.random() < 0.5:
        return Stop(at=at, replica=name, kill=True), back
    action = rng.choice(CRASHING)
    return Fail(at=at, action=action, requests=rng.choice(_WRITES), replica=name), back


def _stop(rng: random.Random, name: str, at: float) -> tuple[Step, ...]:
    return Stop(at=at, replica=name), Start(at=at + rng.choice((0.5, 5.0, 30.0)), replica=name)


def _cut(rng: random.Random, name: str, at: float) -> Step:
    return Cut(at=at, replica=name, seconds=rng.choice((0.5, 5.0, 11.0, 16.0, 40.0)), lose=rng.random() < 0.5)


def _lock(rng: random.Random, _: str, at: float) -> Step:
    return Lock(at=at, how=rng.choice(("deleted", "cleared")))


_KINDS: list[_Draw] = [
    _lost,
    _late,
    _refused,
    _failed,
    _watch,
    _lag,
    _stall,
    _break,
    _compact,
    _pause,
    _crash,
    _stop,
    _cut,
    _lock,
]
