from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.registry import Collector

from nodeipam.runtime.errors import ConfigurationError, ListenError
from nodeipam.runtime.server import Checks, HealthError, Limits, Server

GET = b"GET %s HTTP/1.1\r\nHost: test\r\n%s\r\n"


class Site:
    """A server with the checks and the registry that it serves."""

    def __init__(self, address: str = "127.0.0.1:0", limits: Limits | None = None) -> None:
        self.liveness = Checks()
        self.readiness = Checks()
        self.registry = CollectorRegistry()
        self.server = Server(
            address, liveness=self.liveness, readiness=self.readiness, registry=self.registry, limits=limits
        )

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """The port, while it is served."""
        await self.server.start()
        try:
            yield self.server.port
        finally:
            await self.server.close()


async def ask(port: int, path: str, *headers: str, method: str = "GET") -> tuple[int, dict[str, str], str]:
    """Status, headers and body of one request on a connection of its own."""
    lines = [f"{method} {path} HTTP/1.1", "Host: test", "Connection: close", *headers]
    return await talk(port, "\r\n".join([*lines, "", ""]).encode())


async def talk(port: int, data: bytes) -> tuple[int, dict[str, str], str]:
    """What is answered to these bytes, until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    status, *lines = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), fields, body.decode()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What still comes until the server ends the connection, by closing or by aborting it."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b"reset"


@asynccontextmanager
async def connections(port: int, count: int, first: bytes) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Clients that send `first` and nothing more."""
    made = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    try:
        for _, writer in made:
            writer.write(first)
        yield [reader for reader, _ in made]
    finally:
        for _, writer in made:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in made), return_exceptions=True)


class TestProbes:
    async def test_ok(self) -> None:
        """A healthy probe is answered 200 with "ok" as plain text that isn't sniffed."""
        async with Site().serving() as port:
            status, headers, body = await ask(port, "/healthz")

        assert (200, "ok", "text/plain; charset=utf-8", "nosniff") == (
            status,
            body,
            headers["content-type"],
            headers["x-content-type-options"],
        )

    async def test_liveness_and_readiness(self) -> None:
        """The two probes have checks of their own; a failure is a 500."""
        site = Site()
        site.readiness.add("informers", _raise)
        async with site.serving() as port:
            live, ready = await ask(port, "/healthz"), await ask(port, "/readyz")

        text = "[-]informers failed: reason withheld\nhealthz check failed\n"
        assert (200, 500, text) == (live[0], ready[0], ready[2])

    async def test_query(self) -> None:
        """?verbose tells every check, ?exclude leaves checks out, each as often as it is given."""
        site = Site()
        for name in ("a", "b", "c"):
            site.readiness.add(name, _raise)
        async with site.serving() as port:
            status, _, body = await ask(port, "/readyz?verbose&exclude=a&exclude=b&exclude=c")

        text = "[+]a excluded: ok\n[+]b excluded: ok\n[+]c excluded: ok\nhealthz check passed\n"
        assert (200, text) == (status, body)

    async def test_one_check(self) -> None:
        """One check is asked for below its probe, with or without a slash at the end; another is a 404."""
        site = Site()
        site.readiness.add("informers", _raise)
        async with site.serving() as port:
            one = await ask(port, "/readyz/informers/")
            other = await ask(port, "/healthz/informers")

        assert (500, "internal server error: not yet\n") == (one[0], one[2])
        assert (404, "404 page not found\n") == (other[0], other[2])

    async def test_hanging_check(self) -> None:
        """A check that hangs fails by its own timeout, and other requests are answered meanwhile."""
        site = Site()
        site.readiness.add("stuck", _hang, timeout=0.2)
        async with site.serving() as port:
            stuck = asyncio.ensure_future(ask(port, "/readyz"))
            live = await ask(port, "/healthz")
            answered_first = not stuck.done()
            ready = await stuck

        assert (200, True, 500) == (live[0], answered_first, ready[0])


class TestHTTP:
    async def test_head(self) -> None:
        """HEAD is answered like GET, without the body."""
        async with Site().serving() as port:
            status, headers, body = await ask(port, "/healthz", method="HEAD")

        assert (200, "2", "") == (status, headers["content-length"], body)

    async def test_other_methods_and_paths(self) -> None:
        """Other methods are a 405 that names the right ones, other paths a 404."""
        async with Site().serving() as port:
            posted = await ask(port, "/healthz", "Content-Length: 0", method="POST")
            statuses = [
                (await ask(port, path))[0] for path in ("/", "/livez", "/healthz/a/b", "/debug/pprof")
            ]

        assert (405, "get, head") == (posted[0], posted[1]["allow"])
        assert [404] * 4 == statuses

    async def test_keep_alive(self) -> None:
        """Several requests are answered on one connection, one after the other."""
        async with Site().serving() as port:
            request = GET % (b"/healthz", b"") * 2 + GET % (b"/healthz", b"Connection: close\r\n")
            _, _, body = await talk(port, request)

        assert 3 == (body + "HTTP/1.1 200 OK").count("HTTP/1.1 200 OK")

    @pytest.mark.parametrize(
        "data",
        [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: test\r\n" + b"X: " + b"x" * 10_000 + b"\r\n\r\n",
            b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: test\r\n\r\n",
        ],
    )
    async def test_garbage(self, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
        """What is no request, or too long a one, is a 400, and no reason to log anything."""
        with caplog.at_level(logging.INFO):
            async with Site().serving() as port:
                status, _, _ = await talk(port, data)

        assert 400 == status
        assert ["serving probes and metrics"] == caplog.messages

    async def test_broken_collector(self, caplog: pytest.LogCaptureFixture) -> None:
        """A defect while answering is a 500 without details, and is logged with them."""

        class Broken(Collector):
            def collect(self) -> list[Metric]:
                raise ZeroDivisionError("broken")

            def describe(self) -> list[Metric]:
                return []

        site = Site()
        site.registry.register(Broken())
        async with site.serving() as port:
            status, _, body = await ask(port, "/metrics")

        assert (500, "internal server error\n") == (status, body)
        assert "ZeroDivisionError" in caplog.text


class TestMetrics:
    async def test_forms(self) -> None:
        """Metrics come as Prometheus' plain text, or as OpenMetrics to a client that accepts it."""
        site = Site()
        Counter("seen", "Things seen.", registry=site.registry).inc()
        async with site.serving() as port:
            plain = await ask(port, "/metrics")
            modern = await ask(port, "/metrics", "Accept: application/openmetrics-text;version=1.0.0")
            odd = await ask(port, "/metrics", "Accept: application/openmetrics-text;version=x.y")

        assert "seen_total 1.0\n" in plain[2]
        assert plain[1]["content-type"].startswith("text/plain")
        assert modern[1]["content-type"].startswith("application/openmetrics-text")
        assert modern[2].endswith("# EOF\n")
        assert modern[::2] == odd[::2]

    async def test_rendered_once_a_second(self) -> None:
        """However often they are asked for, metrics are collected at most once a second."""
        scrapes: list[None] = []

        class Counting(Collector):
            def collect(self) -> list[Metric]:
                scrapes.append(None)
                return []

            def describe(self) -> list[Metric]:
                return []

        site = Site()
        site.registry.register(Counting())
        async with site.serving() as port:
            for _ in range(5):
                await ask(port, "/metrics")

        assert 1 == len(scrapes)


class TestHostileClients:
    @pytest.mark.parametrize("first", [b"", b"GET /healthz HTTP/1.1\r\nHost: test\r\n"])
    async def test_deadline_for_a_request(self, first: bytes) -> None:
        """A connection whose request doesn't arrive in time is closed, whether it began or not."""
        site = Site(limits=Limits(request=0.1))
        async with site.serving() as port, connections(port, 3, first) as readers:
            async with asyncio.timeout(5):
                left = [await ended(reader) for reader in readers]

        assert set(left) <= {b"", b"reset"}

    async def test_dripping_does_not_help(self) -> None:
        """Sending a byte now and then doesn't prolong the deadline."""
        site = Site(limits=Limits(request=0.2))
        async with site.serving() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            async with asyncio.timeout(5):
                while not reader.at_eof() and reader.exception() is None:
                    writer.write(b"G")
                    await asyncio.sleep(0.02)
            writer.close()

    async def test_many_half_open(self) -> None:
        """200 half-open clients don't keep a probe from being answered, nor hold more than the cap."""
        site = Site(limits=Limits(connections=16))
        async with site.serving() as port, connections(port, 200, b"GET /healthz HTTP/1.1\r\n"):
            async with asyncio.timeout(5):
                answers = [await ask(port, "/healthz") for _ in range(3)]
            held = repr(site.server)

        assert [200] * 3 == [status for status, _, _ in answers]
        assert int(held.split("busy, ")[1].split()[0]) <= 16

    async def test_oldest_goes_first(self) -> None:
        """At the cap a new connection takes the place of the oldest half-open one, and of no younger one."""
        site = Site(limits=Limits(connections=3))
        async with site.serving() as port, connections(port, 3, b"GET ") as readers:
            await _until(lambda: "3 half open" in repr(site.server))
            status, _, _ = await ask(port, "/healthz")
            first = await ended(readers[0])
            others = [reader.at_eof() or reader.exception() is not None for reader in readers[1:]]

        assert (200, [False, False]) == (status, others)
        assert first in {b"", b"reset"}

    async def test_answers_are_not_pushed_out(self) -> None:
        """Connections that are being answered keep their places: at the cap a new one is turned away."""
        release = asyncio.Event()
        site = Site(limits=Limits(connections=2))
        site.readiness.add("slow", lambda: _wait(release), timeout=10.0)
        async with site.serving() as port:
            slow = [asyncio.ensure_future(ask(port, "/readyz")) for _ in range(2)]
            await _until(lambda: "2 busy" in repr(site.server))
            async with connections(port, 1, b"GET ") as (reader,):
                turned_away = await ended(reader)
            release.set()
            answers = await asyncio.gather(*slow)

        assert turned_away in {b"", b"reset"}
        assert [200, 200] == [status for status, _, _ in answers]

    async def test_idle_connections_end(self) -> None:
        """A connection that stays idle after an answer is closed when its keep-alive is over."""
        site = Site(limits=Limits(keep_alive=0.1))
        async with site.serving() as port, connections(port, 1, GET % (b"/healthz", b"")) as (reader,):
            async with asyncio.timeout(5):
                text = await ended(reader)

        assert text.endswith(b"ok")

    def test_impossible_limits(self) -> None:
        """Limits that can't work are refused with their numbers."""
        with pytest.raises(ConfigurationError, match=r"request=0,.*connections=1,"):
            Limits(request=0, connections=1)


class TestListening:
    @pytest.mark.parametrize(
        "address, families", [(":0", {"127.0.0.1", "::1"}), ("[::]:0", {"127.0.0.1", "::1"})]
    )
    async def test_everywhere(self, address: str, families: set[str]) -> None:
        """Without a host one port is listened at over IPv4 and IPv6."""
        if not socket.has_dualstack_ipv6():
            pytest.skip("this machine has no IPv6")
        async with Site(address).serving() as port:
            for host in sorted(families):
                _, writer = await asyncio.open_connection(host, port)
                writer.close()
                await writer.wait_closed()

    async def test_one_address(self) -> None:
        """With a host only that address is listened at."""
        async with Site("127.0.0.1:0").serving() as port:
            with pytest.raises(OSError):  # noqa: PT011 - refused, or no IPv6 at all
                await asyncio.open_connection("::1", port)

    @pytest.mark.parametrize("address", ["127.0.0.1:{}", ":{}"])
    async def test_port_in_use(self, address: str) -> None:
        """A port in use is told with its number and what to do."""
        async with Site().serving() as port:
            with pytest.raises(ListenError, match=f"port {port} is in use; stop the program"):
                await Site(address.format(port)).server.start()

    @pytest.mark.parametrize(
        "address, advice",
        [
            ("8081", r"can't listen at '8081': it has to be \[host\]:port, such as ':8081'"),
            ("", r"it has to be \[host\]:port"),
            (":http", r"it has to be \[host\]:port"),
            ("::1:8081", r"an IPv6 address in brackets, such as '\[::1\]:8081'"),
            (":99999", "between 0 and 65535, not 99999"),
            ("192.0.2.1:0", "this machine has no such address"),
            ("no-such-host.invalid:0", "its host can't be resolved"),
        ],
    )
    async def test_impossible_addresses(self, address: str, advice: str) -> None:
        """An address that can't be bound is told with what would be right."""
        with pytest.raises(ListenError, match=advice):
            await Site(address).server.start()

    async def test_not_permitted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A port that is not permitted is told with the ways out."""

        def refuse(*args: object, **kwargs: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(socket, "create_server", refuse)
        with pytest.raises(ListenError, match="port 80 is not permitted; choose one from 1024 on"):
            await Site(":80").server.start()


class TestClosing:
    async def test_prompt_with_half_open_clients(self) -> None:
        """Closing doesn't wait for half-open or idle clients; it leaves no connection and no port behind."""
        site = Site()
        async with (
            asyncio.timeout(0.9),
            site.serving() as port,
            connections(port, 20, b"GET "),
            connections(port, 5, GET % (b"/healthz", b"")),
        ):
            await _until(lambda: "20 half open, 5 idle" in repr(site.server))
            await site.server.close()

        assert ("not listening", 0) == (repr(site.server).rpartition(": ")[2][:-1], site.server.port)
        with pytest.raises(ConnectionRefusedError):
            await ask(port, "/healthz")

    async def test_answers_come_to_their_end(self) -> None:
        """An answer that is being made is still given."""
        release = asyncio.Event()
        site = Site()
        site.readiness.add("slow", lambda: _wait(release), timeout=10.0)
        async with site.serving() as port:
            slow = asyncio.ensure_future(ask(port, "/readyz"))
            await _until(lambda: "1 busy" in repr(site.server))
            closing = asyncio.ensure_future(site.server.close())
            await asyncio.sleep(0)
            release.set()
            status, _, body = await slow
            await closing

        assert (200, "ok") == (status, body)

    async def test_hanging_answers_are_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An answer that takes longer than the grace is cut off, and its checks are cancelled."""
        monkeypatch.setattr("nodeipam.runtime.server._GRACE", 0.05)
        cancelled: list[bool] = []

        async def check() -> None:
            try:
                await _hang()
            finally:
                cancelled.append(True)

        site = Site()
        site.readiness.add("stuck", check, timeout=10.0)
        async with site.serving() as port, connections(port, 1, GET % (b"/readyz", b"")) as (reader,):
            await _until(lambda: "1 busy" in repr(site.server))
            await site.server.close()
            left = await ended(reader)

        assert [True] == cancelled
        assert left in {b"", b"reset"}

    async def test_without_start(self) -> None:
        """Closing what never started, or twice, does nothing."""
        site = Site()
        await site.server.close()
        async with site.serving():
            await site.server.close()


def _raise() -> None:
    raise HealthError("not yet")


async def _hang() -> None:
    await asyncio.sleep(3600)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def _until(condition: object) -> None:
    """Until `condition()` holds; real sockets need a moment."""
    assert callable(condition)
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.005)
