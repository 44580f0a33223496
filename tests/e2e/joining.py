"""Nodes that join all the time, one after the other, while a test does something else."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

import aiohttp

from tests.e2e.kube import Kube


class Joining:
    """Creates Nodes `node-000`, `node-001`, … within `async with`; `names` are those that are there."""

    def __init__(self, kube: Kube, *, pause: float = 0.05) -> None:
        self.names: list[str] = []
        self._kube = kube
        self._pause = pause
        self._stopping = False
        self._joined = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._join(), name="joining Nodes")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        if self._task is not None:
            await self._task

    async def reach(self, count: int, *, within: float = 30.0) -> None:
        """Wait until so many Nodes have joined."""
        async with asyncio.timeout(within):
            while len(self.names) < count:
                self._joined.clear()
                await self._joined.wait()

    async def _join(self) -> None:
        while not self._stopping:
            name = f"node-{len(self.names):03d}"
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):  # the test froze the API server
                await self._kube.create_node(name)
                self.names.append(name)
                self._joined.set()
            await asyncio.sleep(self._pause)
