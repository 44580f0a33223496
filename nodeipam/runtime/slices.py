"""Long work in slices, so that the event loop is never blocked for long."""

from __future__ import annotations

import asyncio

from .clock import Clock

__all__ = ["Slices"]

_ITEMS = 32
"""Items between two readings of the clock."""


class Slices:
    """Says when it is time to let others run: for a loop over so many objects that it would hold them up.

    ::

        slices = Slices(client.clock)
        for node in informer.store.list():
            look_at(node)
            if slices.spent():
                await slices.rest()

    What the loop goes over may change while it rests: go over a copy. One Slices serves one task, or several
    that take turns.

    Args:
        clock: measures the work.
        length: seconds of work after which it is the others' turn.
    """

    __slots__ = ("_clock", "_count", "_length", "_until")

    def __init__(self, clock: Clock, length: float = 0.005) -> None:
        self._clock = clock
        self._length = length
        self._count = 0
        self._until = clock.monotonic() + length

    def spent(self) -> bool:
        """Called after each item: whether it is time to `rest`. Most calls only count."""
        self._count += 1
        return self._count % _ITEMS == 0 and self._clock.monotonic() >= self._until

    async def rest(self) -> None:
        """Let all other tasks run once. May be cancelled."""
        await asyncio.sleep(0)
        self._until = self._clock.monotonic() + self._length
