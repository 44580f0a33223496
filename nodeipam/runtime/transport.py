"""The seam between the runtime and the outside world.

Everything that nodeipam says to an API server goes through one verb, :meth:`Transport.open`. Requests and
watches are built on it (:mod:`nodeipam.runtime.client`); credentials, TLS, DNS and connections lie below it
(:mod:`nodeipam.runtime.http`). A test or a simulator replaces this one object.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import Protocol

import msgspec

__all__ = ["Answer", "Call", "Transport"]


class Call(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One HTTP request to the API server."""

    method: str
    path: str
    """Absolute path, already percent-encoded, without a query."""
    query: tuple[tuple[str, str], ...] = ()
    """Query parameters, not yet encoded, in order."""
    headers: Mapping[str, str] = MappingProxyType({})
    """Headers of this call; credentials and user agent are added below the seam."""
    body: bytes | None = None
    timeout: float
    """Seconds for the whole exchange when `idle` is None, else until the response headers have arrived."""
    idle: float | None = None
    """For a stream: the longest silence, in seconds, before the body is given up. None: not a stream."""

    def __repr__(self) -> str:
        return f"<Call {self.method} {self.path}>"


class Answer(Protocol):
    """A response whose head has arrived and whose body is still to be read."""

    @property
    def status(self) -> int:
        """The HTTP status code."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers, looked up without regard to case."""

    async def read(self, limit: int) -> bytes:
        """Return what has arrived of the body, at most `limit` bytes, waiting for the first; b"" at its end.

        Raises:
            TransportError: the body broke off, or did not arrive in time.
        """

    async def readline(self, limit: int) -> bytes:
        """Return the next line with its newline; b"" at the end of the body, a last line perhaps without one.

        Raises:
            ProtocolError: the line is longer than `limit` bytes.
            TransportError: the body broke off, or stayed silent for longer than the call's `idle`.
        """


class Transport(Protocol):
    """Carries calls to one API server."""

    @property
    def host(self) -> str:
        """Host and port of the API server, for metrics and messages."""

    def open(self, call: Call) -> AbstractAsyncContextManager[Answer]:
        """Send `call`; entering the context waits for the response's head, leaving it returns the connection.

        Leaving it before the body was read to its end closes the connection, which is how a watch is ended.
        Every error below the seam is raised as a :class:`~nodeipam.runtime.errors.TransportError`; no status
        code is an error here. Cancelling it never leaves a connection behind, but a request that was being
        sent may still be carried out by the server.
        """
