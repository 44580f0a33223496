"""In a Pod, with the rights of manifests/rbac.yaml and not one more."""

import asyncio

from tests.e2e.conftest import Replicas
from tests.e2e.controlplane import ControlPlane
from tests.e2e.kube import CLUSTER_CIDRS, NODES, ApiError, Kube
from tests.e2e.observer import Observer
from tests.e2e.shown import join, wait_event, wait_gone, wait_reason

NAMESPACE = "nodeipam"
ACCOUNT = "node-ipam-controller"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/node-ipam-controller"


class TestRights:
    async def test_all_work_is_done_with_them(
        self, kube: Kube, observer: Observer, replicas: Replicas
    ) -> None:
        """Nodes get ranges; conditions, finalizers, events, the default ClusterCIDR, the Lease are kept."""
        token = await kube.token_for(NAMESPACE, ACCOUNT)
        replica = replicas.start_in_cluster(
            "a", "--cluster-cidr=10.0.0.0/24", token=token, namespace=NAMESPACE
        )
        assert [["10.0.0.0/24"]] == await join(kube, observer, "n1")
        assert (await kube.get(LEASE))["spec"]["holderIdentity"].startswith("a_")
        await kube.create_node("n2")
        assert "default-cluster-cidr (10.0.0.0/24) is full" in await wait_event(
            kube, "n2", "CIDRNotAvailable"
        )
        await wait_reason(kube, "default-cluster-cidr", "Allocating")
        await kube.delete(f"{CLUSTER_CIDRS}/default-cluster-cidr")
        await wait_reason(kube, "default-cluster-cidr", "Terminating")
        await kube.delete(f"{NODES}/n1")
        await wait_gone(kube, "default-cluster-cidr")
        await kube.create_cluster_cidr("pool", ipv6="fd00::/64")
        await observer.wait_assigned("n2")
        assert 0 == replica.stop()
        assert "" == (await kube.get(LEASE))["spec"].get("holderIdentity", "")
        assert "forbidden" not in replica.log.lower()
        assert " warning " not in replica.log.replace("health checks fail", "")

    async def test_a_standby_watches_the_lease(
        self, kube: Kube, observer: Observer, replicas: Replicas
    ) -> None:
        """The rights suffice to follow a leader that stops, within a second."""
        token = await kube.token_for(NAMESPACE, ACCOUNT)
        await kube.create_cluster_cidr("pool", ipv4="10.0.0.0/16")
        first = replicas.start_in_cluster("first", token=token, namespace=NAMESPACE)
        await join(kube, observer, "n1")
        second = replicas.start_in_cluster("second", token=token, namespace=NAMESPACE)
        await second.ready()
        await second.logs("the lock changed hands")
        assert 0 == first.stop()
        await kube.create_node("n2")
        await observer.wait_assigned("n2", within=2.0)
        assert "forbidden" not in second.log.lower()


class TestTokenRotation:
    async def test_a_new_token_is_picked_up(
        self, plane: ControlPlane, kube: Kube, observer: Observer, replicas: Replicas
    ) -> None:
        """When the old token is worth nothing any more, the new one in the same file is used."""
        secrets = f"/api/v1/namespaces/{NAMESPACE}/secrets"
        bound = await kube.create(
            secrets, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bound"}}
        )
        try:
            old = await _token_bound_to(kube, bound["metadata"]["name"], bound["metadata"]["uid"])
            await kube.create_cluster_cidr("pool", ipv4="10.0.0.0/16")
            replica = replicas.start_in_cluster("a", token=old, namespace=NAMESPACE)
            await join(kube, observer, "n1")
            file = replica.process.log_file.parent / "a-serviceaccount" / "token"
            assert old == file.read_text()
            file.write_text(await kube.token_for(NAMESPACE, ACCOUNT))
        finally:
            await kube.delete(f"{secrets}/bound")
        await _refused(plane, old)
        assert [["10.0.1.0/24"]] == await join(kube, observer, "n2")


async def _token_bound_to(kube: Kube, secret: str, uid: str) -> str:
    """A token that is good for as long as a Secret exists."""
    reference = {"apiVersion": "v1", "kind": "Secret", "name": secret, "uid": uid}
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 3600, "boundObjectRef": reference},
    }
    answer = await kube.create(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}/token", body)
    token: str = answer["status"]["token"]
    return token


async def _refused(plane: ControlPlane, token: str, *, within: float = 30.0) -> None:
    """Wait until this token is answered 401: a token that was good is taken for good for 10 s more."""
    async with Kube(plane, token=token) as kube, asyncio.timeout(within):
        while await _accepted(kube):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.1)


async def _accepted(kube: Kube) -> bool:
    try:
        await kube.get(f"{NODES}/n1")
    except ApiError as error:
        if error.status != 401:
            raise
        return False
    return True
