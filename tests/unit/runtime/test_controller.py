from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from nodeipam.runtime.controller import Controller, Reconciler, Result, Source
from nodeipam.runtime.delivery import Handler
from nodeipam.runtime.errors import (
    APIError,
    ConfigurationError,
    LeadershipLost,
    TerminalError,
    TransportError,
)
from nodeipam.runtime.metrics import Metrics
from nodeipam.runtime.objects import ObjectMeta, PartialObject, Request, Resource
from nodeipam.runtime.ratelimit import Backoff
from nodeipam.testing.loop import VirtualClock, run_virtual

WIDGETS = Resource("example.com/v1", "Widget", plural="widgets", namespaced=False, type=PartialObject)
EXACT = Backoff(base=1.0, cap=100.0, jitter=0.0)
A, B, C = Request("a"), Request("b"), Request("c")


def _widget(name: str) -> PartialObject:
    return PartialObject(ObjectMeta(name=name))


class _Informer:
    """The part of an informer that a controller sees, driven by hand."""

    resource = WIDGETS

    def __init__(self) -> None:
        self.handlers: list[Handler[PartialObject]] = []
        self.synced = asyncio.Event()
        self.behind: dict[Request, list[Callable[[], None]]] = {}

    def add_handler(self, handler: Handler[PartialObject]) -> _Subscription:
        self.handlers.append(handler)
        return _Subscription(self, handler)

    def current(self, request: Request) -> bool:
        return request not in self.behind

    def notify(self, request: Request, callback: Callable[[], None]) -> None:
        self.behind[request].append(callback)

    def catch_up(self, request: Request) -> None:
        for callback in self.behind.pop(request):
            callback()


class _Subscription:
    def __init__(self, informer: _Informer, handler: Handler[PartialObject]) -> None:
        self._informer = informer
        self._handler = handler

    async def wait_synced(self) -> None:
        await self._informer.synced.wait()

    def remove(self) -> None:
        self._informer.handlers.remove(self._handler)


class _Scene:
    """One controller, running, on one informer."""

    def __init__(self, reconcile: Reconciler, *, synced: bool = True, **options: Any) -> None:
        self.metrics = Metrics()
        self.informer = _Informer()
        if synced:
            self.informer.synced.set()
        self.controller = Controller(
            "widgets", reconcile, sources=[self.informer], **{"backoff": EXACT, **options}
        )
        self.controller.bind(clock=VirtualClock(), rng=random.Random(1), metrics=self.metrics)

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(
            f"controller_runtime_{name}", {"controller": "widgets", **labels}
        )

    def results(self) -> dict[str, float | None]:
        names = ("success", "error", "requeue_after", "requeue")
        return {name: value for name in names if (value := self.value("reconcile_total", result=name))}

    async def after(self, seconds: float, *requests: Request) -> None:
        """Start it, enqueue `requests`, and stop it after `seconds`."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.controller.run())
            await asyncio.sleep(0)
            for request in requests:
                self.controller.enqueue(request)
            await asyncio.sleep(seconds)
            self.controller.stop()


class _Recorder:
    """A reconciler that records when it was called for what, and then does what it is told."""

    def __init__(self, *outcomes: Result | BaseException | float | None) -> None:
        self._outcomes = [*outcomes]
        self.calls: list[tuple[str, float]] = []

    async def __call__(self, request: Request) -> Result | None:
        self.calls.append((request.name, asyncio.get_running_loop().time()))
        outcome = self._outcomes.pop(0) if self._outcomes else None
        if isinstance(outcome, BaseException):
            raise outcome
        if isinstance(outcome, float):
            await asyncio.sleep(outcome)
            return None
        return outcome


def _run(reconcile: Reconciler, main: Callable[[_Scene], Awaitable[Any]], **options: Any) -> _Scene:
    async def scene() -> _Scene:
        made = _Scene(reconcile, **options)
        await main(made)
        return made

    return run_virtual(scene())


class TestResults:
    def test_success(self) -> None:
        """A reconcile that returns None is a success, and that's that."""
        reconcile = _Recorder()
        scene = _run(reconcile, lambda scene: scene.after(1000.0, A))

        assert ([("a", 0.0)], {"success": 1}) == (reconcile.calls, scene.results())
        assert 1 == scene.value("reconcile_time_seconds_count")

    def test_requeue_after(self) -> None:
        """A reconcile that asks for it is called again after so many seconds."""
        reconcile = _Recorder(Result(requeue_after=60.0), Result())
        scene = _run(reconcile, lambda scene: scene.after(1000.0, A))

        assert [("a", 0.0), ("a", 60.0)] == reconcile.calls
        assert {"requeue_after": 1, "success": 1} == scene.results()

    def test_series_are_there_from_the_start(self) -> None:
        """All series of a controller exist, with 0, before anything has happened."""

        async def main(scene: _Scene) -> None:
            pass

        scene = _run(_Recorder(), main, workers=3)
        for result in ("success", "error", "requeue_after", "requeue"):
            assert 0 == scene.value("reconcile_total", result=result)
        for name in (
            "reconcile_errors",
            "terminal_reconcile_errors",
            "reconcile_panics",
            "reconcile_timeouts",
        ):
            assert 0 == scene.value(f"{name}_total")
        assert (0, 3) == (scene.value("active_workers"), scene.value("max_concurrent_reconciles"))


class TestFailures:
    def test_backs_off_until_success(self) -> None:
        """A failing request is retried after growing delays; after a success they start anew."""
        no = TransportError("refused")
        reconcile = _Recorder(no, no, no, Result(requeue_after=100.0), no)
        scene = _run(reconcile, lambda scene: scene.after(1000.0, A))

        assert [0.0, 1.0, 3.0, 7.0, 107.0, 108.0] == [at for _, at in reconcile.calls]
        assert {"error": 4, "requeue_after": 1, "success": 1} == scene.results()
        assert 4 == scene.value("reconcile_errors_total")

    def test_retry_after(self) -> None:
        """What the API server asks for in Retry-After is waited for."""
        reconcile = _Recorder(APIError(429, "TooManyRequests", "slow down", retry_after=30.0))
        _run(reconcile, lambda scene: scene.after(1000.0, A))

        assert [("a", 0.0), ("a", 30.0)] == reconcile.calls

    def test_terminal_error(self) -> None:
        """A TerminalError isn't retried; the request is looked at again when something changes."""
        reconcile = _Recorder(TerminalError("the widget is nonsense"))

        async def main(scene: _Scene) -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(scene.controller.run())
                await asyncio.sleep(0)
                scene.controller.enqueue(A)
                await asyncio.sleep(1000.0)
                scene.informer.handlers[0].on_update(_widget("a"), _widget("a"))
                await asyncio.sleep(1.0)
                scene.controller.stop()

        scene = _run(reconcile, main)
        assert [("a", 0.0), ("a", 1000.0)] == reconcile.calls
        assert (1, 1) == (
            scene.value("terminal_reconcile_errors_total"),
            scene.value("reconcile_errors_total"),
        )

    @pytest.mark.parametrize(
        "error, panics",
        [(KeyError("x"), 1), (TypeError("x"), 1), (OSError("x"), 0), (APIError(500, "", "x"), 0)],
    )
    def test_panics(self, error: Exception, panics: int) -> None:
        """A programming error counts as what Go calls a panic, besides being an error; both are retried."""
        reconcile = _Recorder(error)
        scene = _run(reconcile, lambda scene: scene.after(10.0, A))

        assert (panics, 1) == (scene.value("reconcile_panics_total"), scene.value("reconcile_errors_total"))
        assert 2 == len(reconcile.calls)

    def test_timeout(self) -> None:
        """A reconcile that takes too long is cancelled, counted and retried."""
        reconcile = _Recorder(1000.0)
        scene = _run(reconcile, lambda scene: scene.after(100.0, A), timeout=5.0)

        assert [("a", 0.0), ("a", 6.0)] == reconcile.calls
        assert (1, {"error": 1, "success": 1}) == (scene.value("reconcile_timeouts_total"), scene.results())

    def test_timeout_of_its_own(self) -> None:
        """A TimeoutError that the reconciler raises is an error as any other, not ours."""
        scene = _run(_Recorder(TimeoutError()), lambda scene: scene.after(100.0, A))

        assert (0, 1) == (scene.value("reconcile_timeouts_total"), scene.value("reconcile_errors_total"))

    def test_no_timeout(self) -> None:
        """Without a timeout a reconcile may take as long as it likes."""
        scene = _run(_Recorder(1e6), lambda scene: scene.after(2e6, A), timeout=None)

        assert {"success": 1} == scene.results()

    def test_leadership_lost(self, caplog: pytest.LogCaptureFixture) -> None:
        """What fails for want of leadership is told once a run, and tried again when the term has ended."""
        reconcile = _Recorder(*(LeadershipLost("over") for _ in range(5)))

        async def main(scene: _Scene) -> None:
            await scene.after(10.0, A, B, C)
            await scene.after(100.0, A, B)

        scene = _run(reconcile, main)
        again = [("a", 10.0), ("b", 10.0), ("a", 40.0), ("b", 40.0)]
        assert [("a", 0.0), ("b", 0.0), ("c", 0.0), *again] == reconcile.calls
        assert {"success": 2, "error": 5} == scene.results()
        said = ("WARNING", "reconciles fail since leadership is lost", "a", "LeadershipLost: over")
        assert [said, said] == [
            (r.levelname, r.getMessage(), r.key, r.error)  # type: ignore[attr-defined]
            for r in caplog.records
        ]

    def test_stray_cancel(self) -> None:
        """A CancelledError that wasn't meant for the worker is a failure, and doesn't cost us the worker."""
        reconcile = _Recorder(asyncio.CancelledError())
        scene = _run(reconcile, lambda scene: scene.after(10.0, A))

        assert [("a", 0.0), ("a", 1.0)] == reconcile.calls
        assert {"error": 1, "success": 1} == scene.results()

    def test_task_group_that_fails_inside(self) -> None:
        """A reconciler's own failing task group, which on 3.11 leaves a cancel counted, changes nothing."""
        calls = []

        async def reconcile(request: Request) -> None:
            calls.append(request)
            if len(calls) < 3:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_raise(KeyError("x")))

        async def _raise(error: Exception) -> None:
            await asyncio.sleep(0)
            raise error

        scene = _run(reconcile, lambda scene: scene.after(10.0, A))
        assert {"error": 2, "success": 1} == scene.results()

    @pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
    def test_what_is_no_error_ends_the_controller(self, error: BaseException) -> None:
        """What wants to end the process isn't held up."""
        with pytest.raises(type(error)):
            _run(_Recorder(error), lambda scene: scene.after(10.0, A))


class TestLog:
    def test_failing_run(self, caplog: pytest.LogCaptureFixture) -> None:
        """Each failing run is one line: the key, the error, how often by now, and when it is tried again."""
        no = APIError(409, "Conflict", "changed meanwhile")
        _run(_Recorder(no, no), lambda scene: scene.after(100.0, A))

        assert [
            ("WARNING", "reconcile failed", "widgets", "a", "APIError: 409 Conflict: changed meanwhile", n, t)
            for n, t in ((1, 1.0), (2, 2.0))
        ] == [
            (r.levelname, r.getMessage(), r.controller, r.key, r.error, r.failures, r.retry_in)  # type: ignore[attr-defined]
            for r in caplog.records
        ]
        assert [None, None] == [record.exc_info for record in caplog.records]

    def test_unexpected(self, caplog: pytest.LogCaptureFixture) -> None:
        """An error that is none of the runtime's comes with its traceback."""
        error = KeyError("spec")
        _run(_Recorder(error), lambda scene: scene.after(100.0, A))

        (record,) = caplog.records
        assert ("ERROR", "reconcile failed unexpectedly") == (record.levelname, record.getMessage())
        assert record.exc_info is not None
        assert error is record.exc_info[1]

    def test_terminal(self, caplog: pytest.LogCaptureFixture) -> None:
        """A TerminalError is one line that says that it won't be retried."""
        _run(_Recorder(TerminalError("nonsense")), lambda scene: scene.after(100.0, A))

        assert ["reconcile failed, and retrying can't help"] == [r.getMessage() for r in caplog.records]

    def test_quiet(self, caplog: pytest.LogCaptureFixture) -> None:
        """What goes well is not worth a line."""
        caplog.set_level(logging.INFO)
        _run(_Recorder(), lambda scene: scene.after(100.0, A, B))

        assert [] == [record for record in caplog.records if record.name.startswith("nodeipam")]


class TestSources:
    def test_events_are_reconciled(self) -> None:
        """Added, changed and deleted objects are each looked at; those of the initial list last."""
        reconcile = _Recorder()

        async def main(scene: _Scene) -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(scene.controller.run())
                await asyncio.sleep(0)
                (handler,) = scene.informer.handlers
                handler.on_add(_widget("a"), initial=True)
                handler.on_add(_widget("b"), initial=False)
                handler.on_delete(_widget("c"))
                scene.informer.synced.set()
                await asyncio.sleep(1.0)
                scene.controller.stop()

        _run(reconcile, main, synced=False)
        assert ["b", "c", "a"] == [name for name, _ in reconcile.calls]

    def test_nothing_before_all_are_synced(self) -> None:
        """No worker starts before every source's handler has processed its initial list."""
        reconcile = _Recorder()

        async def main() -> None:
            informers = [_Informer(), _Informer()]
            controller = Controller("widgets", reconcile, sources=[informers[0], Source(informers[1])])
            controller.bind(clock=VirtualClock(), rng=random.Random(1), metrics=Metrics())
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(controller.run())
                await asyncio.sleep(0)
                informers[0].handlers[0].on_add(_widget("a"), initial=True)
                for informer in informers:
                    await asyncio.sleep(5.0)
                    informer.synced.set()
                await asyncio.sleep(5.0)
                controller.stop()

        run_virtual(main())
        assert [("a", 10.0)] == reconcile.calls

    def test_own_writes_are_read(self) -> None:
        """A request whose object we wrote to isn't reconciled before the cache shows that, then it is."""
        reconcile = _Recorder()

        async def main(scene: _Scene) -> None:
            scene.informer.behind[A] = []
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(scene.controller.run())
                await asyncio.sleep(0)
                scene.controller.enqueue(A)
                scene.controller.enqueue(B)
                await asyncio.sleep(7.0)
                scene.informer.catch_up(A)
                await asyncio.sleep(1.0)
                scene.controller.stop()

        scene = _run(reconcile, main)
        assert [("b", 0.0), ("a", 7.0)] == reconcile.calls
        assert {"success": 2} == scene.results()

    def test_mapped_sources_have_no_say_in_that(self) -> None:
        """The cache of another kind, from which requests are mapped, isn't asked about a request's object."""
        reconcile = _Recorder()

        async def main() -> None:
            informer = _Informer()
            informer.synced.set()
            informer.behind[A] = []
            controller = Controller("widgets", reconcile, sources=[Source(informer, map=lambda _: [A])])
            controller.bind(clock=VirtualClock(), rng=random.Random(1), metrics=Metrics())
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(controller.run())
                await asyncio.sleep(0)
                controller.enqueue(A)
                await asyncio.sleep(1.0)
                controller.stop()

        run_virtual(main())
        assert [("a", 0.0)] == reconcile.calls


class TestWorkers:
    def test_side_by_side(self) -> None:
        """Different requests are reconciled at the same time, as many as there are workers."""
        reconcile = _Recorder(10.0, 10.0, 10.0)

        async def main(scene: _Scene) -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(scene.after(100.0, A, B, C))
                await asyncio.sleep(5.0)
                assert 2 == scene.value("active_workers")

        scene = _run(reconcile, main, workers=2)
        assert [("a", 0.0), ("b", 0.0), ("c", 10.0)] == reconcile.calls
        assert 0 == scene.value("active_workers")

    def test_never_the_same_twice(self) -> None:
        """A request that is enqueued while it is being reconciled waits for that to end."""
        reconcile = _Recorder(10.0)

        async def main(scene: _Scene) -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(scene.after(100.0, A))
                await asyncio.sleep(5.0)
                scene.controller.enqueue(A)

        _run(reconcile, main, workers=2)
        assert [("a", 0.0), ("a", 10.0)] == reconcile.calls

    def test_others_get_their_turns(self) -> None:
        """Thousands of reconciles that never wait for anything don't keep the event loop for themselves."""

        class TickingClock(VirtualClock):
            readings = 0

            def monotonic(self) -> float:
                self.readings += 1
                return self.readings / 1000

        async def main() -> int:
            reconcile = _Recorder()
            controller = Controller("widgets", reconcile, workers=2)
            controller.bind(clock=TickingClock(), rng=random.Random(1), metrics=Metrics())
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(controller.run())
                await asyncio.sleep(0)
                for number in range(3000):
                    controller.enqueue(Request(f"{number}"))
                turns = 0
                while len(reconcile.calls) < 3000:
                    await asyncio.sleep(0)
                    turns += 1
                controller.stop()
            return turns

        assert 3000 / 64 / 2 <= run_virtual(main())

    def test_enqueue_after(self) -> None:
        """A request can be made to come at a later time."""
        reconcile = _Recorder()

        async def main(scene: _Scene) -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(scene.after(100.0))
                await asyncio.sleep(1.0)
                scene.controller.enqueue_after(A, 20.0)

        _run(reconcile, main)
        assert [("a", 21.0)] == reconcile.calls


class TestEnd:
    def test_stop_lets_running_reconciles_end(self) -> None:
        """After stop the running reconcile ends in its own time, nothing else is begun, and run returns."""
        reconcile = _Recorder(10.0)
        ended = []

        async def main(scene: _Scene) -> None:
            await scene.after(5.0, A, B)
            ended.append(asyncio.get_running_loop().time())

        scene = _run(reconcile, main)
        assert ([("a", 0.0)], [10.0], {"success": 1}) == (reconcile.calls, ended, scene.results())
        assert [] == scene.informer.handlers

    def test_stop_before_synced(self) -> None:
        """A controller that still waits for its sources can be stopped as well, even twice."""

        async def main(scene: _Scene) -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(scene.controller.run())
                await asyncio.sleep(5.0)
                scene.controller.stop()
                scene.controller.stop()

        assert [] == _run(_Recorder(), main, synced=False).informer.handlers

    def test_stop_in_the_turn_of_an_event(self) -> None:
        """A request that a waiting worker was just woken for isn't begun after stop."""
        reconcile = _Recorder()

        async def main(scene: _Scene) -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(scene.controller.run())
                await asyncio.sleep(5.0)
                scene.controller.enqueue(A)
                scene.controller.stop()

        _run(reconcile, main)
        assert [] == reconcile.calls

    @pytest.mark.parametrize("synced", [True, False])
    def test_cancel(self, synced: bool) -> None:  # noqa: FBT001
        """Cancelled, it cancels its reconciles, awaits them, takes its handlers back, and counts no error."""
        cleaned = []

        async def reconcile(request: Request) -> None:
            try:
                await asyncio.sleep(1000.0)
            finally:
                await asyncio.sleep(3.0)
                cleaned.append(request)

        async def main(scene: _Scene) -> None:
            running = asyncio.create_task(scene.controller.run())
            await asyncio.sleep(0)
            scene.controller.enqueue(A)
            await asyncio.sleep(5.0)
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled()

        scene = _run(reconcile, main, synced=synced)
        assert [A][: int(synced)] == cleaned
        assert ([], {}) == (scene.informer.handlers, scene.results())
        assert (0, 0) == (scene.value("reconcile_errors_total"), scene.value("active_workers"))

    def test_swallowed_cancel(self) -> None:
        """A reconciler that swallows its cancel can't keep the controller from ending."""

        async def reconcile(_: Request) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1000.0)

        async def main(scene: _Scene) -> None:
            running = asyncio.create_task(scene.controller.run())
            await asyncio.sleep(0)
            scene.controller.enqueue(A)
            await asyncio.sleep(5.0)
            running.cancel()
            async with asyncio.timeout(1.0):
                await asyncio.wait([running])
            assert running.cancelled()

        _run(reconcile, main)

    @pytest.mark.parametrize("after", range(12))
    def test_cancel_anywhere(self, after: int) -> None:
        """In whichever step a cancel comes, no handler and no series of the queue is left behind."""

        async def main(scene: _Scene) -> None:
            running = asyncio.create_task(scene.controller.run())
            for step in range(after):
                await asyncio.sleep(0)
                scene.controller.enqueue(Request(f"{step}"))
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled()
            depth = scene.metrics.registry.get_sample_value("workqueue_depth", {"name": "widgets"})
            assert ([], None) == (scene.informer.handlers, depth)

        _run(_Recorder(*[0.0] * 5), main, workers=2)


class TestTerms:
    def test_runs_again(self) -> None:
        """A later term starts afresh: what was queued or failed in the one before is forgotten."""
        reconcile = _Recorder(TransportError("refused"), TransportError("refused"))

        async def main(scene: _Scene) -> None:
            await scene.after(0.5, A)
            await asyncio.sleep(100.0)
            await scene.after(10.0, A)

        scene = _run(reconcile, main)
        assert [("a", 0.0), ("a", 100.5), ("a", 101.5)] == reconcile.calls
        assert {"error": 2, "success": 1} == scene.results()

    def test_standby_collects_nothing(self) -> None:
        """Between terms enqueue and stop do nothing, so that no keys pile up on a standby."""
        reconcile = _Recorder()

        async def main(scene: _Scene) -> None:
            scene.controller.stop()
            scene.controller.enqueue(A)
            scene.controller.enqueue_after(B, 1.0)
            await asyncio.sleep(5.0)
            await scene.after(10.0)

        _run(reconcile, main)
        assert [] == reconcile.calls


class TestUse:
    def test_not_twice_at_a_time(self) -> None:
        """It can't run twice at the same time: there would be two workers for one request."""

        async def main(scene: _Scene) -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(scene.after(5.0))
                await asyncio.sleep(1.0)
                with pytest.raises(RuntimeError, match="the controller widgets runs already"):
                    await scene.controller.run()

        _run(_Recorder(), main)

    def test_bound_once(self) -> None:
        """It needs a manager to run, and belongs to one only."""
        controller = Controller("widgets", _Recorder())
        running: Coroutine[Any, Any, None] = controller.run()
        with pytest.raises(RuntimeError, match="widgets was not added to a manager"):
            run_virtual(running)

        controller.bind(clock=VirtualClock(), rng=random.Random(1), metrics=Metrics())
        with pytest.raises(ConfigurationError, match="widgets belongs to a manager already"):
            controller.bind(clock=VirtualClock(), rng=random.Random(1), metrics=Metrics())

    @pytest.mark.parametrize(
        "wrong, said",
        [
            ({"workers": 0}, "workers=0"),
            ({"timeout": 0.0}, "timeout=0.0"),
            ({"timeout": -1.0}, "timeout=-1.0"),
        ],
    )
    def test_impossible_numbers(self, wrong: dict[str, Any], said: str) -> None:
        """Numbers that can't work are refused where they are given, and the message repeats them."""
        with pytest.raises(ConfigurationError, match=said):
            Controller("widgets", _Recorder(), **wrong)

    def test_repr(self) -> None:
        """A person sees whether it runs, and what waits."""

        async def main(scene: _Scene) -> None:
            assert "<Controller widgets: 1 workers, not running>" == repr(scene.controller)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(scene.after(5.0))
                await asyncio.sleep(1.0)
                assert (
                    "<Controller widgets: 1 workers, "
                    "<WorkQueue widgets: 0 live, 0 background, 0 delayed, 0 in work>>"
                ) == repr(scene.controller)

        _run(_Recorder(), main)
