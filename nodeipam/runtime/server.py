"""The HTTP server for probes and metrics: /healthz, /readyz and /metrics, in controller-runtime's text.

It serves whoever can reach its port, so nobody may exhaust it: see :mod:`nodeipam.runtime.connections`.
Metrics are rendered at most once a second, however often they are asked for.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import socket
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from .connections import Connections, Limits
from .errors import ListenError
from .health import Check, Checks, HealthError, Report
from .logs import get_logger

__all__ = ["Check", "Checks", "HealthError", "Limits", "Server"]

log = get_logger(__name__)

_ADDRESS = re.compile(r"(?:\[(?P<v6>[^][]+)\]|(?P<host>[^][:]*)):(?P<port>[0-9]+)")
_EVERYWHERE = ("", "::")
_PLAIN = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
_OPENMETRICS = "application/openmetrics-text"
_METRICS_AGE = 1.0
_GRACE = 1.0


class Server:
    """Serves two sets of checks and one registry at an address such as ":8081" or "127.0.0.1:8081".

    An address without a host means every address of this machine, IPv4 and IPv6; port 0 means any free port.
    """

    def __init__(
        self,
        address: str,
        *,
        liveness: Checks,
        readiness: Checks,
        registry: CollectorRegistry,
        limits: Limits | None = None,
    ) -> None:
        self._address = address
        self._probes = {"healthz": liveness, "readyz": readiness}
        self._limits = limits or Limits()
        self._metrics = _Metrics(registry)
        self._listener: asyncio.Server | None = None
        self._http = web.Server(
            self._handle,
            handler_cancellation=True,
            access_log=None,
            logger=_Quiet(logging.getLogger(__name__), {}),
            keepalive_timeout=self._limits.keep_alive,
            lingering_time=0,
            max_line_size=self._limits.line,
            max_field_size=self._limits.line,
        )
        self._connections = Connections(self._limits, self._http)

    def __repr__(self) -> str:
        state = f"port {self.port}, {self._connections!r}" if self._listener else "not listening"
        return f"<Server at {self._address!r}: {state}>"

    @property
    def port(self) -> int:
        """The port that is listened at, 0 while none is."""
        return int(self._listener.sockets[0].getsockname()[1]) if self._listener else 0

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            ListenError: the address is malformed or can't be bound; the message says what would be right.
        """
        host, port = _parse(self._address)
        try:
            self._listener = await self._listen(host, port)
        except OSError as error:
            raise ListenError(f"can't listen at {self._address!r}: {_advice(error, port)}") from error
        log.info("serving probes and metrics", address=self._address, port=self.port)

    async def close(self) -> None:
        """Stop listening; give answers that are being made a second; then close every connection.

        Safe to call when it never started, and again. When cancelled, it closes the connections at once.
        """
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.close()
        self._http.pre_shutdown()
        await self._connections.close(_GRACE)
        await listener.wait_closed()

    async def _listen(self, host: str, port: int) -> asyncio.Server:
        loop, make = asyncio.get_running_loop(), self._connections.make
        # No more at a time than there is room for: a flood must not push out what could not be read yet.
        backlog = self._limits.connections // 2
        if host in _EVERYWHERE:
            return await loop.create_server(make, sock=_bind_everywhere(port), backlog=backlog)
        return await loop.create_server(make, host, port, backlog=backlog)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._connections.begin(request.protocol)
        try:
            return await self._answer(request)
        except Exception:
            log.exception("a probe or scrape failed", path=request.path)
            return web.Response(status=500, body=b"internal server error\n", headers=_PLAIN)
        finally:
            self._connections.end(request.protocol)

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, headers=_PLAIN | {"Allow": "GET, HEAD"})
        match request.path.strip("/").split("/"):
            case ["metrics"]:
                content_type, body = self._metrics.render(request.headers.get("Accept", ""))
                return web.Response(body=body, headers={"Content-Type": content_type})
            case [probe] if checks := self._probes.get(probe):
                query = request.query
                return _told(
                    await checks.report(exclude=query.getall("exclude", []), verbose="verbose" in query)
                )
            case [probe, name] if checks := self._probes.get(probe):
                return _told(await checks.report_one(name))
            case _:
                return _told(None)


class _Metrics:
    """The registry's text, in either form remembered for a second."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._rendered: dict[str, tuple[float, bytes]] = {}

    def render(self, accept: str) -> tuple[str, bytes]:
        """Content type and body, OpenMetrics where the client accepts it.

        prometheus_client chooses, but never sees the client's own header: odd versions in it raise.
        """
        encoder, content_type = choose_encoder(
            f"{_OPENMETRICS};version=1.0.0" if _OPENMETRICS in accept else ""
        )
        now = asyncio.get_running_loop().time()
        at, text = self._rendered.get(content_type, (-_METRICS_AGE, b""))
        if now - at >= _METRICS_AGE:
            at, text = self._rendered[content_type] = now, encoder(self._registry)
        return content_type, text


class _Quiet(logging.LoggerAdapter[logging.Logger]):
    """What aiohttp logs as exceptions are malformed requests: anybody can send them, nobody needs to know."""

    def exception(self, msg: object, *args: object, **kwargs: Any) -> None:
        self.debug(msg, *args, **kwargs)


def _told(report: Report | None) -> web.Response:
    if report is None:
        return web.Response(status=404, body=b"404 page not found\n", headers=_PLAIN)
    return web.Response(status=200 if report.healthy else 500, body=report.text.encode(), headers=_PLAIN)


def _parse(address: str) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(address)
    if found is None:
        right = (
            "an IPv6 address in brackets, such as '[::1]:8081'"
            if address.count(":") > 1
            else "such as ':8081'"
        )
        raise ListenError(f"can't listen at {address!r}: it has to be [host]:port, {right}")
    port = int(found["port"])
    if port > 65535:
        raise ListenError(f"can't listen at {address!r}: the port has to be between 0 and 65535, not {port}")
    return found["v6"] or found["host"] or "", port


def _bind_everywhere(port: int) -> socket.socket:
    """One socket for IPv4 and IPv6; for IPv4 alone where the machine has no IPv6."""
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                raise
    return socket.create_server(("", port))


def _advice(error: OSError, port: int) -> str:
    if isinstance(error, socket.gaierror):
        return "its host can't be resolved; use an address of this machine, or leave it out for all of them"
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} is in use; stop the program that uses it, or choose another port"
        case errno.EACCES | errno.EPERM:
            return f"port {port} is not permitted; choose one from 1024 on, or grant CAP_NET_BIND_SERVICE"
        case errno.EADDRNOTAVAIL | None:  # from Python 3.13 on asyncio says it without the number
            return "this machine has no such address; use one of its own, or leave it out for all of them"
        case _:
            return str(error)
