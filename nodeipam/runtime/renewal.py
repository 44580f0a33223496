"""A value that expires and is fetched again before it does."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .errors import CredentialsError
from .logs import get_logger

__all__ = ["Fetched", "Renewal"]

T = TypeVar("T")

log = get_logger(__name__)

_EARLY = 60.0
"""Seconds before the end at which a renewal starts; a quarter of the lifetime where that is less."""

_PAUSE = 10.0
"""Seconds between attempts while the old value is still good."""


@dataclass(frozen=True, slots=True)
class Fetched(Generic[T]):
    """What a fetch returns."""

    value: T
    lifetime: float | None = None
    """For how many more seconds it is good; None: for ever."""
    recheck: float | None = None
    """After how many seconds to fetch again, though it may still be good; None: shortly before its end."""


class Renewal(Generic[T]):
    """Keeps the latest value of `fetch`, of which at most one runs at a time.

    A fetch runs in a task of its own, which :meth:`close` awaits: a request that is cancelled or runs out of
    time doesn't end it, so that a fetch slower than one request's patience still gets through.
    """

    def __init__(self, fetch: Callable[[], Coroutine[Any, Any, Fetched[T]]], *, what: str) -> None:
        self._fetch = fetch
        self._what = what
        self._latest: Fetched[T] | None = None
        self._due = -math.inf
        self._end = -math.inf
        self._task: asyncio.Task[T] | None = None

    def __repr__(self) -> str:
        state = "renewing" if self._task else "never fetched" if self._latest is None else "fetched"
        return f"<Renewal of {self._what}, {state}>"

    async def get(self) -> T:
        """The value: at once while it is good, else as soon as it was fetched.

        Raises:
            CredentialsError: it isn't good any more and can't be fetched.
        """
        now = asyncio.get_running_loop().time()
        if self._latest is None or now >= self._end:
            return await self.renew()
        if now >= self._due:
            self._start()
        return self._latest.value

    async def renew(self) -> T:
        """The value, fetched after this call or by a fetch that is running already.

        Raises:
            CredentialsError: it can't be fetched.
        """
        task = self._start()
        await asyncio.wait({task})
        if task.cancelled():
            raise CredentialsError(f"{self._what} can't be fetched: closed meanwhile")
        return task.result()

    async def close(self) -> None:
        """Cancel and await a fetch that is running."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _start(self) -> asyncio.Task[T]:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"fetch {self._what}")
            self._task.add_done_callback(self._ended)
        return self._task

    async def _run(self) -> T:
        fetched = await self._fetch()
        now = asyncio.get_running_loop().time()
        lifetime = math.inf if fetched.lifetime is None else max(fetched.lifetime, 0.0)
        self._latest = fetched
        # What has expired on arrival is used once for a moment all the same: clocks may differ.
        self._end = now + max(lifetime, 1.0)
        self._due = now + (fetched.recheck or max(lifetime - _EARLY, lifetime * 0.75))
        return fetched.value

    def _ended(self, task: asyncio.Task[T]) -> None:
        self._task = None
        if task.cancelled() or (error := task.exception()) is None:
            return
        self._due = asyncio.get_running_loop().time() + _PAUSE
        if self._latest is not None:
            log.warning(
                "can't renew, the old value serves until it expires", what=self._what, error=str(error)
            )
