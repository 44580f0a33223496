"""Faults as data: what goes wrong, for which request, how often.

A list of these on the server is asked in order at each request; the first that matches decides its fate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import msgspec

from nodeipam.runtime.errors import ConfigurationError
from nodeipam.runtime.transport import Call

from .listoptions import asks_to_watch
from .routing import Place, place_of

__all__ = ["Action", "Fault", "Requests"]

Action = Literal[
    "delay",  # carried out and answered `delay` seconds later than usual
    "slow",  # carried out as usual, but answered `delay` seconds later
    "drop_after",  # carried out, but the client gets a TransportError
    "drop_before",  # never carried out; the client gets a TransportError
    "error_after",  # carried out, but answered with `status`
    "error_before",  # never carried out; answered with `status`
    "hang",  # never carried out, never answered: the client's own timeout ends it
    "hang_after",  # carried out, never answered
    "late",  # the client gets a TransportError at once, and it is carried out `delay` seconds later
    "crash",  # carried out, but the client's host dies in the moment in which it has sent it
    "crash_before",  # the client's host dies in the moment before it would have sent it
    "pause",  # carried out, but the client's host stands still for `delay` seconds once it has sent it
    "pause_before",  # the client's host stands still for `delay` seconds before the request leaves it
    "stall",  # a watch: opens, and then neither events nor bookmarks come
    "lag",  # a watch: whatever it tells comes `delay` seconds late, as from a stale server
    "duplicate",  # a watch: every line comes twice
    "cut",  # a watch: breaks off in the midst of the first line after `delay` seconds
    "drop",  # a watch: the connection is lost `delay` seconds after it opened
    "close",  # a watch: the server ends it `delay` seconds after it opened
]


class Requests(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which requests a fault meets, as data: those for which all that is given holds."""

    verbs: tuple[str, ...] = ()
    """Kubernetes' verbs, "patch" or "watch" say; none: all of them. "write" stands for all that write."""
    resource: str = ""
    """The plural; empty: every kind."""
    name: str = ""
    """Of the object; empty: every one."""
    subresource: str | None = None
    """None: with or without one; empty: only without."""
    body: str = ""
    """Text that what it carries contains; empty: whatever it carries."""

    def __call__(self, call: Call) -> bool:
        """Whether this request is among them."""
        place = place_of(call.path) or _NOWHERE
        return (
            (not self.verbs or _is_one_of(self.verbs, _verb(call, place.name)))
            and self.resource in ("", place.plural)
            and self.name in ("", place.name)
            and self.subresource in (None, place.subresource)
            and (not self.body or self.body.encode() in (call.body or b""))
        )


@dataclass(kw_only=True, slots=True, eq=False)
class Fault:
    """One thing that goes wrong."""

    match: Callable[[Call], bool]
    """Which requests it meets, of those that come from `identity`: a `Requests`, or any function."""
    action: Action
    status: int = 503
    """The answer of the error actions."""
    body: bytes | None = None
    """Their body, in place of a Status: a login page, say. It is sent as text/html."""
    retry_after: int | None = None
    """Seconds for their Retry-After header."""
    delay: float = 0.0
    """Seconds, of the actions that name it."""
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


_NOWHERE = Place("", "", "", "", "", "")
_WRITES = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def _is_one_of(verbs: tuple[str, ...], verb: str) -> bool:
    return verb in verbs or ("write" in verbs and verb not in ("get", "list", "watch"))


def _verb(call: Call, name: str) -> str:
    if call.method == "GET":
        return "watch" if asks_to_watch(call.query) else "get" if name else "list"
    if call.method == "DELETE" and not name:
        return "deletecollection"
    return _WRITES.get(call.method, call.method.lower())
