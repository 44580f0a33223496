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
    """Many Nodes wait, and whoever leads is attacked between decision and write."""
    rng = random.Random(f"hand-over {seed}")
    replicas = _replicas(rng, 1.0)
    names = [run.name for run in replicas]
    bits = rng.choice((3, 4, 4)) + 1
    steps: list[Step] = [AddPool(at=0.0, name="p0", ipv4="10.0.0.0/24", bits=bits)]
    if rng.random() < 0.3:
        steps.append(AddPool(at=0.0, name="p1", ipv4="10.0.0.0/25", bits=4))
    at = 0.0
    for wave in range(rng.choice((1, 2, 3))):
        steps += [Join(at=at, node=f"n{wave}-{i}") for i in range(rng.choice((4, 8, 12)))]
        at += rng.choice((0.2, 3.0, 16.0))
    for _ in range(rng.choice((1, 2, 3))):
        steps += _attack(rng, names)
    seconds = 60.0
    return Schedule(
        name=f"hand-over {seed}",
        seed=seed,
        replicas=replicas,
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        seconds=seconds,
        latency=rng.choice((0.004, 0.02, 0.2)),
    )


def _replicas(rng: random.Random, within: float) -> tuple[Run, ...]:
    count = rng.choice((2, 2, 2, 3))
    odd = rng.random() < 0.5
    return tuple(
        Run(
            name=name,
            rate=rng.choice((0.85, 0.93, 1.0, 1.07, 1.15)) if odd else 1.0,
            start=rng.choice((0.0, 0.0, rng.uniform(0, within))),
        )
        for name in "abc"[:count]
    )


# What happens to the cluster's objects


def _life(rng: random.Random, seconds: float) -> Iterator[Step]:
    def when() -> float:
        return rng.uniform(0.0, seconds * 0.9)

    dual = rng.random() < 0.3
    nodes = [f"n{i}" for i in range(rng.randint(2, 10))]
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


def _attack(rng: random.Random, names: list[str]) -> Iterator[Step]:
    """Something that parts a leader from what it has decided."""
    name = rng.choice(names)
    at = rng.choice((0.0, 0.0, rng.uniform(0.0, 25.0)))
    skip = rng.randint(0, 12)
    away = rng.choice((6.0, 11.0, 14.0, 17.0, 40.0))
    match rng.randrange(7):
        case 0:
            late = rng.choice(LATE)
            yield Fail(
                at=at, action="late", requests=NODES, replica=name, skip=skip, times=times(rng), delay=late
            )
            yield Stop(at=at + rng.uniform(0.0, 2.0), replica=name, kill=rng.random() < 0.6)
            yield Start(at=at + 30.0, replica=name)
        case 1:
            action = rng.choice(PAUSING)
            yield Fail(at=at, action=action, requests=NODES, replica=name, skip=skip, delay=away)
        case 2:
            action = rng.choice(CRASHING)
            yield Fail(at=at, action=action, requests=NODES, replica=name, skip=skip)
            yield Start(at=at + 20.0, replica=name)
        case 3:
            yield Cut(at=at + rng.uniform(0.0, 2.0), replica=name, seconds=away, lose=rng.random() < 0.3)
        case 4:
            suspended = rng.random() < 0.3
            yield Pause(at=at + rng.uniform(0.0, 2.0), replica=name, seconds=away, suspended=suspended)
        case 5:
            yield Fail(
                at=at, action="late", requests=NODES, replica=name, skip=skip, times=times(rng), delay=away
            )
            yield Lock(at=at + rng.uniform(0.0, 5.0), how=rng.choice(("deleted", "cleared")))
        case _:
            yield Fail(at=at, action="hang_after", requests=NODES, replica=name, skip=skip, times=times(rng))
            lease = Requests(verbs=("update",), resource="leases")
            yield Fail(at=at, action="drop_before", requests=lease, replica=name, times=8)
