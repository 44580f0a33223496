"""HTTP/1.1 as its client speaks it (RFC 9112): one connection, one exchange at a time.

A hundred requests a second are the life of a controller that gives thousands of Nodes their ranges, and a
general client's way through pools, timers, cookies, redirects and traces costs more CPU than TLS and the
decoding of the answer together (`bench.micro`, patch path). So the protocol itself is here, and no more of it
than an API server needs: no pipelining, no upgrade, no compression, no multipart.

`Response` is a synchronous machine: bytes in, a head, pieces of the body and an end out. It refuses whatever
could be read in two ways. `Connection` is the protocol that asyncio feeds.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable

from multidict import CIMultiDict

__all__ = ["BrokenOff", "Connection", "Disconnected", "NotHTTP", "Response"]

_HEAD = 64 * 1024
"""The most bytes of a head, or of the trailer behind the last chunk."""
_MEANTIME = 16
"""The most answers for the meantime (RFC 9110, 15.2) before the one that counts."""
_BUFFERED = 512 * 1024
"""Bytes of a body that are kept for whoever reads it; the connection reads no further until he does."""

_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)\r\n")
_FIELDS = re.compile(rf"(?:{_FIELD.pattern})*")
_CHUNK = re.compile(rb"\r\n([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?")
_CHUNK_LINE = 1024


class NotHTTP(Exception):
    """What came isn't an answer by HTTP/1.1; the message says what is wrong with it."""


class Disconnected(Exception):
    """The connection was closed before an answer."""


class BrokenOff(Exception):
    """The connection was closed within an answer."""


class Response:
    """One answer, as far as it has arrived.

    Args:
        bodiless: it has no body, whatever its head says: the answer to a CONNECT.
    """

    __slots__ = (
        "_bodiless",
        "_left",
        "_meantime",
        "_pieces",
        "_rest",
        "_step",
        "ended",
        "headers",
        "keep",
        "size",
        "status",
    )

    def __init__(self, *, bodiless: bool = False) -> None:
        self.status = 0
        """Its code; 0 as long as the head isn't there."""
        self.headers: CIMultiDict[str] = CIMultiDict()
        self.ended = False
        """Whether all of it has arrived."""
        self.keep = False
        """Whether the connection can be used again once it has ended."""
        self.size = 0
        """Bytes of the body that have arrived and weren't taken."""
        self._bodiless = bodiless
        self._meantime = 0
        self._pieces: deque[bytes] = deque()
        self._rest = b""
        self._left = 0
        # Not a bound method: that would make a cycle of each answer.
        self._step: Callable[[Response, bytes], None] = Response._read_head

    def feed(self, data: bytes) -> None:
        """Take bytes as they come.

        Raises:
            NotHTTP: this is no answer; nothing more is to be fed.
        """
        if self._rest:
            data, self._rest = self._rest + data, b""
        self._step(self, data)

    def end(self, *, cleanly: bool = True) -> None:
        """Note that nothing more comes, since the connection was closed, or else has failed.

        Raises:
            Disconnected: nothing of an answer has come.
            BrokenOff: something of it is missing.
        """
        if cleanly and self._step is Response._read_until_closed:
            self.ended = True
        elif not self.ended:
            raise BrokenOff if self.status else Disconnected

    def take(self, limit: int) -> bytes:
        """The next bytes of the body, at most `limit`; b"" when there are none, or none yet."""
        if not self._pieces:
            return b""
        piece = self._pieces.popleft()
        if len(piece) > limit:
            self._pieces.appendleft(piece[limit:])
            piece = piece[:limit]
        self.size -= len(piece)
        return piece

    def _read_head(self, data: bytes) -> None:
        status, fields, persistent = 100, "", False
        while status < 200:
            if not b"HTTP/1.".startswith(data[:7]):
                raise NotHTTP(f"it begins with {data[:40]!r}")
            end = data.find(b"\r\n\r\n")
            if end < 0 or end > _HEAD:
                if len(data) > _HEAD:
                    raise NotHTTP(f"its head is longer than {_HEAD} bytes")
                self._rest = data
                return
            first, _, fields = data[: end + 2].decode("latin-1").partition("\r\n")
            line = _STATUS_LINE.fullmatch(first)
            if line is None:
                raise NotHTTP(f"it begins with {first[:80]!r}")
            persistent, status = line[1] == "1", int(line[2])
            self._meantime += status < 200
            if status == 101 or self._meantime > _MEANTIME:
                raise NotHTTP(
                    "it switches to another protocol" if status == 101 else "it never comes to the point"
                )
            data = data[end + 4 :]
        if not _FIELDS.fullmatch(fields):
            raise NotHTTP("its headers are malformed")
        pairs = _FIELD.findall(fields)
        if " \r" in fields or "\t\r" in fields:
            pairs = [(name, value.rstrip(" \t")) for name, value in pairs]
        self.headers.extend(pairs)
        self._choose_body(status, persistent=persistent)
        self.status = status
        if self._step is Response._read_chunks:
            # Every chunk begins with the end of a line: the first with that of the head.
            data = b"\r\n" + data
        self._step(self, data)

    def _choose_body(self, status: int, *, persistent: bool) -> None:
        """How the end of the body is found (RFC 9112, 6.3)."""
        headers = self.headers
        self.keep = persistent and "close" not in headers.get("Connection", "").lower()
        lengths = set(headers.getall("Content-Length", ()))
        coding = headers.getall("Transfer-Encoding", ())
        if self._bodiless or status in (204, 304):
            self._step = Response._read_length
        elif coding:
            if lengths or [text.lower() for text in coding] != ["chunked"]:
                raise NotHTTP(f"its length is told as Transfer-Encoding {coding}, Content-Length {lengths}")
            self._step = Response._read_chunks
        elif lengths:
            (length, *others) = lengths
            if others or not (length.isascii() and length.isdecimal() and len(length) < 20):
                raise NotHTTP(f"its Content-Length is {', '.join(sorted(lengths))[:80]!r}")
            self._left = int(length)
            self._step = Response._read_length
        else:
            self.keep = False
            self._step = Response._read_until_closed

    def _read_length(self, data: bytes) -> None:
        piece = data[: self._left]
        self._left -= len(piece)
        self._put(piece)
        if not self._left:
            self._finish(len(data) - len(piece))

    def _read_until_closed(self, data: bytes) -> None:
        self._put(data)

    def _read_chunks(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                self._left -= len(piece)
                at += len(piece)
                self._put(piece)
                continue
            end = data.find(b"\r\n", at + 2)
            if end < 0 and len(data) - at <= _CHUNK_LINE:
                self._rest = data[at:]
                return
            line = _CHUNK.fullmatch(data, at, max(end, at))
            if line is None:
                raise NotHTTP(f"a chunk begins with {data[at : at + 40]!r}")
            self._left = int(line[1], 16)
            if not self._left:
                self._step = Response._read_trailer
                self._read_trailer(data[end:])
                return
            at = end + 2

    def _read_trailer(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            self._finish(len(data) - end - 4)
        elif len(data) > _HEAD:
            raise NotHTTP(f"its trailer is longer than {_HEAD} bytes")
        else:
            self._rest = data

    def _put(self, piece: bytes) -> None:
        if piece:
            self._pieces.append(piece)
            self.size += len(piece)

    def _finish(self, behind: int) -> None:
        self.ended = True
        self.keep = self.keep and not behind  # more than was asked for: who knows what it belongs to
        self._step = Response._read_nothing

    def _read_nothing(self, data: bytes) -> None:
        self.keep = False


class Connection(asyncio.BufferedProtocol):
    """A connection to a server, once asyncio has made it.

    Reads wait until a deadline, on the event loop's clock. They share one timer, which is set again when it
    goes off too early: a timeout of its own for each event of a watch would cost as much as taking it in.

    An exchange is `send`, `head`, then `read` until it returns b"". Whoever doesn't go through with it, for
    whatever reason, has to `abort` the connection.
    """

    def __init__(self, buffer: memoryview) -> None:
        # A view, since asyncio's TLS writes to slices of what it is given: those of a bytearray are copies.
        self._loop = asyncio.get_running_loop()
        self._buffer = buffer
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._transport: asyncio.Transport | None = None
        self._response: Response | None = None
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Done once the connection is no more."""

    def __repr__(self) -> str:
        status = "idle" if self._response is None else self._response.status or "asked"
        return f"<Connection {'closed' if self.closed else status}>"

    @property
    def closed(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._transport is None or self._transport.is_closing() or self.lost.done()

    @property
    def transport(self) -> asyncio.Transport | None:
        """What it sends with. Set it to what TLS was begun over the one before."""
        return self._transport

    @transport.setter
    def transport(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._response = None

    def send(self, request: bytes, *, bodiless: bool = False) -> Response:
        """Begin an exchange; returns the answer that is going to fill.

        Raises:
            Disconnected: the connection is closed.
        """
        if self._transport is None or self.closed:
            raise Disconnected
        response = self._response = Response(bodiless=bodiless)
        self._transport.write(request)
        return response

    async def head(self, response: Response) -> None:
        """Wait for the answer's head, for as long as it takes. May be cancelled at any time, as may `read`.

        Raises:
            NotHTTP: what came is no answer.
            Disconnected: none came.
        """
        while not response.status:
            await self._arrival()

    async def read(self, response: Response, limit: int, deadline: float) -> bytes:
        """What has come of the body, at most `limit` bytes, waiting for the first; b"" at its end.

        Raises:
            NotHTTP: what came is no answer.
            BrokenOff: the connection was closed before its end.
            TimeoutError: nothing more has come before the deadline.
        """
        while not response.size and not response.ended:
            self._set_deadline(deadline)
            await self._arrival()
        return self.take(response, limit)

    def take(self, response: Response, limit: int) -> bytes:
        """What has come of the body, at most `limit` bytes; b"" if there is nothing."""
        piece = response.take(limit)
        if self._paused and response.size < _BUFFERED // 2 and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return piece

    def finish(self) -> bool:
        """End the exchange; whether another one may follow on this connection."""
        response, self._response = self._response, None
        return response is not None and response.ended and response.keep and not self.closed

    def abort(self) -> None:
        """Close the connection at once; whoever still reads from it gets a BrokenOff."""
        if self._error is None:
            self._error = BrokenOff()
        if self._transport is not None:
            self._transport.abort()

    async def _arrival(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _set_deadline(self, deadline: float) -> None:
        self._deadline = deadline
        if self._timer is not None and self._timer.when() > deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() < self._deadline:
            self._set_deadline(self._deadline)
            return
        self._error = TimeoutError()
        self.abort()
        self._wake()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to send with."""
        self._transport = transport  # type: ignore[assignment] # of a stream, since the protocol is one

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to put what comes."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Give the answer what came; an answer to nothing ends the connection."""
        response = self._response
        if response is None or response.ended:
            self.abort()
            return
        try:
            response.feed(bytes(self._buffer[:nbytes]))
        except NotHTTP as error:
            self._error = error
            self.abort()
        if response.size > _BUFFERED and not self._paused and not response.ended:
            self._paused = True
            if self._transport is not None:
                self._transport.pause_reading()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """Note it, and what it means for the answer under way."""
        response = self._response
        if response is not None and self._error is None:
            try:
                response.end(cleanly=error is None)
            except (BrokenOff, Disconnected) as failure:
                failure.__cause__ = error
                self._error = failure
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.lost.set_result(None)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
