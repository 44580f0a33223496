"""The two targets, a server with a namespace of the test's own on each."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from nodeipam.runtime.http import HTTPTransport
from nodeipam.runtime.kubeconfig import from_kubeconfig
from nodeipam.runtime.transport import Transport
from nodeipam.testing import APIServer, ModelTransport
from tests.conformance.target import Server
from tests.conftest import MANIFESTS
from tests.e2e.controlplane import ControlPlane
from tests.e2e.kube import read_manifests


@pytest.fixture(params=["model", pytest.param("kube-apiserver", marks=pytest.mark.e2e)])
def target(request: pytest.FixtureRequest) -> ControlPlane | None:
    """The control plane of the run; None is the model."""
    return request.getfixturevalue("shared_plane") if request.param == "kube-apiserver" else None


@pytest.fixture
async def server(request: pytest.FixtureRequest, target: ControlPlane | None) -> AsyncGenerator[Server]:
    """One of the two targets; what the test makes on it is removed at the end."""
    name = f"conf-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:10]}"
    async with _model() if target is None else _real(target) as transport:
        server = Server(transport, name=name)
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        assert (await server.send("POST", "/api/v1/namespaces", namespace)).code == 201
        yield server
        await server.clean()


@asynccontextmanager
async def _model() -> AsyncIterator[Transport]:
    model = APIServer()
    (definition,) = read_manifests(MANIFESTS / "crd.yaml")
    model.install(definition)
    yield ModelTransport(model, identity="tests")


@asynccontextmanager
async def _real(plane: ControlPlane) -> AsyncIterator[Transport]:
    async with HTTPTransport(await from_kubeconfig(str(plane.kubeconfig("admin")))) as transport:
        yield transport
