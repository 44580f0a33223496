"""The transport over HTTP: one aiohttp session to one API server.

Below this seam lie connections, TLS, DNS and credentials; nothing of them comes up but answers and
a :class:`~nodeipam.runtime.errors.TransportError`. A write is sent once: neither aiohttp nor this module
repeats it, since whoever sent it has checked a lease in that moment, and not for a later one. No redirect is
followed, and no secret is ever part of a message or a repr.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from .credentials import Credentials
from .errors import ConfigurationError, CredentialsError, ProtocolError, TransportError
from .transport import Answer, Call

__all__ = ["HTTPTransport"]

T = TypeVar("T")

_CHUNK = 256 * 1024
"""Bytes asked for at a time, and half of what a connection buffers before it stops reading."""

_IDLE = 15.0
"""Seconds an unused connection is kept. Short, since a pool survives a dead peer for no longer than this."""


class HTTPTransport:
    """Carries calls to the server of `credentials`. To be made inside a running event loop, and closed.

    `connect_timeout` is in seconds, for TCP and TLS together; it never extends a call's own timeout. The
    transport owns `credentials` and closes them with itself.

    Raises:
        ConfigurationError: `connect_timeout` isn't a positive number.
    """

    def __init__(
        self, credentials: Credentials, *, user_agent: str = "nodeipam", connect_timeout: float = 10.0
    ) -> None:
        if not 0 < connect_timeout < math.inf:
            raise ConfigurationError(
                f"connect_timeout is a positive number of seconds, not {connect_timeout}"
            )
        self._credentials = credentials
        self._base = credentials.server.rstrip("/")
        self._host = urlsplit(self._base).netloc
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE, socket_factory=_socket),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout),
            auto_decompress=False,
            read_bufsize=_CHUNK,
            trust_env=False,
        )
        # aiohttp would silently repeat a PUT or DELETE whose connection broke, and a 409 to the second would
        # hide that the first was carried out. There is no public switch for this; a test guards this one.
        self._session._retry_connection = False  # noqa: SLF001

    def __repr__(self) -> str:
        return f"<HTTPTransport {self._base} {'closed' if self._session.closed else 'open'}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def host(self) -> str:
        """Host and port of the API server, for metrics and messages."""
        return self._host

    def open(self, call: Call) -> _Exchange:
        """Send `call`, as :meth:`nodeipam.runtime.transport.Transport.open` promises."""
        return _Exchange(call, self._host, self._ask)

    async def close(self) -> None:
        """Close every connection; a body that is still being read breaks off with a TransportError."""
        try:
            await self._session.close()
        finally:
            await self._credentials.close()

    async def _ask(self, call: Call) -> aiohttp.ClientResponse:
        """Send `call`; after a 401 fetch the credentials anew, and send it once more if it is a GET.

        The 401 to anything else is the answer: a new attempt will have the new credentials.
        """
        sent = await self._credentials.headers()
        response = await self._send(call, sent)
        if response.status != 401:
            return response
        try:
            # Of many calls refused together, the first renews and the others find the credentials changed.
            if await self._credentials.headers() == sent:
                await self._credentials.refresh()
        except BaseException:
            response.close()
            raise
        if call.method != "GET":
            return response
        response.close()
        return await self._send(call, await self._credentials.headers())

    async def _send(self, call: Call, identity: Mapping[str, str]) -> aiohttp.ClientResponse:
        try:
            return await self._send_once(call, identity)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            # The server may close a kept connection in the very moment in which it is used again.
            if call.method != "GET" or isinstance(error, aiohttp.ClientConnectorError):
                raise
        return await self._send_once(call, identity)

    async def _send_once(self, call: Call, identity: Mapping[str, str]) -> aiohttp.ClientResponse:
        query = "?" + urlencode(call.query, quote_via=quote) if call.query else ""
        return await self._session.request(
            call.method,
            URL(f"{self._base}{call.path}{query}", encoded=True),
            headers={**call.headers, **identity},
            data=call.body,
            ssl=self._credentials.ssl_context() or True,
            server_hostname=self._credentials.server_name,
            proxy=self._credentials.proxy,
            allow_redirects=False,
        )


class _Exchange:
    """One call, from its first byte out to its last byte in: what `open` returns, and the Answer in it.

    A body is read by `read` or by `readline`, not by both.
    """

    __slots__ = (
        "_ask",
        "_call",
        "_deadline",
        "_host",
        "_lines",
        "_response",
        "_rest",
        "_rest_size",
        "_started",
    )

    def __init__(
        self, call: Call, host: str, ask: Callable[[Call], Awaitable[aiohttp.ClientResponse]]
    ) -> None:
        self._call = call
        self._host = host
        self._ask = ask
        self._started = self._deadline = 0.0
        self._response: aiohttp.ClientResponse | None = None
        self._lines: deque[bytes] = deque()
        self._rest: list[bytes] = []
        self._rest_size = 0

    def __repr__(self) -> str:
        status = "unanswered" if self._response is None else self._response.status
        return f"<Exchange {self._call.method} {self._host}{self._call.path} {status}>"

    async def __aenter__(self) -> Answer:
        self._started = asyncio.get_running_loop().time()
        self._deadline = self._started + self._call.timeout
        self._response = await self._within(self._deadline, self._ask(self._call))
        encoding = self._response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            self._response.close()
            raise self._error(
                ProtocolError, f"the answer is encoded ({encoding[:40]}), which wasn't asked for"
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A connection whose answer has arrived to its end is back in the pool by now; any other is closed.
        if self._response is not None:
            self._response.close()

    @property
    def status(self) -> int:
        return self._head.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._head.headers

    async def read(self, limit: int) -> bytes:
        content = self._head.content
        return await self._within(self._until(), content.read(min(limit, _CHUNK)))

    async def readline(self, limit: int) -> bytes:
        while not self._lines and self._rest_size <= limit:
            chunk = await self._within(self._until(), self._head.content.readany())
            if not chunk:
                last, self._rest, self._rest_size = b"".join(self._rest), [], 0
                return last
            self._split(chunk)
        if not self._lines or len(self._lines[0]) > limit:
            raise self._error(ProtocolError, f"a line is longer than {limit} bytes")
        return self._lines.popleft()

    def _split(self, chunk: bytes) -> None:
        """Cut what has arrived into lines. The beginning of a long one is kept in parts and joined once."""
        start, end = 0, chunk.find(b"\n") + 1
        if end and self._rest:
            self._lines.append(b"".join((*self._rest, chunk[:end])))
            self._rest, self._rest_size = [], 0
            start, end = end, chunk.find(b"\n", end) + 1
        while end:
            self._lines.append(chunk[start:end])
            start, end = end, chunk.find(b"\n", end) + 1
        if start < len(chunk):
            self._rest.append(chunk[start:])
            self._rest_size += len(chunk) - start

    @property
    def _head(self) -> aiohttp.ClientResponse:
        if self._response is None:
            raise RuntimeError("an answer is read inside the context that open() returned")
        return self._response

    def _until(self) -> float:
        if self._call.idle is None:
            return self._deadline
        return asyncio.get_running_loop().time() + self._call.idle

    async def _within(self, deadline: float, step: Awaitable[T]) -> T:
        """Await `step` until `deadline`, and turn whatever goes wrong into a TransportError."""
        try:
            async with asyncio.timeout_at(deadline):
                return await step
        except (aiohttp.ClientResponseError, HttpProcessingError) as error:
            message = " ".join(str(error.message).split())
            failure = self._error(ProtocolError, f"the answer isn't HTTP ({message[:200]})")
        except (aiohttp.ClientError, CredentialsError, OSError, RuntimeError, ValueError) as error:
            # (A RuntimeError is how aiohttp says that the session or the connection was closed meanwhile.)
            failure = self._error(TransportError, self._describe(error))
            failure.__cause__ = error
        # Raised out here, so that it has no cause that knows the request: that one's headers hold the token,
        # and a logger that renders causes by their repr would show it.
        raise failure

    def _describe(self, error: Exception) -> str:
        match error:
            case aiohttp.ConnectionTimeoutError():
                return "no connection in time"
            case TimeoutError(errno=None):
                return "no answer in time" if self._response is None else "the answer stopped coming"
            case aiohttp.ServerDisconnectedError():
                return "the server closed the connection without an answer"
            case aiohttp.ClientPayloadError():
                return "the answer broke off"
            case aiohttp.ClientConnectorCertificateError():
                return f"the server's certificate isn't trusted ({error.certificate_error})"
            case aiohttp.ClientConnectorError():
                return f"no connection ({error.os_error})"
            case CredentialsError():
                return f"no credentials: {error}"
        return str(error) or type(error).__name__

    def _error(self, kind: type[TransportError], what: str) -> TransportError:
        after = asyncio.get_running_loop().time() - self._started
        # Whole seconds: who reports a failure that lasts only once compares texts.
        waited = f", after {after:.0f} s" if after >= 1 else ""
        return kind(f"{self._call.method} {self._host}{self._call.path}: {what}{waited}")


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket that notices within about half a minute that its peer is gone."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 15),  # seconds of silence before the first probe
        ("TCP_KEEPINTVL", 5),  # seconds between probes
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 30_000),  # milliseconds that sent data may stay unacknowledged
    ):
        if hasattr(socket, option):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return made
