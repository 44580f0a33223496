"""Runs the Pods of a stored Deployment as containers, one on each of several machines, as kubelets would."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.controlplane import ControlPlane
from tests.e2e.kube import Kube, Object
from tests.e2e.shipped import pods
from tests.e2e.shipped.machine import Machine
from tests.image.engine import Container, Engine


@dataclass(frozen=True, slots=True)
class Running:
    """One Pod: its container, and the machine that this is on."""

    pod: Object
    machine: Machine
    container: Container

    async def probe(self, name: str) -> int:
        """The status with which the Pod answers a probe."""
        _, path = pods.probed(self.pod, name)
        return (await self.machine.get(path))[0]

    async def ready(self, *, within: float = 30.0) -> None:
        """Wait until the readiness probe succeeds."""
        async with asyncio.timeout(within):
            while await self.probe("readinessProbe") != 200:  # noqa: ASYNC110 - a kubelet polls too
                await asyncio.sleep(0.1)

    async def metric(self, series: str) -> float:
        """The value of one series."""
        _, text = await self.machine.get("/metrics")
        (value,) = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{series} ")]
        return float(value)

    async def leads(self) -> bool:
        """Whether it is the leader."""
        return await self.metric('leader_election_master_status{name="node-ipam-controller"}') == 1.0


@contextlib.asynccontextmanager
async def running(
    deployment: Object, *, engine: Engine, plane: ControlPlane, kube: Kube, folder: Path
) -> AsyncGenerator[list[Running]]:
    """Run as many replicas as the Deployment asks for."""
    template, namespace = deployment["spec"]["template"], deployment["metadata"]["namespace"]
    token = await kube.token_for(namespace, template["spec"]["serviceAccountName"])
    injected = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(plane.port)}
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(engine.close)
        replicas = []
        for number in range(deployment["spec"]["replicas"]):
            name = f"{deployment['metadata']['name']}-{number}"
            metadata = {**template["metadata"], "name": name, "namespace": namespace}
            pod = {"metadata": metadata, "spec": template["spec"]}
            home = folder / name
            home.mkdir()
            account = pods.mount_account(home / "account", plane, namespace=namespace, token=token)
            port, _ = pods.probed(pod, "readinessProbe")
            machine = Machine(f"machine-{number}", api=plane.port, probed=port, folder=home)
            await stack.enter_async_context(machine.running())
            flags = pods.flags(pod, network=machine.namespace, account=account, environment=injected)
            container = engine.start(name, pods.image(pod), *pods.arguments(pod), flags=flags)
            replicas.append(Running(pod, machine, container))
        yield replicas
