"""The README's quick start, and what it says is to be expected, word for word against a real API server."""

import re
import shlex
import signal
from pathlib import Path

import pytest

from tests.e2e.controlplane import ControlPlane
from tests.e2e.controlplane.processes import Process, free_port
from tests.e2e.kube import Kube
from tests.e2e.observer import Observer
from tests.e2e.shown import kubectl_environment, shell, wait_reason

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
NODES = ("n1", "n2", "n3")


def block(heading: str, language: str) -> list[str]:
    """The lines of the first fenced block of a language behind a heading."""
    _, found, behind = README.partition(f"\n## {heading}\n")
    assert found, f"README.md has no heading {heading!r}"
    fenced = re.search(rf"^```{language}\n(.*?)^```$", behind, re.MULTILINE | re.DOTALL)
    assert fenced, f"README.md has no {language or 'plain'} block behind {heading!r}"
    return fenced[1].splitlines()


@pytest.mark.timeout(300)  # where .venv isn't there yet, it is made
async def test_quick_start(plane: ControlPlane, kube: Kube, observer: Observer, tmp_path: Path) -> None:
    """Each line works as it stands, Nodes get their ranges, and kubectl shows what the README shows."""
    *preparations, controller = block("Quick start", "sh")
    environment = {**kubectl_environment(plane), "IPAM_WEBSERVER_BIND_ADDR": f"127.0.0.1:{free_port()}"}
    for line in preparations:
        await shell(line, env=environment, folder=ROOT, within=240.0)
    line = f"cd {shlex.quote(str(ROOT))} && exec {controller}"
    running = Process("quick-start", ["sh", "-c", line], log=tmp_path / "log", env=environment)
    running.start()
    try:
        for name in NODES:
            await kube.create_node(name)
            await observer.wait_assigned(name, within=20.0)
        await wait_reason(kube, "dual", "Allocating")
        for command, expected in _session(block("What to expect", "")):
            assert expected == _ageless(await shell(command, env=environment))
        assert 0 == running.stop(signal.SIGINT, within=10.0), running.log
    finally:
        running.stop()


def _session(lines: list[str]) -> list[tuple[str, list[str]]]:
    """The commands of a session, each with what it printed."""
    commands: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith("$ "):
            commands.append((line[2:], []))
        else:
            commands[-1][1].append(line)
    return [(command, _ageless("\n".join(printed))) for command, printed in commands]


def _ageless(text: str) -> list[str]:
    """The lines of a table, with every age the same and no spaces at their ends."""
    return [re.sub(r"\b\d+[smh](\d+[smh])?$", "AGE", line.rstrip()) for line in text.strip().splitlines()]
