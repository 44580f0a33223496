from __future__ import annotations

import json
from typing import Any

import pytest

from nodeipam.runtime.errors import APIError, Cause, ProtocolError
from nodeipam.runtime.objects import Resource
from nodeipam.runtime.watchevent import Bookmark, Deleted, EventDecoder, Ignored, Put

from .scripted import WIDGETS, Widget, bookmark, event, widget

A = widget("a", 7, size=3)


def _decode(line: bytes) -> Any:
    return EventDecoder[Widget](WIDGETS, None).event(line)


def _with(type_: str, **changes: Any) -> bytes:
    whole = {"kind": "Widget", "metadata": {"name": "a", "uid": "u", "resourceVersion": "7"}, **changes}
    return json.dumps({"type": type_, "object": whole}).encode()


class TestChanges:
    @pytest.mark.parametrize("type_", ["ADDED", "MODIFIED"])
    def test_put(self, type_: str) -> None:
        """ADDED and MODIFIED are one: the cache tells what is new."""
        assert Put(A, 7) == _decode(event(type_, A))

    def test_deleted(self) -> None:
        """DELETED brings the last state and the version of the deletion."""
        assert Deleted(A, 7) == _decode(event("DELETED", A))

    def test_any_order(self) -> None:
        """An event is understood however its server orders and spaces the keys."""
        loose = json.dumps(dict(reversed(json.loads(event("ADDED", A)).items())), indent=1).encode()
        assert Put(A, 7) == _decode(loose)

    def test_dicts(self) -> None:
        """Objects may be decoded into dicts."""
        things = Resource("v1", "Widget", plural="widgets", namespaced=False, type=dict)
        assert "a" == EventDecoder[Any](things, None).event(event("ADDED", A)).object["metadata"]["name"]  # type: ignore[union-attr]

    def test_transform(self) -> None:
        """What is cached is what the transformation makes of an object."""
        assert Put(3, 7) == EventDecoder[int](WIDGETS, lambda obj: obj.size).event(event("ADDED", A))


class TestOthers:
    def test_bookmark(self) -> None:
        """A bookmark is known by its version."""
        assert Bookmark(9) == _decode(bookmark(9))

    def test_initial_events_end(self) -> None:
        """The bookmark that ends a streamed list is known by its annotation."""
        assert Bookmark(9, initial=True) == _decode(bookmark(9, initial=True))

    def test_unknown_type(self) -> None:
        """An event of a type from the future is ignored."""
        assert Ignored("unknown_type") == _decode(_with("RENAMED"))

    def test_wrong_kind(self) -> None:
        """An object of another kind is ignored."""
        assert Ignored("wrong_kind") == _decode(_with("ADDED", kind="Gadget"))

    def test_error(self) -> None:
        """An ERROR event is raised with all that its Status says."""
        status = {
            "kind": "Status",
            "code": 504,
            "reason": "Timeout",
            "message": "too large",
            "details": {"causes": [{"reason": "ResourceVersionTooLarge"}], "retryAfterSeconds": 1},
        }
        with pytest.raises(APIError) as caught:
            _decode(json.dumps({"type": "ERROR", "object": status}).encode())
        assert (504, "Timeout", 1.0, (Cause("ResourceVersionTooLarge"),)) == (
            caught.value.code,
            caught.value.reason,
            caught.value.retry_after,
            caught.value.causes,
        )


class TestGarbage:
    @pytest.mark.parametrize(
        "line",
        [
            b"\n",
            b"<html>please log in</html>\n",
            b'{"type":"ADDED","object":{"kind":"Widget"',
            b'{"type":"ADDED"}',
            b'{"type":"ADDED","object":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            b'{"type":"ADDED","object":{"kind":"Widget","metadata":{"name":"\xff"}}}',
            _with("ADDED", size="large"),
            _with("ADDED", metadata=None),
            _with("ADDED", metadata={"name": "", "uid": "u", "resourceVersion": "7"}),
            _with("ADDED", metadata={"name": "a", "uid": "", "resourceVersion": "7"}),
            _with("ADDED", metadata={"name": "a", "uid": "u", "resourceVersion": ""}),
            _with("ADDED", metadata={"name": "a", "uid": "u", "resourceVersion": "seven"}),
            _with("BOOKMARK", metadata={}),
            b'{"type":"ERROR","object":"no"}',
        ],
        ids=lambda line: line[:60].decode(errors="replace"),
    )
    def test_is_an_error_of_the_protocol(self, line: bytes) -> None:
        """Whatever isn't an event of an API server is a ProtocolError, and nothing else."""
        with pytest.raises(ProtocolError):
            _decode(line)

    def test_dict_without_metadata(self) -> None:
        """A dict whose metadata can't be one is an error of the protocol as well."""
        things = Resource("v1", "Widget", plural="widgets", namespaced=False, type=dict)
        with pytest.raises(ProtocolError, match="metadata"):
            EventDecoder[Any](things, None).event(_with("ADDED", metadata=[1]))

    def test_failing_transform(self) -> None:
        """A transformation that fails on an object says on which."""

        def refuse(_: Widget) -> int:
            raise ValueError("no size")

        with pytest.raises(ProtocolError, match=r"widgets\.example\.com a: ValueError: no size"):
            EventDecoder[int](WIDGETS, refuse).object(A)

    def test_message_shows_the_line(self) -> None:
        """The message shows how the line begins, so that a login page is recognised."""
        with pytest.raises(ProtocolError, match="please log in"):
            _decode(b"<html>please log in</html>")
