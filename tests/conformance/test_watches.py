from typing import ClassVar

import pytest

from .target import PARTIAL, POOLS, Object, Server, config_map, pool

FUTURE = str(1 << 50)


async def begin(server: Server, path: str) -> str:
    """The version of a collection as it is."""
    return (await server.get(path)).version


def told(event: Object | None) -> tuple[str, str, Object]:
    """Type, name and labels of an event."""
    assert event is not None
    metadata = event["object"]["metadata"]
    return event["type"], metadata["name"], metadata.get("labels", {})


class TestBeginning:
    async def test_from_a_version(self, server: Server) -> None:
        """A watch from a version tells what happened after it, in order, and goes on."""
        path = server.at("configmaps")
        await server.create(path, config_map("before"))
        version = await begin(server, path)
        await server.create(path, config_map("after"))
        async with server.watch(path, resourceVersion=version) as watch:
            assert ("ADDED", "after") == await watch.seen()
            await server.create(path, config_map("later"))
            assert ("ADDED", "later") == await watch.seen()

    @pytest.mark.parametrize("version", ["", "0"])
    async def test_from_now(self, server: Server, version: str) -> None:
        """Without a version, and from "0", a watch begins with what is there."""
        path = server.at("configmaps")
        await server.create(path, config_map("a"))
        await begin(server, path)
        async with server.watch(path, resourceVersion=version) as watch:
            assert ("ADDED", "a") == await watch.seen()
            await server.create(path, config_map("b"))
            assert ("ADDED", "b") == await watch.seen()

    async def test_from_the_future(self, server: Server) -> None:
        """A watch from a version that isn't there yet is open and silent: no events, no bookmarks."""
        path = server.at("configmaps")
        query = {"resourceVersion": FUTURE, "allowWatchBookmarks": "true", "timeoutSeconds": "4"}
        async with server.watch(path, **query) as watch:
            await server.create(path, config_map("a"))
            assert await watch.event() is None

    async def test_no_number(self, server: Server) -> None:
        """A version that is no number is refused."""
        answered = await server.send("GET", server.at("configmaps"), watch="1", resourceVersion="x")
        assert 500 == answered.code

    async def test_one_object(self, server: Server) -> None:
        """A watch by name tells of that object alone."""
        path = server.at("configmaps")
        version = await begin(server, path)
        await server.create(path, config_map("other"))
        await server.create(path, config_map("mine"))
        query = {"resourceVersion": version, "fieldSelector": "metadata.name=mine"}
        async with server.watch(path, **query) as watch:
            assert ("ADDED", "mine") == await watch.seen()


class TestEvents:
    async def test_a_life(self, server: Server) -> None:
        """A life is ADDED, MODIFIED, DELETED; each event carries the object whole, at its version."""
        path = server.at("configmaps")
        version = await begin(server, path)
        made = await server.create(path, config_map("a"))
        changed = await server.patch(f"{path}/a", {"data": {"k": "v"}})
        await server.delete(f"{path}/a")
        async with server.watch(path, resourceVersion=version) as watch:
            assert {"type": "ADDED", "object": made.body} == await watch.event()
            assert {"type": "MODIFIED", "object": changed.body} == await watch.event()
            last = await watch.event()
        assert last is not None
        assert "DELETED" == last["type"]
        assert int(last["object"]["metadata"]["resourceVersion"]) > int(changed.version)
        last["object"]["metadata"]["resourceVersion"] = changed.version
        assert changed.body == last["object"]

    async def test_a_custom_life(self, server: Server) -> None:
        """So it is for a custom resource."""
        mine = {"fieldSelector": f"metadata.name={server.name}"}
        version = await begin(server, POOLS)
        made = await server.create(POOLS, pool(server.name))
        await server.delete(f"{POOLS}/{server.name}")
        async with server.watch(POOLS, resourceVersion=version, **mine) as watch:
            assert {"type": "ADDED", "object": made.body} == await watch.event()
            assert ("DELETED", server.name) == await watch.seen()

    async def test_selector_transitions(self, server: Server) -> None:
        """What comes under a selector is ADDED; what leaves it is DELETED, shown as it was when selected."""
        path = server.at("configmaps")
        version = await begin(server, path)
        await server.create(path, config_map("a"))
        await server.patch(f"{path}/a", {"metadata": {"labels": {"x": "1"}}})
        await server.patch(f"{path}/a", {"metadata": {"labels": {"y": "2"}}})
        left = await server.patch(f"{path}/a", {"metadata": {"labels": {"x": None}}})
        await server.delete(f"{path}/a")
        await server.create(path, config_map("end", labels={"x": "1"}))
        async with server.watch(path, resourceVersion=version, labelSelector="x=1") as watch:
            assert ("ADDED", "a", {"x": "1"}) == told(await watch.event())
            assert ("MODIFIED", "a", {"x": "1", "y": "2"}) == told(await watch.event())
            gone = await watch.event()
            assert ("DELETED", "a", {"x": "1", "y": "2"}) == told(gone)
            assert gone is not None
            assert left.version == gone["object"]["metadata"]["resourceVersion"]
            assert ("ADDED", "end", {"x": "1"}) == told(await watch.event())

    async def test_partial(self, server: Server) -> None:
        """A watch of metadata alone carries PartialObjectMetadata."""
        path = server.at("configmaps")
        version = await begin(server, path)
        await server.create(path, config_map("a", key="value"))
        async with server.watch(path, accept=PARTIAL, resourceVersion=version) as watch:
            event = await watch.event()
        assert event is not None
        assert {"kind", "apiVersion", "metadata"} == event["object"].keys()
        assert ("PartialObjectMetadata", "meta.k8s.io/v1") == (
            event["object"]["kind"],
            event["object"]["apiVersion"],
        )


class TestEnds:
    async def test_timeout(self, server: Server) -> None:
        """The server ends a watch after `timeoutSeconds`, cleanly."""
        path = server.at("configmaps")
        async with server.watch(path, timeoutSeconds="1", resourceVersion=await begin(server, path)) as watch:
            assert await watch.event() is None


class TestInitialEvents:
    OPTIONS: ClassVar = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }

    @pytest.mark.parametrize("path", ["configmaps", "pools"])
    async def test_end(self, server: Server, path: str) -> None:
        """A streamed list ends with a bookmark that is annotated, names its kind, and nothing else."""
        if path == "pools":
            path, kind = POOLS, ("ClusterCIDR", "networking.x-k8s.io/v1")
            await server.create(path, pool(server.name))
        else:
            path, kind = server.at("configmaps"), ("ConfigMap", "v1")
            await server.create(path, config_map(server.name))
        query = {"fieldSelector": f"metadata.name={server.name}", **self.OPTIONS}
        async with server.watch(path, **query) as watch:
            assert ("ADDED", server.name) == await watch.seen()
            event = await watch.event()
        assert event is not None
        assert "BOOKMARK" == event["type"]
        assert kind == (event["object"]["kind"], event["object"]["apiVersion"])
        metadata = event["object"]["metadata"]
        assert {"k8s.io/initial-events-end": "true"} == metadata["annotations"]
        assert metadata["resourceVersion"].isdecimal()
        assert {"resourceVersion", "annotations"} == metadata.keys() - {"creationTimestamp"}

    async def test_goes_on(self, server: Server) -> None:
        """After the initial events it is a watch like any other."""
        path = server.at("configmaps")
        async with server.watch(path, **self.OPTIONS) as watch:
            end = await watch.event()
            assert end is not None
            assert "BOOKMARK" == end["type"]
            await server.create(path, config_map("a"))
            assert ("ADDED", "a") == await watch.seen()

    async def test_from_a_version(self, server: Server) -> None:
        """With a version it shows what is there now, at least as new as that."""
        path = server.at("configmaps")
        await server.create(path, config_map("a"))
        made = await server.create(path, config_map("b"))
        async with server.watch(path, resourceVersion=made.version, **self.OPTIONS) as watch:
            assert [("ADDED", "a"), ("ADDED", "b")] == [await watch.seen(), await watch.seen()]

    async def test_off(self, server: Server) -> None:
        """With `sendInitialEvents=false` a watch begins with what happens from now on."""
        path = server.at("configmaps")
        await server.create(path, config_map("a"))
        await begin(server, path)
        query = {**self.OPTIONS, "sendInitialEvents": "false"}
        async with server.watch(path, **query) as watch:
            await server.create(path, config_map("b"))
            event = await watch.event()
            while event is not None and event["type"] == "BOOKMARK":
                event = await watch.event()
            assert ("ADDED", "b", {}) == told(event)

    @pytest.mark.parametrize(
        "query,field",
        [
            ({"sendInitialEvents": "true"}, "resourceVersionMatch"),
            ({"sendInitialEvents": "true", "resourceVersionMatch": "Exact"}, "resourceVersionMatch"),
            ({"resourceVersionMatch": "NotOlderThan"}, "resourceVersionMatch"),
        ],
        ids=["no match", "exact", "match alone"],
    )
    async def test_contradictions(self, server: Server, query: dict[str, str], field: str) -> None:
        """Options that contradict each other are refused, with the field."""
        answered = await server.send("GET", server.at("configmaps"), watch="1", **query)
        assert (422, "Invalid") == answered.reason
        assert field in [where for where, _ in answered.causes]
