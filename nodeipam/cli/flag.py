"""One setting of the command line: its flag, its environment variables, and which of them counts."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import click

__all__ = ["Flag", "Given"]

T = TypeVar("T")

_PREFIX = "IPAM_"


@dataclass(frozen=True, kw_only=True, slots=True)
class Flag(Generic[T]):
    """How one setting is named, read and explained."""

    name: str
    """With its dashes."""
    variables: tuple[str, ...]
    """Environment variables that say the same; the first one that is set counts."""
    read: Callable[[str], T]
    """Makes a value of the text, or raises a ValueError that says what is wrong with it."""
    default: str = ""
    """The text that counts where neither the flag nor a variable is there."""
    metavar: str = "TEXT"
    what: str
    """One sentence for --help, without a full stop."""
    is_boolean: bool = False
    """May stand alone, which means true. A value then needs an equals sign."""

    @property
    def help(self) -> str:
        """The sentence, the variables, and the default if there is one."""
        shown = f"; default: {self.default}" if self.default else ""
        return f"{self.what}. [env: {', '.join(self.variables)}{shown}]"


class Given:
    """What this process was given: the texts of flags, and an environment. A flag beats its variables.

    A variable that is set to nothing counts as not set, as charts often leave them; a flag that is set to
    nothing is set.
    """

    def __init__(self, flags: Mapping[str, str], environ: Mapping[str, str]) -> None:
        self._flags = flags
        self.environ = environ

    def is_set(self, flag: Flag[Any]) -> bool:
        """Whether somebody said something about it."""
        return bool(self._sources(flag))

    def name(self, flag: Flag[Any]) -> str:
        """Where its value comes from: the flag or a variable."""
        sources = self._sources(flag)
        return sources[0][0] if sources else flag.name

    def value(self, flag: Flag[T]) -> T:
        """Its value.

        Raises:
            click.UsageError: the text that counts has no meaning; the message names where it stands.
        """
        origin, text = next(iter(self._sources(flag)), (flag.name, flag.default))
        try:
            return flag.read(text)
        except ValueError as fault:
            raise click.UsageError(f"{origin}: {fault}") from None

    def variables(self, flags: Iterable[Flag[Any]]) -> list[str]:
        """The environment variables that count."""
        return [name for name in map(self.name, filter(self.is_set, flags)) if not name.startswith("--")]

    def remarks(self, flags: Iterable[Flag[Any]]) -> list[str]:
        """Variables that a person seems to rely on, and that don't count."""
        flags = tuple(flags)
        remarks = []
        for flag in flags:
            (winner, text), *losers = self._sources(flag) or [("", "")]
            remarks += [
                f"{name}={other} is not used, since {winner}={text} sets {flag.name} too"
                for name, other in losers
                if winner in flag.variables and other != text
            ]
        known = [variable for flag in flags for variable in flag.variables]
        for name in sorted(self.environ.keys() - set(known)):
            near = difflib.get_close_matches(name, known, 1, 0.85) if name.startswith(_PREFIX) else []
            remarks += (
                [f"{name} is not used: there is no such variable; did you mean {near[0]}?"] if near else []
            )
        return remarks

    def _sources(self, flag: Flag[Any]) -> list[tuple[str, str]]:
        """Where its value is given, the one that counts first."""
        found = [(name, self.environ[name]) for name in flag.variables if self.environ.get(name)]
        if flag.name in self._flags:
            found.insert(0, (flag.name, self._flags[flag.name]))
        return found
