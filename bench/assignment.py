"""Gives ranges to waiting Nodes on a real API server, beside a bare client that does the least anyone must.

Run it with `python -m bench.assignment [--nodes 5000]`. One run, in this order: bare client, nodeipam, bare
client. Both get the same Nodes (20 KB of JSON each) on the same API server. The bare client lists all Nodes
in pages and patches each, as many in flight as nodeipam has; it keeps no cache, watches nothing and elects
nobody. nodeipam runs as it is deployed: in-cluster mode under the rights of `manifests/`, leader election on.

Time is from the start of the process to the last podCIDRs that an observer sees on its watch. CPU and peak
memory are the process's own, from /proc. When the two bare runs differ by more than a fifth the machine was
too busy for a verdict, and the report says so.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.controlplane import ControlPlane, find
from tests.e2e.controlplane.processes import Process
from tests.e2e.kube import Kube, cluster_cidr, read_manifests
from tests.e2e.replica import Replica
from tests.programs import Unavailable

IN_FLIGHT = 16
NODES = "/api/v1/nodes"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/nodeipam/leases"
POOLS = "/apis/networking.x-k8s.io/v1/clustercidrs"
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one contestant."""

    name: str
    seconds: float
    cpu: float
    peak: float

    def row(self, nodes: int, bare: float) -> str:
        """A line of the table; `bare` is what the bare client took, in seconds."""
        return (
            f"{self.name:12} {self.seconds:8.2f} {nodes / self.seconds:9.0f} {self.cpu:8.2f} "
            f"{self.cpu / nodes * 1e6:11.0f} {self.peak:9.1f} {self.seconds / bare:8.2f}"
        )


class Observer:
    """Counts the Nodes that a watch shows with podCIDRs, without reading what it needn't."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._seen: set[bytes] = set()
        self.done = asyncio.Event()
        """Set once so many Nodes have ranges."""

    async def run(self, plane: ControlPlane, version: str) -> None:
        """Watch from `version` on, until cancelled; watch again when the server closes."""
        headers = {"Authorization": f"Bearer {plane.tokens['observer']}", "Accept-Encoding": "identity"}
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout, read_bufsize=1 << 20) as session:
            params = {"watch": "1", "resourceVersion": version}
            while True:
                async with session.get(plane.url + NODES, params=params, ssl=plane.tls()) as answer:
                    async for line in answer.content:
                        if b'"podCIDRs":[' in line:
                            start = line.index(b'"name":"') + 8
                            self._seen.add(line[start : line.index(b'"', start)])
                            if len(self._seen) == self._count:
                                self.done.set()


def realistic(number: int) -> dict[str, Any]:
    """A Node of some 20 KB, most of it images, as kubelets report them."""
    name = f"node-{number:05}"
    labels = {f"example.com/label-{i}": f"value-{i}" for i in range(18)} | {"kubernetes.io/hostname": name}
    images = [
        {
            "names": [
                f"registry.example.com/team/app-{i}@sha256:{i:064x}",
                f"registry.example.com/team/app-{i}:v1",
            ]
        }
        | {"sizeBytes": 10_000_000 + i}
        for i in range(100)
    ]
    condition = {"status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}
    conditions = [{"type": f"Condition{i}", **condition} for i in range(8)]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"images": images, "conditions": conditions},
    }


async def in_parallel(jobs: list[Callable[[], Awaitable[Any]]]) -> None:
    """Run jobs, a few at a time."""
    work = iter(jobs)

    async def worker() -> None:
        for job in work:
            await job()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(32):
            tasks.create_task(worker())


async def fill(kube: Kube, nodes: int) -> str:
    """Delete what is there and create Nodes that wait; return the version to watch from."""
    names = [node["metadata"]["name"] for node in await kube.items(NODES)]
    await in_parallel([lambda name=name: kube.delete(f"{NODES}/{name}") for name in names])  # type: ignore[misc]
    await in_parallel([lambda i=i: kube.create(NODES, realistic(i)) for i in range(nodes)])  # type: ignore[misc]
    first = await kube.request("GET", NODES, params={"limit": "1"})
    return str(first["metadata"]["resourceVersion"])


@asynccontextmanager
async def observed(plane: ControlPlane, count: int, version: str) -> AsyncIterator[Observer]:
    """An observer that watches meanwhile."""
    observer = Observer(count)
    task = asyncio.create_task(observer.run(plane, version))
    try:
        yield observer
    finally:
        task.cancel()
        await asyncio.wait({task})


async def run_nodeipam(plane: ControlPlane, kube: Kube, nodes: int, folder: Path) -> Run:
    """The controller as it ships, on a fresh lease."""
    version = await fill(kube, nodes)
    await forget(kube)
    token = await kube.token_for("nodeipam", "node-ipam-controller")
    replica = Replica.in_cluster(
        "nodeipam",
        f"--concurrent-node-syncs={IN_FLIGHT}",
        "--log-level=info",
        plane=plane,
        token=token,
        namespace="nodeipam",
        folder=folder,
    )
    async with observed(plane, nodes, version) as observer:
        began = time.monotonic()
        replica.start()
        try:
            await observer.done.wait()
            seconds = time.monotonic() - began
            cpu, peak = usage(replica.process.pid)
        finally:
            replica.stop()
    return Run("nodeipam", seconds, cpu, peak)


async def run_bare(plane: ControlPlane, kube: Kube, nodes: int, folder: Path) -> Run:
    """The bare client, a process of its own."""
    version = await fill(kube, nodes)
    argv = [sys.executable, "-m", "bench.bareclient", plane.url, str(IN_FLIGHT)]
    env = {**os.environ, "TOKEN": plane.tokens["admin"], "CA": str(plane.ca_file)}
    process = Process("bare", argv, log=folder / "bare.log", env=env)
    async with observed(plane, nodes, version) as observer:
        began = time.monotonic()
        process.start()
        try:
            await observer.done.wait()
            seconds = time.monotonic() - began
            cpu, peak = usage(process.pid)
        finally:
            process.stop()
    return Run("bare client", seconds, cpu, peak)


async def forget(kube: Kube) -> None:
    """Leave nothing of an earlier run: a killed holder's lease would cost the next one its duration."""
    for item in await kube.items(LEASES):
        await kube.delete(f"{LEASES}/{item['metadata']['name']}")
    for item in await kube.items(POOLS):
        path = f"{POOLS}/{item['metadata']['name']}"
        await kube.patch(path, {"metadata": {"finalizers": None}})
        await kube.delete(path)
    await kube.create(POOLS, cluster_cidr("bench", ipv4="10.0.0.0/8", ipv6="fd00::/48", host_bits=8))


def usage(pid: int) -> tuple[float, float]:
    """CPU seconds and peak MiB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(
        status["VmHWM"].split()[0]
    ) / 1024


async def measure(plane: ControlPlane, nodes: int, folder: Path) -> list[Run]:
    """Bare client, nodeipam, bare client."""
    async with Kube(plane) as kube:
        for manifest in (ROOT / "manifests/crd.yaml", ROOT / "manifests/rbac.yaml"):
            await kube.apply(read_manifests(manifest))
        return [await run(plane, kube, nodes, folder) for run in (run_bare, run_nodeipam, run_bare)]


def report(runs: list[Run], nodes: int) -> None:
    """Print the table and what it means."""
    bare = [run.seconds for run in runs if run.name == "bare client"]
    mean, spread = sum(bare) / len(bare), max(bare) / min(bare) - 1
    print(f"{nodes} Nodes, {IN_FLIGHT} requests in flight")
    heads = f"{'seconds':>8} {'Nodes/s':>9} {'CPU s':>8} {'µs CPU/Node':>11} {'peak MiB':>9} {'x bare':>8}"
    print(f"{'':12} {heads}")
    for run in runs:
        print(run.row(nodes, mean))
    if spread > 0.2:
        print(f"the bare runs differ by {spread:.0%}: no verdict, the machine was busy")


def main() -> None:
    """Parse, start a control plane, measure, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=5000, help="how many Nodes wait (default: 5000)")
    nodes = parser.parse_args().nodes
    if not 1 <= nodes <= 65_000:
        parser.error(f"--nodes is from 1 to 65000, not {nodes}: 10.0.0.0/8 has room for 65536")
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        try:
            plane = ControlPlane(find(lambda text: print(text, file=sys.stderr)), folder)
        except Unavailable as reason:
            sys.exit(f"no control plane to measure on: {reason}")
        plane.start()
        try:
            report(asyncio.run(measure(plane, nodes, folder)), nodes)
        finally:
            plane.stop()


if __name__ == "__main__":
    main()
