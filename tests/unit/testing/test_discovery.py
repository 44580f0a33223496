from __future__ import annotations

import json

import pytest

from nodeipam.runtime.transport import Call
from nodeipam.testing import APIServer
from nodeipam.testing.apiserver import Reply


def _get(server: APIServer, path: str) -> Reply:
    reply = server.handle(Call(method="GET", path=path, timeout=1.0), "me")
    assert isinstance(reply, Reply)
    return reply


class TestDiscover:
    def test_registered_kind(self) -> None:
        """A kind that was registered is found from the list of groups down to its status subresource."""
        server = APIServer()
        server.register("example.com/v1", "Widget", "widgets", namespaced=True, status=True)

        groups = json.loads(_get(server, "/apis").body)["groups"]
        resources = json.loads(_get(server, "/apis/example.com/v1").body)["resources"]

        assert "example.com" in [group["name"] for group in groups]
        assert ["widgets", "widgets/status"] == [resource["name"] for resource in resources]

    def test_names(self) -> None:
        """A kind is found with the name of one of it, and with what people type instead."""
        (nodes, _) = (
            each
            for each in json.loads(_get(APIServer(), "/api/v1").body)["resources"]
            if "nodes" in each["name"]
        )
        assert ("node", ["no"]) == (nodes["singularName"], nodes["shortNames"])

    @pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
    def test_health(self, path: str) -> None:
        """The probes say ok."""
        assert (200, b"ok") == _get(APIServer(), path)[:2]

    @pytest.mark.parametrize("path", ["/apis/example.com", "/apis/example.com/v1", "/api/v2", "/nothing"])
    def test_unknown(self, path: str) -> None:
        """What isn't served has no document."""
        assert 404 == _get(APIServer(), path).status
