"""The transport over HTTP: calls to one API server.

Below this seam lie connections, TLS, DNS and credentials; nothing of them comes up but answers and
a :class:`~nodeipam.runtime.errors.TransportError`. A write is sent once, since whoever sent it has checked
a lease in that moment, and not for a later one. No redirect is followed, and no secret is ever part of a
message or a repr.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from itertools import chain
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode, urlsplit

from .connector import Connector, NoConnection, proxy_authorization
from .credentials import Credentials
from .errors import ConfigurationError, CredentialsError, ProtocolError, TransportError
from .http1 import BrokenOff, Connection, Disconnected, NotHTTP, Response
from .transport import Answer, Call

__all__ = ["HTTPTransport"]

_CHUNK = 256 * 1024
"""Bytes that are read at a time."""

_FAILURES = (BrokenOff, CredentialsError, Disconnected, NotHTTP, OSError, ValueError)
"""How an exchange may fail, and what a malformed address makes asyncio raise."""
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
"""What a header may say (RFC 9110, 5.5). A line break in a token would be a header of its own."""


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
        url = urlsplit(self._base)
        self._host = url.netloc
        self._through_proxy = url.scheme == "http" and credentials.proxy is not None
        self._target = self._base if self._through_proxy else url.path
        self._always = {"Host": url.netloc, "User-Agent": user_agent, "Accept-Encoding": "identity"}
        self._connector = Connector(credentials, timeout=connect_timeout)
        self._fields = lru_cache(maxsize=16)(self._written)

    def __repr__(self) -> str:
        return f"<HTTPTransport {self._base} {'closed' if self._connector.closed else 'open'}>"

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
        return _Exchange(call, self._host, self._connector, self._ask)

    async def close(self) -> None:
        """Close every connection; a body that is still being read breaks off with a TransportError."""
        try:
            await self._connector.close()
        finally:
            await self._credentials.close()

    async def _ask(self, call: Call) -> tuple[Connection, Response]:
        """Send `call`; after a 401 fetch the credentials anew, and send it once more if it is a GET.

        The 401 to anything else is the answer: a new attempt will have the new credentials.
        """
        sent = await self._credentials.headers()
        connection, response = await self._send(call, sent)
        if response.status != 401:
            return connection, response
        try:
            # Of many calls refused together, the first renews and the others find the credentials changed.
            if await self._credentials.headers() == sent:
                await self._credentials.refresh()
        except BaseException:
            self._connector.give_back(connection)
            raise
        if call.method != "GET":
            return connection, response
        self._connector.give_back(connection)
        return await self._send(call, await self._credentials.headers())

    async def _send(self, call: Call, identity: Mapping[str, str]) -> tuple[Connection, Response]:
        if self._connector.closed:
            raise NoConnection("the transport is closed")
        request = self._request(call, identity)
        if (connection := self._connector.kept()) is not None:
            try:
                return connection, await self._send_on(connection, request)
            except Disconnected:
                # The server may close a kept connection in the very moment in which it is used again.
                if call.method != "GET":
                    raise
        connection = await self._connector.connect()
        return connection, await self._send_on(connection, request)

    async def _send_on(self, connection: Connection, request: bytes) -> Response:
        try:
            response = connection.send(request)
            await connection.head(response)
        except BaseException:
            self._connector.give_back(connection)
            raise
        return response

    def _request(self, call: Call, identity: Mapping[str, str]) -> bytes:
        fields = self._fields(tuple(call.headers.items()), tuple(identity.items()))
        line = f"{call.method} {self._target}{call.path}{_encoded(call.query)} HTTP/1.1\r\n"
        body = call.body
        if body is None:
            return f"{line}{fields}\r\n".encode("latin-1")
        return f"{line}{fields}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body

    def _written(self, *groups: tuple[tuple[str, str], ...]) -> str:
        """The header lines of every request, and these."""
        lines = []
        for name, value in chain(self._always.items(), *groups):
            if not _VALUE.fullmatch(value):
                raise TransportError(f"the value of the header {name} has characters that none may have")
            lines.append(f"{name}: {value}\r\n")
        if self._through_proxy:
            lines.append(proxy_authorization(self._credentials.proxy or ""))
        return "".join(lines)


@lru_cache(maxsize=64)
def _encoded(query: tuple[tuple[str, str], ...]) -> str:
    return "?" + urlencode(query, quote_via=quote) if query else ""


class _Exchange:
    """One call, from its first byte out to its last byte in: what `open` returns, and the Answer in it.

    A body is read by `read` or by `readline`, not by both.
    """

    __slots__ = (
        "_ask",
        "_call",
        "_connection",
        "_connector",
        "_deadline",
        "_host",
        "_lines",
        "_response",
        "_rest",
        "_rest_size",
        "_started",
    )

    def __init__(
        self,
        call: Call,
        host: str,
        connector: Connector,
        ask: Callable[[Call], Awaitable[tuple[Connection, Response]]],
    ) -> None:
        self._call = call
        self._host = host
        self._connector = connector
        self._ask = ask
        self._started = self._deadline = 0.0
        self._connection: Connection | None = None
        self._response: Response | None = None
        self._lines: deque[bytes] = deque()
        self._rest: list[bytes] = []
        self._rest_size = 0

    def __repr__(self) -> str:
        status = "unanswered" if self._response is None else self._response.status
        return f"<Exchange {self._call.method} {self._host}{self._call.path} {status}>"

    async def __aenter__(self) -> Answer:
        self._started = asyncio.get_running_loop().time()
        self._deadline = self._started + self._call.timeout
        try:
            async with asyncio.timeout_at(self._deadline):
                self._connection, self._response = await self._ask(self._call)
        except _FAILURES as error:
            failure = self._failure(error)
        else:
            return self._checked(self._connection, self._response)
        raise failure

    def _checked(self, connection: Connection, response: Response) -> Answer:
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            self._connector.give_back(connection)
            raise self._error(
                ProtocolError, f"the answer is encoded ({encoding[:40]}), which wasn't asked for"
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connector.give_back(self._connection)

    @property
    def status(self) -> int:
        return self._answer[1].status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._answer[1].headers

    async def read(self, limit: int) -> bytes:
        connection, response = self._answer
        try:
            return await connection.read(response, min(limit, _CHUNK), self._until())
        except _FAILURES as error:
            failure = self._failure(error)
        raise failure

    async def readline(self, limit: int) -> bytes:
        while not self._lines and self._rest_size <= limit:
            chunk = await self.read(_CHUNK)
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
    def _answer(self) -> tuple[Connection, Response]:
        if self._connection is None or self._response is None:
            raise RuntimeError("an answer is read inside the context that open() returned")
        return self._connection, self._response

    def _until(self) -> float:
        if self._call.idle is None:
            return self._deadline
        return asyncio.get_running_loop().time() + self._call.idle

    def _failure(self, error: Exception) -> TransportError:
        """What went wrong below the seam, as an error of this one."""
        if isinstance(error, NotHTTP):
            return self._error(ProtocolError, f"the answer isn't HTTP ({error})")
        failure = self._error(TransportError, self._describe(error))
        failure.__cause__ = error
        return failure

    def _describe(self, error: Exception) -> str:
        match error:
            case TimeoutError(errno=None):
                return "no answer in time" if self._response is None else "the answer stopped coming"
            case Disconnected():
                return "the server closed the connection without an answer"
            case BrokenOff():
                return "the answer broke off"
            case CredentialsError():
                return f"no credentials: {error}"
        return str(error) or type(error).__name__

    def _error(self, kind: type[TransportError], what: str) -> TransportError:
        after = asyncio.get_running_loop().time() - self._started
        # Whole seconds: who reports a failure that lasts only once compares texts.
        waited = f", after {after:.0f} s" if after >= 1 else ""
        return kind(f"{self._call.method} {self._host}{self._call.path}: {what}{waited}")
