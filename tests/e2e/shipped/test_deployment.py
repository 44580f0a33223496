"""The whole as it ships: the chart's Deployment, as the API server stored it, run from the built image."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.alerts import promtool
from tests.chart.helm import CHART, Helm, values_file
from tests.e2e.audit import Audit
from tests.e2e.controlplane import ControlPlane
from tests.e2e.kube import EVENTS, NODES, Kube, Object
from tests.e2e.observer import Observer
from tests.e2e.rights import Right, asked, granted
from tests.e2e.shipped import pods
from tests.e2e.shipped.kubelet import Running, running
from tests.e2e.shipped.kwok import kwok
from tests.e2e.shipped.release import DEPLOYMENT, NAMESPACE, RELEASE
from tests.e2e.shown import about, wait_shown
from tests.image.engine import Engine

LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{RELEASE}"
HEARTBEATS = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
NAMES = [f"node-{number:02}" for number in range(50)]
VALUES = {
    "image": {"repository": "localhost/nodeipam", "tag": "test", "pullPolicy": "Never"},
    "leaderElection": {"leaseDuration": "6s", "renewDeadline": "4s", "retryPeriod": "1s"},
    "defaultClusterCIDR": {
        "ranges": ["10.244.0.0/16", "fd00:244::/48"],
        "nodeMaskSizeIPv4": 24,
        "nodeMaskSizeIPv6": 64,
    },
    "serviceRanges": ["172.30.0.0/24"],
}

UNUSED: dict[Right, str] = {
    ("", "events", "create"): "where there is no events.k8s.io",
    ("", "events", "patch"): "where there is no events.k8s.io",
    ("events.k8s.io", "events", "patch"): "an event that is repeated; see tests/e2e/test_rights.py",
    ("", "nodes", "get"): "after a 409, which is a matter of chance here",
}

CAMEL_CASE = (
    "cluster_cidr_state",
    "multicidrset_allocation_tries_per_request",
    "multicidrset_cidrs_allocations_total",
    "multicidrset_cidrs_releases_total",
    "multicidrset_free_cidrs",
    "multicidrset_max_cidrs",
    "multicidrset_usage_cidrs",
)
COMPLAINTS = {
    f"node_ipam_controller_{name} label names should be written in 'snake_case' not 'camelCase'"
    for name in CAMEL_CASE
}
"""What promtool has against the reference's labels, `clusterCIDR` and `clusterCIDRName`."""


@pytest.mark.programs("helm4", "kwok", "podman", "mmdebstrap", "promtool")
@pytest.mark.timeout(300)
async def test_the_whole(
    program: Callable[[str], Path],
    engine: Engine,
    image: str,
    plane: ControlPlane,
    kube: Kube,
    audit: Audit,
    observer: Observer,
    tmp_path: Path,
) -> None:
    """50 Nodes get ranges and keep them when the leader is killed, with the chart's rights and no more."""
    deployment = await install(Helm(program("helm4")), plane, kube, tmp_path)
    assert image == pods.image(deployment["spec"]["template"])
    async with running(deployment, engine=engine, plane=plane, kube=kube, folder=tmp_path) as replicas:
        assert 2 == len(replicas)
        for replica in replicas:
            await replica.ready()
            assert [200, 200] == [await replica.probe(each) for each in ("startupProbe", "livenessProbe")]
        with kwok(program("kwok"), plane, tmp_path):
            await asyncio.gather(*(kube.create_node(name) for name in NAMES))
            await observer.wait_assigned(*NAMES, within=30.0)
            await alive(kube)
            leader, standby = await roles(replicas)
            text = await served_by_the_service(kube, leader)
            assert COMPLAINTS == complaints(program("promtool"), text)
            await kube.create_node("foreign", pod_cidrs=["10.99.0.0/24", "fd00:99::/64"])
            await wait_shown(kube, EVENTS, lambda items: bool(about(items, "foreign", "CIDROutOfRange")))

            before = {name: observer.cidrs(name) for name in NAMES}
            leader.container.kill()
            async with asyncio.timeout(30.0):
                while not await standby.leads():  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.1)
            leader.container.start()
            await leader.ready()
            await kube.create_node("late")
            await observer.wait_assigned("late", within=15.0)
            assert before == {name: observer.cidrs(name) for name in NAMES}
            assert not await leader.leads()
        for replica in (leader, standby):
            code = await asyncio.to_thread(replica.container.stop)  # it releases the lease through our loop
            assert 0 == code, replica.container.log
            assert "orbidden" not in replica.container.log
    assert "" == (await kube.get(LEASE))["spec"].get("holderIdentity", "")
    assert [] == asked(audit, allowed=False)
    assert set(UNUSED) >= granted(await roles_of_the_release(kube)) - set(asked(audit, allowed=True))


async def install(helm: Helm, plane: ControlPlane, kube: Kube, folder: Path) -> Object:
    """Install the chart, and return the Deployment as the API server stored it."""
    helm.run(
        *("install", RELEASE, CHART, "--create-namespace", "--namespace", NAMESPACE, "--kubeconfig"),
        *(plane.kubeconfig("admin"), "--values", values_file(VALUES, folder)),
    )
    return await kube.get(DEPLOYMENT)


async def alive(kube: Kube) -> None:
    """Wait until every Node is Ready and has sent heartbeats: its Lease, and its status once more."""

    def ready(node: Object) -> bool:
        conditions = {each["type"]: each for each in node["status"].get("conditions", ())}
        known = conditions.get("Ready", {})
        return bool(
            known.get("status") == "True" and known["lastHeartbeatTime"] > known["lastTransitionTime"]
        )

    await wait_shown(kube, NODES, lambda items: all(map(ready, items.values())), within=30.0)
    assert set(NAMES) <= {lease["metadata"]["name"] for lease in await kube.items(HEARTBEATS)}


async def roles(replicas: list[Running]) -> tuple[Running, Running]:
    """The leader and the standby."""
    leading = [replica for replica in replicas if await replica.leads()]
    assert 1 == len(leading)
    (standby,) = [replica for replica in replicas if replica is not leading[0]]
    return leading[0], standby


async def served_by_the_service(kube: Kube, replica: Running) -> str:
    """The metrics of its Pods, to which the Service's port leads."""
    service = await kube.get(f"/api/v1/namespaces/{NAMESPACE}/services/{RELEASE}")
    assert service["spec"]["selector"].items() <= replica.pod["metadata"]["labels"].items()
    (port,) = service["spec"]["ports"]
    assert 8081 == port["port"] == pods.port(replica.pod, port["targetPort"])
    status, text = await replica.machine.get("/metrics")
    assert 200 == status
    assert "node_ipam_controller_multicidrset_usage_cidrs{" in text
    return text


def complaints(program: Path, text: str) -> set[str]:
    """What promtool finds wrong with metrics."""
    code, said = promtool.run(program, "check", "metrics", stdin=text)
    assert code in {0, 3}, said
    return set(said.splitlines())


async def roles_of_the_release(kube: Kube) -> list[Object]:
    """The Role and the ClusterRole that the chart made."""
    group, selector = "/apis/rbac.authorization.k8s.io/v1", f"app.kubernetes.io/instance={RELEASE}"
    found = []
    for path, kind in (("clusterroles", "ClusterRole"), (f"namespaces/{NAMESPACE}/roles", "Role")):
        items = await kube.items(f"{group}/{path}", labelSelector=selector)
        found += [{**item, "kind": kind} for item in items]
    assert 2 == len(found)
    return found
