"""A schedule as text: to be kept, read, and played again.

One that can't be played is refused with the reason, before anything of it is: a step that names what isn't
there would otherwise be passed over, as one is whose object has gone meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from nodeipam.testing import Fault

from .observer import span
from .schedule import AddPool, Cut, Fail, Join, Lag, Pause, Restore, Schedule, Stall, Start, Step, When

__all__ = ["check", "read", "write"]


def write(schedule: Schedule) -> str:
    """As JSON, with one step a line."""
    whole = msgspec.json.encode(msgspec.structs.replace(schedule, steps=())).decode()
    steps = ",\n  ".join(msgspec.json.encode(step).decode() for step in schedule.steps)
    return whole.replace('"steps":[]', f'"steps":[\n  {steps}\n]', 1)


def read(text: str | bytes) -> Schedule:
    """What `write` wrote, or a person.

    Raises:
        ValueError: it isn't JSON, not that of a schedule, or of one that can't be played.
    """
    try:
        schedule = msgspec.json.decode(text, type=Schedule)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a schedule: {error}") from error
    check(schedule)
    return schedule


def check(schedule: Schedule) -> None:
    """Refuse a schedule that can't be played.

    Raises:
        ValueError: why not, and what would be right.
    """
    for why in _flaws(schedule):
        raise ValueError(f"{schedule.name!r} can't be played: {why}")


def _flaws(schedule: Schedule) -> Iterator[str]:
    names = [run.name for run in schedule.replicas]
    if not names or len(set(names)) < len(names):
        yield f"it takes one or more replicas with names of their own, not {names}"
    if schedule.seconds < 0 or schedule.latency < 0:
        yield f"seconds and latency can't be negative: {schedule.seconds:g}, {schedule.latency:g}"
    for run in schedule.replicas:
        if run.rate <= 0 or run.start < 0:
            yield f"{run}: a clock's rate is above 0, and nothing starts before the start"
    for step in schedule.steps:
        if step.at > schedule.seconds and not isinstance(step, Start):
            yield f"{step}: after {schedule.seconds:g} s nothing happens but a Start"
        if isinstance(step, Restore) and not 0 <= step.to <= step.at:
            yield f"{step}: etcd is set back to a time from 0 to {step.at:g} s"
    for step in _all(schedule.steps):
        for why in _flaws_of(step, names):
            yield f"{step}: {why}"


def _all(steps: tuple[Step, ...]) -> Iterator[Step]:
    for step in steps:
        yield step
        if isinstance(step, When):
            yield from _all(step.then)


def _flaws_of(step: Step, names: list[str]) -> Iterator[str]:
    if step.at < 0:
        yield "nothing happens before the start"
    if getattr(step, "replica", "") not in ("", *names):
        yield f"there is no such replica, only {' and '.join(names)}"
    match step:
        case AddPool():
            texts = tuple(text for text in (step.ipv4, step.ipv6) if text)
            yield from _flaws_of_ranges(texts) if texts else ("a pool has at least one range",)
        case Join():
            yield from _flaws_of_ranges(step.brings)
        case Pause() | Cut() | Lag() | Stall():
            if step.seconds < 0:
                yield "its seconds can't be negative"
        case Fail():
            yield from _flaws_of_fault(step)
        case When() if any(isinstance(each, Restore) for each in step.then):
            yield "etcd is set back at a time that is known beforehand, not when something happens"


def _flaws_of_fault(step: Fail) -> Iterator[str]:
    try:
        Fault(match=step.requests, action=step.action, delay=step.delay, skip=step.skip, times=step.times)
    except ValueError as error:
        yield str(error)


def _flaws_of_ranges(texts: tuple[str, ...]) -> Iterator[str]:
    for text in texts:
        try:
            span(text)
        except ValueError as error:
            yield str(error)
