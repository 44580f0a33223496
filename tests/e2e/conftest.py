"""A clean cluster for each test, and an observer at every one of them."""

from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from tests.e2e.audit import Audit
from tests.e2e.controlplane import ControlPlane
from tests.e2e.controlplane.processes import tail
from tests.e2e.kube import CLUSTER_CIDRS, LEASES, NODES, ApiError, Kube
from tests.e2e.observer import Observer
from tests.e2e.proxy import Proxy
from tests.e2e.replica import Replica

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder: all of them run on a real API server."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture
def plane(shared_plane: ControlPlane) -> Generator[ControlPlane]:
    """The control plane, running again after the test whatever the test did to it."""
    before = len(shared_plane.apiserver.log)
    yield shared_plane
    shared_plane.ensure_running()
    print(f"--- kube-apiserver\n{tail(shared_plane.apiserver.log[before:], 60)}")  # noqa: T201 - shown on failure


@pytest.fixture
async def kube(plane: ControlPlane) -> AsyncGenerator[Kube]:
    """An administrator's client; what the test left behind is removed at the end."""
    async with Kube(plane) as client:
        yield client
        plane.ensure_running()
        await _clean(client)


@pytest.fixture(autouse=True)
async def observer(plane: ControlPlane, kube: Kube) -> AsyncGenerator[Observer]:
    """Watches all Nodes throughout the test and fails it if something happened that must never happen."""
    watching = Observer(plane)
    await watching.start()
    yield watching
    plane.ensure_running()
    await watching.stop()
    watching.check()


@pytest.fixture
def audit(plane: ControlPlane) -> Audit:
    """Who asked the API server for what, from the start of the test on."""
    return Audit(plane.audit_file)


@pytest.fixture
async def proxy(plane: ControlPlane, observer: Observer) -> AsyncGenerator[Proxy]:
    """A proxy before the API server that does what the test says."""
    async with Proxy(plane) as standing:
        yield standing


class Replicas:
    """Starts replicas of the controller, and ends at the end of the test what the test didn't."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self._plane = plane
        self._folder = folder
        self._started: list[Replica] = []

    def start(self, name: str, *flags: str, server: str | None = None, user: str = "controller") -> Replica:
        """Start one out of cluster, as a user of the control plane; `server` may be a proxy's URL."""
        kubeconfig = self._plane.kubeconfig(user, server=server)
        return self._run(Replica.out_of_cluster(name, *flags, kubeconfig=kubeconfig, folder=self._folder))

    def start_in_cluster(self, name: str, *flags: str, token: str, namespace: str) -> Replica:
        """Start one as if in a pod, with a ServiceAccount's token."""
        return self._run(
            Replica.in_cluster(
                name, *flags, plane=self._plane, token=token, namespace=namespace, folder=self._folder
            )
        )

    def add(self, replica: Replica) -> Replica:
        """Start a replica that the test has described itself."""
        return self._run(replica)

    def stop(self) -> None:
        """End them all, and print their logs (pytest shows them if the test failed)."""
        for replica in self._started:
            replica.stop(within=5.0)
            print(f"--- {replica!r}\n{tail(replica.log, 200)}")  # noqa: T201 - shown on failure

    def _run(self, replica: Replica) -> Replica:
        self._started.append(replica)
        replica.start()
        return replica


@pytest.fixture
def replicas(plane: ControlPlane, observer: Observer, proxy: Proxy, tmp_path: Path) -> Generator[Replicas]:
    """Starts replicas of the controller; they end before the observer takes its last look."""
    running = Replicas(plane, tmp_path)
    yield running
    running.stop()


async def _clean(kube: Kube) -> None:
    for path in (NODES, CLUSTER_CIDRS):
        await _delete_all(kube, path)
    for lease in await kube.items(LEASES):
        if "apiserver.kubernetes.io/identity" not in lease["metadata"].get("labels", {}):
            await kube.delete(_path(LEASES, lease["metadata"]["namespace"], lease["metadata"]["name"]))
    for kind in ("endpoints", "configmaps"):
        await kube.delete(f"/api/v1/namespaces/default/{kind}/node-ipam-controller")
    for namespace in ("default", "kube-system"):
        await kube.delete(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events")


async def _delete_all(kube: Kube, path: str) -> None:
    """Delete a collection; finalizers are taken off, since nobody is there to honour them."""
    try:
        items = await kube.items(path)
    except ApiError as error:
        if error.status == 404:  # the test took the definition away
            return
        raise
    if not items:
        return
    await kube.delete(path)
    for item in items:
        if item["metadata"].get("finalizers"):
            name = f"{path}/{item['metadata']['name']}"
            try:
                await kube.patch(name, {"metadata": {"finalizers": None}})
            except ApiError as error:
                if error.status != 404:
                    raise


def _path(collection: str, namespace: str, name: str) -> str:
    root, _, plural = collection.rpartition("/")
    return f"{root}/namespaces/{namespace}/{plural}/{name}"
