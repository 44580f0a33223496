"""Starts and stops the parts of a controller process in the right order, and tells whether it is well.

Start: server, informers, what needs no leadership, elector, gates, controllers. Stop: not ready, queues,
running reconciles, informers, the lease, events, server. Whatever ends the manager, it first stops in this
order; then `run` raises the one cause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from .client import Client
from .controller import Controller
from .election import Election, Elector, Lease
from .errors import ConfigurationError, LeadershipLost
from .events import EventRecorder
from .informer import Informer
from .logs import get_logger
from .objects import Resource
from .reflector import ReflectorOptions
from .server import Checks, HealthError, Server
from .tasks import TaskScope, all_of, the_cause

__all__ = ["Manager", "ManagerOptions", "Runnable"]

log = get_logger(__name__)

_FLUSH = 2.0
"""Seconds that events may take to be sent when all else has ended."""
_LAG = 5.0
"""Seconds that one turn of the event loop may take before the process counts as stuck."""


class Runnable(Protocol):
    """Anything that works until it is cancelled, or ends when there is nothing left to do."""

    @property
    def needs_leader(self) -> bool:
        """Whether it runs only while this process leads."""

    async def run(self) -> None:
        """Work. Returning means that there is nothing left to do; raising ends the manager."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ManagerOptions:
    """How a manager works. Every default is the one for a process that is all by itself."""

    name: str = "manager"
    """Who reports events: their reportingController."""
    election: Election | None = None
    """None: no election, this process leads from the start."""
    server: str | None = None
    """Where probes and metrics are served, as ":8081" or "127.0.0.1:8081". None: no server."""
    campaign_again: bool = True
    """After a lost lease; if False, `run` raises LeadershipLost."""
    drain: float = 10.0
    """Seconds that running reconciles get to end by themselves."""
    deadline: float = 25.0
    """Seconds for the whole stop; what is left then is cancelled."""

    def __post_init__(self) -> None:
        if not 0 <= self.drain < self.deadline:
            raise ConfigurationError(
                f"drain is 0 seconds or more and less than deadline, not {self.drain:g} and {self.deadline:g}"
            )


class Manager:
    """Owns informers, controllers and other runnables, and runs them until it is cancelled.

    Args:
        client: speaks to the API server; its clock, random source and metrics are everybody's.
        options: see `ManagerOptions`.

    Everything is added before `run` is called, and `run` is called once.
    """

    def __init__(self, client: Client, options: ManagerOptions | None = None) -> None:
        self.options = options or ManagerOptions()
        self.client = client
        self.liveness = Checks()
        """Checks of /healthz; more may be added."""
        self.readiness = Checks()
        """Checks of /readyz; more may be added."""
        self.elector = Elector(self.options.election, client) if self.options.election is not None else None
        self.events = EventRecorder(client, component=self.options.name, instance=self.identity)
        self._informers: list[Informer[Any]] = []
        self._controllers: list[Controller] = []
        self._leading: list[Runnable] = []
        self._always: list[Runnable] = []
        self._gates: list[Callable[[Lease], Awaitable[None]]] = []
        self._lease: Lease | None = None
        self._life: asyncio.Task[None] | None = None
        self._begun = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._busy = False
        self._informing: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.liveness.add("event-loop", self._check_loop)
        self.liveness.add("leader-election", self._check_election)
        self.readiness.add("running", self._check_running)

    def __repr__(self) -> str:
        state = (
            "stopping" if self._stopping.is_set() else "running" if self._life is not None else "not started"
        )
        term = repr(self._lease) if self._lease is not None else "not leading"
        return f"<Manager {self.options.name}: {state}, {term}, {len(self._informers)} informers>"

    @property
    def identity(self) -> str:
        """The name of this process in the lease and in events."""
        return self.elector.identity if self.elector is not None else self.options.name

    @property
    def lease(self) -> Lease:
        """The current term; reconcilers call its `check` in the step in which they write.

        Raises:
            LeadershipLost: this process doesn't lead now.
        """
        if self._lease is None:
            raise LeadershipLost("this process doesn't lead")
        return self._lease

    # What it consists of

    def informer(
        self,
        resource: Resource[Any],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        transform: Callable[[Any], Any] | None = None,
        indexes: Mapping[str, Callable[[Any], Iterable[Hashable]]] | None = None,
        options: ReflectorOptions | None = None,
    ) -> Informer[Any]:
        """Make an informer that starts with the manager. Readiness tells when it can't list or watch."""
        informer = Informer(
            resource,
            self.client,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            transform=transform,
            indexes=indexes,
            options=options,
        )
        self._informers.append(informer)
        self.readiness.add(f"informer-{resource.plural}", lambda: _check_informer(informer))
        return informer

    def add(self, runnable: Runnable) -> None:
        """Run something: under leadership if it `needs_leader`, else as soon as the informers are synced.

        Under leadership it starts once the gates are passed, in every term anew, and is cancelled at the
        term's end.
        """
        if isinstance(runnable, Controller):
            client = self.client
            runnable.bind(clock=client.clock, rng=client.rng, metrics=client.metrics)
            self._controllers.append(runnable)
        (self._leading if runnable.needs_leader else self._always).append(runnable)

    def gate(self, gate: Callable[[Lease], Awaitable[None]]) -> None:
        """Have `gate(lease)` awaited after each election won, before anything that needs leadership runs."""
        self._gates.append(gate)

    # Running

    async def run(self) -> None:
        """Run everything until cancelled, or until something that must not end does.

        The first cancel begins the stop: no new work, `drain` seconds for running reconciles, `deadline`
        seconds for all of it. A second cancel leaves out the drain. When all has ended, CancelledError is
        raised.

        Raises:
            ListenError: the server's address can't be bound.
            LeadershipLost: the lease was lost and `campaign_again` is False.
            Exception: whatever a runnable, a gate or an informer's handler raised; the cause itself.
        """
        if self._life is not None:
            raise RuntimeError("a Manager runs once")
        life = self._life = asyncio.create_task(self._live(), name=f"{self.options.name} manager")
        self._begun.set()
        cancelled: asyncio.CancelledError | None = None
        while not life.done():
            try:
                await asyncio.wait({life})
            except asyncio.CancelledError as error:
                (self._stopping if cancelled is None else self._hurrying).set()
                cancelled = error
        failure = life.exception()
        if cancelled is not None:
            if failure is not None:
                log.error("failed while stopping", exc_info=failure)
            raise cancelled
        if failure is not None:
            raise failure

    async def synced(self) -> None:
        """Wait until `run` was called and every informer's handlers have processed the initial list.

        Raises:
            Exception: what `run` raised, if it ended first.
            RuntimeError: `run` ended first, without an error.
        """
        await self._begun.wait()
        life = cast("asyncio.Task[None]", self._life)
        waiting = asyncio.create_task(all_of(informer.wait_synced() for informer in self._informers))
        try:
            await asyncio.wait({waiting, life}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(waiting)
        if life.done():
            life.result()
        if waiting.cancelled():
            raise RuntimeError("the manager ended before its informers were synced")
        waiting.result()

    async def _live(self) -> None:
        """Start, wait for a reason to stop, stop, tell the reason. The server comes first and goes last."""
        server = self._server()
        if server is not None:
            await server.start()
        try:
            self._informing = self._start("informers", all_of(informer.run() for informer in self._informers))
            self._start("work", self._work())
            await self._reason_to_stop()
            await self._stop()
        finally:
            self._stopping.set()
            for task in self._tasks:
                await _end(task)
            if server is not None:
                await server.close()
        for task in self._tasks:
            if not task.cancelled():
                task.result()

    def _server(self) -> Server | None:
        if self.options.server is None:
            return None
        return Server(
            self.options.server,
            liveness=self.liveness,
            readiness=self.readiness,
            registry=self.client.metrics.registry,
        )

    def _start(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine, name=f"{self.options.name} {name}")
        self._tasks.append(task)
        return task

    async def _reason_to_stop(self) -> None:
        """Wait for a cancel of `run`, a failure, or the end of the work."""
        told = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({told, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(told)

    async def _work(self) -> None:
        """Everything that comes after the informers are synced."""
        await all_of(informer.wait_synced() for informer in self._informers)
        log.info("synced", informers=[repr(informer) for informer in self._informers])
        try:
            async with TaskScope() as scope:
                always = [scope.create_task(self.events.run())]
                always += [scope.create_task(runnable.run()) for runnable in self._always]
                try:
                    await self._campaign()
                finally:
                    await self.events.flush(_FLUSH)
                for task in always:
                    task.cancel()
        except BaseExceptionGroup as failures:
            raise the_cause(failures) from None

    async def _campaign(self) -> None:
        if self.elector is not None:
            await self.elector.run(self._lead, campaign_again=self.options.campaign_again)
        else:
            await self._lead(Lease.unelected(clock=self.client.clock, identity=self.identity))

    async def _lead(self, lease: Lease) -> None:
        """One term: the gates, then all that needs leadership, until the controllers have been stopped."""
        self._lease = lease
        try:
            for gate in self._gates:
                await gate(lease)
            await self._guarded()
        finally:
            self._lease = None
            if self._stopping.is_set() and self._informing is not None:
                await _end(self._informing)

    async def _guarded(self) -> None:
        """Run what needs leadership until every controller has ended."""
        try:
            async with TaskScope() as scope:
                tasks = {scope.create_task(runnable.run()): runnable for runnable in self._leading}
                controllers = [task for task, runnable in tasks.items() if isinstance(runnable, Controller)]
                self._busy = True
                if tasks:
                    await asyncio.wait(controllers or tasks)
                for task in tasks:
                    task.cancel()
        except BaseExceptionGroup as failures:
            raise the_cause(failures) from None
        finally:
            self._busy = False

    async def _stop(self) -> None:
        """Bring the work to an end in good order, within the deadline."""
        self._stopping.set()
        for controller in self._controllers:
            controller.stop()
        try:
            async with asyncio.timeout(self.options.deadline):
                if self._busy:
                    await self._drain()
                for task in reversed(self._tasks):
                    await _end(task)
        except TimeoutError:
            log.warning("the stop took too long: what is left is cancelled", deadline=self.options.deadline)

    async def _drain(self) -> None:
        """Give running reconciles their time, unless in a hurry."""
        hurry = asyncio.create_task(self._hurrying.wait())
        try:
            work = self._tasks[-1]
            await asyncio.wait({work, hurry}, timeout=self.options.drain, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(hurry)

    # How it is

    async def _check_loop(self) -> None:
        began = self.client.clock.monotonic()
        await asyncio.sleep(0)
        lag = self.client.clock.monotonic() - began
        if lag > _LAG:
            raise HealthError(f"one turn of the event loop took {lag:.1f} s")

    def _check_election(self) -> None:
        problem = self.elector.health() if self.elector is not None else None
        if problem is not None:
            raise HealthError(problem)

    def _check_running(self) -> None:
        if self._life is None or self._stopping.is_set():
            raise HealthError("stopping" if self._stopping.is_set() else "not started")


def _check_informer(informer: Informer[Any]) -> None:
    if informer.problem is not None:
        raise HealthError(informer.problem)
    if not informer.synced:
        raise HealthError(f"{informer.resource} are being listed")


async def _end(task: asyncio.Task[Any]) -> None:
    """Cancel `task` and await it. Its error, if any, stays in it."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task})
