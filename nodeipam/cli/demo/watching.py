"""The observer's eyes: lists and watches over HTTP, with nothing of the controller's own client.

Invariant: no change escapes. Where the thread of a watch is lost, the observer is told so;
nothing is listed anew.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from .observer import Observer

__all__ = ["observing"]

See = Callable[[str, Mapping[str, Any], float], None]
_NODES = "/api/v1/nodes"
_POOLS = "/apis/networking.x-k8s.io/v1/clustercidrs"
_LEASES = "/apis/coordination.k8s.io/v1/leases"


@asynccontextmanager
async def observing(url: str, observer: Observer) -> AsyncIterator[None]:
    """Let an observer see what the API server at `url` shows, for as long as the context is open."""
    limits = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(url, timeout=limits, headers={"User-Agent": "observer"}) as session,
        asyncio.TaskGroup() as group,
    ):
        tasks = []
        for path, see in (
            (_NODES, observer.see_node),
            (_POOLS, observer.see_pool),
            (_LEASES, observer.see_lease),
        ):
            version = await _list(session, path, see)
            watch = _watch(session, path, see, version, observer.lose)
            tasks.append(group.create_task(watch, name=f"observer of {path}"))
        yield
        for task in tasks:
            task.cancel()


async def _list(session: aiohttp.ClientSession, path: str, see: See) -> str:
    async with session.get(path) as answer:
        found = json.loads(await answer.read())
    for item in found["items"]:
        see("ADDED", item, time.monotonic())
    version: str = found["metadata"]["resourceVersion"]
    return version


async def _watch(
    session: aiohttp.ClientSession, path: str, see: See, version: str, lose: Callable[[str], None]
) -> None:
    while True:
        query = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"}
        try:
            async with session.get(path, params=query, raise_for_status=True) as answer:
                while line := await answer.content.readline():
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        lose(f"the observer lost the watch of {path}: {event['object'].get('message')}")
                        return
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        see(event["type"], event["object"], time.monotonic())
        except (aiohttp.ClientError, json.JSONDecodeError) as error:
            lose(f"the observer lost the watch of {path}: {error}")
            return
