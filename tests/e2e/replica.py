"""A replica of the controller: `python -m nodeipam` as a process, out of cluster or as if in a pod."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import aiohttp

from tests.e2e.controlplane import ControlPlane
from tests.e2e.controlplane.processes import Process, free_port, tail

_OWN_VARIABLES = ("IPAM_", "KUBERNETES_", "POD_", "KUBECONFIG")

# Runs in a mount namespace of its own, so that the host's /run never shows the folder.
_AS_POD = """
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/secrets/kubernetes.io/serviceaccount
mount --bind "$1" /run/secrets/kubernetes.io/serviceaccount
shift
exec "$@"
"""


class Replica:
    """One process of the controller; made by `out_of_cluster` or `in_cluster`, ended by `stop`."""

    def __init__(
        self, name: str, argv: Sequence[str], *, log: Path, env: Mapping[str, str], port: int
    ) -> None:
        self.name = name
        self.port = port
        self.process = Process(name, argv, log=log, env=env)

    def __repr__(self) -> str:
        return f"<Replica {self.process!r}, port {self.port}>"

    @classmethod
    def out_of_cluster(
        cls,
        name: str,
        *flags: str,
        kubeconfig: Path,
        folder: Path,
        env: Mapping[str, str] | None = None,
    ) -> "Replica":
        """A replica that reads a kubeconfig. Later flags win over those given here."""
        port = free_port()
        argv = [*_command(name, port), f"--kubeconfig={kubeconfig}", *flags]
        return cls(name, argv, log=folder / f"{name}.log", env={**_environment(), **(env or {})}, port=port)

    @classmethod
    def in_cluster(
        cls,
        name: str,
        *flags: str,
        plane: ControlPlane,
        token: str,
        namespace: str,
        folder: Path,
        env: Mapping[str, str] | None = None,
        python: str | Path = sys.executable,
    ) -> "Replica":
        """A replica that finds what a kubelet mounts into a pod.

        Its token is in `<folder>/<name>-serviceaccount/token`: a test may put another one there,
        as a kubelet does.
        Needs the right to make mount namespaces.
        """
        account = folder / f"{name}-serviceaccount"
        account.mkdir(exist_ok=True)
        (account / "token").write_text(token)
        (account / "ca.crt").write_bytes(plane.ca_file.read_bytes())
        (account / "namespace").write_text(namespace)
        port = free_port()
        unshare = ["unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",))]
        argv = [*unshare, "sh", "-c", _AS_POD, "sh", str(account), *_command(name, port, python), *flags]
        pod = {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(plane.port),
            "POD_NAME": name,
            "POD_NAMESPACE": namespace,
        }
        return cls(
            name, argv, log=folder / f"{name}.log", env={**_environment(), **pod, **(env or {})}, port=port
        )

    def start(self) -> None:
        """Start the process; doesn't wait for anything."""
        self.process.start()

    def stop(self, *, within: float = 10.0) -> int | None:
        """SIGTERM, and SIGKILL when that is of no use within so many seconds. Returns the exit code."""
        return self.process.stop(within=within)

    def kill(self) -> None:
        """SIGKILL: no time for anything."""
        self.process.stop(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send a signal: SIGTERM asks it to stop, SIGSTOP and SIGCONT pause it."""
        self.process.send(number)

    async def exited(self, *, within: float = 10.0) -> int:
        """Wait for its end and return the exit code (negative: the signal)."""
        await self._until(lambda: not self.process.running, within, "its end", alive=False)
        code = self.process.exit_code
        assert code is not None
        return code

    async def ready(self, *, within: float = 10.0) -> None:
        """Wait until `/readyz` answers 200."""
        end = time.monotonic() + within
        while await self.status("/readyz") != 200:
            self._check_alive()
            if time.monotonic() > end:
                raise AssertionError(f"{self!r} isn't ready after {within:g} s:\n{tail(self.log, 60)}")
            await asyncio.sleep(0.02)

    async def logs(self, text: str, *, within: float = 10.0) -> None:
        """Wait until the log holds a text."""
        await self._until(lambda: text in self.log, within, f"{text!r} in its log")

    async def status(self, path: str) -> int | None:
        """The status code with which its probe server answers; None if it doesn't."""
        try:
            return (await self._get(path))[0]
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def get(self, path: str) -> str:
        """What its probe and metrics server answers."""
        return (await self._get(path))[1]

    async def metric(self, name: str, /, **labels: str) -> float | None:
        """The value of one series, None if there is no such series."""
        for line in (await self.get("/metrics")).splitlines():
            series, _, value = line.rpartition(" ")
            metric, _, rest = series.partition("{")
            if metric == name and all(f"{key}={json.dumps(text)}" in rest for key, text in labels.items()):
                return float(value)
        return None

    @property
    def log(self) -> str:
        """All that it has written so far."""
        return self.process.log

    async def _get(self, path: str) -> tuple[int, str]:
        timeout = aiohttp.ClientTimeout(total=2.0)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"http://127.0.0.1:{self.port}{path}") as answer,
        ):
            return answer.status, await answer.text()

    async def _until(
        self, predicate: Callable[[], bool], within: float, what: str, *, alive: bool = True
    ) -> None:
        end = time.monotonic() + within
        while not predicate():
            if alive:
                self._check_alive()
            if time.monotonic() > end:
                raise AssertionError(f"{self!r}: not {what} within {within:g} s:\n{tail(self.log, 60)}")
            await asyncio.sleep(0.01)

    def _check_alive(self) -> None:
        if not self.process.running:
            raise AssertionError(f"{self!r} ended:\n{tail(self.log, 60)}")


def _command(name: str, port: int, python: str | Path = sys.executable) -> list[str]:
    return [
        str(python),
        "-m",
        "nodeipam",
        f"--webserver-bind-address=127.0.0.1:{port}",
        f"--leader-elect-id={name}",
        "--log-level=debug",
    ]


def _environment() -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(_OWN_VARIABLES)}
    return {**inherited, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "default"}
