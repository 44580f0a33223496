from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nodeipam.runtime.client import Client
from nodeipam.runtime.errors import ConfigurationError
from nodeipam.runtime.events import EventRecorder, ObjectReference
from nodeipam.runtime.transport import Call
from nodeipam.testing import APIServer, Fault, ModelTransport, VirtualClock, run_virtual

NODE = ObjectReference(api_version="v1", kind="Node", name="n1", uid="u1")
POD = ObjectReference(
    api_version="v1", kind="Pod", name="p1", uid="u2", namespace="apps", resource_version="7"
)
EVENTS = "events.events.k8s.io"
CORE = "events"


class Desk:
    """A recorder, and the server that it sends to."""

    def __init__(self) -> None:
        self.server = APIServer()
        self.server.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps"}})
        self.client = Client(ModelTransport(self.server), clock=VirtualClock(), rng=random.Random(1))
        self.recorder = EventRecorder(self.client, component="example.com/widgets", instance="pod-0")

    def event(self, regarding: ObjectReference = NODE, note: str = "no room", **fields: Any) -> None:
        """Record something."""
        given = {"type": "Warning", "reason": "CIDRNotAvailable", "action": "Allocate", **fields}
        self.recorder.event(regarding, note=note, **given)

    def stored(self, resource: str = EVENTS) -> list[dict[str, Any]]:
        """What the server has."""
        return self.server.objects(resource)

    def writes(self) -> list[str]:
        """What was asked of the server."""
        return [logged.call.method for logged in self.server.log]

    def fault(self, action: Any, **options: Any) -> Fault:
        """Have every request go wrong, or those that `match`."""
        fault = Fault(**{"match": lambda _: True, "action": action, **options})
        self.server.faults.append(fault)
        return fault

    def dropped(self) -> float | None:
        """The metric."""
        return self.client.metrics.registry.get_sample_value("events_dropped_total")


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    """A recorder that runs."""
    made = Desk()
    task = asyncio.create_task(made.recorder.run())
    try:
        yield made
    finally:
        assert not task.done()
        task.cancel()
        await asyncio.wait({task})


def is_new_api(call: Call) -> bool:
    """For faults: requests to events.k8s.io."""
    return call.path.startswith("/apis/events.k8s.io/")


class TestEvent:
    def test_arrives_as_the_api_has_it(self) -> None:
        """One thing that happened is one Event of events.k8s.io/v1, beside its object."""

        async def main() -> None:
            async with desk() as it:
                await asyncio.sleep(1.5)
                it.event(POD)
                await asyncio.sleep(1)
                (found,) = it.stored()
                assert "apps" == found["metadata"]["namespace"]
                del found["metadata"]
                assert {
                    "apiVersion": "events.k8s.io/v1",
                    "kind": "Event",
                    "eventTime": "2026-01-01T00:00:01.500000Z",
                    "reportingController": "example.com/widgets",
                    "reportingInstance": "pod-0",
                    "regarding": {
                        "apiVersion": "v1",
                        "kind": "Pod",
                        "name": "p1",
                        "namespace": "apps",
                        "uid": "u2",
                        "resourceVersion": "7",
                    },
                    "type": "Warning",
                    "reason": "CIDRNotAvailable",
                    "action": "Allocate",
                    "note": "no room",
                    "deprecatedSource": {},
                } == found

        run_virtual(main())

    def test_about_a_cluster_scoped_object_lies_in_default(self) -> None:
        """The API server takes such Events in no other namespace."""

        async def main() -> None:
            async with desk() as it:
                it.event(NODE)
                await asyncio.sleep(1)
                (found,) = it.stored()
                assert "default" == found["metadata"]["namespace"]
                assert "namespace" not in found["regarding"]

        run_virtual(main())

    @pytest.mark.parametrize(
        "name, stem",
        [("n1", "n1"), ("a.b-c", "a.b-c"), ("system:x", "event"), ("n" * 253, "n" * 236), ("", "event")],
    )
    def test_has_a_valid_name_of_its_own(self, name: str, stem: str) -> None:
        """The name begins with the object's where that is a valid name, and never repeats."""

        async def main() -> None:
            async with desk() as it:
                about = ObjectReference(api_version="v1", kind="Node", name=name, uid="u")
                it.event(about, note="one")
                it.event(about, note="two")
                await asyncio.sleep(1)
                names = [found["metadata"]["name"] for found in it.stored()]
                assert [stem, stem] == [found.rpartition(".")[0] for found in names]
                assert 2 == len(set(names))
                assert 253 >= max(map(len, names))

        run_virtual(main())

    @pytest.mark.parametrize("note", ["x" * 2000, "ä" * 2000, "€" * 2000, "\ud800" * 2000])
    def test_is_cut_to_what_the_server_accepts(self, note: str) -> None:
        """A note of more than 1024 bytes is cut between two characters, with an ellipsis."""

        async def main() -> None:
            async with desk() as it:
                it.event(note=note, reason="R" * 200, action="")
                await asyncio.sleep(1)
                (found,) = it.stored()
                assert 1020 < len(found["note"].encode()) <= 1024
                assert found["note"].endswith("…")
                assert 128 == len(found["reason"].encode()) == len(found["action"].encode())

        run_virtual(main())

    @pytest.mark.parametrize("component", ["", "no space", "a/b/c", "-x", "x" * 64, "Upper.example/x"])
    def test_needs_a_component_that_the_server_accepts(self, component: str) -> None:
        """What every single Event would be refused for is refused at once."""
        client = Client(ModelTransport(APIServer()), clock=VirtualClock(), rng=random.Random(1))
        with pytest.raises(ConfigurationError, match="qualified name"):
            EventRecorder(client, component=component, instance="pod-0")

    def test_needs_an_instance(self) -> None:
        """An empty reportingInstance is refused by the server."""
        client = Client(ModelTransport(APIServer()), clock=VirtualClock(), rng=random.Random(1))
        with pytest.raises(ConfigurationError, match="needs a name"):
            EventRecorder(client, component="x", instance="")


class TestSeries:
    def test_counts_what_is_repeated(self) -> None:
        """The same again within six minutes is a series: one Event, patched."""

        async def main() -> None:
            async with desk() as it:
                for _ in range(3):
                    it.event()
                    await asyncio.sleep(300)
                (found,) = it.stored()
                assert {"count": 3, "lastObservedTime": "2026-01-01T00:10:00.000000Z"} == found["series"]
                assert "2026-01-01T00:00:00.000000Z" == found["eventTime"]
                assert ["POST", "PATCH", "PATCH"] == it.writes()

        run_virtual(main())

    def test_ends_after_six_minutes(self) -> None:
        """The same again later is another Event."""

        async def main() -> None:
            async with desk() as it:
                it.event()
                await asyncio.sleep(361)
                it.event()
                await asyncio.sleep(1)
                assert [None, None] == [found.get("series") for found in it.stored()]

        run_virtual(main())

    def test_gathers_what_comes_in_one_go(self) -> None:
        """What is repeated before it could be sent goes in one request."""

        async def main() -> None:
            async with desk() as it:
                for _ in range(10):
                    it.event()
                await asyncio.sleep(1)
                (found,) = it.stored()
                assert 10 == found["series"]["count"]
                assert ["POST"] == it.writes()

        run_virtual(main())

    def test_tells_what_is_repeated_while_it_is_sent(self) -> None:
        """A repetition during the request is told by another one."""

        async def main() -> None:
            async with desk() as it:
                it.server.latency = 1.0
                it.event()
                await asyncio.sleep(0.3)
                it.event()
                await asyncio.sleep(5)
                assert 2 == it.stored()[0]["series"]["count"]

        run_virtual(main())

    @pytest.mark.parametrize(
        "other",
        [
            {"note": "another"},
            {"reason": "Another"},
            {"action": "Another"},
            {"type": "Normal"},
            {"regarding": POD},
            {"regarding": ObjectReference(api_version="v1", kind="Node", name="n1", uid="another")},
        ],
    )
    def test_is_of_identical_ones(self, other: dict[str, Any]) -> None:
        """Whatever differs makes another Event, also the UID of an object of the same name."""

        async def main() -> None:
            async with desk() as it:
                it.event()
                it.event(**other)
                await asyncio.sleep(1)
                assert 2 == len(it.stored())

        run_virtual(main())

    def test_is_of_one_object_whatever_its_version(self) -> None:
        """An object that was changed meanwhile is still the same object."""

        async def main() -> None:
            async with desk() as it:
                for version in ("1", "2"):
                    it.event(
                        ObjectReference(
                            api_version="v1", kind="Node", name="n", uid="u", resource_version=version
                        )
                    )
                    await asyncio.sleep(1)
                assert 1 == len(it.stored())

        run_virtual(main())

    def test_begins_anew_when_the_event_has_expired(self) -> None:
        """An Event that is gone from the server is made again."""

        async def main() -> None:
            async with desk() as it:
                it.event()
                await asyncio.sleep(1)
                (found,) = it.stored()
                it.server.delete(EVENTS, found["metadata"]["name"], namespace="default")
                it.event()
                await asyncio.sleep(1)
                (found,) = it.stored()
                assert 2 == found["series"]["count"]

        run_virtual(main())


class TestCoreEvents:
    @pytest.mark.parametrize("status", [403, 404])
    def test_are_sent_where_the_new_api_is_not_for_us(self, status: int) -> None:
        """Without events.k8s.io, by rights or at all, core/v1 Events are sent; it is asked once."""

        async def main() -> None:
            async with desk() as it:
                fault = it.fault("error_before", match=is_new_api, status=status, times=None)
                it.event(POD)
                await asyncio.sleep(1)
                it.event(NODE)
                await asyncio.sleep(1)
                found = {event["involvedObject"]["name"]: event for event in it.stored(CORE)}["p1"]
                assert "apps" == found["metadata"].pop("namespace")
                del found["metadata"]
                assert {
                    "apiVersion": "v1",
                    "kind": "Event",
                    "firstTimestamp": "2026-01-01T00:00:00Z",
                    "lastTimestamp": "2026-01-01T00:00:00Z",
                    "count": 1,
                    "source": {"component": "example.com/widgets"},
                    "reportingComponent": "example.com/widgets",
                    "reportingInstance": "pod-0",
                    "involvedObject": {
                        "apiVersion": "v1",
                        "kind": "Pod",
                        "name": "p1",
                        "namespace": "apps",
                        "uid": "u2",
                        "resourceVersion": "7",
                    },
                    "type": "Warning",
                    "reason": "CIDRNotAvailable",
                    "action": "Allocate",
                    "message": "no room",
                } == found
                assert 2 == len(it.stored(CORE))
                assert 1 == fault.met
                assert 0 == it.dropped()

        run_virtual(main())

    def test_are_told_of_once(self, caplog: pytest.LogCaptureFixture) -> None:
        """That the new API isn't for us is one warning, even if it is found out again."""

        async def main() -> None:
            async with desk() as it:
                it.fault("error_before", match=is_new_api, status=403, times=None)
                for number in range(3):
                    it.event(note=f"good {number}")
                    await asyncio.sleep(1)
                    it.fault("error_before", status=403)  # core Events too, for one: then both are tried
                    it.event(note=f"bad {number}")
                    await asyncio.sleep(1)
                assert (3, 3) == (len(it.stored(CORE)), it.dropped())

        run_virtual(main())
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert ["events.k8s.io isn't for us: core events instead", "an event could not be sent"] == warnings

    def test_are_counted(self) -> None:
        """The same again moves count and lastTimestamp."""

        async def main() -> None:
            async with desk() as it:
                it.fault("error_before", match=is_new_api, status=404, times=None)
                it.event()
                await asyncio.sleep(60)
                it.event()
                await asyncio.sleep(1)
                (found,) = it.stored(CORE)
                assert (2, "2026-01-01T00:01:00Z") == (found["count"], found["lastTimestamp"])

        run_virtual(main())

    def test_are_no_way_out_of_a_namespace_that_is_gone(self) -> None:
        """A 404 for the namespace says nothing about the API: the Event is dropped, the next one sent."""
        body = (
            b'{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,'
            b'"message":"namespaces \\"apps\\" not found"}'
        )

        async def main() -> None:
            async with desk() as it:
                it.fault("error_before", status=404, body=body)
                it.event(POD)
                await asyncio.sleep(1)
                it.event(NODE)
                await asyncio.sleep(1)
                assert not [line for line in it.server.log if line.call.path.startswith("/api/v1/")]
                assert 1 == len(it.stored())
                assert 1 == it.dropped()

        run_virtual(main())


class TestTrouble:
    @pytest.mark.parametrize("status", [401, 429, 500, 503])
    def test_is_retried(self, status: int) -> None:
        """A server that is overloaded or restarting, or wants a new token, gets the Event later, in order."""

        async def main() -> None:
            async with desk() as it:
                it.fault("error_before", status=status, times=3)
                it.event(note="one")
                it.event(note="two")
                await asyncio.sleep(60)
                assert {"one", "two"} == {found["note"] for found in it.stored()}
                assert 5 == len(it.writes())

        run_virtual(main())

    def test_waits_as_long_as_the_server_asks(self) -> None:
        """Retry-After is honoured, up to a minute."""

        async def main() -> None:
            async with desk() as it:
                it.fault("error_before", status=429, retry_after=20)
                it.event()
                await asyncio.sleep(19)
                assert 1 == len(it.writes())
                await asyncio.sleep(2)
                assert 1 == len(it.stored())

        run_virtual(main())

    def test_of_a_lost_answer_makes_no_second_event(self) -> None:
        """A creation whose answer was lost is repeated under the same name."""

        async def main() -> None:
            async with desk() as it:
                it.fault("drop_after")
                it.event()
                await asyncio.sleep(10)
                assert 1 == len(it.stored())
                assert 0 == it.dropped()

        run_virtual(main())

    @pytest.mark.parametrize(
        "fault", [{"action": "error_before", "status": 422}, {"action": "error_before", "status": 403}]
    )
    def test_of_a_refusal_drops_the_event(
        self, fault: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        """What the server refuses is dropped and counted, told once, and holds nothing up."""

        async def main() -> None:
            async with desk() as it:
                refusal = it.fault(**fault, times=None)
                it.event(note="one")
                it.event(note="two")
                await asyncio.sleep(1)
                assert 2 == it.dropped()
                it.server.faults.remove(refusal)
                it.event(note="three")
                await asyncio.sleep(1)
                assert ["three"] == [found["note"] for found in it.stored()]

        run_virtual(main())
        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert ["an event could not be sent"] == [record.getMessage() for record in warnings]

    def test_that_lasts_drops_the_event(self) -> None:
        """After six attempts an Event is given up, and the next one gets its turn."""

        async def main() -> None:
            async with desk() as it:
                fault = it.fault("drop_before", times=None)
                it.event(note="one")
                await asyncio.sleep(120)
                assert 6 == fault.met
                assert 1 == it.dropped()

        run_virtual(main())


class TestLimits:
    def test_silence_an_object_that_draws_too_many(self) -> None:
        """25 Events at once about one object, then one in five minutes; other objects aren't concerned."""

        async def main() -> None:
            async with desk() as it:
                for number in range(40):
                    it.event(note=str(number))
                it.event(POD)
                await asyncio.sleep(1)
                assert 25 + 1 == len(it.stored())
                assert 15 == it.dropped()
                await asyncio.sleep(300)
                it.event(note="later")
                it.event(note="too much")
                await asyncio.sleep(1)
                assert 26 + 1 == len(it.stored())

        run_virtual(main())

    def test_do_not_lose_count_of_a_series(self) -> None:
        """What is repeated beyond the limit is not sent, but counted in what is sent later."""

        async def main() -> None:
            async with desk() as it:
                for _ in range(40):
                    it.event()
                    await asyncio.sleep(0.1)
                assert 25 == it.stored()[0]["series"]["count"]
                await asyncio.sleep(300)
                it.event()
                await asyncio.sleep(1)
                assert 41 == it.stored()[0]["series"]["count"]
                assert 0 == it.dropped()

        run_virtual(main())

    def test_bound_the_queue(self) -> None:
        """When a thousand wait, more are dropped and counted."""

        async def main() -> None:
            it = Desk()
            for number in range(1100):
                it.event(ObjectReference(api_version="v1", kind="Node", name=f"n{number}", uid=str(number)))
            assert 100 == it.dropped()
            await it.recorder.flush(10)
            assert 1000 == len(it.stored())

        run_virtual(main())

    def test_bound_what_is_remembered(self) -> None:
        """Of more than 4096 series the oldest is forgotten: the same again is a new Event."""

        async def main() -> None:
            async with desk() as it:
                for number in range(4097):
                    it.event(
                        ObjectReference(api_version="v1", kind="Node", name=f"n{number}", uid=str(number))
                    )
                    if number % 500 == 0:
                        await asyncio.sleep(1)
                await asyncio.sleep(1)
                it.event(ObjectReference(api_version="v1", kind="Node", name="n0", uid="0"))
                it.event(ObjectReference(api_version="v1", kind="Node", name="n4096", uid="4096"))
                await asyncio.sleep(1)
                assert 4098 == len(it.stored())

        run_virtual(main())


class TestFlush:
    def test_sends_what_waits(self) -> None:
        """After run() has been cancelled, flush sends the rest."""

        async def main() -> None:
            it = Desk()
            it.event(note="one")
            it.event(note="two")
            await it.recorder.flush(5)
            assert 2 == len(it.stored())

        run_virtual(main())

    def test_finishes_what_run_had_begun(self) -> None:
        """An Event whose request was cancelled under way is sent by flush, and is there once."""

        async def main() -> None:
            it = Desk()
            it.server.latency = 2.0
            task = asyncio.create_task(it.recorder.run())
            it.event()
            await asyncio.sleep(1.5)
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
            await it.recorder.flush(5)
            assert 1 == len(it.stored())
            assert 2 == it.writes().count("POST")

        run_virtual(main())

    def test_works_beside_run(self) -> None:
        """Both at a time send each Event once."""

        async def main() -> None:
            async with desk() as it:
                it.server.latency = 0.5
                it.event(note="one")
                it.event(note="two")
                await it.recorder.flush(5)
                assert ["POST", "POST"] == it.writes()

        run_virtual(main())

    def test_ends_in_time(self) -> None:
        """With a server that doesn't answer it ends after so many seconds, and drops the rest."""

        async def main() -> None:
            it = Desk()
            it.fault("hang", times=None)
            it.event(note="one")
            it.event(note="two")
            await it.recorder.flush(3)
            assert 3 == pytest.approx(asyncio.get_running_loop().time())
            assert 2 == it.dropped()
            assert "0 waiting" in repr(it.recorder)

        run_virtual(main())

    def test_leaves_run_unharmed(self) -> None:
        """What flush drops while run() is sending it is no trouble to run()."""

        async def main() -> None:
            async with desk() as it:
                it.server.latency = 2.0
                it.event(note="one")
                await it.recorder.flush(1)
                await asyncio.sleep(5)
                it.event(note="two")
                await asyncio.sleep(5)
                assert {"one", "two"} == {found["note"] for found in it.stored()}

        run_virtual(main())

    def test_is_cancelled_like_anything(self) -> None:
        """A cancel comes out as such."""

        async def main() -> None:
            it = Desk()
            it.fault("hang", times=None)
            it.event()
            task = asyncio.create_task(it.recorder.flush(3))
            await asyncio.sleep(1)
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()

        run_virtual(main())
