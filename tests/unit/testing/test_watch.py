from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from nodeipam.runtime.errors import ProtocolError, TransportError
from nodeipam.testing import APIServer

from .session import NODES, Session, event, fields, node, now, play, story, widget


class TestWatching:
    def test_events_in_order(self) -> None:
        """A watch tells everything after its version, in order, and a deletion under a version of its own."""

        async def scene(server: APIServer, me: Session) -> Any:
            start = server.put(node("a"))["metadata"]["resourceVersion"]
            server.put(node("b"))
            async with me.watch(NODES, resourceVersion=start) as answer:
                server.put(node("a"))
                server.delete("nodes", "b")
                told = [await event(answer) for _ in range(3)]
            versions = [int(obj["metadata"]["resourceVersion"]) for _, obj in told]
            return [(kind, obj["metadata"]["name"]) for kind, obj in told], versions, server.version

        told, versions, version = play(scene)

        assert [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")] == told
        assert [version - 2, version - 1, version] == versions

    def test_without_a_version(self) -> None:
        """A watch from nowhere begins with every object that is there."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a"))
            async with me.watch(NODES) as answer:
                server.put(node("b"))
                return await story(answer, 2)

        assert [("ADDED", "a"), ("ADDED", "b")] == play(scene)

    def test_slow_client(self) -> None:
        """When too many changes wait for a client, the server ends its watch behind them."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.watch_buffer = 3
            server.put(node("a"))
            async with me.watch(NODES) as answer:
                before = await story(answer, 1)
                for number in range(5):
                    server.put(node(f"n{number}"))
                return before + await story(answer, 3), await answer.readline(10_000)

        told = [("ADDED", name) for name in ("a", "n0", "n1", "n2")]
        assert (told, b"") == play(scene)

    def test_bookmarks(self) -> None:
        """Bookmarks come each minute and 2 s before the end, with the server's version."""

        async def scene(server: APIServer, me: Session) -> Any:
            told = []
            async with me.watch(NODES, resourceVersion="1", timeoutSeconds="130") as answer:
                server.put(widget("w"))
                while line := await answer.readline(10_000):
                    found = json.loads(line)
                    told.append((now(), found["type"], found["object"]["metadata"]["resourceVersion"]))
                return told, now(), str(server.version)

        told, end, version = play(scene)

        assert [
            (60.0, "BOOKMARK", version),
            (120.0, "BOOKMARK", version),
            (128.0, "BOOKMARK", version),
        ] == told
        assert 130.0 == end

    def test_no_bookmarks_unasked(self) -> None:
        """A client that didn't ask for bookmarks gets none."""

        async def scene(server: APIServer, me: Session) -> Any:
            query: dict[str, Any] = {
                "resourceVersion": "1",
                "timeoutSeconds": "200",
                "allowWatchBookmarks": "false",
            }
            async with me.watch(NODES, **query) as answer:
                return await answer.readline(100), now()

        assert (b"", 200.0) == play(scene)

    def test_selector_transitions(self) -> None:
        """What begins to match is ADDED, what ceases to match is DELETED with its last matching state."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a"))
            async with me.watch(NODES, resourceVersion=str(server.version), labelSelector="zone=x") as answer:
                server.patch("nodes", "a", {"metadata": {"labels": {"zone": "x"}}})
                server.patch("nodes", "a", {"metadata": {"labels": {"zone": "y"}}})
                added, deleted = await event(answer), await event(answer)
                return added[0], deleted, str(server.version)

        added, (kind, last), version = play(scene)

        assert ("ADDED", "DELETED") == (added, kind)
        assert ({"zone": "x"}, version) == (last["metadata"]["labels"], last["metadata"]["resourceVersion"])

    def test_compacted_version(self) -> None:
        """A watch from a compacted version is opened, tells 410 Expired by an ERROR event, and ends."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a"))
            server.compact()
            async with me.watch(NODES, resourceVersion="1") as answer:
                return answer.status, await event(answer), await answer.readline(100)

        status, (kind, obj), rest = play(scene)

        assert (200, "ERROR", 410, "Expired", b"") == (status, kind, obj["code"], obj["reason"], rest)

    def test_compaction_spares_open_watches(self) -> None:
        """A watch that is open when history is compacted still tells everything."""

        async def scene(server: APIServer, me: Session) -> Any:
            async with me.watch(NODES, resourceVersion="1") as answer:
                server.put(node("a"))
                server.compact()
                server.put(node("b"))
                return await story(answer, 2)

        assert [("ADDED", "a"), ("ADDED", "b")] == play(scene)

    def test_version_of_the_future(self) -> None:
        """A watch from a version that isn't there yet stays silent, even while objects change."""

        async def scene(server: APIServer, me: Session) -> Any:
            async with me.watch(NODES, resourceVersion="99", allowWatchBookmarks="0", idle=30.0) as answer:
                server.put(node("a"))
                with pytest.raises(TransportError, match="silent for 30 s"):
                    await answer.readline(1000)
            return now()

        assert 30.0 == play(scene)

    def test_initial_events(self) -> None:
        """A watch with sendInitialEvents begins with all objects, and a bookmark says that these were all."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a"))
            query: dict[str, Any] = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
            async with me.watch(NODES, **query) as answer:
                return await event(answer), await event(answer), str(server.version)

        (first, _), (second, mark), version = play(scene)

        assert ("ADDED", "BOOKMARK") == (first, second)
        assert {"k8s.io/initial-events-end": "true"} == mark["metadata"]["annotations"]
        assert version == mark["metadata"]["resourceVersion"]

    def test_initial_events_switched_off(self) -> None:
        """Without WatchList, and without resourceVersionMatch, sendInitialEvents is a 422."""

        async def scene(server: APIServer, me: Session) -> Any:
            unmatched = await me.send("GET", NODES, watch="1", sendInitialEvents="true")
            server.watch_list = False
            query: dict[str, Any] = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
            return unmatched, await me.send("GET", NODES, watch="1", **query)

        unmatched, off = play(scene)

        assert [(422, ["resourceVersionMatch"]), (422, ["sendInitialEvents"])] == [
            (unmatched[0], fields(unmatched)),
            (off[0], fields(off)),
        ]

    def test_lag(self) -> None:
        """With a watch lag events come that much later, in order."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.watch_lag = 3.0
            async with me.watch(NODES, resourceVersion="1") as answer:
                server.put(node("a"))
                await asyncio.sleep(1)
                server.put(node("b"))
                return [(await story(answer, 1), now()) for _ in range(2)]

        assert [([("ADDED", "a")], 3.0), ([("ADDED", "b")], 4.0)] == play(scene)

    def test_a_bookmark_overtakes_no_event(self) -> None:
        """As long as an event is late no bookmark comes: whoever went on from it would miss the event."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.bookmark_interval, server.watch_lag = 1.0, 3.5
            async with me.watch(NODES, resourceVersion="1") as answer:
                server.put(node("a"))
                return [(await event(answer))[0] for _ in range(2)]

        assert ["ADDED", "BOOKMARK"] == play(scene)

    def test_a_refusal_that_is_late(self) -> None:
        """Where watches are late, the 410 of a compacted version still comes before the end."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a"))
            server.compact()
            server.watch_lag = 2.0
            async with me.watch(NODES, resourceVersion="1") as answer:
                kind, body = await event(answer)
                return kind, body["code"], now(), await answer.readline(100)

        assert ("ERROR", 410, 2.0, b"") == play(scene)

    def test_ended_and_broken(self) -> None:
        """A closed watch ends after what was due; one that is broken off raises at once."""

        async def scene(server: APIServer, me: Session) -> Any:
            async with me.watch(NODES, resourceVersion="1") as answer:
                server.put(node("a"))
                server.close_watches()
                closed = await story(answer, 1), await answer.readline(100)
            async with me.watch(NODES, resourceVersion="1") as answer:
                server.break_watches()
                with pytest.raises(TransportError, match="broke off"):
                    await answer.readline(1000)
            return closed, server.watches

        assert (([("ADDED", "a")], b""), []) == play(scene)

    def test_a_line_over_the_limit(self) -> None:
        """A line that is longer than the reader's limit is a ProtocolError."""

        async def scene(server: APIServer, me: Session) -> None:
            server.put(node("a"))
            async with me.watch(NODES) as answer:
                with pytest.raises(ProtocolError, match="limit of 10"):
                    await answer.readline(10)

        play(scene)
