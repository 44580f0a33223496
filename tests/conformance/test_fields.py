"""Clients that want to know of each field that the kind doesn't have, as kubectl does."""

from typing import Any

import pytest

from tests.conformance.target import POOLS, Server, pool

SPEC = {"perNodeHostBits": 8, "ipv4": "10.244.0.0/16"}
RED = 'strict decoding error: unknown field "spec.colour"'


class TestStrict:
    async def test_creation(self, server: Server) -> None:
        """An object with fields that its kind doesn't have is 400, and all of them are named."""
        body = pool(server.name, {**SPEC, "colour": "red", "nodeSelector": {"a": {"b": 1}}}) | {"top": 1}
        answered = await server.send("POST", POOLS, body, fieldValidation="Strict")
        assert (400, "BadRequest") == answered.reason
        assert answered.message.startswith('ClusterCIDR in version "v1" cannot be handled as a ClusterCIDR: ')
        assert ['"spec.colour"', '"spec.nodeSelector.a"', '"top"'] == [
            text.rpartition(" ")[2] for text in answered.message.partition("error: ")[2].split(", ")
        ]

    async def test_update(self, server: Server) -> None:
        """So it is for a PUT."""
        made = await server.create(POOLS, pool(server.name))
        body = {**made.body, "spec": {**SPEC, "colour": "red"}}
        answered = await server.send("PUT", f"{POOLS}/{server.name}", body, fieldValidation="Strict")
        assert (400, "BadRequest") == answered.reason
        assert answered.message.endswith(RED)

    @pytest.mark.parametrize(
        "kind,patch",
        [
            ("merge", {"spec": {"colour": "red"}}),
            ("json", [{"op": "add", "path": "/spec/colour", "value": "red"}]),
        ],
    )
    async def test_patch(self, server: Server, kind: str, patch: Any) -> None:
        """A patch that brings one is 422, which blames the patch as a whole."""
        await server.create(POOLS, pool(server.name))
        answered = await server.send(
            "PATCH", f"{POOLS}/{server.name}", patch, patch=kind, fieldValidation="Strict"
        )
        assert (422, "Invalid") == answered.reason
        assert [("patch", "FieldValueInvalid")] == answered.causes
        assert answered.message.endswith(RED)

    async def test_nothing_unknown(self, server: Server) -> None:
        """An object with fields that it has is taken as ever."""
        answered = await server.create(POOLS, pool(server.name), fieldValidation="Strict")
        assert SPEC == answered.body["spec"]
