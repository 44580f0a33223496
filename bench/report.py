"""What was measured, and how it is shown: medians beside each other, ratios, and which targets hold."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import msgspec
from rich.console import Console
from rich.table import Table

__all__ = ["Row", "Section", "Target", "show", "spread"]

DOUBTFUL = 0.2
"""How far the bare client's own times may lie apart, as a share of their median, for a verdict on others'."""


class Row(msgspec.Struct):
    """One quantity, of each contestant as often as it was measured."""

    what: str
    unit: str
    samples: dict[str, list[float]]

    def median(self, name: str) -> float | None:
        """The median of one contestant's, None if it wasn't measured."""
        values = self.samples.get(name)
        return statistics.median(values) if values else None


class Target(msgspec.Struct):
    """What a quantity ought to be at the most."""

    what: str
    measured: float
    limit: float
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Whether it is."""
        return self.measured <= self.limit


class Section(msgspec.Struct):
    """What one scenario gave."""

    name: str
    title: str
    nodes: int
    rows: list[Row]
    targets: list[Target]
    doubt: str = ""
    """Why there is no verdict, if there is none."""


def spread(values: Sequence[float]) -> float:
    """How far apart values lie, as a share of their median."""
    return (max(values) - min(values)) / statistics.median(values)


def show(section: Section, console: Console, ratios: Mapping[str, str]) -> None:
    """Print a section. `ratios` has headings, each with the contestant that nodeipam is divided by."""
    names = list(dict.fromkeys(name for row in section.rows for name in row.samples))
    headings = {text: name for text, name in ratios.items() if name in names and "nodeipam" in names}
    table = Table(title=section.title, title_justify="left", title_style="bold")
    table.add_column("median (from to to)")
    for name in (*names, *headings):
        table.add_column(name, justify="right")
    for row in section.rows:
        cells = [_cell(row.samples.get(name, ()), row.unit) for name in names]
        ours = row.median("nodeipam")
        for name in headings.values():
            theirs = row.median(name)
            cells.append(f"{ours / theirs:.2f}" if ours is not None and theirs else "")
        table.add_row(row.what, *cells)
    console.print(table)
    for target in section.targets:
        verdict = "no verdict" if section.doubt else "holds" if target.holds else "missed"
        console.print(
            f"  {verdict:10} {target.what}: {target.measured:.3g} {target.unit} (at most {target.limit:g})"
        )
    if section.doubt:
        console.print(f"  {section.doubt}")
    console.print()


def _cell(values: Sequence[float], unit: str) -> str:
    if not values:
        return ""
    middle = f"{_text(statistics.median(values))} {unit}"
    return middle if len(values) == 1 else f"{middle} ({_text(min(values))} to {_text(max(values))})"


def _text(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 20 else f"{value:.2f}"
