from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nodeipam.runtime.errors import TransportError
from nodeipam.runtime.transport import Call
from nodeipam.testing import APIServer, Fault, Host, Link, ModelTransport, Requests, VirtualLoop

from .session import NODES, Session, event, node, now, play, story


def over(server: APIServer, link: Link) -> Session:
    """A client that reaches the server over this link."""
    session = Session(server)
    session.transport = ModelTransport(server, link=link)
    return session


class TestPartition:
    @pytest.mark.parametrize("lose, written", [(True, False), (False, True)])
    def test_a_request(self, lose: bool, written: bool) -> None:  # noqa: FBT001
        """What is sent into a partition is carried out at its end, or never, as the test says."""

        async def scene(server: APIServer, _: Session) -> Any:
            link = Link()
            me = over(server, link)
            link.cut()
            with pytest.raises(TransportError, match="no answer within"):
                await me.send("POST", NODES, node("a"))
            link.mend(lose=lose)
            await asyncio.sleep(0)
            return bool(server.nodes())

        assert written == play(scene)

    def test_a_watch_that_outlives_it(self) -> None:
        """A watch that isn't broken brings after a partition what happened during it."""

        async def scene(server: APIServer, _: Session) -> Any:
            link = Link()
            me = over(server, link)
            async with me.watch(NODES, resourceVersion="1") as answer:
                link.cut()
                server.put(node("a"))
                asyncio.get_running_loop().call_later(5.0, lambda: link.mend(lose=False))
                return await story(answer, 1), now()

        assert ([("ADDED", "a")], 5.0) == play(scene)

    def test_a_watch_that_breaks(self) -> None:
        """A partition in which things are lost breaks the watches."""

        async def scene(server: APIServer, _: Session) -> None:
            link = Link()
            me = over(server, link)
            async with me.watch(NODES, resourceVersion="1") as answer:
                link.cut()
                link.mend(lose=True)
                with pytest.raises(TransportError, match="broke off"):
                    await answer.readline(1000)

        play(scene)

    def test_the_answer_to_a_watch(self) -> None:
        """A watch whose answer is lost in a partition ends at the server when the client gives up."""

        async def scene(server: APIServer, _: Session) -> Any:
            link = Link(delay=lambda: 1.0)
            me = over(server, link)
            asyncio.get_running_loop().call_later(1.5, link.cut)
            with pytest.raises(TransportError, match="no answer within"):
                async with me.watch(NODES):
                    pass
            return server.watches

        assert [] == play(scene)

    def test_delays(self) -> None:
        """Each message takes the seconds that the link's delay says: the request, and the answer."""

        async def scene(server: APIServer, _: Session) -> Any:
            me = over(server, Link(delay=lambda: 1.5))
            await me.send("POST", NODES, node("a"))
            return now(), server.log[-1].time

        assert (3.0, 1.5) == play(scene)


class TestLanding:
    def test_what_is_under_way(self) -> None:
        """A message is under way from when it is sent until it arrives, through a partition too."""

        async def scene(_: APIServer, __: Session) -> Any:
            link = Link(delay=lambda: 1.0)
            seen = [link.under_way]
            link.send(lambda: None)
            link.cut()
            seen.append(link.under_way)
            await asyncio.sleep(2.0)
            seen.append(link.under_way)
            link.mend(lose=False)
            seen.append(link.under_way)
            await asyncio.sleep(2.0)
            return [*seen, link.under_way]

        assert [0, 1, 1, 1, 0] == play(scene)

    def test_early(self) -> None:
        """What is made to land arrives at once, once, and in the order in which it was sent."""

        async def scene(_: APIServer, __: Session) -> Any:
            link = Link()
            arrived: list[tuple[str, float]] = []
            link.send(lambda: arrived.append(("slow", now())), after=600.0)
            link.send(lambda: arrived.append(("fast", now())), after=5.0)
            await asyncio.sleep(1.0)
            link.land()
            await asyncio.sleep(1000.0)
            return arrived, link.under_way

        assert ([("slow", 1.0), ("fast", 1.0)], 0) == play(scene)

    def test_in_a_partition(self) -> None:
        """What lands in a partition is kept back until its end, as anything that arrives in it is."""

        async def scene(_: APIServer, __: Session) -> Any:
            link = Link()
            arrived: list[float] = []
            link.send(lambda: arrived.append(now()), after=600.0)
            link.cut()
            link.land()
            before = list(arrived)
            await asyncio.sleep(3.0)
            link.mend(lose=False)
            return before, arrived, link.under_way

        assert ([], [3.0], 0) == play(scene)

    def test_a_late_write(self) -> None:
        """A write that would have been carried out in ten minutes is carried out when it is made to land."""

        async def scene(server: APIServer, _: Session) -> Any:
            link = Link()
            me = over(server, link)
            server.faults.append(Fault(match=Requests(), action="late", delay=600.0))
            with pytest.raises(TransportError):
                await me.send("POST", NODES, node("a"))
            before = len(server.nodes())
            link.land()
            return before, len(server.nodes()), now()

        assert (0, 1, 0.0) == play(scene)


class TestHosts:
    @pytest.mark.parametrize("action, written", [("crash", True), ("crash_before", False)])
    def test_a_crash(self, action: Any, written: bool) -> None:  # noqa: FBT001
        """A host that dies over a request has sent it or has not, and hears nothing more."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.faults.append(Fault(match=Requests(verbs=("create",)), action=action))
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            host = Host(loop, "dying")
            task = host.start(me.send("POST", NODES, node("a")))
            await asyncio.sleep(60.0)
            return bool(server.nodes()), host.state, task.done()

        assert (written, "dead", False) == play(scene)

    @pytest.mark.parametrize("action, when", [("pause", 0.0), ("pause_before", 30.0)])
    def test_a_pause(self, action: Any, when: float) -> None:
        """A host that stands still over a request has sent it before, or sends it after."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.faults.append(Fault(match=Requests(verbs=("create",)), action=action, delay=30.0))
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            task = Host(loop, "standing").start(me.send("POST", NODES, node("a")))
            await asyncio.gather(task, return_exceptions=True)
            return server.log[-1].time, now()

        assert (when, 30.0) == play(scene)


class TestWatchFaults:
    async def _seen(
        self, server: APIServer, me: Session, fault: Fault, count: int
    ) -> list[tuple[str, float]]:
        server.faults.append(fault)
        async with me.watch(NODES, resourceVersion="1") as answer:
            server.put(node("a"))
            return [((await event(answer))[0], now()) for _ in range(count)]

    def test_lag(self) -> None:
        """A watch that lags brings each event so much later."""

        async def scene(server: APIServer, me: Session) -> Any:
            fault = Fault(match=Requests(verbs=("watch",)), action="lag", delay=7.0)
            return await self._seen(server, me, fault, 1)

        assert [("ADDED", 7.0)] == play(scene)

    def test_duplicate(self) -> None:
        """A watch that repeats itself brings each line twice."""

        async def scene(server: APIServer, me: Session) -> Any:
            return await self._seen(server, me, Fault(match=Requests(), action="duplicate"), 2)

        assert [("ADDED", 0.0), ("ADDED", 0.0)] == play(scene)

    def test_cut(self) -> None:
        """A watch that is cut ends in the midst of a line, with an error after it."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.faults.append(Fault(match=Requests(), action="cut"))
            async with me.watch(NODES, resourceVersion="1") as answer:
                server.put(node("a"))
                half = await answer.readline(10_000)
                with pytest.raises(TransportError):
                    await answer.readline(10_000)
                return half.startswith(b'{"type":"ADDED"'), half.endswith(b"\n")

        assert (True, False) == play(scene)

    @pytest.mark.parametrize("action", ["drop", "close"])
    def test_its_end(self, action: Any) -> None:
        """A watch is lost, or ended by the server, so many seconds after it opened."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.faults.append(Fault(match=Requests(), action=action, delay=3.0))
            async with me.watch(NODES, resourceVersion="1") as answer:
                if action == "close":
                    assert b"" == await answer.readline(100)
                else:
                    with pytest.raises(TransportError):
                        await answer.readline(100)
                return now()

        assert 3.0 == play(scene)

    def test_slow(self) -> None:
        """A slow answer is to a request that was carried out at once."""

        async def scene(server: APIServer, me: Session) -> Any:
            server.faults.append(Fault(match=Requests(verbs=("create",)), action="slow", delay=4.0))
            await me.send("POST", NODES, node("a"))
            return server.log[-1].time, now()

        assert (0.0, 4.0) == play(scene)


class TestRequests:
    @pytest.mark.parametrize(
        "method, path, query, expected",
        [
            ("PATCH", "/api/v1/nodes/a", (), True),
            ("PATCH", "/api/v1/nodes/a/status", (), False),
            ("PATCH", "/api/v1/nodes/b", (), False),
            ("GET", "/api/v1/nodes/a", (), False),
            ("PUT", "/apis/coordination.k8s.io/v1/namespaces/x/leases/a", (), False),
        ],
    )
    def test_which(self, method: str, path: str, query: tuple[tuple[str, str], ...], expected: bool) -> None:  # noqa: FBT001
        """A request is among those meant if verb, kind, name and subresource are the ones given."""
        meant = Requests(verbs=("write",), resource="nodes", name="a", subresource="")

        assert expected == meant(Call(method=method, path=path, query=query, timeout=1.0))

    @pytest.mark.parametrize(
        "path, query, verb",
        [
            ("/api/v1/nodes", (), "list"),
            ("/api/v1/nodes", (("watch", "1"),), "watch"),
            ("/api/v1/nodes/a", (), "get"),
        ],
    )
    def test_verbs_of_reading(self, path: str, query: tuple[tuple[str, str], ...], verb: str) -> None:
        """Reading one object, reading them all and watching them are verbs of their own."""
        call = Call(method="GET", path=path, query=query, timeout=1.0)

        assert [verb] == [each for each in ("get", "list", "watch") if Requests(verbs=(each,))(call)]

    @pytest.mark.parametrize(
        "body, expected",
        [(b'{"spec":{"podCIDRs":["10.0.0.0/28"]}}', True), (b'{"metadata":{}}', False), (None, False)],
    )
    def test_bodies(self, body: bytes | None, expected: bool) -> None:  # noqa: FBT001
        """A request can be told by what it carries."""
        call = Call(method="PATCH", path="/api/v1/nodes/a", body=body, timeout=1.0)

        assert expected == Requests(body='"podCIDRs"')(call)
        assert Requests()(call)
