"""The control plane of the run, which all tests on a real API server share."""

import asyncio
import os
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.e2e.controlplane import Binaries, ControlPlane, Unavailable, provide
from tests.e2e.kube import Kube

MANIFESTS = Path(__file__).parent.parent / "manifests"
SECONDS = 120  # a test's limit, where it names none of its own

_binaries = pytest.StashKey[Binaries | Unavailable]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests on a real API server the time that they need."""
    for item in _on_a_real_server(items):
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Find or build the programs before the first test: a build takes longer than a test may."""
    items = _on_a_real_server(session.items)
    if not items or session.config.option.collectonly:
        return
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    say: Callable[[str], None] = terminal.write_line if terminal is not None else print
    try:
        session.config.stash[_binaries] = provide(say)
    except Unavailable as reason:
        session.config.stash[_binaries] = reason
        if not os.environ.get("CI"):
            for item in items:
                item.add_marker(pytest.mark.skip(reason=str(reason)))


@pytest.fixture(scope="session")
def binaries(pytestconfig: pytest.Config) -> Binaries:
    """The programs of the control plane; where they are missing, CI must not pass."""
    found = pytestconfig.stash[_binaries]
    if isinstance(found, Unavailable):
        pytest.fail(str(found), pytrace=False)
    return found


@pytest.fixture(scope="session")
def shared_plane(binaries: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Generator[ControlPlane]:
    """The control plane of this run, with the CRD and the RBAC objects of manifests/."""
    plane = ControlPlane(binaries, tmp_path_factory.mktemp("plane"))
    try:
        plane.start()
        asyncio.run(_install(plane))
        yield plane
    finally:
        plane.stop()


async def _install(plane: ControlPlane) -> None:
    if not MANIFESTS.exists():
        return
    async with Kube(plane) as kube:
        await kube.apply(MANIFESTS)


def _on_a_real_server(items: list[pytest.Item]) -> list[pytest.Item]:
    return [item for item in items if item.get_closest_marker("e2e")]
