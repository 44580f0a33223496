"""Mistakes about a write: what it depends on, and what is known of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from nodeipam.controllers import ledger, nodes
from nodeipam.runtime import (
    APIError,
    TransportError,
    controller,
    leader,
)
from nodeipam.runtime.informer import Informer

from .registry import Patch, Proxy, around, instead, mutant


def _without(field: str) -> Patch:
    def compose(original: Callable[..., dict[str, Any]], body: Any) -> dict[str, Any]:
        found = original(body)
        del found["metadata"][field]
        return found

    return partial(around, nodes._Body, "__call__", compose)


mutant("no UID precondition")(_without("uid"))
mutant("no resourceVersion precondition")(_without("resourceVersion"))


def _unchecked(original: Callable[..., dict[str, Any]], body: Any) -> dict[str, Any]:
    """Compose a body without asking whether the lease lasts."""
    reconciler = body.reconciler
    body.reconciler = Proxy(reconciler, lease=lambda: Proxy(None, check=lambda: None))
    try:
        return original(body)
    finally:
        body.reconciler = reconciler


@mutant("no lease check at the write, and nobody stops the work")
def _() -> None:
    around(nodes._Body, "__call__", _unchecked)
    instead(leader.Scope, "lost", lambda _: None)


@mutant("the lease is checked when the reconcile begins, not when it writes")
def _() -> None:
    around(nodes._Body, "__call__", _unchecked)


@mutant("a write of unknown outcome releases the block (D-13)")
def _() -> None:
    async def write(
        original: Callable[..., Awaitable[Any]], self: Any, request: Any, reservation: Any
    ) -> Any:
        try:
            return await original(self, request, reservation)
        except (TransportError, TimeoutError):
            self.ledger.release(reservation)
            raise
        except APIError as error:
            if error.code >= 500:
                self.ledger.release(reservation)
            raise

    around(nodes.NodeReconciler, "_write", write)


@mutant("a 429 after an attempt of unknown outcome releases the block")
def _() -> None:
    def refused(
        original: Callable[..., None], self: Any, request: Any, reservation: Any, error: APIError
    ) -> None:
        if error.code == 429:
            self.ledger.release(reservation)
        original(self, request, reservation, error)

    around(nodes.NodeReconciler, "_refused", refused)


@mutant("a 200 is believed before the ledger has the range")
def _() -> None:
    def answered(original: Callable[..., Any], self: Any, body: Any, version: str) -> Any:
        result = original(self, body, version)
        self.ledger.release(body.reservation)
        return result

    around(nodes.NodeReconciler, "_answered", answered)


@mutant("a 409 is answered with another block")
def _() -> None:
    async def denied(original: Callable[..., Awaitable[Any]], self: Any, body: Any, error: APIError) -> Any:
        if error.code == 409:
            self.ledger.release(body.reservation)
            raise error
        return await original(self, body, error)

    around(nodes.NodeReconciler, "_denied", denied)


@mutant("what a Node brings along doesn't stop a block that is reserved already")
def _() -> None:
    instead(ledger.Ledger, "overlapped", lambda *_: False)


@mutant("a sync before the cache shows our own write (D-44)")
def _() -> None:
    instead(controller.Controller, "_is_current", lambda *_: True)
    instead(Informer, "current", lambda *_: True)
