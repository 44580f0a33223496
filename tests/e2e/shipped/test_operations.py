"""The commands of docs/operations.md, from the installation to the end."""

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from tests.e2e.controlplane import ControlPlane
from tests.e2e.kube import NODES, Kube, Object
from tests.e2e.observer import Observer
from tests.e2e.replica import Replica
from tests.e2e.shipped.pages import Operator, commands
from tests.e2e.shipped.release import DEFINITION, NAMESPACE, RELEASE, ours, served
from tests.e2e.shown import wait_reason

PAGE = "operations.md"
# Those with commands; that of NodeIPAMClusterCIDRTerminating needs one that is being deleted.
RUNBOOKS = (
    "NodeIPAMConflict",
    "NodeIPAMExhausted",
    "NodeIPAMNodesSetAside",
    "NodeIPAMDown",
    "NodeIPAMNoLeader",
    "NodeIPAMWatchStale",
)
FLOW_SCHEMAS = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"

pytestmark = [pytest.mark.programs("helm4"), pytest.mark.timeout(180)]


async def test_from_installing_to_uninstalling(
    operator: Operator, kube: Kube, observer: Observer, deployed: Callable[[], Awaitable[Replica]]
) -> None:
    """It works after the commands to install it, and nothing is left after those to uninstall it."""
    await operator.follow(PAGE, "## Install")
    replica = await deployed()
    await kube.create_node("n")
    await observer.wait_assigned("n", within=20.0)
    uninstall, *others = commands(PAGE, "## Uninstall")
    await operator.do(uninstall)
    await wait_reason(kube, "dual", "Terminating")
    text = await operator.do(commands(PAGE, "### NodeIPAMClusterCIDRTerminating")[0])
    assert text.startswith("dual: ")
    assert "Node n for one" in text
    await kube.delete(f"{NODES}/n")
    for command in others:
        await operator.do(command)
    assert 0 == replica.stop()
    assert not await served(kube, DEFINITION)
    assert [] == await ours(kube)


async def test_runbooks(operator: Operator, deployed: Callable[[], Awaitable[Replica]]) -> None:
    """The commands of the runbooks are understood by this API server."""
    await operator.follow(PAGE, "## Install")
    replica = await deployed()
    await replica.ready()
    for alert in RUNBOOKS:
        await operator.follow(PAGE, f"### {alert}")
    assert 0 == replica.stop()


async def test_priority_and_fairness(operator: Operator, kube: Kube, plane: ControlPlane) -> None:
    """Which priority level a namespace leads to, and that the page's FlowSchemas change it."""
    await operator.follow(PAGE, "## Install")
    await kube.request("POST", "/api/v1/namespaces/kube-system/serviceaccounts", account())
    system = await levels(kube, plane, "kube-system")
    assert {"lease": "leader-election", "nodes": "workload-high"} == system
    assert {"lease": "workload-low", "nodes": "workload-low"} == await levels(kube, plane, NAMESPACE)
    await operator.follow(PAGE, "## API priority and fairness")
    async with asyncio.timeout(30.0):
        while await levels(kube, plane, NAMESPACE) != system:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.1)


def account() -> Object:
    """The ServiceAccount of a release in another namespace."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": RELEASE}}


async def levels(kube: Kube, plane: ControlPlane, namespace: str) -> dict[str, str]:
    """The priority levels of two requests of our ServiceAccount in a namespace."""
    names = {
        item["metadata"]["uid"]: item["spec"]["priorityLevelConfiguration"]["name"]
        for item in await kube.items(FLOW_SCHEMAS)
    }
    paths = {
        "lease": f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{RELEASE}",
        "nodes": NODES,
    }
    headers = {"Authorization": f"Bearer {await kube.token_for(namespace, RELEASE)}"}
    found = {}
    async with aiohttp.ClientSession(
        base_url=plane.url, connector=aiohttp.TCPConnector(ssl=plane.tls()), headers=headers
    ) as session:
        for what, path in paths.items():
            async with session.get(path) as response:
                found[what] = names[response.headers["X-Kubernetes-PF-FlowSchema-UID"]]
    return found
