"""Draws whole schedules from seeds: what happens, and what goes wrong, all of it beforehand."""

from __future__ import annotations

import random
from collections.abc import Iterator

from nodeipam.testing import Requests

from .mishaps import CRASHING, LATE, NODES, PAUSING, mishaps, times
from .schedule import (
    AddPool,
    Cut,
    DropPool,
    Fail,
    Join,
    Label,
    Leave,
    Lock,
    Pause,
    Rejoin,
    Restore,
    Run,
    Schedule,
    Start,
    Step,
    Stop,
    Touch,
    Unpin,
)

__all__ = ["hand_over", "random_schedule"]

_ZONES = ("", "a", "b")
_RANGES = ("10.0.0.0/25", "10.0.0.0/24", "10.0.1.0/26", "10.0.0.128/25", "10.0.0.64/26")
_RANGES6 = ("fd00::/120", "fd00::/121", "fd00::80/121")
_FOREIGN = ("10.0.0.32/28", "10.0.0.0/26", "10.0.1.16/28", "10.0.0.240/28", "192.168.0.0/24", "10.0.0.96/29")


def random_schedule(seed: int) -> Schedule:
    """A cluster that lives for a minute or two, and whatever may happen to it."""
    rng = random.Random(f"random {seed}")
    seconds = rng.choice((40.0, 60.0, 90.0))
    replicas = _replicas(rng, seconds / 4)
    names = [run.name for run in replicas]
    steps = [*_life(rng, seconds), *mishaps(rng, names, seconds)]
    if rng.random() < 0.04:
        steps = [step for step in steps if not isinstance(step, Fail | Cut | Pause)]
        steps.append(Restore(at=seconds - 1.0, to=rng.uniform(seconds / 2, seconds - 2.0)))
    return Schedule(
        name=f"random {seed}",
        seed=seed,
        replicas=replicas,
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        seconds=seconds,
        latency=rng.choice((0.0, 0.004, 0.05, 0.3)),
    )


def hand_over(seed: int) -> Schedule:
    """More Nodes than blocks, and whoever leads is attacked between decision and write.

    Names are no order of arrival, so that each leader serves the Nodes in another order.
    """
    rng = random.Random(f"hand-over {seed}")
    odd = rng.random() < 0.5
    names = "abc"[: rng.choice((2, 2, 3))]
    replicas = tuple(_replica(rng, name, 0.6 * number, odd=odd) for number, name in enumerate(names))
    blocks = rng.choice((4, 8))
    steps: list[Step] = [
        AddPool(at=0.0, name="p0", ipv4="10.0.0.0/25" if blocks == 4 else "10.0.0.0/24", bits=5)
    ]
    nodes = _names(rng, rng.randint(blocks, 3 * blocks))
    at = 0.0
    for number, node in enumerate(nodes):
        steps.append(Join(at=at, node=node))
        if number % 4 == 3:
            at += rng.choice((0.0, 0.0, 0.1, 2.0, 16.0))
    for node in rng.sample(nodes, rng.randint(0, len(nodes) // 2)):
        again = rng.choice((Leave, Rejoin, Touch))
        steps.append(again(at=rng.uniform(0.0, 55.0), node=node))
    for number in range(rng.choice((1, 2, 3))):
        name = "a" if number == 0 and rng.random() < 0.8 else rng.choice(names)
        steps += _attack(rng, name, at=0.0 if number == 0 else rng.uniform(0.0, 45.0))
    return Schedule(
        name=f"hand-over {seed}",
        seed=seed,
        replicas=replicas,
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        seconds=max(60.0, at + 5.0),
        latency=rng.choice((0.004, 0.02, 0.2)),
    )


def _names(rng: random.Random, count: int) -> list[str]:
    return [f"n{number:02}" for number in rng.sample(range(100), count)]


def _replica(rng: random.Random, name: str, start: float, *, odd: bool) -> Run:
    """`odd`: its clocks may be slow or fast."""
    return Run(name=name, rate=rng.choice((0.85, 0.93, 1.0, 1.07, 1.15)) if odd else 1.0, start=start)


def _replicas(rng: random.Random, within: float) -> tuple[Run, ...]:
    odd = rng.random() < 0.5
    names = "abc"[: rng.choice((2, 2, 2, 3))]
    return tuple(
        _replica(rng, name, rng.choice((0.0, 0.0, rng.uniform(0, within))), odd=odd) for name in names
    )


# What happens to the cluster's objects


def _life(rng: random.Random, seconds: float) -> Iterator[Step]:
    def when() -> float:
        return rng.uniform(0.0, seconds * 0.9)

    dual = rng.random() < 0.3
    nodes = _names(rng, rng.randint(2, 12))
    pools = [f"p{i}" for i in range(rng.randint(1, 4))]
    for i, name in enumerate(pools):
        yield AddPool(
            at=0.0 if i == 0 and rng.random() < 0.8 else when(),
            name=name,
            ipv4=rng.choice(_RANGES),
            ipv6=rng.choice(_RANGES6) if dual and rng.random() < 0.7 else "",
            bits=rng.choice((4, 4, 5)),
            zone=rng.choice(_ZONES),
        )
        if rng.random() < 0.3:
            yield DropPool(at=when(), name=name)
    for name in nodes:
        brings = (rng.choice(_FOREIGN),) if rng.random() < 0.12 else ()
        pinned = rng.random() < 0.15
        joined = rng.choice((0.0, when()))
        yield Join(at=joined, node=name, zone=rng.choice(_ZONES), brings=brings, pinned=pinned)
        if rng.random() < 0.3:
            yield Leave(at=when(), node=name)
        if rng.random() < 0.3:
            yield Rejoin(at=when(), node=name)
        if pinned and rng.random() < 0.7:
            yield Unpin(at=when(), node=name)
        for _ in range(rng.choice((0, 0, 1, 3))):
            yield Touch(at=when(), node=name)
        if rng.random() < 0.3:
            yield Label(at=when(), node=name, zone=rng.choice(_ZONES))


def _attack(rng: random.Random, name: str, at: float) -> Iterator[Step]:
    """Something that parts a leader from what it has decided."""
    skip = rng.randint(0, 8)
    away = rng.choice((6.0, 11.0, 14.0, 17.0, 40.0))
    soon = at + rng.choice((0.1, 0.3, 1.0, 3.0))
    match rng.randrange(8):
        case 0 | 1:  # its writes land late, and it ends
            yield _writes_late(rng, name, at, skip)
            yield Stop(at=soon, replica=name, kill=rng.random() < 0.6)
            yield Start(at=soon + rng.choice((1.0, 30.0)), replica=name)
        case 2:  # they land late, and it is out of reach for a while
            yield _writes_late(rng, name, at, skip)
            yield Cut(at=soon, replica=name, seconds=away, lose=rng.random() < 0.3)
        case 3:  # they land late, and somebody takes the lock from it
            yield _writes_late(rng, name, at, skip)
            yield Lock(at=soon, how=rng.choice(("deleted", "cleared")))
        case 4:  # it stands still between decision and write, or right after
            yield Fail(at=at, action=rng.choice(PAUSING), requests=NODES, replica=name, skip=skip, delay=away)
        case 5:
            yield Fail(at=at, action=rng.choice(CRASHING), requests=NODES, replica=name, skip=skip)
            yield Start(at=at + rng.choice((2.0, 20.0)), replica=name)
        case 6:
            yield Pause(at=soon, replica=name, seconds=away, suspended=rng.random() < 0.3)
        case _:  # its answers are lost, and it can't renew
            yield Fail(at=at, action="hang_after", requests=NODES, replica=name, skip=skip, times=times(rng))
            lease = Requests(verbs=("update",), resource="leases")
            yield Fail(at=at, action="drop_before", requests=lease, replica=name, times=8)


def _writes_late(rng: random.Random, name: str, at: float, skip: int) -> Fail:
    often = rng.choice((1, 4, None))
    return Fail(
        at=at, action="late", requests=NODES, replica=name, skip=skip, times=often, delay=rng.choice(LATE)
    )
