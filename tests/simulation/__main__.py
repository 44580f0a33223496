"""`python -m tests.simulation`: plays as many schedules as you like, or tells the story of one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from .campaign import HEADINGS, JOBS, KINDS, PLANS, Failure, Figures, accounts, draw, kind_of
from .record import read
from .running import apart, simulate_all
from .schedule import Schedule
from .story import story

_SEEDS = 1 << 32
"""Far more of them than anybody will play."""


class _Seeds(click.ParamType[range]):
    """How many of the first seeds, or which ones."""

    name = "seeds"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> range:
        """1000 are the first 1000, 300-499 those from 300 to 499."""
        if isinstance(value, range):
            return value
        text = str(value)
        first, dash, last = text.partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            self.fail(f"{text!r} is neither a number of seeds, as 1000, nor a range, as 300-499", param, ctx)
        seeds = range(int(first), int(last) + 1) if dash else range(int(first))
        if not seeds:
            right = f"{last}-{first}" if dash else "1 or more"
            self.fail(f"{text!r} names no seed at all; {right} would", param, ctx)
        if seeds[-1] >= _SEEDS:
            self.fail(f"{text!r} goes beyond the last seed, which is {_SEEDS - 1}", param, ctx)
        return seeds


@click.command(context_settings={"max_content_width": 110})
@click.option(
    "--seeds",
    type=_Seeds(),
    default="1000",
    show_default=True,
    metavar="N|FIRST-LAST",
    help="Play the first N seeds of random and hand-over, or those of a range.",
)
@click.option(
    "--kind",
    "kinds",
    type=click.Choice([*KINDS, *PLANS]),
    multiple=True,
    help="Of which kind; may be given more than once.  [default: all of them]",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=JOBS,
    help="Processes at a time.  [default: the number of CPUs]",
)
@click.option(
    "--tell", type=click.IntRange(0, _SEEDS - 1), metavar="SEED", help="Tell the story of one seed."
)
@click.option("--replay", type=click.File("rb"), help="Tell the story of a schedule in a file, - for stdin.")
def main(seeds: range, kinds: tuple[str, ...], jobs: int, tell: int | None, replay: BinaryIO | None) -> None:
    """Play the real controller through whatever can happen to a cluster.

    Exits with 1 if an invariant was violated, and then says by what, and how it came.
    """
    if tell is not None and replay is not None:
        raise click.UsageError("--tell and --replay each name the one schedule to tell of: give one of them")
    if replay is not None:
        _tell(_read(replay))
    elif tell is not None:
        if len(set(kinds)) != 1 or kinds[0] in PLANS:
            raise click.UsageError(f"which one? --kind {' or --kind '.join(KINDS)} says of what kind it is")
        _tell(KINDS[kinds[0]](tell))
    else:
        _play_all(tuple(dict.fromkeys(kinds)) or (*KINDS, *PLANS), seeds, jobs)


# One


def _read(file: BinaryIO) -> Schedule:
    try:
        return read(file.read())
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def _tell(schedule: Schedule) -> None:
    try:
        told = apart(story, schedule)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
    click.echo(told)
    if "\nVIOLATED " in told:
        sys.exit(1)


# Many


def _play_all(kinds: tuple[str, ...], seeds: range, jobs: int) -> None:
    console = Console(highlight=False)
    figures = {kind: Figures(kind) for kind in kinds}
    failures: list[Failure] = []
    died = ""
    try:
        schedules = sum(len(seeds) if kind in KINDS else len(list(PLANS[kind]())) for kind in kinds)
        with _progress(console, schedules) as advance:
            for schedule, outcome in simulate_all(draw(kinds, seeds), jobs=jobs):
                figures[kind_of(schedule)].add(outcome)
                if outcome.violations:
                    failures.append((schedule, outcome))
                    console.print(f"{schedule.name} violates {outcome.violations[0]}", markup=False)
                advance()
    except KeyboardInterrupt:
        died = "it was interrupted"
    except RuntimeError as error:
        died = str(error)
    console.print(_summary(figures.values()))
    for account in accounts(failures):
        click.echo(f"\n{account}")
    if died:
        raise click.ClickException(f"not all was played: {died}")
    if failures:
        sys.exit(1)


def _summary(figures: Iterable[Figures]) -> Table:
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    table.add_column(HEADINGS[0])
    for heading in HEADINGS[1:]:
        table.add_column(heading, justify="right")
    for each in figures:
        table.add_row(*each.row())
    return table


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[], None]]:
    """A function to be called after each of so many schedules: it shows how far it is."""
    if not console.is_terminal:
        done = 0

        def say() -> None:
            nonlocal done
            done += 1
            if done * 10 // total > (done - 1) * 10 // total:
                click.echo(f"{done:,} of {total:,} played")

        yield say
        return
    # Without its thread: processes are forked meanwhile.
    columns = (BarColumn(bar_width=None), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        task = progress.add_task("", total=total)
        shown = progress.get_time()

        def draw_bar() -> None:
            nonlocal shown
            progress.advance(task)
            if progress.get_time() - shown >= 0.1:
                shown = progress.get_time()
                progress.refresh()

        yield draw_bar
        progress.refresh()


if __name__ == "__main__":
    main(prog_name="python -m tests.simulation")
