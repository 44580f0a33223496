"""The demo as lines, for files, pipes, and terminals without rich."""

from __future__ import annotations

from typing import Self

import click

from .scene import Report, Scene

__all__ = ["PlainScreen"]

_SAID = {True: "held", False: "VIOLATED", None: "not judged"}


class PlainScreen:
    """Prints each happening once."""

    def __init__(self) -> None:
        self._told = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, scene: Scene) -> None:
        """Print what has happened since the last scene."""
        for happening in scene.happenings[self._told :]:
            click.echo(f"{happening.at:5.1f} s  {happening.text}")
        self._told = len(scene.happenings)

    def close(self, scene: Scene, report: Report) -> None:
        """Print the pools as they are left, and the verdict."""
        click.echo()
        for pool in scene.pools:
            used = f"{pool.used} of {pool.blocks} blocks"
            click.echo(f"  {f'pool {pool.name}':28} {used}, {', '.join(pool.ranges)}")
        for name, text in report.figures:
            click.echo(f"  {name:28} {text}")
        click.echo()
        for held, text in report.checks:
            click.echo(f"  {_SAID[held]:10}{text}")
        for text in report.violations:
            click.echo(f"    {text}")

    def say(self, line: str) -> None:
        """Print one line."""
        click.echo(line)
