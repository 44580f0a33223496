"""What was measured, and how it is shown: medians beside each other, ratios, and which targets hold."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import msgspec
from rich.console import Console
from rich.table import Table

__all__ = ["DOUBTFUL", "Figure", "Row", "Section", "show", "spread", "table"]

DOUBTFUL = 0.2
"""How far two times of the bare client may lie apart, as a share of their mean, for one between to count."""


class Row(msgspec.Struct):
    """One quantity, of each contestant as often as it was measured."""

    what: str
    unit: str
    samples: dict[str, list[float]]

    def median(self, name: str) -> float | None:
        """The median of one contestant's, None if it wasn't measured."""
        values = self.samples.get(name)
        return statistics.median(values) if values else None


class Figure(msgspec.Struct):
    """One thing that was measured, and what it is to be compared with."""

    what: str
    measured: float
    unit: str
    limit: float | None = None
    """What it ought to be at the most; at the least, where `least` is set."""
    least: bool = False
    beside: str = ""
    """A peer, or the instructions it took."""

    @property
    def verdict(self) -> str:
        """Whether it is, empty where there is no limit."""
        if self.limit is None:
            return ""
        good = self.measured >= self.limit if self.least else self.measured <= self.limit
        return "holds" if good else "missed"


class Section(msgspec.Struct):
    """What one scenario gave."""

    name: str
    title: str
    nodes: int
    rows: list[Row]
    targets: list[Figure]
    doubt: str = ""
    """Which measurements were left out, and why."""


def spread(values: Sequence[float]) -> float:
    """How far apart values lie, as a share of their median."""
    return (max(values) - min(values)) / statistics.median(values)


def show(section: Section, console: Console, ratios: Mapping[str, str]) -> None:
    """Print a section. `ratios` has headings, each with the contestant that nodeipam is divided by."""
    names = list(dict.fromkeys(name for row in section.rows for name in row.samples))
    headings = {text: name for text, name in ratios.items() if name in names and "nodeipam" in names}
    rows = Table(title=section.title, title_justify="left", title_style="bold")
    rows.add_column("median (least to most)")
    for name in (*names, *headings):
        rows.add_column(name, justify="right")
    for row in section.rows:
        cells = [_cell(row.samples.get(name, ()), row.unit) for name in names]
        ours = row.median("nodeipam")
        for name in headings.values():
            theirs = row.median(name)
            cells.append(f"{ours / theirs:.2f}" if ours is not None and theirs else "")
        rows.add_row(row.what, *cells)
    console.print(rows)
    if section.targets:
        console.print(table("targets", section.targets))
    if section.doubt:
        console.print(f"  {section.doubt}")
    console.print()


def table(title: str, figures: Sequence[Figure]) -> Table:
    """The figures of one part."""
    made = Table(title=title, title_justify="left", title_style="bold", show_header=False)
    for justify in ("left", "right", "left", "right", "left"):
        made.add_column(justify=justify)
    for figure in figures:
        bound = "at least" if figure.least else "at most"
        limit = "" if figure.limit is None else f"{bound} {figure.limit:g}"
        measured = f"{_text(figure.measured)} {figure.unit}"
        made.add_row(figure.what, measured, figure.beside, limit, figure.verdict)
    return made


def _cell(values: Sequence[float], unit: str) -> str:
    if not values:
        return ""
    middle = f"{_text(statistics.median(values))} {unit}"
    return middle if len(values) == 1 else f"{middle} ({_text(min(values))} to {_text(max(values))})"


def _text(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 20 else f"{value:.2f}"
