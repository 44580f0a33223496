"""A cluster that holds nothing of ours: what is shipped has to bring everything along."""

from collections.abc import Generator

import pytest

from tests.e2e.controlplane import Binaries, ControlPlane


@pytest.fixture(scope="module")
def untouched_plane(binaries: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Generator[ControlPlane]:
    """A control plane of this module's own."""
    plane = ControlPlane(binaries, tmp_path_factory.mktemp("untouched"))
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()


@pytest.fixture
def plane(untouched_plane: ControlPlane) -> ControlPlane:
    """In place of the control plane that all other tests share."""
    return untouched_plane
