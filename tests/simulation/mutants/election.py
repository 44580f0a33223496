"""Mistakes about leader election."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from nodeipam.controllers import takeover
from nodeipam.runtime import (
    LeadershipLost,
    Lease,
    candidate,
    election,
    electionlock,
    electionrecord,
    leader,
)
from nodeipam.testing import VirtualClock

from .registry import around, instead, mutant, nothing


@mutant("any empty holder is taken for released")
def _() -> None:
    def read(original: Callable[..., Any], self: Any, raw: Any) -> Any:
        record = original(self, raw)
        return replace(record, released=record.holder == "")

    around(electionrecord.Lock, "read", read)


@mutant("no wait after creating the Lease")
def _() -> None:
    instead(takeover.TakeOver, "_wait_out", nothing)


@mutant("whoever creates the Lease takes the cluster for a fresh one")
def _() -> None:
    async def is_fresh(_: Any, lease: Lease) -> bool:
        return lease.created

    instead(takeover.TakeOver, "_is_fresh", is_fresh)


@mutant("validity is counted from the reply")
def _() -> None:
    async def write(original: Callable[..., Awaitable[float]], self: Any, *args: Any) -> float:
        await original(self, *args)
        return float(self._clock.elapsed())

    around(electionlock.LockClient, "write", write)


@mutant("validity is the lease duration instead of the renew deadline")
def _() -> None:
    def init(original: Callable[..., None], self: Any, *args: Any, **options: Any) -> None:
        original(self, *args, **{**options, "deadline": options["duration"]})

    around(leader.Leader, "__init__", init)
    around(candidate.Candidate, "__init__", init)


@mutant("time is taken from a clock that stands still while the machine sleeps")
def _() -> None:
    instead(VirtualClock, "elapsed", VirtualClock.monotonic)


@mutant("a renewal acquires: it doesn't look who holds the lock")
def _() -> None:
    def still_ours(self: Any, _: Lease, raw: Any) -> Any:
        if raw is None:
            raise LeadershipLost(f"{self._lock} is gone")
        return raw

    instead(leader.Leader, "_still_ours", still_ours)


@mutant("every process of a place has the same identity (D-31)")
def _() -> None:
    def init(original: Callable[..., None], self: Any, options: Any, client: Any) -> None:
        original(self, options, client)
        self.identity = "node-ipam-controller"
        self._lock.identity = self.identity
        self._lock.sighting._identity = self.identity

    around(election.Elector, "__init__", init)


@mutant("a name of its own in the Lease is taken for a version that it wrote")
def _() -> None:
    instead(electionlock.LockClient, "wrote", lambda *_: True)


@mutant("a rival's lease is waited for by its timestamps")
def _() -> None:
    def left(self: Any, now: float) -> float:
        record = self.record
        if record is None or record.released or record.holder == self._identity or not record.renewed:
            return 0.0
        renewed = datetime.fromisoformat(record.renewed).astimezone(UTC)
        # 2026-01-01 is the beginning of the virtual clock's time
        return float(
            max(0.0, (renewed - datetime(2026, 1, 1, tzinfo=UTC)).total_seconds() + record.duration - now)
        )

    instead(electionrecord.Sighting, "left", left)


@mutant("the lock is released before the work has ended")
def _() -> None:
    releasing: dict[int, tuple[Any, Lease]] = {}

    async def reign(inner: Callable[..., Awaitable[bool]], self: Any, lease: Lease, work: Any) -> bool:
        task = asyncio.current_task()
        releasing[id(task)] = self, lease
        return await inner(self, lease, work)

    async def wait(self: Any, task: Any, *, cancel_at: int) -> None:
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                self.cancels += 1
                if self.cancels == 1 and id(asyncio.current_task()) in releasing:
                    elector, lease = releasing[id(asyncio.current_task())]
                    await elector._leader.release(lease)
                if self.cancels >= cancel_at:
                    task.cancel()

    around(election.Elector, "_reign", reign)
    instead(election._Patience, "wait", wait)
