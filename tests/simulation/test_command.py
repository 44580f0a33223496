from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import msgspec
import pytest
from click.testing import CliRunner, Result

from .__main__ import main
from .campaign import KINDS
from .deeds import Deeds
from .record import read, write
from .schedule import Break, Compact, Run, Schedule, Step

SMALL = Schedule(
    name="mine",
    seed=1,
    replicas=(Run(name="a"),),
    steps=(Compact(at=1.0), Compact(at=2.0)),
    seconds=3.0,
    latency=0.0,
)


def run(*args: str, given: str = "") -> Result:
    """What the command says, and its exit code."""
    return CliRunner().invoke(main, args, input=given, env={"COLUMNS": "200"})


@pytest.fixture
def _harmful() -> Iterator[None]:
    """Makes the second Compact of a run a violation, in the processes that are forked from this one too."""
    perform = Deeds.perform

    def watched(deeds: Deeds, step: Step) -> None:
        perform(deeds, step)
        if sum("Compact" in text for _, text in deeds.cluster.told) == 2:
            deeds.cluster.observer.violated("I1", "forgot twice")

    with patch.object(Deeds, "perform", watched), patch.dict(KINDS, {"random": _named}):
        yield


def _named(seed: int, *steps: Step) -> Schedule:
    return msgspec.structs.replace(SMALL, name=f"random {seed}", seed=seed, steps=steps or SMALL.steps)


class TestMany:
    def test_the_summary(self) -> None:
        """Each kind that was played has its line of figures, and nothing violated means success."""
        done = run("--seeds", "2-4", "--kind", "hand-over", "--kind", "random", "--jobs", "2")
        assert 0 == done.exit_code
        assert re.search(
            r"^kind +schedules +requests +Nodes served +virtual hours", done.output, re.MULTILINE
        )
        assert re.search(r"^hand-over +3 +\d+ +\d+ +\d+\.\d +\d+\.\d +\d+\.\d +0$", done.output, re.MULTILINE)
        assert re.search(r"^random +3 ", done.output, re.MULTILINE)

    def test_how_far_it_is(self) -> None:
        """Where it isn't at a terminal, lines say how far it is."""
        done = run("--seeds", "4", "--kind", "hand-over")
        assert [f"{n} of 4 played" for n in (1, 2, 3, 4)] == done.output.splitlines()[:4]

    @pytest.mark.parametrize(
        "text, why",
        [
            ("many", "'many' is neither a number of seeds, as 1000, nor a range, as 300-499"),
            ("3-", "'3-' is neither"),
            ("-3", "'-3' is neither"),
            ("1-2-3", "'1-2-3' is neither"),
            ("0", "'0' names no seed at all; 1 or more would"),
            ("9-3", "'9-3' names no seed at all; 3-9 would"),
            ("99999999999", "goes beyond the last seed, which is 4294967295"),
        ],
    )
    def test_seeds_that_are_none(self, text: str, why: str) -> None:
        """A text that names no seeds is answered with what would be right."""
        done = run(f"--seeds={text}")
        assert (2, True) == (done.exit_code, why in done.output)

    @pytest.mark.usefixtures("_harmful")
    def test_failures(self) -> None:
        """Three failures are told in full, with what it takes to play them again; the rest are named."""
        done = run("--seeds", "10-14", "--kind", "random")
        assert 1 == done.exit_code
        for seed in (10, 11, 12):
            told = f"\nrandom {seed} violates I1 at 2.000 s: forgot twice\n2 of its 2 steps are enough"
            assert told in done.output
        assert done.output.endswith("\nOthers that violate something: random 13, random 14\n")
        (kept,) = re.findall(r'^\{"name":"random 11".*?^\]\S*\}$', done.output, re.MULTILINE | re.DOTALL)
        assert _named(11) == read(kept)
        assert 3 == done.output.count("VIOLATED I1 at 2.000 s: forgot twice")

    def test_a_run_that_breaks_off(self) -> None:
        """When a schedule can't be played, what was played before it counts, and the error says why."""
        with patch.dict(KINDS, {"random": lambda seed: _named(seed, Break(at=1.0, replica="abc"[seed]))}):
            done = run("--seeds", "3", "--kind", "random")
        assert 1 == done.exit_code
        assert re.search(r"^random +1 ", done.output, re.MULTILINE)
        assert "Error: not all was played: random 1 wasn't played to its end: " in done.output


class TestOne:
    def test_tell(self) -> None:
        """The story of a seed is told."""
        done = run("--kind", "random", "--tell", "3")
        assert (0, "Nothing was violated.") == (done.exit_code, done.output.splitlines()[-1])
        assert done.output.startswith("random 3: replicas ")

    @pytest.mark.parametrize("args", [(), ("--kind", "random", "--kind", "hand-over")])
    def test_tell_of_which(self, args: tuple[str, ...]) -> None:
        """A seed alone doesn't name a schedule: it takes one kind."""
        done = run("--tell", "3", *args)
        assert (2, True) == (done.exit_code, "--kind random or --kind hand-over" in done.output)

    @pytest.mark.usefixtures("_harmful")
    def test_replay(self, tmp_path: Path) -> None:
        """The story of a schedule in a file is told, and whether something was violated."""
        file = tmp_path / "schedule.json"
        file.write_text(write(SMALL))
        done = run("--replay", str(file))
        assert (1, "VIOLATED I1 at 2.000 s: forgot twice") == (done.exit_code, done.output.splitlines()[-1])
        assert done.output == run("--replay", "-", given=write(SMALL)).output

    @pytest.mark.parametrize(
        "text, why",
        [
            ("{", "not a schedule: "),
            (write(SMALL).replace("2.0", "20.0"), "after 3 s nothing happens but a Start"),
        ],
    )
    def test_what_cant_be_replayed(self, text: str, why: str) -> None:
        """A file that holds no schedule, or one that can't be played, is refused with the reason."""
        done = run("--replay", "-", given=text)
        assert 1 == done.exit_code
        assert done.output.startswith("Error: ")
        assert why in done.output

    def test_one_or_the_other(self) -> None:
        """A seed and a file at once are refused."""
        done = run("--replay", "-", "--tell", "3")
        assert (2, True) == (done.exit_code, "give one of them" in done.output)
