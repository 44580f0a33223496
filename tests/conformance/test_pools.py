from typing import Any

import pytest

from .target import POOLS, Object, Server, pool
from .test_definitions import SCHEMA, definition, kind, made, served

SPEC: Object = {"perNodeHostBits": 8, "ipv4": "10.244.0.0/16"}
TERM: Object = {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}


class TestRules:
    @pytest.mark.parametrize(
        "spec",
        [
            SPEC,
            {"perNodeHostBits": 8, "ipv6": "2001:db8::/64"},
            SPEC | {"ipv6": "2001:db8::/64"},
            SPEC | {"ipv6": ""},
            SPEC | {"nodeSelector": {"nodeSelectorTerms": [TERM]}},
            {"perNodeHostBits": 16, "ipv4": "10.244.0.0/16"},
        ],
        ids=["IPv4", "IPv6", "dual stack", "empty range", "selector", "one Node"],
    )
    async def test_taken(self, server: Server, spec: Object) -> None:
        """A pool that makes sense is taken."""
        assert 201 == (await server.create(POOLS, pool(server.name, spec))).code

    @pytest.mark.parametrize(
        "spec,field",
        [
            ({"perNodeHostBits": 8}, "spec"),
            ({"ipv4": "10.244.0.0/16"}, "spec.perNodeHostBits"),
            (SPEC | {"perNodeHostBits": 3}, "spec.perNodeHostBits"),
            (SPEC | {"perNodeHostBits": 17}, "spec.perNodeHostBits"),
            (SPEC | {"perNodeHostBits": "8"}, "spec.perNodeHostBits"),
            (SPEC | {"ipv4": "10.244.0.0"}, "spec.ipv4"),
            (SPEC | {"ipv4": "2001:db8::/64"}, "spec.ipv4"),
            (SPEC | {"ipv6": "10.244.0.0/16"}, "spec.ipv6"),
        ],
        ids=["no range", "no bits", "few bits", "many bits", "text", "no prefix", "IPv6 as 4", "IPv4 as 6"],
    )
    async def test_refused(self, server: Server, spec: Any, field: str) -> None:
        """One that doesn't is 422 with the field."""
        answered = await server.send("POST", POOLS, pool(server.name, spec))
        assert (422, "Invalid") == answered.reason
        assert field in [where for where, _ in answered.causes]

    @pytest.mark.parametrize(
        "patch,field",
        [
            ({"perNodeHostBits": 9}, "spec.perNodeHostBits"),
            ({"ipv4": "10.0.0.0/16"}, "spec.ipv4"),
            ({"ipv6": "2001:db8::/64"}, "spec.ipv6"),
            ({"nodeSelector": {"nodeSelectorTerms": [TERM]}}, "spec.nodeSelector"),
        ],
        ids=["bits", "range", "another range", "selector"],
    )
    async def test_immutable(self, server: Server, patch: Object, field: str) -> None:
        """Its spec doesn't change: 422 with the field."""
        await server.create(POOLS, pool(server.name))
        answered = await server.send("PATCH", f"{POOLS}/{server.name}", {"spec": patch})
        assert (422, [(field, "FieldValueInvalid")]) == (answered.code, answered.causes)

    async def test_without_spec(self, server: Server) -> None:
        """Nor can it be taken away."""
        await server.create(POOLS, pool(server.name))
        answered = await server.send("PATCH", f"{POOLS}/{server.name}", {"spec": None})
        assert (422, "Invalid") == answered.reason
        assert "spec" in [where for where, _ in answered.causes]

    async def test_shape_first(self, server: Server) -> None:
        """Where the shape is wrong the rules aren't tried, and the answer says so."""
        answered = await server.send("POST", POOLS, pool(server.name, {"perNodeHostBits": "x"}))
        assert [("spec.perNodeHostBits", "FieldValueTypeInvalid"), ("<nil>", "FieldValueInvalid")] == (
            answered.causes
        )
        assert "some validation rules were not checked" in answered.message


class TestRatcheting:
    async def test_what_was_there(self, server: Server) -> None:
        """Under stricter rules an object that breaks them may change elsewhere, but not there."""
        strict = {"type": "integer", "maximum": 10}
        properties = SCHEMA["properties"]["spec"]["properties"] | {"colour": {"type": "string"}}
        async with kind(server) as (path, objects, name):
            await server.create(objects, made(name, size=99))
            stricter = definition(
                name.lower(),
                schema={
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": properties | {"size": strict}}
                        },
                    }
                },
                subresources={"status": {}},  # by which one sees that it is in force
            )
            await server.patch(path, {"spec": stricter["spec"]})
            await served(server, f"{objects}/a/status")
            answered = await server.patch(f"{objects}/a", {"spec": {"colour": "red"}})
            assert {"size": 99, "colour": "red"} == answered.body["spec"]
            refused = await server.send("PATCH", f"{objects}/a", {"spec": {"size": 98}})
            assert (422, [("spec.size", "FieldValueInvalid")]) == (refused.code, refused.causes)
            assert 200 == (await server.send("PATCH", f"{objects}/a", {"spec": {"size": 9}})).code
