"""The direct face of the API server model: the transport seam, without sockets.

A request is carried out in the same synchronous step in which it is handed over (unless the server has a
latency or a fault says otherwise), and once it was handed over, nothing that happens to the client stops it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from multidict import CIMultiDict

from nodeipam.runtime.errors import ProtocolError, TransportError
from nodeipam.runtime.transport import Answer, Call

from .apiserver import APIServer, Reply
from .faults import Fault
from .watch import Watch

__all__ = ["ModelTransport"]


class ModelTransport:
    """A Transport to an :class:`APIServer` in the same process. `identity` is who the server takes us for."""

    def __init__(self, server: APIServer, *, identity: str = "client") -> None:
        self.identity = identity
        self._server = server

    def __repr__(self) -> str:
        return f"<ModelTransport of {self.identity!r}>"

    @property
    def host(self) -> str:
        """A name for metrics and messages."""
        return "model"

    def open(self, call: Call) -> AbstractAsyncContextManager[Answer]:
        """Hand `call` over; see :meth:`nodeipam.runtime.transport.Transport.open`."""
        return _Exchange(self._server, self.identity, call)


class _Exchange(AbstractAsyncContextManager[Answer]):
    """One request on its way, and its answer."""

    def __init__(self, server: APIServer, identity: str, call: Call) -> None:
        self._server = server
        self._identity = identity
        self._call = call
        self._watch: Watch | None = None

    async def __aenter__(self) -> Answer:
        call = self._call
        try:
            async with asyncio.timeout(call.timeout):
                reply = await self._exchange(self._server.fault(call, self._identity))
        except TimeoutError:
            self._close()
            raise TransportError(f"{call.method} {call.path}: no answer within {call.timeout:g} s") from None
        except BaseException:
            self._close()
            raise
        if isinstance(reply, Watch):
            return _Stream(reply, call.idle)
        return _Whole(reply)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    async def _exchange(self, fault: Fault | None) -> Reply | Watch:
        action = fault.action if fault else ""
        if fault and action in {"drop_before", "error_before", "hang", "late"}:
            return await self._without(fault)
        reply = await self._carry_out(
            self._server.latency / 2 + (fault.delay if fault and action == "delay" else 0)
        )
        if isinstance(reply, Watch):
            self._watch = reply
            reply.stalled = action == "stall"
        if action == "hang_after":
            await self._never()
        await asyncio.sleep(self._server.latency / 2)
        if action == "drop_after":
            raise self._lost()
        if fault and action == "error_after":
            return self._server.reply_of(fault)
        return reply

    async def _without(self, fault: Fault) -> Reply:
        """The request isn't carried out, or not before the client was told that it is lost."""
        server = self._server
        if fault.action == "late":
            asyncio.get_running_loop().call_later(fault.delay, server.handle, self._call, self._identity)
        else:
            server.record(self._call, self._identity, fault.status if fault.action == "error_before" else 0)
        if fault.action == "hang":
            await self._never()
        await asyncio.sleep(server.latency)
        if fault.action == "error_before":
            return server.reply_of(fault)
        raise self._lost()

    async def _carry_out(self, delay: float) -> Reply | Watch:
        if not delay:
            return self._server.handle(self._call, self._identity)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Reply | Watch] = loop.create_future()
        loop.call_later(delay, self._commit, done)
        return await done

    def _commit(self, done: asyncio.Future[Reply | Watch]) -> None:
        reply = self._server.handle(self._call, self._identity)
        if not done.done():
            done.set_result(reply)
        elif isinstance(reply, Watch):
            reply.close()

    async def _never(self) -> None:
        await asyncio.get_running_loop().create_future()

    def _lost(self) -> TransportError:
        return TransportError(f"{self._call.method} {self._call.path}: connection lost")

    def _close(self) -> None:
        if self._watch is not None:
            self._watch.close()


class _Whole:
    """An answer that is there at once."""

    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        self.headers: Mapping[str, str] = CIMultiDict(reply.headers)
        self._rest = memoryview(reply.body)

    async def read(self, limit: int) -> bytes:
        data, self._rest = self._rest[:limit], self._rest[limit:]
        return bytes(data)

    async def readline(self, limit: int) -> bytes:
        line = bytes(self._rest).partition(b"\n")
        length = len(line[0]) + len(line[1])
        if length > limit:
            raise ProtocolError(f"a line of {length} bytes is longer than the limit of {limit}")
        return await self.read(length)


class _Stream:
    """The answer to a watch."""

    status = 200

    def __init__(self, watch: Watch, idle: float | None) -> None:
        self.headers: Mapping[str, str] = CIMultiDict({"Content-Type": "application/json"})
        self._watch = watch
        self._idle = idle
        self._rest = b""

    async def read(self, limit: int) -> bytes:
        data = self._rest or await self._watch.readline(self._idle)
        self._rest = data[limit:]
        return data[:limit]

    async def readline(self, limit: int) -> bytes:
        line = self._rest or await self._watch.readline(self._idle)
        self._rest = b""
        if len(line) > limit:
            raise ProtocolError(f"a line of {len(line)} bytes is longer than the limit of {limit}")
        return line
