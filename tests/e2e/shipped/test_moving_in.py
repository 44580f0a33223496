"""Moving in from other allocators and out again, by the words of docs/migration.md."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Generator, Iterable
from pathlib import Path

import pytest
import yaml

from tests.e2e.audit import Audit
from tests.e2e.controlplane import ControlPlane
from tests.e2e.controlplane.processes import Process
from tests.e2e.kube import CLUSTER_CIDRS, NODES, Kube, Object, node
from tests.e2e.observer import Observer
from tests.e2e.replica import Replica
from tests.e2e.shipped.pages import Operator, commands
from tests.e2e.shipped.reference import reference_chart
from tests.e2e.shipped.release import DEPLOYMENT, NAMESPACE, RELEASE
from tests.e2e.shown import wait_gone
from tests.image.engine import ROOT

PAGE = "migration.md"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
LEASE = f"{LEASES}/{RELEASE}"
FINALIZER = "networking.x-k8s.io/cluster-cidr-finalizer"
STRAYS = "### Before you go back to kube-controller-manager"
GROUPS = ROOT / "manifests" / "examples" / "node-groups.yaml"
UNIT = 64
"""Addresses of the smallest block of the six pools: 6 host bits."""

pytestmark = [pytest.mark.programs("helm4"), pytest.mark.timeout(180)]


@pytest.fixture
def allocator(program: Callable[[str], Path], plane: ControlPlane, tmp_path: Path) -> Generator[Process]:
    """kube-controller-manager, which the test starts and stops as often as it likes."""
    process = Process("kube-controller-manager", allocating(program, plane), log=tmp_path / "allocator.log")
    yield process
    process.stop()


async def test_from_the_reference_and_back(
    operator: Operator,
    kube: Kube,
    observer: Observer,
    audit: Audit,
    deployed: Callable[[], Awaitable[Replica]],
    tmp_path: Path,
) -> None:
    """200 Nodes of six pools on one range keep what they have; new ones get ranges beside them."""
    await operator.do(f"helm install {RELEASE} {reference_chart(tmp_path)} -n {NAMESPACE} --create-namespace")
    await operator.do("kubectl wait --for=condition=Established crd/clustercidrs.networking.x-k8s.io")
    held = await as_the_reference_leaves_it(kube)
    await kube.delete(f"{CLUSTER_CIDRS}/worker-xlarge")
    assert "" == await operator.do(commands(PAGE, "## Before you begin")[0])

    await operator.follow(PAGE, "## From node-ipam-controller")
    replica = await deployed()
    for number, group in enumerate(("control-plane", "worker-xsmall", "worker-large")):
        await kube.create_node(f"new-{number}", labels={f"platform.node-group/{group}": ""})
    await observer.wait_assigned("new-0", "new-1", "new-2", within=30.0)
    assert [["25"], ["26"], ["23"]] == [
        [text.split("/")[1] for text in observer.cidrs(f"new-{number}")] for number in range(3)
    ]
    await unchanged(kube, held)
    for name in [name for name in held if name.startswith("worker-xlarge")]:
        await kube.delete(f"{NODES}/{name}")
        del held[name]
    await wait_gone(kube, "worker-xlarge")

    assert 0 == replica.stop()
    await operator.follow(PAGE, "### Back to node-ipam-controller")
    await unchanged(kube, held)
    untouched(audit, held)
    left = {item["metadata"]["name"]: item["metadata"] for item in await kube.items(CLUSTER_CIDRS)}
    assert {name for name in pools() if name != "worker-xlarge"} == set(left)
    assert all([FINALIZER] == metadata["finalizers"] for metadata in left.values())
    lease = (await kube.get(LEASE))["spec"]
    assert ("", 1) == (lease.get("holderIdentity", ""), lease["leaseDurationSeconds"])
    deployment = await kube.get(DEPLOYMENT)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert ("registry.k8s.io/node-ipam-controller:0.0.1", 1) == (
        container["image"],
        deployment["spec"]["replicas"],
    )


@pytest.mark.programs("kube-controller-manager")
async def test_from_kube_controller_manager_and_back(
    operator: Operator,
    allocator: Process,
    kube: Kube,
    observer: Observer,
    audit: Audit,
    deployed: Callable[[], Awaitable[Replica]],
) -> None:
    """Its allocator, ours, its own again: nobody changes what another has given, or gives it out."""
    allocator.start()
    held = await join(kube, observer, "first")
    assert {"/24", "/64"} == {text[text.index("/") :] for text in held["first-00"]}
    allocator.stop()

    await operator.follow(PAGE, "## From kube-controller-manager")
    replica = await deployed()
    held |= await join(kube, observer, "second")
    assert {"/24", "/120"} == {text[text.index("/") :] for text in held["second-00"]}
    assert 0 == replica.stop()
    assert "" == await operator.do(commands(PAGE, STRAYS)[0])
    await operator.follow(PAGE, "### Back to kube-controller-manager")
    assert [] == await kube.items(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments")

    allocator.start()
    held |= await join(kube, observer, "third")
    await unchanged(kube, held)
    untouched(audit, [name for name in held if not name.startswith("second")])


@pytest.mark.programs("kube-controller-manager")
@pytest.mark.parametrize(
    "ranges",
    [
        pytest.param(("192.168.7.0/24",), id="outside"),
        pytest.param(("10.244.7.0/24", "fd00:244:1:7::/64"), id="second-outside"),
        pytest.param(("fd00:244:0:7::/64", "10.244.7.0/24"), id="other-order"),
        pytest.param(("fd00:244:0:7::/120",), id="first-family-missing"),
    ],
)
async def test_what_keeps_kube_controller_manager_from_starting(
    ranges: tuple[str, ...], operator: Operator, allocator: Process, kube: Kube, observer: Observer
) -> None:
    """It ends at once because of one Node; the command in the document names this one and no other."""
    await kube.create_node("without-ranges")
    await kube.create_node("inside", pod_cidrs=["10.244.8.64/26", "fd00:244:0:8::/120"])
    await kube.create_node("one-family", pod_cidrs=["10.244.9.0/24"])
    await kube.create_node("stray", pod_cidrs=ranges)
    printed = await operator.do(commands(PAGE, STRAYS)[0])
    assert f"stray {json.dumps(ranges, separators=(',', ':'))}\n" == printed

    allocator.start()
    async with asyncio.timeout(20.0):
        while allocator.running:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.05)
    assert 1 == allocator.exit_code
    assert "is out the range of cluster cidr" in allocator.log
    assert [] == observer.cidrs("without-ranges")

    await kube.delete(f"{NODES}/stray")
    assert "" == await operator.do(commands(PAGE, STRAYS)[0])
    allocator.start()
    await observer.wait_assigned("without-ranges", within=20.0)


def allocating(program: Callable[[str], Path], plane: ControlPlane) -> list[str]:
    """kube-controller-manager, as an allocator of pod ranges and nothing else."""
    return [
        str(program("kube-controller-manager")),
        f"--kubeconfig={plane.kubeconfig('admin')}",
        "--controllers=node-ipam-controller",
        "--allocate-node-cidrs=true",
        "--cluster-cidr=10.244.0.0/16,fd00:244::/48",
        "--service-cluster-ip-range=10.96.0.0/12,fd00:96::/112",
        "--node-cidr-mask-size-ipv4=24",
        "--node-cidr-mask-size-ipv6=64",
        "--leader-elect=false",
        "--secure-port=0",
    ]


async def join(kube: Kube, observer: Observer, prefix: str) -> dict[str, list[str]]:
    """Let some Nodes join, and wait for their ranges."""
    names = [f"{prefix}-{number:02}" for number in range(12)]
    await asyncio.gather(*(kube.create_node(name) for name in names))
    await observer.wait_assigned(*names, within=60.0)
    return {name: observer.cidrs(name) for name in names}


def pools() -> dict[str, Object]:
    """The six ClusterCIDRs of one range, by name."""
    return {body["metadata"]["name"]: body for body in yaml.safe_load_all(GROUPS.read_text())}


async def as_the_reference_leaves_it(kube: Kube) -> dict[str, list[str]]:
    """Write 200 Nodes with ranges, their pools and a released Lease; returns what each Node holds."""
    for body in pools().values():
        body["metadata"]["finalizers"] = [FINALIZER]
        await kube.create(CLUSTER_CIDRS, body)
    held = {}
    taken: set[int] = set()
    names = list(pools())
    sizes = {name: 2 ** body["spec"]["perNodeHostBits"] // UNIT for name, body in pools().items()}
    for number in range(200):
        # Of the largest there are few, so that there is room for all.
        pool = names[number % len(names)] if number < 60 else names[number % 3]
        units = sizes[pool]
        start = next(at for at in range(0, 1024, units) if taken.isdisjoint(range(at, at + units)))
        taken.update(range(start, start + units))
        address = start * UNIT
        text = f"10.244.{address // 256}.{address % 256}/{26 - units.bit_length() + 1}"
        held[f"{pool}-{number}"] = [text]
        label = {f"platform.node-group/{pool}": ""}
        await kube.create(NODES, node(f"{pool}-{number}", labels=label, pod_cidrs=[text]))
    lease = {
        "holderIdentity": "",
        "leaseDurationSeconds": 1,
        "leaseTransitions": 3,
        "acquireTime": "2026-01-01T00:00:00.000000Z",
        "renewTime": "2026-01-01T00:00:00.000000Z",
    }
    metadata = {"name": RELEASE, "namespace": NAMESPACE}
    await kube.create(
        LEASES, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": lease}
    )
    return held


async def unchanged(kube: Kube, held: dict[str, list[str]]) -> None:
    """These Nodes hold what they held."""
    now = {item["metadata"]["name"]: item["spec"]["podCIDRs"] for item in await kube.items(NODES)}
    assert held == {name: now[name] for name in held}


def untouched(audit: Audit, names: Iterable[str]) -> None:
    """None of these Nodes was written by us, not even to the same effect."""
    assert [] == [entry for entry in audit.entries() if entry.guarded and entry.name in set(names)]
