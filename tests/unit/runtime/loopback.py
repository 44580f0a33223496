"""A server on the loopback interface that says exactly the bytes a test wants, and certificates for it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Asked:
    """One request, as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    peer: str = ""
    """The common name of the client's certificate."""


Handler = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Loopback:
    """Serves HTTP/1.1 requests one after the other on each connection, as the handler says."""

    handler: Handler
    scheme: str = "http"
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    """Connections accepted so far."""
    open: int = 0
    """Connections that are open now."""
    port: int = 0
    tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        """The address of this server."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def until(self, condition: Callable[[Loopback], bool]) -> None:
        """Wait until something is true of this server."""
        async with self.changed, asyncio.timeout(10):
            await self.changed.wait_for(lambda: condition(self))

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks[task] = writer
        self.connections += 1
        self.open += 1
        try:
            while (asked := await _request(reader, writer)) is not None:
                self.asked.append(asked)
                await self._notify()
                serving = asyncio.ensure_future(self.handler(asked, writer))
                gone = asyncio.ensure_future(_gone(reader))
                await asyncio.wait({serving, gone}, return_when=asyncio.FIRST_COMPLETED)
                for each in (serving, gone):
                    each.cancel()
                await asyncio.gather(serving, gone, return_exceptions=True)
                if writer.is_closing():
                    break
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.transport.abort()
            await self._notify()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()
            del self.tasks[task]


async def _gone(reader: asyncio.StreamReader) -> None:
    """Return when the client closes; a client that sends its next request early isn't served here."""
    while not reader.at_eof() and reader.exception() is None:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.005)


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Asked | None:
    line = await reader.readline()
    if not line:
        return None
    method, target, _ = line.decode().split(" ")
    headers = {}
    while (line := await reader.readline()).strip():
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    certificate = writer.get_extra_info("peercert") or {}
    names = [value for rdn in certificate.get("subject", ()) for key, value in rdn if key == "commonName"]
    return Asked(method, target, headers, body, peer="".join(names))


@contextlib.asynccontextmanager
async def serve(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[Loopback]:
    """Serve on a free port for as long as the context is open."""
    loopback = Loopback(handler, "https" if context else "http")
    server = await asyncio.start_server(loopback._connected, "127.0.0.1", 0, ssl=context)  # noqa: SLF001
    loopback.port = server.sockets[0].getsockname()[1]
    try:
        yield loopback
    finally:
        server.close()
        ending = list(loopback.tasks)
        for writer in loopback.tasks.values():
            writer.transport.abort()
        await asyncio.gather(*ending)
        await server.wait_closed()


@dataclass
class Deaf:
    """A server that accepts one connection and never says a word."""

    port: int = 0
    accepted: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.set()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        self.ended.set()


@contextlib.asynccontextmanager
async def deaf() -> AsyncIterator[Deaf]:
    """A deaf server; leaving the context waits until its client has closed the connection."""
    server = Deaf()
    listener = await asyncio.start_server(server._connected, "127.0.0.1", 0)  # noqa: SLF001
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
        async with asyncio.timeout(5):
            await server.ended.wait()
    finally:
        listener.close()


def head(status: str = "200 OK", **headers: object) -> bytes:
    """The head of an answer; `content_length=3` becomes Content-Length: 3."""
    lines = [f"{name.replace('_', '-').title()}: {value}\r\n" for name, value in headers.items()]
    return f"HTTP/1.1 {status}\r\n{''.join(lines)}\r\n".encode()


def answer(body: bytes | str = b"{}", status: str = "200 OK", **headers: object) -> bytes:
    """A complete answer."""
    data = body.encode() if isinstance(body, str) else body
    return head(status, **{"content_length": len(data), "content_type": "application/json", **headers}) + data


def replies(*wires: bytes) -> Handler:
    """A handler that gives one answer after the other, the last for ever."""
    left = list(wires)

    async def handle(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        await writer.drain()

    return handle


async def silent(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """A handler that never answers."""
    await asyncio.Event().wait()


class Authority:
    """A certificate authority whose files lie in `folder`."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        # Without key identifiers, which VERIFY_X509_STRICT would demand: so are many clusters' CAs.
        self._certificate = (
            _builder(subject, subject, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)
        self.path = folder / f"{name}.crt"
        self.path.write_bytes(self.pem)

    def issue(self, name: str, *, stem: str | None = None, host: str = "127.0.0.1") -> tuple[Path, Path]:
        """A certificate and its key, for a server at `host` or for a client called `name`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            alternative = x509.DNSName(host)
        certificate = (
            _builder(subject, self._certificate.subject, key)
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        stem = stem or name
        paths = self.folder / f"{stem}.crt", self.folder / f"{stem}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return paths

    def context(self, *, host: str = "127.0.0.1", clients: bool = False) -> ssl.SSLContext:
        """A server's context; with `clients` it demands certificates of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue("server", stem=f"server-{host}", host=host))
        if clients:
            context.load_verify_locations(self.path)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
    )
