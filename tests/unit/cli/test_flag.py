from __future__ import annotations

import click
import pytest

from nodeipam.cli.flag import Flag, Given
from nodeipam.cli.values import integer

WORKERS = Flag(
    name="--workers",
    variables=("IPAM_WORKERS", "IPAM_HANDS"),
    read=integer,
    default="16",
    what="How many",
)


class TestWhichTextCounts:
    def test_default(self) -> None:
        """Without flag and variables the default counts."""
        assert Given({}, {}).value(WORKERS) == 16

    def test_variable(self) -> None:
        """A variable beats the default."""
        assert Given({}, {"IPAM_HANDS": "2"}).value(WORKERS) == 2

    def test_first_variable(self) -> None:
        """Of two variables the first in the table counts."""
        assert Given({}, {"IPAM_HANDS": "2", "IPAM_WORKERS": "3"}).value(WORKERS) == 3

    def test_flag(self) -> None:
        """A flag beats its variables."""
        assert Given({"--workers": "4"}, {"IPAM_WORKERS": "3"}).value(WORKERS) == 4

    def test_empty_variable(self) -> None:
        """A variable that is set to nothing counts as not set."""
        assert Given({}, {"IPAM_WORKERS": "", "IPAM_HANDS": "2"}).value(WORKERS) == 2

    def test_faulty_variable_behind_a_flag(self) -> None:
        """What doesn't count isn't read, so it can't be wrong."""
        assert Given({"--workers": "4"}, {"IPAM_WORKERS": "many"}).value(WORKERS) == 4


class TestMistakes:
    def test_in_a_flag(self) -> None:
        """A flag that can't be read is named."""
        with pytest.raises(click.UsageError, match=r'^--workers: "many" is no integer'):
            Given({"--workers": "many"}, {"IPAM_WORKERS": "3"}).value(WORKERS)

    def test_in_a_variable(self) -> None:
        """A variable that can't be read is named, the one that counts."""
        with pytest.raises(click.UsageError, match=r'^IPAM_HANDS: "many" is no integer'):
            Given({}, {"IPAM_HANDS": "many"}).value(WORKERS)

    def test_empty_flag(self) -> None:
        """A flag that is set to nothing is set, and beats its variables."""
        with pytest.raises(click.UsageError, match=r'^--workers: "" is no integer'):
            Given({"--workers": ""}, {"IPAM_WORKERS": "3"}).value(WORKERS)


class TestRemarks:
    def test_two_variables(self) -> None:
        """A variable that another one of the same flag outdoes is reported."""
        given = Given({}, {"IPAM_HANDS": "2", "IPAM_WORKERS": "3"})

        assert ["IPAM_HANDS=2 is not used, since IPAM_WORKERS=3 sets --workers too"] == given.remarks(
            [WORKERS]
        )

    def test_two_variables_that_agree(self) -> None:
        """Two variables that say the same are no matter."""
        assert [] == Given({}, {"IPAM_HANDS": "3", "IPAM_WORKERS": "3"}).remarks([WORKERS])

    def test_flag_over_variable(self) -> None:
        """A flag that outdoes a variable is what flags are for."""
        assert [] == Given({"--workers": "4"}, {"IPAM_WORKERS": "3"}).remarks([WORKERS])

    def test_misspelt_variable(self) -> None:
        """A variable with nearly the right name is reported, with the right one."""
        remarks = Given({}, {"IPAM_WORKER": "3"}).remarks([WORKERS])

        assert ["IPAM_WORKER is not used: there is no such variable; did you mean IPAM_WORKERS?"] == remarks

    @pytest.mark.parametrize("name", ["IPAM_PORT_80_TCP_ADDR", "PATH", "WORKERS"])
    def test_variables_of_others(self, name: str) -> None:
        """Variables that have nothing to do with us, such as a Service's named ipam, are no matter."""
        assert [] == Given({}, {name: "3"}).remarks([WORKERS])


def test_names_and_help() -> None:
    """Where a value comes from can be told, and --help tells where it may come from."""
    assert (
        "IPAM_HANDS",
        "--workers",
        "How many. [env: IPAM_WORKERS, IPAM_HANDS; default: 16]",
        ["IPAM_HANDS"],
        [],
    ) == (
        Given({}, {"IPAM_HANDS": "2"}).name(WORKERS),
        Given({"--workers": "4"}, {"IPAM_HANDS": "2"}).name(WORKERS),
        WORKERS.help,
        Given({}, {"IPAM_HANDS": "2"}).variables([WORKERS]),
        Given({"--workers": "4"}, {"IPAM_HANDS": "2"}).variables([WORKERS]),
    )
