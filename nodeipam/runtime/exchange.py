"""One exchange with the API server: carried out over the transport, counted, checked, read within a limit.

What leaves this module is the body of a success. The metrics are client-go's: `rest_client_requests_total`
counts an answer when its head has arrived, with code `<error>` where none did.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import cache, lru_cache
from types import TracebackType
from typing import Any, TypeVar

import msgspec
from prometheus_client import Counter, Histogram

from .clock import Clock
from .errors import KubeError, ProtocolError
from .metrics import Metrics
from .pages import Seen, find_continue
from .status import api_error, unexpected
from .transport import Answer, Call, Transport

__all__ = ["Exchanges", "Reply"]

T = TypeVar("T")

_ERROR_LIMIT = 64 * 1024
_CHUNK = 256 * 1024

_KIND_FIRST = re.compile(rb'\{"kind":"([A-Za-z]+)"')
"""How built-in kinds begin. So a page of megabytes isn't parsed once more for its kind."""


class Exchanges:
    """Carries calls out over `transport`."""

    __slots__ = ("_clock", "_duration", "_requests", "_transport")

    def __init__(self, transport: Transport, *, clock: Clock, metrics: Metrics) -> None:
        self._transport = transport
        self._clock = clock

        @cache
        def requests(code: str, method: str) -> Counter:
            return metrics.rest_client_requests.labels(code, method, transport.host)

        @cache
        def duration(method: str) -> Histogram:
            return metrics.rest_client_request_duration.labels(method, transport.host)

        self._requests = requests
        self._duration = duration

    def open(self, call: Call) -> AbstractAsyncContextManager[Answer]:
        """As the transport's `open`, but only a success comes in; no await before the transport is called.

        Raises:
            APIError: the status was 400 or more.
            ProtocolError: the status was neither that nor a success: a redirect isn't followed.
            TransportError: there was no answer.
        """
        return _Checked(self, call)

    async def reply(self, call: Call, limit: int, seen: Seen | None = None) -> Reply:
        """The whole answer, of at most `limit` bytes. `seen` is told the next page's token once it went by.

        Raises:
            ProtocolError: it is longer.
        """
        began = self._clock.monotonic()
        try:
            async with self.open(call) as answer:
                body = await _read(call, answer, limit, seen)
                return Reply(call, answer.status, answer.headers, body)
        finally:
            self._duration(call.method).observe(self._clock.monotonic() - began)

    async def check(self, call: Call, answer: Answer) -> None:
        """Return if `answer` is a success, else read and raise its error."""
        if 200 <= answer.status < 300:
            return
        body = await _read_start(answer)
        if answer.status >= 400:
            now = self._clock.wall()
            raise api_error(answer.status, answer.headers, body, what=what(call), now=now)
        why = "no API server answers like this"
        if location := answer.headers.get("Location"):
            why = f"it redirects to {location.partition('?')[0][:200]}, where the credentials don't belong"
        raise unexpected(answer.status, answer.headers, body, what=what(call), why=why)

    def count(self, call: Call, code: str) -> None:
        """Count one answer, or its absence."""
        self._requests(code, call.method).inc()

    def hand_over(self, call: Call) -> AbstractAsyncContextManager[Answer]:
        """Give `call` to the transport."""
        return self._transport.open(call)


class Reply(msgspec.Struct, frozen=True):
    """A success that has arrived completely."""

    call: Call
    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"<Reply {self.status} to {what(self.call)}>"

    def decode(self, type: Any, *, kinds: tuple[str, ...] = ()) -> Any:
        """The body as an object of `type`; `kinds` are those that it may be of.

        Raises:
            ProtocolError: it isn't JSON of that type, or is of another kind. The message shows how it begins.
        """
        try:
            if not kinds or (kind := _kind(self.body)) in kinds:
                return _decoder(type).decode(self.body)
            why = f"a {kinds[0]} was expected, not {kind or 'something without a kind'}"
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            why = str(error)
        raise self.unexpected(why)

    def unexpected(self, why: str) -> ProtocolError:
        """The error that says what is wrong with it, and how it begins."""
        return unexpected(self.status, self.headers, self.body, what=what(self.call), why=why)


class _Checked:
    """The transport's context with a check behind its entrance."""

    __slots__ = ("_call", "_exchanges", "_inner")

    def __init__(self, exchanges: Exchanges, call: Call) -> None:
        self._exchanges = exchanges
        self._call = call
        self._inner: AbstractAsyncContextManager[Answer]

    async def __aenter__(self) -> Answer:
        self._inner = self._exchanges.hand_over(self._call)
        try:
            answer = await self._inner.__aenter__()
        except KubeError:
            self._exchanges.count(self._call, "<error>")
            raise
        try:
            self._exchanges.count(self._call, str(answer.status))
            await self._exchanges.check(self._call, answer)
        except BaseException as error:
            await self._inner.__aexit__(type(error), error, error.__traceback__)
            raise
        return answer

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)


class _Kind(msgspec.Struct):
    kind: str = ""


def what(call: Call) -> str:
    """The call's name in messages."""
    return f"{call.method} {call.path}"


def _kind(body: bytes) -> str:
    first = _KIND_FIRST.match(body)
    return first[1].decode() if first is not None else _decoder(_Kind).decode(body).kind


@lru_cache(maxsize=256)
def _decoder(type: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type)


async def _read(call: Call, answer: Answer, limit: int, seen: Seen | None) -> bytes:
    parts: list[bytes] = []
    size = 0
    while chunk := await answer.read(_CHUNK):
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            raise ProtocolError(f"{what(call)}: the answer is longer than {limit} bytes")
        if seen is not None and (token := find_continue(b"".join(parts))) is not None:
            if token:
                seen(token)
            seen = None
    return b"".join(parts)


async def _read_start(answer: Answer) -> bytes:
    """The body of an error, as far as it may matter."""
    body = b""
    while len(body) < _ERROR_LIMIT and (chunk := await answer.read(_ERROR_LIMIT)):
        body += chunk
    return body
