from typing import Any

import pytest

from .target import NODES, POOLS, Object, Server, config_map, node, pool
from .test_updates import OTHER_UID, stale


class TestMerge:
    async def test_null_removes(self, server: Server) -> None:
        """Null takes a key away; what isn't named stays."""
        await server.create(server.at("configmaps"), config_map("a", k="1", m="2"))
        answered = await server.patch(f"{server.at('configmaps')}/a", {"data": {"k": None, "n": "3"}})
        assert {"m": "2", "n": "3"} == answered.body["data"]

    async def test_lists_are_replaced(self, server: Server) -> None:
        """A list is replaced whole: finalizers too."""
        body = config_map("a")
        body["metadata"]["finalizers"] = ["example.com/a", "example.com/b"]
        await server.create(server.at("configmaps"), body)
        answered = await server.patch(
            f"{server.at('configmaps')}/a", {"metadata": {"finalizers": ["example.com/c"]}}
        )
        assert ["example.com/c"] == answered.metadata["finalizers"]

    @pytest.mark.parametrize("custom", [False, True], ids=["built-in", "custom"])
    async def test_nothing_changes(self, server: Server, custom: bool) -> None:  # noqa: FBT001
        """A patch that changes nothing is 200, and leaves the version."""
        path = POOLS if custom else server.at("configmaps")
        made = await server.create(path, pool(server.name) if custom else config_map(server.name))
        for patch in ({}, {"metadata": {"labels": None}}):
            assert made.version == (await server.patch(f"{path}/{server.name}", patch)).version

    async def test_no_object(self, server: Server) -> None:
        """A patch of an object that isn't there is 404, whatever it says."""
        path = f"{server.at('configmaps')}/a"
        answered = await server.send("PATCH", path, {"metadata": {"uid": OTHER_UID}})
        assert (404, "NotFound") == answered.reason
        assert {"name": "a", "kind": "configmaps"} == answered.body["details"]

    @pytest.mark.parametrize("body", [b"{", b"[]", b'"x"'], ids=["cut", "array", "string"])
    async def test_malformed(self, server: Server, body: bytes) -> None:
        """A patch that is no JSON object is 400."""
        path, _ = await stale(server)
        assert 400 == (await server.send("PATCH", path, body)).code


class TestPreconditions:
    async def test_right(self, server: Server) -> None:
        """A patch with the right uid and version is taken."""
        made = await server.create(server.at("configmaps"), config_map("a"))
        keys = {key: made.metadata[key] for key in ("uid", "resourceVersion")}
        answered = await server.patch(f"{server.at('configmaps')}/a", {"metadata": keys, "data": {"k": "v"}})
        assert {"k": "v"} == answered.body["data"]

    @pytest.mark.parametrize("kind", ["configmaps", "nodes"])
    async def test_wrong_uid(self, server: Server, kind: str) -> None:
        """A patch with another uid is 422 with cause metadata.uid."""
        path, body, name = {
            "configmaps": (server.at("configmaps"), config_map(server.name), "ConfigMap"),
            "nodes": (NODES, node(server.name), "Node"),
        }[kind]
        await server.create(path, body)
        answered = await server.send("PATCH", f"{path}/{server.name}", {"metadata": {"uid": OTHER_UID}})
        assert (422, "Invalid") == answered.reason
        assert [("metadata.uid", "FieldValueInvalid")] == answered.causes
        why = f'metadata.uid: Invalid value: "{OTHER_UID}": field is immutable'
        assert f'{name} "{server.name}" is invalid: {why}' == answered.message

    async def test_stale(self, server: Server) -> None:
        """A patch with an older version is 409."""
        path, body = await stale(server)
        version = {"resourceVersion": body["metadata"]["resourceVersion"]}
        answered = await server.send("PATCH", path, {"metadata": version, "data": {"k": "3"}})
        assert (409, "Conflict") == answered.reason
        assert "the object has been modified" in answered.message
        assert {"k": "2"} == (await server.get(path)).body["data"]

    async def test_both_wrong(self, server: Server) -> None:
        """With another uid and an older version it is 409: the version is compared first."""
        path, body = await stale(server)
        metadata = {"resourceVersion": body["metadata"]["resourceVersion"], "uid": OTHER_UID}
        answered = await server.send("PATCH", path, {"metadata": metadata})
        assert (409, "Conflict") == answered.reason

    @pytest.mark.parametrize("field,value", [("name", "b"), ("namespace", "b")])
    async def test_immutable(self, server: Server, field: str, value: str) -> None:
        """Name and namespace can't be changed."""
        path, _ = await stale(server)
        answered = await server.send("PATCH", path, {"metadata": {field: value}})
        assert 400 == answered.code


class TestJSONPatch:
    @pytest.mark.parametrize(
        "operations,data",
        [
            ([{"op": "add", "path": "/data/n", "value": "3"}], {"k": "1", "m": "2", "n": "3"}),
            ([{"op": "replace", "path": "/data/k", "value": "3"}], {"k": "3", "m": "2"}),
            ([{"op": "remove", "path": "/data/m"}], {"k": "1"}),
            ([{"op": "move", "from": "/data/k", "path": "/data/z"}], {"z": "1", "m": "2"}),
            ([{"op": "copy", "from": "/data/k", "path": "/data/z"}], {"k": "1", "z": "1", "m": "2"}),
            (
                [{"op": "test", "path": "/data/k", "value": "1"}, {"op": "remove", "path": "/data/k"}],
                {"m": "2"},
            ),
        ],
        ids=lambda value: value[0]["op"] if isinstance(value, list) else "",
    )
    async def test_operations(self, server: Server, operations: Any, data: Object) -> None:
        """Each operation of RFC 6902 works."""
        await server.create(server.at("configmaps"), config_map("a", k="1", m="2"))
        answered = await server.patch(f"{server.at('configmaps')}/a", operations, patch="json")
        assert data == answered.body["data"]

    async def test_escapes(self, server: Server) -> None:
        """~1 and ~0 stand for / and ~ in a path."""
        await server.create(server.at("configmaps"), config_map("a"))
        patch = [
            {"op": "add", "path": "/metadata/annotations", "value": {}},
            {"op": "add", "path": "/metadata/annotations/example.com~1a", "value": "b"},
        ]
        answered = await server.patch(f"{server.at('configmaps')}/a", patch, patch="json")
        assert {"example.com/a": "b"} == answered.metadata["annotations"]

    @pytest.mark.parametrize(
        "operation",
        [
            {"op": "test", "path": "/data/k", "value": "9"},
            {"op": "remove", "path": "/data/none"},
            {"op": "add", "path": "/none/none", "value": "1"},
        ],
        ids=lambda operation: operation["op"],
    )
    async def test_failing(self, server: Server, operation: Object) -> None:
        """An operation that doesn't apply is 422, and nothing is written, not by those before it either."""
        path, _ = await stale(server)
        patch = [{"op": "replace", "path": "/data/k", "value": "3"}, operation]
        answered = await server.send("PATCH", path, patch, patch="json")
        assert (422, "Invalid") == answered.reason
        assert {"k": "2"} == (await server.get(path)).body["data"]

    @pytest.mark.parametrize(
        "body", [b"{", b"{}", b'[{"op":"paint","path":"/data"}]'], ids=["cut", "map", "op"]
    )
    async def test_malformed(self, server: Server, body: bytes) -> None:
        """What is no JSON patch is refused."""
        path, _ = await stale(server)
        assert (await server.send("PATCH", path, body, patch="json")).code in {400, 422}

    async def test_custom(self, server: Server) -> None:
        """Custom objects take JSON patches too."""
        await server.create(POOLS, pool(server.name))
        patch = [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]
        answered = await server.patch(f"{POOLS}/{server.name}", patch, patch="json")
        assert {"a": "b"} == answered.metadata["labels"]


class TestStrategic:
    async def test_maps(self, server: Server) -> None:
        """Maps are merged, null removes."""
        await server.create(server.at("configmaps"), config_map("a", k="1", m="2"))
        path = f"{server.at('configmaps')}/a"
        answered = await server.patch(path, {"data": {"k": None, "n": "3"}}, patch="strategic")
        assert {"m": "2", "n": "3"} == answered.body["data"]

    async def test_finalizers_are_merged(self, server: Server) -> None:
        """Finalizers are a set: a patch adds to them."""
        made = await server.create(NODES, node(server.name, finalizers=["example.com/a"]))
        patch = {"metadata": {"finalizers": ["example.com/b"]}}
        answered = await server.patch(f"{NODES}/{server.name}", patch, patch="strategic")
        assert {"example.com/a", "example.com/b"} == set(answered.metadata["finalizers"])
        assert ["example.com/a"] == made.metadata["finalizers"]

    async def test_delete_from_primitive_list(self, server: Server) -> None:
        """$deleteFromPrimitiveList takes one finalizer away."""
        await server.create(NODES, node(server.name, finalizers=["example.com/a", "example.com/b"]))
        patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a"]}}
        answered = await server.patch(f"{NODES}/{server.name}", patch, patch="strategic")
        assert ["example.com/b"] == answered.metadata["finalizers"]

    async def test_pod_cidrs_are_merged(self, server: Server) -> None:
        """PodCIDRs are a set too: the same again is fine."""
        await server.create(NODES, node(server.name, "10.0.1.0/24"))
        patch = {"spec": {"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24"]}}
        answered = await server.patch(f"{NODES}/{server.name}", patch, patch="strategic")
        assert ["10.0.1.0/24"] == answered.body["spec"]["podCIDRs"]

    async def test_conditions_by_type(self, server: Server) -> None:
        """A Node's conditions are merged by their type."""
        await server.create(NODES, node(server.name))
        path = f"{NODES}/{server.name}/status"
        for kind, status in (("A", "True"), ("B", "True"), ("A", "False")):
            condition = {"type": kind, "status": status}
            answered = await server.patch(path, {"status": {"conditions": [condition]}}, patch="strategic")
        found = {each["type"]: each["status"] for each in answered.body["status"]["conditions"]}
        assert {"A": "False", "B": "True"} == found

    async def test_wrong_uid(self, server: Server) -> None:
        """Preconditions are as in a merge patch."""
        await server.create(NODES, node(server.name))
        patch = {"metadata": {"uid": OTHER_UID}}
        answered = await server.send("PATCH", f"{NODES}/{server.name}", patch, patch="strategic")
        assert (422, [("metadata.uid", "FieldValueInvalid")]) == (answered.code, answered.causes)

    async def test_not_for_custom_objects(self, server: Server) -> None:
        """Custom objects take no strategic patches: 415."""
        await server.create(POOLS, pool(server.name))
        answered = await server.send("PATCH", f"{POOLS}/{server.name}", {}, patch="strategic")
        assert (415, "UnsupportedMediaType") == answered.reason
