from typing import Any

import pytest

from nodeipam.runtime.errors import TransportError

from .target import NODES, PARTIAL_LIST, POOLS, Answered, Object, Server, config_map, node, pool
from .test_updates import OTHER_UID

HELD = "example.com/held"


def options(**given: Any) -> Object:
    """DeleteOptions."""
    return {"apiVersion": "v1", "kind": "DeleteOptions", **given}


async def made(server: Server, name: str = "a", **metadata: Any) -> Answered:
    """A ConfigMap."""
    body = config_map(name)
    body["metadata"] |= metadata
    return await server.create(server.at("configmaps"), body)


class TestAnswer:
    async def test_gone(self, server: Server) -> None:
        """Of what is gone at once a Status tells name, kind and uid."""
        before = await made(server)
        answered = await server.delete(server.at("configmaps", "a"))
        assert ("Status", "Success") == (answered.body["kind"], answered.body["status"])
        assert {"name": "a", "kind": "configmaps", "uid": before.metadata["uid"]} == answered.body["details"]
        assert 404 == (await server.send("GET", server.at("configmaps", "a"))).code

    async def test_with_a_group(self, server: Server) -> None:
        """So it is for a custom kind, with its group."""
        await server.create(POOLS, pool(server.name))
        details = (await server.delete(f"{POOLS}/{server.name}")).body["details"]
        assert ("networking.x-k8s.io", "clustercidrs") == (details["group"], details["kind"])

    async def test_missing(self, server: Server) -> None:
        """What isn't there is 404, whatever the preconditions."""
        body = options(preconditions={"uid": OTHER_UID})
        assert 404 == (await server.send("DELETE", server.at("configmaps", "a"), body)).code


class TestPreconditions:
    async def test_right(self, server: Server) -> None:
        """With the right uid and version it goes."""
        before = await made(server)
        right = {"uid": before.metadata["uid"], "resourceVersion": before.version}
        await server.delete(server.at("configmaps", "a"), body=options(preconditions=right))
        assert 404 == (await server.send("GET", server.at("configmaps", "a"))).code

    @pytest.mark.parametrize("wrong", [{"uid": OTHER_UID}, {"resourceVersion": "1"}], ids=list)
    async def test_wrong(self, server: Server, wrong: Object) -> None:
        """With a wrong one it stays: 409."""
        before = await made(server)
        answered = await server.send("DELETE", server.at("configmaps", "a"), options(preconditions=wrong))
        assert (409, "Conflict") == answered.reason
        assert {"name": "a", "kind": "ConfigMap"} == answered.body["details"]
        assert "in the precondition" in answered.message
        assert before.version == (await server.get(server.at("configmaps", "a"))).version


class TestFinalizers:
    async def test_held(self, server: Server) -> None:
        """With finalizers it stays, with a time and no grace; deleting it again changes nothing."""
        before = await made(server, finalizers=[HELD])
        first = await server.delete(server.at("configmaps", "a"))
        assert int(first.version) > int(before.version)
        assert (0, [HELD]) == (first.metadata["deletionGracePeriodSeconds"], first.metadata["finalizers"])
        assert first.metadata["deletionTimestamp"]
        assert first.version == (await server.delete(server.at("configmaps", "a"))).version

    async def test_generation(self, server: Server) -> None:
        """The deletion of a custom object is a new generation."""
        await server.create(POOLS, pool(server.name, finalizers=[HELD]))
        assert 2 == (await server.delete(f"{POOLS}/{server.name}")).metadata["generation"]

    async def test_released(self, server: Server) -> None:
        """When the last finalizer is taken off it goes; the answer shows it at the version it had."""
        await made(server, finalizers=[HELD])
        path = server.at("configmaps", "a")
        held = await server.delete(path)
        answered = await server.patch(path, {"metadata": {"finalizers": None}})
        assert "finalizers" not in answered.metadata
        assert held.version == answered.version
        assert 404 == (await server.send("GET", path)).code

    async def test_event(self, server: Server) -> None:
        """The watch is told of the last state that was stored, which is the one with the finalizer."""
        await made(server, finalizers=[HELD])
        path = server.at("configmaps", "a")
        held = await server.delete(path)
        await server.patch(path, {"metadata": {"finalizers": None}})
        async with server.watch(server.at("configmaps"), resourceVersion=held.version) as watch:
            event = await watch.event()
        assert event is not None
        assert ("DELETED", [HELD]) == (event["type"], event["object"]["metadata"]["finalizers"])
        assert int(event["object"]["metadata"]["resourceVersion"]) > int(held.version)

    @pytest.mark.parametrize("custom", [False, True], ids=["built-in", "custom"])
    async def test_no_new_ones(self, server: Server, custom: bool) -> None:  # noqa: FBT001
        """What is being deleted gets no other finalizers."""
        if custom:
            await server.create(POOLS, pool(server.name, finalizers=[HELD]))
        else:
            await server.create(NODES, node(server.name, finalizers=[HELD]))
        path = f"{POOLS if custom else NODES}/{server.name}"
        await server.delete(path)
        answered = await server.send("PATCH", path, {"metadata": {"finalizers": [HELD, "example.com/x"]}})
        assert (422, "Invalid") == answered.reason
        assert {("metadata.finalizers", "FieldValueForbidden")} == set(answered.causes)

    async def test_label_while_going(self, server: Server) -> None:
        """What is being deleted may still change."""
        await server.create(NODES, node(server.name, finalizers=[HELD]))
        await server.delete(f"{NODES}/{server.name}")
        answered = await server.patch(f"{NODES}/{server.name}", {"metadata": {"labels": {"a": "b"}}})
        assert "b" == answered.metadata["labels"]["a"]

    @pytest.mark.parametrize(
        "finalizer,custom,code",
        [("bad", False, 422), ("bad", True, 201), ("a b/c", True, 422), ("a b/c", False, 422)],
    )
    async def test_names(
        self,
        server: Server,
        finalizer: str,
        custom: bool,  # noqa: FBT001
        code: int,
    ) -> None:
        """A finalizer is a qualified name; of a custom kind it may lack the domain."""
        path, body = (POOLS, pool) if custom else (NODES, node)
        answered = await server.send("POST", path, body(server.name, finalizers=[finalizer]))
        server.made(f"{path}/{server.name}")
        assert code == answered.code


class TestPropagation:
    @pytest.mark.parametrize("policy,finalizer", [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")])
    async def test_held_by_policy(self, server: Server, policy: str, finalizer: str) -> None:
        """A policy that has the garbage collector see to dependents first is a finalizer."""
        await made(server)
        answered = await server.delete(server.at("configmaps", "a"), propagationPolicy=policy)
        assert [finalizer] == answered.metadata["finalizers"]

    async def test_background(self, server: Server) -> None:
        """In the background there is none."""
        await made(server)
        body = options(propagationPolicy="Background")
        assert "Status" == (await server.delete(server.at("configmaps", "a"), body=body)).body["kind"]

    async def test_later(self, server: Server) -> None:
        """A policy may be given to what is going already."""
        await made(server, finalizers=[HELD])
        await server.delete(server.at("configmaps", "a"))
        answered = await server.delete(server.at("configmaps", "a"), propagationPolicy="Foreground")
        assert [HELD, "foregroundDeletion"] == answered.metadata["finalizers"]

    @pytest.mark.parametrize(
        "given,cause",
        [
            ({"propagationPolicy": "Never"}, ("propagationPolicy", "FieldValueNotSupported")),
            (
                {"propagationPolicy": "Orphan", "orphanDependents": True},
                ("propagationPolicy", "FieldValueInvalid"),
            ),
            ({"dryRun": ["Some"]}, ("dryRun", "FieldValueNotSupported")),
        ],
        ids=["unknown", "both", "dry run"],
    )
    async def test_refused(self, server: Server, given: Object, cause: tuple[str, str]) -> None:
        """What can't be asked for is 422."""
        await made(server)
        answered = await server.send("DELETE", server.at("configmaps", "a"), options(**given))
        assert (422, [cause]) == (answered.code, answered.causes)

    @pytest.mark.parametrize("grace", [0, 30, -1])
    async def test_grace(self, server: Server, grace: int) -> None:
        """A grace period means nothing to a kind that has none."""
        await made(server)
        body = options(gracePeriodSeconds=grace)
        assert "Status" == (await server.delete(server.at("configmaps", "a"), body=body)).body["kind"]

    @pytest.mark.parametrize(
        "body", [b"{", b"[]", b'{"gracePeriodSeconds":"x"}', b'{"kind":"Other","apiVersion":"v1"}']
    )
    async def test_malformed(self, server: Server, body: bytes) -> None:
        """Options that can't be read are 400."""
        await made(server)
        answered = await server.send("DELETE", server.at("configmaps", "a"), body)
        assert (400, "BadRequest") == answered.reason


class TestCollection:
    async def test_selected(self, server: Server) -> None:
        """What a selector selects is deleted and told as it was; what has finalizers waits."""
        for name in "ab":
            await made(server, name, labels={"x": "1"})
        await made(server, "c", labels={"x": "1"}, finalizers=[HELD])
        await made(server, "d")
        answered = await server.delete(server.at("configmaps"), labelSelector="x=1")
        assert "ConfigMapList" == answered.body["kind"]
        assert ["a", "b", "c"] == answered.names
        assert ["c", "d"] == (await server.get(server.at("configmaps"))).names

    async def test_page(self, server: Server) -> None:
        """A limit deletes a page."""
        for name in "ab":
            await made(server, name)
        assert ["a"] == (await server.delete(server.at("configmaps"), limit="1")).names
        assert ["b"] == (await server.get(server.at("configmaps"))).names

    async def test_partial(self, server: Server) -> None:
        """The answer may be metadata alone."""
        await made(server)
        answered = await server.delete(server.at("configmaps"), accept=PARTIAL_LIST)
        assert "PartialObjectMetadataList" == answered.body["kind"]

    async def test_precondition(self, server: Server) -> None:
        """A precondition that doesn't hold is 409."""
        await made(server)
        answered = await server.send(
            "DELETE", server.at("configmaps"), options(preconditions={"uid": OTHER_UID})
        )
        assert (409, "Conflict") == answered.reason

    async def test_everywhere(self, server: Server) -> None:
        """Namespaced objects are deleted in one namespace at a time."""
        assert 405 == (await server.send("DELETE", "/api/v1/configmaps")).code


class TestDryRun:
    @pytest.mark.parametrize("in_body", [False, True], ids=["query", "body"])
    async def test_delete(self, server: Server, in_body: bool) -> None:  # noqa: FBT001
        """A dry DELETE answers as usual, and deletes nothing."""
        before = await made(server)
        path = server.at("configmaps", "a")
        body = options(dryRun=["All"]) if in_body else None
        query = {} if in_body else {"dryRun": "All"}
        assert "Success" == (await server.delete(path, body=body, **query)).body["status"]
        assert before.version == (await server.get(path)).version

    async def test_changes(self, server: Server) -> None:
        """A dry PUT or PATCH shows what would be, at the version that is."""
        before = await made(server)
        path = server.at("configmaps", "a")
        put = await server.send("PUT", path, config_map("a", k="1"), dryRun="All")
        patched = await server.patch(path, {"data": {"k": "2"}}, dryRun="All")
        assert [(200, "1", before.version), (200, "2", before.version)] == [
            (each.code, each.body["data"]["k"], each.version) for each in (put, patched)
        ]
        assert "data" not in (await server.get(path)).body

    async def test_creation(self, server: Server) -> None:
        """A dry POST makes an object without a version; one that can't be made is refused."""
        answered = await server.create(POOLS, pool(server.name), dryRun="All")
        assert "resourceVersion" not in answered.metadata
        assert 404 == (await server.send("GET", f"{POOLS}/{server.name}")).code
        await made(server)
        taken = await server.send("POST", server.at("configmaps"), config_map("a"), dryRun="All")
        assert (409, "AlreadyExists") == taken.reason

    async def test_unknown(self, server: Server) -> None:
        """All is the only dry run there is."""
        answered = await server.send("PATCH", server.at("configmaps", "a"), {}, dryRun="Some")
        assert (422, [("dryRun", "FieldValueNotSupported")]) == (answered.code, answered.causes)


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
class TestLimits:
    @pytest.mark.parametrize("method", ["POST", "PATCH"])
    async def test_large_body(self, server: Server, method: str) -> None:
        """A body over 3 MiB isn't read: 413."""
        path = server.at("configmaps", "" if method == "POST" else "a")
        answered = await server.send(method, path, config_map("a", k="x" * (3 << 20)))
        assert (413, "RequestEntityTooLarge") == answered.reason

    async def test_large_config_map(self, server: Server) -> None:
        """A ConfigMap holds 1 MiB at most."""
        answered = await server.send("POST", server.at("configmaps"), config_map("a", k="x" * (1100 << 10)))
        assert (422, [("[]", "FieldValueTooLong")]) == (answered.code, answered.causes)

    async def test_large_annotations(self, server: Server) -> None:
        """Annotations hold 256 KiB at most."""
        answered = await server.send("POST", NODES, node(server.name, annotations={"a": "x" * (300 << 10)}))
        assert (422, [("metadata.annotations", "FieldValueTooLong")]) == (answered.code, answered.causes)

    async def test_out_of_time(self, server: Server) -> None:
        """A request with too little time is 504, or closed without an answer, whatever became of it."""
        try:
            answered = await server.send("POST", server.at("configmaps"), config_map("a"), timeout="1ms")
        except TransportError:
            return
        assert (504, "Timeout") == answered.reason

    async def test_no_duration(self, server: Server) -> None:
        """A timeout that is no duration is 400."""
        answered = await server.send("POST", server.at("configmaps"), config_map("a"), timeout="x")
        assert (400, "BadRequest") == answered.reason

    async def test_made_name(self, server: Server) -> None:
        """A made name has five characters of an alphabet without vowels; a long prefix is cut to 58."""
        body = config_map("")
        body["metadata"] = {"generateName": "a" * 80}
        name = (await server.create(server.at("configmaps"), body)).metadata["name"]
        assert "a" * 58 == name[:-5]
        assert set(name[-5:]) <= set("bcdfghjklmnpqrstvwxz2456789")
