"""Runs schedules: one in this process, or many in short-lived ones.

What is torn down stays in memory, since collecting a dead machine's coroutines would run their `finally`
blocks: so the collector is off, and a process ends, without any cleaning up, after some 40 runs.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
import traceback
from collections.abc import Callable, Generator, Iterable
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Generic, NamedTuple, TypeVar

import msgspec

from nodeipam.testing import VirtualLoop

from .cluster import Cluster, Outcome
from .record import check
from .schedule import Schedule

__all__ = ["BATCH", "apart", "simulate", "simulate_all"]

T = TypeVar("T")

BATCH = 40
"""How many runs a process makes."""
_HUNG = 300.0
"""Seconds after which a process that has not told of its next run is taken to hang."""


def simulate(schedule: Schedule) -> Outcome:
    """Play one schedule from beginning to end. What it leaves behind stays in this process.

    Raises:
        ValueError: it can't be played; the message says why.
    """
    check(schedule)
    logging.getLogger("nodeipam").setLevel(logging.CRITICAL)
    loop = VirtualLoop()
    started = time.process_time()
    try:
        outcome = loop.run_until_complete(Cluster(schedule, loop).play())
    finally:
        loop.close()
    return msgspec.structs.replace(outcome, cpu=time.process_time() - started)


def simulate_all(
    schedules: Iterable[Schedule], *, jobs: int = 1, prepare: Callable[[], object] = int
) -> Generator[tuple[Schedule, Outcome]]:
    """Play many schedules in up to `jobs` processes at a time; `prepare` is called in each of them first.

    Raises:
        RuntimeError: a process failed, died, or hung; the message names the schedule.
    """
    remaining = iter(schedules)
    crews: dict[Connection, _Crew[Outcome]] = {}
    try:
        while True:
            while len(crews) < jobs and (batch := list(islice(remaining, BATCH))):
                crew = _Crew(batch, simulate, prepare)
                crews[crew.connection] = crew
            if not crews:
                return
            ready = wait(list(crews), timeout=_HUNG)
            if not ready:
                raise RuntimeError(f"no news for {_HUNG:g} s of {' or '.join(map(str, crews.values()))}")
            for connection in ready:
                assert isinstance(connection, Connection)
                crew = crews[connection]
                yield crew.next()
                if not crew.left:
                    crew.end()
                    del crews[connection]
    finally:
        for crew in crews.values():
            crew.end()


def apart(work: Callable[[Schedule], T], schedule: Schedule, *, prepare: Callable[[], object] = int) -> T:
    """What `work` makes of a schedule, in a process of its own, in which it may leave behind what it likes.

    Raises:
        RuntimeError: it failed, or its process died; the message says how.
    """
    crew = _Crew([schedule], work, prepare)
    try:
        return crew.next()[1]
    finally:
        crew.end()


class _Failed(NamedTuple):
    """What a process sends instead of a result."""

    why: str


class _Crew(Generic[T]):
    """A process that goes to work on a batch of schedules, one after the other."""

    def __init__(
        self, batch: list[Schedule], work: Callable[[Schedule], T], prepare: Callable[[], object]
    ) -> None:
        self.left = batch
        context = get_context("fork")
        self.connection, other = context.Pipe(duplex=False)
        self._process: BaseProcess = context.Process(
            target=_work, args=(batch, work, prepare, other), daemon=True
        )
        self._process.start()
        other.close()

    def __str__(self) -> str:
        return self.left[0].name if self.left else "nothing"

    def next(self) -> tuple[Schedule, T]:
        """The next schedule, and what came of it."""
        try:
            found: T | _Failed = self.connection.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(
                f"the process that played {self} died with code {self._process.exitcode}"
            ) from None
        match found:
            case _Failed(why):
                raise RuntimeError(f"{self} wasn't played to its end: {why}")
            case _:
                return self.left.pop(0), found

    def end(self) -> None:
        """Be done with it."""
        self._process.kill()
        self._process.join()
        self.connection.close()


def _work(
    batch: list[Schedule],
    work: Callable[[Schedule], object],
    prepare: Callable[[], object],
    connection: Connection,
) -> None:
    gc.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that is at the terminal
    try:
        prepare()
        for schedule in batch:
            connection.send(work(schedule))
    except ValueError as error:
        connection.send(_Failed(str(error)))
    except BaseException:  # noqa: BLE001 - whatever it is, it is told where it can be read
        connection.send(_Failed(traceback.format_exc()))
    os._exit(0)
