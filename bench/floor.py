"""The least that a controller in asyncio has to do, as `bare client` is the least in any language.

It lists Nodes in pages, watches them, and patches each, 16 in flight: over nodeipam's HTTP transport, with
msgspec, but with no cache, queue, ledger, metrics, election or Lease. What it costs nobody can go below in
this interpreter, so nodeipam's CPU is told as a ratio to it as well.

Run as a process by the bench: `python floor.py KUBECONFIG`.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec

from nodeipam.runtime import Call
from nodeipam.runtime.http import HTTPTransport
from nodeipam.runtime.kubeconfig import from_kubeconfig

_NODES = "/api/v1/nodes"
_PARTIAL = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_JSON = {"Accept": "application/json"}
_MERGE = {"Accept": _PARTIAL, "Content-Type": "application/merge-patch+json"}
_IN_FLIGHT = 16
_PAGE = 100
_LIMIT = 1 << 26


class _Metadata(msgspec.Struct, rename="camel"):
    name: str = ""
    uid: str = ""
    resource_version: str = ""


class _Spec(msgspec.Struct):
    pod_cidrs: list[str] = msgspec.field(default_factory=list, name="podCIDRs")


class _Node(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct):
    metadata: _ListMeta
    items: list[_Node]


class _Event(msgspec.Struct):
    type: str
    object: _Node


_PAGE_DECODER = msgspec.json.Decoder(_Page)
_EVENT_DECODER = msgspec.json.Decoder(_Event)


async def _body(transport: HTTPTransport, call: Call) -> bytes:
    async with transport.open(call) as answer:
        parts = []
        while part := await answer.read(_LIMIT):
            parts.append(part)
        if answer.status != 200:
            raise RuntimeError(f"{call}: {answer.status} {b''.join(parts)[:200]!r}")
        return b"".join(parts)


async def _list(transport: HTTPTransport) -> tuple[list[_Node], str]:
    nodes: list[_Node] = []
    query: tuple[tuple[str, str], ...] = (("limit", str(_PAGE)),)
    while True:
        call = Call(method="GET", path=_NODES, query=query, headers=_JSON, timeout=30)
        page = _PAGE_DECODER.decode(await _body(transport, call))
        nodes += page.items
        if not page.metadata.continue_:
            return nodes, page.metadata.resource_version
        query = (("limit", str(_PAGE)), ("continue", page.metadata.continue_))


async def _watch(transport: HTTPTransport, version: str) -> None:
    query = (("watch", "1"), ("resourceVersion", version))
    call = Call(method="GET", path=_NODES, query=query, headers=_JSON, timeout=30, idle=600)
    async with transport.open(call) as answer:
        while line := await answer.readline(_LIMIT):
            _EVENT_DECODER.decode(line)


async def _patch(transport: HTTPTransport, number: int, node: _Node) -> None:
    texts = [f"10.{number >> 8}.{number & 255}.0/24", f"fd00::{number >> 8:x}:{number << 8 & 0xFFFF:x}/120"]
    meta = node.metadata
    body = msgspec.json.encode(
        {
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
            "spec": {"podCIDR": texts[0], "podCIDRs": texts},
        }
    )
    call = Call(method="PATCH", path=f"{_NODES}/{meta.name}", headers=_MERGE, body=body, timeout=30)
    msgspec.json.decode(await _body(transport, call), type=dict[str, msgspec.Raw])


async def _main(kubeconfig: str) -> None:
    async with HTTPTransport(await from_kubeconfig(kubeconfig)) as transport, asyncio.TaskGroup() as group:
        nodes, version = await _list(transport)
        group.create_task(_watch(transport, version))
        work = iter(enumerate(nodes))

        async def worker() -> None:
            for number, node in work:
                await _patch(transport, number, node)

        for _ in range(_IN_FLIGHT):
            group.create_task(worker())


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
