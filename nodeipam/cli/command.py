"""The commands, and how they are called: `nodeipam [run] [--flag…]`, `nodeipam demo`, `nodeipam version`.

click finds flags and their texts; what the texts mean is read elsewhere (:mod:`.flag`), since an environment
variable may say the same. Every mistake ends in one line.
"""

from __future__ import annotations

import difflib
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from nodeipam import __version__

from .flag import Given
from .options import FLAGS

__all__ = ["execute"]

_NAME = "nodeipam"
_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_NAMES = tuple([flag.name for flag in FLAGS])
_BOOLEANS = frozenset({flag.name for flag in FLAGS if flag.is_boolean})


def execute(arguments: Sequence[str]) -> int:
    """Carry out a command line, and return the exit code. Mistakes go to stderr, as one line."""
    try:
        code: object = _MAIN.main(list(arguments), prog_name=_NAME, standalone_mode=False)
    except click.NoSuchOption as error:
        return _complain(f"there is no flag {error.option_name}{_nearest(error.option_name, _NAMES)}")
    except click.ClickException as error:
        return _complain(error.format_message())
    except click.Abort:
        return 1
    except Exception as error:
        from nodeipam.runtime import KubeError  # noqa: PLC0415 - only needed where it is loaded already

        if not isinstance(error, KubeError):
            raise
        return _complain(str(error))
    return code if isinstance(code, int) else 0


def _complain(message: str) -> int:
    print(f"{_NAME}: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    return 1


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.6)
    return f"; did you mean {near[0]}?" if near else f" ('{_NAME} --help' lists them)"


class _Main(click.Group):
    """A group whose default command is `run`, and whose help shows the flags of that."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands:
            raise click.UsageError(f"there is no command {args[0]!r}{_nearest(args[0], list(self.commands))}")
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        _RUN.format_options(ctx, formatter)


class _Run(click.Command):
    """A command whose boolean flags may stand alone, and that takes nothing but flags."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _check_dashes(args)
        strays = super().parse_args(ctx, [f"{arg}=true" if arg in _BOOLEANS else arg for arg in args])
        if strays:
            raise click.UsageError(_stray(strays[0], args))
        return strays


def _check_dashes(args: Sequence[str]) -> None:
    """-kubeconfig, as Go's own flag package would take it, is a heap of one-letter flags to others."""
    for arg in args:
        name = f"-{arg.partition('=')[0]}"
        if name in _NAMES:
            raise click.UsageError(f"there is no flag {name[1:]}; did you mean {name}?")


def _stray(stray: str, args: Sequence[str]) -> str:
    before = args[args.index(stray) - 1] if stray in args[1:] else ""
    if before in _BOOLEANS:
        return f"unexpected argument {stray!r}: write {before}={stray}, with an equals sign"
    if f"--{stray.partition('=')[0]}" in _NAMES:
        return f"unexpected argument {stray!r}; did you mean --{stray}?"
    return f"unexpected argument {stray!r}: 'nodeipam run' takes flags only"


def _run(**texts: str | None) -> int:
    from .run import run  # noqa: PLC0415 - most of what is slow to import is only needed to run

    flags = {name: text for name in _NAMES if (text := texts[_parameter(name)]) is not None}
    return run(Given(flags, os.environ))


def _demo(*, nodes: int, seed: int, pace: float, hold: bool, picture: Path | None) -> int:
    from .demo import Options, demo  # noqa: PLC0415 - nothing but the demo needs the test kit

    return demo(Options(nodes=nodes, seed=seed, pace=pace, hold=hold, picture=picture))


def _version() -> None:
    click.echo(f"{_NAME} {__version__} (Python {platform.python_version()})")


def _parameter(name: str) -> str:
    return name.lstrip("-").replace("-", "_")


_RUN = _Run(
    "run",
    callback=_run,
    params=[click.Option([flag.name], type=str, metavar=flag.metavar, help=flag.help) for flag in FLAGS],
    help="Run the controller. This is the default command.",
    context_settings={**_HELP, "allow_extra_args": True},
)
_DEMO = click.Command(
    "demo",
    callback=_demo,
    params=[
        click.Option(["--nodes"], type=int, default=60, show_default=True, help="How many Nodes join"),
        click.Option(["--seed"], type=int, default=1, show_default=True, help="What their order depends on"),
        click.Option(["--hold"], is_flag=True, help="Keep it up at the end, for kubectl, until Ctrl-C"),
        click.Option(
            ["--pace"], type=float, default=0.6, show_default=True, help="Seconds for each step, at least"
        ),
        click.Option(
            ["--picture"],
            type=click.Path(dir_okay=False, path_type=Path),
            help="Write what the screen shows at the end to this file, as SVG",
        ),
    ],
    help="Show it all on this machine: a made-up cluster, two real replicas, and an observer.",
    context_settings=_HELP,
)
_VERSION = click.Command("version", callback=_version, help="Print the version.", context_settings=_HELP)
_MAIN = _Main(
    commands=[_RUN, _DEMO, _VERSION],
    help="Gives every Kubernetes Node its pod address ranges from ClusterCIDR objects.",
    context_settings=_HELP,
    subcommand_metavar="[run|demo|version] [FLAGS]",
    options_metavar="",
)
