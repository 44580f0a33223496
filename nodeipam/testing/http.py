"""The other face of the API server model: the same server over HTTP, for any client in any language.

A request that comes in on the socket is opened on a :class:`~nodeipam.testing.transport.ModelTransport`,
and its answer is copied out. So latency, faults and the log are those of the seam; here is only HTTP.
Invariant: where a client of the seam would get a TransportError, a client of this face loses its connection.
"""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from nodeipam.runtime.errors import TransportError
from nodeipam.runtime.transport import Answer, Call

from .apiserver import APIServer
from .listoptions import asks_to_watch
from .status import Refusal
from .transport import ModelTransport

__all__ = ["HTTPServer"]

_BODY_LIMIT = 3 * 1024 * 1024
"""Bytes of a request's body that kube-apiserver reads."""
_CHUNK = 1 << 30
"""An answer that is no stream is there at once: it is read in one go."""


class HTTPServer:
    """Serves an :class:`APIServer` on a socket for as long as its context is open, at `url`.

    A client's identity, as faults and the log know it, is its bearer token; without one it is the User-Agent
    up to the first blank or slash ("kubectl"), and without that "client". Nobody is turned away. The server's
    timestamps are this machine's from then on, so objects that were put before are of another age.
    """

    def __init__(self, server: APIServer, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Port 0: one that is free."""
        self.url = ""
        self._server = server
        self._host = host
        self._port = port
        self._runner = web.ServerRunner(
            # Cancelled with its connection, a handler closes the watch that it copies.
            web.Server(
                self._handle,
                request_factory=_request,
                handler_cancellation=True,
                access_log=None,
            ),
            shutdown_timeout=0.0,
        )

    def __repr__(self) -> str:
        return f"<HTTPServer at {self.url or 'no address yet'}>"

    async def __aenter__(self) -> Self:
        now = asyncio.get_running_loop().time()
        self._server.epoch = datetime.now(UTC) - timedelta(seconds=now)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except BaseException:
            await self._runner.cleanup()
            raise
        port = self._runner.addresses[0][1]
        self.url = f"http://[{self._host}]:{port}" if ":" in self._host else f"http://{self._host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await request.read() if request.can_read_body else None
        except web.HTTPRequestEntityTooLarge:
            message = f"Request entity too large: limit is {_BODY_LIMIT}"
            refusal = Refusal(413, message, reason="RequestEntityTooLarge")
            return web.Response(status=413, body=refusal.encode(), content_type="application/json")
        call = Call(
            method=request.method,
            path=request.rel_url.raw_path,
            query=tuple(request.query.items()),
            headers=request.headers,
            body=body,
            timeout=math.inf,  # the client's own business, which tells by leaving
        )
        try:
            async with ModelTransport(self._server, identity=_identity(request)).open(call) as answer:
                if asks_to_watch(call.query) and answer.status == 200:
                    return await _stream(request, answer)
                return web.Response(
                    status=answer.status, headers=answer.headers, body=await answer.read(_CHUNK)
                )
        except TransportError:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)  # goes nowhere


async def _stream(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """Copy a watch line by line until it ends; raises TransportError where it breaks off."""
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    await response.prepare(request)
    try:
        while line := await answer.readline(_CHUNK):
            await response.write(line)
        await response.write_eof()
    except ConnectionError:
        pass  # the client went away between two lines
    return response


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    """What aiohttp makes of a request, with the body's limit of kube-apiserver."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_BODY_LIMIT)


def _identity(request: web.BaseRequest) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    agent = request.headers.get("User-Agent", "").split()
    return agent[0].partition("/")[0] if agent else "client"
