from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeipam.runtime.errors import QueueShutDown
from nodeipam.runtime.metrics import Metrics
from nodeipam.runtime.ratelimit import Backoff
from nodeipam.runtime.workqueue import Lane, WorkQueue
from nodeipam.testing.loop import VirtualClock, run_virtual

LIVE, BACKGROUND = Lane.LIVE, Lane.BACKGROUND
EXACT = Backoff(base=1.0, cap=100.0, jitter=0.0)


def _queue(metrics: Metrics | None = None, backoff: Backoff = EXACT) -> WorkQueue[str]:
    return WorkQueue(
        "q", clock=VirtualClock(), rng=random.Random(1), backoff=backoff, metrics=metrics or Metrics()
    )


def _with_queue(main: Callable[[WorkQueue[str]], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        return await main(_queue())

    return run_virtual(run())


async def _finish_all(queue: WorkQueue[str]) -> list[str]:
    """Work off what is queued, and return it in order."""
    keys = []
    while queue:
        keys.append(await queue.get())
        queue.done(keys[-1])
    return keys


class TestOneHand:
    def test_waiting_key_is_handed_out_once(self) -> None:
        """Adding a key that waits already changes nothing, not even its place."""

        async def main(queue: WorkQueue[str]) -> list[str]:
            for key in "abab":
                queue.add(key)
            return await _finish_all(queue)

        assert ["a", "b"] == _with_queue(main)

    def test_add_during_work(self) -> None:
        """A key added while in work isn't handed to a second worker, and comes again when it is done."""

        async def main(queue: WorkQueue[str]) -> tuple[int, int, str]:
            queue.add("a")
            await queue.get()
            queue.add("a")
            queue.add("a")
            during = len(queue)
            queue.done("a")
            return during, len(queue), await queue.get()

        assert (0, 1, "a") == _with_queue(main)

    def test_done_without_get(self) -> None:
        """Giving back a key that isn't in work is a mistake that is said."""

        async def main(queue: WorkQueue[str]) -> None:
            queue.add("a")
            queue.done("a")

        with pytest.raises(ValueError, match="'a' was given back to the work queue q, but isn't in work"):
            _with_queue(main)


class TestWaiting:
    def test_waiters_are_served_in_order(self) -> None:
        """Workers that wait get keys in the order in which they began to wait."""

        async def main(queue: WorkQueue[str]) -> list[str]:
            async with asyncio.TaskGroup() as tasks:
                workers = [tasks.create_task(queue.get()) for _ in range(2)]
                await asyncio.sleep(1.0)
                queue.add("a")
                queue.add("b")
            return [worker.result() for worker in workers]

        assert ["a", "b"] == _with_queue(main)

    @pytest.mark.parametrize("turns", range(3))
    def test_cancelled_get_loses_no_key(self, turns: int) -> None:
        """However far a get was woken when it is cancelled, the key goes to the next who waits."""

        async def main(queue: WorkQueue[str]) -> str:
            async with asyncio.TaskGroup() as tasks:
                first = tasks.create_task(queue.get())
                second = tasks.create_task(queue.get())
                await asyncio.sleep(1.0)
                if turns == 0:
                    first.cancel()
                queue.add("a")
                first.cancel()
                if turns == 2:
                    second.cancel()
                    return await queue.get()
            return second.result()

        assert "a" == _with_queue(main)

    def test_cancel_after_the_key_was_taken(self) -> None:
        """Once get has returned, the key is in work: whoever is cancelled then gives it back."""

        async def main(queue: WorkQueue[str]) -> str:
            async def worker() -> None:
                key = await queue.get()
                try:
                    await asyncio.sleep(1000.0)
                finally:
                    queue.add(key)
                    queue.done(key)

            task = asyncio.create_task(worker())
            await asyncio.sleep(0)
            queue.add("a")
            await asyncio.sleep(1.0)
            task.cancel()
            return await queue.get()

        assert "a" == _with_queue(main)

    @given(st.data())
    @settings(max_examples=100, deadline=None)
    def test_random_cancels_lose_nothing(self, data: st.DataObject) -> None:
        """Whatever is cancelled when, each key is worked on after its last add, never twice at a time."""

        async def main(queue: WorkQueue[str]) -> None:
            working: set[str] = set()
            unseen: set[str] = set()

            async def worker() -> None:
                while True:
                    key = await queue.get()
                    assert key not in working
                    working.add(key)
                    unseen.discard(key)
                    queue.done(key)
                    working.discard(key)
                    await asyncio.sleep(0)

            workers = [asyncio.create_task(worker()) for _ in range(3)]
            for _ in range(data.draw(st.integers(1, 20))):
                for key in data.draw(st.lists(st.sampled_from("abc"), max_size=3)):
                    unseen.add(key)
                    queue.add(key)
                for victim in data.draw(st.sets(st.integers(0, 2), max_size=2)):
                    workers[victim].cancel()
                    workers[victim] = asyncio.create_task(worker())
                for _ in range(data.draw(st.integers(0, 2))):
                    await asyncio.sleep(0)
            await asyncio.sleep(1.0)
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            assert (set(), 0) == (unseen, len(queue))

        _with_queue(main)


class TestLanes:
    def test_live_first(self) -> None:
        """What just happened goes before the initial list."""

        async def main(queue: WorkQueue[str]) -> list[str]:
            queue.add("old", BACKGROUND)
            queue.add("new", LIVE)
            return await _finish_all(queue)

        assert ["new", "old"] == _with_queue(main)

    def test_background_gets_one_turn_in_eight(self) -> None:
        """A stream of live keys doesn't starve the background: every eighth key is one of its."""

        async def main(queue: WorkQueue[str]) -> list[str]:
            for number in range(3):
                queue.add(f"background {number}", BACKGROUND)
            for number in range(20):
                queue.add(f"live {number}")
            return await _finish_all(queue)

        keys = _with_queue(main)
        assert [7, 15, 22] == [place for place, key in enumerate(keys) if key.startswith("background")]

    def test_live_add_moves_key_up(self) -> None:
        """A key of the initial list to which something happens is live from then on, and only there."""

        async def main(queue: WorkQueue[str]) -> list[str]:
            for key in "abc":
                queue.add(key, BACKGROUND)
            queue.add("c", LIVE)
            queue.add("c", BACKGROUND)
            return await _finish_all(queue)

        assert ["c", "a", "b"] == _with_queue(main)

    def test_live_add_during_work(self) -> None:
        """A key that is added in both lanes while in work comes back in the live one."""

        async def main(queue: WorkQueue[str]) -> list[str]:
            queue.add("a")
            await queue.get()
            queue.add("b", BACKGROUND)
            queue.add("a", BACKGROUND)
            queue.add("a", LIVE)
            queue.done("a")
            return await _finish_all(queue)

        assert ["a", "b"] == _with_queue(main)

    def test_retry_stays_in_its_lane(self) -> None:
        """A failed key of the background is retried there."""

        async def main(queue: WorkQueue[str]) -> list[str]:
            queue.add("a", BACKGROUND)
            await queue.get()
            queue.retry("a")
            queue.done("a")
            await asyncio.sleep(10.0)
            queue.add("b", LIVE)
            return await _finish_all(queue)

        assert ["b", "a"] == _with_queue(main)


class TestDelays:
    def test_added_when_due(self) -> None:
        """A delayed key comes at its time, to whoever waits by then."""

        async def main(queue: WorkQueue[str]) -> tuple[str, float]:
            queue.add_after("a", 5.0)
            assert 0 == len(queue)
            return await queue.get(), asyncio.get_running_loop().time()

        assert ("a", 5.0) == _with_queue(main)

    @pytest.mark.parametrize("delays", [(5.0, 9.0), (9.0, 5.0)])
    def test_earliest_wins(self, delays: tuple[float, float]) -> None:
        """Of several delayed adds of a key only the earliest counts."""

        async def main(queue: WorkQueue[str]) -> tuple[float, int]:
            for delay in delays:
                queue.add_after("a", delay)
            queue.done(await queue.get())
            at = asyncio.get_running_loop().time()
            await asyncio.sleep(100.0)
            return at, len(queue)

        assert (5.0, 0) == _with_queue(main)

    def test_immediate_add_takes_the_delayed_one_out(self) -> None:
        """A key added at once isn't handed out again at the time of its earlier delayed add."""

        async def main(queue: WorkQueue[str]) -> int:
            queue.add_after("a", 5.0)
            queue.add("a")
            queue.done(await queue.get())
            await asyncio.sleep(100.0)
            return len(queue)

        assert 0 == _with_queue(main)

    def test_waiting_key_needs_no_delay(self) -> None:
        """A delayed add of a key that waits already, or will again, is covered by its turn."""

        async def main(queue: WorkQueue[str]) -> int:
            queue.add("a")
            queue.add_after("a", 5.0)
            await queue.get()
            queue.add("a")
            queue.add_after("a", 5.0)
            queue.done("a")
            queue.done(await queue.get())
            await asyncio.sleep(100.0)
            return len(queue)

        assert 0 == _with_queue(main)

    @pytest.mark.parametrize("delay", [0.0, -3.0])
    def test_no_delay(self, delay: float) -> None:
        """A delay that isn't positive is none."""

        async def main(queue: WorkQueue[str]) -> int:
            queue.add_after("a", delay)
            return len(queue)

        assert 1 == _with_queue(main)

    def test_one_timer(self) -> None:
        """However many keys are delayed, there is one timer, and none when all have come."""

        async def main(queue: WorkQueue[str]) -> tuple[int, int]:
            loop = asyncio.get_running_loop()
            timers: Callable[[], int] = lambda: sum(  # noqa: E731
                not handle.cancelled()
                for handle in loop._scheduled  # type: ignore[attr-defined]  # noqa: SLF001
            )
            for number in range(100, 0, -1):
                queue.add_after(f"{number}", float(number))
            during = timers()
            await asyncio.sleep(1000.0)
            await _finish_all(queue)
            return during, timers()

        assert (1, 0) == _with_queue(main)

    def test_many_due_at_once(self) -> None:
        """Thousands of keys that are due together come in slices, in order, at that time."""

        async def main(queue: WorkQueue[str]) -> tuple[int, int, float]:
            for number in range(2000):
                queue.add_after(f"{number}", 5.0)
            await queue.get()
            first = len(queue)
            while len(queue) < 1999:  # noqa: ASYNC110 - a slice a turn of the loop
                await asyncio.sleep(0)
            assert [f"{number}" for number in range(1, 2000)] == await _finish_all(queue)
            return first < 1000, len(queue), asyncio.get_running_loop().time()

        assert (True, 0, 5.0) == _with_queue(main)


class TestRetry:
    def test_backs_off_until_forgotten(self) -> None:
        """Each failure doubles the delay; after a success the next one is the first again."""

        async def main(queue: WorkQueue[str]) -> list[float]:
            delays = [queue.retry("a") for _ in range(3)]
            queue.forget("a")
            return [*delays, queue.retry("a"), queue.failures("a"), queue.failures("b")]

        assert [1.0, 2.0, 4.0, 1.0, 1, 0] == _with_queue(main)

    @pytest.mark.parametrize("at_least, expected", [(0.5, 1.0), (7.0, 7.0)])
    def test_at_least(self, at_least: float, expected: float) -> None:
        """A server's Retry-After lengthens the delay and never shortens it."""

        async def main(queue: WorkQueue[str]) -> tuple[float, float]:
            delay = queue.retry("a", at_least=at_least)
            await queue.get()
            return delay, asyncio.get_running_loop().time()

        assert (expected, expected) == _with_queue(main)


class TestShutDown:
    def test_drains(self) -> None:
        """After shut_down what is queued is handed out, what is delayed is not, and nothing is added."""

        async def main(queue: WorkQueue[str]) -> list[str]:
            queue.add("a")
            queue.add_after("b", 1.0)
            queue.shut_down()
            queue.add("c")
            queue.add_after("d", 0.0)
            queue.retry("e")
            await asyncio.sleep(100.0)
            keys = await _finish_all(queue)
            with pytest.raises(QueueShutDown, match="the work queue q was shut down"):
                await queue.get()
            return keys

        assert ["a"] == _with_queue(main)

    def test_key_added_while_in_work_before(self) -> None:
        """An add from before the shutdown isn't lost, though its key was in work."""

        async def main(queue: WorkQueue[str]) -> list[str]:
            queue.add("a")
            await queue.get()
            queue.add("a")
            queue.shut_down()
            queue.done("a")
            return await _finish_all(queue)

        assert ["a"] == _with_queue(main)

    def test_wakes_all_workers(self) -> None:
        """Workers that wait learn of the shutdown at once."""

        async def main(queue: WorkQueue[str]) -> list[BaseException | str]:
            workers = [asyncio.create_task(queue.get()) for _ in range(3)]
            await asyncio.sleep(1.0)
            queue.shut_down()
            return await asyncio.gather(*workers, return_exceptions=True)

        assert [QueueShutDown] * 3 == [type(error) for error in _with_queue(main)]

    def test_close_drops_everything(self) -> None:
        """A closed queue hands nothing out, while a worker may still give its key back."""

        async def main(queue: WorkQueue[str]) -> None:
            for key in "ab":
                queue.add(key)
            key = await queue.get()
            queue.add(key)
            queue.close()
            queue.done(key)
            await queue.get()

        with pytest.raises(QueueShutDown):
            _with_queue(main)


class TestMetrics:
    def test_as_client_go(self) -> None:
        """The seven series count what client-go's count, at the times at which it does."""
        metrics = Metrics()

        def value(name: str) -> float | None:
            return metrics.registry.get_sample_value(f"workqueue_{name}", {"name": "q"})

        async def main() -> None:
            queue = _queue(metrics)
            queue.add("a")
            queue.add("a")
            queue.add_after("b", 3.0)
            assert (1, 1, 1) == (value("depth"), value("adds_total"), value("retries_total"))
            await asyncio.sleep(2.0)
            await queue.get()
            assert (0, 2.0) == (value("depth"), value("queue_duration_seconds_sum"))
            queue.add("a")
            queue.add("a")
            assert (1, 2) == (value("depth"), value("adds_total"))
            await asyncio.sleep(2.0)
            await queue.get()
            await asyncio.sleep(3.0)
            assert (8.0, 5.0) == (
                value("unfinished_work_seconds"),
                value("longest_running_processor_seconds"),
            )
            queue.done("a")
            assert (5.0, 1) == (value("work_duration_seconds_sum"), value("work_duration_seconds_count"))
            assert (1, 3.0) == (value("depth"), value("longest_running_processor_seconds"))

        run_virtual(main())

    def test_next_queue_of_the_same_name(self) -> None:
        """A later queue goes on with the counters and takes the gauges over; closed, their series end."""
        metrics = Metrics()

        def depth() -> float | None:
            return metrics.registry.get_sample_value("workqueue_depth", {"name": "q"})

        async def main() -> None:
            first = _queue(metrics)
            first.add("a")
            second = _queue(metrics)
            second.add("b")
            second.add("c")
            first.close()
            assert 2 == depth()
            second.close()
            assert depth() is None
            assert 3 == metrics.registry.get_sample_value("workqueue_adds_total", {"name": "q"})

        run_virtual(main())

    def test_repr(self) -> None:
        """A person sees how much waits where."""

        async def main(queue: WorkQueue[str]) -> list[str]:
            queue.add("a")
            queue.add("b")
            queue.add("c", BACKGROUND)
            queue.add_after("d", 5.0)
            await queue.get()
            texts = [repr(queue)]
            queue.shut_down()
            return [*texts, repr(queue)]

        assert [
            "<WorkQueue q: 1 live, 1 background, 1 delayed, 1 in work>",
            "<WorkQueue q: 1 live, 1 background, 0 delayed, 1 in work, shutting down>",
        ] == _with_queue(main)


class TestMemory:
    def test_nothing_is_left(self) -> None:
        """When a queue has come to rest it holds no trace of the keys that went through it."""

        async def main(queue: WorkQueue[str]) -> dict[str, int]:
            for number in range(300):
                queue.add(f"{number}", Lane(number % 2))
                queue.add_after(f"{number % 7} later", float(number))
            for _ in range(4):  # each key fails twice, then succeeds
                await asyncio.sleep(1000.0)
                while queue:
                    key = await queue.get()
                    if queue.failures(key) == 2:
                        queue.forget(key)
                    else:
                        queue.retry(key)
                    queue.done(key)
            state = vars(queue)
            return {name: len(state[name]) for name in state if hasattr(state[name], "__len__")}

        assert {"_name": 1} == {name: size for name, size in _with_queue(main).items() if size}

    def test_superseded_delays(self) -> None:
        """A key that is delayed and added at once over and over leaves no heap of past delays."""

        async def main(queue: WorkQueue[str]) -> int:
            for _ in range(10_000):
                queue.add_after("a", 1000.0)
                queue.add("a")
                queue.done(await queue.get())
            return len(queue._delays._heap)  # noqa: SLF001

        assert _with_queue(main) < 20

    def test_delays_taken_out(self) -> None:
        """Delays that were all taken out by immediate adds leave no heap until they would have been due."""

        async def main(queue: WorkQueue[str]) -> int:
            for number in range(1000):
                queue.add_after(f"{number}", 1000.0)
            for number in range(1000):
                queue.add(f"{number}")
            return len(queue._delays._heap)  # noqa: SLF001

        assert _with_queue(main) < 20


class _Reference:
    """client-go's queue as its documentation tells it, with lanes: lists and sets, and nothing clever."""

    def __init__(self) -> None:
        self.queue: list[tuple[str, Lane]] = []
        self.again: dict[str, Lane] = {}
        self.processing: set[str] = set()
        self.delayed: dict[str, tuple[float, int, Lane]] = {}
        self.number = 0
        self.passed_over = 0
        self.shut = False

    def add(self, key: str, lane: Lane) -> None:
        if self.shut:
            return
        if key in self.delayed:
            lane = min(lane, self.delayed.pop(key)[2])
        if key in self.processing:
            self.again[key] = min(lane, self.again.get(key, lane))
            return
        if (key, LIVE) in self.queue or (key, lane) in self.queue:
            return
        if (key, BACKGROUND) in self.queue:
            self.queue.remove((key, BACKGROUND))
        self.queue.append((key, lane))

    def add_after(self, key: str, now: float, delay: float, lane: Lane) -> None:
        waits = key in self.again or key in [queued for queued, _ in self.queue]
        if delay <= 0:
            self.add(key, lane)
        elif not self.shut and not waits:
            self.number += 1
            due, number, earlier_lane = self.delayed.get(key, (now + delay, self.number, lane))
            if now + delay < due:
                due, number = now + delay, self.number
            self.delayed[key] = (due, number, min(lane, earlier_lane))

    def pass_time(self, now: float) -> None:
        for key, (due, _, lane) in sorted(self.delayed.items(), key=lambda item: item[1][:2]):
            if due <= now:
                self.add(key, lane)

    def get(self) -> str | None:
        lanes = [lane for _, lane in self.queue]
        if not lanes:
            return None
        turn = LIVE if LIVE in lanes else BACKGROUND
        if BACKGROUND in lanes and self.passed_over >= 7:
            turn = BACKGROUND
        self.passed_over = self.passed_over + 1 if turn is LIVE and BACKGROUND in lanes else 0
        key, _ = self.queue.pop(lanes.index(turn))
        self.processing.add(key)
        return key

    def done(self, key: str) -> None:
        self.processing.remove(key)
        if key in self.again:
            self.queue.append((key, self.again.pop(key)))

    def shut_down(self) -> None:
        self.shut = True
        self.delayed.clear()


_KEYS = st.sampled_from("abcdefghijkl")
_LANES = st.sampled_from(Lane)
_STEPS = st.one_of(
    st.tuples(st.just("add"), _KEYS, _LANES),
    st.tuples(st.just("add"), _KEYS, _LANES),
    st.tuples(st.just("add_after"), _KEYS, st.integers(0, 8), _LANES),
    st.tuples(st.just("get")),
    st.tuples(st.just("get")),
    st.tuples(st.just("done"), st.integers(0, 11)),
    st.tuples(st.just("pass_time"), st.integers(1, 5)),
)


class TestAgainstReference:
    @given(st.lists(_STEPS, max_size=80), st.lists(_STEPS, max_size=20))
    @settings(max_examples=300, deadline=None)
    def test_same_keys_in_the_same_order(self, before: list[Any], after: list[Any]) -> None:
        """Over any schedule, shutdown in its midst, it hands out what the reference does."""

        async def main(queue: WorkQueue[str]) -> None:
            reference = _Reference()
            for step in [*before, ("shut_down",), *after]:
                await self._step(queue, reference, *step)
                assert len(reference.queue) == len(queue)

        _with_queue(main)

    async def _step(self, queue: WorkQueue[str], reference: _Reference, verb: str, *args: Any) -> None:
        now = asyncio.get_running_loop().time()
        match verb, args:
            case "add", (key, lane):
                queue.add(key, lane)
                reference.add(key, lane)
            case "add_after", (key, delay, lane):
                queue.add_after(key, delay, lane)
                reference.add_after(key, now, delay, lane)
            case "get", ():
                expected = reference.get()
                assert expected is None or expected == await queue.get()
            case "done", (number,) if reference.processing:
                key = sorted(reference.processing)[number % len(reference.processing)]
                queue.done(key)
                reference.done(key)
            case "pass_time", (seconds,):
                await asyncio.sleep(seconds)
                reference.pass_time(now + seconds)
            case "shut_down", ():
                queue.shut_down()
                reference.shut_down()
