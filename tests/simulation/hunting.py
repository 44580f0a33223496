"""`python -m tests.simulation.hunting`: puts each mistake into the controller, and sees what finds it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import click

from .campaign import JOBS, draw
from .mutants import MUTANTS, Mutant
from .running import simulate_all

__all__ = ["METHODS", "Catch", "hunt"]

METHODS = ("directed", "hand-over", "random", "exhaustive")
"""The kinds of schedules, in the order in which they are tried."""


class Catch(NamedTuple):
    """A mistake that was found."""

    schedules: int
    """By so many schedules of its kind."""
    by: str
    """The last one of them."""
    violation: str


def hunt(
    method: str, seeds: range, prepare: Callable[[], object] = int, *, jobs: int = 1
) -> tuple[Catch | None, int]:
    """Play the schedules of a kind until one of them violates something; and how many were played.

    A process that fails counts as a catch: whatever a mistake does, it was seen.
    """
    played = 0
    try:
        with closing(simulate_all(draw([method], seeds), jobs=jobs, prepare=prepare)) as outcomes:
            for schedule, outcome in outcomes:
                played += 1
                if outcome.violations:
                    return Catch(played, schedule.name, outcome.violations[0]), played
    except RuntimeError as error:
        why = str(error).splitlines()[-1]
        return Catch(played + 1, "a run that wasn't played to its end", why), played + 1
    return None, played


@click.command()
@click.argument("words", nargs=-1)
@click.option("--seeds", type=click.IntRange(min=1), default=100, show_default=True, help="Of each kind.")
@click.option("--jobs", type=click.IntRange(min=1), default=JOBS, help="Processes at a time.")
@click.option("--all", "everything", is_flag=True, help="Try all methods, even when one has found it.")
def main(words: tuple[str, ...], seeds: int, jobs: int, everything: bool) -> None:  # noqa: FBT001
    """Put each mistake into the controller (or those whose title has one of WORDS), and see what finds it.

    Exits with 1 if one is found by nothing, or if something is found where there is no mistake.
    """
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    if not chosen:
        raise click.ClickException(f"no mistake has {' or '.join(words)} in its title")
    click.echo("| mistake | " + " | ".join(METHODS) + " | seen as |\n|---|" + "---|" * (len(METHODS) + 1))
    clean = not _tried(Mutant("none at all", int), seeds, jobs, everything=True)
    survivors = [mutant.name for mutant in chosen if not _tried(mutant, seeds, jobs, everything=everything)]
    click.echo(f"\n{len(chosen) - len(survivors)} of {len(chosen)} mistakes were found.")
    for name in survivors:
        click.echo(f"SURVIVED: {name}")
    if not clean:
        click.echo("Something was found where there is no mistake: `make simulate` tells of it.")
    if survivors or not clean:
        sys.exit(1)


def _tried(mutant: Mutant, seeds: int, jobs: int, *, everything: bool) -> Catch | None:
    """Try to find a mistake by one method after the other, and print its row."""
    cells, catch = [], None
    for method in METHODS:
        if catch is not None and not everything:
            cells.append("")
            continue
        found, played = hunt(method, range(seeds), mutant.apply, jobs=jobs)
        cells.append(f"{found.schedules}" if found else f"not in {played}")
        catch = catch or found
    seen = f"{catch.violation.partition(' ')[0]}, in {catch.by}" if catch else "nothing"
    click.echo(f"| {mutant.name} | {' | '.join(cells)} | {seen} |")
    return catch


if __name__ == "__main__":
    main(prog_name="python -m tests.simulation.hunting")
