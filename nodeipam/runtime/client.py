"""The verbs of the Kubernetes API over a transport: bytes out, small structs back.

Every answer is checked: a status of 400 or more is an APIError, anything that no API server says is a
ProtocolError. Nothing is retried here: the caller knows what a repeated write would mean.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar

import msgspec

from .clock import Clock, Rng
from .errors import ConfigurationError
from .exchange import Exchanges, Reply
from .metrics import Metrics
from .objects import PartialObject, Request, Resource
from .pages import Page, Pages, Seen
from .ratelimit import TokenBucket
from .transport import Answer, Call, Transport

__all__ = ["Body", "Client", "Page", "Pages", "WatchStream"]

T = TypeVar("T")

Body = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
"""What is sent: a mapping, or a function that returns one.

The function is called in the same synchronous step in which the request is handed to the transport, after all
waiting. So what it reads (a version) and checks (a lease) isn't stale when the request leaves; what it raises
is raised to the caller, and nothing is sent.
"""

_PAGE_LIMIT = 64 * 1024 * 1024
_OBJECT_LIMIT = 4 * 1024 * 1024
_LINE_LIMIT = 8 * 1024 * 1024

_JSON = "application/json"
_PARTIAL = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
_PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"

_VERSION = re.compile("[0-9]{1,20}")  # an uint64

_Query = tuple[tuple[str, str], ...]


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")
    remaining_item_count: int | None = None


class _List(msgspec.Struct, Generic[T]):
    metadata: _ListMeta
    items: list[T] | None = None


class Client:
    """Speaks to one API server, over a transport that somebody else closes.

    `timeout` is the number of seconds that a whole exchange may take (for a watch: until it is open). With a
    `limiter` every request waits for a token first.

    Every verb raises APIError (the server said no), TransportError or ProtocolError (no usable answer: it may
    have been carried out). A success that doesn't say which version was written is no usable answer either.
    Cancelling one closes its connection; a write that was being sent may yet happen.

    Raises:
        ConfigurationError: `timeout` isn't a positive number.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        clock: Clock,
        rng: Rng,
        metrics: Metrics | None = None,
        timeout: float = 30.0,
        limiter: TokenBucket | None = None,
    ) -> None:
        if not 0 < timeout < math.inf:
            raise ConfigurationError(f"a request's timeout is a positive number of seconds, not {timeout}")
        self.clock = clock
        self.rng = rng
        self.metrics = Metrics() if metrics is None else metrics
        self._transport = transport
        self._exchanges = Exchanges(transport, clock=clock, metrics=self.metrics)
        self._timeout = timeout
        self._limiter = limiter

    def __repr__(self) -> str:
        return f"<Client of {self.host}>"

    @property
    def host(self) -> str:
        """Host and port of the API server."""
        return self._transport.host

    def unlimited(self) -> Client:
        """The same client without its limiter: for leases, whose renewal must not wait in line."""
        if self._limiter is None:
            return self
        return Client(
            self._transport, clock=self.clock, rng=self.rng, metrics=self.metrics, timeout=self._timeout
        )

    async def get(self, resource: Resource[T], request: Request) -> T:
        """One object, by a consistent read."""
        found: T = await self._read(resource, request, resource.type)
        return found

    async def get_raw(self, resource: Resource[Any], request: Request) -> dict[str, Any]:
        """One object complete, as a PUT must send it back: a partial one would drop fields."""
        found: dict[str, Any] = await self._read(resource, request, dict)
        return found

    def pages(
        self,
        resource: Resource[T],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 100,
    ) -> Pages[T]:
        """List consistently, in pages of `limit` objects: see :class:`~nodeipam.runtime.pages.Pages`."""
        query = (("limit", str(limit)), *_selection(label_selector, field_selector))
        return self._pages(resource.path(namespace), query, _JSON, resource.type, (f"{resource.kind}List",))

    def pages_metadata(
        self,
        resource: Resource[Any],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 500,
    ) -> Pages[PartialObject]:
        """List consistently, of each object only the metadata: a tenth of the bytes."""
        kinds = ("PartialObjectMetadataList", f"{resource.kind}List")
        query = (("limit", str(limit)), *_selection(label_selector, field_selector))
        return self._pages(resource.path(namespace), query, _PARTIAL_LIST, PartialObject, kinds)

    def watch(
        self,
        resource: Resource[Any],
        *,
        namespace: str = "",
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int,
        idle: float,
        send_initial_events: bool = False,
    ) -> AbstractAsyncContextManager[WatchStream]:
        """Watch from `resource_version` on, with bookmarks.

        The server ends it after `timeout_seconds`; a silence of `idle` seconds is a TransportError.
        `send_initial_events` streams the existing objects first (WatchList), up to a bookmark that says so.
        """
        query = [
            ("watch", "1"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", resource_version),
            ("timeoutSeconds", str(timeout_seconds)),
            *_selection(label_selector, field_selector),
        ]
        if send_initial_events:
            query += [("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan")]
        call = Call(
            method="GET",
            path=resource.path(namespace),
            query=tuple(query),
            headers={"Accept": _JSON},
            timeout=self._timeout,
            idle=idle,
        )
        return _Watch(call, self._exchanges.open(call), self._turn)

    async def create(self, resource: Resource[Any], body: Body, *, namespace: str = "") -> PartialObject:
        """Create an object; its metadata is returned."""
        return await self._write("POST", resource.path(namespace), body)

    async def update(
        self, resource: Resource[Any], request: Request, body: Body, *, subresource: str = ""
    ) -> PartialObject:
        """Replace an object by PUT; its metadata is returned."""
        return await self._write("PUT", resource.path(request.namespace, request.name, subresource), body)

    async def patch(
        self,
        resource: Resource[Any],
        request: Request,
        body: Body,
        *,
        subresource: str = "",
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> PartialObject:
        """Change an object by a JSON merge patch (RFC 7386); its metadata is returned.

        `uid` and `resource_version` are preconditions, put into the patch: if the object has another UID by
        now the server answers 409 or 422, if it has another version 409, and changes nothing.
        """
        path = resource.path(request.namespace, request.name, subresource)
        if preconditions := _preconditions(uid, resource_version):
            body = _with_metadata(body, preconditions)
        return await self._write("PATCH", path, body, content_type="application/merge-patch+json")

    async def delete(
        self,
        resource: Resource[Any],
        request: Request,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> None:
        """Delete an object, if it still has this UID and version (else 409). Finalizers may delay its end."""
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if preconditions := _preconditions(uid, resource_version):
            body["preconditions"] = preconditions
        path = resource.path(request.namespace, request.name)
        (await self._send("DELETE", path, body, accept=_JSON)).decode(PartialObject)

    async def _write(self, method: str, path: str, body: Body, *, content_type: str = _JSON) -> PartialObject:
        reply = await self._send(method, path, body, content_type=content_type)
        found: PartialObject = reply.decode(PartialObject)
        written = found.metadata
        if not written.uid or not _VERSION.fullmatch(written.resource_version):
            raise reply.unexpected("it doesn't say which version of what was written")
        return found

    async def _send(
        self, method: str, path: str, body: Body, *, content_type: str = _JSON, accept: str = _PARTIAL
    ) -> Reply:
        await self._turn()
        # From here to the transport there is no await: see Body.
        call = Call(
            method=method,
            path=path,
            query=(("timeout", f"{math.ceil(self._timeout)}s"),),
            headers={"Accept": accept, "Content-Type": content_type},
            body=msgspec.json.encode(body() if callable(body) else body),
            timeout=self._timeout,
        )
        return await self._exchanges.reply(call, _OBJECT_LIMIT)

    async def _read(self, resource: Resource[Any], request: Request, type: Any) -> Any:
        await self._turn()
        call = Call(
            method="GET",
            path=resource.path(request.namespace, request.name),
            headers={"Accept": _JSON},
            timeout=self._timeout,
        )
        reply = await self._exchanges.reply(call, _OBJECT_LIMIT)
        return reply.decode(type, kinds=(resource.kind,))

    def _pages(self, path: str, query: _Query, accept: str, type: Any, kinds: tuple[str, ...]) -> Pages[Any]:
        async def fetch(token: str, seen: Seen) -> Page[Any]:
            await self._turn()
            call = Call(
                method="GET",
                path=path,
                query=(*query, ("continue", token)) if token else query,
                headers={"Accept": accept},
                timeout=self._timeout,
            )
            reply = await self._exchanges.reply(call, _PAGE_LIMIT, seen)
            found: _List[Any] = reply.decode(_List[type], kinds=kinds)
            return Page(
                items=found.items or [],
                resource_version=found.metadata.resource_version,
                continue_=found.metadata.continue_,
                remaining=found.metadata.remaining_item_count,
            )

        return Pages(fetch)

    async def _turn(self) -> None:
        """Wait for a token of the limiter."""
        if self._limiter is not None and (wait := self._limiter.reserve(self.clock.monotonic())) > 0:
            await asyncio.sleep(wait)


class WatchStream:
    """An open watch: its events, each one line of JSON."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def next(self) -> bytes | None:
        """The next event as it came, None at the end. Empty lines are left out.

        Raises:
            TransportError: the watch broke off, or was silent for longer than its `idle`.
            ProtocolError: an event is longer than 8 MiB.
        """
        while line := await self._answer.readline(_LINE_LIMIT):
            if not line.isspace():
                return line
        return None


class _Watch:
    """A watch as a context: leaving it ends the watch on the server too."""

    __slots__ = ("_call", "_exchange", "_turn")

    def __init__(
        self, call: Call, exchange: AbstractAsyncContextManager[Answer], turn: Callable[[], Awaitable[None]]
    ) -> None:
        self._call = call
        self._exchange = exchange
        self._turn = turn

    def __repr__(self) -> str:
        return f"<Watch {self._call.path}>"

    async def __aenter__(self) -> WatchStream:
        await self._turn()
        return WatchStream(await self._exchange.__aenter__())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exchange.__aexit__(kind, error, trace)


def _selection(label_selector: str, field_selector: str) -> _Query:
    given = (("labelSelector", label_selector), ("fieldSelector", field_selector))
    return tuple((name, value) for name, value in given if value)


def _preconditions(uid: str | None, resource_version: str | None) -> dict[str, str]:
    given = (("uid", uid), ("resourceVersion", resource_version))
    return {name: value for name, value in given if value is not None}


def _with_metadata(body: Body, added: Mapping[str, str]) -> Body:
    def whole() -> Mapping[str, Any]:
        given = body() if callable(body) else body
        return {**given, "metadata": {**given.get("metadata", {}), **added}}

    return whole
