"""Many Nodes: what listing, caching and accounting for them costs, and the noise that their kubelets make.

It is the application itself that runs, without election. Lists and watches of Nodes come over HTTP from a
process of their own, which makes their bytes from a template; there is no TLS. Each Node has ranges and 20 KB
of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import msgspec

from bench.micro.model import node
from bench.process import usage
from bench.report import Figure
from nodeipam.api.clustercidr import CLUSTER_CIDRS
from nodeipam.controllers.settings import Settings
from nodeipam.controllers.wiring import build
from nodeipam.runtime import Answer, Call, Client, Manager, SystemClock, Transport, system_rng
from nodeipam.runtime.credentials import Anonymous
from nodeipam.runtime.http import HTTPTransport
from nodeipam.testing import APIServer, ModelTransport

__all__ = ["measure"]

MANY, FEW, NEXT_TO_NONE = 65_000, 1_000, 10
UPDATES, RATE = 6_000, 300


class _Crowd:
    """Makes the JSON of any Node, at any version, from the same template, and serves it."""

    def __init__(self, count: int) -> None:
        self._count = count
        whole = node(0)
        meta = whole["metadata"]
        name = meta["name"].encode()
        meta |= {"uid": "UID", "resourceVersion": "VERSION"}
        whole["spec"] |= {"podCIDR": "RANGE", "podCIDRs": ["RANGE", "SIXTH"]}
        order = {
            "kind": "Node",
            "apiVersion": "v1",
            **{k: v for k, v in whole.items() if k not in ("kind", "apiVersion")},
        }
        self._whole = msgspec.json.encode(order).replace(name, b"NAME")
        self._partial = msgspec.json.encode({"metadata": meta}).replace(name, b"NAME")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a connection's requests, until a watch: that is told UPDATES changes once stdin says so."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                if "watch=1" in head:
                    break
                body = self._page(head)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            await asyncio.to_thread(sys.stdin.readline)
            for line in self._updates():
                writer.write(b"%x\r\n%s\r\n" % (len(line), line))
                await writer.drain()
            await reader.read()

    def _page(self, head: str) -> bytes:
        """A page of a list, of whole Nodes or of their metadata."""
        query = dict(re.findall(r"(limit|continue)=(\d+)", head))
        first = int(query.get("continue", 0))
        last = min(first + int(query["limit"]), self._count)
        partial = "PartialObjectMetadataList" in head
        kind = b"PartialObjectMetadataList" if partial else b"NodeList"
        more = b'"continue":"%d",' % last if last < self._count else b""
        version = 1_000 + self._count
        items = b",".join(
            self._node(number, 1_000 + number, partial=partial) for number in range(first, last)
        )
        form = b'{"kind":"%s","apiVersion":"v1","metadata":{%s"resourceVersion":"%d"},"items":[%s]}'
        return form % (kind, more, version, items)

    def _updates(self) -> Iterator[bytes]:
        """MODIFIED events, as kubelets make them: nothing that matters has changed."""
        for number in range(UPDATES):
            made = self._node(number * 7919 % self._count, 2_000 + self._count + number)
            yield b'{"type":"MODIFIED","object":%s}\n' % made

    def _node(self, number: int, version: int, *, partial: bool = False) -> bytes:
        values = {
            b"NAME": b"ip-10-%d-%d.example.com" % (number >> 8, number & 255),
            b"UID": b"%08x-0000-4000-8000-000000000000" % number,
            b"VERSION": b"%d" % version,
            b"RANGE": b"10.%d.%d.0/24" % (number >> 8, number & 255),
            b"SIXTH": b"fd00::%x:%x/120" % (number >> 8, number << 8 & 0xFFFF),
        }
        made = self._partial if partial else self._whole
        for placeholder, value in values.items():
            made = made.replace(placeholder, value)
        return made


async def _serve(count: int) -> None:
    crowd = _Crowd(count)
    server = await asyncio.start_server(crowd.serve, "127.0.0.1", 0, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class _Transport:
    """Lists and watches of Nodes from the crowd, everything else from the model."""

    def __init__(self, crowd: Transport, model: Transport) -> None:
        self._crowd = crowd
        self._model = model

    @property
    def host(self) -> str:
        """A name for metrics."""
        return self._crowd.host

    def open(self, call: Call) -> AbstractAsyncContextManager[Answer]:
        """As every transport."""
        return (self._crowd if call.path == "/api/v1/nodes" else self._model).open(call)


class _Blocked:
    """Notes for how long the event loop let nobody else run."""

    longest = 0.0

    async def run(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, time.monotonic() - began - 0.001)


class _Freeze:
    """What `nodeipam run` does once everything is cached."""

    needs_leader = False

    async def run(self) -> None:
        """Freeze the heap."""
        gc.freeze()


@asynccontextmanager
async def _running(port: int) -> AsyncIterator[tuple[Manager, _Blocked]]:
    """The application, with everything listed and nothing left to do."""
    server = APIServer()
    kind, spec = CLUSTER_CIDRS, {"perNodeHostBits": 8, "ipv4": "10.0.0.0/8", "ipv6": "fd00::/96"}
    server.register(kind.api_version, kind.kind, kind.plural, namespaced=False, status=True)
    server.put(
        {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "crowd"}, "spec": spec}
    )
    async with HTTPTransport(Anonymous(f"http://127.0.0.1:{port}")) as crowd:
        transport = _Transport(crowd, ModelTransport(server))
        manager = build(Settings(bind_address=None), Client(transport, clock=SystemClock(), rng=system_rng()))
        manager.add(_Freeze())
        blocked = _Blocked()
        tasks = [asyncio.create_task(blocked.run()), asyncio.create_task(manager.run())]
        try:
            await _idle(manager)
            yield manager, blocked
        finally:
            for task in reversed(tasks):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def _idle(manager: Manager) -> None:
    """Wait until it leads, and has needed next to no CPU for a while."""
    quiet = 0
    while quiet < 5:
        before = time.process_time()
        await asyncio.sleep(0.1)
        quiet = quiet + 1 if manager.leading and time.process_time() - before < 0.02 else 0


async def _measure(server: subprocess.Popen[str]) -> tuple[float, float, float]:
    """CPU until everything is listed; CPU an update; the longest time that the loop was blocked."""
    assert server.stdin
    assert server.stdout
    port = int(server.stdout.readline())
    began = time.process_time()
    async with _running(port) as (manager, blocked):
        listed = time.process_time()
        server.stdin.write("go\n")
        server.stdin.flush()
        await asyncio.sleep(0.2)
        await _idle(manager)
        return listed - began, (time.process_time() - listed) / UPDATES, blocked.longest


def _with(count: int) -> tuple[float, float, float]:
    argv = [sys.executable, "-m", "bench.micro.crowd", str(count)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            return asyncio.run(_measure(server))
        finally:
            server.kill()


def measure() -> list[Figure]:
    """Small crowds, then a large one. What there is to do without Nodes is left out of the CPU a Node."""
    start, _, _ = _with(NEXT_TO_NONE)
    few = min(_with(FEW)[0] for _ in range(3)) - start
    many, update, blocked = _with(MANY)
    many, few = (many - start) / (MANY - NEXT_TO_NONE), few / (FEW - NEXT_TO_NONE)
    return [
        Figure(f"list, cache and account, CPU a Node of {MANY:,}", many * 1e6, "µs"),
        Figure(f"the same, as a multiple of {FEW:,} Nodes", many / few, "", 1.2),
        Figure("the event loop was blocked for, at the longest", blocked * 1e3, "ms", 30),
        Figure(f"peak RSS with {MANY:,} Nodes", usage(os.getpid()).peak, "MiB", 160),
        Figure(f"{RATE} status updates a second, share of a core", update * RATE * 100, "%", 5),
    ]


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
