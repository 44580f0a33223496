from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from nodeipam.runtime.transport import Call
from nodeipam.testing import APIServer

from .session import Session, play

DEFINITION = Path(__file__).parents[3] / "manifests/crd.yaml"


def _server(server: APIServer) -> APIServer:
    server.install(yaml.safe_load(DEFINITION.read_text()))
    return server


class TestOpenAPI:
    def test_index(self) -> None:
        """The index names each group's version; a new kind changes no other document's hash."""

        async def scene(server: APIServer, me: Session) -> Any:
            before = (await me.send("GET", "/openapi/v3"))[1]["paths"]
            _server(server)
            return before, (await me.send("GET", "/openapi/v3"))[1]["paths"]

        before, after = play(scene)
        assert {"apis/networking.x-k8s.io/v1"} == set(after) - set(before)
        assert before == {place: after[place] for place in before}

    def test_changed(self) -> None:
        """A definition that changes has another hash."""

        async def scene(server: APIServer, me: Session) -> Any:
            found = []
            for namespaced in (False, True):
                server.register("example.com/v1", "Widget", "widgets", namespaced)
                found.append((await me.send("GET", "/openapi/v3"))[1]["paths"]["apis/example.com/v1"])
            return found

        before, after = play(scene)
        assert before != after

    def test_custom_kind(self) -> None:
        """A custom kind is described by its definition's schema, and takes `fieldValidation` in a patch."""

        async def scene(server: APIServer, me: Session) -> Any:
            _server(server)
            return (await me.send("GET", "/openapi/v3/apis/networking.x-k8s.io/v1"))[1]

        document = play(scene)
        (schema,) = document["components"]["schemas"].values()
        group_version_kind = {"group": "networking.x-k8s.io", "version": "v1", "kind": "ClusterCIDR"}
        assert [group_version_kind] == schema["x-kubernetes-group-version-kind"]
        assert "perNodeHostBits" in json.dumps(schema["properties"]["spec"]["properties"])
        patch = document["paths"]["/apis/networking.x-k8s.io/v1/clustercidrs/{name}"]["patch"]
        assert ["fieldValidation"] == [each["name"] for each in patch["parameters"]]

    def test_unknown(self) -> None:
        """There is no document of a version that isn't served."""

        async def scene(server: APIServer, _: Session) -> Any:
            return server.handle(Call(method="GET", path="/openapi/v3/apis/none/v1", timeout=1.0), "me")

        assert 404 == play(scene).status
