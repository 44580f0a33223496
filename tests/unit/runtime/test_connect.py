from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nodeipam.runtime.connect import connect
from nodeipam.runtime.credentials import Anonymous
from nodeipam.runtime.errors import ConfigurationError, CredentialsError
from nodeipam.runtime.metrics import Metrics
from nodeipam.runtime.objects import Request, Resource

from .loopback import answer, replies, serve

NODES = Resource("v1", "Node", plural="nodes", namespaced=False, type=dict)
NODE = b'{"kind":"Node","metadata":{"name":"a"}}'
under_test = importlib.import_module("nodeipam.runtime.connect")  # the façade's connect hides the module
POD = "https://10.96.0.1:443"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a Pod nor a kubeconfig."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pod with a service account."""
    monkeypatch.setattr(under_test, "is_in_cluster", lambda: True)
    monkeypatch.setattr(under_test, "in_cluster", lambda: Anonymous(POD))


def kubeconfig(folder: Path, server: str) -> str:
    """A kubeconfig for a server."""
    path = folder / "kubeconfig"
    path.write_text(
        f"""
current-context: one
contexts: [{{name: one, context: {{cluster: one, user: one}}}}]
clusters: [{{name: one, cluster: {{server: "{server}"}}}}]
users: [{{name: one, user: {{token: t}}}}]
"""
    )
    return str(path)


async def host(**options: Any) -> str:
    """The server that is chosen."""
    async with connect(**options) as client:
        return client.host


async def test_from_end_to_end(tmp_path: Path) -> None:
    """A client reads an object from the kubeconfig's server, and is counted in the given metrics."""
    metrics = Metrics()
    async with serve(replies(answer(NODE))) as server:
        path = kubeconfig(tmp_path, server.url)
        async with connect(kubeconfig=path, user_agent="me/1", metrics=metrics) as client:
            assert "a" == (await client.get(NODES, Request("a")))["metadata"]["name"]
            assert metrics is client.metrics
        await server.until(lambda s: s.open == 0)
    assert ("Bearer t", "me/1") == (
        server.asked[0].headers["authorization"],
        server.asked[0].headers["user-agent"],
    )


@pytest.mark.usefixtures("pod")
async def test_in_a_pod() -> None:
    """In a Pod its service account is used."""
    assert "10.96.0.1:443" == await host()


@pytest.mark.usefixtures("pod")
async def test_a_kubeconfig_in_a_pod(tmp_path: Path) -> None:
    """A kubeconfig or a server that was asked for is used, in a Pod too."""
    path = kubeconfig(tmp_path, "http://a:1")
    assert ("a:1", "b:2") == (await host(kubeconfig=path), await host(kubeconfig=path, server="http://b:2"))
    assert "c:3" == await host(server="http://c:3")


async def test_the_environments_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of a cluster KUBECONFIG is used, and a server replaces the one in it."""
    monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path, "http://a:1"))
    assert ("a:1", "b:2") == (await host(), await host(server="http://b:2"))


async def test_a_server_alone() -> None:
    """A server without any kubeconfig is talked to anonymously."""
    async with serve(replies(answer(NODE))) as server:
        async with connect(server=server.url) as client:
            await client.get(NODES, Request("a"))
        assert "authorization" not in server.asked[0].headers


async def test_nothing_at_all(tmp_path: Path) -> None:
    """With neither Pod nor kubeconfig the message names the file that was looked for."""
    with pytest.raises(CredentialsError, match=f"{tmp_path}/.kube/config doesn't exist"):
        await host()


async def test_a_configuration() -> None:
    """A configuration that the application has already is used instead of anything else."""
    given = SimpleNamespace(host="http://mine:1", ssl_ca_cert=None, cert_file=None, key_file=None)
    assert "mine:1" == await host(configuration=given)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"configuration": object(), "server": "http://a"}, "not both"),
        ({"burst": 5}, "burst=5 means nothing without qps"),
        ({"qps": 0.0}, "not 0.0"),
        ({"server": "http://a", "timeout": -1.0}, "not -1.0"),
    ],
)
async def test_contradictions(options: dict[str, Any], message: str) -> None:
    """Arguments that contradict each other are refused with their values."""
    with pytest.raises(ConfigurationError, match=message):
        await host(**options)


async def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate limit allows twice its rate at once, unless told otherwise."""
    made: list[tuple[float, int]] = []
    real = under_test.TokenBucket

    def note(rate: float, burst: int) -> Any:
        made.append((rate, burst))
        return real(rate, burst)

    monkeypatch.setattr(under_test, "TokenBucket", note)
    for options in ({"qps": 5.0}, {"qps": 0.1}, {"qps": 5.0, "burst": 7}, {}):
        await host(server="http://a", **options)
    assert [(5.0, 10), (0.1, 1), (5.0, 7)] == made
