"""The way between one client and the server: how long messages take, and whether any get through.

Invariant: a message that was sent is delivered once, later, or never; what is kept back by a partition is
either delivered at its end, as a retransmission would be, or lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .hosts import outside
from .watch import Watch

__all__ = ["Link"]


class Link:
    """A link, perfect at first.

    Attributes:
        delay: asked for the seconds that one message takes, for each anew.
        lag: seconds by which watches are late, over and above that.
    """

    def __init__(self, *, delay: Callable[[], float] = lambda: 0.0) -> None:
        self.delay = delay
        self.lag = 0.0
        self.up = True
        self.watches: list[Watch] = []
        """Those open over this link."""
        self._under_way: dict[Callable[[], None], asyncio.TimerHandle] = {}
        self._kept: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<Link: {'up' if self.up else 'down'}, {len(self.watches)} watches, {len(self._kept)} kept>"

    @property
    def under_way(self) -> int:
        """How many messages have been sent and not arrived."""
        return len(self._under_way) + len(self._kept)

    def send(self, deliver: Callable[[], None], *, after: float = 0.0) -> None:
        """Have `deliver` called when a message arrives that is sent now, or `after` so many seconds.

        Without any delay it is called at once.
        """
        seconds = after + self.delay()
        if seconds > 0:
            call_later = asyncio.get_running_loop().call_later
            self._under_way[deliver] = outside(call_later, seconds, self._arrive, deliver)
        else:
            self._arrive(deliver)

    def land(self) -> None:
        """Have everything that is under way arrive now, in the order in which it was sent."""
        for deliver, timer in list(self._under_way.items()):
            timer.cancel()
            self._arrive(deliver)

    def cut(self) -> None:
        """Begin a partition: nothing arrives any more, in either direction."""
        self.up = False
        for watch in self.watches:
            watch.hold()

    def mend(self, *, lose: bool) -> None:
        """End it. `lose`: what was sent meanwhile is lost and watches break; else it arrives after all."""
        self.up = True
        kept, self._kept = self._kept, []
        for watch in self.watches:
            watch.go_on()
            if lose:
                watch.break_off()
        if not lose:
            for deliver in kept:
                self.send(deliver)

    def attach(self, watch: Watch) -> None:
        """Have a watch come over this link."""
        self.watches = [*(each for each in self.watches if each.open), watch]
        if not self.up:
            watch.hold()

    def _arrive(self, deliver: Callable[[], None]) -> None:
        self._under_way.pop(deliver, None)
        if self.up:
            deliver()
        else:
            self._kept.append(deliver)
