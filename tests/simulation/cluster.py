"""One simulated cluster: plays a Schedule with the real controller in it, and tells what came of it.

Everything that a replica can tell from a real machine and a real API server is the test kit's: the virtual
loop, hosts, links and the model. The controller is the one that `controllers.wiring.build` makes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextvars import Context
from dataclasses import replace
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import yaml

from nodeipam.api.cidr import parse_pod_cidr
from nodeipam.controllers import wiring
from nodeipam.controllers.settings import Settings
from nodeipam.runtime import Call, Client
from nodeipam.testing import (
    APIServer,
    Host,
    Link,
    ModelTransport,
    VirtualClock,
    VirtualLoop,
)

from .deeds import Deeds
from .observer import EXCLUDED, Observer, Writer
from .replica import LOCK, Replica, Tap
from .schedule import Schedule, Touch
from .verdict import Verdict

__all__ = ["Cluster", "Outcome"]

_CRD = Path(__file__).parents[2] / "manifests" / "crd.yaml"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one run."""

    violations: tuple[str, ...]
    """What must never happen and did, each beginning with the invariant and the time."""
    trace: str
    """A hash of every request, its time and its answer."""
    requests: int
    assigned: int
    """How many Nodes were given ranges."""
    seconds: float
    """Virtual seconds that it took."""
    cpu: float = 0.0
    """Seconds of CPU that it took."""


@cache
def _definition() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(_CRD.read_text())
    return found


class Cluster:
    """The server, the replicas, and what is done to them."""

    def __init__(self, schedule: Schedule, loop: VirtualLoop) -> None:
        self.schedule = schedule
        self.loop = loop
        self.server = APIServer()
        self.server.install(_definition())
        self.server.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": LOCK.namespace}})
        self.observer = Observer(self.server, now=lambda: loop.now)
        self.replicas = {run.name: Replica(run, Link(delay=self._delay)) for run in schedule.replicas}
        self.told: list[tuple[float, str]] = []
        """Time and text of each step that was taken."""
        self.deeds = Deeds(self)
        self._rng = random.Random(f"{schedule.seed}/delays")
        self._healed = False

    def _delay(self) -> float:
        return self._rng.random() * self.schedule.latency

    # A run

    async def play(self) -> Outcome:
        """Take all steps, then let it heal, and look at what is left. Leaves nothing running."""
        self._set_out()
        await self.wait(lambda: self.loop.now >= self.schedule.seconds)
        self._heal()
        await Verdict(self).reach()
        for replica in self.replicas.values():
            if replica.host is not None:
                replica.host.crash()
        return Outcome(
            violations=tuple(self.observer.violations),
            trace=self._trace(),
            requests=len(self.server.log),
            assigned=self.observer.assigned,
            seconds=self.loop.now,
        )

    async def wait(self, condition: Callable[[], bool], *, seconds: float = 10_000.0) -> bool:
        """Wait for a condition, or a violation; whether the condition came true in time."""
        until = self.loop.now + seconds
        while not (met := condition()):
            if self.observer.violations or self.loop.now >= until:
                break
            await asyncio.sleep(0.5)
        return met

    def heartbeat(self) -> None:
        """Have every Node change, as its kubelet's reports do."""
        for name in tuple(self.observer.nodes):
            self.deeds.perform(Touch(at=self.loop.now, node=name))

    @property
    def under_way(self) -> int:
        """How many messages have been sent and not arrived."""
        return sum(replica.link.under_way for replica in self.replicas.values())

    def land(self) -> None:
        """Have everything arrive that is still under way, however late it was to be."""
        for replica in self.replicas.values():
            replica.link.land()

    def _set_out(self) -> None:
        self.loop.set_exception_handler(self._complained)
        for run in self.schedule.replicas:
            self.loop.call_at(run.start, self.start, run.name)
        self.deeds.schedule(self.schedule.steps)

    def _complained(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback failed, a step's or a replica's: it would only be logged."""
        self.observer.violated("I7", f"{context['message']}: {context.get('exception')!r}")

    def _heal(self) -> None:
        """Nothing goes wrong any more, and every replica runs."""
        self.told.append((self.loop.now, "— from here on nothing goes wrong any more —"))
        self._healed = True
        self.deeds.forget()
        self.server.faults.clear()
        for replica in self.replicas.values():
            replica.link.lag = 0.0
            if not replica.link.up:
                replica.link.mend(lose=True)
            for watch in replica.link.watches:
                watch.go_on()
            if replica.host is not None:
                replica.host.resume()
            self.start(replica.name)

    def _trace(self) -> str:
        trace = blake2b(digest_size=8)
        for line in self.server.log:
            call = line.call
            trace.update(f"{line.time:.9f} {line.identity} {call.method} {call.path} {line.status}".encode())
            trace.update(call.body or b"")
        return trace.hexdigest()

    # Replicas

    def start(self, name: str) -> None:
        """Start a process in this place, if none runs."""
        replica = self.replicas[name]
        if replica.alive:
            return
        for watch in replica.link.watches:
            watch.close()  # of a process that was killed: its connections went with it
        replica.started += 1
        writer_name = f"{name}{replica.started}"
        host = Host(self.loop, writer_name, rate=replica.run.rate, origin=1000.0 * replica.started)
        election = replace(LOCK, id=writer_name)
        writer = Writer(
            writer_name,
            place=name,
            elapsed=lambda: host.elapsed(self.loop.now),
            deadline=election.effective_renew_deadline,
            knows=replica.knows,
            serving=replica.serving,
        )
        self.observer.began(writer)
        transport = Tap(
            ModelTransport(self.server, identity=name, link=replica.link),
            lambda call: self._sent(replica, writer, call),
        )
        rng = random.Random(f"{self.schedule.seed}/{writer_name}")
        settings = Settings(
            election=election,
            bind_address=None,
            service_ranges=tuple(parse_pod_cidr(text) for text in EXCLUDED),
        )

        def launch() -> None:
            client = Client(transport, clock=VirtualClock(), rng=rng)
            replica.manager = wiring.build(settings, client)
            replica.task = self.loop.create_task(replica.manager.run())

        host.run(launch)
        replica.host = host
        replica.task.add_done_callback(
            lambda task: self._ended(replica, writer_name, task), context=Context()
        )

    def _ended(self, replica: Replica, name: str, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.observer.violated("I7", f"{name} ended with {error!r}")
        if self._healed:  # it was told to while it stood still
            self.loop.call_later(1.0, self.start, replica.name)

    def _sent(self, replica: Replica, writer: Writer, call: Call) -> None:
        self.deeds.before(call, replica.name)
        self.observer.sent(writer, call)
