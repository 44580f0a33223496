"""A list in pages, the next of which is asked for before the last was read to its end.

Kubernetes says in a page's first bytes, before the items, whether another follows. (So it does for built-in
kinds; lists of custom resources may end with it: then the next page is asked for once this one is decoded.)
One page ahead of the consumer, never more, so that a slow consumer costs no memory.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import msgspec

from .errors import ProtocolError

__all__ = ["Page", "Pages", "find_continue"]

T = TypeVar("T")

_CONTINUE = re.compile(rb'"continue"\s*:\s*"([A-Za-z0-9_=.+/-]*)"')
_ITEMS = b'"items"'
_HEAD = 64 * 1024
"""Bytes in which a token is looked for."""


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A part of a consistent list."""

    items: list[T]
    resource_version: str
    """The version of the whole list, the same on each page."""
    continue_: str = ""
    """The token of the next page; empty on the last."""
    remaining: int | None = None
    """About how many objects follow, where the server says so."""


Seen = Callable[[str], None]
Fetch = Callable[[str, Seen], Coroutine[Any, Any, Page[T]]]
"""Fetches the page of a token, and tells the token of the next as soon as it is seen."""


class Pages(Generic[T]):
    """The pages of one list: ``async with client.pages(NODES) as pages: while page := await pages.next()``.

    Leaving the context cancels and awaits what is still under way.
    """

    def __init__(self, fetch: Fetch[T]) -> None:
        self._fetch = fetch
        self._current: _Fetching[T] | None = None
        self._ahead: _Fetching[T] | None = None
        self._asked = False
        self._over = False

    def __repr__(self) -> str:
        return f"<Pages {'over' if self._over else 'under way' if self._current else 'not asked for yet'}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def next(self) -> Page[T] | None:
        """The next page, None after the last. Cancelling it loses no page.

        Raises:
            APIError: the server refused; 410 when the list has taken so long that its version is gone.
            TransportError: there was no answer. After an error the list can't be continued.
        """
        if self._over:
            return None
        if self._current is None:
            self._current = self._start("")
        self._asked = True
        self._look_ahead()
        await asyncio.wait({self._current.task})
        self._over = True  # unless this page is a good one, and another follows
        page = self._current.task.result()
        if page.continue_:
            self._turn(page.continue_)
            self._over = False
        return page

    async def close(self) -> None:
        """Cancel and await what is under way."""
        self._over = True
        tasks = [fetching.task for fetching in (self._current, self._ahead) if fetching is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # nobody will ask for it any more, and asyncio wants it to be looked at

    def _turn(self, token: str) -> None:
        """Make the page of `token` the current one."""
        if self._current is not None and self._current.token == token:
            raise ProtocolError(f"a page of the list is followed by itself (continue: {token[:40]!r})")
        if self._ahead is not None and self._ahead.token != token:
            raise ProtocolError(f"a page of the list has two tokens (continue: {token[:40]!r})")
        self._current, self._ahead = self._ahead or self._start(token), None
        self._asked = False

    def _look_ahead(self) -> None:
        current = self._current
        if self._asked and self._ahead is None and current is not None and current.following:
            self._ahead = self._start(current.following)

    def _start(self, token: str) -> _Fetching[T]:
        return _Fetching(token, self._fetch, self._look_ahead)


class _Fetching(Generic[T]):
    """One page under way: its own token, and the one of the page that follows as soon as that is known."""

    __slots__ = ("_noticed", "following", "task", "token")

    def __init__(self, token: str, fetch: Fetch[T], noticed: Callable[[], None]) -> None:
        self.token = token
        self.following = ""
        self._noticed = noticed
        self.task = asyncio.get_running_loop().create_task(fetch(token, self._see), name="list page")

    def _see(self, token: str) -> None:
        self.following = token
        self._noticed()


def find_continue(head: bytes) -> str | None:
    """The token in a page's first bytes; "" if there is none before the items, None if it may still come."""
    items = head.find(_ITEMS)
    found = _CONTINUE.search(head, 0, items if items >= 0 else len(head))
    if found:
        return found[1].decode()
    return "" if items >= 0 or len(head) > _HEAD else None
