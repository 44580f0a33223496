"""The demo as a live picture in a terminal, with rich."""

from __future__ import annotations

import io
import re
from typing import Self

from rich import box
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .scene import Actor, Bar, Happening, Report, Scene, quantile, seconds

__all__ = ["LiveScreen", "frame", "picture", "verdict"]

_FIXED = 12
"""Lines of a frame that are there whatever happens: all borders, three pools, three lines on Nodes."""
_ROLES = {
    "starts": ("○", "dim"),
    "leads": ("●", "bold green"),
    "stands by": ("○", "cyan"),
    "killed": ("✗", "bold red"),
    "ended": ("✗", "bold red"),
}
_MARKS = {True: Text("✓", "bold green"), False: Text("✗", "bold red"), None: Text("?", "yellow")}
_TONES = {"step": "", "good": "green", "bad": "bold red"}
_MOST = 20
"""Happenings on a screen that is tall."""


class LiveScreen:
    """Draws each scene over the one before."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, scene: Scene) -> None:
        """Draw the present moment."""
        self._live.update(frame(scene, self._console.height), refresh=True)

    def close(self, scene: Scene, report: Report) -> None:
        """Print the verdict below the last frame."""
        self._console.print(verdict(report))

    def say(self, line: str) -> None:
        """Print one line as it is, so that it can be copied."""
        self._console.print(Text(line), soft_wrap=True)


def frame(scene: Scene, height: int) -> RenderableType:
    """The picture of one moment, at most so many lines less one."""
    lines = max(3, min(_MOST, height - 1 - _FIXED))
    middle = Table.grid(expand=True)
    middle.add_column(ratio=1)
    middle.add_column(ratio=1)
    middle.add_row(_panel(_replicas(scene.replicas), "replicas", 5), _panel(_nodes(scene), "Nodes", 5))
    return Group(
        _panel(_pools(scene.pools), "pools", 5),
        middle,
        _panel(_story(scene.happenings[-lines:]), f"what happens · {scene.at:.0f} s", lines + 2),
    )


def verdict(report: Report) -> RenderableType:
    """The closing summary."""
    figures = Table.grid(padding=(0, 2))
    for name, text in report.figures:
        figures.add_row(Text(name, "dim"), text)
    checks = Table.grid(padding=(0, 1))
    for held, text in report.checks:
        checks.add_row(_MARKS[held], text)
    faults = [Text(f"  {text}", "red") for text in report.violations]
    title = "an independent observer saw" if report.good else "an independent observer saw a violation"
    body = Group(figures, Text(), checks, *faults)
    return _panel(body, title, None, "green" if report.good else "red")


def picture(scene: Scene, report: Report) -> str:
    """The last frame and the verdict as an SVG that needs nothing from elsewhere."""
    console = Console(
        record=True, file=io.StringIO(), width=92, force_terminal=True, color_system="truecolor"
    )
    console.print(frame(scene, 1 + _FIXED + len(scene.happenings)))
    console.print(verdict(report))
    form = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(title="make demo", code_format=form, unique_id="demo")


def _pools(pools: tuple[Bar, ...]) -> RenderableType:
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(ratio=1)
    table.add_column(no_wrap=True, justify="right")
    for pool in pools:
        full = pool.used >= pool.blocks
        bar = ProgressBar(
            total=pool.blocks,
            completed=pool.used,
            complete_style="yellow" if full else "green",
            finished_style="yellow",
        )
        used = Text(f"{pool.used}/{pool.blocks}{' full' if full else ''}", "bold yellow" if full else "")
        table.add_row(Text(pool.name, "bold"), "  ".join(pool.ranges), bar, used)
    return table


def _replicas(replicas: tuple[Actor, ...]) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    for replica in replicas:
        sign, style = _ROLES[replica.role]
        pid = Text(f"pid {replica.pid}", "dim")
        table.add_row(Text(sign, style), replica.name, Text(replica.role, style), pid)
    return table


def _nodes(scene: Scene) -> RenderableType:
    waiting = Text(f"{scene.waiting} waiting", "bold yellow" if scene.waiting else "dim")
    violations = Text(f"{scene.violations} violations", "bold red" if scene.violations else "green")
    served, left = Text(f"{scene.served} served", "bold"), Text(f"{scene.left} left", "dim")
    counts = Text("  ").join([served, waiting, left])
    middle, most = (seconds(quantile(scene.latencies, share)) for share in (0.5, 0.99))
    latency = Text(f"ranges after  p50 {middle}  p99 {most}")
    return Group(counts, latency, violations)


def _story(happenings: tuple[Happening, ...]) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for index, happening in enumerate(happenings):
        last = index == len(happenings) - 1
        style = _TONES[happening.tone] or ("bold" if last else "")
        table.add_row(f"{happening.at:.1f} s", Text(happening.text, style))
    return table


def _panel(body: RenderableType, title: str, height: int | None, style: str = "blue") -> Panel:
    return Panel(
        body,
        title=Text(title, "bold"),
        title_align="left",
        border_style=style,
        box=box.ROUNDED,
        height=height,
    )
