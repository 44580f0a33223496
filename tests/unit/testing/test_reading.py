from __future__ import annotations

from typing import Any

import pytest

from nodeipam.runtime.transport import Call
from nodeipam.testing import APIServer

from .session import NODES, PARTIAL, PARTIAL_LIST, Session, node, play, reason


class TestReading:
    def test_get(self) -> None:
        """An object comes with its kind, a uid, a version and its time of creation."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a"))
            return await me.send("GET", f"{NODES}/a")

        status, body = play(scene)

        assert (200, "Node", "v1") == (status, body["kind"], body["apiVersion"])
        assert {"name", "uid", "resourceVersion", "creationTimestamp"} == set(body["metadata"])

    def test_get_what_is_not_there(self) -> None:
        """A missing object is a 404 with a Status, a path that isn't served one without."""

        async def scene(server: APIServer, me: Session) -> Any:
            call = Call(method="GET", path="/apis/example.com/v9/widgets", timeout=1.0)
            async with me.transport.open(call) as answer:
                unserved = answer.status, await answer.read(100)
            return await me.send("GET", f"{NODES}/a"), unserved

        missing, unserved = play(scene)

        assert (404, "NotFound") == reason(missing)
        assert 'nodes "a" not found' == missing[1]["message"]
        assert (404, b"404 page not found\n") == unserved

    def test_pages_show_one_state(self) -> None:
        """All pages of a list show the state in which the first was taken, whatever is written meanwhile."""

        async def scene(server: APIServer, me: Session) -> Any:
            for name in "abcde":
                server.put(node(name))
            pages = [(await me.send("GET", NODES, limit="2"))[1]]
            server.delete("nodes", "d")
            server.put(node("c", podCIDR="10.0.0.0/24"))
            server.put(node("bb"))
            while token := pages[-1]["metadata"].get("continue"):
                page = await me.send("GET", NODES, limit="2", **{"continue": token})
                pages.append(page[1])
            return pages

        pages = play(scene)

        assert [["a", "b"], ["c", "d"], ["e"]] == [[o["metadata"]["name"] for o in p["items"]] for p in pages]
        assert 1 == len({page["metadata"]["resourceVersion"] for page in pages})
        assert [3, 1, None] == [page["metadata"].get("remainingItemCount") for page in pages]
        assert "spec" not in pages[1]["items"][0]

    def test_page_after_compaction(self) -> None:
        """A continue token whose version was compacted is answered 410 Expired."""

        async def scene(server: APIServer, me: Session) -> Any:
            for name in "abc":
                server.put(node(name))
            token = (await me.send("GET", NODES, limit="2"))[1]["metadata"]["continue"]
            server.put(node("d"))
            server.compact()
            return await me.send("GET", NODES, limit="2", **{"continue": token})

        assert (410, "Expired") == reason(play(scene))

    def test_version_zero_ignores_the_limit(self) -> None:
        """A list at resourceVersion 0 comes whole, as from a real server's cache."""

        async def scene(server: APIServer, me: Session) -> Any:
            for name in "abc":
                server.put(node(name))
            return await me.send("GET", NODES, limit="2", resourceVersion="0")

        assert 3 == len(play(scene)[1]["items"])

    def test_version_of_the_future(self) -> None:
        """A list at a version that isn't there yet is answered 504 with the cause ResourceVersionTooLarge."""

        async def scene(server: APIServer, me: Session) -> Any:
            return await me.send("GET", NODES, resourceVersion="999")

        answer = play(scene)

        assert (504, "Timeout") == reason(answer)
        assert "ResourceVersionTooLarge" == answer[1]["details"]["causes"][0]["reason"]

    def test_metadata_only(self) -> None:
        """Where the client accepts PartialObjectMetadata it gets the metadata, as object and in lists."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a", podCIDR="10.0.0.0/24"))
            one = await me.send("GET", f"{NODES}/a", accept=PARTIAL)
            return one[1], (await me.send("GET", NODES, accept=PARTIAL_LIST))[1]

        one, many = play(scene)

        assert ("PartialObjectMetadata", "meta.k8s.io/v1") == (one["kind"], one["apiVersion"])
        assert {"kind", "apiVersion", "metadata"} == set(one)
        assert "PartialObjectMetadataList" == many["kind"]
        assert [one] == many["items"]

    def test_unacceptable(self) -> None:
        """A client that accepts only what the model can't write is answered 406."""

        async def scene(server: APIServer, me: Session) -> Any:
            return await me.send("GET", NODES, accept="application/vnd.kubernetes.protobuf")

        assert (406, "NotAcceptable") == reason(play(scene))

    @pytest.mark.parametrize(
        "selector, expected",
        [
            ("zone=x", ["a"]),
            ("zone!=x", ["b", "c"]),
            ("zone", ["a", "b"]),
            ("!zone", ["c"]),
            ("zone,zone!=x", ["b"]),
        ],
    )
    def test_label_selectors(self, selector: str, expected: list[str]) -> None:
        """Lists hold what the label selector selects; != selects objects without the label too."""

        async def scene(server: APIServer, me: Session) -> Any:
            for name, labels in (("a", {"zone": "x"}), ("b", {"zone": "y"}), ("c", {})):
                server.put({**node(name), "metadata": {"name": name, "labels": labels}})
            return await me.send("GET", NODES, labelSelector=selector)

        assert expected == [item["metadata"]["name"] for item in play(scene)[1]["items"]]

    def test_field_selectors(self) -> None:
        """metadata.name selects one object; a field that can't be selected by is a 400, not ignored."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a"))
            server.put(node("b"))
            one = await me.send("GET", NODES, fieldSelector="metadata.name=b")
            return one[1]["items"], await me.send("GET", NODES, fieldSelector="spec.color=red")

        items, refused = play(scene)

        assert ["b"] == [item["metadata"]["name"] for item in items]
        assert (400, "BadRequest") == reason(refused)
