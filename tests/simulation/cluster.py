"""One simulated cluster: plays a Schedule with the real controller in it, and tells what came of it.

Everything that a replica can tell from a real machine and a real API server is the test kit's: the virtual
loop, hosts, links and the model. The controller is the one that `controllers.wiring.build` makes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
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
from nodeipam.runtime import Answer, Call, Client, Election, Manager
from nodeipam.testing import (
    APIServer,
    Fault,
    Host,
    Link,
    ModelTransport,
    VirtualClock,
    VirtualLoop,
    outside,
)
from nodeipam.testing.status import Refusal

from . import schedule as steps
from .observer import EXCLUDED, LEASES, NODES, POOLS, Observer, Writer, ranges
from .schedule import Run, Schedule, Step
from .verdict import Verdict

__all__ = ["LOCK", "Cluster", "Outcome", "Replica"]

LOCK = Election(namespace="nodeipam", name="node-ipam-controller")
ZONE = "topology.kubernetes.io/zone"
_PIN = "example.com/pinned"
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


class _Tap:
    """A replica's transport: what is sent is seen in the moment in which it is handed over."""

    def __init__(self, inner: ModelTransport, sent: Callable[[Call], None]) -> None:
        self._inner = inner
        self._sent = sent
        self.host = inner.host

    def open(self, call: Call) -> AbstractAsyncContextManager[Answer]:
        """Hand it on."""
        outside(self._sent, call)
        return self._inner.open(call)


class Replica:
    """A place where one process of the controller runs at a time."""

    def __init__(self, run: Run, link: Link) -> None:
        self.run = run
        self.link = link
        self.started = 0
        """How many processes there have been."""
        self.host: Host | None = None
        self.manager: Manager
        self.task: asyncio.Task[None]

    @property
    def name(self) -> str:
        """The name of the place; the API server takes all its processes for this."""
        return self.run.name

    @property
    def alive(self) -> bool:
        """Whether a process runs."""
        return self.host is not None and self.host.state != "dead" and not self.task.done()

    def knows(self, name: str, uid: str) -> bool:
        """Whether the process has this Node in its cache, with ranges."""
        for node in self.manager._informers[0].store.list():  # noqa: SLF001 - read as a debugger would
            if node.metadata.name == name:
                return bool(node.metadata.uid == uid and node.pod_cidrs)
        return False

    def serving(self) -> Iterator[str]:
        """The ranges of all ClusterCIDRs in its cache that aren't being deleted."""
        for pool in self.manager._informers[1].store.list():  # noqa: SLF001 - read as a debugger would
            if not pool.terminating:
                yield from ranges({"spec": pool.spec})


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
        self._rng = random.Random(f"{schedule.seed}/delays")
        self._triggers: list[tuple[steps.When, list[int]]] = []
        self._backups: dict[float, Any] = {}

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

    def land(self) -> None:
        """Have everything arrive that is still under way, however late it was to be."""
        for replica in self.replicas.values():
            replica.link.land()

    def _set_out(self) -> None:
        for run in self.schedule.replicas:
            self.loop.call_at(run.start, self.start, run.name)
        for step in self.schedule.steps:
            if isinstance(step, steps.Restore):
                self.loop.call_at(step.to, self._back_up, step.to)
            self.loop.call_at(step.at, self.perform, step)

    def _heal(self) -> None:
        """Nothing goes wrong any more, and every replica runs."""
        self.told.append((self.loop.now, "— from here on nothing goes wrong any more —"))
        self._triggers.clear()
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
        transport = _Tap(
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
        replica.task.add_done_callback(lambda task: self._ended(writer_name, task), context=Context())

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.observer.violated("I7", f"{name} ended with {error!r}")

    def _sent(self, replica: Replica, writer: Writer, call: Call) -> None:
        for trigger in list(self._triggers):
            when, left = trigger
            if when.replica not in ("", replica.name) or not when.requests(call):
                continue
            if left[0]:
                left[0] -= 1
                continue
            self._triggers.remove(trigger)
            for step in when.then:
                self._after(step)
        self.observer.sent(writer, call)

    def _after(self, step: Step) -> None:
        if step.at > 0:
            self.loop.call_later(step.at, self.perform, step)
        else:
            self.perform(step)

    # Steps

    def perform(self, step: Step) -> None:
        """Take one step; one that has lost its object is passed over."""
        self.told.append((self.loop.now, repr(step)))
        with suppress(KeyError, Refusal):
            self._perform(step)

    def _perform(self, step: Step) -> None:  # noqa: C901, PLR0912 - one case for each step there is
        server = self.server
        match step:
            case steps.Join():
                self._join(step.node, step.zone, step.brings, pinned=step.pinned)
            case steps.Leave():
                server.delete(NODES, step.node)
            case steps.Unpin():
                server.patch(NODES, step.node, {"metadata": {"finalizers": None}})
            case steps.Rejoin():
                old = self.observer.nodes[step.node]
                server.delete(NODES, step.node)
                self._join(step.node, (old["metadata"].get("labels") or {}).get(ZONE, ""))
            case steps.Label():
                server.patch(NODES, step.node, {"metadata": {"labels": {ZONE: step.zone or None}}})
            case steps.Touch():
                touched = {"example.com/touched": str(server.version)}
                server.patch(NODES, step.node, {"metadata": {"annotations": touched}})
            case steps.AddPool():
                self._add_pool(step)
            case steps.DropPool():
                server.delete(POOLS, step.name)
            case steps.Start():
                self.start(step.replica)
            case steps.Stop():
                self._stop(self.replicas[step.replica], kill=step.kill)
            case steps.Pause():
                self._pause(self.replicas[step.replica], step)
            case steps.Cut():
                link = self.replicas[step.replica].link
                if link.up:
                    link.cut()
                    self.loop.call_later(step.seconds, self._mend, link, step.lose)
            case steps.Lag():
                link = self.replicas[step.replica].link
                link.lag = step.lag
                self.loop.call_later(step.seconds, setattr, link, "lag", 0.0)
            case steps.Stall():
                self._stall(self.replicas[step.replica].link, step.seconds)
            case steps.Break():
                for watch in self.replicas[step.replica].link.watches:
                    watch.break_off()
            case steps.Fail():
                server.faults.append(_fault(step))
            case steps.Compact():
                server.compact()
            case steps.Restore():
                self._restore(step)
            case steps.Lock():
                self._touch_lock(step.how)
            case steps.When():
                self._triggers.append((step, [step.skip]))

    def _join(self, name: str, zone: str, brings: tuple[str, ...] = (), *, pinned: bool = False) -> None:
        if name in self.observer.nodes:
            return
        metadata: dict[str, Any] = {"name": name, "labels": {ZONE: zone} if zone else {}}
        if pinned:
            metadata["finalizers"] = [_PIN]
        spec = {"podCIDR": brings[0], "podCIDRs": list(brings)} if brings else {}
        self.server.put({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec})

    def _add_pool(self, step: steps.AddPool) -> None:
        if step.name in self.observer.pools:
            return
        spec: dict[str, Any] = {"perNodeHostBits": step.bits}
        spec |= {family: text for family, text in (("ipv4", step.ipv4), ("ipv6", step.ipv6)) if text}
        if step.zone:
            wanted = {"key": ZONE, "operator": "In", "values": [step.zone]}
            spec["nodeSelector"] = {"nodeSelectorTerms": [{"matchExpressions": [wanted]}]}
        self.server.put(
            {
                "apiVersion": "networking.x-k8s.io/v1",
                "kind": "ClusterCIDR",
                "metadata": {"name": step.name},
                "spec": spec,
            }
        )

    def _stop(self, replica: Replica, *, kill: bool) -> None:
        if not replica.alive or replica.host is None:
            return
        if kill:
            replica.host.crash()
            for watch in replica.link.watches:
                watch.close()
        else:
            replica.host.run(replica.task.cancel)

    def _pause(self, replica: Replica, step: steps.Pause) -> None:
        host = replica.host
        if host is None or host.state != "running":
            return
        if step.suspended:
            host.suspend()
        else:
            host.pause()
        self.loop.call_later(step.seconds, lambda: host.resume(timers_first=step.timers_first))

    def _mend(self, link: Link, lose: bool) -> None:  # noqa: FBT001 - as Link.mend has it
        if not link.up:
            link.mend(lose=lose)

    def _stall(self, link: Link, seconds: float) -> None:
        held = [watch for watch in link.watches if watch.open]
        for watch in held:
            watch.hold()

        def go_on() -> None:
            for watch in held if link.up else ():
                watch.go_on()

        self.loop.call_later(seconds, go_on)

    def _back_up(self, at: float) -> None:
        self._backups[at] = self.server.backup()

    def _restore(self, step: steps.Restore) -> None:
        if any(replica.link.under_way for replica in self.replicas.values()):
            if self.loop.now < self.schedule.seconds:
                self.loop.call_later(0.1, self._restore, step)
            return
        self.server.restore(self._backups[step.to], bump=step.bump)
        self.observer.restored()

    def _touch_lock(self, how: str) -> None:
        if how == "deleted":
            self.server.delete(LEASES, LOCK.name, namespace=LOCK.namespace)
        else:
            self.server.patch(LEASES, LOCK.name, {"spec": {"holderIdentity": ""}}, namespace=LOCK.namespace)


def _fault(step: steps.Fail) -> Fault:
    return Fault(
        match=step.requests,
        action=step.action,
        status=step.status,
        retry_after=step.retry_after,
        delay=step.delay,
        skip=step.skip,
        times=step.times,
        identity=step.replica or None,
    )
