from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nodeipam.testing import APIServer

from .session import LEASES, NODES, Session, event, node, play, story


class TestHands:
    def test_log(self) -> None:
        """The log holds each request with its time, who sent it, and what was answered."""

        async def scene(server: APIServer, me: Session) -> Any:
            await asyncio.sleep(5)
            await me.send("GET", f"{NODES}/a")
            entry = server.log[-1]
            return entry.time, entry.identity, entry.call.method, entry.status

        assert (5.0, "me", "GET", 404) == play(scene)

    def test_put_anything(self) -> None:
        """What no client could write, such as changed and malformed ranges, can be put."""
        server = APIServer()
        server.put(node("a", podCIDR="10.0.0.0/24"))

        server.put(node("a", podCIDRs=["garbage", "10.1.0.0/24"]))

        assert ["garbage", "10.1.0.0/24"] == server.nodes()[0]["spec"]["podCIDRs"]

    def test_put_keeps_or_changes_the_uid(self) -> None:
        """put() keeps the uid of an object it replaces; another uid deletes the old object first."""

        async def scene(server: APIServer, me: Session) -> Any:
            first = server.put(node("a"))
            second = server.put(node("a"))
            async with me.watch(NODES, resourceVersion=str(server.version)) as answer:
                third = server.put({**node("a"), "metadata": {"name": "a", "uid": "new"}})
                told = await story(answer, 2)
            return [obj["metadata"]["uid"] for obj in (first, second, third)], told

        (first, second, third), told = play(scene)

        assert (first, "new", [("DELETED", "a"), ("ADDED", "a")]) == (second, third, told)

    def test_copies(self) -> None:
        """What the hands return are copies: changing them changes nothing on the server."""
        server = APIServer()
        server.put(node("a", podCIDR="10.0.0.0/24"))

        server.get("nodes", "a")["spec"]["podCIDR"] = "changed"

        assert "10.0.0.0/24" == server.get("nodes", "a")["spec"]["podCIDR"]

    def test_namespaces(self) -> None:
        """Objects of one name in two namespaces are two, and a list over all namespaces holds both."""

        async def scene(server: APIServer, me: Session) -> Any:
            for namespace in ("x", "kube-system"):
                metadata = {"name": "l", "namespace": namespace}
                server.put({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata})
            everywhere = await me.send("GET", "/apis/coordination.k8s.io/v1/leases")
            return len(everywhere[1]["items"]), len((await me.send("GET", LEASES))[1]["items"])

        assert (2, 1) == play(scene)

    def test_unknown_kind(self) -> None:
        """An object of a kind that isn't registered can't be put."""
        with pytest.raises(KeyError, match="no kind 'Gizmo' of 'v1' is registered"):
            APIServer().put({"apiVersion": "v1", "kind": "Gizmo", "metadata": {"name": "g"}})


class TestBehindTheScenes:
    def test_observing(self) -> None:
        """An observer is told of each change as it is made, and by whom."""

        async def scene(server: APIServer, me: Session) -> Any:
            seen: list[tuple[str, str, str]] = []
            server.observe(
                "nodes", lambda actor, change: seen.append((actor, change.type, change.record.key[1]))
            )
            server.put(node("a"))
            await me.send("POST", NODES, node("b"))
            server.delete("nodes", "a")
            return seen

        assert [("", "ADDED", "a"), ("me", "ADDED", "b"), ("", "DELETED", "a")] == play(scene)

    def test_a_restored_backup(self) -> None:
        """After a restore all is as at the time of the backup, the version too, and watches have ended."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.put(node("a"))
            backup, version = server.backup(), server.version
            server.put(node("b"))
            server.delete("nodes", "a")
            async with me.watch(NODES, resourceVersion=str(server.version)) as answer:
                server.restore(backup)
                ended = await answer.readline(100)
            _, listed = await me.send("GET", NODES)
            names = [item["metadata"]["name"] for item in listed["items"]]
            return (
                ended,
                names,
                server.version - version,
                int(listed["metadata"]["resourceVersion"]) - version,
            )

        assert (b"", ["a"], 0, 0) == play(scene)

    def test_a_bumped_restore(self) -> None:
        """After a restore with a bump, a client is told that each version that it has seen is too old."""

        async def scene(server: APIServer, me: Session) -> Any:
            backup, version = server.backup(), server.version
            server.put(node("a"))
            seen = server.version
            server.restore(backup, bump=1000)
            async with me.watch(NODES, resourceVersion=str(seen)) as answer:
                told = (await event(answer))[1]["code"] if answer.status == 200 else answer.status
            bumped = server.version - version
            server.put(node("b"))
            return told, bumped, int(server.get("nodes", "b")["metadata"]["resourceVersion"]) - version

        assert (410, 1000, 1001) == play(scene)
