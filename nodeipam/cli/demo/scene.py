"""What there is to be seen at one moment, and the verdict at the end: data for any screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self

from .observer import Observer, Rule

__all__ = ["Actor", "Bar", "Happening", "Report", "Scene", "Screen", "quantile", "report", "seconds"]

Tone = Literal["step", "good", "bad"]
_RULES: tuple[tuple[Rule, str], ...] = (
    ("shared", "no two Nodes ever shared an address"),
    ("changed", "no Node's ranges ever changed"),
    ("unserved", "every Node has one IPv4 and one IPv6 range out of a pool"),
    ("writers", "nobody wrote to a Node but who held the Lease"),
    ("seen", "nothing escaped the observer"),
    ("told", "everything went as the story has it"),
)


@dataclass(frozen=True, slots=True)
class Bar:
    """A pool."""

    name: str
    ranges: tuple[str, ...]
    label: str
    used: int
    blocks: int


@dataclass(frozen=True, slots=True)
class Actor:
    """A replica."""

    name: str
    pid: int
    role: Literal["starts", "leads", "stands by", "killed", "ended"]


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened, so many seconds after the start."""

    at: float
    text: str
    tone: Tone = "step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All of it."""

    at: float
    pools: tuple[Bar, ...] = ()
    replicas: tuple[Actor, ...] = ()
    served: int = 0
    waiting: int = 0
    left: int = 0
    latencies: tuple[float, ...] = ()
    happenings: tuple[Happening, ...] = ()
    violations: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The verdict."""

    checks: tuple[tuple[bool | None, str], ...]
    """Whether each rule held; None: it was all over before that could be judged."""
    violations: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]

    @property
    def good(self) -> bool:
        """Whether every invariant held."""
        return all(held for held, _ in self.checks)


class Screen(Protocol):
    """Something to show it on; a context manager for as long as scenes come."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, scene: Scene) -> None:
        """Show the present moment."""

    def close(self, scene: Scene, report: Report) -> None:
        """Show the verdict, after the context is left."""

    def say(self, line: str) -> None:
        """Print one more line, after the context is left."""


def report(observer: Observer, took: float) -> Report:
    """The verdict of an observer for whom all is over, after so many seconds."""
    broken = {violation.rule for violation in observer.violations}
    unjudged = set() if observer.closed else {"unserved"}
    figures = [
        ("took", seconds(took)),
        ("Nodes", f"{len(observer.nodes) + observer.left} joined, {observer.left} left"),
        ("served at once", _timed(observer.latencies)),
        ("after waiting for room", _timed(observer.waited_pool)),
        ("after waiting for a leader", _timed(observer.waited_leader)),
        ("wrote to Nodes", ", then ".join(observer.writers) or "nobody"),
    ]
    return Report(
        checks=tuple(
            (None if rule in unjudged - broken else rule not in broken, text) for rule, text in _RULES
        ),
        violations=tuple(violation.text for violation in observer.violations),
        figures=tuple(figures),
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that this share of all values doesn't exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def seconds(value: float) -> str:
    """A duration for people."""
    if math.isnan(value):
        return "-"
    return f"{value * 1000:.0f} ms" if value < 0.9995 else f"{value:.1f} s"


def _timed(values: Sequence[float]) -> str:
    if not values:
        return "0 Nodes"
    middle, most = seconds(quantile(values, 0.5)), seconds(quantile(values, 0.99))
    return f"{len(values)} Node{'' if len(values) == 1 else 's'}: p50 {middle}, p99 {most}"
