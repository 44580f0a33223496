from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from nodeipam.cli.demo.observer import Observer
from nodeipam.cli.demo.watching import observing
from nodeipam.testing import APIServer, HTTPServer


def node(name: str, *cidrs: str) -> dict[str, Any]:
    """A Node."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"podCIDRs": list(cidrs)} if cidrs else {},
    }


@asynccontextmanager
async def observed() -> AsyncIterator[tuple[APIServer, Observer]]:
    """An API server model, and an observer who watches it over HTTP."""
    server, observer = APIServer(), Observer()
    server.register("networking.x-k8s.io/v1", "ClusterCIDR", "clustercidrs", namespaced=False)
    server.put(node("early", "10.0.0.0/24"))
    async with HTTPServer(server) as http, observing(http.url, observer):
        yield server, observer


async def until(holds: Callable[[], bool]) -> None:
    """Let the watches come through."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - the observer is only data
            await asyncio.sleep(0.001)


async def test_the_observer_can_fail() -> None:
    """Nodes that share addresses, one of them older than the watch, are seen over HTTP as a violation."""
    async with observed() as (server, observer):
        server.put(node("late", "10.0.0.128/25"))
        await until(lambda: bool(observer.violations))

    assert ["late got 10.0.0.128/25 though early has 10.0.0.0/24"] == [v.text for v in observer.violations]


async def test_a_change_is_seen() -> None:
    """So are ranges that change."""
    async with observed() as (server, observer):
        server.put(node("early", "10.0.1.0/24"))
        await until(lambda: bool(observer.violations))

    assert ["changed"] == [violation.rule for violation in observer.violations]


async def test_a_watch_that_ends_is_resumed() -> None:
    """The server may end a watch: nothing that happens meanwhile is missed."""
    async with observed() as (server, observer):
        server.close_watches()
        server.put(node("late", "10.0.1.0/24"))
        server.delete("nodes", "early")
        await until(lambda: observer.left == 1)

    assert (["late"], []) == ([seen.name for seen in observer.nodes.values()], observer.violations)


async def test_a_watch_that_breaks_off() -> None:
    """An observer whose watch breaks off says so, instead of going on with a gap."""
    async with observed() as (server, observer):
        await until(lambda: 3 == len(server.watches))
        server.break_watches()
        await until(lambda: bool(observer.violations))

    assert {"seen"} == {violation.rule for violation in observer.violations}


async def test_history_is_gone() -> None:
    """What happened between two watches, and is compacted away, can't be vouched for."""
    async with observed() as (server, observer):
        await until(lambda: 3 == len(server.watches))
        server.close_watches()
        server.put(node("late", "10.0.1.0/24"))
        server.compact()
        await until(lambda: bool(observer.violations))

    assert {"seen"} == {violation.rule for violation in observer.violations}
