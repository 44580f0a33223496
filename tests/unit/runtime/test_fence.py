from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from nodeipam.runtime import (
    APIError,
    Call,
    Client,
    Fence,
    Informer,
    KubeError,
    LeadershipLost,
    Lease,
    Request,
    read_barrier,
)
from nodeipam.testing import VirtualClock, run_virtual

from .managing import WIDGETS, Stage, ended
from .scripted import Widget, running

EPOCH = "example.com/epoch"
KIND = "widgets.example.com"


class Ledger:
    """The handler that matters: knows at which version it has processed each object."""

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}

    def on_add(self, obj: Widget, initial: bool) -> None:  # noqa: D102, FBT001 - as Handler has it
        self.versions[obj.metadata.uid] = int(obj.metadata.resource_version)

    def on_update(self, old: Widget, new: Widget) -> None:  # noqa: D102 - as Handler has it
        self.versions[new.metadata.uid] = int(new.metadata.resource_version)

    def on_delete(self, obj: Widget) -> None:  # noqa: D102 - as Handler has it
        del self.versions[obj.metadata.uid]

    def processed(self, uid: str) -> int:
        """As read_barrier and Fence ask for it."""
        return self.versions.get(uid, -1)


class Place:
    """A cache of widgets on a stage, its ledger, and a fence; widgets without a size are exposed."""

    def __init__(self, stage: Stage, **options: Any) -> None:
        self.stage = stage
        self.server = stage.server
        self.client: Client = stage.client()
        self.widgets: Informer[Widget] = Informer(WIDGETS, self.client)
        self.ledger = Ledger()
        self.widgets.add_handler(self.ledger)
        self.lease = self.term(1)
        self.fence: Fence[Widget] = Fence(
            self.client,
            self.widgets,
            annotation=EPOCH,
            exposed=lambda widget: not widget.size,
            processed=self.ledger.processed,
            **options,
        )

    def term(self, number: int, identity: str = "me") -> Lease:
        """A term that lasts until it is ended."""
        return Lease.unelected(clock=VirtualClock(), identity=identity, term=number)

    async def barrier(self) -> float:
        """Pass the read barrier; how long that took."""
        began = now()
        await read_barrier(self.client, self.widgets, self.ledger.processed)
        return now() - began

    def seen(self) -> bool:
        """Whether the ledger has processed everything that the server holds."""
        held = {
            obj["metadata"]["uid"]: int(obj["metadata"]["resourceVersion"])
            for obj in self.server.objects(KIND)
        }
        return held == self.ledger.versions

    def problem(self) -> str:
        """What is in the way of the fence, "" when nothing is."""
        return self.fence.problem or ""

    def epochs(self) -> dict[str, str]:
        """What the annotation says, by name."""
        return {
            obj["metadata"]["name"]: obj["metadata"].get("annotations", {}).get(EPOCH, "")
            for obj in self.server.objects(KIND)
        }

    def patches(self) -> int:
        """How many patches were sent."""
        return len(self.stage.told("PATCH"))

    def relist(self) -> None:
        """Have the cache listed again, since its watch can't go on from where it broke off."""
        self.server.watch_lag = 0.0
        self.server.compact()
        self.server.break_watches()

    def settle(self, name: str) -> None:
        """What a write of an old leader does: the widget isn't exposed any more."""
        self.server.patch(KIND, name, {"size": 1})

    def refuse(self, name: str, status: int, *, times: int | None = None) -> None:
        """Have patches of one widget refused."""
        self.stage.fault(
            "error_before",
            lambda call: is_patch(call) and call.path.endswith(name),
            status=status,
            times=times,
        )


def play(scene: Callable[[Place], Awaitable[None]], **options: Any) -> Stage:
    """Run a scene in virtual time, with a cache that is synced."""
    stage = Stage()

    async def main() -> None:
        place = Place(stage, **options)
        async with running(place.widgets):
            await place.widgets.wait_synced()
            await scene(place)
        assert {asyncio.current_task()} == asyncio.all_tasks()

    run_virtual(main())
    return stage


def now() -> float:
    """Seconds since the test began."""
    return asyncio.get_running_loop().time()


def is_list(call: Call) -> bool:
    """For faults: lists."""
    return call.method == "GET" and ("watch", "1") not in call.query


def is_patch(call: Call) -> bool:
    """For faults: patches."""
    return call.method == "PATCH"


class TestReadBarrier:
    def test_is_quick_where_the_cache_is_current(self) -> None:
        """It needs one list, and no bookmark, where the handler has seen what the server holds."""

        async def scene(place: Place) -> None:
            assert 0.0 == await place.barrier()

        assert 2 == len(play(scene).told("GET widgets"))  # the informer's, and its own

    @pytest.mark.parametrize("change", ["put", "delete", "recreate"])
    def test_waits_for_what_has_landed(self, change: str) -> None:
        """What was written before it began has been processed when it returns, however late the watch is."""

        async def scene(place: Place) -> None:
            place.server.watch_lag = 7.0
            if change == "put":
                place.settle("b")
            else:
                place.server.delete(KIND, "b")
                if change == "recreate":
                    place.stage.widget("b")
                else:
                    place.stage.widget("c")
            assert not place.seen()
            assert 7.0 == await place.barrier()
            assert place.seen()

        play(scene)

    def test_an_object_that_goes_meanwhile(self) -> None:
        """An object that was listed, and is gone by the time the cache catches up, doesn't hold it up."""

        async def scene(place: Place) -> None:
            place.server.watch_lag = 7.0
            place.settle("b")
            passing = asyncio.ensure_future(place.barrier())
            await asyncio.sleep(1.0)
            place.server.delete(KIND, "b")
            assert 7.0 == await passing

        play(scene)

    def test_retries_the_list(self) -> None:
        """A list that fails is tried again, for as long as it takes."""

        async def scene(place: Place) -> None:
            place.stage.fault("error_before", is_list, status=500, times=3)
            place.stage.fault("drop_before", is_list, times=3)
            assert 0.0 < await place.barrier() < 90.0

        assert 8 == len(play(scene).told("GET widgets"))

    def test_starts_over_when_the_cache_is_replaced(self) -> None:
        """A relist of the cache meanwhile makes it list again: versions from before prove nothing."""

        async def scene(place: Place) -> None:
            place.server.watch_lag = 1000.0
            place.settle("b")
            passing = asyncio.ensure_future(place.barrier())
            await asyncio.sleep(1.0)
            lists = len(place.stage.told("GET widgets"))
            place.relist()
            await passing
            assert place.seen()
            assert lists + 2 == len(place.stage.told("GET widgets"))  # the cache's, and its own

        play(scene)

    def test_may_be_cancelled(self) -> None:
        """Cancelled while it waits, or between two tries, it ends at once."""

        async def scene(place: Place) -> None:
            place.stage.fault("error_before", is_list, status=500, times=None)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(100.0):
                    await place.barrier()
            place.server.faults.clear()
            place.server.watch_lag = 1000.0
            place.settle("b")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5.0):
                    await place.barrier()

        play(scene)

    def test_when_the_informer_ends(self) -> None:
        """It raises when the cache that it waits for has ended."""

        async def main() -> None:
            place = Place(Stage())
            async with running(place.widgets):
                await place.widgets.wait_synced()
                place.server.watch_lag = 1000.0
                place.settle("b")
                passing = asyncio.ensure_future(place.barrier())
                await asyncio.sleep(1.0)
            assert isinstance(await ended(passing), KubeError)  # type: ignore[arg-type]  # of a float

        run_virtual(main())


class TestErect:
    def test_changes_what_is_exposed(self) -> None:
        """Every exposed object gets the epoch, no other is touched, and the cache has seen it."""

        async def scene(place: Place) -> None:
            place.settle("b")
            await place.barrier()
            place.server.watch_lag = 3.0
            assert not place.fence.finished
            await place.fence.erect(place.lease)
            assert {"a": "0/me/1", "b": ""} == place.epochs()
            assert place.seen()
            assert 3.0 == now()
            assert place.fence.finished

        assert 1 == len(play(scene).told("PATCH"))

    def test_shuts_out_a_write_from_before(self) -> None:
        """A write that was decided on before is answered 409 once the fence is up."""

        async def scene(place: Place) -> None:
            old = place.widgets.store.list()
            await place.fence.erect(place.lease)
            for widget in old:
                with pytest.raises(APIError, match="409"):
                    await place.client.patch(
                        WIDGETS,
                        WIDGETS.request(widget),
                        {"size": 1},
                        uid=widget.metadata.uid,
                        resource_version=widget.metadata.resource_version,
                    )

        play(scene)

    def test_every_term_changes_something(self) -> None:
        """Each term of each process has another epoch: a patch that changes nothing would fence nothing."""

        async def scene(place: Place) -> None:
            versions = set()
            for lease in (place.lease, place.term(2), place.term(1, "other")):
                await place.fence.erect(lease)
                versions.add(place.server.get(KIND, "a")["metadata"]["resourceVersion"])
            assert 3 == len(versions)

        assert 6 == len(play(scene).told("PATCH"))

    def test_one_that_lands_late(self) -> None:
        """An old write that lands while the fence goes up has been processed when it is up."""

        async def scene(place: Place) -> None:
            place.stage.fault("delay", is_patch, delay=3.0, times=2)
            erecting = asyncio.ensure_future(place.fence.erect(place.lease))
            await asyncio.sleep(1.0)
            place.settle("a")
            await erecting
            assert place.seen()
            assert [1] == [widget.size for widget in place.widgets.store.list() if widget.size]

        play(scene)

    @pytest.mark.parametrize("action", ["drop_before", "drop_after", "error_before", "error_after"])
    def test_unknown_outcomes_are_tried_again(self, action: str) -> None:
        """A patch whose outcome isn't known is made again, until one is answered."""

        async def scene(place: Place) -> None:
            place.stage.fault(action, is_patch, times=4)
            await place.fence.erect(place.lease)
            assert {"a": "0/me/1", "b": "0/me/1"} == place.epochs()
            assert place.fence.finished

        assert 6 == len(play(scene).told("PATCH"))

    @pytest.mark.parametrize("status", [401, 409, 429])
    def test_passing_refusals_have_all_the_time(self, status: int) -> None:
        """What is refused for a while is never set aside, however long the while is."""

        async def scene(place: Place) -> None:
            place.refuse("a", status)
            erecting = asyncio.ensure_future(place.fence.erect(place.lease))
            await asyncio.sleep(1000.0)
            assert not erecting.done()
            place.server.faults.clear()
            await erecting
            assert place.fence.finished

        play(scene)

    def test_objects_that_go_are_not_waited_for(self) -> None:
        """Neither a deleted object, nor one that was made anew, nor one that isn't exposed any more."""

        async def scene(place: Place) -> None:
            for name in ("c", "d"):
                place.stage.widget(name)
            await place.barrier()
            place.stage.fault("error_before", is_patch, times=4)
            erecting = asyncio.ensure_future(place.fence.erect(place.lease))
            await asyncio.sleep(0.01)
            place.server.delete(KIND, "a")
            place.server.delete(KIND, "b")
            place.stage.widget("b")
            place.settle("c")
            await erecting
            assert {"b": "", "c": "", "d": "0/me/1"} == place.epochs()
            assert place.fence.finished

        play(scene)

    def test_carries_the_uid(self) -> None:
        """An object of the same name with another UID isn't changed, though the cache doesn't know it yet."""

        async def scene(place: Place) -> None:
            place.server.watch_lag = 5.0
            place.server.delete(KIND, "a")
            place.stage.widget("a")
            await place.fence.erect(place.lease)
            assert {"a": "", "b": "0/me/1"} == place.epochs()

        play(scene)

    def test_so_many_at_a_time(self) -> None:
        """No more than `parallel` requests are under way."""

        async def scene(place: Place) -> None:
            for number in range(10):
                place.stage.widget(f"w{number}")
            await place.barrier()
            place.server.latency = 1.0
            began = now()
            await place.fence.erect(place.lease)
            assert 4.0 == now() - began

        play(scene, parallel=3)

    def test_a_cache_that_is_replaced_meanwhile(self) -> None:
        """A relist instead of an event does as well: what counts is what the handler has processed."""

        async def scene(place: Place) -> None:
            place.server.watch_lag = 1000.0
            erecting = asyncio.ensure_future(place.fence.erect(place.lease))
            await asyncio.sleep(1.0)
            place.relist()
            await erecting
            assert place.seen()
            assert 10.0 > now()

        play(scene)


class TestSettingAside:
    def test_after_patience(self) -> None:
        """An object that keeps refusing is set aside after `patience` seconds, the others are changed."""

        async def scene(place: Place) -> None:
            place.refuse("a", 403)
            await place.fence.erect(place.lease)
            assert 60.0 <= now() < 90.0
            assert {"a": "", "b": "0/me/1"} == place.epochs()
            (refusal,) = place.fence.aside.values()
            assert Request("a") == refusal.request
            assert "403" in refusal.cause
            assert not place.fence.finished

        play(scene, patience=60.0)

    @pytest.mark.parametrize("action", ["error_before", "drop_before", "hang"])
    def test_failures_without_a_refusal(self, action: str) -> None:
        """What fails for so long without a word why is set aside too: the server is there, the lease says."""

        async def scene(place: Place) -> None:
            place.stage.fault(action, lambda call: is_patch(call) and call.path.endswith("/a"), times=None)
            await place.fence.erect(place.lease)
            assert [Request("a")] == [refusal.request for refusal in place.fence.aside.values()]
            assert "1 set aside, a for one" in place.problem()

        play(scene, patience=60.0)

    def test_a_404_of_somebody_else(self) -> None:
        """A 404 that isn't the API server's own isn't the end of the object."""

        async def scene(place: Place) -> None:
            place.stage.fault("error_before", is_patch, status=404, body=b"<html></html>", times=3)
            await place.fence.erect(place.lease)
            assert {"a": "0/me/1", "b": "0/me/1"} == place.epochs()

        play(scene)

    def test_tells_what_is_in_the_way(self) -> None:
        """While an object can't be changed, `problem` names it and says why; afterwards there is none."""

        async def scene(place: Place) -> None:
            assert "" == place.problem()
            place.refuse("a", 500)
            erecting = asyncio.ensure_future(place.fence.erect(place.lease))
            await asyncio.sleep(10.0)
            assert "1 not fenced off yet, a for one: 500" in place.problem()
            place.server.faults.clear()
            await erecting
            assert "" == place.problem()

        play(scene)

    def test_readmitted(self) -> None:
        """What was set aside is tried again on demand, and with it the fence is finished."""

        async def scene(place: Place) -> None:
            place.refuse("a", 403)
            await place.fence.erect(place.lease)
            widget = place.widgets.store.get(Request("a"))
            assert widget
            assert not await place.fence.readmit(place.lease, widget)
            assert 1 == len(place.fence.aside)
            place.server.faults.clear()
            place.server.watch_lag = 3.0
            assert await place.fence.readmit(place.lease, widget)
            assert place.seen()
            assert {} == place.fence.aside
            assert {"a": "0/me/1", "b": "0/me/1"} == place.epochs()

        play(scene, patience=60.0)

    def test_forgotten(self) -> None:
        """What was set aside and is gone doesn't keep the fence from being finished."""

        async def scene(place: Place) -> None:
            place.refuse("a", 403)
            await place.fence.erect(place.lease)
            place.fence.forget(Request("b"))
            assert not place.fence.finished
            place.fence.forget(Request("a"))
            assert place.fence.finished

        play(scene, patience=60.0)

    def test_a_new_term_begins_anew(self) -> None:
        """What one term has set aside is tried again by the next."""

        async def scene(place: Place) -> None:
            place.refuse("a", 403)
            await place.fence.erect(place.lease)
            place.server.faults.clear()
            await place.fence.erect(place.term(2))
            assert {"a": "0/me/2", "b": "0/me/2"} == place.epochs()
            assert place.fence.finished

        play(scene, patience=60.0)


class TestEndings:
    def test_lost_lease(self) -> None:
        """A lease that is over is told as one LeadershipLost, however many requests notice it."""

        async def scene(place: Place) -> None:
            place.stage.widget("c")
            await place.barrier()
            place.lease.end("somebody else leads")
            with pytest.raises(LeadershipLost, match="somebody else leads"):
                await place.fence.erect(place.lease)
            assert not place.fence.finished

        assert 0 == len(play(scene).told("PATCH widgets"))

    def test_lost_lease_between_two_rounds(self) -> None:
        """A lease that ends while the fence goes up ends it before the next request."""

        async def scene(place: Place) -> None:
            place.stage.fault("drop_before", is_patch, times=None)
            erecting = asyncio.ensure_future(place.fence.erect(place.lease))
            await asyncio.sleep(30.0)
            place.lease.end("somebody else leads")
            patches = place.patches()
            assert isinstance(await ended(erecting), LeadershipLost)
            assert patches == place.patches()

        play(scene)

    def test_cancelled_anywhere(self) -> None:
        """Cancelled at any step, it isn't up, and nothing of it goes on."""

        def cancelled_at(step: int) -> bool:
            up: list[bool] = []

            async def scene(place: Place) -> None:
                place.server.latency = 0.1
                erecting = asyncio.ensure_future(place.fence.erect(place.lease))
                for _ in range(step):
                    await asyncio.sleep(0.01)
                cancelled = erecting.cancel()
                await asyncio.wait({erecting})
                assert cancelled == erecting.cancelled()
                assert cancelled != place.fence.finished
                up.append(not cancelled)
                patches = place.patches()
                await asyncio.sleep(10.0)
                assert patches == place.patches()

            play(scene)
            return up[0]

        outcomes = [cancelled_at(step) for step in range(30)]
        assert [False, True] == [outcomes[0], outcomes[-1]]
        assert sorted(outcomes) == outcomes

    def test_without_any_predecessor(self) -> None:
        """Skipped, it counts as finished until a new term begins; the repr says how it is."""

        async def scene(place: Place) -> None:
            finished = []
            for change in (place.fence.skip, place.fence.lower):
                change()
                finished.append((place.fence.finished, repr(place.fence)))
            assert [
                (True, "<Fence example.com/epoch='': up, 0 set aside>"),
                (False, "<Fence example.com/epoch='': not up, 0 set aside>"),
            ] == finished

        assert [] == play(scene).told("PATCH")
