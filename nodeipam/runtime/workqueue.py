"""The work queue: which keys to look at, and when. A key is never in two hands, and no add is ever lost.

It keeps the contract of client-go's queue. What was added while it waited is handed out once; what was added
while it was in work is handed out again after that. A key has one due time: the earliest of its delayed adds,
and at once if it is added at once. Everything but the wait in :meth:`WorkQueue.get` is synchronous.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from .clock import Clock, Rng
from .errors import QueueShutDown
from .lanes import Add, Lane, Ready
from .metrics import Metrics
from .ratelimit import Backoff

__all__ = ["Lane", "WorkQueue"]

K = TypeVar("K", bound=Hashable)

_SLICE = 500
"""Delayed keys that become due in one go (about a millisecond), before the event loop has its turn."""


class WorkQueue(Generic[K]):
    """Keys to be worked on, each by one worker at a time.

    A worker calls :meth:`get`, works, then calls :meth:`forget` or :meth:`retry`, and always :meth:`done`.
    `name` labels the metrics; a queue made later under the same name goes on with the same series. Delays and
    ages are on `clock.monotonic()`. Delayed adds need a running event loop, for one timer in all.
    """

    def __init__(
        self, name: str, *, clock: Clock, rng: Rng, backoff: Backoff | None = None, metrics: Metrics
    ) -> None:
        self._name = name
        self._clock = clock
        self._rng = rng
        self._backoff = Backoff() if backoff is None else backoff
        self._ready: Ready[K] = Ready()
        self._processing: dict[K, Add] = {}  # since: when it was handed out
        self._again: dict[K, Add] = {}  # added while in work
        self._delays: _Delays[K] = _Delays()
        self._failures: dict[K, int] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._shutting_down = False
        self._metrics = metrics
        self._adds = metrics.workqueue_adds.labels(name)
        self._retries = metrics.workqueue_retries.labels(name)
        self._waited = metrics.workqueue_queue_duration.labels(name)
        self._worked = metrics.workqueue_work_duration.labels(name)
        metrics.workqueue_depth.attach(name, self._depth)
        metrics.workqueue_unfinished_work.attach(name, self._unfinished)
        metrics.workqueue_longest_running_processor.attach(name, self._longest)

    def __repr__(self) -> str:
        live, background = self._ready.sizes()
        return (
            f"<WorkQueue {self._name}: {live} live, {background} background, {len(self._delays)} delayed, "
            f"{len(self._processing)} in work{', shutting down' if self._shutting_down else ''}>"
        )

    def __len__(self) -> int:
        """How many keys could be handed out now; delayed ones and those in work don't count."""
        return len(self._ready)

    @property
    def shutting_down(self) -> bool:
        """Whether :meth:`shut_down` was called: nothing is added any more."""
        return self._shutting_down

    def add(self, key: K, lane: Lane = Lane.LIVE) -> None:
        """Have `key` handed out as soon as it isn't in work; a delayed add of it is taken out.

        Does nothing when the queue is shutting down.
        """
        if not self._shutting_down:
            self._add(key, lane)

    def add_after(self, key: K, delay: float, lane: Lane = Lane.LIVE) -> None:
        """Add `key` after `delay` seconds, at once if that isn't positive; the earliest delay wins.

        Does nothing when the key waits to be handed out anyway, or when the queue is shutting down.
        """
        if self._shutting_down:
            return
        self._retries.inc()
        if delay <= 0:
            self._add(key, lane)
        elif key not in self._ready and key not in self._again:
            self._delays.add(key, self._clock.monotonic() + delay, lane)
            self._set_timer()

    def retry(self, key: K, *, at_least: float = 0.0) -> float:
        """Count a failure of `key`, and add it after its backoff or `at_least` seconds, the longer.

        It stays in the lane from which it was handed out. Returns the delay in seconds.
        """
        failures = self._failures[key] = self.failures(key) + 1
        delay = max(self._backoff.delay(failures, self._rng), at_least)
        run = self._processing.get(key)
        self.add_after(key, delay, Lane.LIVE if run is None else run.lane)
        return delay

    def forget(self, key: K) -> None:
        """Say that `key` succeeded, or isn't to be retried: its next failure is the first again."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """How often `key` was retried since it was last forgotten."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """Wait for a key and take it into work: nobody else is given it until :meth:`done`.

        Cancelling it loses no key.

        Raises:
            QueueShutDown: the queue was shut down, and everything that was queued has been handed out.
        """
        while not self._ready:
            if self._shutting_down:
                raise QueueShutDown(f"the work queue {self._name} was shut down")
            await self._woken()
        now = self._clock.monotonic()
        key, add = self._ready.pop()
        self._processing[key] = Add(add.lane, now)
        self._waited.observe(now - add.since)
        return key

    def done(self, key: K) -> None:
        """Say that the work on `key` has ended; it is queued again if it was added meanwhile.

        Raises:
            ValueError: `key` isn't in work.
        """
        run = self._processing.pop(key, None)
        if run is None:
            raise ValueError(f"{key!r} was given back to the work queue {self._name}, but isn't in work")
        self._worked.observe(self._clock.monotonic() - run.since)
        again = self._again.pop(key, None)
        if again is not None:
            self._ready.add(key, again)
            self._wake_one()

    def shut_down(self) -> None:
        """Take nothing more in and drop what is delayed; what is queued is still handed out."""
        self._shutting_down = True
        self._delays.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for _ in range(len(self._waiters)):
            self._wake_one()

    def close(self) -> None:
        """Shut down, drop what is queued as well, and end the gauges of this queue."""
        self.shut_down()
        self._ready.clear()
        self._again.clear()
        self._failures.clear()
        self._metrics.workqueue_depth.detach(self._name, self._depth)
        self._metrics.workqueue_unfinished_work.detach(self._name, self._unfinished)
        self._metrics.workqueue_longest_running_processor.detach(self._name, self._longest)

    def _add(self, key: K, lane: Lane) -> None:
        add = Add(min(lane, self._delays.discard(key)), self._clock.monotonic())
        if key in self._processing:
            earlier = self._again.get(key)
            if earlier is None:
                self._adds.inc()
                self._again[key] = add
            elif add.lane < earlier.lane:
                self._again[key] = earlier._replace(lane=add.lane)
        elif self._ready.add(key, add):
            self._adds.inc()
            self._wake_one()

    async def _woken(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):
                self._waiters.remove(waiter)
            if self._ready:  # the wake-up may have been for us, and then nobody else knows of the key
                self._wake_one()
            raise

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _set_timer(self) -> None:
        due = self._delays.next_due()
        if due is None or (self._timer is not None and self._timer_due <= due):
            return  # a timer that comes too early sets the next one
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        wait = max(0.0, due - self._clock.monotonic())
        self._timer = asyncio.get_running_loop().call_later(wait, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        for key, lane in self._delays.pop_due(self._clock.monotonic(), _SLICE):
            self._add(key, lane)
        self._set_timer()

    def _depth(self) -> float:
        return len(self._ready) + len(self._again)

    def _unfinished(self) -> float:
        now = self._clock.monotonic()
        return sum(now - run.since for run in tuple(self._processing.values()))

    def _longest(self) -> float:
        now = self._clock.monotonic()
        return max((now - run.since for run in tuple(self._processing.values())), default=0.0)


class _Delays(Generic[K]):
    """Keys with the time when they are due and their lane; one entry a key.

    The heap may hold entries that no longer count, but never more of them than of those that do.
    """

    def __init__(self) -> None:
        self._due: dict[K, tuple[float, int, Lane]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._number = 0  # tells entries of the same time apart: first come, first due

    def __len__(self) -> int:
        return len(self._due)

    def add(self, key: K, due: float, lane: Lane) -> None:
        known = self._due.get(key)
        if known is not None:
            lane = min(lane, known[2])
            if known[0] <= due:
                self._due[key] = (known[0], known[1], lane)
                return
        self._number += 1
        self._due[key] = (due, self._number, lane)
        heapq.heappush(self._heap, (due, self._number, key))
        self._compact()

    def discard(self, key: K) -> Lane:
        """Take the key out and return its lane, the least urgent one if it isn't there."""
        known = self._due.pop(key, None)
        if known is None:
            return Lane.BACKGROUND
        self._compact()
        return known[2]

    def next_due(self) -> float | None:
        while self._heap and not self._counts(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float, limit: int) -> Iterator[tuple[K, Lane]]:
        """Take out at most `limit` keys that are due."""
        for _ in range(limit):
            due = self.next_due()
            if due is None or due > now:
                return
            _, _, key = heapq.heappop(self._heap)
            yield key, self._due.pop(key)[2]

    def clear(self) -> None:
        self._due.clear()
        self._heap.clear()

    def _counts(self, entry: tuple[float, int, K]) -> bool:
        known = self._due.get(entry[2])
        return known is not None and known[1] == entry[1]

    def _compact(self) -> None:
        if len(self._heap) > 2 * len(self._due) + 8:
            self._heap = [(due, number, key) for key, (due, number, _) in self._due.items()]
            heapq.heapify(self._heap)
