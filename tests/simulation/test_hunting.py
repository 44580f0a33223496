"""Mistakes that are put into the controller are found, and where there is none, nothing is."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from .hunting import hunt, main
from .mutants import MUTANTS

CHOSEN = ("no fence after an unclean take-over", "no read barrier", "a 409 is answered with another block")


@pytest.mark.parametrize("name", CHOSEN)
def test_a_mistake(name: str) -> None:
    """Directed plans find it, and say by which of them."""
    (mutant,) = (mutant for mutant in MUTANTS if mutant.name == name)
    catch, played = hunt("directed", range(0), mutant.apply)
    assert catch is not None
    assert played == catch.schedules
    assert catch.by.startswith("directed: ")
    assert catch.violation.startswith("I1 ")


def test_no_mistake() -> None:
    """What isn't broken isn't found, and the mistakes of other hunts are gone."""
    assert (None, 8) == hunt("random", range(8))


def test_a_process_that_fails() -> None:
    """A mistake that the controller doesn't even start with counts as found."""

    def apply() -> None:
        raise ValueError("no wiring at all")

    catch, _ = hunt("random", range(1), apply)
    assert catch is not None
    assert "no wiring at all" in catch.violation


def test_each_has_a_name_of_its_own() -> None:
    """There are at least 25, and no two of one name."""
    assert len(MUTANTS) == len({mutant.name for mutant in MUTANTS}) >= 25


def test_a_word_that_none_has() -> None:
    """It is refused, with the word."""
    done = CliRunner().invoke(main, ["gremlins"])
    assert 1 == done.exit_code
    assert "no mistake has gremlins in its title" in done.output
