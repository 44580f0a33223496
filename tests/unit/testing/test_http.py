from __future__ import annotations

import asyncio
import io
import json

import aiohttp
import pytest

from nodeipam.testing import APIServer, Fault, HTTPServer

from .session import NODES, node


class TestRequests:
    async def test_written_and_read(self) -> None:
        """What a client writes over HTTP is what the test's own hands and another GET find."""
        server = APIServer()
        async with HTTPServer(server) as face, aiohttp.ClientSession(face.url) as client:
            async with client.post(NODES, json=node("a")) as answer:
                assert 201 == answer.status
            async with client.get(f"{NODES}/a") as answer:
                assert server.get("nodes", "a") == await answer.json()

    async def test_identity(self) -> None:
        """A client is known by its bearer token, and without one by the product of its User-Agent."""
        server = APIServer()
        async with HTTPServer(server) as face, aiohttp.ClientSession(face.url) as client:
            for headers in ({"User-Agent": "kubectl/v1 (x)"}, {"Authorization": "Bearer me"}):
                await (await client.get(NODES, headers=headers)).read()
        assert ["kubectl", "me"] == [entry.identity for entry in server.log]

    async def test_body_too_large(self) -> None:
        """A body over the limit is refused with a Status and never reaches the model."""
        server = APIServer()
        async with (
            HTTPServer(server) as face,
            aiohttp.ClientSession(face.url) as client,
            client.post(NODES, data=io.BytesIO(b" " * (3 * 1024 * 1024 + 1))) as answer,
        ):
            status = await answer.json()
        assert (413, "RequestEntityTooLarge", []) == (answer.status, status["reason"], server.log)

    async def test_method_not_served(self) -> None:
        """OPTIONS is answered 405."""
        async with (
            HTTPServer(APIServer()) as face,
            aiohttp.ClientSession(face.url) as client,
            client.options(NODES) as answer,
        ):
            assert 405 == answer.status

    async def test_fault(self) -> None:
        """A fault that loses the answer costs a client of this face its connection, after the commit."""
        server = APIServer()
        server.faults.append(Fault(match=lambda call: call.method == "POST", action="drop_after"))
        async with HTTPServer(server) as face, aiohttp.ClientSession(face.url) as client:
            with pytest.raises(aiohttp.ClientConnectionError):
                await client.post(NODES, json=node("a"))
        assert ["a"] == [found["metadata"]["name"] for found in server.nodes()]


class TestWatches:
    async def test_lines(self) -> None:
        """A watch delivers each change as a line when it happens."""
        server = APIServer()
        async with (
            HTTPServer(server) as face,
            aiohttp.ClientSession(face.url) as client,
            client.get(NODES, params={"watch": "true", "resourceVersion": "0"}) as answer,
        ):
            server.put(node("a"))
            event = json.loads(await answer.content.readline())
        assert ("ADDED", "a") == (event["type"], event["object"]["metadata"]["name"])

    async def test_slow_client(self) -> None:
        """A client that doesn't read finds its watch ended behind what was kept for it."""
        server = APIServer()
        server.watch_buffer = 3
        query = {"watch": "true", "resourceVersion": str(server.version)}
        async with (
            HTTPServer(server) as face,
            aiohttp.ClientSession(face.url) as client,
            client.get(NODES, params=query) as answer,
        ):
            for number in range(5):
                server.put(node(f"n{number}"))
            lines = (await answer.read()).splitlines()
        assert ["n0", "n1", "n2"] == [json.loads(line)["object"]["metadata"]["name"] for line in lines]

    async def test_client_leaves(self) -> None:
        """The watch of a client that has gone is closed although nothing is sent."""
        server = APIServer()
        async with HTTPServer(server) as face, aiohttp.ClientSession(face.url) as client:
            answer = await client.get(NODES, params={"watch": "true", "resourceVersion": "0"})
            before = len(server.watches)
            answer.close()
            async with asyncio.timeout(10):
                while server.watches:  # noqa: ASYNC110 - the model tells nobody
                    await asyncio.sleep(0)
        assert 1 == before
