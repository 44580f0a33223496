from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeipam.runtime.http1 import BrokenOff, Connection, Disconnected, NotHTTP, Response

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = OK + b"Content-Length: 5\r\n\r\nhello"
CHUNKS = OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;why=not\r\nlo\r\n0\r\n\r\n"
TRAILER = CHUNKS[:-2] + b"Expires: never\r\nDigest: none\r\n\r\n"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + LENGTH


def fed(*parts: bytes, bodiless: bool = False) -> Response:
    """A response that was fed these bytes."""
    response = Response(bodiless=bodiless)
    for part in parts:
        response.feed(part)
    return response


def body(response: Response) -> bytes:
    """What there is of its body."""
    parts = []
    while part := response.take(1 << 20):
        parts.append(part)
    return b"".join(parts)


def cut(wire: bytes, places: set[int]) -> list[bytes]:
    """The bytes in parts."""
    ends = [*sorted(place % len(wire) for place in places), len(wire)]
    return [wire[start:end] for start, end in zip([0, *ends], ends, strict=False) if end > start]


class TestWhole:
    @pytest.mark.parametrize("wire", [LENGTH, CHUNKS, TRAILER, CONTINUED])
    @given(places=st.sets(st.integers(0, 1 << 16)))
    def test_however_it_is_cut(self, wire: bytes, places: set[int]) -> None:
        """An answer is the same in whatever parts it arrives."""
        response = fed(*cut(wire, places))
        assert (200, True, True, b"hello") == (
            response.status,
            response.ended,
            response.keep,
            body(response),
        )

    @pytest.mark.parametrize("wire", [LENGTH, CHUNKS, TRAILER, CONTINUED])
    def test_not_before_its_end(self, wire: bytes) -> None:
        """Without its last byte an answer hasn't ended, and its connection can't be used again."""
        response = fed(wire[:-1])
        assert not response.ended
        with pytest.raises(BrokenOff):
            response.end()

    @given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.sets(st.integers(0, 1 << 16)))
    def test_any_chunks(self, chunks: list[bytes], places: set[int]) -> None:
        """A body in chunks is put together again, whatever bytes it is of."""
        coded = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
        wire = OK + b"Transfer-Encoding: chunked\r\n\r\n" + coded + b"0\r\n\r\n"
        response = fed(*cut(wire, places))
        assert (True, b"".join(chunks)) == (response.ended, body(response))

    def test_headers(self) -> None:
        """Names are found whatever their case; blanks around a value aren't part of it; bytes are Latin-1."""
        headers = fed(OK + b"A-b: \t x y \t\r\nEmpty:\r\nUmlaut: \xfc\r\nContent-Length: 0\r\n\r\n").headers
        assert ("x y", "", "ü") == (headers["a-B"], headers["EMPTY"], headers["umlaut"])

    def test_until_closed(self) -> None:
        """Without a length the body ends with the connection, which can't be used again."""
        response = fed(OK + b"\r\nhel", b"lo")
        assert not response.ended
        response.end()
        assert (True, False, b"hello") == (response.ended, response.keep, body(response))

    @pytest.mark.parametrize("status", [204, 304])
    def test_no_body(self, status: int) -> None:
        """These have none, whatever their head says."""
        response = fed(b"HTTP/1.1 %d x\r\nContent-Length: 7\r\n\r\n" % status)
        assert (True, True, b"") == (response.ended, response.keep, body(response))

    def test_answer_to_a_connect(self) -> None:
        """It has no body; what follows belongs to the tunnel."""
        assert fed(OK + b"Transfer-Encoding: chunked\r\n\r\n", bodiless=True).ended

    def test_take(self) -> None:
        """No more is taken than was asked for, and what is left comes next."""
        response = fed(LENGTH)
        assert (5, b"hel", b"lo", b"", 0) == (
            response.size,
            response.take(3),
            response.take(3),
            response.take(3),
            response.size,
        )


class TestKeep:
    @pytest.mark.parametrize(
        "wire",
        [
            b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello",
            OK + b"Connection: Keep-Alive, CLOSE\r\nContent-Length: 5\r\n\r\nhello",
            LENGTH + b"H",
            CHUNKS + b"\r\n",
        ],
    )
    def test_not(self, wire: bytes) -> None:
        """A server that says so closes the connection; one that says more than was asked isn't trusted."""
        response = fed(wire)
        assert (True, False, b"hello") == (response.ended, response.keep, body(response))

    def test_more_later(self) -> None:
        """Bytes that come after the end, before the connection is given back, spoil it too."""
        response = fed(LENGTH)
        response.feed(b"H")
        assert not response.keep


class TestMalformed:
    @pytest.mark.parametrize(
        "wire",
        [
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"\x15\x03\x01\x00\x02\x02\x46",
            b"HTTP/2 200\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"HTTP/1.1  200 OK\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n" * 17,
            OK + b"No colon\r\n\r\n",
            OK + b"Blank : x\r\n\r\n",
            OK + b" Folded: x\r\n\r\n",
            OK + b"A: x\r\n folded\r\n\r\n",
            OK + b"A: x\0y\r\n\r\n",
            OK + b"A: x\ny: z\r\n\r\n",
            OK + b": x\r\n\r\n",
            OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            OK + b"Content-Length: 5, 6\r\n\r\nhello",
            OK + b"Content-Length: +5\r\n\r\nhello",
            OK + b"Content-Length: -1\r\n\r\n",
            OK + b"Content-Length: 0x5\r\n\r\nhello",
            OK + b"Content-Length: \xb2\r\n\r\nhello",
            OK + b"Content-Length: 99999999999999999999\r\n\r\n",
            OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
            OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            OK + b"Transfer-Encoding: identity\r\n\r\n",
            OK + b"Transfer-Encoding: chunked\r\n\r\nx\r\n\r\n",
            OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
            OK + b"Transfer-Encoding: chunked\r\n\r\n\r\n\r\n",
            OK + b"Transfer-Encoding: chunked\r\n\r\n11111111111111111\r\n",
            OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
            OK + b"Transfer-Encoding: chunked\r\n\r\n3\nhel\n0\n\n" + b" " * 1100,
            OK + b"Transfer-Encoding: chunked\r\n\r\n3;" + b"x" * 1100,
            OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: " + b"x" * 66_000,
            OK + b"A: " + b"x" * 66_000,
            OK + b"A: " + b"x" * 66_000 + b"\r\n\r\n",
        ],
    )
    @pytest.mark.parametrize("step", [1 << 20, 1000, 7])
    def test_refused(self, wire: bytes, step: int) -> None:
        """What isn't HTTP, or could be read in two ways, is refused, in whatever parts it arrives."""
        with pytest.raises(NotHTTP):
            fed(*(wire[at : at + step] for at in range(0, len(wire), step)))

    def test_the_same_length_twice(self) -> None:
        """A length that is repeated says one thing (RFC 9112, 6.3)."""
        wire = OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"
        assert b"hello" == body(fed(wire))

    @given(st.binary(max_size=300), st.sampled_from([b"", OK]))
    def test_any_bytes(self, noise: bytes, begun: bytes) -> None:
        """Whatever comes is an answer, a part of one, or refused."""
        response = Response()
        try:
            response.feed(begun + noise)
            response.end()
        except (NotHTTP, Disconnected, BrokenOff):
            return
        assert response.ended


class TestCutOff:
    def test_before_anything(self) -> None:
        """A connection that is closed without a word is told from one that breaks off."""
        with pytest.raises(Disconnected):
            Response().end()

    def test_in_the_head(self) -> None:
        """There is no answer yet."""
        with pytest.raises(Disconnected):
            fed(OK + b"Content-").end()


class Transport(asyncio.Transport):
    """Notes what a connection does with it."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []

    def write(self, data: Any) -> None:
        """Take note."""
        self.done.append("write")

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return "abort" in self.done

    def abort(self) -> None:
        """Take note."""
        self.done.append("abort")

    def pause_reading(self) -> None:
        """Take note."""
        self.done.append("pause")

    def resume_reading(self) -> None:
        """Take note."""
        self.done.append("resume")


def connected() -> tuple[Connection, Transport]:
    """A connection and what it is made of."""
    connection, transport = Connection(memoryview(bytearray(1 << 16))), Transport()
    connection.connection_made(transport)
    return connection, transport


def receive(connection: Connection, data: bytes) -> None:
    """Have data arrive, as asyncio does."""
    for at in range(0, len(data), 1 << 16):
        part = data[at : at + (1 << 16)]
        connection.get_buffer(-1)[: len(part)] = part
        connection.buffer_updated(len(part))


class TestConnection:
    async def test_no_more_is_read_than_is_taken(self) -> None:
        """A body that nobody reads is left to the server, and fetched once somebody does."""
        connection, transport = connected()
        response = connection.send(b"GET")
        receive(connection, OK + b"Content-Length: 2000000\r\n\r\n")
        receive(connection, b"x" * 700_000)
        assert ["write", "pause"] == transport.done
        while response.size > 350_000:
            connection.take(response, 100_000)
        assert ["write", "pause"] == transport.done
        while response.size > 200_000:
            connection.take(response, 100_000)
        assert ["write", "pause", "resume"] == transport.done

    async def test_unasked(self) -> None:
        """Bytes on a connection on which nothing was asked, or all was answered, end it."""
        connection, transport = connected()
        receive(connection, LENGTH)
        assert connection.closed
        connection, transport = connected()
        connection.send(b"GET")
        receive(connection, LENGTH)
        assert ["write"] == transport.done
        receive(connection, b"HTTP/1.1 200 OK\r\n")
        assert not connection.finish()

    async def test_ended_with_an_error(self) -> None:
        """What asyncio says of the end is the cause of what is raised."""
        connection, _ = connected()
        response = connection.send(b"GET")
        reset = ConnectionResetError("reset")
        connection.connection_lost(reset)
        with pytest.raises(Disconnected) as caught:
            await connection.head(response)
        assert reset is caught.value.__cause__

    async def test_the_deadline_of_the_latest_read(self) -> None:
        """The timer of an earlier read ends none that has more time, nor one that was over before."""
        connection, transport = connected()
        loop = asyncio.get_running_loop()
        response = connection.send(b"GET")
        receive(connection, OK + b"Content-Length: 3\r\n\r\n")
        for _ in range(2):
            loop.call_soon(receive, connection, b"x")
            assert b"x" == await connection.read(response, 10, loop.time() + 0.03)
        await asyncio.sleep(0.06)
        reading = asyncio.create_task(connection.read(response, 10, loop.time() + 5))
        await asyncio.sleep(0.06)
        assert (["write"], False) == (transport.done, reading.done())
        receive(connection, b"x")
        assert b"x" == await reading

    async def test_an_earlier_deadline(self) -> None:
        """A read with less time than the one before is ended in its own time."""
        connection, transport = connected()
        loop = asyncio.get_running_loop()
        response = connection.send(b"GET")
        receive(connection, OK + b"Content-Length: 3\r\n\r\n")
        loop.call_soon(receive, connection, b"x")
        await connection.read(response, 10, loop.time() + 60)
        async with asyncio.timeout(5):
            with pytest.raises(TimeoutError):
                await connection.read(response, 10, loop.time() + 0.01)
        assert ["write", "abort"] == transport.done
