"""A cluster that holds nothing of ours: what is shipped has to bring everything along."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path

import pytest

from tests.e2e.conftest import Replicas
from tests.e2e.controlplane import Binaries, ControlPlane
from tests.e2e.kube import Kube
from tests.e2e.replica import Replica
from tests.e2e.shipped.pages import Operator
from tests.e2e.shipped.release import DEFINITION, DEPLOYMENT, NAMESPACE, RELEASE, ours, served
from tests.e2e.shown import kubectl_environment, shell


@pytest.fixture(scope="session")
def untouched_plane(binaries: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Generator[ControlPlane]:
    """A control plane of this folder's own."""
    plane = ControlPlane(binaries, tmp_path_factory.mktemp("untouched"))
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()


@pytest.fixture
async def plane(untouched_plane: ControlPlane) -> ControlPlane:
    """In place of the control plane that all other tests share."""
    return untouched_plane


@pytest.fixture(autouse=True)
async def empty(program: Callable[[str], Path], plane: ControlPlane, kube: Kube) -> None:
    """Take away what an earlier test has left, and the definition, which a release always leaves."""
    uninstall = f"{program('helm4')} uninstall {RELEASE} --namespace nodeipam --ignore-not-found"
    await shell(uninstall, env=kubectl_environment(plane))
    for path in [*await ours(kube), DEFINITION]:
        await kube.delete(path)
    async with asyncio.timeout(10.0):
        while await served(kube, DEFINITION):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.1)


@pytest.fixture
def operator(program: Callable[[str], Path], plane: ControlPlane, tmp_path: Path) -> Operator:
    """An administrator who has kubectl and helm."""
    found, folder = kubectl_environment(plane), tmp_path / "bin"
    folder.mkdir()
    (folder / "helm").symlink_to(program("helm4"))
    return Operator({**found, "PATH": f"{folder}:{found['PATH']}"})


@pytest.fixture
def deployed(kube: Kube, replicas: Replicas) -> Callable[[], Awaitable[Replica]]:
    """Starts a replica as the Deployment in the cluster has it: its arguments, its ServiceAccount."""

    async def start() -> Replica:
        pod = (await kube.get(DEPLOYMENT))["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        ours = [each for each in container["args"] if not each.startswith("--webserver-bind-address")]
        token = await kube.token_for(NAMESPACE, pod["serviceAccountName"])
        return replicas.start_in_cluster(f"replica-{len(ours)}", *ours, token=token, namespace=NAMESPACE)

    return start
