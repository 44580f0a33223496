"""One term of leadership: the right to write, and when it ends.

A term that is over stays over. It ends when its time has run out, counted from the moment the last
successful renewal was *sent*, or when the elector ends it. Nothing brings it back: neither a renewal that was
sent in time and answered later, nor a clock that is set back. To lead again takes a new term.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from .clock import Clock
from .errors import LeadershipLost

__all__ = ["Lease"]


class Lease:
    """One term of leadership, given to the guarded work by the elector.

    Time is read from `clock.elapsed()`, which counts while the machine sleeps, and it is read at each check:
    after a stall the event loop runs what has become readable before timers that are overdue, so a timer
    alone would come too late.
    """

    __slots__ = (
        "_clock",
        "_confirm",
        "_deadline",
        "_ended_at",
        "_reason",
        "created",
        "doubtful",
        "identity",
        "lease_duration",
        "release_when",
        "released",
        "term",
        "transitions",
    )

    def __init__(
        self,
        *,
        clock: Clock,
        identity: str,
        transitions: int,
        term: int,
        released: bool,
        doubtful: bool,
        created: bool = False,
        lease_duration: float,
        deadline: float,
    ) -> None:
        self._clock = clock
        self._confirm: Callable[[], Awaitable[None]] | None = None
        self._deadline = deadline
        self._ended_at = math.inf
        self._reason = ""
        self.identity = identity
        """The candidate's name in the lock object, different for every elector ever made."""
        self.transitions = transitions
        """How often the lock has changed hands, as the lock object counts."""
        self.term = term
        """The number of this term in this process: 1, 2, …"""
        self.released = released
        """The predecessor left in good order: nothing of it can still be on its way."""
        self.doubtful = doubtful
        """Somebody may lead who doesn't know of us yet: wait `lease_duration` before relying on this term.

        So it is when we created the lock object (it may have been deleted under a leader), or found our own
        name in a version that we didn't see written (what it replaced isn't known).
        """
        self.created = created
        """There was no lock object, and the answer to our making one came in: then nobody had it before us,
        or it was deleted.
        """
        self.lease_duration = lease_duration
        """Seconds for which others wait before they take the lock by force."""
        self.release_when: Callable[[], bool] = lambda: True
        """Asked once, when the guarded work has ended: may the lock be released, or is it left to expire?

        Say no while a write's outcome is unknown: whoever takes over a released lock relies on that.
        """

    @classmethod
    def unelected(cls, *, clock: Clock, identity: str, term: int = 1, lease_duration: float = 15.0) -> Lease:
        """A term for a process that leads without an election: it lasts until it is ended.

        It is not `released`, since nobody knows who wrote before, and not `doubtful`: waiting wouldn't help.
        """
        return cls(
            clock=clock,
            identity=identity,
            transitions=0,
            term=term,
            released=False,
            doubtful=False,
            lease_duration=lease_duration,
            deadline=math.inf,
        )

    def __repr__(self) -> str:
        state = f"valid for {self.remaining():.3f} s" if self.valid else f"lost: {self._reason}"
        marks = "".join(f", {mark}" for mark in ("released", "doubtful") if getattr(self, mark))
        return f"<Lease of {self.identity}, term {self.term}, transitions {self.transitions}{marks}, {state}>"

    def check(self) -> None:
        """Make sure that this term still lasts; call it in the same step in which a write is handed over.

        Raises:
            LeadershipLost: it is over, for good.
        """
        if not self.valid:
            raise LeadershipLost(self._reason)

    async def confirm(self) -> None:
        """Make sure, by a consistent read of the lock, that it is ours still: nobody was elected up to now.

        `check` tells what is right by our clock; this also finds a lock that was deleted or edited under us.
        It is for a step that must either come before the next election, or not be taken.

        Raises:
            LeadershipLost: this term is over, if only by what was just read.
            APIError, TransportError, TimeoutError: the lock can't be read now.
        """
        self.check()
        if self._confirm is not None:
            await self._confirm()
            self.check()

    def confirm_by(self, confirm: Callable[[], Awaitable[None]]) -> None:
        """Use `confirm` to read the lock. The elector calls it."""
        self._confirm = confirm

    @property
    def valid(self) -> bool:
        """Whether this term still lasts. Once False it stays False."""
        if self._ended_at == math.inf and self._clock.elapsed() >= self._deadline:
            self._end("the lease wasn't renewed in time", self._deadline)
        return self._ended_at == math.inf

    @property
    def ended_at(self) -> float:
        """The elapsed time at which this term ended, in seconds; infinite while it lasts."""
        return self._ended_at if not self.valid else math.inf

    def remaining(self) -> float:
        """Seconds until this term ends unless it is renewed; 0.0 when it is over."""
        return max(0.0, self._deadline - self._clock.elapsed()) if self.valid else 0.0

    def extend(self, deadline: float) -> None:
        """Let this term last until `deadline`, unless it is over already. The elector calls it."""
        if self.valid:
            self._deadline = max(self._deadline, deadline)

    def end(self, reason: str) -> None:
        """End this term now, unless it is over already. The elector calls it; the first reason stays."""
        if self.valid:
            self._end(reason, self._clock.elapsed())

    def _end(self, reason: str, when: float) -> None:
        self._reason, self._ended_at = reason, when
