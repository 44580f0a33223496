"""What a Node costs in memory: cached, and accounted for.

The Nodes are dual stack with 20 labels, of which three differ from Node to Node, and are read from JSON as
the informer reads them.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec

from bench.report import Figure
from nodeipam.api.node import NODES, NodeTransform, WireNode
from nodeipam.controllers.ledger import Ledger
from nodeipam.runtime import Request

COUNT = 65_000
LIMIT = 800


def encoded(number: int) -> bytes:
    """A Node's JSON, without the status, which isn't read."""
    name = f"node-{number:05}.region-{number % 3}.example.com"
    labels = {f"node.example.com/label-{i}": f"value-{number % 7}" for i in range(16)}
    labels |= {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": f"zone-{number % 3}"}
    labels |= {"example.com/serial": f"SN{number:08}", "kubernetes.io/os": "linux"}
    texts = [f"10.{number >> 8}.{number & 255}.0/24", f"fd00:0:0:{number:x}::/64"]
    metadata = {"name": name, "uid": f"{number:08x}-0000-4000-8000-000000000000", "labels": labels}
    metadata["resourceVersion"] = str(1_000_000 + number)
    return msgspec.json.encode({"metadata": metadata, "spec": {"podCIDR": texts[0], "podCIDRs": texts}})


def grown(make: Callable[[], Any]) -> tuple[Any, int]:
    """What `make` returns, and the bytes that are allocated afterwards and weren't before."""
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    made = make()
    gc.collect()
    return made, tracemalloc.get_traced_memory()[0] - before


def measure() -> list[Figure]:
    """Bytes a Node, in the cache and in the ledger."""
    decoder: msgspec.json.Decoder[WireNode] = msgspec.json.Decoder(NODES.type)
    transform = NodeTransform()

    def cache() -> dict[Request, Any]:
        nodes = (transform(decoder.decode(encoded(number))) for number in range(COUNT))
        return {Request(node.metadata.name): node for node in nodes}

    ledger = Ledger()

    def account() -> None:
        for node in cached.values():
            ledger.on_add(node, True)

    tracemalloc.start()
    cached, in_cache = grown(cache)
    _, in_ledger = grown(account)
    return [
        Figure(f"{what}, one of {COUNT:,} dual-stack Nodes", size / COUNT, "B", LIMIT)
        for what, size in (("cached", in_cache), ("accounted for", in_ledger))
    ]
