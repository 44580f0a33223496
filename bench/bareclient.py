"""What any controller must do at least: list all Nodes in pages, and patch each that has no ranges.

Run by `bench.assignment`, with the API server's URL and the number of requests in flight; the token and the
CA file come in the environment. No cache, no watch, no queue, no election, no retries: an error ends it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import ssl
import sys
from collections.abc import Iterator

import aiohttp
import msgspec

NODES = "/api/v1/nodes"


class Meta(msgspec.Struct):
    """A Node's name."""

    name: str


class Node(msgspec.Struct):
    """A Node, the least of it."""

    metadata: Meta


class ListMeta(msgspec.Struct, rename={"token": "continue"}):
    """Where the next page begins."""

    token: str = ""


class Page(msgspec.Struct):
    """A page of the list."""

    metadata: ListMeta
    items: list[Node]


async def main(url: str, in_flight: int) -> None:
    """List, then patch; then wait to be ended, so that what it cost can be read."""
    headers = {"Authorization": f"Bearer {os.environ['TOKEN']}", "Accept-Encoding": "identity"}
    tls = ssl.create_default_context(cafile=os.environ["CA"])
    connector = aiohttp.TCPConnector(limit=0, ssl=tls)
    async with aiohttp.ClientSession(url, headers=headers, connector=connector) as session:
        names = await listed(session)
        work = zip(names, blocks(), strict=False)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(in_flight):
                tasks.create_task(patcher(session, work))
        await asyncio.Event().wait()


async def listed(session: aiohttp.ClientSession) -> list[str]:
    """The names of all Nodes."""
    names: list[str] = []
    token = ""
    while True:
        params = {"limit": "500"} | ({"continue": token} if token else {})
        async with session.get(NODES, params=params, raise_for_status=True) as answer:
            page = msgspec.json.decode(await answer.read(), type=Page)
        names += [node.metadata.name for node in page.items]
        token = page.metadata.token
        if not token:
            return names


async def patcher(session: aiohttp.ClientSession, work: Iterator[tuple[str, list[str]]]) -> None:
    """Patch what is left to be patched, one after the other."""
    headers = {
        "Content-Type": "application/merge-patch+json",
        "Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    }
    for name, texts in work:
        body = msgspec.json.encode({"spec": {"podCIDR": texts[0], "podCIDRs": texts}})
        async with session.patch(
            f"{NODES}/{name}", data=body, headers=headers, raise_for_status=True
        ) as answer:
            await answer.read()


def blocks() -> Iterator[list[str]]:
    """One block after the other, of both families."""
    v4 = ipaddress.ip_network("10.0.0.0/8").subnets(new_prefix=24)
    v6 = ipaddress.ip_network("fd00::/48").subnets(new_prefix=120)
    for one, other in zip(v4, v6, strict=False):
        yield [str(one), str(other)]


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
