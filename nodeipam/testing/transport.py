"""The direct face of the API server model: the transport seam, without sockets.

A request is carried out in the same synchronous step in which it is handed over (unless the link has a delay
or a fault says otherwise), and once it was handed over, nothing that happens to the client stops it.
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
from .hosts import Host, current_host, outside
from .links import Link
from .watch import Watch

__all__ = ["ModelTransport"]


class ModelTransport:
    """A Transport to an :class:`APIServer` in the same process.

    Args:
        server: the model.
        identity: who the server takes us for.
        link: the way to it; by default each message takes half of the server's `latency`.
    """

    def __init__(self, server: APIServer, *, identity: str = "client", link: Link | None = None) -> None:
        self.identity = identity
        self.link = link or Link(delay=lambda: server.latency / 2)
        self._server = server

    def __repr__(self) -> str:
        return f"<ModelTransport of {self.identity!r}>"

    @property
    def host(self) -> str:
        """A name for metrics and messages."""
        return "model"

    def open(self, call: Call) -> AbstractAsyncContextManager[Answer]:
        """Hand `call` over; see :meth:`nodeipam.runtime.transport.Transport.open`."""
        return _Exchange(self._server, self.identity, self.link, call)


class _Exchange(AbstractAsyncContextManager[Answer]):
    """One request on its way, and its answer. All but waiting for it happens outside of the client's host."""

    def __init__(self, server: APIServer, identity: str, link: Link, call: Call) -> None:
        self._server = server
        self._identity = identity
        self._link = link
        self._call = call
        self._fault: Fault | None = None
        self._watch: Watch | None = None
        self._outcome: asyncio.Future[Reply | Watch]

    async def __aenter__(self) -> Answer:
        call = self._call
        self._outcome = asyncio.get_running_loop().create_future()
        self._fault = self._server.fault(call, self._identity)
        outside(self._send, current_host())
        try:
            async with asyncio.timeout(call.timeout):
                reply = await self._outcome
                await asyncio.sleep(0)
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

    # The way there

    def _send(self, host: Host | None) -> None:
        """Hand the request to the link, as far as its fault lets it."""
        server, fault = self._server, self._fault
        match fault.action if fault else "":
            case "crash_before" | "pause_before" | "crash" | "pause":
                self._send_and_stop(host)
            case "drop_before":
                server.record(self._call, self._identity, 0)
                self._fail()
            case "error_before" if fault:
                server.record(self._call, self._identity, fault.status)
                self._link.send(lambda: self._answer(server.reply_of(fault)), after=self._link.delay())
            case "hang":
                server.record(self._call, self._identity, 0)
            case "late" if fault:
                self._link.send(self._carry_out, after=fault.delay)
                self._fail()
            case "delay" if fault:
                self._link.send(self._carry_out, after=fault.delay)
            case _:
                self._link.send(self._carry_out)

    def _send_and_stop(self, host: Host | None) -> None:
        """Carry out a fault of the client's host: a client without one just loses the answer."""
        fault = self._fault
        assert fault is not None  # noqa: S101 - only called for one
        before = fault.action.endswith("_before")
        if fault.action != "crash_before":
            self._link.send(self._carry_out, after=fault.delay if before else 0.0)
        if host is None:
            self._fail()
        elif fault.action.startswith("crash"):
            host.crash()
        else:
            host.pause()
            asyncio.get_running_loop().call_later(fault.delay, host.resume)

    def _carry_out(self) -> None:
        self._reply(self._server.handle(self._call, self._identity))

    # The way back

    def _reply(self, reply: Reply | Watch) -> None:
        fault = self._fault
        if isinstance(reply, Watch):
            self._keep(reply)
        match fault.action if fault else "":
            case "hang_after" | "late":  # of a late one the client was told that it is lost
                return
            case "drop_after":
                self._fail()
                return
            case "error_after" if fault:
                reply = self._server.reply_of(fault)
        if isinstance(reply, Reply) and not reply.status:
            self._fail()
            return
        if isinstance(reply, Watch):
            self._link.attach(reply)
            reply.begin(lag=lambda: self._server.watch_lag + self._link.lag, fault=fault)
        slow = fault.delay if fault and fault.action == "slow" else 0.0
        self._link.send(lambda: self._answer(reply), after=slow)

    def _answer(self, reply: Reply | Watch) -> None:
        if not self._outcome.done():
            self._outcome.set_result(reply)

    def _keep(self, watch: Watch) -> None:
        """The server has opened a watch: it ends with the client, whether or not that ever hears of it."""
        self._watch = watch
        if self._outcome.done():
            watch.close()

    def _fail(self) -> None:
        """The client notices that the connection is gone."""
        error = TransportError(f"{self._call.method} {self._call.path}: connection lost")
        self._link.send(lambda: self._lose(error), after=self._link.delay())

    def _lose(self, error: TransportError) -> None:
        if not self._outcome.done():
            self._outcome.set_exception(error)

    def _close(self) -> None:
        if not self._outcome.cancel() and not self._outcome.cancelled():
            self._outcome.exception()  # who gave up in the moment of failure doesn't want to know of it
        if self._watch is not None:
            self._watch.close()


class _Whole:
    """An answer that is there at once."""

    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        self.headers: Mapping[str, str] = CIMultiDict(reply.headers)
        self._body = reply.body
        self._read = 0

    async def read(self, limit: int) -> bytes:
        data = self._body[self._read : self._read + limit]  # the body itself, where that is all of it
        self._read += len(data)
        return data

    async def readline(self, limit: int) -> bytes:
        end = self._body.find(b"\n", self._read) + 1 or len(self._body)
        length = end - self._read
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
