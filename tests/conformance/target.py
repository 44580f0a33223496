"""What the conformance tests say to a server, and what they read of its answers, whichever server it is.

Both targets stand behind the runtime's own seam, so they get the same bytes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from nodeipam.runtime.transport import Answer, Call, Transport

__all__ = ["Answered", "Object", "Server", "Watching", "config_map", "lease", "node", "pool"]

Object = dict[str, Any]

PATCHES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
NODES = "/api/v1/nodes"
POOLS = "/apis/networking.x-k8s.io/v1/clustercidrs"
PARTIAL = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
_LIMIT = 1 << 24
_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, read to its end."""

    code: int
    headers: Mapping[str, str]
    body: Any
    """Decoded where it is JSON, else the text."""

    @property
    def reason(self) -> tuple[int, str]:
        """Code and reason of a Status: what programs decide by."""
        return self.code, self.body.get("reason", "") if isinstance(self.body, dict) else ""

    @property
    def causes(self) -> list[tuple[str, str]]:
        """Field and reason of each cause that a Status gives."""
        causes = self.body.get("details", {}).get("causes", [])
        return [(cause.get("field", ""), cause["reason"]) for cause in causes]

    @property
    def message(self) -> str:
        """The message of a Status."""
        return str(self.body["message"])

    @property
    def metadata(self) -> Object:
        """The metadata of an object or a list."""
        found: Object = self.body["metadata"]
        return found

    @property
    def version(self) -> str:
        """The resourceVersion of an object or a list."""
        return str(self.metadata["resourceVersion"])

    @property
    def names(self) -> list[str]:
        """The names of a list's items, in their order."""
        return [item["metadata"]["name"] for item in self.body["items"]]


class Watching:
    """A watch that is open."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def event(self) -> Object | None:
        """The next event, None when the server has ended the watch."""
        async with asyncio.timeout(_SECONDS):
            line = await self._answer.readline(_LIMIT)
        if not line:
            return None
        found: Object = json.loads(line)
        return found

    async def seen(self) -> tuple[str, str]:
        """Type of the next event and name of its object."""
        event = await self.event()
        assert event is not None, "the watch has ended"
        return event["type"], event["object"]["metadata"]["name"]


class Server:
    """One target. `name` starts the names of all that the test makes; `namespace` is the test's own."""

    def __init__(self, transport: Transport, *, name: str) -> None:
        self.name = name
        self.namespace = name
        self._transport = transport
        self._made: list[str] = []

    def at(self, plural: str, name: str = "", *, group: str = "") -> str:
        """The path of a collection in the test's namespace, or of an object in it."""
        root = f"/apis/{group}" if group else "/api/v1"
        return f"{root}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    @property
    def leases(self) -> str:
        """The path of the Leases in the test's namespace."""
        return self.at("leases", group="coordination.k8s.io/v1")

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        patch: str = "merge",
        content_type: str = "",
        accept: str = "application/json",
        **query: str,
    ) -> Answered:
        """Send one request and read its answer."""
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type or (
                PATCHES[patch] if method == "PATCH" else "application/json"
            )
        call = Call(
            method=method,
            path=path,
            query=tuple(query.items()),
            headers=headers,
            body=body if isinstance(body, bytes) or body is None else json.dumps(body).encode(),
            timeout=_SECONDS,
        )
        while True:
            answered = await self._exchange(call)
            if "storage is (re)initializing" not in str(answered.body):
                return answered
            await asyncio.sleep(0.05)  # so it is for a moment after a definition came or changed

    async def get(self, path: str, **options: Any) -> Answered:
        """Read an object or a list, which has to be there."""
        return _good(await self.send("GET", path, **options))

    async def create(self, path: str, body: Object, **options: Any) -> Answered:
        """Create an object that the server takes; it is removed after the test."""
        answered = _good(await self.send("POST", path, body, **options))
        if "dryRun" not in options:
            self.made(f"{path}/{answered.metadata['name']}")
        return answered

    async def patch(self, path: str, body: Any, **options: Any) -> Answered:
        """Change an object by a merge patch that the server takes."""
        return _good(await self.send("PATCH", path, body, **options))

    async def delete(self, path: str, body: Any = None, **options: Any) -> Answered:
        """Delete what is there."""
        return _good(await self.send("DELETE", path, body, **options))

    @asynccontextmanager
    async def watch(
        self, path: str, *, accept: str = "application/json", **query: str
    ) -> AsyncIterator[Watching]:
        """Watch a collection."""
        call = Call(
            method="GET",
            path=path,
            query=(("watch", "true"), *query.items()),
            headers={"Accept": accept},
            timeout=_SECONDS,
            idle=_SECONDS,
        )
        async with self._transport.open(call) as answer:
            assert answer.status == 200, await answer.read(_LIMIT)
            yield Watching(answer)

    def made(self, path: str) -> None:
        """Have an object removed after the test."""
        self._made.append(path)

    async def clean(self) -> None:
        """Remove what the test has made; finalizers are taken off, since nobody is there to honour them."""
        for path in reversed(self._made):
            left = await self.send("DELETE", path)
            if left.code == 200 and left.body.get("metadata", {}).get("finalizers"):
                await self.send("PATCH", path, {"metadata": {"finalizers": None}})

    async def _exchange(self, call: Call) -> Answered:
        async with self._transport.open(call) as answer:
            data = bytearray()
            while chunk := await answer.read(_LIMIT):
                data += chunk
            try:
                body = json.loads(data)
            except ValueError:
                body = data.decode()
            return Answered(answer.status, answer.headers, body)


def lease(name: str, **spec: Any) -> Object:
    """A Lease."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": spec,
    }


def config_map(name: str, *, labels: Mapping[str, str] | None = None, **data: str) -> Object:
    """A ConfigMap."""
    metadata: Object = {"name": name}
    if labels:
        metadata["labels"] = dict(labels)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def node(name: str, *pod_cidrs: str, **metadata: Any) -> Object:
    """A Node, with podCIDRs that it brings along."""
    spec = {"podCIDR": pod_cidrs[0], "podCIDRs": list(pod_cidrs)} if pod_cidrs else {}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, **metadata}, "spec": spec}


def pool(name: str, spec: Any = None, **metadata: Any) -> Object:
    """A ClusterCIDR."""
    return {
        "apiVersion": "networking.x-k8s.io/v1",
        "kind": "ClusterCIDR",
        "metadata": {"name": name, **metadata},
        "spec": {"perNodeHostBits": 8, "ipv4": "10.244.0.0/16"} if spec is None else spec,
    }


def _good(answered: Answered) -> Answered:
    assert answered.code in {200, 201}, answered.body
    return answered
