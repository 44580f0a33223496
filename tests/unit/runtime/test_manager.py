from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from nodeipam.runtime import (
    APIError,
    ConfigurationError,
    Election,
    HealthError,
    LeadershipLost,
    Lease,
    ListenError,
    Manager,
    ManagerOptions,
    ObjectReference,
    Request,
)
from nodeipam.testing import VirtualLoop, run_virtual

from .managing import LEASES, WIDGETS, Job, Stage, ended, until
from .scripted import Recorder

Scene = Callable[[Stage], Awaitable[None]]


def play(scene: Scene) -> Stage:
    """Run a scene in virtual time; no task may be left at its end."""
    stage = Stage()

    async def main() -> None:
        await scene(stage)
        assert {asyncio.current_task()} == asyncio.all_tasks()
        assert not stage.server.watches

    run_virtual(main())
    return stage


async def stopped(task: asyncio.Task[None]) -> None:
    """Cancel a manager and wait until it has ended."""
    task.cancel()
    assert isinstance(await ended(task), asyncio.CancelledError)


def is_lease(call: Any) -> bool:
    """For faults: whatever is asked about the lease."""
    return "leases" in call.path


class FakeServer:
    """In the place of the HTTP server, which needs sockets."""

    story: list[str]

    def __init__(self, address: str, **parts: Any) -> None:
        self.readiness = parts["readiness"]

    async def start(self) -> None:  # noqa: D102 - as Server has it
        self.story.append("server started")

    async def close(self) -> None:  # noqa: D102 - as Server has it
        self.story.append("server closed")


class TestOrder:
    def test_of_the_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Server, informers, what needs no leadership, election, gates, controllers: each after the other."""
        monkeypatch.setattr("nodeipam.runtime.manager.Server", FakeServer)

        async def scene(stage: Stage) -> None:
            stage.server.latency = 0.2
            FakeServer.story = stage.story
            manager = stage.manager(server=":0")
            widgets = manager.informer(WIDGETS)
            manager.gate(stage.gate(seconds=1.0))
            manager.gate(stage.gate(seconds=1.0))
            manager.add(stage.controller(widgets))
            manager.add(Job(stage.story, "leading"))
            manager.add(Job(stage.story, "always", needs_leader=False))
            task = asyncio.create_task(manager.run())
            await until(lambda: "reconciled b" in stage.story)
            await stopped(task)

        story = play(scene).story
        assert [
            "server started",
            "GET widgets",
            "watch widgets",
            "always began",
            "POST leases",
            "gate of term 1",
            "gate passed",
            "gate of term 1",
            "gate passed",
            "leading began",
            "reconcile a",
        ] == [line for line in story if not line.startswith(("PUT", "GET leases", "watch leases"))][:11]

    def test_of_a_stop_that_fails(self) -> None:
        """What fails while it is being stopped is the cause of the CancelledError: that was no clean stop."""

        class Clumsy:
            needs_leader = False

            async def run(self) -> None:
                try:
                    await asyncio.sleep(1e6)
                except asyncio.CancelledError:
                    raise ZeroDivisionError from None

        async def scene(stage: Stage) -> None:
            manager = stage.manager()
            manager.add(Clumsy())
            task = asyncio.create_task(manager.run())
            await manager.synced()
            await asyncio.sleep(1.0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as raised:
                await task
            assert isinstance(raised.value.__cause__, ZeroDivisionError)

        play(scene)

    def test_of_the_stop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not ready, reconciles, runnables, informers, lease, events, server: each after the other."""
        monkeypatch.setattr("nodeipam.runtime.manager.Server", FakeServer)

        async def scene(stage: Stage) -> None:
            FakeServer.story = stage.story
            stage.server.latency = 0.1
            manager = stage.manager(server=":0")

            class Parting(Job):
                async def run(self) -> None:
                    try:
                        await super().run()
                    finally:
                        told = ObjectReference(api_version="v1", kind="Node", name="n", uid="u")
                        manager.events.event(told, type="Normal", reason="End", action="Stop", note="")

            widgets = manager.informer(WIDGETS)
            manager.add(stage.controller(widgets, seconds=3.0))
            manager.add(Parting(stage.story, "leading"))
            manager.add(Job(stage.story, "always", needs_leader=False))
            task = asyncio.create_task(manager.run())
            await until(lambda: "reconcile a" in stage.story)
            stage.fault("error_before", lambda call: "events" in call.path)
            stage.story.clear()
            task.cancel()
            await asyncio.sleep(0.1)
            assert not (await manager.readiness.report()).healthy
            stage.story.append("not ready")
            assert isinstance(await ended(task), asyncio.CancelledError)

        story = play(scene).story
        assert [
            "not ready",
            "reconciled a",
            "always ended",
            "leading ended",
            "end of watch widgets",
            "release",
            "POST events",
            "server closed",
        ] == [line for i, line in enumerate(story) if "leases" not in line and line not in story[i + 1 :]]

    def test_a_queue_that_is_stopped_takes_up_nothing(self) -> None:
        """After a cancel the running reconcile ends, and what waits in the queue is left."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager()
            manager.add(stage.controller(manager.informer(WIDGETS), seconds=3.0))
            task = asyncio.create_task(manager.run())
            await until(lambda: "reconcile a" in stage.story)
            await stopped(task)

        assert ["reconcile a", "reconciled a"] == play(scene).told("reconcile")

    def test_a_manager_runs_once(self) -> None:
        """A second run is refused, and leaves the first alone."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager(elected=False)
            task = asyncio.create_task(manager.run())
            await asyncio.sleep(1.0)
            with pytest.raises(RuntimeError, match="runs once"):
                await manager.run()
            await stopped(task)

        play(scene)


class TestDrain:
    def test_lets_a_reconcile_end(self) -> None:
        """A reconcile that takes less than the drain ends by itself, and then the lease is released."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager(drain=10.0)
            manager.add(stage.controller(manager.informer(WIDGETS), seconds=9.0, workers=2))
            task = asyncio.create_task(manager.run())
            await until(lambda: "reconcile b" in stage.story)
            began = now()
            await stopped(task)
            assert 9.0 == pytest.approx(now() - began, abs=0.1)
            assert "" == stage.holder()

        assert [] == play(scene).told("cancelled")

    def test_has_an_end(self) -> None:
        """A reconcile that takes longer than the drain is cancelled, and then the lease is released."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager(drain=2.0)
            manager.add(stage.controller(manager.informer(WIDGETS), seconds=9.0))
            task = asyncio.create_task(manager.run())
            await until(lambda: "reconcile a" in stage.story)
            began = now()
            await stopped(task)
            assert 2.0 == pytest.approx(now() - began, abs=0.1)
            assert "" == stage.holder()

        assert ["cancelled a"] == play(scene).told("cancelled")

    def test_is_left_out_in_a_hurry(self) -> None:
        """A second cancel cancels the reconciles at once, and the lease is released all the same."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager()
            manager.add(stage.controller(manager.informer(WIDGETS), seconds=9.0))
            task = asyncio.create_task(manager.run())
            await until(lambda: "reconcile a" in stage.story)
            began = now()
            task.cancel()
            await asyncio.sleep(1.0)
            await stopped(task)
            assert 1.0 == pytest.approx(now() - began, abs=0.1)
            assert "" == stage.holder()

        assert ["cancelled a"] == play(scene).told("cancelled")

    def test_is_for_controllers_without_a_leader_too(self) -> None:
        """A standby's own controllers get their drain as well."""

        async def scene(stage: Stage) -> None:
            stage.fault("error_before", is_lease, times=None)
            manager = stage.manager()
            manager.add(stage.controller(manager.informer(WIDGETS), seconds=5.0, needs_leader=False))
            task = asyncio.create_task(manager.run())
            await until(lambda: "reconcile a" in stage.story)
            await stopped(task)

        assert ["reconcile a", "reconciled a"] == play(scene).told("reconcile", "cancelled")

    def test_doesnt_wait_for_runnables(self) -> None:
        """Runnables have nothing to drain: without controllers the stop takes no time."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager()
            manager.add(Job(stage.story))
            task = asyncio.create_task(manager.run())
            await until(lambda: "job began" in stage.story)
            began = now()
            await stopped(task)
            assert 0.0 == pytest.approx(now() - began, abs=0.1)

        play(scene)

    def test_is_over_when_the_lease_is_lost(self) -> None:
        """A lease that is lost while draining ends the drain, and the controllers don't run anew."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager(drain=60.0, deadline=90.0)
            manager.add(stage.controller(manager.informer(WIDGETS), seconds=50.0))
            task = asyncio.create_task(manager.run())
            await until(lambda: "reconcile a" in stage.story)
            task.cancel()
            stage.server.patch(
                LEASES, "x", {"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}}, namespace="default"
            )
            assert isinstance(await ended(task), asyncio.CancelledError)
            assert 10.0 > now()

        assert ["reconcile a", "cancelled a"] == play(scene).told("reconcile", "cancelled")


class TestDeadline:
    def test_is_over_all(self) -> None:
        """What cleans up for longer than the deadline is cancelled again, and awaited."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager(drain=1.0, deadline=5.0)
            manager.add(Job(stage.story, cleaning=1000.0))
            task = asyncio.create_task(manager.run())
            await until(lambda: "job began" in stage.story)
            began = now()
            await stopped(task)
            assert 5.0 == pytest.approx(now() - began, abs=0.1)

        assert ["job began", "job ended"] == play(scene).told("job")

    def test_is_longer_than_the_drain(self) -> None:
        """A drain that the deadline would cut off is refused, with both numbers."""
        with pytest.raises(ConfigurationError, match="not 30 and 25"):
            ManagerOptions(drain=30.0)


class TestFailure:
    def test_of_the_server(self) -> None:
        """A port that is taken is told as ListenError, by run and by synced, before anything starts."""
        stage = Stage()

        async def main() -> None:
            with socket.create_server(("127.0.0.1", 0)) as taken:
                manager = stage.manager(server=f"127.0.0.1:{taken.getsockname()[1]}")
                manager.informer(WIDGETS)
                task = asyncio.create_task(manager.run())
                with pytest.raises(ListenError, match="in use"):
                    await manager.synced()
                with pytest.raises(ListenError, match="in use"):
                    await task
            assert {asyncio.current_task()} == asyncio.all_tasks()

        asyncio.run(main())
        assert [] == stage.story

    @pytest.mark.parametrize("needs_leader", [True, False])
    def test_of_a_runnable(self, needs_leader: bool) -> None:  # noqa: FBT001 - a parameter of the test
        """What a runnable raises is raised by run, as it is, when all else has ended in good order."""
        failure = OSError("a runnable's bug")

        async def scene(stage: Stage) -> None:
            manager = stage.manager()
            manager.add(stage.controller(manager.informer(WIDGETS), seconds=4.0, needs_leader=False))
            manager.add(Job(stage.story, seconds=3.0, failure=failure, needs_leader=needs_leader))
            task = asyncio.create_task(manager.run())
            assert failure is await ended(task)
            assert "" == stage.holder()

        assert ["reconcile a", "reconciled a"] == play(scene).told("reconcile", "cancelled")

    def test_of_a_handler(self) -> None:
        """What a handler raises is raised by run, and by synced, as it is."""
        failure = ZeroDivisionError("a handler's bug")

        async def scene(stage: Stage) -> None:
            manager = stage.manager()
            manager.informer(WIDGETS).add_handler(Recorder(fail_on="initial b", failure=failure))
            manager.add(Job(stage.story, needs_leader=False))
            task = asyncio.create_task(manager.run())
            waiting = asyncio.ensure_future(manager.synced())
            assert failure is await ended(task)
            assert failure is await ended(waiting)

        assert [] == play(scene).told("job", "POST leases")

    def test_of_a_handler_later(self) -> None:
        """What a handler raises while leading stops everything, and releases the lease."""
        failure = ZeroDivisionError("a handler's bug")

        async def scene(stage: Stage) -> None:
            manager = stage.manager()
            widgets = manager.informer(WIDGETS)
            widgets.add_handler(Recorder(fail_on="add c", failure=failure))
            manager.add(stage.controller(widgets))
            task = asyncio.create_task(manager.run())
            await until(lambda: "reconciled b" in stage.story)
            stage.widget("c")
            assert failure is await ended(task)
            assert "" == stage.holder()

        play(scene)

    def test_of_a_gate(self) -> None:
        """What a gate raises is raised by run; nothing behind the gate has begun."""
        failure = APIError(500, "InternalError", "a gate's trouble")

        async def scene(stage: Stage) -> None:
            async def gate(lease: Lease) -> None:
                raise failure

            manager = stage.manager()
            manager.gate(gate)
            manager.add(Job(stage.story))
            assert failure is await ended(asyncio.create_task(manager.run()))

        assert [] == play(scene).told("job")

    def test_while_stopping(self) -> None:
        """A cancelled run raises CancelledError, whatever fails on the way out."""

        class Clumsy(Job):
            async def run(self) -> None:
                try:
                    await super().run()
                finally:
                    raise OSError("failed while cleaning up")

        async def scene(stage: Stage) -> None:
            manager = stage.manager()
            manager.add(Clumsy(stage.story))
            task = asyncio.create_task(manager.run())
            await until(lambda: "job began" in stage.story)
            await stopped(task)

        play(scene)

    def test_of_two_at_once(self) -> None:
        """Of two failures in the same moment the first is raised, and not a group."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager()
            for text in ("one", "two"):
                manager.add(Job(stage.story, text, seconds=3.0, failure=OSError(text)))
            failure = await ended(asyncio.create_task(manager.run()))
            assert isinstance(failure, OSError)

        play(scene)


class TestLeadership:
    def test_lost(self) -> None:
        """Where the host asked to be told, run raises LeadershipLost, when what it guarded has ended."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager(campaign_again=False)
            manager.add(Job(stage.story))
            task = asyncio.create_task(manager.run())
            await until(lambda: "job began" in stage.story)
            stage.fault("hang", is_lease, times=None)
            failure = await ended(task)
            assert isinstance(failure, LeadershipLost)

        assert ["job began", "job ended"] == play(scene).told("job")

    def test_lost_and_won_again(self) -> None:
        """After a lost lease gates, runnables and controllers run anew; what needs no leader just goes on."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager()
            manager.gate(stage.gate())
            manager.add(stage.controller(manager.informer(WIDGETS)))
            manager.add(Job(stage.story, "leading"))
            manager.add(Job(stage.story, "always", needs_leader=False))
            task = asyncio.create_task(manager.run())
            await until(lambda: "reconciled b" in stage.story)
            lease = manager.lease
            fault = stage.fault("hang", is_lease, times=None)
            await until(lambda: "leading ended" in stage.story)
            with pytest.raises(LeadershipLost, match="doesn't lead"):
                manager.lease.check()
            stage.server.faults.remove(fault)
            await until(lambda: 2 == len(stage.told("reconciled b")))
            assert lease is not manager.lease
            assert 2 == manager.lease.term
            await stopped(task)

        story = play(scene)
        assert ["gate of term 1", "gate passed", "gate of term 2", "gate passed"] == story.told("gate")
        assert ["leading began", "leading ended"] * 2 == story.told("leading")
        assert ["always began", "always ended"] == story.told("always")
        assert 4 == len(story.told("reconciled"))

    def test_noticed_by_several(self) -> None:
        """Runnables that all notice a lost lease at once don't end the manager: it campaigns again."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager()

            class Watchful(Job):
                async def run(self) -> None:
                    self._story.append("watchful began")
                    lease = manager.lease
                    while lease.valid:  # noqa: ASYNC110 - it looks in no better way
                        await asyncio.sleep(1.0)
                    lease.check()

            manager.add(Watchful(stage.story))
            manager.add(Watchful(stage.story))
            task = asyncio.create_task(manager.run())
            await until(lambda: 2 == len(stage.told("watchful")))
            manager.lease.end("by hand")
            await until(lambda: 4 == len(stage.told("watchful")))
            await stopped(task)

        play(scene)

    def test_without_an_election(self) -> None:
        """Without an election it leads at once and asks for no lease; its term ends with it."""
        terms: list[Lease] = []

        async def scene(stage: Stage) -> None:
            manager = stage.manager(elected=False)
            manager.gate(stage.gate())
            manager.add(stage.controller(manager.informer(WIDGETS)))
            task = asyncio.create_task(manager.run())
            await until(lambda: "reconciled b" in stage.story)
            terms.append(manager.lease)
            manager.lease.check()
            await stopped(task)

        assert [] == play(scene).told("GET leases", "POST leases")
        assert not terms[0].valid

    def test_identities_differ(self) -> None:
        """Two managers of one name have two identities, with an election or without."""

        async def scene(stage: Stage) -> None:
            client = stage.client()
            managers = [Manager(client) for _ in range(2)]
            managers += [
                Manager(client, ManagerOptions(election=Election(namespace="d", name="x"))) for _ in range(2)
            ]
            assert 4 == len({manager.identity for manager in managers})

        play(scene)

    def test_a_gate_is_ended_by_a_stop(self) -> None:
        """A cancel during a gate cancels the gate, and the lease is released."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager()
            manager.gate(stage.gate(seconds=1000.0))
            task = asyncio.create_task(manager.run())
            await until(lambda: stage.told("gate"))
            await stopped(task)
            assert "" == stage.holder()

        assert ["gate of term 1"] == play(scene).told("gate")


class TestEmpty:
    def test_without_anything(self) -> None:
        """A manager with nothing in it is synced at once, and runs until it is cancelled."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager(elected=False)
            task = asyncio.create_task(manager.run())
            await manager.synced()
            await asyncio.sleep(1000.0)
            assert not task.done()
            await stopped(task)

        assert [] == play(scene).story

    def test_with_informers_only(self) -> None:
        """A manager with nothing but informers keeps their caches until it is cancelled."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager(elected=False)
            widgets = manager.informer(WIDGETS)
            task = asyncio.create_task(manager.run())
            await manager.synced()
            stage.widget("c")
            await asyncio.sleep(1000.0)
            assert ["a", "b", "c"] == sorted(widget.metadata.name for widget in widgets.store.list())
            await stopped(task)

        play(scene)

    def test_a_runnable_that_returns(self) -> None:
        """A runnable that has nothing left to do ends neither the term nor the manager."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager()
            manager.add(Job(stage.story, "leading", seconds=1.0))
            manager.add(Job(stage.story, "always", seconds=1.0, needs_leader=False))
            task = asyncio.create_task(manager.run())
            await asyncio.sleep(100.0)
            assert not task.done()
            manager.lease.check()
            await stopped(task)

        assert ["leading began", "leading ended"] == play(scene).told("leading")


class TestSynced:
    def test_waits_for_run_and_for_the_handlers(self) -> None:
        """Synced returns once run was called and every handler has processed the list; again at once."""

        async def scene(stage: Stage) -> None:
            stage.server.latency = 2.0
            recorder = Recorder()
            manager = stage.manager()
            manager.informer(WIDGETS).add_handler(recorder)
            waiting = asyncio.ensure_future(manager.synced())
            await asyncio.sleep(5.0)
            assert not waiting.done()
            task = asyncio.create_task(manager.run())
            assert None is await ended(waiting)
            assert 2 == len(recorder.told)
            assert 7.0 == pytest.approx(now(), abs=0.1)
            await manager.synced()
            await stopped(task)

        play(scene)

    def test_when_the_manager_is_cancelled_first(self) -> None:
        """A manager that is cancelled before it is synced tells so, by another error than CancelledError."""

        async def scene(stage: Stage) -> None:
            stage.fault("hang", lambda _: True, times=None)
            manager = stage.manager()
            manager.informer(WIDGETS)
            task = asyncio.create_task(manager.run())
            waiting = asyncio.ensure_future(manager.synced())
            await asyncio.sleep(5.0)
            await stopped(task)
            with pytest.raises(RuntimeError, match="ended before its informers were synced"):
                await waiting

        play(scene)

    def test_may_be_cancelled(self) -> None:
        """Cancelling synced leaves the manager alone."""

        async def scene(stage: Stage) -> None:
            stage.fault("hang", lambda _: True, times=None)
            manager = stage.manager()
            manager.informer(WIDGETS)
            task = asyncio.create_task(manager.run())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5.0):
                    await manager.synced()
            assert not task.done()
            await stopped(task)

        play(scene)


class TestGuest:
    def test_in_the_hosts_task_group(self) -> None:
        """In a host's task group a cancelled manager ends, and neither the group nor its tasks notice."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager()
            manager.add(stage.controller(manager.informer(WIDGETS)))
            async with asyncio.TaskGroup() as tasks:
                hosts_own = tasks.create_task(asyncio.sleep(100.0, "the host's own"))
                running = tasks.create_task(manager.run())
                await manager.synced()
                await until(lambda: "reconciled b" in stage.story)
                running.cancel()
            assert "the host's own" == hosts_own.result()

        play(scene)

    def test_failing_in_the_hosts_task_group(self) -> None:
        """A failure comes out of the host's group as the cause itself, not as a group in a group."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager()
            manager.add(Job(stage.story, seconds=1.0, failure=OSError("a bug")))
            with pytest.raises(ExceptionGroup) as raised:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(manager.run())
            assert ["a bug"] == [str(error) for error in raised.value.exceptions]

        play(scene)

    def test_under_a_timeout(self) -> None:
        """A host's timeout over run becomes a TimeoutError when the stop is done."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager()
            manager.add(stage.controller(manager.informer(WIDGETS), seconds=3.0))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0):
                    await manager.run()
            assert "" == stage.holder()

        assert ["reconcile a", "reconciled a"] == play(scene).told("reconcile")

    def test_two_in_one_loop(self) -> None:
        """Of two managers in one loop one leads; the other is ready, and leads when the first has stopped."""

        async def scene(stage: Stage) -> None:
            tasks = []
            managers = [stage.manager("one"), stage.manager("two")]
            for manager in managers:
                manager.add(stage.controller(manager.informer(WIDGETS)))
                tasks.append(asyncio.create_task(manager.run()))
                await asyncio.sleep(5.0)
            assert 2 == len(stage.told("reconciled"))
            assert [True, False] == [manager.elector.leading for manager in managers if manager.elector]
            assert (await managers[1].readiness.report()).healthy
            await stopped(tasks[0])
            await until(lambda: 4 == len(stage.told("reconciled")), seconds=1.0)
            await stopped(tasks[1])

        play(scene)


class TestHealth:
    def test_of_its_life(self) -> None:
        """Readiness follows the manager's life: not started, being listed, well, stopping."""

        async def scene(stage: Stage) -> None:
            stage.server.latency = 1.0
            manager = stage.manager()
            manager.add(stage.controller(manager.informer(WIDGETS), seconds=5.0))
            why: list[str] = []

            async def ask(name: str) -> None:
                report = await manager.readiness.report_one(name)
                assert report
                why.append(report.text.strip())

            await ask("running")
            task = asyncio.create_task(manager.run())
            await asyncio.sleep(0.1)
            await ask("running")
            await ask("informer-widgets.example.com")
            await until(lambda: "reconcile a" in stage.story)
            await ask("informer-widgets.example.com")
            task.cancel()
            await asyncio.sleep(0.1)
            await ask("running")
            await ended(task)
            assert [
                "internal server error: not started",
                "ok",
                "internal server error: widgets.example.com are being listed",
                "ok",
                "internal server error: stopping",
            ] == why

        play(scene)

    def test_of_a_lock_that_is_refused(self) -> None:
        """Readiness says why this process can't campaign; liveness doesn't mind."""

        async def scene(stage: Stage) -> None:
            stage.fault("error_before", lambda call: "leases" in call.path, status=403, times=None)
            manager = stage.manager()
            task = asyncio.create_task(manager.run())
            await asyncio.sleep(5.0)
            report = await manager.readiness.report_one("leader-election")
            assert report
            assert "403" in report.text
            assert "ok" == (await manager.liveness.report()).text
            stage.server.faults.clear()
            await until(lambda: manager.leading, seconds=30.0)
            assert (await manager.readiness.report()).healthy
            await stopped(task)

        play(scene)

    def test_of_an_informer_that_is_refused(self) -> None:
        """Readiness says why an informer can't list; liveness doesn't mind."""

        async def scene(stage: Stage) -> None:
            stage.fault("error_before", lambda call: "widgets" in call.path, status=403, times=None)
            manager = stage.manager()
            manager.informer(WIDGETS)
            task = asyncio.create_task(manager.run())
            await asyncio.sleep(5.0)
            report = await manager.readiness.report_one("informer-widgets.example.com")
            assert report
            assert "403" in report.text
            assert "[-]informer-widgets.example.com failed" in (await manager.readiness.report()).text
            assert "ok" == (await manager.liveness.report()).text
            await stopped(task)

        play(scene)

    def test_of_two_informers_of_one_kind(self) -> None:
        """Two informers of one kind have a check each."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager()
            manager.informer(WIDGETS, label_selector="a=b")
            manager.informer(WIDGETS, label_selector="a!=b")
            text = (await manager.readiness.report(verbose=True)).text
            assert "informer-widgets.example.com " in text
            assert "informer-widgets.example.com-2 " in text

        play(scene)

    def test_of_a_standby(self) -> None:
        """A standby is ready, and alive."""

        async def scene(stage: Stage) -> None:
            leader = asyncio.create_task(stage.manager("leader").run())
            await asyncio.sleep(1.0)
            manager = stage.manager("standby")
            manager.informer(WIDGETS)
            task = asyncio.create_task(manager.run())
            await manager.synced()
            await asyncio.sleep(100.0)
            assert not manager.leading
            assert "ok" == (await manager.readiness.report()).text
            assert (
                "[+]event-loop ok\n[+]leader-election ok\nhealthz check passed\n"
                == (await manager.liveness.report(verbose=True)).text
            )
            await stopped(task)
            await stopped(leader)

        play(scene)

    def test_of_work_that_outlives_its_lease(self) -> None:
        """Liveness fails when guarded work goes on long after its lease was lost."""

        async def scene(stage: Stage) -> None:
            manager = stage.manager()
            manager.add(Job(stage.story, cleaning=60.0))
            task = asyncio.create_task(manager.run())
            await until(lambda: "job began" in stage.story)
            fault = stage.fault("hang", is_lease, times=None)
            await asyncio.sleep(15.0)
            assert (await manager.liveness.report()).healthy
            await asyncio.sleep(30.0)
            report = await manager.liveness.report_one("leader-election")
            assert report
            assert "the work under it hasn't ended" in report.text
            await asyncio.sleep(60.0)
            stage.server.faults.remove(fault)
            await stopped(task)

        play(scene)

    def test_of_a_stuck_loop(self) -> None:
        """Liveness fails while one turn of the event loop takes longer than five seconds."""

        async def scene(stage: Stage) -> None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            manager = stage.manager()
            asking = asyncio.ensure_future(manager.liveness.report_one("event-loop"))
            while not asking.done():
                loop.call_soon(loop.advance, 6.0)
                await asyncio.sleep(0)
            report = asking.result()
            assert report
            assert "one turn of the event loop took 6.0 s" in report.text

        play(scene)

    def test_of_the_hosts_own(self) -> None:
        """A host's own checks stand beside the manager's."""

        async def scene(stage: Stage) -> None:
            def check() -> None:
                raise HealthError("the host's database is away")

            manager = stage.manager()
            manager.readiness.add("database", check)
            assert "[-]database failed: reason withheld" in (await manager.readiness.report()).text

        play(scene)


class SteppingLoop(VirtualLoop):
    """Counts its turns, and calls `interrupt` before one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0
        self.interrupt_at = 0
        self.interrupt: Callable[[], object] = lambda: None
        self.complaints: list[str] = []
        self.set_exception_handler(lambda _, context: self.complaints.append(repr(context)))

    def _run_once(self) -> None:
        self.turns += 1
        if self.turns == self.interrupt_at:
            self.interrupt()
        super()._run_once()


class TestCancelledAnywhere:
    """One life of a manager, cancelled once more at each turn of the loop: start, leading, drain, release."""

    @pytest.mark.parametrize("failing", [False, True])
    def test_nothing_is_left(self, failing: bool) -> None:  # noqa: FBT001 - a parameter of the test
        """Whenever it is cancelled: run raises CancelledError, and no task, watch or held lease is left."""
        loops = [self.live(0, failing=failing)]
        turns = loops[0].turns
        assert 60 < turns
        loops += [self.live(turn, failing=failing) for turn in range(1, turns)]
        complaints = [loop.complaints for loop in loops]
        del loops
        gc.collect()  # a task whose exception nobody has seen complains when it goes
        assert [] == [complaint for some in complaints for complaint in some]

    def live(self, interrupt_at: int, *, failing: bool) -> SteppingLoop:
        """Run for three seconds, be cancelled, and once more at the given turn."""
        with asyncio.Runner(loop_factory=SteppingLoop) as runner:
            loop = runner.get_loop()
            assert isinstance(loop, SteppingLoop)
            runner.run(self.host(loop, interrupt_at, failing=failing))
        return loop

    async def host(self, loop: SteppingLoop, interrupt_at: int, *, failing: bool) -> None:
        """The host's side of that life."""
        stage = Stage()
        stage.server.latency = 0.1
        manager = stage.manager(drain=2.0)
        widgets = manager.informer(WIDGETS)
        manager.gate(stage.gate(seconds=0.1))
        manager.add(stage.controller(widgets, seconds=4.0))
        manager.add(stage.controller(widgets, seconds=1.0, needs_leader=False, name="always"))
        manager.add(Job(stage.story, "leading", cleaning=0.2))
        if failing:
            manager.add(Job(stage.story, "failing", seconds=1.0, failure=OSError("a bug")))
        task = asyncio.create_task(manager.run())
        waiting = asyncio.create_task(manager.synced())
        cancels: list[bool] = []
        marks: list[int] = []

        def cancel() -> None:
            cancels.append(task.cancel())
            loop.call_later(0.05, lambda: marks.append(len(stage.story)))

        loop.interrupt_at, loop.interrupt = interrupt_at, cancel
        await asyncio.sleep(3.0)
        cancel()
        await asyncio.wait({task})
        begun = stage.story[marks[0] :] if marks else []
        assert [] == [line for line in begun if line.startswith("reconcile ")]
        self.check(stage, task, cancelled=any(cancels))
        assert stage.holder() in self.holders(stage, manager, cancels=sum(cancels))
        if not waiting.done():  # run was cancelled before it began: nobody will ever call it
            assert "" == "".join(stage.story)
            waiting.cancel()
        await asyncio.wait({waiting})
        if not waiting.cancelled():
            waiting.exception()
        assert {asyncio.current_task()} == asyncio.all_tasks()

    def check(self, stage: Stage, task: asyncio.Task[None], *, cancelled: bool) -> None:
        """What holds at every end."""
        assert cancelled == task.cancelled()
        assert cancelled or "a bug" == str(task.exception())
        assert not stage.server.watches
        for kind in ("leading", "failing"):
            assert stage.story.count(f"{kind} began") == stage.story.count(f"{kind} ended")

    def holders(self, stage: Stage, manager: Manager, *, cancels: int) -> set[str | None]:
        """Who may hold the lease in the end."""
        if stage.told("gate of") and cancels < 2:
            return {""}  # it led, and nobody was in a hurry
        return {None, "", manager.identity}


def now() -> float:
    """Seconds since the test began."""
    return asyncio.get_running_loop().time()


def test_its_repr_tells_its_state() -> None:
    """The repr says whether it runs, and under which term."""

    async def scene(stage: Stage) -> None:
        manager = stage.manager("widgets", elected=False)
        manager.informer(WIDGETS)
        assert "<Manager widgets: not started, not leading, 1 informers>" == repr(manager)
        task = asyncio.create_task(manager.run())
        await asyncio.sleep(1.0)
        assert "<Manager widgets: running, <Lease of widgets_" in repr(manager)
        await stopped(task)
        assert "<Manager widgets: stopping, not leading, 1 informers>" == repr(manager)

    play(scene)


def test_controllers_belong_to_one_manager() -> None:
    """A controller that has a manager can't be added to another one."""

    async def scene(stage: Stage) -> None:
        manager = stage.manager()
        controller = stage.controller(manager.informer(WIDGETS))
        manager.add(controller)
        with pytest.raises(ConfigurationError, match="belongs to a manager already"):
            stage.manager("other").add(controller)

    play(scene)


def test_requests_are_enqueued_by_hand() -> None:
    """What a host enqueues is reconciled, though nothing in the cache has changed."""

    async def scene(stage: Stage) -> None:
        manager = stage.manager(elected=False)
        controller = stage.controller(manager.informer(WIDGETS))
        manager.add(controller)
        task = asyncio.create_task(manager.run())
        await until(lambda: "reconciled b" in stage.story)
        controller.enqueue(Request("z"))
        await until(lambda: "reconciled z" in stage.story)
        await stopped(task)

    play(scene)
