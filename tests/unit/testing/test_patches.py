from __future__ import annotations

from typing import Any

import pytest

from nodeipam.testing import APIServer

from .session import NODES, WIDGETS, Session, node, play, reason, widget

JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def patch(body: Any, operations: Any, content_type: str, path: str = NODES) -> tuple[int, Any]:
    """The answer to a patch of an object that was just put."""

    async def scene(server: APIServer, me: Session) -> Any:
        server.put(body)
        return await me.send("PATCH", f"{path}/a", operations, content_type=content_type)

    found: tuple[int, Any] = play(scene)
    return found


class TestJSONPatch:
    @pytest.mark.parametrize(
        "operations, spec",
        [
            ([{"op": "add", "path": "/spec/taints/0", "value": {"key": "x"}}], ["x", "t"]),
            ([{"op": "add", "path": "/spec/taints/-", "value": {"key": "x"}}], ["t", "x"]),
            ([{"op": "replace", "path": "/spec/taints/0/key", "value": "x"}], ["x"]),
            ([{"op": "remove", "path": "/spec/taints/0"}], []),
            ([{"op": "copy", "from": "/spec/taints/0", "path": "/spec/taints/-"}], ["t", "t"]),
            ([{"op": "test", "path": "/spec/taints/0/key", "value": "t"}], ["t"]),
            ([{"op": "test", "path": "/spec/none", "value": None}], ["t"]),
            ([{"op": "copy", "from": "/spec/none", "path": "/spec/other"}], ["t"]),
            ([{"op": "add", "path": "/spec/taints/-1", "value": {"key": "x"}}], ["t", "x"]),
            ([{"op": "add", "path": "/spec/taints/-2", "value": {"key": "x"}}], ["x", "t"]),
            ([{"op": "replace", "path": "/spec/taints/-1/key", "value": "x"}], ["x"]),
            (
                [
                    {"op": "add", "path": "/spec/taints/-", "value": {"key": "x"}},
                    {"op": "move", "from": "/spec/taints/1", "path": "/spec/taints/0"},
                ],
                ["x", "t"],
            ),
        ],
    )
    def test_operations(self, operations: Any, spec: list[str]) -> None:
        """Each operation of RFC 6902 does its work."""
        status, body = patch(node("a", taints=[{"key": "t"}]), operations, JSON)

        assert (200, spec) == (status, [taint["key"] for taint in body["spec"].get("taints", [])])

    def test_escapes(self) -> None:
        """In a path ~1 is a slash and ~0 a tilde."""
        body = node("a")
        body["metadata"]["labels"] = {"a/b": "1"}
        status, body = patch(body, [{"op": "remove", "path": "/metadata/labels/a~1b"}], JSON)

        assert (200, None) == (status, body["metadata"].get("labels"))

    @pytest.mark.parametrize(
        "operation",
        [
            {"op": "test", "path": "/metadata/name", "value": "b"},
            {"op": "test", "path": "/none/none", "value": None},
            {"op": "replace", "path": "/metadata/finalizers/0", "value": "x"},
            {"op": "remove", "path": "/metadata/labels/x"},
            {"op": "move", "from": "/spec/none", "path": "/spec/other"},
            {"op": "add", "path": "/none/of/this", "value": 1},
            {"op": "jump", "path": "/spec"},
            {"op": "add", "path": "spec", "value": 1},
        ],
    )
    def test_what_cannot_be_done(self, operation: Any) -> None:
        """An operation that fails, a test among them, is a 422 and changes nothing."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a"))
            before = server.version
            first = {"op": "add", "path": "/metadata/annotations", "value": {"x": "y"}}
            answer = await me.send("PATCH", f"{NODES}/a", [first, operation], content_type=JSON)
            return answer, server.version - before

        answer, written = play(scene)

        assert ((422, "Invalid"), 0) == (reason(answer), written)

    @pytest.mark.parametrize("data", [b"{}", b"[1]", b"[", b'[{"op":1,"path":""}]'])
    def test_malformed(self, data: bytes) -> None:
        """What is no list of operations is a 400."""
        assert (400, "BadRequest") == reason(patch(node("a"), data, JSON))


class TestStrategicMergePatch:
    @pytest.mark.parametrize(
        "conditions, expected",
        [
            ([{"type": "Ready", "status": "False"}], [("Ready", "False", "why"), ("Disk", "True", None)]),
            ([{"type": "Ready", "$patch": "delete"}], [("Disk", "True", None)]),
            ([{"$patch": "replace"}, {"type": "New", "status": "True"}], [("New", "True", None)]),
            (
                [{"type": "New", "status": "True"}],
                [("New", "True", None), ("Ready", "True", "why"), ("Disk", "True", None)],
            ),
        ],
    )
    def test_lists_with_a_key(self, conditions: Any, expected: Any) -> None:
        """A condition is merged into the one of its type, replaced or deleted as directives say."""
        old = node("a") | {
            "status": {
                "conditions": [
                    {"type": "Ready", "status": "True", "reason": "why"},
                    {"type": "Disk", "status": "True"},
                ]
            }
        }

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(old)
            body = {"status": {"conditions": conditions}}
            return await me.send("PATCH", f"{NODES}/a/status", body, content_type=STRATEGIC)

        _, body = play(scene)

        assert expected == [
            (found["type"], found["status"], found.get("reason")) for found in body["status"]["conditions"]
        ]

    def test_sets(self) -> None:
        """Finalizers are added to; what $deleteFromPrimitiveList names is taken out; order is as asked."""
        body = node("a")
        body["metadata"]["finalizers"] = ["x/a", "x/b"]
        change = {
            "finalizers": ["x/c"],
            "$deleteFromPrimitiveList/finalizers": ["x/a"],
            "$setElementOrder/finalizers": ["x/c", "x/b"],
        }
        status, body = patch(body, {"metadata": change}, STRATEGIC)

        assert (200, ["x/c", "x/b"]) == (status, body["metadata"]["finalizers"])

    @pytest.mark.parametrize(
        "added, order",
        [
            ("c", "cab"),
            ("cb", "cab"),
            ("bc", "abc"),
            ("ba", "ba"),
            ("ac", "acb"),
            ("dbca", "dbca"),
        ],
    )
    def test_order(self, added: str, order: str) -> None:
        """A merged list is in the order of the patch; other items stay before those they stood before."""
        body = node("a")
        body["metadata"]["finalizers"] = ["x/a", "x/b"]
        _, body = patch(body, {"metadata": {"finalizers": [f"x/{one}" for one in added]}}, STRATEGIC)

        assert [f"x/{one}" for one in order] == body["metadata"]["finalizers"]

    def test_maps(self) -> None:
        """Labels are merged, null takes one out; taints, which have no merge key, are replaced."""
        body = node("a", taints=[{"key": "t"}])
        body["metadata"]["labels"] = {"a": "1", "b": "2", "x.y/z": "4"}
        change = {
            "metadata": {"labels": {"a": None, "c": "3", "x.y/z": "5"}},
            "spec": {"taints": [{"key": "u"}]},
        }
        _, body = patch(body, change, STRATEGIC)

        assert ({"b": "2", "c": "3", "x.y/z": "5"}, [{"key": "u"}]) == (
            body["metadata"]["labels"],
            body["spec"]["taints"],
        )

    def test_retained_keys(self) -> None:
        """$retainKeys drops all other fields of its object."""
        _, body = patch(
            node("a", providerID="p", externalID="e"),
            {"spec": {"$retainKeys": ["providerID"], "providerID": "q"}},
            STRATEGIC,
        )

        assert {"providerID": "q"} == body["spec"]

    @pytest.mark.parametrize(
        "change", [{"spec": {"$patch": "jump"}}, {"status": {"conditions": [{"status": "True"}]}}]
    )
    def test_unknown_directive(self, change: Any) -> None:
        """A directive that isn't one, and an item without its key, are a 500 that gives no reason."""
        status, body = patch(node("a"), change, STRATEGIC)

        assert (500, None) == (status, body.get("reason"))


class TestMediaTypes:
    @pytest.mark.parametrize(
        "body, path, content_type",
        [
            (widget("a"), WIDGETS, STRATEGIC),
            (widget("a"), WIDGETS, "application/apply-patch+yaml"),
            (node("a"), NODES, "application/apply-patch+yaml"),
            (node("a"), NODES, "application/json"),
        ],
    )
    def test_refused(self, body: Any, path: str, content_type: str) -> None:
        """Custom resources take no strategic merge patch, and nothing takes server-side apply: 415."""
        assert (415, "UnsupportedMediaType") == reason(patch(body, {}, content_type, path))
