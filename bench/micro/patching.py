"""What a PATCH costs its sender, from the verb to the decoded answer, against aiohttp's client.

The server is a process of its own that answers every request with the same bytes, over TLS.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import msgspec

from bench.report import Figure
from nodeipam.api.node import NODES
from nodeipam.runtime import Client, PartialObject, Request, SystemClock, system_rng
from nodeipam.runtime.http import HTTPTransport
from nodeipam.runtime.tls import TLSFiles
from tests.unit.runtime.loopback import Authority
from tests.unit.runtime.test_http import Identity

COUNT, ROUNDS = 3_000, 5
_BODY = {"spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24", "fd00::/64"]}}
_HEADERS = {
    "Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
    "Content-Type": "application/merge-patch+json",
}


def _answer() -> bytes:
    labels = {f"node.example.com/label-{i}": f"value-{i}" for i in range(20)}
    meta = {"name": "node-1", "uid": "0e7d", "resourceVersion": "42", "labels": labels}
    body = msgspec.json.encode(
        {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
    )
    head = (
        "HTTP/1.1 200 OK\r\nAudit-Id: 5a1ee6b8-a3ae-44a2-a4a7-ba5f2d9cf6b1\r\n"
        "Cache-Control: no-cache, private\r\nContent-Type: application/json\r\n"
        "X-Kubernetes-Pf-Flowschema-Uid: 3b5a7f0e-1f0b-4f3e-9a53-3fe3e3c2b9ab\r\n"
        "X-Kubernetes-Pf-Prioritylevel-Uid: 1f9e5f1c-6ad9-4b8a-8a0f-1a6ea5c0e4d4\r\n"
        "Date: Mon, 30 Nov 2026 06:00:00 GMT\r\n"
    )
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _serve(folder: Path) -> None:
    """Answer everything with the same, until standard input ends."""
    answer = _answer()

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            assert isinstance(self.transport, asyncio.Transport)
            self.transport.write(answer)

    authority = Authority(folder)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Protocol, "127.0.0.1", 0, ssl=authority.context())
    print(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]} {authority.path}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def _each(send: Callable[[], Awaitable[object]]) -> float:
    """Seconds of CPU a call, the best of several rounds; one call after the other."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(COUNT):
            await send()
        rounds.append((time.process_time() - began) / COUNT)
    return min(rounds)


async def _ours(url: str, ca: str) -> float:
    async with HTTPTransport(Identity(url, tls=TLSFiles(ca=ca))) as transport:
        client = Client(transport, clock=SystemClock(), rng=system_rng())
        request = Request("node-1")
        return await _each(lambda: client.patch(NODES, request, _BODY, uid="0e7d", resource_version="41"))


async def _aiohttps(url: str, ca: str) -> float:
    body = {**_BODY, "metadata": {"uid": "0e7d", "resourceVersion": "41"}}
    decoder = msgspec.json.Decoder(PartialObject)
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ca))
    headers = {**_HEADERS, "Authorization": "Bearer token"}
    async with aiohttp.ClientSession(url, connector=connector, headers=headers) as session:

        async def send() -> None:
            async with session.patch("/api/v1/nodes/node-1", data=msgspec.json.encode(body)) as answer:
                decoder.decode(await answer.read())

        return await _each(send)


def measure() -> list[Figure]:
    """CPU of a PATCH, through Client and HTTPTransport."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "bench.micro.patching", folder]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout
            url, ca = server.stdout.readline().split()
            theirs, ours = asyncio.run(_aiohttps(url, ca)), asyncio.run(_ours(url, ca))
    beside = f"aiohttp's client, with no metrics and no checks: {theirs / ours:.2f} times that"
    return [Figure("CPU of a PATCH over TLS, one after the other", ours * 1e6, "µs", beside=beside)]


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
