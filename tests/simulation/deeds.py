"""Takes the steps of a schedule: does to a simulated cluster what they say."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nodeipam.runtime import Call
from nodeipam.testing import Fault, Link
from nodeipam.testing.status import Refusal

from . import schedule as steps
from .observer import LEASES, NODES, POOLS
from .replica import LOCK, Replica
from .schedule import Step

if TYPE_CHECKING:
    from .cluster import Cluster

__all__ = ["ZONE", "Deeds"]

ZONE = "topology.kubernetes.io/zone"
_PIN = "example.com/pinned"


class Deeds:
    """What is done to one cluster, and what waits for a request to be done."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._loop = cluster.loop
        self._triggers: list[tuple[steps.When, list[int]]] = []
        self._backups: dict[float, Any] = {}

    def schedule(self, all_steps: tuple[Step, ...]) -> None:
        """Have them taken, each at its time."""
        moments: dict[float, list[Step]] = {}
        for step in all_steps:
            if isinstance(step, steps.Restore):
                self._loop.call_at(step.to, self._back_up, step.to)
            moments.setdefault(step.at, []).append(step)
        for at, together in moments.items():
            self._loop.call_at(at, self._perform_all, together)

    def forget(self) -> None:
        """Do nothing that still waits for a request."""
        self._triggers.clear()

    def before(self, call: Call, replica: str) -> None:
        """Do what is to be done in the moment before this request is sent."""
        for trigger in list(self._triggers):
            when, left = trigger
            if when.replica not in ("", replica) or not when.requests(call):
                continue
            if left[0]:
                left[0] -= 1
                continue
            self._triggers.remove(trigger)
            for step in when.then:
                if step.at > 0:
                    self._loop.call_later(step.at, self.perform, step)
                else:
                    self.perform(step)

    def _perform_all(self, together: list[Step]) -> None:
        """Timers of one moment go off in no particular order; steps are taken in theirs."""
        for step in together:
            self.perform(step)

    def perform(self, step: Step) -> None:
        """Take one step; one that has lost its object is passed over."""
        self.cluster.told.append((self._loop.now, repr(step)))
        with suppress(KeyError, Refusal):
            self._perform(step)

    def _perform(self, step: Step) -> None:  # noqa: C901, PLR0912, PLR0915 - one case for each step there is
        server = self.cluster.server
        match step:
            case steps.Join():
                self._join(step.node, step.zone, step.brings, pinned=step.pinned)
            case steps.Leave():
                server.delete(NODES, step.node)
            case steps.Unpin():
                server.patch(NODES, step.node, {"metadata": {"finalizers": None}})
            case steps.Rejoin():
                old = self.cluster.observer.nodes[step.node]
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
                self.cluster.start(step.replica)
            case steps.Stop():
                self._stop(self.cluster.replicas[step.replica], kill=step.kill)
            case steps.Pause():
                self._pause(self.cluster.replicas[step.replica], step)
            case steps.Cut():
                link = self.cluster.replicas[step.replica].link
                if link.up:
                    link.cut()
                    self._loop.call_later(step.seconds, self._mend, link, step.lose)
            case steps.Lag():
                link = self.cluster.replicas[step.replica].link
                link.lag = step.lag
                self._loop.call_later(step.seconds, setattr, link, "lag", 0.0)
            case steps.Stall():
                self._stall(self.cluster.replicas[step.replica].link, step.seconds)
            case steps.Break():
                for watch in self.cluster.replicas[step.replica].link.watches:
                    watch.break_off()
            case steps.Land():
                self.cluster.replicas[step.replica].link.land()
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
        if name in self.cluster.observer.nodes:
            return
        metadata: dict[str, Any] = {"name": name, "labels": {ZONE: zone} if zone else {}}
        if pinned:
            metadata["finalizers"] = [_PIN]
        spec = {"podCIDR": brings[0], "podCIDRs": list(brings)} if brings else {}
        self.cluster.server.put({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec})

    def _add_pool(self, step: steps.AddPool) -> None:
        if step.name in self.cluster.observer.pools:
            return
        spec: dict[str, Any] = {"perNodeHostBits": step.bits}
        spec |= {family: text for family, text in (("ipv4", step.ipv4), ("ipv6", step.ipv6)) if text}
        if step.zone:
            wanted = {"key": ZONE, "operator": "In", "values": [step.zone]}
            spec["nodeSelector"] = {"nodeSelectorTerms": [{"matchExpressions": [wanted]}]}
        self.cluster.server.put(
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
        self._loop.call_later(step.seconds, lambda: host.resume(timers_first=step.timers_first))

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

        self._loop.call_later(seconds, go_on)

    def _back_up(self, at: float) -> None:
        self._backups[at] = self.cluster.server.backup()

    def _restore(self, step: steps.Restore) -> None:
        if self.cluster.under_way:
            if self._loop.now < self.cluster.schedule.seconds:
                self._loop.call_later(0.1, self._restore, step)
            return
        self.cluster.server.restore(self._backups[step.to], bump=step.bump)
        self.cluster.observer.restored()

    def _touch_lock(self, how: str) -> None:
        if how == "deleted":
            self.cluster.server.delete(LEASES, LOCK.name, namespace=LOCK.namespace)
        else:
            self.cluster.server.patch(
                LEASES, LOCK.name, {"spec": {"holderIdentity": ""}}, namespace=LOCK.namespace
            )


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
