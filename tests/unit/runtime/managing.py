"""A stage for managers: an API server model, and a story of what happens on it, in words and in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from nodeipam.runtime import (
    Answer,
    Call,
    Client,
    Controller,
    Election,
    Informer,
    Lease,
    Manager,
    ManagerOptions,
    Request,
    Result,
)
from nodeipam.testing import APIServer, Fault, ModelTransport, VirtualClock

from .electing import LEASES, is_watch
from .scripted import WIDGETS, Widget

__all__ = ["LEASES", "WIDGETS", "Job", "Stage", "ended", "until"]


class Stage:
    """One server with two widgets; what its clients and their managers do is told in `story`."""

    def __init__(self) -> None:
        self.server = APIServer()
        self.server.register("example.com/v1", "Widget", "widgets", namespaced=False, status=True)
        self.story: list[str] = []
        for name in ("a", "b"):
            self.widget(name)

    def widget(self, name: str) -> None:
        """Create a widget."""
        self.server.put({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}})

    def client(self, name: str = "me") -> Client:
        """A client that the server knows by this name."""
        transport = _Told(ModelTransport(self.server, identity=name), self.story)
        return Client(transport, clock=VirtualClock(), rng=random.Random(name))

    def manager(self, name: str = "me", *, elected: bool = True, **options: Any) -> Manager:
        """A manager with nothing in it yet."""
        election = Election(namespace="default", name="x", id=name) if elected else None
        return Manager(self.client(name), ManagerOptions(name=name, election=election, **options))

    def controller(self, informer: Informer[Widget], *, seconds: float = 0.0, **options: Any) -> Controller:
        """A controller whose reconciles take so long, and are told in the story."""

        async def reconcile(request: Request) -> Result | None:
            self.story.append(f"reconcile {request}")
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                self.story.append(f"cancelled {request}")
                raise
            self.story.append(f"reconciled {request}")
            return None

        return Controller(
            options.pop("name", "widgets"),
            reconcile,
            sources=[informer],
            **options,
        )

    def gate(self, *, seconds: float = 0.0) -> Callable[[Lease], Awaitable[None]]:
        """A gate that takes so long."""

        async def gate(lease: Lease) -> None:
            self.story.append(f"gate of term {lease.term}")
            await asyncio.sleep(seconds)
            self.story.append("gate passed")

        return gate

    def fault(self, action: Any, match: Callable[[Call], bool], **options: Any) -> Fault:
        """Have something go wrong."""
        fault = Fault(match=match, action=action, **options)
        self.server.faults.append(fault)
        return fault

    def holder(self) -> str | None:
        """Who holds the lease; "": it was released; None: there is none."""
        leases = self.server.objects(LEASES)
        return leases[0]["spec"]["holderIdentity"] if leases else None

    def told(self, *words: str) -> list[str]:
        """The part of the story that begins with one of these words."""
        return [line for line in self.story if line.startswith(words)]


class Job:
    """A runnable that runs until it is cancelled, and tells so; or fails, or ends, after `seconds`."""

    def __init__(
        self,
        story: list[str],
        name: str = "job",
        *,
        needs_leader: bool = True,
        seconds: float = 1e6,
        failure: Exception | None = None,
        cleaning: float = 0.0,
    ) -> None:
        self.needs_leader = needs_leader
        self._story = story
        self._name = name
        self._seconds = seconds
        self._failure = failure
        self._cleaning = cleaning

    async def run(self) -> None:  # noqa: D102 - as Runnable has it
        self._story.append(f"{self._name} began")
        try:
            await asyncio.sleep(self._seconds)
            if self._failure is not None:
                raise self._failure
        except asyncio.CancelledError:
            await asyncio.sleep(self._cleaning)
            raise
        finally:
            self._story.append(f"{self._name} ended")


class _Told:
    """A transport that tells of lists, watches and writes."""

    def __init__(self, inner: ModelTransport, story: list[str]) -> None:
        self.host = inner.host
        self._inner = inner
        self._story = story

    def open(self, call: Call) -> AbstractAsyncContextManager[Answer]:
        return self._open(call)

    @asynccontextmanager
    async def _open(self, call: Call) -> AsyncIterator[Answer]:
        word = _word(call)
        self._story.append(word)
        try:
            async with self._inner.open(call) as answer:
                yield answer
        finally:
            if is_watch(call):
                self._story.append(f"end of {word}")


def _word(call: Call) -> str:
    kind = next(kind for kind in ("widgets", "leases", "events", "nodes") if kind in call.path)
    if is_watch(call):
        return f"watch {kind}"
    if call.body is not None and b'"holderIdentity":""' in call.body:
        return "release"
    return f"{call.method} {kind}"


async def ended(task: asyncio.Task[None]) -> BaseException | None:
    """What a task ended with, when it has."""
    await asyncio.wait({task})
    return asyncio.CancelledError() if task.cancelled() else task.exception()


async def until(condition: Callable[[], object], *, seconds: float = 120.0) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions are about what the server holds, too
            await asyncio.sleep(0.01)
