from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nodeipam.runtime import connector
from nodeipam.runtime.connector import Connector, NoConnection
from nodeipam.runtime.errors import TransportError
from nodeipam.runtime.http import HTTPTransport
from nodeipam.runtime.tls import TLSFiles

from .loopback import Authority, answer, deaf, replies, serve
from .test_http import Identity, call, fetch

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\nProxy-Agent: test\r\n\r\n"


class Proxy:
    """Answers a CONNECT with the same bytes each time, then carries bytes if these are a success."""

    def __init__(self, said: bytes) -> None:
        self.said = said
        self.heads: list[str] = []
        self.url = ""

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        writer.write(self.said)
        if self.said != ESTABLISHED:
            writer.close()
            return
        host, _, port = head.split()[1].rpartition(":")
        beyond, forth = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_carry(reader, forth), _carry(beyond, writer), return_exceptions=True)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def proxying(said: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    """A proxy, for as long as the context is open."""
    proxy = Proxy(said)
    server = await asyncio.start_server(proxy.connected, "127.0.0.1", 0, ssl=context)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()


class TestThroughAProxy:
    async def test_tunnel(self, tmp_path: Path) -> None:
        """TLS is spoken with the server itself, whose certificate counts, and the tunnel is used again."""
        ca = Authority(tmp_path)
        async with serve(replies(answer()), ca.context()) as server, proxying(ESTABLISHED) as proxy:
            identity = Identity(server.url, tls=TLSFiles(ca=str(ca.path)))
            identity.proxy = proxy.url
            async with HTTPTransport(identity) as transport:
                for _ in range(2):
                    assert (200, b"{}") == await fetch(transport)
            authority = f"127.0.0.1:{server.port}"
            expected = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"
            assert [expected] == proxy.heads

    async def test_user_and_password(self, tmp_path: Path) -> None:
        """Those in the proxy's address are sent to the proxy alone."""
        ca = Authority(tmp_path)
        async with serve(replies(answer()), ca.context()) as server, proxying(ESTABLISHED) as proxy:
            identity = Identity(server.url, tls=TLSFiles(ca=str(ca.path)))
            identity.proxy = proxy.url.replace("//", "//us%40er:p%3Ass@")
            async with HTTPTransport(identity) as transport:
                await fetch(transport)
            assert "\r\nProxy-Authorization: Basic dXNAZXI6cDpzcw==\r\n" in proxy.heads[0]
            assert "proxy-authorization" not in server.asked[0].headers
            assert "authorization" in server.asked[0].headers

    async def test_another_hosts_certificate(self, tmp_path: Path) -> None:
        """The tunnel changes nothing about what is verified."""
        ca = Authority(tmp_path)
        async with (
            serve(replies(answer()), ca.context(host="127.0.0.2")) as server,
            proxying(ESTABLISHED) as proxy,
        ):
            identity = Identity(server.url, tls=TLSFiles(ca=str(ca.path)))
            identity.proxy = proxy.url
            async with HTTPTransport(identity) as transport:
                with pytest.raises(TransportError, match="isn't trusted"):
                    await fetch(transport)
            assert [] == server.asked

    @pytest.mark.parametrize(
        "said, why",
        [
            (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 9\r\n\r\n", "answer is 407"),
            (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno", "answer is 502"),
            (b"", "gave no answer"),
            (b"SSH-2.0\r\n", "gave no answer"),
        ],
    )
    async def test_refused(self, said: bytes, why: str) -> None:
        """What the proxy says instead is told, without its user's password; nothing is sent to the server."""
        async with proxying(said) as proxy:
            identity = Identity("https://127.0.0.1:1")
            identity.proxy = proxy.url.replace("//", "//user:s3same@")
            async with HTTPTransport(identity) as transport:
                with pytest.raises(TransportError, match=why) as caught:
                    await fetch(transport)
            assert "s3same" not in str(caught.value)
            assert "Bearer" not in proxy.heads[0]

    async def test_silent(self) -> None:
        """A proxy that never answers costs no more time than a connection may take."""
        async with deaf() as proxy:
            identity = Identity("https://127.0.0.1:1")
            identity.proxy = f"http://127.0.0.1:{proxy.port}"
            async with HTTPTransport(identity, connect_timeout=0.05) as transport:
                with pytest.raises(TransportError, match="no connection in time"):
                    await fetch(transport)


class TestKept:
    async def test_expiry(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection that isn't used is closed after a while."""
        monkeypatch.setattr(connector, "_IDLE", 0.05)
        async with serve(replies(answer())) as server, HTTPTransport(Identity(server.url)) as transport:
            await fetch(transport)
            assert 1 == server.open
            await server.until(lambda now: now.open == 0)
            await fetch(transport)
            assert 2 == server.connections

    async def test_the_one_used_last(self) -> None:
        """Of several the one that was used last is used again, so that the others can expire."""
        async with serve(replies(answer())) as server:
            pool = Connector(Identity(server.url), timeout=5)
            first, second = await pool.connect(), await pool.connect()
            for connection in (first, second):
                response = connection.send(b"GET / HTTP/1.1\r\n\r\n")
                await connection.head(response)
                await connection.read(response, 10, asyncio.get_running_loop().time() + 5)
                pool.give_back(connection)
            assert (second, first, None) == (pool.kept(), pool.kept(), pool.kept())
            await pool.close()

    async def test_not_after_the_server_has_closed(self) -> None:
        """A connection that was closed meanwhile isn't offered."""
        async with serve(replies(answer())) as server, HTTPTransport(Identity(server.url)) as transport:
            await fetch(transport)
            for writer in server.tasks.values():
                writer.transport.abort()
            await server.until(lambda now: now.open == 0)
            await asyncio.sleep(0.01)
            assert (200, b"{}") == await fetch(transport, call("PATCH", body=b"{}"))
            assert 2 == server.connections


class TestClosing:
    async def test_while_dialing(self, tmp_path: Path) -> None:
        """What is connected after the close is closed at once."""
        async with deaf() as server:
            pool = Connector(Identity(f"http://127.0.0.1:{server.port}"), timeout=5)
            dialing = asyncio.create_task(pool.connect())
            await asyncio.sleep(0)
            await pool.close()
            with pytest.raises(NoConnection, match="it was closed"):
                await dialing
