"""Clusters to measure on: a control plane that this process starts, with Nodes that were made beforehand.

What a cluster holds is made once for each number of Nodes, and kept as etcd's folder. Each run starts a
control plane on a copy of it: so no run finds what an earlier one has left (a Lease, a warm cache, a long
history), and none has to wait for thousands of Nodes to be deleted and made again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.environment import ROOT, make_environment
from tests.e2e.controlplane import Binaries, ControlPlane, find
from tests.e2e.kube import CLUSTER_CIDRS, NODES, Kube, cluster_cidr, read_manifests
from tests.programs import Unavailable

__all__ = ["Cluster", "Clusters"]

_NAMESPACE = "nodeipam"


@dataclass(frozen=True, slots=True)
class Cluster:
    """One control plane, for one run."""

    plane: ControlPlane
    kube: Kube
    folder: Path
    bareclient: Path
    python: Path
    """The interpreter of an environment in which nodeipam is installed."""

    @property
    def environment(self) -> dict[str, str]:
        """That of the bare client."""
        return {
            **os.environ,
            "BENCH_SERVER": self.plane.url,
            "BENCH_CA": str(self.plane.ca_file),
            "BENCH_TOKEN": self.plane.tokens["admin"],
        }

    async def token(self) -> str:
        """A token of nodeipam's ServiceAccount."""
        return await self.kube.token_for(_NAMESPACE, "node-ipam-controller")

    async def version(self) -> str:
        """The resourceVersion of Nodes by now."""
        first = await self.kube.request("GET", NODES, params={"limit": "1"})
        return str(first["metadata"]["resourceVersion"])

    async def make_nodes(self, *flags: str) -> None:
        """Let Nodes join; see `bareclient make -h`."""
        process = await asyncio.create_subprocess_exec(
            self.bareclient, "make", *flags, env=self.environment, stderr=asyncio.subprocess.PIPE
        )
        _, said = await process.communicate()
        if process.returncode:
            raise RuntimeError(said.decode())


class Clusters:
    """Makes them, below one folder. nodeipam is run by an interpreter like `python`.

    Raises:
        Unavailable: a program is missing that can't be built either; the message says which.
    """

    def __init__(self, folder: Path, say: Callable[[str], None], *, python: str = sys.executable) -> None:
        self._folder = folder
        self._say = say
        self._binaries: Binaries = find(say)
        self._bareclient = _build(folder, say)
        say(f"installing nodeipam for {python}")
        self._python = make_environment(folder, python)
        self._kept: dict[str, Path] = {}
        self._count = 0

    @asynccontextmanager
    async def start(self, nodes: int = 0, *, assigned: bool = False) -> AsyncIterator[Cluster]:
        """A cluster with so many Nodes, which wait for ranges or have them."""
        kept = await self._with_nodes(nodes, assigned=assigned)
        async with self._running(kept) as cluster:
            yield cluster

    async def _with_nodes(self, nodes: int, *, assigned: bool) -> Path:
        name = f"{nodes}-{'assigned' if assigned else 'waiting'}"
        if name not in self._kept:
            self._say(f"making {nodes} Nodes")
            async with self._running(None) as cluster:
                await _furnish(cluster.kube)
                if nodes:
                    await cluster.make_nodes(f"-nodes={nodes}", *(["-assigned"] if assigned else []))
                # (What etcd has written counts, not what it has in memory: it ends in good order.)
                self._kept[name] = cluster.plane.keep().rename(self._folder / name)
        return self._kept[name]

    @asynccontextmanager
    async def _running(self, kept: Path | None) -> AsyncIterator[Cluster]:
        self._count += 1
        folder = self._folder / f"run-{self._count}"
        folder.mkdir()
        if kept is not None:
            shutil.copytree(kept, folder / "etcd")
        plane = ControlPlane(self._binaries, folder, audited=False)
        try:
            plane.start()
            async with Kube(plane) as kube:
                if kept is not None:  # custom resources are served a moment later than Nodes
                    await kube.request("GET", CLUSTER_CIDRS)
                yield Cluster(plane, kube, folder, self._bareclient, self._python)
        finally:
            plane.stop()
            shutil.rmtree(folder, ignore_errors=True)


async def _furnish(kube: Kube) -> None:
    """Make what nodeipam needs: the definition, its rights, and a ClusterCIDR."""
    for manifest in ("crd.yaml", "rbac.yaml"):
        await kube.apply(read_manifests(ROOT / "manifests" / manifest))
    await kube.create(CLUSTER_CIDRS, cluster_cidr("bench", ipv4="10.0.0.0/8", ipv6="fd00::/48", host_bits=8))


def _build(folder: Path, say: Callable[[str], None]) -> Path:
    go = shutil.which("go")
    if go is None:
        raise Unavailable("no go: install Go 1.26 or later to build bench/bareclient")
    say("building bench/bareclient")
    target = folder / "bareclient"
    environ = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
    argv = [go, "build", "-o", str(target), "."]
    subprocess.run(argv, cwd=ROOT / "bench" / "bareclient", env=environ, check=True)
    return target
