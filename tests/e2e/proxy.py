"""A proxy before the API server that loses, holds and cuts what a test names.

It speaks plain HTTP on loopback and passes everything on over TLS, watches included. A held request is kept
whole, so it can be delivered long after the one who sent it has died.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

from tests.e2e.controlplane import ControlPlane

_HOP_BY_HOP = {
    "connection",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
}


class Held:
    """A request that arrived and waits for the test's decision."""

    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.target = target  # path and query
        self.headers = headers
        self.body = body
        self.decision: asyncio.Future[web.Response | None] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"<Held {self.method} {self.target} {self.body[:200]!r}>"


Match = Callable[[str, str], bool]


class Proxy:
    """Stands between a replica and the API server; an asynchronous context manager. `url` is its address."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._rules: list[tuple[Match, asyncio.Queue[Held]]] = []
        self._open: set[asyncio.Transport] = set()
        self._severed = False
        self.url = ""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            base_url=self._plane.url,
            connector=aiohttp.TCPConnector(ssl=self._plane.tls(), limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0),
            auto_decompress=False,
        )
        application = web.Application(client_max_size=64 * 2**20)
        application.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sever()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    def hold(self, method: str, path_prefix: str) -> "asyncio.Queue[Held]":
        """Hold all such requests from now on; they come out of the queue that this returns. See `pass_on`."""
        queue: asyncio.Queue[Held] = asyncio.Queue()
        self._rules.append((lambda verb, path: verb == method and path.startswith(path_prefix), queue))
        return queue

    def pass_on(self, queue: "asyncio.Queue[Held]") -> None:
        """Hold no more requests for this queue. What it has held stays held."""
        self._rules = [rule for rule in self._rules if rule[1] is not queue]

    async def deliver(self, held: Held) -> int:
        """Send a held request to the API server, hand the answer to its sender if that still waits.

        Returns the status of the answer. May be called again: the request is sent twice then.
        """
        status, answer = await self._forward(held)
        if not held.decision.done():
            held.decision.set_result(answer)
        return status

    async def lose_answer(self, held: Held) -> int:
        """Send a held request to the API server, and cut its sender off; returns the status."""
        status, _ = await self._forward(held)
        self.cut(held)
        return status

    def cut(self, held: Held) -> None:
        """Cut the sender of a held request off. It may still be delivered later."""
        if not held.decision.done():
            held.decision.set_result(None)

    def answer(self, held: Held, status: int, body: bytes, *, content_type: str = "application/json") -> None:
        """Answer a held request in the API server's place."""
        if not held.decision.done():
            held.decision.set_result(web.Response(status=status, body=body, content_type=content_type))

    def sever(self) -> None:
        """Cut all connections, and every new one until `mend`."""
        self._severed = True
        for transport in list(self._open):
            transport.abort()

    def mend(self) -> None:
        """Let connections through again."""
        self._severed = False

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        if transport is None or self._severed:
            return self._abort(request)
        self._open.add(transport)
        try:
            body = await request.read()
            headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP_BY_HOP}
            held = Held(request.method, request.raw_path, headers, body)
            for match, queue in self._rules:
                if match(request.method, request.path):
                    queue.put_nowait(held)
                    return await held.decision or self._abort(request)
            return await self._stream(request, held)
        finally:
            self._open.discard(transport)

    async def _stream(self, request: web.Request, held: Held) -> web.StreamResponse:
        try:
            async with self._send(held) as upstream:
                answer = web.StreamResponse(status=upstream.status, headers=_headers(upstream))
                await answer.prepare(request)
                async for chunk in upstream.content.iter_any():
                    await answer.write(chunk)
                await answer.write_eof()
                return answer
        except (aiohttp.ClientError, OSError):
            return self._abort(request)

    async def _forward(self, held: Held) -> tuple[int, web.Response]:
        async with self._send(held) as upstream:
            body = await upstream.read()
            return upstream.status, web.Response(
                status=upstream.status, body=body, headers=_headers(upstream)
            )

    def _send(self, held: Held) -> "aiohttp.client._RequestContextManager":
        assert self._session is not None, "use it as `async with Proxy(…) as proxy`"
        return self._session.request(
            held.method, held.target, data=held.body or None, headers=held.headers, allow_redirects=False
        )

    def _abort(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=502)  # never sent


def _headers(upstream: aiohttp.ClientResponse) -> dict[str, str]:
    return {key: value for key, value in upstream.headers.items() if key.lower() not in _HOP_BY_HOP}
