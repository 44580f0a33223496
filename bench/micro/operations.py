"""What single operations cost: seconds of CPU, and instructions where valgrind is there to count them.

Each operation is run so many times and twice as many times under valgrind: the difference is its own, without
the start of the interpreter, and the same on every machine.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

import msgspec

from bench.micro.model import node
from bench.report import Figure
from nodeipam.api.node import NODES, Node, NodeTransform
from nodeipam.controllers.ledger import Ledger
from nodeipam.ipam import Prefix, PrefixIndex
from nodeipam.runtime import Metrics, Request, SystemClock, WorkQueue, system_rng
from nodeipam.runtime.http1 import Response
from nodeipam.runtime.store import Store
from nodeipam.runtime.watchevent import EventDecoder, Put

_INSTRUCTIONS = re.compile(r"Collected : ([0-9]+)")
ROUNDS = 7
Operation = Callable[[int], None]


def claiming() -> Operation:
    """Find the next free /24 of 10.0.0.0/8 and reserve it, then give it back."""
    index: PrefixIndex[int] = PrefixIndex(4)
    inside = Prefix(4, 10 << 24, 8)
    for number in range(0, 20_000, 2):
        index.add(Prefix(4, inside.value + (number << 8), 24), number)

    def run(count: int) -> None:
        for number in range(count):
            found = index.find(inside, 24, inside.value + (number % 10_000 << 8))
            assert found is not None
            block = Prefix(4, found, 24)
            assert index.claim(block, number)
            index.remove(block, number)

    return run


def accounting() -> Operation:
    """A Node gets ranges: the ledger takes its reservation over; then it goes."""
    ledger = Ledger()
    transform = NodeTransform()
    decoder = msgspec.json.Decoder(NODES.type)
    bare = transform(decoder.decode(msgspec.json.encode(_node(1, "1"))))
    served = msgspec.structs.replace(bare, pod_cidrs=("10.0.1.0/24", "fd00::100/120"), resource_version="2")
    prefixes = (Prefix(4, (10 << 24) + 256, 24), Prefix(6, (0xFD << 120) + 256, 120))

    def run(count: int) -> None:
        for _ in range(count):
            ledger.on_add(bare, False)
            ledger.reserve(bare, "pool", prefixes, 1)
            ledger.on_update(bare, served)
            ledger.on_delete(served)

    return run


def queueing() -> Operation:
    """Add a key, take it into work, give it back."""
    queue: WorkQueue[Request] = WorkQueue("bench", clock=SystemClock(), rng=system_rng(), metrics=Metrics())
    request = Request("node-1")

    async def all_of(count: int) -> None:
        for _ in range(count):
            queue.add(request)
            queue.done(await queue.get())

    return lambda count: asyncio.run(all_of(count))


def watching() -> Operation:
    """A MODIFIED event of 20 KB: decode, transform, put into the store."""
    decoder = EventDecoder(NODES, NodeTransform())
    lines = [
        b'{"type":"MODIFIED","object":' + msgspec.json.encode(_node(1, str(v))) + b"}\n" for v in range(2_000)
    ]

    def run(count: int) -> None:
        store: Store[Node] = Store(NODES)
        for number in range(count):
            event = decoder.event(lines[number % len(lines)])
            assert isinstance(event, Put)
            store.put(event.object)

    return run


def parsing() -> Operation:
    """The answer to a PATCH: its head and its body, as bytes come in."""
    body = b"x" * 1_500
    head = "\r\n".join(
        (
            "HTTP/1.1 200 OK",
            "Audit-Id: 5a1ee6b8-a3ae-44a2-a4a7-ba5f2d9cf6b1",
            "Cache-Control: no-cache, private",
            "Content-Type: application/json",
            "X-Kubernetes-Pf-Flowschema-Uid: 3b5a7f0e-1f0b-4f3e-9a53-3fe3e3c2b9ab",
            "X-Kubernetes-Pf-Prioritylevel-Uid: 1f9e5f1c-6ad9-4b8a-8a0f-1a6ea5c0e4d4",
            "Date: Mon, 30 Nov 2026 06:00:00 GMT",
            f"Content-Length: {len(body)}",
            "",
            "",
        )
    )
    wire = head.encode() + body

    def run(count: int) -> None:
        for _ in range(count):
            response = Response()
            response.feed(wire)
            assert response.ended
            response.take(4_096)

    return run


OPERATIONS: dict[str, Callable[[], Operation]] = {
    "find, reserve and release a block among 10,000": claiming,
    "a Node that gets ranges, in the ledger, and goes": accounting,
    "a key through the work queue": queueing,
    "a watch event of 20 KB, decoded and cached": watching,
    "an answer of HTTP/1.1, parsed": parsing,
}


def _node(number: int, version: str) -> dict[str, object]:
    found = node(number)
    found["metadata"] |= {"uid": f"uid-{number}", "resourceVersion": version}
    return found


def _seconds(run: Operation, count: int = 2_000) -> float:
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        run(count)
        rounds.append((time.process_time() - began) / count)
    return min(rounds)


def _instructions(name: str, count: int = 400) -> float | None:
    """Instructions an operation, None where they can't be counted."""
    if shutil.which("valgrind") is None:
        return None
    totals = []
    for times in (count, 2 * count):
        argv = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable]
        argv += ["-m", "bench.micro.operations", name, str(times)]
        environ = {**os.environ, "PYTHONHASHSEED": "0"}
        said = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False).stderr
        found = _INSTRUCTIONS.search(said)
        if found is None:
            return None
        totals.append(int(found[1]))
    return (totals[1] - totals[0]) / count


def measure() -> list[Figure]:
    """All of them."""
    figures = []
    for name, prepare in OPERATIONS.items():
        instructions = _instructions(name)
        beside = "" if instructions is None else f"{instructions:,.0f} instructions"
        figures.append(Figure(name, _seconds(prepare()) * 1e6, "µs", beside=beside))
    return figures


if __name__ == "__main__":
    OPERATIONS[sys.argv[1]]()(int(sys.argv[2]))
