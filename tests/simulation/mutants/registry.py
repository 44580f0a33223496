"""What a mistake is, and what they are made with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["MUTANTS", "Mutant", "Patch", "Proxy", "around", "instead", "mutant", "nothing"]

Patch = Callable[[], object]


@dataclass(frozen=True)
class Mutant:
    """A mistake."""

    name: str
    """What is wrong, in a few words."""
    apply: Patch
    """Makes the mistake, in this process and for good."""


MUTANTS: list[Mutant] = []
"""All of them."""


def mutant(name: str) -> Callable[[Patch], Patch]:
    """Note a function as what makes the mistake of that name."""

    def note(apply: Patch) -> Patch:
        MUTANTS.append(Mutant(name, apply))
        return apply

    return note


def around(owner: Any, name: str, wrap: Callable[..., Any]) -> None:
    """Replace a function by `wrap(original, *its arguments)`."""
    original = getattr(owner, name)
    setattr(owner, name, lambda *args, **kwargs: wrap(original, *args, **kwargs))


def instead(owner: Any, name: str, result: Callable[..., Any]) -> None:
    """Put a function in another's place."""
    setattr(owner, name, result)


async def nothing(*_: object) -> None:
    """Do nothing."""


class Proxy:
    """Another object, with some of its attributes replaced."""

    def __init__(self, inner: Any, **replaced: Any) -> None:
        self.__dict__.update(replaced, _inner=inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
