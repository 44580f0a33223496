"""Runs schedules: one in this process, or many in short-lived ones.

What is torn down stays in memory, since collecting a dead machine's coroutines would run their `finally`
blocks: so the collector is off, and a process ends, without any cleaning up, after some 40 runs.
"""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import msgspec

from nodeipam.testing import VirtualLoop

from .cluster import Cluster, Outcome
from .schedule import Schedule

__all__ = ["BATCH", "simulate", "simulate_all"]

BATCH = 40
"""How many runs a process makes."""
_HUNG = 300.0
"""Seconds after which a process that has not told of its next run is taken to hang."""


def simulate(schedule: Schedule) -> Outcome:
    """Play one schedule from beginning to end. What it leaves behind stays in this process."""
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
) -> Iterator[tuple[Schedule, Outcome]]:
    """Play many schedules in up to `jobs` processes at a time; `prepare` is called in each of them first.

    Raises:
        RuntimeError: a process died, or hung; the message names the schedule.
    """
    remaining = iter(schedules)
    crews: dict[Connection, _Crew] = {}
    try:
        while True:
            while len(crews) < jobs and (batch := list(islice(remaining, BATCH))):
                crew = _Crew(batch, prepare)
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


class _Crew:
    """A process that plays a batch of schedules, one after the other."""

    def __init__(self, batch: list[Schedule], prepare: Callable[[], object]) -> None:
        self.left = batch
        context = get_context("fork")
        self.connection, other = context.Pipe(duplex=False)
        self._process: BaseProcess = context.Process(target=_play, args=(batch, prepare, other), daemon=True)
        self._process.start()
        other.close()

    def __str__(self) -> str:
        return self.left[0].name if self.left else "nothing"

    def next(self) -> tuple[Schedule, Outcome]:
        """The next schedule that was played."""
        try:
            found = self.connection.recv_bytes()
        except EOFError:
            self._process.join()
            raise RuntimeError(
                f"the process that played {self} died with code {self._process.exitcode}"
            ) from None
        return self.left.pop(0), msgspec.msgpack.decode(found, type=Outcome)

    def end(self) -> None:
        """Be done with it."""
        self._process.kill()
        self._process.join()
        self.connection.close()


def _play(batch: list[Schedule], prepare: Callable[[], object], connection: Connection) -> None:
    gc.disable()
    try:
        prepare()
        for schedule in list(batch):
            connection.send_bytes(msgspec.msgpack.encode(simulate(schedule)))
    except BaseException:
        logging.getLogger(__name__).exception("a run failed")
        os._exit(1)
    os._exit(0)
