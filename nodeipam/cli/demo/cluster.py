"""The demo's cluster: the API server model on a port of this machine, and replicas of the real controller.

Invariant: when the context of :func:`cluster` is left, however it is left, no process and no port remains.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from nodeipam.testing import APIServer, HTTPServer

from .observer import Request
from .story import NewNode, NewPool

__all__ = ["Cluster", "Replica", "cluster"]

_GROUP = "networking.x-k8s.io/v1"
_PATIENCE = 5.0
"""Seconds that a replica has for its own clean stop."""
_FLAGS = (
    "--webserver-bind-address=127.0.0.1:0",
    "--leader-elect-namespace=kube-system",
    "--leader-elect-lease-duration=3s",
    "--leader-elect-renew-deadline=2s",
    "--leader-elect-retry-period=400ms",
)


@dataclass(slots=True)
class Replica:
    """One process of the controller."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    @property
    def state(self) -> Literal["runs", "killed", "ended"]:
        """How it is: SIGKILL is the story's, any other end its own."""
        match self.process.returncode:
            case None:
                return "runs"
            case code if code == -signal.SIGKILL:
                return "killed"
            case _:
                return "ended"

    async def kill(self) -> None:
        """End it without a chance to say goodbye."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def stop(self) -> None:
        """End it in good order, if it takes no longer than it should. Cancelled, it ends it at once."""
        try:
            with suppress(ProcessLookupError, TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    if self.process.returncode is None:
                        self.process.terminate()
                        await self.process.wait()
        finally:
            await self.kill()


class Cluster:
    """What the story's steps are done with. Nodes and pools are made at the model itself."""

    def __init__(self, server: APIServer, url: str, folder: Path) -> None:
        self.url = url
        self.replicas: list[Replica] = []
        self._server = server
        self._folder = folder
        self._audited = 0

    async def start(self, name: str) -> None:
        """Start a replica, which calls itself by this name to everyone."""
        path, log = self._folder / f"{name}.kubeconfig", self._folder / f"{name}.log"
        path.write_text(_kubeconfig(self.url, name), encoding="utf-8")
        outside = ("IPAM_", "POD_", "KUBERNETES_", "LOG_")
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "nodeipam", f"--kubeconfig={path}"),
                *(f"--leader-elect-id={name}", *_FLAGS),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={key: value for key, value in os.environ.items() if not key.startswith(outside)},
                start_new_session=True,  # Ctrl-C is for the demo, which ends its replicas itself
            )
        self.replicas.append(Replica(name, process, log))

    def add_pool(self, pool: NewPool) -> None:
        """Create a ClusterCIDR."""
        spec: dict[str, Any] = {"ipv4": pool.ipv4, "ipv6": pool.ipv6, "perNodeHostBits": pool.host_bits}
        if pool.label:
            matches = [{"key": pool.label, "operator": "Exists"}]
            spec["nodeSelector"] = {"nodeSelectorTerms": [{"matchExpressions": matches}]}
        metadata = {"name": pool.name, "creationTimestamp": _now()}
        self._server.put({"apiVersion": _GROUP, "kind": "ClusterCIDR", "metadata": metadata, "spec": spec})

    def add_node(self, node: NewNode) -> None:
        """Let a Node join, as a kubelet would register it."""
        self._server.put(_node(node))

    def remove_node(self, name: str) -> None:
        """Delete a Node."""
        self._server.delete("nodes", name)

    def audit(self) -> Iterable[Request]:
        """What was carried out since the last call, in order."""
        lines, self._audited = self._server.log[self._audited :], len(self._server.log)
        return [
            Request(line.identity, line.call.method, line.call.path, line.call.body or b"", line.status)
            for line in lines
        ]


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[Cluster]:
    """A cluster without replicas yet; it keeps its files in `folder`."""
    server = APIServer()
    server.register(_GROUP, "ClusterCIDR", "clustercidrs", namespaced=False, status=True)
    async with HTTPServer(server) as http:
        made = Cluster(server, http.url, folder)
        try:
            yield made
        finally:
            await asyncio.gather(*[replica.stop() for replica in made.replicas])
            server.close_watches()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _kubeconfig(url: str, name: str) -> str:
    """The token is the name by which the model knows the replica in its log."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "demo",
        "contexts": [{"name": "demo", "context": {"cluster": "demo", "user": name}}],
        "clusters": [{"name": "demo", "cluster": {"server": url}}],
        "users": [{"name": name, "user": {"token": name}}],
    }
    return msgspec.json.encode(config).decode()


def _node(node: NewNode) -> dict[str, Any]:
    """What a kubelet says of itself, as far as people look at it."""
    now = _now()
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/zone": f"zone-{'abc'[sum(node.name.encode()) % 3]}",
        **dict(node.labels),
    }
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "kubelet is posting ready status",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    info = {
        "architecture": "amd64",
        "containerRuntimeVersion": "containerd://2.1.4",
        "kernelVersion": "6.12.0",
        "kubeletVersion": "v1.35.0",
        "operatingSystem": "linux",
        "osImage": "Debian GNU/Linux 13 (trixie)",
    }
    size = {"cpu": "8", "memory": "32Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": labels, "creationTimestamp": now},
        "spec": {},
        "status": {
            "addresses": [{"type": "Hostname", "address": node.name}],
            "allocatable": size,
            "capacity": size,
            "conditions": [ready],
            "nodeInfo": info,
        },
    }
