from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nodeipam.testing import APIServer

from .session import Session, fields, play, reason

ROOT = Path(__file__).parents[3]
OURS = ROOT / "manifests/crd.yaml"
REFERENCE = ROOT / "tests/e2e/manifests/reference-crd.yaml"
POOLS = "/apis/networking.x-k8s.io/v1/clustercidrs"


def pool(**spec: Any) -> dict[str, Any]:
    """A ClusterCIDR."""
    return {
        "apiVersion": "networking.x-k8s.io/v1",
        "kind": "ClusterCIDR",
        "metadata": {"name": "a"},
        "spec": spec,
    }


def installed(server: APIServer, path: Path = OURS) -> None:
    """Serve what the manifest defines."""
    server.install(yaml.safe_load(path.read_text()))


def definition(**schema: Any) -> dict[str, Any]:
    """A definition of Gadgets whose spec has this schema."""
    version = {
        "name": "v1",
        "served": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": schema}}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "spec": {
            "group": "example.com",
            "scope": "Cluster",
            "names": {"kind": "Gadget", "plural": "gadgets"},
            "versions": [version],
        },
    }


class TestOurDefinition:
    @pytest.mark.parametrize(
        "spec, wrong",
        [
            ({"perNodeHostBits": 8, "ipv4": "10.0.0.0/16"}, []),
            ({"perNodeHostBits": 8, "ipv4": "10.0.0.7/16", "ipv6": "2001:db8::/64"}, []),
            ({"perNodeHostBits": 3, "ipv4": "10.0.0.0/16"}, ["spec.perNodeHostBits"]),
            ({"perNodeHostBits": 17, "ipv4": "10.0.0.0/16"}, ["spec.perNodeHostBits"]),
            ({"perNodeHostBits": "8", "ipv4": "10.0.0.0/16"}, ["spec.perNodeHostBits", "<nil>"]),
            ({"ipv4": "10.0.0.0/16"}, ["spec.perNodeHostBits", "<nil>"]),
            ({"perNodeHostBits": 8}, ["spec"]),
            ({"perNodeHostBits": 8, "ipv4": None}, ["spec"]),
            ({"perNodeHostBits": 8, "ipv4": "2001:db8::/20"}, ["spec.ipv4"]),
            ({"perNodeHostBits": 8, "ipv4": "10.0.0.0/016"}, ["spec.ipv4"]),
            ({"perNodeHostBits": 8, "ipv4": "1" * 50}, ["spec.ipv4", "<nil>"]),
        ],
    )
    def test_creating(self, spec: dict[str, Any], wrong: list[str]) -> None:
        """A ClusterCIDR is refused for each field that breaks the schema, else the rules; null is absent."""

        async def scene(server: APIServer, me: Session) -> Any:
            installed(server)
            return await me.send("POST", POOLS, pool(**spec))

        answer = play(scene)

        assert wrong == ([] if answer[0] == 201 else fields(answer))

    def test_a_message_that_is_computed(self) -> None:
        """What a messageExpression says stands in the answer."""

        async def scene(server: APIServer, me: Session) -> Any:
            installed(server)
            return await me.send("POST", POOLS, pool(perNodeHostBits=17, ipv4="10.0.0.0/16"))

        told = "Invalid value: must be at most 32 minus the prefix length of ipv4 10.0.0.0/16; lower it"
        assert told in play(scene)[1]["message"]

    @pytest.mark.parametrize(
        "change, wrong",
        [
            ({"ipv4": None, "ipv6": "2001:db8::/64"}, ["spec.ipv4", "spec.ipv6"]),
            ({"perNodeHostBits": 9}, ["spec.perNodeHostBits"]),
            ({"ipv6": ""}, []),
            ({"nodeSelector": {"nodeSelectorTerms": []}}, ["spec.nodeSelector"]),
        ],
    )
    def test_what_never_changes(self, change: dict[str, Any], wrong: list[str]) -> None:
        """Transition rules hold the spec; an empty range counts as absent."""

        async def scene(server: APIServer, me: Session) -> Any:
            installed(server)
            await me.send("POST", POOLS, pool(perNodeHostBits=8, ipv4="10.0.0.0/16"))
            return await me.send("PATCH", f"{POOLS}/a", {"spec": change})

        answer = play(scene)

        assert wrong == ([] if answer[0] == 200 else fields(answer))

    def test_removing_the_spec(self) -> None:
        """A rule with optionalOldSelf sees that the spec goes."""

        async def scene(server: APIServer, me: Session) -> Any:
            installed(server)
            await me.send("POST", POOLS, pool(perNodeHostBits=8, ipv4="10.0.0.0/16"))
            return await me.send("PATCH", f"{POOLS}/a", {"spec": None})

        answer = play(scene)

        assert ((422, "Invalid"), ["spec"]) == (reason(answer), fields(answer))

    @pytest.mark.parametrize(
        "spec", [None, {"perNodeHostBits": -1, "ipv4": "x"}, {"perNodeHostBits": 20, "ipv4": "10.0.0.0/16"}]
    )
    def test_ratcheting(self, spec: Any) -> None:
        """Of an object stored under a laxer definition everything but the spec can be changed."""

        async def scene(server: APIServer, me: Session) -> Any:
            installed(server)
            body = pool()
            body |= {"spec": spec} if spec else {}
            server.put({k: v for k, v in body.items() if k != "spec" or spec})
            label = await me.send("PATCH", f"{POOLS}/a", {"metadata": {"labels": {"a": "b"}}})
            status = await me.send("PATCH", f"{POOLS}/a/status", {"status": {"conditions": []}})
            return label[0], status[0], (await me.send("DELETE", f"{POOLS}/a"))[0]

        assert (200, 200, 200) == play(scene)

    def test_unknown_fields(self) -> None:
        """What the schema doesn't know is dropped."""

        async def scene(server: APIServer, me: Session) -> Any:
            installed(server)
            return await me.send("POST", POOLS, pool(perNodeHostBits=8, ipv4="10.0.0.0/16", colour="red"))

        assert {"perNodeHostBits": 8, "ipv4": "10.0.0.0/16"} == play(scene)[1]["spec"]


def test_the_definition_of_the_reference() -> None:
    """It has no status subresource, and a rule of a field that is added doesn't apply."""

    async def scene(server: APIServer, me: Session) -> Any:
        installed(server, REFERENCE)
        created = await me.send("POST", POOLS, pool(perNodeHostBits=8, ipv4="10.0.0.0/16", ipv6=""))
        moved = await me.send("PATCH", f"{POOLS}/a", {"spec": {"ipv4": "10.1.0.0/16"}})
        return created[0], fields(moved), (await me.send("PATCH", f"{POOLS}/a/status", {}))[0]

    assert (201, ["spec.ipv4"], 404) == play(scene)


class TestSchemas:
    @pytest.mark.parametrize(
        "schema, value, right",
        [
            ({"type": "integer", "minimum": 2, "maximum": 4}, 4, True),
            ({"type": "integer", "minimum": 2, "maximum": 4}, 5, False),
            ({"type": "integer"}, True, False),
            ({"type": "number"}, 1.5, True),
            ({"type": "string", "pattern": "^a+$"}, "aa", True),
            ({"type": "string", "pattern": "^a+$"}, "ab", False),
            ({"type": "string", "minLength": 2}, "a", False),
            ({"type": "string", "enum": ["x", "y"]}, "z", False),
            ({"type": "array", "items": {"type": "string"}, "maxItems": 1}, ["a", "b"], False),
            ({"type": "array", "items": {"type": "string"}}, [1], False),
            ({"type": "object", "additionalProperties": {"type": "integer"}}, {"a": "b"}, False),
            ({"type": "string", "nullable": True}, None, True),
            ({"x-kubernetes-int-or-string": True}, "50%", True),
            ({"x-kubernetes-int-or-string": True}, 1.5, False),
        ],
    )
    def test_values(self, schema: Any, value: Any, right: bool) -> None:  # noqa: FBT001 - a parameter
        """Each word of a structural schema is honoured."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.install(definition(type="object", properties={"x": schema}))
            body = {"metadata": {"name": "a"}, "spec": {"x": value}}
            return (await me.send("POST", "/apis/example.com/v1/gadgets", body))[0]

        assert (201 if right else 422) == play(scene)

    def test_defaults(self) -> None:
        """A default stands in for a field that isn't there, also inside what a default has made."""

        async def scene(server: APIServer, me: Session) -> Any:
            inner = {"type": "object", "default": {}, "properties": {"y": {"type": "integer", "default": 3}}}
            server.install(definition(type="object", properties={"x": inner}))
            body = {"metadata": {"name": "a"}, "spec": {}}
            return await me.send("POST", "/apis/example.com/v1/gadgets", body)

        assert {"x": {"y": 3}} == play(scene)[1]["spec"]

    @pytest.mark.parametrize(
        "schema, why",
        [
            ({"type": "object", "x-kubernetes-validations": [{"rule": "self.all(x, x)"}]}, "all"),
            ({"type": "int"}, "'int' is not a type"),
            ({"oneOf": []}, "oneOf"),
        ],
    )
    def test_refused(self, schema: Any, why: str) -> None:
        """A schema that can't be honoured is refused when it is installed."""
        with pytest.raises(ValueError, match=why):
            APIServer().install(definition(**schema))


def test_no_definition() -> None:
    """Another manifest is refused, and said to be what it is."""
    with pytest.raises(ValueError, match="Pod of v1 is no CustomResourceDefinition"):
        APIServer().install({"apiVersion": "v1", "kind": "Pod"})
