"""A cluster that holds nothing of ours: what is shipped has to bring everything along."""

import asyncio
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.e2e.controlplane import Binaries, ControlPlane
from tests.e2e.kube import Kube
from tests.e2e.shipped.release import DEFINITION, RELEASE, ours, served
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
