import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from .target import Object, Server

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SCHEMA: Object = {
    "type": "object",
    "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
}


def definition(plural: str, *, name: str = "", **version: Any) -> Object:
    """A CustomResourceDefinition of example.com/v1."""
    served = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name or f"{plural}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": plural.capitalize()},
            "versions": [served | version],
        },
    }


async def served(server: Server, path: str, *, code: int = 200) -> None:
    """Wait until a path answers so: a definition is in force some moments after it is written."""
    while (await server.send("GET", path)).code != code:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.05)


@asynccontextmanager
async def kind(server: Server) -> AsyncIterator[tuple[str, str, str]]:
    """A custom kind that is served: the path of its definition, that of its objects, and its name."""
    plural = f"x{server.name.replace('-', '')}"
    await server.create(DEFINITIONS, definition(plural))
    path = server.at(plural, group="example.com/v1")
    await served(server, path)
    yield f"{DEFINITIONS}/{plural}.example.com", path, plural.capitalize()


def made(kind: str, **spec: Any) -> Object:
    """A custom object."""
    return {"apiVersion": "example.com/v1", "kind": kind, "metadata": {"name": "a"}, "spec": spec}


class TestDefinition:
    async def test_completed(self, server: Server) -> None:
        """A definition is completed: names, conversion, generation."""
        async with kind(server) as (path, _, name):
            found = await server.get(path)
        assert {
            "plural": name.lower(),
            "singular": name.lower(),
            "kind": name,
            "listKind": f"{name}List",
        } == (found.body["spec"]["names"])
        assert ({"strategy": "None"}, 1) == (found.body["spec"]["conversion"], found.metadata["generation"])

    async def test_established(self, server: Server) -> None:
        """Its status says that it is in force."""
        async with kind(server) as (path, _, name):
            found = (await server.get(path)).body["status"]
        assert {"NamesAccepted": "True", "Established": "True"} == {
            each["type"]: each["status"] for each in found["conditions"]
        }
        assert (name, ["v1"]) == (found["acceptedNames"]["kind"], found["storedVersions"])

    async def test_objects(self, server: Server) -> None:
        """From then on there are objects of its kind, by its schema."""
        async with kind(server) as (_, path, name):
            answered = await server.create(path, made(name, size=1, colour="red"))
            assert {"size": 1} == answered.body["spec"]
            assert 422 == (await server.send("POST", path, made(name, size="big"))).code

    async def test_change(self, server: Server) -> None:
        """A changed definition is a new generation, and comes into force."""
        async with kind(server) as (path, objects, name):
            patch = [{"op": "add", "path": "/spec/versions/0/subresources", "value": {"status": {}}}]
            await server.create(objects, made(name))
            assert 2 == (await server.patch(path, patch, patch="json")).metadata["generation"]
            await served(server, f"{objects}/a/status")

    async def test_deletion(self, server: Server) -> None:
        """With the definition its objects go: each is told as DELETED, and the path isn't served any more."""
        async with kind(server) as (path, objects, name):
            version = (await server.create(objects, made(name))).version
            async with server.watch(objects, resourceVersion=version) as watch:
                await server.delete(path)
                assert ("DELETED", "a") == await watch.seen()
                assert await watch.event() is None
            await served(server, objects, code=404)
            await served(server, path, code=404)

    async def test_watch_from_before(self, server: Server) -> None:
        """What was before the definition can't be watched from: an ERROR event with code 410."""
        async with kind(server) as (_, path, _), server.watch(path, resourceVersion="1") as watch:
            event = await watch.event()
            assert event is not None
            assert ("ERROR", 410, "Expired") == (
                event["type"],
                event["object"]["code"],
                event["object"]["reason"],
            )
            assert "too old resource version: 1 (" in event["object"]["message"]
            assert await watch.event() is None


class TestRefusal:
    async def test_name(self, server: Server) -> None:
        """Its name is plural and group."""
        answered = await server.send("POST", DEFINITIONS, definition("things", name="x.example.com"))
        assert (422, "Invalid") == answered.reason
        assert [("metadata.name", "FieldValueInvalid")] == answered.causes

    async def test_without_schema(self, server: Server) -> None:
        """A version needs a schema."""
        answered = await server.send("POST", DEFINITIONS, definition("things", schema=None))
        assert (422, "Invalid") == answered.reason

    async def test_rule(self, server: Server) -> None:
        """A rule that can't be compiled is refused."""
        schema = SCHEMA | {"x-kubernetes-validations": [{"rule": "self.spec ==="}]}
        answered = await server.send(
            "POST", DEFINITIONS, definition("things", schema={"openAPIV3Schema": schema})
        )
        assert (422, "Invalid") == answered.reason

    async def test_again(self, server: Server) -> None:
        """There is one of each name."""
        async with kind(server) as (_, _, name):
            answered = await server.send("POST", DEFINITIONS, definition(name.lower()))
            assert (409, "AlreadyExists") == answered.reason
