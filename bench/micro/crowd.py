"""Many Nodes: what listing, caching and accounting for them costs, and the noise that their kubelets make.

It is the application itself that runs, without election. Lists and watches of Nodes are answered by bytes
that are made in this process, in the place of HTTP and TLS; what it costs to make them is left out of every
figure but peak RSS and the times that the event loop was blocked. Each Node has ranges and 20 KB of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import msgspec
from multidict import CIMultiDict

from bench.micro.model import node
from bench.process import usage
from bench.report import Figure
from nodeipam.controllers.settings import Settings
from nodeipam.controllers.wiring import build
from nodeipam.runtime import Answer, Call, Client, Manager, SystemClock, Transport, system_rng
from nodeipam.testing import APIServer, ModelTransport

__all__ = ["measure"]

MANY, FEW = 65_000, 1_000
UPDATES, RATE = 6_000, 300
_PAGE = 100


class _Crowd:
    """Makes the JSON of any Node, at any version, from the same template."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.cost = 0.0
        """Seconds of CPU that it took to make bytes so far."""
        whole = node(0)
        meta = whole["metadata"]
        name = meta["name"]
        meta |= {"uid": "UID", "resourceVersion": "VERSION"}
        whole["spec"] |= {"podCIDR": "RANGE", "podCIDRs": ["RANGE", "SIXTH"]}
        parts = [msgspec.json.encode({"kind": "Node", "apiVersion": "v1", **_without_kind(whole)})]
        parts.append(msgspec.json.encode({"metadata": meta}))
        self._whole, self._partial = (part.replace(name.encode(), b"NAME") for part in parts)

    def page(self, call: Call) -> bytes:
        """A page of a list, of whole Nodes or of their metadata."""
        began = time.process_time()
        query = dict(call.query)
        first, limit = int(query.get("continue", "0")), int(query["limit"])
        last = min(first + limit, self.count)
        partial = "PartialObjectMetadataList" in call.headers["Accept"]
        kind = b"PartialObjectMetadataList" if partial else b"NodeList"
        more = b'"continue":"%d",' % last if last < self.count else b""
        items = b",".join(self.node(number, 1_000 + number, partial=partial) for number in range(first, last))
        made = b'{"kind":"%s","apiVersion":"v1","metadata":{%s"resourceVersion":"%d"},"items":[%s]}' % (
            kind,
            more,
            1_000 + self.count,
            items,
        )
        self.cost += time.process_time() - began
        return made

    def updates(self, count: int) -> Iterator[bytes]:
        """MODIFIED events, as kubelets make them: nothing that matters has changed."""
        for number in range(count):
            began = time.process_time()
            made = self.node(number * 7919 % self.count, 2_000 + self.count + number)
            line = b'{"type":"MODIFIED","object":%s}\n' % made
            self.cost += time.process_time() - began
            yield line

    def node(self, number: int, version: int, *, partial: bool = False) -> bytes:
        """One Node."""
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


def _without_kind(whole: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in whole.items() if key not in ("kind", "apiVersion")}


class _Transport:
    """Lists and watches of Nodes from the crowd, everything else from the model."""

    def __init__(self, crowd: _Crowd, model: Transport) -> None:
        self.lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._crowd = crowd
        self._model = model

    @property
    def host(self) -> str:
        """A name for metrics."""
        return "crowd"

    def open(self, call: Call) -> AbstractAsyncContextManager[Answer]:
        """As every transport."""
        if call.method != "GET" or call.path != "/api/v1/nodes":
            return self._model.open(call)
        return _Answer(b"" if call.idle else self._crowd.page(call), self.lines)


class _Answer(AbstractAsyncContextManager["_Answer"]):
    """A page, or a watch."""

    status = 200
    headers: Mapping[str, str] = CIMultiDict({"Content-Type": "application/json"})

    def __init__(self, body: bytes, lines: asyncio.Queue[bytes]) -> None:
        self._body = body
        self._at = 0
        self._lines = lines

    async def read(self, limit: int) -> bytes:
        """The next bytes."""
        self._at += limit
        await asyncio.sleep(0)
        return self._body[self._at - limit : self._at]

    async def readline(self, limit: int) -> bytes:
        """The next event."""
        return await self._lines.get()

    async def __aexit__(self, *_: object) -> None:
        """Nothing is left."""


class _Blocked:
    """Notes for how long the event loop let nobody else run."""

    longest = 0.0

    async def run(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, time.monotonic() - began - 0.001)


@asynccontextmanager
async def _running(crowd: _Crowd) -> AsyncIterator[tuple[_Transport, _Blocked]]:
    """The application, with everything listed and nothing left to do."""
    server = APIServer()
    spec = {"perNodeHostBits": 8, "ipv4": "10.0.0.0/8", "ipv6": "fd00::/96"}
    kind = {"apiVersion": "networking.x-k8s.io/v1", "kind": "ClusterCIDR"}
    server.put({**kind, "metadata": {"name": "crowd"}, "spec": spec})
    transport = _Transport(crowd, ModelTransport(server))
    client = Client(transport, clock=SystemClock(), rng=system_rng())
    manager = build(Settings(bind_address=None), client)
    manager.add(_Freeze())
    blocked = _Blocked()
    tasks = [asyncio.create_task(blocked.run()), asyncio.create_task(manager.run())]
    try:
        await _idle(manager)
        yield transport, blocked
    finally:
        for task in reversed(tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


class _Freeze:
    """What `nodeipam run` does once everything is cached."""

    needs_leader = False

    async def run(self) -> None:
        """Freeze the heap."""
        gc.freeze()


async def _idle(manager: Manager) -> None:
    """Wait until it leads, and has needed next to no CPU for a while."""
    quiet = 0
    while quiet < 5:
        before = time.process_time()
        await asyncio.sleep(0.05)
        quiet = quiet + 1 if manager.leading and time.process_time() - before < 0.005 else 0


async def _list(count: int) -> tuple[float, float]:
    """CPU a Node until everything is listed and idle, and the longest time that the loop was blocked."""
    crowd = _Crowd(count)
    began = time.process_time()
    async with _running(crowd) as (_, blocked):
        return (time.process_time() - began - crowd.cost) / count, blocked.longest


async def _noise(count: int) -> tuple[float, float, float]:
    """As `_list`, and CPU an update."""
    crowd = _Crowd(count)
    began = time.process_time()
    async with _running(crowd) as (transport, blocked):
        listing = (time.process_time() - began - crowd.cost) / count
        began, cost = time.process_time(), crowd.cost
        for line in crowd.updates(UPDATES):
            transport.lines.put_nowait(line)
            if transport.lines.qsize() >= 10:
                await asyncio.sleep(0)
        while transport.lines.qsize():  # noqa: ASYNC110 - the queue is the application's to empty
            await asyncio.sleep(0.001)
        return listing, blocked.longest, (time.process_time() - began - (crowd.cost - cost)) / UPDATES


def measure() -> list[Figure]:
    """A small crowd, then a large one with noise."""
    few, _ = asyncio.run(_list(FEW))
    many, blocked, update = asyncio.run(_noise(MANY))
    return [
        Figure(f"list, cache and account, CPU a Node of {MANY:,}", many * 1e6, "µs"),
        Figure(f"the same, as a multiple of {FEW:,} Nodes", many / few, "", 1.2),
        Figure("the event loop was blocked for, at the longest", blocked * 1e3, "ms", 30),
        Figure(f"peak RSS with {MANY:,} Nodes", usage(os.getpid()).peak, "MiB", 160),
        Figure(f"{RATE} status updates a second, share of a core", update * RATE * 100, "%", 5),
    ]
