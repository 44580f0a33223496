from __future__ import annotations

from pathlib import Path

import pytest

from nodeipam.cli.command import execute
from nodeipam.cli.demo import run
from nodeipam.cli.demo.plain import PlainScreen


@pytest.mark.parametrize("number", [-1, 0, 7, 5001, 100_000])
def test_number_of_nodes(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    """With too few or too many Nodes there is one line that says what is possible, and exit code 2."""
    assert 2 == execute(["demo", f"--nodes={number}"])
    assert f"nodeipam: --nodes can be from 8 to 5000, not {number}\n" == capsys.readouterr().err


@pytest.mark.parametrize("pace", ["-1", "61", "nan"])
def test_pace(pace: str, capsys: pytest.CaptureFixture[str]) -> None:
    """So it is with a pace that nobody would wait for."""
    assert 2 == execute(["demo", f"--pace={pace}"])
    assert f"nodeipam: --pace can be from 0 to 60 seconds, not {pace}\n" == capsys.readouterr().err


def test_picture_without_rich(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Without rich there is no picture, and it is said what to install."""
    monkeypatch.setattr(run, "find_spec", lambda _: None)

    assert 2 == execute(["demo", f"--picture={tmp_path}/demo.svg"])
    assert "nodeipam: --picture needs rich: pip install 'nodeipam[demo]'\n" == capsys.readouterr().err


def test_terminal_without_rich(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without rich there are plain lines on a terminal too, after a word about it."""
    monkeypatch.setattr(run, "find_spec", lambda _: None)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)

    assert isinstance(run._screen(), PlainScreen)  # noqa: SLF001 - what chooses the screen
    assert "rich isn't installed" in capsys.readouterr().out


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The help of the demo lists its options."""
    assert 0 == execute(["demo", "--help"])
    out = capsys.readouterr().out
    assert [] == [name for name in ("--nodes", "--seed", "--hold", "--pace", "--picture") if name not in out]
