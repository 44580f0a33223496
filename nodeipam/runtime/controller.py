"""A controller: sources feed its queue, its workers reconcile, and what fails is tried again.

The same request is never in two workers. No worker starts before the initial list of every source has been
processed, and a request waits while the cache is behind what this process itself has written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from prometheus_async import aio

from .clock import Clock, Rng
from .errors import APIError, ConfigurationError, KubeError, LeadershipLost, QueueShutDown, TerminalError
from .logs import get_logger
from .metrics import Metrics
from .objects import Request
from .ratelimit import Backoff
from .slices import Slices
from .source import Feed, Observed, Source, Subscription
from .tasks import TaskScope
from .workqueue import Lane, WorkQueue

__all__ = ["Controller", "Reconciler", "Result", "Source"]

_log = get_logger(__name__)

_PANICS = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, TypeError)
"""What Python raises where a Go program would panic: on a nil dereference, an index out of range, a division
by zero, a failed type assertion. controller-runtime recovers panics, and counts them apart from errors."""
_TERM_END = 30.0
"""Seconds for which nothing is tried again that failed for want of leadership: the term has ended by then."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a reconciler may return after a success; None is the same as an empty Result."""

    requeue_after: float | None = None
    """Seconds after which to look again, even if nothing changes; an earlier change takes its place."""


Reconciler: TypeAlias = Callable[[Request], Awaitable[Result | None]]
"""Brings the world closer to what the object of that name says.

It is told which object, never what happened to it, and must bear being called at any time. It may raise
anything; what it raises is retried, but for TerminalError. After LeadershipLost that is half a minute later:
the term is ending, its controller with it, and the next term begins with everything. It is cancelled when it
takes too long, and when its controller ends."""


@dataclass(frozen=True, slots=True)
class _Surroundings:
    clock: Clock
    rng: Rng
    metrics: Metrics


class Controller:
    """Calls a reconciler for whatever its sources report.

    Args:
        name: for logs, and the label of its metrics.
        reconcile: see :data:`Reconciler`.
        sources: what it is told about; an informer alone stands for `Source(informer)`.
        workers: how many reconciles may run at the same time.
        timeout: seconds after which a reconcile is cancelled, counted and retried; None: never.
        backoff: how long a failed request waits.
        needs_leader: whether a manager runs it only while leading.

    Raises:
        ConfigurationError: the numbers can't work.
    """

    def __init__(
        self,
        name: str,
        reconcile: Reconciler,
        *,
        sources: Sequence[Source[Any] | Observed[Any]] = (),
        workers: int = 1,
        timeout: float | None = 120.0,
        backoff: Backoff | None = None,
        needs_leader: bool = True,
    ) -> None:
        if not name or workers < 1 or (timeout is not None and not timeout > 0):
            raise ConfigurationError(
                f"a Controller needs a name, 1 or more workers and a positive timeout (or None), "
                f"not {name!r}, workers={workers} and timeout={timeout}"
            )
        self.name = name
        self.workers = workers
        self.timeout = timeout
        self.needs_leader = needs_leader
        self._reconcile = reconcile
        self._sources = [source if isinstance(source, Source) else Source(source) for source in sources]
        self._backoff = Backoff() if backoff is None else backoff
        self._surroundings: _Surroundings | None = None
        self._queue: WorkQueue[Request] | None = None
        self._syncing: asyncio.Timeout | None = None
        self._active = 0
        self._lost = False
        self._log = _log.bind(controller=name)

    def __repr__(self) -> str:
        state = "not running" if self._queue is None else repr(self._queue)
        return f"<Controller {self.name}: {self.workers} workers, {state}>"

    def bind(self, *, clock: Clock, rng: Rng, metrics: Metrics) -> None:
        """Give it what it needs to run, and show its metrics from now on. A manager does this, once.

        Raises:
            ConfigurationError: it belongs to a manager already.
        """
        if self._surroundings is not None:
            raise ConfigurationError(f"the controller {self.name} belongs to a manager already")
        self._surroundings = _Surroundings(clock, rng, metrics)
        # A series that appears with its first increment hides that increment from rate().
        self._results = {
            result: metrics.reconcile.labels(self.name, result)
            for result in ("error", "requeue_after", "requeue", "success")
        }
        self._errors = metrics.reconcile_errors.labels(self.name)
        self._terminal_errors = metrics.terminal_reconcile_errors.labels(self.name)
        self._panics = metrics.reconcile_panics.labels(self.name)
        self._timeouts = metrics.reconcile_timeouts.labels(self.name)
        self._time = metrics.reconcile_time.labels(self.name)
        metrics.active_workers.attach(self.name, lambda: self._active)
        metrics.max_concurrent_reconciles.labels(self.name).set(self.workers)

    def enqueue(self, request: Request, lane: Lane = Lane.LIVE) -> None:
        """Have `request` reconciled soon. Does nothing while not running: the next run begins with all."""
        if self._queue is not None:
            self._queue.add(request, lane)

    def enqueue_after(self, request: Request, seconds: float) -> None:
        """Have `request` reconciled after `seconds`, or earlier. Does nothing while not running."""
        if self._queue is not None:
            self._queue.add_after(request, seconds)

    async def run(self) -> None:
        """Watch the sources and reconcile until stopped; may be called again after it has returned.

        Returns after :meth:`stop`, once the running reconciles have ended. Cancelling it cancels them, and
        awaits them. Either way its handlers are gone afterwards, and so is what was queued.

        Raises:
            RuntimeError: it isn't bound yet, or runs already.
        """
        if self._surroundings is None:
            raise RuntimeError(f"the controller {self.name} was not added to a manager, nor bound")
        if self._queue is not None:
            raise RuntimeError(f"the controller {self.name} runs already")
        around = self._surroundings
        queue = self._queue = WorkQueue[Request](
            self.name, clock=around.clock, rng=around.rng, backoff=self._backoff, metrics=around.metrics
        )
        self._lost = False
        subscriptions: list[Subscription] = []
        try:
            for source in self._sources:
                feed = Feed(source, queue.add)
                subscriptions.append(source.informer.add_handler(feed))
            await self._wait_synced(subscriptions)
            slices = Slices(around.clock)
            async with TaskScope() as scope:
                for number in range(self.workers):
                    scope.create_task(self._work(queue, scope, slices), name=f"{self.name} {number}")
        finally:
            for subscription in subscriptions:
                subscription.remove()
            self._queue = None
            queue.close()

    def stop(self) -> None:
        """Take up no further request, and let :meth:`run` return when the running reconciles have ended.

        Does nothing when it isn't running.
        """
        if self._queue is None or self._queue.shutting_down:
            return
        self._queue.shut_down()
        if self._syncing is not None:
            self._syncing.reschedule(asyncio.get_running_loop().time())

    async def _wait_synced(self, subscriptions: list[Subscription]) -> None:
        # A timeout without a time is asyncio's cancel scope: stop() lets it expire.
        self._syncing = asyncio.timeout(None)
        try:
            async with self._syncing:
                for subscription in subscriptions:
                    await subscription.wait_synced()
        except TimeoutError:
            if not self._syncing.expired():
                raise
        finally:
            self._syncing = None

    async def _work(self, queue: WorkQueue[Request], scope: TaskScope, slices: Slices) -> None:
        while not scope.ending:  # a reconciler may have swallowed the cancel, and no other would come
            try:
                request = await queue.get()
            except QueueShutDown:
                return
            try:
                if queue.shutting_down:
                    return  # what is still queued is left to the next run, which begins with all
                if self._is_current(request):
                    await self._process(queue, request, scope)
            finally:
                queue.done(request)
            if slices.spent():  # thousands of reconciles that find nothing to do never wait for anything
                await slices.rest()

    def _is_current(self, request: Request) -> bool:
        """Whether the caches show our own writes to this object; if not, it comes again once they do."""
        for source in self._sources:
            if source.identity and not source.informer.current(request):
                source.informer.notify(request, lambda: self.enqueue(request))
                return False
        return True

    async def _process(self, queue: WorkQueue[Request], request: Request, scope: TaskScope) -> None:
        self._active += 1
        try:
            result = await aio.time(self._time, self._attempt(request, scope))
        except TerminalError as error:
            self._count_error()
            self._terminal_errors.inc()
            queue.forget(request)
            self._log.error("reconcile failed, and retrying can't help", key=str(request), error=_say(error))
        except LeadershipLost as error:
            self._count_error()
            queue.retry(request, at_least=_TERM_END)
            self._tell_lost(request, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is logged and retried
            self._count_error()
            self._retry(queue, request, error)
        else:
            queue.forget(request)
            if result is None or result.requeue_after is None:
                self._results["success"].inc()
            else:
                self._results["requeue_after"].inc()
                queue.add_after(request, result.requeue_after, Lane.BACKGROUND)
        finally:
            self._active -= 1

    def _count_error(self) -> None:
        self._results["error"].inc()
        self._errors.inc()

    async def _attempt(self, request: Request, scope: TaskScope) -> Result | None:
        deadline = asyncio.timeout(self.timeout)
        try:
            async with deadline:
                return await self._reconcile(request)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            self._timeouts.inc()
            raise TimeoutError(f"the reconcile took longer than {self.timeout:g} s") from error
        except asyncio.CancelledError as cancelled:
            if scope.ending:
                raise
            # Nobody cancelled this worker: the reconciler awaited something else that was cancelled. Let
            # through, it would end the worker without a word, as a task group takes no notice of it.
            raise RuntimeError("the reconcile awaited something that was cancelled") from cancelled

    def _tell_lost(self, request: Request, error: LeadershipLost) -> None:
        """Once a run: the first of perhaps thousands that all end like this says it for all."""
        if not self._lost:
            self._lost = True
            self._log.warning("reconciles fail since leadership is lost", key=str(request), error=_say(error))

    def _retry(self, queue: WorkQueue[Request], request: Request, error: Exception) -> None:
        if isinstance(error, _PANICS):
            self._panics.inc()
        wish = error.retry_after if isinstance(error, APIError) else None
        delay = queue.retry(request, at_least=wish or 0.0)
        log = self._log.bind(
            key=str(request),
            error=_say(error),
            failures=queue.failures(request),
            retry_in=None if queue.shutting_down else round(delay, 3),
        )
        if isinstance(error, KubeError):
            log.warning("reconcile failed")
        else:
            log.error("reconcile failed unexpectedly", exc_info=error)


def _say(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
