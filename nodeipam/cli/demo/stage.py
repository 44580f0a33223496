"""The demo's director: plays the story on a cluster, asks the observer, and keeps the screen up to date."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal

from .cluster import Cluster, Replica
from .observer import Observer, Violation
from .scene import Actor, Bar, Happening, Scene, Screen, Tone
from .story import Await, Join, Kill, Leave, NewPool, Step

__all__ = ["REPLICAS", "Stage"]

REPLICAS = ("alpha", "beta")
_LOOK = 0.02
"""Seconds between two looks at whether the story can go on."""
_FRAME = 0.1
"""Seconds between two pictures."""
_START = 20.0
"""Seconds within which one of the replicas leads, and works with a new pool."""


class Stage:
    """One performance.

    Args:
        pace: seconds for which a step is on the screen before the next one begins.
    """

    def __init__(self, cluster: Cluster, observer: Observer, screen: Screen, *, pace: float) -> None:
        self._cluster = cluster
        self._observer = observer
        self._screen = screen
        self._pace = pace
        self._began = time.monotonic()
        self._happenings: list[Happening] = []
        self._leader = ""
        self._judged = 0
        self._nodes = 0

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    async def play(self, story: tuple[Step, ...]) -> None:
        """Start the replicas, and play all steps; the first violation ends it."""
        drawing = asyncio.create_task(self._draw(), name="screen")
        try:
            await self._start()
            for step in story:
                await self._step(step)
                if self._observer.violations:
                    break
            else:
                self._observer.close()
        except TimeoutError as error:
            self._observer.violations.append(Violation("told", str(error)))
        finally:
            drawing.cancel()
            await asyncio.wait({drawing})
        if not drawing.cancelled():
            drawing.result()
        self.look()
        self._screen.show(self.scene())

    def look(self) -> None:
        """Let the observer read the audit log, and tell who leads and who has died."""
        self._observer.audit(self._cluster.audit())
        for replica in self._cluster.replicas:
            if replica.state == "ended":
                text = f"{replica.name} ended by itself; {replica.log} says why"
                violation = Violation("told", text)
                if violation not in self._observer.violations:
                    self._observer.violations.append(violation)
        for violation in self._observer.violations[self._judged :]:
            self.tell(violation.text, "bad")
        self._judged = len(self._observer.violations)
        leader = self._name(self._observer.leader)
        if leader not in {"", self._leader}:
            self.tell(f"{leader} leads", "good")
            self._leader = leader

    def tell(self, text: str, tone: Tone = "step") -> None:
        """Add to what happened."""
        self._happenings.append(Happening(self.elapsed, text, tone))

    def scene(self) -> Scene:
        """What there is to be seen now."""
        observer = self._observer
        return Scene(
            at=self.elapsed,
            pools=tuple(
                Bar(pool.name, tuple(str(net) for net in pool.ranges), pool.label, pool.used, pool.blocks)
                for pool in observer.pools.values()
            ),
            replicas=tuple(
                Actor(replica.name, replica.process.pid, self._role(replica))
                for replica in self._cluster.replicas
            ),
            served=len(observer.nodes) - len(observer.waiting),
            waiting=len(observer.waiting),
            left=observer.left,
            latencies=tuple(observer.latencies),
            happenings=tuple(self._happenings),
            violations=len(observer.violations),
        )

    async def _start(self) -> None:
        self.tell(f"an API server model at {self._cluster.url}, two replicas of the controller")
        for name in REPLICAS:
            await self._cluster.start(name)
        await self._until(lambda: bool(self._observer.leader), _START, "a replica leads")

    async def _step(self, step: Step) -> None:
        if not isinstance(step, Await):
            self.tell(step.text)
        match step:
            case NewPool():
                await self._add(step)
            case Join():
                await self._join(step)
            case Leave():
                for name in step.names:
                    self._cluster.remove_node(name)
                self._nodes -= len(step.names)
                await asyncio.sleep(self._pace)
            case Kill():
                await self._kill()
            case Await():
                await self._await(step)

    async def _add(self, step: NewPool) -> None:
        pools = self._observer.pools
        self._cluster.add_pool(step)
        await self._until(
            lambda: step.name in pools and pools[step.name].ready, _START, f"the pool {step.name} is ready"
        )

    async def _join(self, step: Join) -> None:
        for node in step.nodes:
            self._cluster.add_node(node)
            if step.spread:
                await asyncio.sleep(self._pace / len(step.nodes))
        self._nodes += len(step.nodes)

    async def _await(self, step: Await) -> None:
        observer, expected = self._observer, (self._nodes, step.waiting)
        await self._until(
            lambda: expected == (len(observer.nodes), len(observer.waiting)), step.within, step.text
        )
        self.look()
        if not observer.violations:
            self.tell(step.text, "good")
            await asyncio.sleep(self._pace)

    async def _kill(self) -> None:
        leader = self._name(self._observer.leader)
        for replica in self._cluster.replicas:
            if replica.name == leader:
                await replica.kill()

    async def _until(self, holds: Callable[[], bool], within: float, otherwise: str) -> None:
        try:
            async with asyncio.timeout(within):
                while not (holds() or self._observer.violations):  # noqa: ASYNC110 - it is seen by several watches
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            waiting = len(self._observer.waiting)
            raise TimeoutError(f"{otherwise}: not within {within:.0f} s; {waiting} Nodes wait") from None

    async def _draw(self) -> None:
        while True:
            self.look()
            self._screen.show(self.scene())
            await asyncio.sleep(_FRAME)

    def _role(self, replica: Replica) -> Literal["starts", "leads", "stands by", "killed", "ended"]:
        if replica.state != "runs":
            return replica.state
        if self._name(self._observer.leader) == replica.name:
            return "leads"
        return "stands by" if self._observer.leader else "starts"

    @staticmethod
    def _name(identity: str) -> str:
        """A replica adds a random part to its name."""
        return identity.partition("_")[0]
