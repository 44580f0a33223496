"""Faults as data: what goes wrong, for which request, how often.

A list of these on the server is asked in order at each request; the first that matches decides its fate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from nodeipam.runtime.errors import ConfigurationError
from nodeipam.runtime.transport import Call

__all__ = ["Action", "Fault"]

Action = Literal[
    "delay",  # carried out and answered `delay` seconds later than usual
    "drop_after",  # carried out, but the client gets a TransportError
    "drop_before",  # never carried out; the client gets a TransportError
    "error_after",  # carried out, but answered with `status`
    "error_before",  # never carried out; answered with `status`
    "hang",  # never carried out, never answered: the client's own timeout ends it
    "hang_after",  # carried out, never answered
    "late",  # the client gets a TransportError at once, and it is carried out `delay` seconds later
    "stall",  # a watch: opens, and then neither events nor bookmarks come
]


@dataclass(kw_only=True, slots=True, eq=False)
class Fault:
    """One thing that goes wrong."""

    match: Callable[[Call], bool]
    """Which requests it meets, of those that come from `identity`."""
    action: Action
    status: int = 503
    """The answer of the error actions."""
    body: bytes | None = None
    """Their body, in place of a Status: a login page, say. It is sent as text/html."""
    retry_after: int | None = None
    """Seconds for their Retry-After header."""
    delay: float = 0.0
    """Seconds, of `delay` and `late`."""
    times: int | None = 1
    """How many requests it meets; None: all, until it is taken from the list."""
    skip: int = 0
    """How many matching requests pass before the first that it meets."""
    identity: str | None = None
    """Whose requests it meets; None: everybody's."""
    met: int = 0
    """How many requests it has met so far."""

    def __post_init__(self) -> None:
        if self.action not in get_args(Action):
            raise ConfigurationError(
                f"no such fault: {self.action!r}; there are {', '.join(get_args(Action))}"
            )
        if self.delay < 0 or self.skip < 0 or (self.times is not None and self.times < 1):
            raise ConfigurationError(
                f"a fault's delay and skip can't be negative and times is at least 1, "
                f"not delay={self.delay}, skip={self.skip}, times={self.times}"
            )

    def meets(self, call: Call, identity: str) -> bool:
        """Whether this request is the one; counts it."""
        if self.times is not None and self.met >= self.times:
            return False
        if self.identity is not None and self.identity != identity:
            return False
        if not self.match(call):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.met += 1
        return True
