"""Which connections an HTTP server keeps: deadlines and a cap, below the HTTP protocol.

Invariant: no client holds a connection without a complete request for longer than the request deadline, and
there are never more than `connections` at once; those that wait for a request make room for new ones, the
oldest first. It is a layer under aiohttp's protocol, which has no deadline for a request's headers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import cast

from .errors import ConfigurationError

__all__ = ["Connections", "Limits"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a client of the server may take."""

    request: float = 5.0
    """Seconds for a request to arrive whole, from the connection or the first byte."""
    answer: float = 15.0
    """Seconds for the answer to be made."""
    keep_alive: float = 60.0
    """Seconds for the client to take the answer and be idle."""
    connections: int = 64
    """How many connections at once. A new one takes the place of one that waits for a request."""
    line: int = 4096
    """Bytes of a request line, and of a header."""

    def __post_init__(self) -> None:
        if min(self.request, self.answer, self.keep_alive) <= 0 or self.connections < 2 or self.line < 256:
            raise ConfigurationError(
                "a server needs deadlines above 0, at least 2 connections and lines of 256 bytes, not "
                f"request={self.request}, answer={self.answer}, keep_alive={self.keep_alive}, "
                f"connections={self.connections}, line={self.line}"
            )


class Connections:
    """All connections of one server. `protocol` makes the HTTP protocol that each of them speaks."""

    def __init__(self, limits: Limits, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._limits = limits
        self._protocol = protocol
        self._waiting: dict[_Connection, None] = {}
        self._idle: dict[_Connection, None] = {}
        self._busy: dict[_Connection, None] = {}
        self._by_protocol: dict[Hashable, _Connection] = {}
        self._answering = 0
        self._waker: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._by_protocol)

    def __repr__(self) -> str:
        return (
            f"<Connections: {len(self._busy)} busy, {len(self._waiting)} half open, {len(self._idle)} idle>"
        )

    def make(self) -> asyncio.Protocol:
        """The protocol of a new connection, for `create_server`."""
        return _Connection(self, self._protocol())

    def begin(self, protocol: Hashable) -> None:
        """A request has arrived whole at this HTTP protocol: it is being answered."""
        self._answering += 1
        if connection := self._by_protocol.get(protocol):
            self._move(connection, self._busy, self._limits.answer)

    def end(self, protocol: Hashable) -> None:
        """The answer is handed to this HTTP protocol now, or never will be."""
        self._answering -= 1
        if connection := self._by_protocol.get(protocol):
            self._move(connection, self._idle, self._limits.keep_alive)
        self._wake()

    async def close(self, grace: float) -> None:
        """Close all connections: half-open ones at once, those being answered within `grace` seconds.

        Returns when every one is gone and nothing is being answered. When cancelled, it aborts them all.
        """
        for connection in tuple(self._waiting):
            connection.abort()
        for connection in tuple(self._idle):
            connection.close()
        try:
            async with asyncio.timeout(grace):
                await self._quiet()
        except TimeoutError:
            pass
        finally:
            for connection in tuple(self._by_protocol.values()):
                connection.abort()
        await self._quiet()

    def admit(self, connection: _Connection) -> bool:
        """Take a new connection in, at the cost of another if there are too many."""
        if len(self) >= self._limits.connections:
            victim = next(iter(self._waiting or self._idle), None)
            if victim is None:
                return False
            self.forget(victim)
            victim.abort()
        self._by_protocol[connection.inner] = connection
        self._move(connection, self._waiting, self._limits.request)
        return True

    def heard(self, connection: _Connection) -> None:
        """Bytes have come: if it was idle, a request begins."""
        if connection in self._idle:
            self._move(connection, self._waiting, self._limits.request)

    def forget(self, connection: _Connection) -> None:
        """The connection is gone. Safe to call again."""
        self._by_protocol.pop(connection.inner, None)
        for state in (self._waiting, self._idle, self._busy):
            state.pop(connection, None)
        self._wake()

    async def _quiet(self) -> None:
        """Until there is no connection, and no answer in the making."""
        while self._by_protocol or self._answering:
            self._waker = asyncio.get_running_loop().create_future()
            await self._waker

    def _wake(self) -> None:
        if self._waker and not self._waker.done():
            self._waker.set_result(None)

    def _move(self, connection: _Connection, state: dict[_Connection, None], seconds: float) -> None:
        for other in (self._waiting, self._idle, self._busy):
            other.pop(connection, None)
        state[connection] = None
        connection.expire_in(seconds)


class _Connection(asyncio.Protocol):
    """One connection: hands everything on to the HTTP protocol, and closes when its time is over."""

    __slots__ = ("_connections", "_timer", "_transport", "inner")

    def __init__(self, connections: Connections, inner: asyncio.Protocol) -> None:
        self.inner = inner
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.inner.connection_made(transport)
        if not self._connections.admit(self):
            self.abort()

    def data_received(self, data: bytes) -> None:
        self._connections.heard(self)
        self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self.inner.eof_received()

    def pause_writing(self) -> None:
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self.inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._connections.forget(self)
        self.inner.connection_lost(error)

    def close(self) -> None:
        """Close once everything was sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once, whatever is still to be sent."""
        if self._transport is not None:
            self._transport.abort()

    def expire_in(self, seconds: float) -> None:
        """Abort after `seconds`, unless told otherwise before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.abort)
