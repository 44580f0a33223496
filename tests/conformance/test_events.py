from typing import Any

import pytest

from .target import Object, Server

WHEN = "2026-01-01T00:00:00.000000Z"


def about(server: Server) -> Object:
    """A reference to a Lease in the test's namespace."""
    return {"kind": "Lease", "name": "x", "namespace": server.namespace}


def core(server: Server, **fields: Any) -> Object:
    """An Event of v1."""
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "a"},
        "involvedObject": about(server),
        "reason": "Because",
        "message": "It is so",
        "type": "Warning",
        "source": {"component": "me"},
        "firstTimestamp": "1999-01-01T00:00:00Z",
        "lastTimestamp": "1999-01-01T00:00:00Z",
        "count": 5,
    } | fields


def new(server: Server, **fields: Any) -> Object:
    """An Event of events.k8s.io/v1."""
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "a"},
        "regarding": about(server),
        "reason": "Because",
        "action": "Doing",
        "note": "It is so",
        "type": "Normal",
        "reportingController": "example.com/me",
        "reportingInstance": "me-1",
        "eventTime": WHEN,
    } | fields


def places(server: Server) -> tuple[str, str]:
    """The two collections."""
    return server.at("events"), server.at("events", group="events.k8s.io/v1")


class TestForms:
    async def test_core_as_new(self, server: Server) -> None:
        """An Event of v1 is one of events.k8s.io/v1 too: same uid and version, other names."""
        old_path, new_path = places(server)
        made = await server.create(old_path, core(server))
        found = await server.get(f"{new_path}/a")
        assert made.metadata == found.metadata
        assert ("It is so", about(server), 5, "Because") == (
            *(found.body["note"], found.body["regarding"], found.body["deprecatedCount"]),
            found.body["reason"],
        )
        assert {"component": "me"} == found.body["deprecatedSource"]

    async def test_new_as_core(self, server: Server) -> None:
        """So it is the other way round."""
        old_path, new_path = places(server)
        made = await server.create(new_path, new(server, series={"count": 3, "lastObservedTime": WHEN}))
        found = await server.get(f"{old_path}/a")
        assert made.version == found.version
        assert ("It is so", about(server), "example.com/me", WHEN, 3) == (
            *(found.body["message"], found.body["involvedObject"], found.body["reportingComponent"]),
            *(found.body["eventTime"], found.body["series"]["count"]),
        )

    async def test_watch(self, server: Server) -> None:
        """What is written in one form is told in the other."""
        old_path, new_path = places(server)
        version = (await server.get(old_path)).version
        await server.create(new_path, new(server))
        await server.patch(f"{new_path}/a", {"series": {"count": 2, "lastObservedTime": WHEN}})
        await server.delete(f"{new_path}/a")
        async with server.watch(old_path, resourceVersion=version) as watch:
            assert [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")] == [
                await watch.seen() for _ in range(3)
            ]

    async def test_selected(self, server: Server) -> None:
        """Both can be selected by what they are about, under its name in each form."""
        old_path, new_path = places(server)
        await server.create(new_path, new(server))
        for path, selector in (
            (old_path, "involvedObject.name=x,reason=Because"),
            (old_path, "source=example.com/me"),
            (new_path, "regarding.kind=Lease,type=Normal"),
            (new_path, "reportingController=example.com/me"),
        ):
            assert ["a"] == (await server.get(path, fieldSelector=selector)).names
        assert [] == (await server.get(old_path, fieldSelector="involvedObject.name=y")).names

    @pytest.mark.parametrize("selector", ["involvedObject.name=x", "source=me"])
    async def test_names_of_the_other(self, server: Server, selector: str) -> None:
        """But not under that of the other form."""
        answered = await server.send("GET", places(server)[1], fieldSelector=selector)
        assert (400, "BadRequest") == answered.reason


class TestRefusal:
    @pytest.mark.parametrize("field", ["reason", "action", "reportingInstance", "eventTime"])
    async def test_missing(self, server: Server, field: str) -> None:
        """One of events.k8s.io tells who did what, when and why."""
        body = new(server)
        del body[field]
        answered = await server.send("POST", places(server)[1], body)
        assert (422, [(field, "FieldValueRequired")]) == (answered.code, answered.causes)

    @pytest.mark.parametrize(
        "fields,where",
        [
            ({"type": "Bad"}, "type"),
            ({"reportingController": "a b"}, "reportingController"),
            ({"reason": "r" * 129}, "reason"),
            ({"action": "r" * 129}, "action"),
            ({"note": "r" * 1025}, "message"),
            ({"series": {"count": 1, "lastObservedTime": WHEN}}, "series.count"),
            ({"deprecatedCount": 2}, "count"),
            ({"regarding": {"kind": "Node", "name": "n"}}, "involvedObject.namespace"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    async def test_bad(self, server: Server, fields: Object, where: str) -> None:
        """And it keeps within bounds."""
        answered = await server.send("POST", places(server)[1], new(server, **fields))
        assert (422, [(where, "FieldValueInvalid")]) == (answered.code, answered.causes)

    async def test_immutable(self, server: Server) -> None:
        """Nothing of it changes but the series."""
        path = places(server)[1]
        await server.create(path, new(server))
        answered = await server.send("PATCH", f"{path}/a", {"note": "It was so"})
        assert (422, [("message", "FieldValueInvalid")]) == (answered.code, answered.causes)
        await server.patch(f"{path}/a", {"series": {"count": 2, "lastObservedTime": WHEN}})

    async def test_core(self, server: Server) -> None:
        """One of v1 may be of any type, but lies where its object is, or in "default"."""
        path = places(server)[0]
        await server.create(path, core(server, type="Bad"))
        answered = await server.send("POST", path, core(server, involvedObject={"kind": "Node", "name": "n"}))
        assert (422, [("involvedObject.namespace", "FieldValueInvalid")]) == (answered.code, answered.causes)

    async def test_of_a_node(self, server: Server) -> None:
        """What is about a Node lies in "default"."""
        body = core(server, involvedObject={"kind": "Node", "name": "n"}, metadata={"name": server.name})
        await server.create("/api/v1/namespaces/default/events", body)
