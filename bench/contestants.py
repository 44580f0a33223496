"""Who is measured: each starts as a process on a cluster, and does all that it does by itself."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench.cluster import Cluster
from bench.environment import ROOT
from tests.e2e.controlplane.processes import Process
from tests.e2e.replica import Replica
from tests.programs import provide

__all__ = ["BARE", "DEFAULTS", "FLOOR", "LIFTED", "NODEIPAM", "Contestant", "replica"]

# What is installed runs, not the tree; and instructions are the same at each run.
_ENVIRONMENT = {"PYTHONWARNINGS": "", "PYTHONSAFEPATH": "1", "PYTHONHASHSEED": "0"}
LIFTED_FLAGS = ("--kube-api-qps=10000", "--kube-api-burst=10000")


@dataclass(frozen=True, slots=True)
class Contestant:
    """A program, and how it is started."""

    name: str
    launch: Callable[[Cluster], Awaitable[Process]]
    """Makes the process, not yet started."""
    lease: str = ""
    """The path of the Lease it elects itself by; empty: it doesn't."""


async def replica(cluster: Cluster, name: str = "nodeipam") -> Replica:
    """Run it as it is deployed: in cluster, with its ServiceAccount's rights and leader election."""
    return Replica.in_cluster(
        name,
        "--log-level=info",
        plane=cluster.plane,
        token=await cluster.token(),
        namespace="nodeipam",
        folder=cluster.folder,
        python=cluster.python,
        env=_ENVIRONMENT,
    )


async def _nodeipam(cluster: Cluster) -> Process:
    return (await replica(cluster)).process


async def _bare(cluster: Cluster) -> Process:
    argv = [str(cluster.bareclient), "patch"]
    return Process("bareclient", argv, log=cluster.folder / "bareclient.log", env=cluster.environment)


async def _floor(cluster: Cluster) -> Process:
    argv = [str(cluster.python), str(ROOT / "bench" / "floor.py"), str(cluster.plane.kubeconfig("admin"))]
    return Process("floor", argv, log=cluster.folder / "floor.log", env={**os.environ, **_ENVIRONMENT})


def _manager(*flags: str) -> Callable[[Cluster], Awaitable[Process]]:
    async def launch(cluster: Cluster) -> Process:
        argv = [
            str(provide("kube-controller-manager", lambda _: None)),
            f"--kubeconfig={cluster.plane.kubeconfig('admin')}",
            "--controllers=node-ipam-controller",
            "--allocate-node-cidrs",
            "--cluster-cidr=10.0.0.0/8,fd00::/48",
            "--node-cidr-mask-size-ipv4=24",
            "--node-cidr-mask-size-ipv6=64",
            "--secure-port=0",
            *flags,
        ]
        return Process("kube-controller-manager", argv, log=cluster.folder / "manager.log")

    return launch


_LEASES = "/apis/coordination.k8s.io/v1/namespaces"
NODEIPAM = Contestant("nodeipam", _nodeipam, f"{_LEASES}/nodeipam/leases/node-ipam-controller")
BARE = Contestant("bare client", _bare)
FLOOR = Contestant("least in asyncio", _floor)
_MANAGERS_LEASE = f"{_LEASES}/kube-system/leases/kube-controller-manager"
DEFAULTS = Contestant("kube-controller-manager", _manager(), _MANAGERS_LEASE)
LIFTED = Contestant("kube-controller-manager, lifted", _manager(*LIFTED_FLAGS), _MANAGERS_LEASE)
