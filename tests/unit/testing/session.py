"""A client of the API server model that says one thing at a time, and what its tests talk about."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from nodeipam.runtime.transport import Answer, Call
from nodeipam.testing import APIServer, ModelTransport, run_virtual

NODES = "/api/v1/nodes"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
WIDGETS = "/apis/example.com/v1/widgets"
PARTIAL = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"


class Session:
    """A client that says one thing at a time."""

    def __init__(self, server: APIServer, identity: str = "me") -> None:
        self.transport = ModelTransport(server, identity=identity)

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        accept: str = "",
        content_type: str = "",
        **query: str,
    ) -> tuple[int, Any]:
        """Status and decoded body of the answer."""
        usual = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Content-Type": content_type or usual, "Accept": accept}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        call = Call(
            method=method, path=path, query=tuple(query.items()), headers=headers, body=data, timeout=10.0
        )
        async with self.transport.open(call) as answer:
            text = await answer.read(1 << 24)
            return answer.status, json.loads(text)

    @asynccontextmanager
    async def watch(
        self, path: str, *, accept: str = "", idle: float = 600.0, **query: str
    ) -> AsyncIterator[Answer]:
        """A watch that asks for bookmarks."""
        query = {"watch": "1", "allowWatchBookmarks": "true"} | query
        call = Call(
            method="GET",
            path=path,
            query=tuple(query.items()),
            headers={"Accept": accept},
            timeout=10.0,
            idle=idle,
        )
        async with self.transport.open(call) as answer:
            yield answer


def play(scene: Callable[[APIServer, Session], Awaitable[Any]]) -> Any:
    """Run a scene with one server and one client, in virtual time."""

    async def main() -> Any:
        server = APIServer()
        server.register("example.com/v1", "Widget", "widgets", namespaced=False, status=True)
        return await scene(server, Session(server))

    return run_virtual(main())


def node(name: str, **spec: Any) -> dict[str, Any]:
    """A Node."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        **({"spec": spec} if spec else {}),
    }


def widget(name: str, **spec: Any) -> dict[str, Any]:
    """A cluster-scoped custom resource with a status."""
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}


async def event(answer: Answer) -> tuple[str, dict[str, Any]]:
    """Type and object of the next event."""
    found = json.loads(await answer.readline(1 << 20))
    return found["type"], found["object"]


async def story(answer: Answer, count: int) -> list[tuple[str, str]]:
    """Type and name of the next events."""
    events = [await event(answer) for _ in range(count)]
    return [(kind, obj["metadata"].get("name", "")) for kind, obj in events]


def reason(answer: tuple[int, Any]) -> tuple[int, str]:
    """Code and reason of a Status."""
    status, body = answer
    assert ("Status", status) == (body["kind"], body["code"])
    return status, body["reason"]


def fields(answer: tuple[int, Any]) -> list[str]:
    """The fields that a Status blames."""
    return [cause["field"] for cause in answer[1]["details"]["causes"]]


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()
