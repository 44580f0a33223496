from __future__ import annotations

import random
from typing import Any

import pytest

from nodeipam.runtime.errors import Cause, TransportError
from nodeipam.runtime.transport import Call
from nodeipam.testing import APIServer

from .session import LEASES, NODES, PARTIAL, WIDGETS, Session, fields, node, play, reason, story, widget


class TestCreating:
    def test_taken_name(self) -> None:
        """Creating under a taken name is a 409 AlreadyExists, not a Conflict."""

        async def scene(server: APIServer, me: Session) -> Any:
            created = await me.send("POST", NODES, node("a"))
            return created[0], await me.send("POST", NODES, node("a"))

        created, again = play(scene)

        assert (201, (409, "AlreadyExists")) == (created, reason(again))

    def test_system_fields(self) -> None:
        """The server sets uid, time and the first generation, whatever the client says."""

        async def scene(server: APIServer, me: Session) -> Any:
            body = widget("w", size=1) | {"status": {"ready": True}}
            body["metadata"] |= {"uid": "mine", "generation": 7, "deletionTimestamp": "2020-01-01T00:00:00Z"}
            return await me.send("POST", WIDGETS, body)

        body = play(scene)[1]

        assert "mine" != body["metadata"]["uid"]
        assert (1, None) == (body["metadata"]["generation"], body["metadata"].get("deletionTimestamp"))
        assert "status" not in body

    def test_generated_names(self) -> None:
        """A generateName makes a new name each time; no name at all is a 422 on metadata.name."""

        async def scene(server: APIServer, me: Session) -> Any:
            body = {"metadata": {"generateName": "n-"}}
            names = [(await me.send("POST", NODES, body))[1]["metadata"]["name"] for _ in range(2)]
            return names, await me.send("POST", NODES, {"metadata": {}})

        names, nameless = play(scene)

        assert 2 == len(set(names))
        assert all(name.startswith("n-") for name in names)
        assert (422, ["metadata.name"]) == (nameless[0], fields(nameless))

    @pytest.mark.parametrize(
        "body", [b"<html>", b"[1]", node("a") | {"kind": "Pod"}, {"metadata": {"name": "a", "labels": [1]}}]
    )
    def test_malformed_bodies(self, body: Any) -> None:
        """What is no JSON object of the right kind is a 400."""

        async def scene(server: APIServer, me: Session) -> Any:
            return await me.send("POST", NODES, body)

        assert (400, "BadRequest") == reason(play(scene))

    def test_wrong_verbs_and_types(self) -> None:
        """POST on an object is a 405, a content type that isn't read a 415."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a"))
            patch = await me.send("PATCH", f"{NODES}/a", {}, content_type="application/apply-patch+yaml")
            return await me.send("POST", f"{NODES}/a", node("a")), patch

        verb, media = play(scene)

        assert [(405, "MethodNotAllowed"), (415, "UnsupportedMediaType")] == [reason(verb), reason(media)]

    def test_own_validation(self) -> None:
        """A custom resource may bring its own validation, whose causes come back in a 422."""

        async def scene(server: APIServer, me: Session) -> Any:
            def positive(old: Any, new: Any) -> list[Cause]:
                return (
                    [] if new["spec"]["n"] > 0 else [Cause("FieldValueInvalid", "must be positive", "spec.n")]
                )

            server.register("example.com/v1", "Gadget", "gadgets", namespaced=False, validate=positive)
            body = {"metadata": {"name": "g"}, "spec": {"n": 0}}
            return await me.send("POST", "/apis/example.com/v1/gadgets", body)

        answer = play(scene)

        assert (422, ["spec.n"]) == (answer[0], fields(answer))
        assert 'Gadget.example.com "g" is invalid: spec.n: must be positive' == answer[1]["message"]


class TestPatching:
    def test_changes_and_removes(self) -> None:
        """A merge patch sets what it names, removes what it gives as null, and leaves the rest."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put({**node("a"), "metadata": {"name": "a", "labels": {"x": "1", "y": "1"}}})
            return await me.send("PATCH", f"{NODES}/a", {"metadata": {"labels": {"x": None, "z": "1"}}})

        assert {"y": "1", "z": "1"} == play(scene)[1]["metadata"]["labels"]

    def test_nothing_changed(self) -> None:
        """A patch that changes nothing is a 200 that leaves the version and wakes no watch."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a", podCIDR="10.0.0.0/24"))
            before = server.version
            patch = {"spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]}}
            return (await me.send("PATCH", f"{NODES}/a", patch))[0], server.version - before

        assert (200, 0) == play(scene)

    def test_wrong_uid(self) -> None:
        """Another uid is a 422 with the cause metadata.uid, and nothing is written."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a"))
            patch = {"metadata": {"uid": "another", "labels": {"x": "1"}}}
            return await me.send("PATCH", f"{NODES}/a", patch), server.get("nodes", "a")

        answer, stored = play(scene)

        assert ((422, "Invalid"), ["metadata.uid"]) == (reason(answer), fields(answer))
        assert "labels" not in stored["metadata"]

    def test_stale_version(self) -> None:
        """A stale resourceVersion is a 409 Conflict, also where the uid is wrong as well."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a"))
            metadata = {"uid": "another", "resourceVersion": "1"}
            return await me.send("PATCH", f"{NODES}/a", {"metadata": metadata})

        assert (409, "Conflict") == reason(play(scene))

    def test_answer_as_metadata(self) -> None:
        """The answer to a patch can be asked for as PartialObjectMetadata."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a"))
            patch = {"spec": {"podCIDR": "10.0.0.0/24"}}
            return await me.send("PATCH", f"{NODES}/a", patch, accept=PARTIAL)

        assert {"kind", "apiVersion", "metadata"} == set(play(scene)[1])

    def test_status_apart(self) -> None:
        """Only the status subresource changes the status, and nothing else; only spec is a generation."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(widget("w", size=1))
            body = {"metadata": {"labels": {"x": "1"}}, "spec": {"size": 2}, "status": {"ready": True}}
            by_status = (await me.send("PATCH", f"{WIDGETS}/w/status", body))[1]
            body["status"] = {"ready": False}
            return by_status, (await me.send("PATCH", f"{WIDGETS}/w", body))[1]

        by_status, by_spec = play(scene)

        assert ({"size": 1}, {"ready": True}, 1) == (
            by_status["spec"],
            by_status["status"],
            by_status["metadata"]["generation"],
        )
        assert "labels" not in by_status["metadata"]
        assert ({"size": 2}, {"ready": True}, 2) == (
            by_spec["spec"],
            by_spec["status"],
            by_spec["metadata"]["generation"],
        )


class TestReplacing:
    def test_version_must_be_right(self) -> None:
        """A Lease is replaced with the right version only: a stale one is a 409, none a 422."""

        async def scene(server: APIServer, me: Session) -> Any:
            body = {"metadata": {"name": "l", "namespace": "kube-system"}, "spec": {"holderIdentity": "a"}}
            lease = (await me.send("POST", LEASES, body))[1]
            first = await me.send("PUT", f"{LEASES}/l", lease | {"spec": {"holderIdentity": "b"}})
            stale = await me.send("PUT", f"{LEASES}/l", lease)
            return first, stale, await me.send("PUT", f"{LEASES}/l", body)

        first, stale, blind = play(scene)

        assert (200, "b") == (first[0], first[1]["spec"]["holderIdentity"])
        assert (409, "Conflict") == reason(stale)
        assert (422, ["metadata.resourceVersion"]) == (blind[0], fields(blind))

    def test_creates_a_lease(self) -> None:
        """PUT makes a Lease that isn't there; with a uid in it that is a 409; and a Node is a 404."""

        async def scene(server: APIServer, me: Session) -> Any:
            metadata = {"name": "l", "namespace": "kube-system", "resourceVersion": "7"}
            held = await me.send("PUT", f"{LEASES}/l", {"metadata": metadata | {"uid": "gone"}})
            made = await me.send("PUT", f"{LEASES}/l", {"metadata": metadata})
            return held, made, await me.send("PUT", f"{NODES}/a", node("a"))

        held, made, missing = play(scene)

        assert ((409, "Conflict"), 201, (404, "NotFound")) == (reason(held), made[0], reason(missing))

    def test_unconditional(self) -> None:
        """A Node may be replaced without a version, by its own name only."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a"))
            taken = await me.send("PUT", f"{NODES}/a", node("a", unschedulable=True))
            return taken, await me.send("PUT", f"{NODES}/a", node("b"))

        taken, misnamed = play(scene)

        assert (200, {"unschedulable": True}) == (taken[0], taken[1]["spec"])
        assert (400, "BadRequest") == reason(misnamed)


class TestDeleting:
    def test_at_once(self) -> None:
        """Without finalizers an object goes at once, and the answer is a Status of success."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a"))
            return await me.send("DELETE", f"{NODES}/a"), server.nodes()

        (status, body), nodes = play(scene)

        assert (200, "Success", []) == (status, body["status"], nodes)

    def test_finalizers(self) -> None:
        """With a finalizer it stays, terminating, one generation on, until the last one is taken away."""

        async def scene(server: APIServer, me: Session) -> Any:
            obj = widget("w")
            obj["metadata"]["finalizers"] = ["example.com/x"]
            server.put(obj)
            async with me.watch(WIDGETS, resourceVersion=str(server.version)) as answer:
                waiting = (await me.send("DELETE", f"{WIDGETS}/w"))[1]
                again = (await me.send("DELETE", f"{WIDGETS}/w"))[1]
                more = {"metadata": {"finalizers": ["example.com/x", "example.com/y"]}}
                refused = await me.send("PATCH", f"{WIDGETS}/w", more)
                last = await me.send("PATCH", f"{WIDGETS}/w", {"metadata": {"finalizers": None}})
                return (
                    waiting,
                    again,
                    refused,
                    last[0],
                    await story(answer, 2),
                    server.objects("widgets.example.com"),
                )

        waiting, again, refused, last, told, left = play(scene)

        assert "deletionTimestamp" in waiting["metadata"]
        assert (2, waiting) == (waiting["metadata"]["generation"], again)
        assert (422, {"metadata.finalizers"}) == (refused[0], set(fields(refused)))
        assert (200, [("MODIFIED", "w"), ("DELETED", "w")], []) == (last, told, left)

    @pytest.mark.parametrize("precondition", [{"uid": "another"}, {"resourceVersion": "1"}])
    def test_preconditions(self, precondition: dict[str, str]) -> None:
        """A deletion whose precondition fails is a 409, and the object stays."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a"))
            answer = await me.send("DELETE", f"{NODES}/a", {"preconditions": precondition})
            return answer, len(server.nodes())

        answer, left = play(scene)

        assert ((409, "Conflict"), 1) == (reason(answer), left)

    def test_custom_resource_withdrawn(self) -> None:
        """Unregistering a custom resource deletes its objects, ends its watches, and leaves a 404."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(widget("w"))
            async with me.watch(WIDGETS, resourceVersion=str(server.version)) as answer:
                server.unregister("widgets.example.com")
                told = await story(answer, 1), await answer.readline(100)
            async with me.transport.open(Call(method="GET", path=WIDGETS, timeout=1.0)) as answer:
                return told, answer.status

        assert (([("DELETED", "w")], b""), 404) == play(scene)


class TestTime:
    @pytest.mark.parametrize(
        "timeout,closed", [("1ms", True), ("4.9ms", True), ("5ms", False), ("1m1s", False)]
    )
    def test_too_little(self, timeout: str, closed: bool) -> None:  # noqa: FBT001
        """A request with less than 5 ms is carried out, and closed without an answer."""

        async def scene(server: APIServer, me: Session) -> Any:
            try:
                await me.send("POST", NODES, node("a"), timeout=timeout)
            except TransportError:
                return True, len(server.nodes())
            return False, len(server.nodes())

        assert (closed, 1) == play(scene)


class TestMadeNames:
    def test_are_the_same_in_every_run(self) -> None:
        """Names are drawn from the server's own randomness, or from that which the test gives it."""

        def names(*servers: APIServer) -> list[str]:
            for server in servers:
                call = Call(method="POST", path=NODES, headers=HEADERS, body=BODY, timeout=1.0)
                server.handle(call, "me")
            return [server.nodes()[0]["metadata"]["name"] for server in servers]

        one, same, other = names(APIServer(), APIServer(), APIServer(rng=random.Random(7)))

        assert one == same
        assert one != other

    def test_that_are_taken_are_made_anew(self) -> None:
        """A name that somebody has isn't given a second time."""
        server = APIServer(rng=Stubborn())
        for _ in range(2):
            server.handle(Call(method="POST", path=NODES, headers=HEADERS, body=BODY, timeout=1.0), "me")

        assert ["n-bbbbb", "n-ccccc"] == [node["metadata"]["name"] for node in server.nodes()]


BODY = b'{"metadata":{"generateName":"n-"}}'
HEADERS = {"Content-Type": "application/json"}


class Stubborn(random.Random):
    """Chooses the same some times over, before it chooses something else."""

    drawn = 0

    def choices(self, population: Any, *args: Any, **options: Any) -> list[Any]:
        """Five of a kind."""
        self.drawn += 1
        return [population[self.drawn // 5]] * 5
