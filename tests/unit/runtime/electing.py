"""A place to hold elections in: an API server model, candidates, and guarded work that keeps account."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any

from nodeipam.runtime.client import Client
from nodeipam.runtime.clock import Clock
from nodeipam.runtime.election import Election, Elector
from nodeipam.runtime.electionrecord import LOCKS, Entry
from nodeipam.runtime.lease import Lease
from nodeipam.runtime.transport import Answer, Call
from nodeipam.testing import APIServer, Fault, ModelTransport, VirtualClock

LEASES = "leases.coordination.k8s.io"


class Hall:
    """One lock, "default/x", on a server that answers within 20 ms."""

    def __init__(self) -> None:
        self.server = APIServer()
        self.server.latency = 0.02

    def client(self, name: str, clock: Clock | None = None) -> Client:
        """A client that the server knows by this name."""
        transport = ModelTransport(self.server, identity=name)
        return Client(transport, clock=clock or VirtualClock(), rng=random.Random(name))

    def elector(self, name: str, clock: Clock | None = None, **options: Any) -> Elector:
        """A candidate with a client of its own."""
        return Elector(Election(namespace="default", name="x", id=name, **options), self.client(name, clock))

    def lease(self) -> dict[str, Any]:
        """The Lease as it stands."""
        return self.server.get(LEASES, "x", namespace="default")

    @property
    def spec(self) -> dict[str, Any]:
        """Its spec."""
        found: dict[str, Any] = self.lease()["spec"]
        return found

    def exists(self) -> bool:
        """Whether there is a Lease."""
        return bool(self.server.objects(LEASES))

    def put(self, holder: str, *, transitions: int = 3, released: bool = False, **spec: Any) -> None:
        """Write the Lease as a program of another kind would, on a clock that is far behind."""
        lock = LOCKS["leases"]
        entry = Entry(
            holder=holder,
            duration=15,
            transitions=transitions,
            acquired="1999-01-01T00:00:00.000000Z",
            renewed="1999-01-01T00:00:00.000000Z",
            released=released,
        )
        body = lock.write(lock.blank("default", "x"), entry)
        body["spec"] |= spec
        self.server.put(body)

    def change(self, patch: dict[str, Any]) -> None:
        """Edit the Lease by hand."""
        self.server.patch(LEASES, "x", patch, namespace="default")

    def fault(self, action: Any, match: Callable[[Call], bool], **options: Any) -> Fault:
        """Have something go wrong."""
        fault = Fault(match=match, action=action, **options)
        self.server.faults.append(fault)
        return fault

    def cut_off(self, name: str) -> Fault:
        """From now on no request of this candidate gets through."""
        return self.fault("hang", lambda _: True, identity=name, times=None)

    def requests(self, name: str) -> list[str]:
        """What a candidate has asked for."""
        return [
            "WATCH" if is_watch(logged.call) else logged.call.method
            for logged in self.server.log
            if logged.identity == name
        ]


class Work:
    """Guarded work that waits for its end, and keeps account of its terms."""

    def __init__(self, *, cleaning: float = 0.0) -> None:
        self.terms: list[Lease] = []
        self.began: list[float] = []
        self.ended: list[float] = []
        self.finish = asyncio.Event()
        self.cleaning = cleaning
        """Seconds that it takes to end when it is cancelled."""

    async def __call__(self, lease: Lease) -> None:  # noqa: D102 - as the class says
        self.terms.append(lease)
        self.began.append(time())
        try:
            await self.finish.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(self.cleaning)
            raise
        finally:
            self.ended.append(time())

    @property
    def lease(self) -> Lease:
        """Of the latest term."""
        return self.terms[-1]


class Stubborn(ModelTransport):
    """A transport that takes a minute to close a connection."""

    def open(self, call: Call) -> AbstractAsyncContextManager[Answer]:  # noqa: D102 - as Transport has it
        return self._open(call)

    @asynccontextmanager
    async def _open(self, call: Call) -> AsyncIterator[Answer]:
        exchange = super().open(call)
        try:
            answer = await exchange.__aenter__()
        except asyncio.CancelledError:
            await asyncio.sleep(60)
            raise
        try:
            yield answer
        finally:
            await exchange.__aexit__(None, None, None)


class SlowClock(VirtualClock):
    """A clock on which less time passes than on the loop."""

    def elapsed(self) -> float:  # noqa: D102 - as Clock has it
        return 0.87 * self.monotonic()


class StoppedCalendar(VirtualClock):
    """A clock whose date stands still."""

    def wall(self) -> datetime:  # noqa: D102 - as Clock has it
        return datetime(2026, 1, 1).astimezone()


def time() -> float:
    """Seconds since the test began."""
    return asyncio.get_running_loop().time()


def is_watch(call: Call) -> bool:
    """For faults: watches."""
    return ("watch", "true") in call.query or ("watch", "1") in call.query


def is_write(call: Call) -> bool:
    """For faults: what takes, renews or releases a lock."""
    return call.method in {"PUT", "POST"}


@asynccontextmanager
async def running(
    elector: Elector, work: Work, *, campaign_again: bool = True
) -> AsyncIterator[asyncio.Task[None]]:
    """Run an elector, and end it (when it hasn't by then) in good order."""
    task = asyncio.create_task(elector.run(work, campaign_again=campaign_again))
    try:
        yield task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled() or task.result() is None


async def until(condition: Callable[[], object], *, seconds: float = 120.0) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions are about what the server holds, too
            await asyncio.sleep(0.01)
