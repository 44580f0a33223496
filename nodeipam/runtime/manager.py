"""Starts and stops the parts of a controller process in the right order, and tells whether it is well.

Start: server, informers, what needs no leadership, elector, gates, controllers. Stop: not ready, queues,
running reconciles, informers, the lease, events, server. Whatever ends the manager, it first stops in this
order; then `run` raises the one cause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar, cast, overload

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
from .store import IndexFunction
from .tasks import all_of

__all__ = ["Manager", "ManagerOptions", "Runnable"]

log = get_logger(__name__)

T = TypeVar("T")

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
        self.identity = (
            self.elector.identity
            if self.elector is not None
            else f"{self.options.name}_{client.rng.getrandbits(128):032x}"
        )
        """The name of this process in the lease and in events; no other has it, ever: fences rely on that."""
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
        self._drained = asyncio.Event()
        self._reconciling = 0
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failures: list[Exception] = []
        self.liveness.add("event-loop", self._check_loop)
        self.liveness.add("leader-election", self._check_election)
        self.readiness.add("running", self._check_running)
        self.readiness.add("leader-election", self._check_lock)

    def __repr__(self) -> str:
        state = (
            "stopping" if self._stopping.is_set() else "running" if self._life is not None else "not started"
        )
        term = repr(self._lease) if self._lease is not None else "not leading"
        return f"<Manager {self.options.name}: {state}, {term}, {len(self._informers)} informers>"

    @property
    def leading(self) -> bool:
        """Whether this process leads now, gates included."""
        return self._lease is not None

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

    @overload
    def informer(
        self,
        resource: Resource[T],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        transform: None = None,
        indexes: Mapping[str, IndexFunction[T]] | None = None,
        options: ReflectorOptions | None = None,
    ) -> Informer[T]: ...

    @overload
    def informer(
        self,
        resource: Resource[Any],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        transform: Callable[[Any], T],
        indexes: Mapping[str, IndexFunction[T]] | None = None,
        options: ReflectorOptions | None = None,
    ) -> Informer[T]: ...

    def informer(
        self,
        resource: Resource[Any],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        transform: Callable[[Any], Any] | None = None,
        indexes: Mapping[str, IndexFunction[Any]] | None = None,
        options: ReflectorOptions | None = None,
    ) -> Informer[Any]:
        """Make an informer that starts with the manager; its arguments are those of :class:`Informer`.

        Readiness tells when it can't list or watch, in the check `informer-<resource>`.
        """
        informer: Informer[Any] = Informer(
            resource,
            self.client,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            transform=transform,
            indexes=indexes,
            options=options,
        )
        same = sum(other.resource == resource for other in self._informers)
        self._informers.append(informer)
        name = f"informer-{resource}" + (f"-{same + 1}" if same else "")
        self.readiness.add(name, lambda: _check_informer(informer))
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
        raised; what failed meanwhile, if anything did, is its cause.

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
                (self._stopping if cancelled is None else self._drained).set()
                cancelled = error
        failure = life.exception()
        if cancelled is not None:
            if failure is not None:
                log.error("failed, but was cancelled too", exc_info=failure)
            raise cancelled from failure
        if failure is not None:
            raise failure

    async def synced(self) -> None:
        """Wait until `run` was called and every informer's handlers have processed the initial list.

        Raises:
            Exception: what `run` raised, if it ended first.
            RuntimeError: `run` was cancelled first.
        """
        await self._begun.wait()
        life = cast("asyncio.Task[None]", self._life)
        waiting = asyncio.create_task(self._wait_synced())
        try:
            await asyncio.wait({waiting, life}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(waiting)
        if not waiting.cancelled() and waiting.exception() is not None:
            await asyncio.wait({life})  # informers only fail with the manager, and it knows the cause
        if life.done():
            life.result()
        if waiting.cancelled() or waiting.exception() is not None:
            raise RuntimeError("the manager ended before its informers were synced")

    async def _live(self) -> None:
        """Start, wait for a reason to stop, stop, tell the reason. The server comes first and goes last."""
        server = self._server()
        if server is not None:
            await server.start()
        try:
            self._start("informers", self._inform)
            self._start("events", self.events.run)
            self._start("runnables", self._run_always)
            self._start("work", self._campaign)
            await self._stopping.wait()
            await self._stop()
        finally:
            self._stopping.set()
            for task in reversed(self._tasks.values()):
                await _end(task)
            if server is not None:
                await server.close()
        if self._failures:
            raise self._failures[0]

    def _server(self) -> Server | None:
        if self.options.server is None:
            return None
        return Server(
            self.options.server,
            liveness=self.liveness,
            readiness=self.readiness,
            registry=self.client.metrics.registry,
        )

    def _start(self, name: str, part: Callable[[], Awaitable[None]]) -> None:
        self._tasks[name] = asyncio.create_task(self._watched(part), name=f"{self.options.name} {name}")

    async def _watched(self, part: Callable[[], Awaitable[None]]) -> None:
        """Run one part; its end is no reason to stop, its failure is: in good order, not at once."""
        try:
            await part()
        except Exception as error:
            if self._failures and error is not self._failures[0]:
                log.exception("failed while stopping")
            self._failures.append(error)
            self._stopping.set()

    async def _inform(self) -> None:
        await all_of(informer.run() for informer in self._informers)

    async def _wait_synced(self) -> None:
        await all_of(informer.wait_synced() for informer in self._informers)

    async def _run_always(self) -> None:
        await self._wait_synced()
        await all_of(self._watched(partial(self._run, runnable, None)) for runnable in self._always)

    async def _campaign(self) -> None:
        await self._wait_synced()
        log.info("synced", informers=[repr(informer) for informer in self._informers])
        if self.elector is not None:
            await self.elector.run(self._lead, campaign_again=self.options.campaign_again)
            return
        lease = Lease.unelected(clock=self.client.clock, identity=self.identity)
        try:
            await self._lead(lease)
        finally:
            lease.end("the manager has stopped")

    async def _lead(self, lease: Lease) -> None:
        """One term: the gates, then all that needs leadership, until it is cancelled."""
        self._lease = lease
        try:
            for gate in self._gates:
                await gate(lease)
            await all_of(self._watched(partial(self._run, runnable, lease)) for runnable in self._leading)
            await asyncio.get_running_loop().create_future()  # a term doesn't end for want of work
        finally:
            self._lease = None
            if self._stopping.is_set():
                await _end(self._tasks["informers"])

    async def _run(self, runnable: Runnable, lease: Lease | None) -> None:
        if self._stopping.is_set():
            return  # a controller that begins now would never be told to stop
        reconciles = isinstance(runnable, Controller)
        self._reconciling += reconciles
        try:
            await runnable.run()
        except LeadershipLost:
            if lease is None or lease.valid:
                raise  # else the elector is about to end this term
        finally:
            self._reconciling -= reconciles
            if self._stopping.is_set() and not self._reconciling:
                self._drained.set()

    async def _stop(self) -> None:
        """Bring everything to an end in good order, within the deadline."""
        log.info("stopping")
        for controller in self._controllers:
            controller.stop()
        try:
            async with asyncio.timeout(self.options.deadline):
                await self._drain()
                for name in ("runnables", "work", "informers"):
                    await _end(self._tasks[name])
                await self.events.flush(_FLUSH)
                await _end(self._tasks["events"])
        except TimeoutError:
            log.warning("the stop took too long: what is left is cancelled", deadline=self.options.deadline)

    async def _drain(self) -> None:
        """Give running reconciles their time to end by themselves."""
        if not self._reconciling:
            return
        try:
            async with asyncio.timeout(self.options.drain):
                await self._drained.wait()
        except TimeoutError:
            log.warning("running reconciles are cancelled", drain=self.options.drain)

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

    def _check_lock(self) -> None:
        problem = self.elector.problem if self.elector is not None else None
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
