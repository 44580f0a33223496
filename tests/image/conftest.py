"""The image, built once for all tests that run it."""

from collections.abc import Generator

import pytest

from tests.image.engine import Engine

TAG = "localhost/nodeipam:test"


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Generator[Engine]:
    """podman, with a base to build on."""
    engine = Engine(tmp_path_factory.mktemp("podman"))
    try:
        engine.make_base()
        yield engine
    finally:
        engine.destroy()


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """The tag of the image that the Dockerfile describes."""
    engine.build(TAG)
    return TAG


@pytest.fixture
def containers(engine: Engine) -> Generator[Engine]:
    """The engine; what the test has started on it is ended."""
    yield engine
    engine.close()
