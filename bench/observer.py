"""Somebody who watches Nodes get their ranges, in a process of its own: `bareclient observe`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from bench.cluster import Cluster

__all__ = ["Observer", "Seen", "observing"]


class Seen(msgspec.Struct):
    """What was seen."""

    last: float
    """When the last Node was seen with ranges, in seconds since 1970."""
    latencies: list[float]
    """Milliseconds from ADDED without ranges to ranges, of the Nodes that were seen so."""


class Observer:
    """A watch that is open."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def seen(self, *, within: float) -> Seen:
        """Wait until all Nodes have ranges.

        Raises:
            RuntimeError: not within so many seconds, or the observer has ended.
        """
        try:
            async with asyncio.timeout(within):
                return msgspec.json.decode(await self._line(), type=Seen)
        except TimeoutError:
            raise RuntimeError(f"not all Nodes have ranges after {within:g} s") from None

    async def _line(self) -> bytes:
        if self._process.stdout is None or not (line := await self._process.stdout.readline()):
            said = await self._process.stderr.read() if self._process.stderr is not None else b""
            raise RuntimeError(f"the observer has ended: {said.decode()}")
        return line


@asynccontextmanager
async def observing(cluster: Cluster, nodes: int) -> AsyncIterator[Observer]:
    """Observe from now on, until so many Nodes have got ranges; once entered, the watch is open."""
    process = await asyncio.create_subprocess_exec(
        cluster.bareclient,
        "observe",
        f"-nodes={nodes}",
        f"-version={await cluster.version()}",
        env=cluster.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    observer = Observer(process)
    try:
        await observer._line()  # noqa: SLF001 - it says that it watches
        yield observer
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
