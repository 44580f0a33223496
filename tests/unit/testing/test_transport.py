from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nodeipam.runtime.errors import TransportError
from nodeipam.runtime.transport import Call
from nodeipam.testing import APIServer, Fault

from .session import NODES, Session, node, now, play, reason


class TestFaults:
    @pytest.mark.parametrize("action, written", [("drop_before", False), ("drop_after", True)])
    def test_lost(self, action: Any, written: bool) -> None:  # noqa: FBT001
        """A lost request isn't carried out, a lost answer's is; the client can't tell them apart."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.faults.append(Fault(match=lambda call: call.method == "POST", action=action))
            with pytest.raises(TransportError, match="connection lost"):
                await me.send("POST", NODES, node("a"))
            return bool(server.nodes()), server.log[-1].status

        assert (written, 201 if written else 0) == play(scene)

    @pytest.mark.parametrize("action, written", [("error_before", False), ("error_after", True)])
    def test_errors(self, action: Any, written: bool) -> None:  # noqa: FBT001
        """An injected error is a Status with the reason of its code, before or after the commit."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.faults.append(Fault(match=lambda call: True, action=action, status=500))
            return await me.send("POST", NODES, node("a")), bool(server.nodes())

        answer, found = play(scene)

        assert ((500, "InternalError"), written) == (reason(answer), found)

    def test_retry_after_and_bodies(self) -> None:
        """An injected error can carry a Retry-After, and a body that is no Status."""

        async def scene(server: APIServer, me: Session) -> Any:
            fault = Fault(
                match=lambda call: True, action="error_before", status=429, retry_after=7, body=b"<html>"
            )
            server.faults.append(fault)
            async with me.transport.open(Call(method="GET", path=NODES, timeout=1.0)) as answer:
                return answer.status, answer.headers["retry-after"], await answer.read(100)

        assert (429, "7", b"<html>") == play(scene)

    def test_late(self) -> None:
        """A late write fails for the client at once, and is carried out its delay later, whoever has left."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.faults.append(Fault(match=lambda call: True, action="late", delay=600.0))
            with pytest.raises(TransportError):
                await me.send("POST", NODES, node("a"))
            failed = now(), len(server.nodes())
            await asyncio.sleep(601)
            return failed, len(server.nodes()), server.log[-1].time

        assert ((0.0, 0), 1, 600.0) == play(scene)

    @pytest.mark.parametrize("action, written", [("hang", False), ("hang_after", True)])
    def test_hanging(self, action: Any, written: bool) -> None:  # noqa: FBT001
        """A request that is never answered ends by the client's own timeout."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.faults.append(Fault(match=lambda call: True, action=action))
            with pytest.raises(TransportError, match="no answer within 10 s"):
                await me.send("POST", NODES, node("a"))
            return now(), bool(server.nodes())

        assert (10.0, written) == play(scene)

    def test_which_requests(self) -> None:
        """A fault meets the requests of its identity, after those it skips, as often as it says."""

        async def scene(server: APIServer, me: Session) -> Any:
            other = Session(server, "other")
            server.faults.append(
                Fault(match=lambda call: True, action="error_before", identity="me", skip=1, times=2)
            )
            mine = [(await me.send("GET", NODES))[0] for _ in range(4)]
            return mine, (await other.send("GET", NODES))[0]

        assert ([200, 503, 503, 200], 200) == play(scene)

    def test_stalled_watch(self) -> None:
        """A stalled watch opens and then brings neither events nor bookmarks nor an end."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.faults.append(Fault(match=lambda call: True, action="stall"))
            query = {"resourceVersion": "1", "timeoutSeconds": "100"}
            async with me.watch(NODES, idle=300.0, **query) as answer:
                server.put(node("a"))
                with pytest.raises(TransportError, match="silent for 300 s"):
                    await answer.readline(1000)
            return now()

        assert 300.0 == play(scene)

    def test_impossible(self) -> None:
        """A fault that can't be is refused where it is made, with what would be right."""
        with pytest.raises(ValueError, match="no such fault: 'explode'; there are delay, slow, drop_after"):
            Fault(match=lambda call: True, action="explode")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="times=0"):
            Fault(match=lambda call: True, action="late", times=0)


class TestLatency:
    def test_in_the_middle(self) -> None:
        """With a latency a request is carried out after half of it and answered after all of it."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.latency = 2.0
            await me.send("POST", NODES, node("a"))
            return server.log[-1].time, now()

        assert (1.0, 2.0) == play(scene)

    def test_without_it(self) -> None:
        """Without one, a request is carried out in the step in which it is handed over."""

        async def scene(server: APIServer, me: Session) -> Any:
            task = asyncio.ensure_future(me.send("POST", NODES, node("a")))
            await asyncio.sleep(0)
            written = len(server.nodes())
            await task
            return written

        assert 1 == play(scene)

    def test_cancelled_client(self) -> None:
        """A request that was sent is carried out, even if the client is cancelled meanwhile."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.latency = 2.0
            task = asyncio.ensure_future(me.send("POST", NODES, node("a")))
            await asyncio.sleep(0.5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(1)
            return len(server.nodes())

        assert 1 == play(scene)
