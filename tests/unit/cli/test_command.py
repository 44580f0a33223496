from __future__ import annotations

import platform

import pytest

import nodeipam
from nodeipam.cli import run as running
from nodeipam.cli.command import execute
from nodeipam.cli.flag import Given
from nodeipam.cli.options import FLAGS
from nodeipam.runtime import ConfigurationError

TIMES = {flag.name: flag for flag in FLAGS}


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Given]:
    """What would have been run."""
    runs: list[Given] = []

    def run(given: Given) -> int:
        runs.append(given)
        return 7

    monkeypatch.setattr(running, "run", run)
    return runs


class TestRun:
    @pytest.mark.parametrize(
        "arguments", [[], ["run"], ["--log-level=debug"], ["run", "--log-level", "debug"]]
    )
    def test_default_command(self, runs: list[Given], arguments: list[str]) -> None:
        """Without a command `run` is meant; its exit code is the process's."""
        assert (7, 1) == (execute(arguments), len(runs))

    def test_texts(self, runs: list[Given]) -> None:
        """Values are taken behind an equals sign or a space, and of two the last counts."""
        execute(["--kubeconfig", "/a", "--log-level=debug", "--kubeconfig=/b"])

        assert ["/b", "debug"] == [runs[0].value(TIMES[name]) for name in ("--kubeconfig", "--log-level")]

    @pytest.mark.parametrize(
        "argument,value",
        [
            ("--enable-leader-election", True),
            ("--enable-leader-election=true", True),
            ("--enable-leader-election=T", True),
            ("--enable-leader-election=false", False),
            ("--enable-leader-election=0", False),
        ],
    )
    def test_boolean(self, runs: list[Given], argument: str, value: bool) -> None:  # noqa: FBT001 - a parameter
        """A boolean stands alone, or has its value behind an equals sign."""
        execute([argument, "--log-level=info"])

        assert value is runs[0].value(TIMES["--enable-leader-election"])

    def test_environment(self, runs: list[Given], monkeypatch: pytest.MonkeyPatch) -> None:
        """The process's environment is what variables are read from."""
        monkeypatch.setenv("IPAM_KUBECONFIG", "/c")
        execute([])

        assert runs[0].value(TIMES["--kubeconfig"]) == "/c"

    def test_contradiction(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """Settings that contradict each other end in one line and exit code 1."""

        def refuse(_: Given) -> int:
            raise ConfigurationError("5 s is less\nthan 10 s")

        monkeypatch.setattr(running, "run", refuse)

        assert (1, ("", "nodeipam: 5 s is less than 10 s\n")) == (execute([]), tuple(capsys.readouterr()))

    def test_defect(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A defect of ours isn't hidden behind a line."""

        def fail(_: Given) -> int:
            raise ZeroDivisionError

        monkeypatch.setattr(running, "run", fail)

        with pytest.raises(ZeroDivisionError):
            execute([])


class TestMistakes:
    @pytest.mark.parametrize(
        "arguments,line",
        [
            (["--kubecnfig=x"], "there is no flag --kubecnfig; did you mean --kubeconfig?"),
            (["run", "--wat"], "there is no flag --wat ('nodeipam --help' lists them)"),
            (["-kubeconfig=x"], "there is no flag -kubeconfig; did you mean --kubeconfig?"),
            (["-k"], "there is no flag -k ('nodeipam --help' lists them)"),
            (["--kubeconfig"], "Option '--kubeconfig' requires an argument."),
            (["rnu"], "there is no command 'rnu'; did you mean run?"),
            (["frobnicate"], "there is no command 'frobnicate' ('nodeipam --help' lists them)"),
            (["run", "now"], "unexpected argument 'now': 'nodeipam run' takes flags only"),
            (["run", "kubeconfig=x"], "unexpected argument 'kubeconfig=x'; did you mean --kubeconfig=x?"),
            (
                ["--enable-leader-election", "false"],
                "unexpected argument 'false': write --enable-leader-election=false, with an equals sign",
            ),
            (["version", "x"], "Got unexpected extra argument (x)"),
        ],
    )
    def test_line(
        self, runs: list[Given], capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
    ) -> None:
        """A mistake in the command line ends in exit code 1 and one line that says what would be right."""
        assert (1, [], ("", f"nodeipam: {line}\n")) == (execute(arguments), runs, tuple(capsys.readouterr()))

    def test_value(self, capsys: pytest.CaptureFixture[str]) -> None:
        """So does a mistake in a value."""
        line = 'nodeipam: --log-level: "loud" isn\'t known here; use debug, info, warning or error\n'

        assert (1, ("", line)) == (execute(["--log-level=loud"]), tuple(capsys.readouterr()))

    def test_value_in_the_environment(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """And a mistake in a variable, which is named."""
        monkeypatch.setenv("IPAM_LEASE_DURATION", "15")
        line = 'nodeipam: IPAM_LEASE_DURATION: "15" lacks a unit after 15; did you mean "15s"?\n'

        assert (1, ("", line)) == (execute([]), tuple(capsys.readouterr()))


class TestHelp:
    @pytest.mark.parametrize(
        "arguments", [["--help"], ["-h"], ["run", "--help"], ["--log-level=x", "--help"]]
    )
    def test_flags(self, runs: list[Given], capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
        """Help lists every flag with its variables, on stdout, with exit code 0, and runs nothing."""
        assert 0 == execute(arguments)

        shown, complaints = capsys.readouterr()
        expected = [name for flag in FLAGS for name in (flag.name, *flag.variables)]
        assert ([], "", []) == ([name for name in expected if name not in shown], complaints, runs)

    def test_commands(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Help lists the commands."""
        execute(["--help"])

        assert "version  Print the version." in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is printed with Python's."""
    line = f"nodeipam {nodeipam.__version__} (Python {platform.python_version()})\n"

    assert (0, (line, "")) == (execute(["version"]), tuple(capsys.readouterr()))
