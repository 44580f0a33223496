"""`python -m bench.micro`: what the parts cost, without an API server."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence

import click
from rich.console import Console

from bench.micro import allocation, crowd, imports, memory, model, operations, patching, selection
from bench.report import Figure, table

PARTS: dict[str, Callable[[], list[Figure]]] = {
    "allocation": allocation.measure,
    "operations": operations.measure,
    "patching": patching.measure,
    "selection": selection.measure,
    "memory": memory.measure,
    "crowd": crowd.measure,
    "imports": imports.measure,
    "model": model.measure,
}


@click.command()
@click.option(
    "--only", type=click.Choice(list(PARTS)), multiple=True, help="A part; repeatable. All by default."
)
def main(only: Sequence[str]) -> None:
    """Measure the parts, each in a process of its own, and print what there is to compare them with."""
    console = Console(width=max(120, Console().width))
    spawn = multiprocessing.get_context("spawn")
    for name in only or PARTS:
        with spawn.Pool(1) as pool:
            figures = pool.apply(PARTS[name])
        console.print(table(name, figures))


if __name__ == "__main__":
    main()
