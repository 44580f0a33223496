"""The process as a whole: exit codes, signals, the last line."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodeipam.cli import run as running
from nodeipam.cli.flag import Given

QUIET = ["--enable-leader-election=false", "--log-format=json"]


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """An environment without a cluster, a kubeconfig, or a setting of ours."""
    own = ("IPAM_", "KUBE", "POD_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return kept | {"HOME": str(tmp_path)}


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def command(*arguments: str) -> list[str]:
    """The command line of a process."""
    return [sys.executable, "-m", "nodeipam", *arguments]


def ended(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a process that ends by itself."""
    return subprocess.run(
        command(*arguments), env=environ, capture_output=True, text=True, timeout=20, check=False
    )


def last(stderr: str) -> dict[str, Any]:
    """The last line of a JSON log."""
    found: dict[str, Any] = json.loads(stderr.splitlines()[-1])
    return found


class TestEndsByItself:
    def test_nobody_to_talk_to(self, elsewhere: dict[str, str]) -> None:
        """Without any API server it ends with exit code 1 and a line that says what is missing."""
        done = ended(elsewhere, *QUIET)

        assert (1, "", "critical") == (done.returncode, done.stdout, last(done.stderr)["level"])
        assert "kubeconfig" in last(done.stderr)["message"]

    def test_missing_kubeconfig(self, elsewhere: dict[str, str]) -> None:
        """A kubeconfig that isn't there is named, in one line and without a traceback."""
        done = ended(elsewhere, *QUIET, "--kubeconfig=/nonexistent")

        assert (1, 1) == (done.returncode, len(done.stderr.splitlines()))
        assert last(done.stderr)["message"].startswith("ended: kubeconfig /nonexistent doesn't exist")
        assert "exception" not in last(done.stderr)

    def test_debugging(self, elsewhere: dict[str, str]) -> None:
        """Who debugs sees where it came from."""
        done = ended(elsewhere, *QUIET, "--kubeconfig=/nonexistent", "--log-level=debug")

        assert "CredentialsError" in last(done.stderr)["exception"]

    def test_port_in_use(self, elsewhere: dict[str, str], silent: str) -> None:
        """A port that is taken ends it with exit code 1 and a line that names it."""
        taken = silent.removeprefix("http://")
        done = ended(elsewhere, *QUIET, f"--apiserver={silent}", f"--webserver-bind-address={taken}")

        assert 1 == done.returncode
        assert last(done.stderr)["message"].startswith(f"ended: can't listen at '{taken}'")

    def test_bad_flag(self, elsewhere: dict[str, str]) -> None:
        """A bad flag ends it with exit code 1 and one plain line."""
        done = ended(elsewhere, "--leader-elect-lease-duration=15")

        assert (
            1,
            "",
            'nodeipam: --leader-elect-lease-duration: "15" lacks a unit after 15; did you mean "15s"?\n',
        ) == (done.returncode, done.stdout, done.stderr)

    def test_help(self, elsewhere: dict[str, str]) -> None:
        """Help is no failure."""
        assert 0 == ended(elsewhere, "--help").returncode


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_stop(self, elsewhere: dict[str, str], silent: str, number: signal.Signals) -> None:
        """A signal stops it in good order, with exit code 0; what it said first is who and where it is."""
        arguments = [*QUIET, f"--apiserver={silent}", "--webserver-bind-address=127.0.0.1:0"]
        with subprocess.Popen(
            command(*arguments), env=elsewhere, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            first = json.loads(process.stderr.readline())
            while "serving probes and metrics" not in process.stderr.readline():
                pass
            process.send_signal(number)
            rest = process.stderr.read()

        assert (0, "starting", "off", silent.removeprefix("http://")) == (
            process.returncode,
            first["message"],
            first["election"],
            first["server"],
        )
        assert {"version", "python", "identity"} <= first.keys()
        assert last(rest)["message"] == "stopped"

    def test_before_the_loop_runs(self, elsewhere: dict[str, str]) -> None:
        """A signal while modules are still being imported is a clean stop too."""
        program = (
            "import signal, sys, types\n"
            "import nodeipam.cli\n"
            "module = types.ModuleType('nodeipam.cli.command')\n"
            "module.execute = lambda _: signal.raise_signal(signal.SIGTERM)\n"
            "sys.modules['nodeipam.cli.command'] = module\n"
            "nodeipam.cli.main()\n"
        )
        done = subprocess.run([sys.executable, "-c", program], env=elsewhere, timeout=20, check=False)

        assert 0 == done.returncode

    def test_second_signal(self, elsewhere: dict[str, str]) -> None:
        """A second signal ends the process with exit code 1, though it is busy stopping."""
        program = (
            "import asyncio, signal\n"
            "from nodeipam.cli.run import _Signals\n"
            "async def stubborn():\n"
            "    signals = _Signals()\n"
            "    signals.install()\n"
            "    while True:\n"
            "        try:\n"
            "            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)\n"
            "            await asyncio.sleep(60)\n"
            "        except asyncio.CancelledError:\n"
            "            print('cancelled', flush=True)\n"
            "asyncio.run(stubborn())\n"
        )
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", program], env=elsewhere, timeout=20, check=False, stdout=subprocess.PIPE
        )

        assert (1, b"cancelled\n", True) == (done.returncode, done.stdout, time.monotonic() - began < 15)


class TestLastLine:
    """Errors that no flag causes."""

    def test_a_stop_that_fails(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What failed while the manager was being stopped is told in place of the cancel, with code 1."""

        class Manager:
            identity = "me"

            def add(self, runnable: object) -> None:
                """Take a runnable."""

            async def run(self) -> None:
                """End as a manager does that was cancelled and then failed."""
                raise asyncio.CancelledError from ZeroDivisionError("late")

        monkeypatch.setattr(running, "build", lambda *_: Manager())
        monkeypatch.setattr(running, "configure_logging", lambda **_: None)
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
        flags = {"--leader-elect-namespace": "ns", "--apiserver": "http://127.0.0.1:1"}

        assert 1 == running.run(Given(flags, {}))
        assert "ended: an error in nodeipam: ZeroDivisionError: late" == caplog.messages[-1]

    @pytest.mark.parametrize(
        "error,line",
        [
            (ZeroDivisionError("a\nb"), "ended: an error in nodeipam: ZeroDivisionError: a b"),
            (AssertionError(), "ended: an error in nodeipam: AssertionError: AssertionError"),
            (asyncio.CancelledError(), "ended: cancelled, though nobody asked for it"),
            (None, "ended: the controller had nothing left to do"),
        ],
    )
    def test_says_why(
        self,
        error: BaseException | None,
        line: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Whatever ends it unasked, the last line says what it was, and the exit code is 1."""

        async def serve(*_: object) -> None:
            if error is not None:
                raise error

        monkeypatch.setattr(running, "_serve", serve)
        monkeypatch.setattr(running, "configure_logging", lambda **_: None)

        assert 1 == running.run(Given({"--leader-elect-namespace": "ns"}, {}))
        assert line == caplog.messages[-1]
