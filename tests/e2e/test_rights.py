"""In cluster, with a ServiceAccount's rights: the least that work, and those of the reference's chart."""

import asyncio
import time
from pathlib import Path

from tests.e2e.audit import Audit
from tests.e2e.conftest import Replicas
from tests.e2e.definition import reference_definition
from tests.e2e.kube import CLUSTER_CIDRS, EVENTS, NODES, Kube, read_manifests, requires
from tests.e2e.leading import AFTER_EXPIRY, NAMESPACE, SHORT, SHORT_LEASE
from tests.e2e.observer import Observer
from tests.e2e.rights import asked, granted
from tests.e2e.shown import about, wait_event, wait_gone, wait_reason, wait_shown

HERE = Path(__file__).parent
OURS = HERE.parents[1] / "manifests"
REFERENCE = HERE / "manifests"

LEASING = SHORT[1:]  # the namespace is the pod's
ZONE_A = {"zone": "a"}
IN_ZONE_A, IN_ZONE_B = requires("zone", "In", "a"), requires("zone", "In", "b")


class TestLeastRights:
    async def test_they_suffice_and_are_needed(
        self, kube: Kube, observer: Observer, audit: Audit, replicas: Replicas
    ) -> None:
        """Under manifests/rbac.yaml nothing is ever forbidden, and no right goes unused."""
        token = await kube.token_for("nodeipam", "node-ipam-controller")
        flags = (*LEASING, "--cluster-cidr=10.0.0.0/28", "--node-cidr-mask-size=28")
        first = replicas.start_in_cluster("first", *flags, token=token, namespace="nodeipam")
        await kube.create_node("early")
        await observer.wait_assigned("early")
        second = replicas.start_in_cluster("second", *flags, token=token, namespace="nodeipam")
        await second.logs("the lock changed hands")

        await kube.create_cluster_cidr("small", ipv4="10.9.0.0/28", host_bits=4, terms=[IN_ZONE_A])
        await wait_reason(kube, "small", "Allocating")
        await kube.create_node("holder", labels=ZONE_A)
        await observer.wait_assigned("holder")
        await wait_repeated_event(kube)
        await kube.create_node("foreign", pod_cidrs=["10.77.0.0/24"])
        await wait_event(kube, "foreign", "CIDROutOfRange")
        await kube.delete(f"{CLUSTER_CIDRS}/small")
        await wait_reason(kube, "small", "Terminating")
        await kube.delete(f"{NODES}/holder")
        await wait_gone(kube, "small")

        first.kill()
        await kube.delete(f"{NODES}/early")
        await observer.wait_assigned("waiting", within=15.0)
        async with asyncio.timeout(10.0):  # the new leader compares the default ClusterCIDR with its flags
            while ("networking.x-k8s.io", "clustercidrs", "get") not in asked(audit, allowed=True):  # noqa: ASYNC110 - a file is polled
                await asyncio.sleep(0.05)
        assert 0 == second.stop()
        assert [] == asked(audit, allowed=False)
        # The fall-back of events, and what is only done after a 409.
        exceptions = {("", "events", "create"), ("", "events", "patch"), ("", "nodes", "get")}
        assert exceptions == granted(read_manifests(OURS / "rbac.yaml")) - set(asked(audit, allowed=True))


async def wait_repeated_event(kube: Kube) -> None:
    """Have a Node wait for one reason, for another and for the first again, which is then counted twice."""
    await kube.create_node("waiting", labels=ZONE_A)
    await wait_shown(kube, EVENTS, lambda items: len(about(items, "waiting", "CIDRNotAvailable")) == 1)
    await kube.patch(f"{NODES}/waiting", {"metadata": {"labels": {"zone": "none"}}})
    await wait_shown(kube, EVENTS, lambda items: len(about(items, "waiting", "CIDRNotAvailable")) == 2)
    await kube.patch(f"{NODES}/waiting", {"metadata": {"labels": ZONE_A}})
    await wait_shown(kube, EVENTS, lambda items: any("series" in event for event in items.values()))


class TestReference:
    async def test_its_definition_and_rights_do(
        self, kube: Kube, observer: Observer, audit: Audit, replicas: Replicas
    ) -> None:
        """Under the reference's definition and Role all works, without conditions and with core events."""
        await kube.apply(REFERENCE / "reference-rbac.yaml")
        token = await kube.token_for("reference", "reference")
        async with reference_definition(kube):
            await kube.create_cluster_cidr("lax", ipv4="10.0.0.0/16", host_bits=2, terms=[IN_ZONE_A])
            await kube.create_cluster_cidr("wrong", ipv4="10.1.0.0/16", host_bits=-1)
            for name in ("one", "two"):
                await kube.create_node(name, labels=ZONE_A)
            first = replicas.start_in_cluster("first", *LEASING, token=token, namespace="reference")
            await observer.wait_assigned("one", "two")
            assert "-1" in await wait_event(kube, "wrong", "InvalidClusterCIDR")
            await kube.create_node("unmatched", labels={"zone": "b"})
            await wait_event(kube, "unmatched", "CIDRNotAvailable")

            second = replicas.start_in_cluster("second", *LEASING, token=token, namespace="reference")
            await second.logs("polling instead")
            first.kill()
            killed = time.time()
            await kube.create_cluster_cidr("more", ipv4="10.2.0.0/16", host_bits=4, terms=[IN_ZONE_B])
            await observer.wait_assigned("unmatched", within=15.0)
            taken = next(entry for entry in audit.entries() if (entry.holder or "").startswith("second_"))
            assert taken.answered - killed <= SHORT_LEASE + AFTER_EXPIRY
            await kube.delete(f"{CLUSTER_CIDRS}/more")
            await kube.delete(f"{NODES}/unmatched")
            await wait_gone(kube, "more")
            assert 0 == second.stop()

            assert not any("status" in item for item in await kube.items(CLUSTER_CIDRS))
            for replica in (first, second):
                assert 1 == replica.log.count("no conditions")
            assert [0, 1] == [replica.log.count("polling instead") for replica in (first, second)]
            forbidden = asked(audit, allowed=False)
            status = ("networking.x-k8s.io", "clustercidrs/status", "patch")
            assert [
                ("coordination.k8s.io", "leases", "watch"),
                ("events.k8s.io", "events", "create"),
                ("events.k8s.io", "events", "create"),
            ] == sorted(request for request in forbidden if request != status)
            assert forbidden.count(status) in range(1, 5)  # of each replica two at most are under way at once

    async def test_its_definition_under_our_rights(
        self, kube: Kube, observer: Observer, replicas: Replicas
    ) -> None:
        """Where conditions are allowed but the definition has none, one warning says so."""
        async with reference_definition(kube):
            await kube.create_cluster_cidr("pool", ipv4="10.0.0.0/16")
            await kube.create_cluster_cidr("more", ipv4="10.1.0.0/16")
            await kube.create_node("node")
            replica = replicas.start("first", NAMESPACE)
            await observer.wait_assigned("node")
            await replica.logs("no conditions")
            await kube.create_cluster_cidr("another", ipv4="10.2.0.0/16")
            await replica.logs("ClusterCIDR in use clusterCIDR=another")
            assert 0 == replica.stop()
            assert 1 == replica.log.count("no conditions")
