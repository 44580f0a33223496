"""What tests need of the machine: programs, and the control plane that those on a real API server share."""

import asyncio
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.e2e.controlplane import Binaries, ControlPlane, find
from tests.e2e.kube import Kube
from tests.image.engine import Engine
from tests.programs import Unavailable, provide

MANIFESTS = Path(__file__).parent.parent / "manifests"
SECONDS = 120  # a test's limit, where it names none of its own

_binaries = pytest.StashKey[Binaries | Unavailable]()
_programs = pytest.StashKey[dict[str, Path | Unavailable]]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests on a real API server the time that they need."""
    for item in _on_a_real_server(items):
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Find or build all programs before the first test: a build takes longer than a test may."""
    if session.config.option.collectonly:
        return
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    say: Callable[[str], None] = terminal.write_line if terminal is not None else print
    needing = _on_a_real_server(session.items)
    if needing:
        try:
            session.config.stash[_binaries] = find(say)
        except Unavailable as reason:
            session.config.stash[_binaries] = reason
            _skip(needing, reason)
    found = session.config.stash[_programs] = {}
    for item in session.items:
        for name in _named(item):
            if name not in found:
                found[name] = _try(name, say)
            if isinstance(missing := found[name], Unavailable):
                _skip([item], missing)


@pytest.fixture(scope="session")
def binaries(pytestconfig: pytest.Config) -> Binaries:
    """The programs of the control plane; where they are missing, CI must not pass."""
    found = pytestconfig.stash[_binaries]
    if isinstance(found, Unavailable):
        pytest.fail(str(found), pytrace=False)
    return found


@pytest.fixture(scope="session")
def program(pytestconfig: pytest.Config) -> Callable[[str], Path]:
    """Where a program is that the test names in its mark `programs`; CI must not pass without it."""

    def path(name: str) -> Path:
        found = pytestconfig.stash[_programs][name]
        if isinstance(found, Unavailable):
            pytest.fail(str(found), pytrace=False)
        return found

    return path


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


@pytest.fixture(scope="session")
def engine(program: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Generator[Engine]:
    """podman, with a base to build on. Who uses it has the mark `programs("podman", "mmdebstrap")`."""
    engine = Engine(program("podman"), tmp_path_factory.mktemp("podman"))
    try:
        engine.make_base()
        yield engine
    finally:
        engine.destroy()


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """The tag of the image that the Dockerfile describes."""
    tag = "localhost/nodeipam:test"
    engine.build(tag)
    return tag


@pytest.fixture
def containers(engine: Engine) -> Generator[Engine]:
    """The engine; what the test has started on it is ended."""
    yield engine
    engine.close()


async def _install(plane: ControlPlane) -> None:
    async with Kube(plane) as kube:
        for name in ("crd.yaml", "rbac.yaml"):
            await kube.apply(MANIFESTS / name)


def _on_a_real_server(items: list[pytest.Item]) -> list[pytest.Item]:
    return [item for item in items if item.get_closest_marker("e2e")]


def _named(item: pytest.Item) -> Iterator[str]:
    for mark in item.iter_markers("programs"):
        yield from mark.args


def _try(name: str, say: Callable[[str], None]) -> Path | Unavailable:
    try:
        return provide(name, say)
    except Unavailable as reason:
        return reason


def _skip(items: list[pytest.Item], reason: Unavailable) -> None:
    """Pass these tests over, with the reason; in CI they fail instead, once they ask for the program."""
    if not os.environ.get("CI"):
        for item in items:
            item.add_marker(pytest.mark.skip(reason=str(reason)))
