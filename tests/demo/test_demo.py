"""The demo as a person starts it: a process, with the replicas as processes below it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

import pytest

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in /proc"),
]

URL = re.compile(r"http://127\.0\.0\.1:\d+")


@contextmanager
def demo(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A small demo, in a hurry, whose files go to a folder of the test's own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nodeipam", "demo", "--nodes=12", "--pace=0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """What it prints up to the line with this text."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"{text!r} isn't in\n{''.join(lines)}")


def children(process: subprocess.Popen[str]) -> list[int]:
    """The processes below it."""
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in text.split()]


def running(pids: list[int]) -> list[int]:
    """Those that are still there."""
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def served(url: str) -> bool:
    """Whether somebody answers there."""
    try:
        with urllib.request.urlopen(f"{url}/version", timeout=5):
            return True
    except URLError:
        return False


def register_again(url: str) -> None:
    """Let there be a second Node with the ranges of each that has some."""
    with urllib.request.urlopen(f"{url}/api/v1/nodes", timeout=5) as answer:
        nodes = json.load(answer)["items"]
    for node in nodes:
        if "podCIDRs" in node["spec"]:
            twin = {"metadata": {"name": f"twin-of-{node['metadata']['name']}"}, "spec": node["spec"]}
            request = urllib.request.Request(f"{url}/api/v1/nodes", json.dumps(twin).encode(), method="POST")
            request.add_header("Content-Type", "application/json")
            urllib.request.urlopen(request, timeout=5).close()


def test_to_the_end(tmp_path: Path) -> None:
    """It exits 0 with a summary in which every invariant held, and leaves no file behind."""
    with demo(tmp_path) as process:
        out, _ = process.communicate()

    assert 0 == process.returncode, out
    assert 6 == len(re.findall(r"^  held ", out, re.MULTILINE)), out
    assert "Traceback" not in out
    assert "the leader is killed" in out
    assert re.search(r"^  wrote to Nodes +(alpha, then beta|beta, then alpha)$", out, re.MULTILINE), out
    assert [] == list(tmp_path.iterdir())


def test_hold(tmp_path: Path) -> None:
    """--hold keeps the API server up, with the line for kubectl, until Ctrl-C; the logs are kept."""
    with demo(tmp_path, "--hold") as process:
        out = read_until(process, "kubectl --server ")
        (url,) = set(URL.findall(out))
        up, pids = served(url), children(process)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate()

    assert (True, 0) == (up, process.returncode), rest
    assert pids
    assert ([], False) == (running(pids), served(url))
    (folder,) = tmp_path.iterdir()
    assert f"logs are in {folder}\n" in rest
    assert {"alpha.log", "beta.log"} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["an API server model", "join: the first wave", "the leader is killed"])
def test_interrupted(tmp_path: Path, moment: str, number: signal.Signals) -> None:
    """Interrupted at any moment it says so, and leaves no process, port or file behind."""
    with demo(tmp_path) as process:
        out = read_until(process, moment)
        (url,) = set(URL.findall(out))
        pids = children(process)
        process.send_signal(number)
        rest, _ = process.communicate()

    assert 128 + number == process.returncode, rest
    assert "interrupted: nothing is left running\n" in rest
    assert ([], False, []) == (running(pids), served(url), list(tmp_path.iterdir()))


def test_interrupted_when_all_is_said(tmp_path: Path) -> None:
    """Interrupted while it ends its replicas, it ends them nevertheless, and its exit code is the verdict."""
    with demo(tmp_path) as process:
        out = read_until(process, "the leader is killed")
        (url,) = set(URL.findall(out))
        pids = children(process)
        read_until(process, "went as the story has it")
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate()

    assert 0 == process.returncode, rest
    assert ([], False, []) == (running(pids), served(url), list(tmp_path.iterdir()))


def test_what_the_story_doesnt_tell(tmp_path: Path) -> None:
    """A replica that ends though the story doesn't kill it makes it exit 1, with what was violated."""
    with demo(tmp_path) as process:
        read_until(process, "join: the first wave")
        os.kill(children(process)[0], signal.SIGTERM)
        out, _ = process.communicate()

    assert 1 == process.returncode, out
    assert "VIOLATED  everything went as the story has it\n" in out
    assert "ended by itself" in out
    assert f"logs are in {tmp_path}" in out


def test_a_shared_address(tmp_path: Path) -> None:
    """Nodes that come with the ranges of others make it exit 1, with what the observer saw."""
    with demo(tmp_path) as process:
        (url,) = set(URL.findall(read_until(process, "every Node has its ranges")))
        register_again(url)
        out, _ = process.communicate()

    assert 1 == process.returncode, out
    assert "VIOLATED  no two Nodes ever shared an address\n" in out
    assert re.search(r"^    twin-of-(\S+) got (.+) though \1 has \2$", out, re.MULTILINE), out
