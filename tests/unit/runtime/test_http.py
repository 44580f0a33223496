from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import traceback
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from nodeipam.runtime.connector import tune
from nodeipam.runtime.credentials import Anonymous
from nodeipam.runtime.errors import ConfigurationError, CredentialsError, ProtocolError, TransportError
from nodeipam.runtime.http import HTTPTransport
from nodeipam.runtime.tls import TLSFiles
from nodeipam.runtime.transport import Call

from .loopback import Asked, Authority, Handler, Loopback, answer, deaf, head, replies, serve, silent

SECRET = "s3cr3t-t0k3n"
LIMIT = 1024 * 1024


class Identity:
    """Credentials whose tokens a test hands out one after the other."""

    def __init__(
        self, server: str, *tokens: str, tls: TLSFiles | None = None, server_name: str | None = None
    ) -> None:
        self.server = server
        self.server_name = server_name
        self.proxy: str | None = None
        self.tls = tls
        self.tokens = list(tokens or (SECRET,))
        self.refreshed = 0
        self.closed = False
        self.broken: Exception | None = None

    def ssl_context(self) -> ssl.SSLContext | None:
        """As a Credentials."""
        return self.tls.context if self.tls else None

    async def headers(self) -> Mapping[str, str]:
        """The token of the moment."""
        if self.broken:
            raise self.broken
        return {"Authorization": f"Bearer {self.tokens[0]}"}

    async def refresh(self) -> None:
        """The next token."""
        self.refreshed += 1
        if len(self.tokens) > 1:
            self.tokens.pop(0)

    async def close(self) -> None:
        """Take note."""
        self.closed = True


@contextlib.asynccontextmanager
async def link(handler: Handler) -> AsyncIterator[tuple[HTTPTransport, Loopback]]:
    """A transport and the server that it talks to."""
    async with serve(handler) as server, HTTPTransport(Identity(server.url)) as transport:
        yield transport, server


def call(
    method: str = "GET", *, timeout: float = 5.0, idle: float | None = None, body: bytes | None = None
) -> Call:
    """A call of no particular kind."""
    return Call(
        method=method, path="/api/v1/nodes", timeout=timeout, idle=idle, body=body, headers={"Accept": "x/y"}
    )


async def fetch(transport: HTTPTransport, asked: Call | None = None) -> tuple[int, bytes]:
    """Status and body of one exchange."""
    async with transport.open(asked or call()) as found:
        body = b""
        while chunk := await found.read(LIMIT):
            body += chunk
        return found.status, body


async def lines(transport: HTTPTransport, limit: int = LIMIT, idle: float = 5.0) -> list[bytes]:
    """All lines of a stream."""
    async with transport.open(call(idle=idle)) as found:
        read = []
        while line := await found.readline(limit):
            read.append(line)
        return read


def chunked(*parts: bytes, end: bool = True) -> bytes:
    """A body in HTTP chunks; without an end it stays open."""
    wire = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts)
    return head(transfer_encoding="chunked") + wire + (b"0\r\n\r\n" if end else b"")


class TestRequest:
    async def test_request_line_and_headers(self) -> None:
        """The path arrives as it was given, the query encoded, with token, user agent and no compression."""
        async with (
            serve(replies(answer())) as server,
            HTTPTransport(Identity(server.url + "/k8s/c-1/"), user_agent="widgets/1.0") as transport,
        ):
            asked = Call(
                method="PATCH",
                path="/api/v1/nodes/a%2Fb",
                query=(("fieldSelector", "a=b,c"), ("continue", "x y+z=")),
                headers={"Accept": "x/y", "Content-Type": "p/q"},
                body=b'{"a":1}',
                timeout=5.0,
            )
            assert (200, b"{}") == await fetch(transport, asked)
        seen = server.asked[0]
        target = "/k8s/c-1/api/v1/nodes/a%2Fb?fieldSelector=a%3Db%2Cc&continue=x%20y%2Bz%3D"
        assert (target, b'{"a":1}') == (seen.target, seen.body)
        expected = {
            "accept": "x/y",
            "content-type": "p/q",
            "authorization": f"Bearer {SECRET}",
            "user-agent": "widgets/1.0",
            "accept-encoding": "identity",
        }
        assert expected == {name: seen.headers.get(name) for name in expected}
        assert "cookie" not in seen.headers

    async def test_headers_of_the_answer(self) -> None:
        """Response headers are looked up without regard to case."""
        async with (
            link(replies(answer(retry_after=7))) as (transport, _),
            transport.open(call()) as found,
        ):
            assert "7" == found.headers["retry-AFTER"]

    async def test_cookies_are_dropped(self) -> None:
        """A cookie that a load balancer sets isn't sent back."""
        async with link(replies(answer(set_cookie="a=b"))) as (transport, server):
            await fetch(transport)
            await fetch(transport)
        assert ["cookie" in asked.headers for asked in server.asked] == [False, False]

    async def test_host(self) -> None:
        """Host and port are known for metrics."""
        async with HTTPTransport(Anonymous("http://[fd00::1]:6443/prefix")) as transport:
            assert "[fd00::1]:6443" == transport.host

    async def test_connect_timeout_is_validated(self) -> None:
        """A connect timeout of zero is refused with its value."""
        with pytest.raises(ConfigurationError, match="not 0"):
            HTTPTransport(Anonymous("http://a"), connect_timeout=0)


class TestConnections:
    async def test_a_connection_is_used_again(self) -> None:
        """After an answer was read to its end its connection serves the next call."""
        async with link(replies(answer())) as (transport, server):
            for _ in range(3):
                await fetch(transport)
            assert (1, 3) == (server.connections, len(server.asked))

    async def test_leaving_early_closes(self) -> None:
        """A body that wasn't read to its end costs its connection, which is how a watch ends."""
        async with link(replies(chunked(b"one\n", end=False))) as (transport, server):
            async with transport.open(call(idle=5.0)) as found:
                assert b"one\n" == await found.readline(LIMIT)
            await server.until(lambda s: s.open == 0)

    async def test_many_at_once(self) -> None:
        """There is no limit to the number of connections."""
        async with link(silent) as (transport, server):
            async with asyncio.TaskGroup() as group:
                calls = [group.create_task(fetch(transport)) for _ in range(150)]
                await server.until(lambda s: len(s.asked) == 150)
                for each in calls:
                    each.cancel()
            await server.until(lambda s: s.open == 0)

    async def test_close(self) -> None:
        """Closing the transport closes connections and credentials; later calls are a TransportError."""
        async with serve(replies(answer())) as server:
            identity = Identity(server.url)
            transport = HTTPTransport(identity)
            await fetch(transport)
            await transport.close()
            await server.until(lambda s: s.open == 0)
            assert identity.closed
            with pytest.raises(TransportError, match="closed"):
                await fetch(transport)

    async def test_keep_alive_is_set(self) -> None:
        """The socket probes a silent peer, so that a dead one is noticed."""
        with socket.socket() as made:
            tune(made)
            assert 1 == made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert 30_000 == made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


class TestBody:
    async def test_read_respects_its_limit(self) -> None:
        """A read never returns more bytes than it was asked for, and b"" at the end."""
        async with (
            link(replies(answer(b"abcdefgh"))) as (transport, _),
            transport.open(call()) as found,
        ):
            assert [b"abc", b"def", b"gh", b"", b""] == [await found.read(3) for _ in range(5)]

    async def test_lines(self) -> None:
        """Lines come out whole, wherever the bytes were cut, and the last needs no newline."""
        parts = (b"one\ntw", b"o", b"\n", b"\nthree\nfo", b"ur")
        async with link(replies(chunked(*parts))) as (transport, _):
            assert [b"one\n", b"two\n", b"\n", b"three\n", b"four"] == await lines(transport)

    async def test_a_long_line_in_many_parts(self) -> None:
        """A line of megabytes is put together from its parts."""
        long = b"x" * 3_000_000 + b"\n"
        async with link(replies(chunked(b"a\n", long, b"b\n"))) as (transport, _):
            assert [b"a\n", long, b"b\n"] == await lines(transport, limit=4_000_000)

    @pytest.mark.parametrize("end", [b"\n", b""])
    async def test_a_line_beyond_the_limit(self, end: bytes) -> None:
        """A line that is too long is a ProtocolError, with or without its end in sight."""
        async with link(replies(chunked(b"x" * 101 + end, end=False))) as (transport, server):
            with pytest.raises(ProtocolError, match="longer than 100 bytes"):
                await lines(transport, limit=100)
            await server.until(lambda s: s.open == 0)

    async def test_a_line_of_just_the_limit(self) -> None:
        """The limit counts the newline, and a line that long is fine."""
        async with link(replies(chunked(b"x" * 99 + b"\n"))) as (transport, _):
            assert [b"x" * 99 + b"\n"] == await lines(transport, limit=100)

    @pytest.mark.parametrize(
        "wire",
        [head(content_length=10) + b"abc", chunked(b"abc", end=False)],
        ids=["length", "chunked"],
    )
    async def test_a_body_that_is_cut_off(self, wire: bytes) -> None:
        """A connection that closes within the body is a TransportError, not a short body."""

        async def cut(asked: Asked, writer: asyncio.StreamWriter) -> None:
            writer.write(wire)
            await writer.drain()
            writer.close()

        async with link(cut) as (transport, _):
            with pytest.raises(TransportError, match="broke off"):
                await fetch(transport)

    async def test_compression_is_refused(self) -> None:
        """A body that is compressed against our wish is a ProtocolError."""
        wire = answer(gzip.compress(b"{}"), content_encoding="gzip")
        async with link(replies(wire)) as (transport, _):
            with pytest.raises(ProtocolError, match="gzip"):
                await fetch(transport)

    async def test_reading_outside_of_the_context(self) -> None:
        """An answer can't be read before its head has come."""
        async with link(replies(answer())) as (transport, _):
            with pytest.raises(RuntimeError, match="inside the context"):
                await transport.open(call()).read(1)


class TestTime:
    async def test_no_head_in_time(self) -> None:
        """A server that never answers costs the call's timeout, and its connection is closed."""
        async with link(silent) as (transport, server):
            with pytest.raises(TransportError, match=r"no answer in time$"):
                await fetch(transport, call(timeout=0.05))
            await server.until(lambda s: s.open == 0)

    async def test_how_long_it_took(self) -> None:
        """A failure tells for how many seconds it was waited, whole ones, so that it reads the same again."""
        async with link(silent) as (transport, _):
            with pytest.raises(TransportError, match=r"no answer in time, after 1 s$"):
                await fetch(transport, call(timeout=1.0))

    async def test_a_slow_head(self) -> None:
        """A head that trickles in byte by byte counts against the timeout as a whole."""

        async def trickle(asked: Asked, writer: asyncio.StreamWriter) -> None:
            for byte in head(content_length=0):
                writer.write(bytes([byte]))
                await asyncio.sleep(0.02)

        async with link(trickle) as (transport, _):
            with pytest.raises(TransportError, match="no answer in time"):
                await fetch(transport, call(timeout=0.1))

    async def test_a_body_that_stops(self) -> None:
        """The timeout of a call that isn't a stream covers its body too."""
        async with link(replies(head(content_length=10) + b"abc")) as (transport, server):
            with pytest.raises(TransportError, match="stopped coming"):
                await fetch(transport, call(timeout=0.1))
            await server.until(lambda s: s.open == 0)

    async def test_a_stream_outlives_its_timeout(self) -> None:
        """A stream's timeout ends with the head: after that only silence counts."""

        async def tick(asked: Asked, writer: asyncio.StreamWriter) -> None:
            writer.write(head(transfer_encoding="chunked"))
            for _ in range(6):
                await asyncio.sleep(0.05)
                writer.write(b"2\r\na\n\r\n")
            writer.write(b"0\r\n\r\n")

        async with link(tick) as (transport, _):
            async with transport.open(call(timeout=0.2, idle=2.0)) as found:
                read = [await found.readline(LIMIT) for _ in range(7)]
            assert [b"a\n"] * 6 + [b""] == read

    async def test_a_silent_stream(self) -> None:
        """Silence beyond the idle limit breaks a stream off."""
        async with link(replies(chunked(b"a\n", end=False))) as (transport, _):
            with pytest.raises(TransportError, match="stopped coming"):
                await lines(transport, idle=0.1)

    async def test_no_handshake(self) -> None:
        """A connection that isn't made within the connect timeout is a TransportError, and given up."""
        async with deaf() as server:
            identity = Anonymous(f"https://127.0.0.1:{server.port}")
            async with HTTPTransport(identity, connect_timeout=0.05) as transport:
                with pytest.raises(TransportError, match="no connection in time"):
                    await fetch(transport)


class TestErrors:
    async def test_refused(self) -> None:
        """A port where nobody listens is a TransportError that says what and where, each time the same."""
        async with serve(silent) as server:
            url = server.url
        async with HTTPTransport(Anonymous(url)) as transport:
            with pytest.raises(TransportError) as caught:
                await fetch(transport)
            with pytest.raises(TransportError) as again:
                await fetch(transport)
        assert str(caught.value).startswith(f"GET {url[7:]}/api/v1/nodes: no connection (")
        assert str(caught.value) == str(again.value)
        assert isinstance(caught.value.__cause__, OSError)

    async def test_unknown_host(self) -> None:
        """A name that doesn't resolve is a TransportError."""
        async with HTTPTransport(Anonymous("http://nowhere.invalid")) as transport:
            with pytest.raises(TransportError, match="no connection"):
                await fetch(transport)

    async def test_not_http(self) -> None:
        """A server that doesn't speak HTTP is a ProtocolError."""
        async with link(replies(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")) as (transport, _):
            with pytest.raises(ProtocolError, match="isn't HTTP"):
                await fetch(transport)

    async def test_huge_header(self) -> None:
        """A header beyond any reason is a ProtocolError."""
        async with link(replies(head(x="y" * 200_000))) as (transport, _):
            with pytest.raises(ProtocolError, match="isn't HTTP"):
                await fetch(transport)

    @pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE", "POST"])
    async def test_a_write_is_sent_once(self, method: str) -> None:
        """A write whose kept connection breaks isn't repeated: its outcome is unknown."""

        async def second(asked: Asked, writer: asyncio.StreamWriter) -> None:
            if asked.method == "GET":
                writer.write(answer())
            else:
                writer.close()

        async with link(second) as (transport, server):
            await fetch(transport)
            with pytest.raises(TransportError, match="without an answer"):
                await fetch(transport, call(method, body=b"{}"))
            assert [method] == [asked.method for asked in server.asked[1:]]

    async def test_a_read_on_a_stale_connection_is_repeated(self) -> None:
        """A GET whose kept connection the server has closed meanwhile is sent again on a new one."""
        served = 0

        async def second_closes(asked: Asked, writer: asyncio.StreamWriter) -> None:
            nonlocal served
            served += 1
            if served == 2:
                writer.close()
            else:
                writer.write(answer())

        async with link(second_closes) as (transport, server):
            await fetch(transport)
            assert (200, b"{}") == await fetch(transport)
            assert (3, 2) == (len(server.asked), server.connections)

    async def test_a_redirect_is_an_answer(self) -> None:
        """A redirect is returned as it is, and its target never sees the token."""
        async with (
            serve(replies(answer())) as elsewhere,
            link(replies(answer(b"", "302 Found", location=f"{elsewhere.url}/steal"))) as (transport, _),
        ):
            assert (302, b"") == await fetch(transport)
            assert 0 == elsewhere.connections

    async def test_credentials_that_fail(self) -> None:
        """Credentials that can't be had are a TransportError, to be tried again."""
        async with serve(silent) as server:
            identity = Identity(server.url)
            identity.broken = CredentialsError("the plugin failed")
            async with HTTPTransport(identity) as transport:
                with pytest.raises(TransportError, match="no credentials: the plugin failed"):
                    await fetch(transport)


class TestUnauthorized:
    async def test_refreshed_and_repeated_once(self) -> None:
        """After a 401 the credentials are fetched anew and the call is repeated with them."""
        async with serve(replies(answer(b"{}", "401 Unauthorized"), answer(b"fine"))) as server:
            identity = Identity(server.url, "old", "new")
            async with HTTPTransport(identity) as transport:
                assert (200, b"fine") == await fetch(transport)
            sent = [asked.headers["authorization"] for asked in server.asked]
            assert ["Bearer old", "Bearer new"] == sent

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    async def test_a_write_is_not_repeated(self, method: str) -> None:
        """The 401 to a write is its answer, since it may be too late for it; the next one has a new token."""
        async with serve(replies(answer(b"no", "401 Unauthorized"), answer(b"fine"))) as server:
            identity = Identity(server.url, "old", "new")
            async with HTTPTransport(identity) as transport:
                asked = call(method, body=b"[1]")
                assert (401, b"no") == await fetch(transport, asked)
                assert 1 == identity.refreshed
                assert (200, b"fine") == await fetch(transport, asked)
            sent = [asked.headers["authorization"] for asked in server.asked]
            assert ["Bearer old", "Bearer new"] == sent

    async def test_refused_again(self) -> None:
        """A second 401 is the answer: there is no third attempt."""
        async with serve(replies(answer(b"{}", "401 Unauthorized"))) as server:
            identity = Identity(server.url)
            async with HTTPTransport(identity) as transport:
                assert (401, b"{}") == await fetch(transport)
            assert (2, 1) == (len(server.asked), identity.refreshed)

    async def test_many_refused_together(self) -> None:
        """Of ten calls refused together one fetches the credentials, and all are repeated."""

        async def judge(asked: Asked, writer: asyncio.StreamWriter) -> None:
            if asked.headers["authorization"] == "Bearer new":
                writer.write(answer())
                return
            await server.until(lambda s: len(s.asked) >= 10)
            writer.write(answer(b"{}", "401 Unauthorized"))

        async with serve(judge) as server:
            identity = Identity(server.url, "old", "new", "newer")
            async with HTTPTransport(identity) as transport:
                found = await asyncio.gather(*(fetch(transport) for _ in range(10)))
            assert [(200, b"{}")] * 10 == found
            assert 1 == identity.refreshed


class TestCancellation:
    @pytest.mark.parametrize("where", ["head", "body", "line", "refresh", "refresh for a write"])
    async def test_no_connection_is_left(self, where: str) -> None:
        """A call that is cancelled, wherever it waits, leaves no connection behind."""
        reached = asyncio.Event()

        async def handle(asked: Asked, writer: asyncio.StreamWriter) -> None:
            if where.startswith("refresh"):
                writer.write(head("401 Unauthorized", content_length=10))
            elif where != "head":
                writer.write(head(content_length=10) + b"abc")
            reached.set()
            await asyncio.Event().wait()

        class Slow(Identity):
            async def refresh(self) -> None:
                await asyncio.Event().wait()

        async with serve(handle) as server, HTTPTransport(Slow(server.url)) as transport:
            asked = call("PATCH" if where.endswith("write") else "GET")
            doing = lines(transport) if where == "line" else fetch(transport, asked)
            task = asyncio.ensure_future(doing)
            await reached.wait()
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.until(lambda s: s.open == 0)

    async def test_during_the_tls_handshake(self) -> None:
        """A call that is cancelled while TLS is being negotiated leaves no connection behind."""
        async with (
            deaf() as server,
            HTTPTransport(Anonymous(f"https://127.0.0.1:{server.port}")) as transport,
        ):
            task = asyncio.ensure_future(fetch(transport))
            await server.accepted.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(5):
                await server.ended.wait()


class TestTLS:
    async def test_trusted(self, tmp_path: Path) -> None:
        """A server whose certificate the CA has signed is talked to, even without key identifiers."""
        ca = Authority(tmp_path)
        async with (
            serve(replies(answer()), ca.context()) as server,
            HTTPTransport(Identity(server.url, tls=TLSFiles(ca=str(ca.path)))) as transport,
        ):
            assert (200, b"{}") == await fetch(transport)

    async def test_much_at_once(self, tmp_path: Path) -> None:
        """A body of many TLS records, which arrive together, is read as it was sent."""
        ca, body = Authority(tmp_path), bytes(range(256)) * 2_000
        async with (
            serve(replies(answer(body)), ca.context()) as server,
            HTTPTransport(Identity(server.url, tls=TLSFiles(ca=str(ca.path)))) as transport,
        ):
            assert (200, body) == await fetch(transport)

    async def test_unknown_authority(self, tmp_path: Path) -> None:
        """A certificate of somebody else's CA is refused before anything is sent."""
        ca, other = Authority(tmp_path), Authority(tmp_path, "other")
        async with (
            serve(replies(answer()), ca.context()) as server,
            HTTPTransport(Identity(server.url, tls=TLSFiles(ca=str(other.path)))) as transport,
        ):
            with pytest.raises(TransportError, match="isn't trusted"):
                await fetch(transport)
            assert [] == server.asked

    async def test_another_hosts_certificate(self, tmp_path: Path) -> None:
        """The name in the certificate is verified."""
        ca = Authority(tmp_path)
        async with (
            serve(replies(answer()), ca.context(host="127.0.0.2")) as server,
            HTTPTransport(Identity(server.url, tls=TLSFiles(ca=str(ca.path)))) as transport,
        ):
            with pytest.raises(TransportError, match="isn't trusted"):
                await fetch(transport)

    async def test_server_name(self, tmp_path: Path) -> None:
        """Where a server name is given, the certificate is verified for that."""
        ca = Authority(tmp_path)
        identity = Identity("", tls=TLSFiles(ca=str(ca.path)), server_name="kubernetes.example")
        async with serve(replies(answer()), ca.context(host="kubernetes.example")) as server:
            identity.server = server.url
            async with HTTPTransport(identity) as transport:
                assert (200, b"{}") == await fetch(transport)

    async def test_without_a_context(self, tmp_path: Path) -> None:
        """Credentials without a context of their own don't switch verification off."""
        ca = Authority(tmp_path)
        async with (
            serve(replies(answer()), ca.context()) as server,
            HTTPTransport(Identity(server.url)) as transport,
        ):
            with pytest.raises(TransportError, match="isn't trusted"):
                await fetch(transport)

    async def test_a_renewed_client_certificate(self, tmp_path: Path) -> None:
        """Once the client's certificate was renewed on disk, new connections present the new one."""
        ca = Authority(tmp_path)
        paths = ca.issue("first", stem="client")
        tls = TLSFiles(ca=str(ca.path), certificate=str(paths[0]), key=str(paths[1]))
        async with (
            serve(replies(answer()), ca.context(clients=True)) as server,
            HTTPTransport(Identity(server.url, tls=tls)) as transport,
        ):
            await fetch(transport)
            tls.reload()
            await fetch(transport)
            ca.issue("second", stem="client")
            tls.reload()
            await fetch(transport)
            assert ["first", "first", "second"] == [asked.peer for asked in server.asked]
            assert 2 == server.connections

    async def test_plain_http_where_tls_is_spoken(self, tmp_path: Path) -> None:
        """Plain http to a TLS port is an error of ours, not a hang."""
        ca = Authority(tmp_path)
        async with serve(replies(answer()), ca.context()) as server:
            url = server.url.replace("https", "http")
            async with HTTPTransport(Anonymous(url)) as transport:
                with pytest.raises(TransportError):
                    await fetch(transport)


class TestProxy:
    async def test_plain_http_through_a_proxy(self) -> None:
        """A proxy is asked for the whole address."""
        async with serve(replies(answer())) as proxy:
            identity = Identity("http://api.invalid:8080")
            identity.proxy = proxy.url
            async with HTTPTransport(identity) as transport:
                assert (200, b"{}") == await fetch(transport)
            assert "http://api.invalid:8080/api/v1/nodes" == proxy.asked[0].target

    async def test_the_environment_is_not_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Proxy variables don't divert calls to an API server."""
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        async with link(replies(answer())) as (transport, _):
            assert (200, b"{}") == await fetch(transport)


class TestSecrecy:
    @pytest.mark.parametrize(
        "wire", [b"garbage\r\n\r\n", head(content_length=9), answer(content_encoding="gzip")]
    )
    async def test_no_error_holds_the_token(self, wire: bytes) -> None:
        """Neither an error nor anything in its chain of causes shows the token, not even by its repr."""

        async def once(asked: Asked, writer: asyncio.StreamWriter) -> None:
            writer.write(wire)
            await writer.drain()
            writer.close()

        async with link(once) as (transport, _):
            with pytest.raises(TransportError) as caught:
                await fetch(transport)
        error: BaseException | None = caught.value
        while error is not None:
            assert SECRET not in "".join(traceback.format_exception(error)) + repr(error) + repr(error.args)
            error = error.__cause__ or error.__context__

    async def test_reprs(self) -> None:
        """Reprs tell the state and keep the secret."""
        async with link(replies(answer())) as (transport, server):
            exchange = transport.open(call())
            assert f"<Exchange GET {transport.host}/api/v1/nodes unanswered>" == repr(exchange)
            async with exchange as found:
                assert f"<Exchange GET {transport.host}/api/v1/nodes 200>" == repr(found)
            assert f"<HTTPTransport {server.url} open>" == repr(transport)
        assert f"<HTTPTransport {server.url} closed>" == repr(transport)
