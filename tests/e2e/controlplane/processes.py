"""Child processes that never outlive the tests, with their output in a file."""

import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class Process:
    """One child process: started with `start`, ended with `stop`, `log` is what it wrote."""

    def __init__(
        self, name: str, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.log_file = log
        self._env = env
        self._popen: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        if self._popen is None:
            return f"<Process {self.name}, not started>"
        code = self._popen.poll()
        state = "running" if code is None else f"exit code {code}"
        return f"<Process {self.name}, pid {self._popen.pid}, {state}>"

    def start(self) -> None:
        """Start it; its output is added to the log file."""
        if self.running:
            raise RuntimeError(f"{self!r} can't be started twice")
        with self.log_file.open("ab") as log:
            self._popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if self._env is None else dict(self._env),
                start_new_session=True,  # Ctrl-C reaches the tests alone, which then stop us in order
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, no lock
            )

    @property
    def running(self) -> bool:
        """Whether it has been started and hasn't ended."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: ended by that signal."""
        return None if self._popen is None else self._popen.poll()

    @property
    def pid(self) -> int:
        """Its process id."""
        if self._popen is None:
            raise RuntimeError(f"{self!r} has no pid")
        return self._popen.pid

    @property
    def log(self) -> str:
        """All that it has written so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.running:
            os.kill(self.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM, *, within: float = 5.0) -> int | None:
        """End it by a signal, by SIGKILL if it lives on for `within` seconds; returns its exit code."""
        if self._popen is None:
            return None
        if self.running:
            self.send(signal.SIGCONT)  # a stopped process handles nothing but SIGKILL
            self.send(number)
        try:
            return self._popen.wait(within)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            return self._popen.wait()


def free_port() -> int:
    """A TCP port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tail(text: str, lines: int) -> str:
    """The last lines of a log."""
    return "\n".join(text.splitlines()[-lines:])


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
