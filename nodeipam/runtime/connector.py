"""Connections to one server: made over TCP, TLS and perhaps a proxy, and kept for the next exchange.

Invariant: a connection is in one hand, or idle here, or closed. An idle one is no older than `_IDLE`, and was
made with the identity (the TLS context) of now.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
import ssl
from urllib.parse import unquote, urlsplit

from .credentials import Credentials
from .http1 import BrokenOff, Connection, Disconnected, NotHTTP
from .tls import tls_context

__all__ = ["Connector", "NoConnection", "tune"]

_IDLE = 15.0
"""Seconds an unused connection is kept. Short, since a pool survives a dead peer for no longer than this."""
_READ = 256 * 1024
"""Bytes that are read at once."""
_STAGGER = 0.25
"""Seconds after which the next address of a name is tried beside the one before (RFC 8305)."""
_PORTS = {"http": 80, "https": 443}


class NoConnection(OSError):
    """There is no connection; the message says why."""


class Connector:
    """Makes connections to the server of `credentials`, and keeps those that were given back.

    `timeout` is in seconds, for all that making one takes.
    """

    def __init__(self, credentials: Credentials, *, timeout: float) -> None:
        self._credentials = credentials
        self._timeout = timeout
        url = urlsplit(credentials.server)
        self._secure = url.scheme == "https"
        self._host = url.hostname or ""
        self._port = url.port or _PORTS[url.scheme]
        self._default: ssl.SSLContext | None = None
        self._idle: list[tuple[float, ssl.SSLContext | None, Connection]] = []
        self._used: dict[Connection, ssl.SSLContext | None] = {}
        self._timer: asyncio.TimerHandle | None = None
        # All connections read into this one: what came is taken out before another one's turn.
        self._buffer = memoryview(bytearray(_READ))
        self.closed = False

    def __repr__(self) -> str:
        return f"<Connector to {self._host}:{self._port}: {len(self._used)} in use, {len(self._idle)} idle>"

    def kept(self) -> Connection | None:
        """A connection that has been used before, the one used last; None if there is none that is good."""
        context = self._context()
        while self._idle:
            _, made_with, connection = self._idle.pop()
            if made_with is context and not connection.closed:
                self._used[connection] = context
                return connection
            connection.abort()
        return None

    async def connect(self) -> Connection:
        """A new connection. Cancelling it leaves nothing behind.

        Raises:
            NoConnection: there is none to be had, or not in time.
        """
        context = self._context()
        try:
            async with asyncio.timeout(self._timeout) as limit:
                connection = await self._dial(context)
        except ssl.SSLCertVerificationError as error:
            raise NoConnection(f"the server's certificate isn't trusted ({error})") from error
        except NoConnection:
            raise
        except OSError as error:
            why = "no connection in time" if limit.expired() else f"no connection ({error})"
            raise NoConnection(why) from error
        if self.closed:
            connection.abort()
            raise NoConnection("it was closed")
        self._used[connection] = context
        return connection

    def give_back(self, connection: Connection) -> None:
        """End the exchange on a connection: it is kept if another may follow on it, else closed."""
        context = self._used.pop(connection, None)
        if self.closed or not connection.finish():
            connection.abort()
            return
        now = asyncio.get_running_loop().time()
        self._idle.append((now, context, connection))
        self._set_timer(now)

    async def close(self) -> None:
        """Close all connections, those in use as well, and wait until they are."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        connections = [*self._used, *(connection for _, _, connection in self._idle)]
        for connection in connections:
            connection.abort()
        self._idle.clear()
        if connections:
            await asyncio.wait([connection.lost for connection in connections])

    def _context(self) -> ssl.SSLContext | None:
        if not self._secure:
            return None
        context = self._credentials.ssl_context() or self._default
        if context is None:
            context = self._default = tls_context()
        return context

    def _set_timer(self, now: float) -> None:
        if self._timer is None and self._idle:
            due = self._idle[0][0] + _IDLE
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due - now), self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for since, _, connection in self._idle:
            if now - since >= _IDLE:
                connection.abort()
        self._idle = [item for item in self._idle if now - item[0] < _IDLE]
        self._set_timer(now)

    async def _dial(self, context: ssl.SSLContext | None) -> Connection:
        name = self._credentials.server_name or self._host
        proxy = self._credentials.proxy
        if proxy is None:
            return await self._open(self._host, self._port, context, name)
        url = urlsplit(proxy)
        over_tls = tls_context() if url.scheme == "https" else None
        host = url.hostname or ""
        connection = await self._open(host, url.port or _PORTS[url.scheme], over_tls, host)
        if context is not None:
            try:
                await self._tunnel(connection, proxy_authorization(proxy), context, name)
            except BaseException:
                connection.abort()
                raise
        return connection

    async def _tunnel(
        self, connection: Connection, authorization: str, context: ssl.SSLContext, name: str
    ) -> None:
        """Have the proxy connect us with the server, and begin TLS with that (RFC 9110, 9.3.6)."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        authority = f"{host}:{self._port}"
        request = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{authorization}\r\n"
        try:
            response = connection.send(request.encode("latin-1"), bodiless=True)
            await connection.head(response)
        except (BrokenOff, Disconnected, NotHTTP) as error:
            raise NoConnection(f"no connection (the proxy gave no answer: {type(error).__name__})") from error
        if not 200 <= response.status < 300 or not response.ended or connection.transport is None:
            raise NoConnection(f"no connection (the proxy's answer is {response.status})")
        loop = asyncio.get_running_loop()
        secured = await loop.start_tls(connection.transport, connection, context, server_hostname=name)
        if secured is None:
            raise NoConnection("no connection (it was closed while TLS began)")
        connection.transport = secured

    async def _open(self, host: str, port: int, context: ssl.SSLContext | None, name: str) -> Connection:
        loop = asyncio.get_running_loop()
        transport, connection = await loop.create_connection(
            lambda: Connection(self._buffer),
            host,
            port,
            ssl=context,
            server_hostname=name if context is not None else None,
            happy_eyeballs_delay=None if _is_address(host) else _STAGGER,
        )
        tune(transport.get_extra_info("socket"))
        return connection


def proxy_authorization(proxy: str) -> str:
    """The header line for the user and password in a proxy's address; empty if there are none."""
    url = urlsplit(proxy)
    if url.username is None:
        return ""
    pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return f"Proxy-Authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def tune(made: socket.socket) -> None:
    """Have a socket notice within about half a minute that its peer is gone."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 15),  # seconds of silence before the first probe
        ("TCP_KEEPINTVL", 5),  # seconds between probes
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 30_000),  # milliseconds that sent data may stay unacknowledged
    ):
        if hasattr(socket, option):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
