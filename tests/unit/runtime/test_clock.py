from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC

from nodeipam.runtime import Clock, Rng, SystemClock, system_rng
from nodeipam.runtime.lanes import Lane
from nodeipam.runtime.metrics import Metrics
from nodeipam.runtime.ratelimit import Backoff
from nodeipam.runtime.workqueue import WorkQueue
from nodeipam.testing import VirtualLoop


class TestMonotonic:
    def test_is_the_loops_time(self) -> None:
        """Where a loop runs, monotonic() is that loop's time, whatever it counts by."""

        async def main() -> float:
            await asyncio.sleep(1000.0)
            return SystemClock().monotonic()

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            assert 1000.0 == runner.run(main())

    def test_has_a_value_outside_of_a_loop(self) -> None:
        """Where no loop runs, monotonic() goes on where a loop's time would be."""
        before = time.monotonic()

        async def main() -> float:
            return SystemClock().monotonic()

        within = asyncio.run(main())
        assert before <= within <= SystemClock().monotonic() <= time.monotonic()

    def test_metrics_are_scraped_from_a_thread(self) -> None:
        """A scrape in another thread gets the ages of what is queued, and no error."""
        metrics = Metrics()
        found: list[float | None] = []

        def scrape() -> None:
            labels = {"name": "q"}
            found.append(metrics.registry.get_sample_value("workqueue_depth", labels))
            found.append(
                metrics.registry.get_sample_value("workqueue_longest_running_processor_seconds", labels)
            )

        async def main() -> None:
            queue: WorkQueue[str] = WorkQueue(
                "q", clock=SystemClock(), rng=system_rng(), backoff=Backoff(), metrics=metrics
            )
            for key in ("a", "b"):
                queue.add(key, Lane.LIVE)
            await queue.get()
            thread = threading.Thread(target=scrape)
            thread.start()
            thread.join()
            queue.close()

        asyncio.run(main())
        depth, age = found
        assert 1.0 == depth
        assert age is not None
        assert 0.0 <= age < 10.0


class TestElapsed:
    def test_counts_suspend(self) -> None:
        """elapsed() is the clock that goes on while the machine sleeps."""
        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        assert before <= SystemClock().elapsed() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_wall_is_utc() -> None:
    """wall() has a time zone, and it is UTC."""
    assert UTC is SystemClock().wall().tzinfo


def test_protocols() -> None:
    """The system's clock and random source are a Clock and an Rng."""
    assert isinstance(SystemClock(), Clock)
    assert isinstance(system_rng(), Rng)
    assert 0 <= system_rng().random() < 1
