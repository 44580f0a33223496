"""`python -m bench`: nodeipam, kube-controller-manager and the least there can be, on a real API server."""

from __future__ import annotations

import asyncio
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from rich.console import Console

from bench.cluster import Clusters
from bench.contestants import BARE, DEFAULTS, FLOOR, LIFTED
from bench.environment import ROOT
from bench.plot import draw
from bench.report import Section, show
from bench.scenarios import SCENARIOS, Bench
from tests.programs import Unavailable

RATIOS = {"÷ bare": BARE.name, "÷ lifted": LIFTED.name, "÷ asyncio": FLOOR.name, "÷ defaults": DEFAULTS.name}


@click.command(context_settings={"show_default": True, "max_content_width": 100})
@click.option(
    "--nodes", type=click.IntRange(10, 60_000), multiple=True, default=[5_000], help="How many; repeatable."
)
@click.option(
    "--only",
    type=click.Choice(list(SCENARIOS)),
    multiple=True,
    help="A scenario; repeatable. All by default.",
)
@click.option("--repeat", type=click.IntRange(1), default=3, help="How often each is run.")
@click.option(
    "--python", default=sys.executable, help="The interpreter to run nodeipam with.", show_default=False
)
@click.option(
    "--plot", type=click.Path(path_type=Path), help="Draw time, CPU and memory of `waiting` into this SVG."
)
def main(nodes: Sequence[int], only: Sequence[str], repeat: int, python: str, plot: Path | None) -> None:
    """Measure nodeipam on control planes that are started here, and print a table for each scenario.

    `waiting` is run for each number of Nodes, the others for the first one. What was measured is kept as JSON
    in build/.
    """
    console = Console(width=max(140, Console().width))
    try:
        sections = asyncio.run(_measure(console, nodes, only or tuple(SCENARIOS), repeat, python))
    except Unavailable as missing:
        raise click.ClickException(f"{missing}") from None
    if plot is not None:
        plot.write_text(draw([section for section in sections if section.name == "waiting"]))


async def _measure(
    console: Console, nodes: Sequence[int], only: Sequence[str], repeat: int, python: str
) -> list[Section]:
    began, sections = time.monotonic(), []
    kept = ROOT / "build" / f"bench-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    kept.parent.mkdir(exist_ok=True)

    def say(text: str) -> None:
        console.print(f"{time.monotonic() - began:6.0f} s  {text}", style="dim", highlight=False)

    with tempfile.TemporaryDirectory(prefix="nodeipam-bench-") as folder:
        bench = Bench(Clusters(Path(folder), say, python=python), repeat, say)
        say(f"{platform.platform()}, Python {platform.python_version()}")
        for name in only:
            for count in nodes if name == "waiting" else nodes[:1]:
                try:
                    sections.append(await SCENARIOS[name](bench, count))
                except Unavailable as missing:
                    say(f"{name} is left out: {missing}")
                else:
                    show(sections[-1], console, RATIOS)
                    kept.write_bytes(msgspec.json.format(msgspec.json.encode(sections)))
    say(f"kept in {kept.relative_to(ROOT)}")
    return sections


if __name__ == "__main__":
    main()
