"""A client that answers what its script says, for tests of what lists and watches."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, cast

import msgspec

from nodeipam.runtime.client import Client
from nodeipam.runtime.clock import Clock
from nodeipam.runtime.informer import Informer
from nodeipam.runtime.metrics import Metrics
from nodeipam.runtime.objects import ObjectMeta, Resource
from nodeipam.testing.loop import VirtualClock


class Widget(msgspec.Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    size: int = 0


WIDGETS = Resource("example.com/v1", "Widget", plural="widgets", namespaced=False, type=Widget)


def widget(name: str, version: int, *, uid: str = "", size: int = 0) -> Widget:
    """An object of the kind; its UID follows from its name unless given."""
    return Widget(ObjectMeta(name=name, uid=uid or f"uid-{name}", resource_version=str(version)), size)


def wire(obj: Widget) -> dict[str, Any]:
    """The object as the server sends it."""
    return {"apiVersion": "example.com/v1", "kind": "Widget", **msgspec.to_builtins(obj)}


def event(type_: str, obj: Widget) -> bytes:
    """A line of a watch."""
    return _line(type_, wire(obj))


def bookmark(version: int, *, initial: bool = False) -> bytes:
    """A BOOKMARK, or the one that ends the initial events."""
    meta: dict[str, Any] = {"resourceVersion": str(version), "creationTimestamp": None}
    if initial:
        meta["annotations"] = {"k8s.io/initial-events-end": "true"}
    return _line("BOOKMARK", {"kind": "Widget", "apiVersion": "example.com/v1", "metadata": meta})


def error(code: int, reason: str = "", message: str = "") -> bytes:
    """An ERROR event."""
    return _line("ERROR", {"kind": "Status", "code": code, "reason": reason, "message": message})


def _line(type_: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": type_, "object": obj}, separators=(",", ":")).encode() + b"\n"


@dataclass
class Listing:
    """The answer to a list: its objects in pages of two, unless an exception stands among them."""

    version: int | str
    objects: Sequence[Widget | Exception] = ()


@dataclass
class Stream:
    """The answer to a watch: lines, seconds to wait, exceptions to raise; at its end the stream closes."""

    steps: Iterable[bytes | float | Exception] = ()


@dataclass
class Page:
    items: list[Widget]
    resource_version: str


HANG = float("inf")
"""A step of a Stream: nothing more comes."""


@dataclass
class ScriptedClient:
    """Answers each call with the next Listing, Stream or exception of its script; then watches hang."""

    script: list[Any]
    clock: Clock = field(default_factory=VirtualClock)
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    metrics: Metrics = field(default_factory=Metrics)
    host: str = "scripted"
    calls: list[tuple[str, float, dict[str, Any]]] = field(default_factory=list)
    """What was called, when, with which arguments."""
    open: int = 0
    """Pagers and streams that are open now."""

    def pages(self, resource: Resource[Any], **arguments: Any) -> _Pages:
        """As the client does."""
        return _Pages(self, self._answer("list", arguments))

    def watch(self, resource: Resource[Any], **arguments: Any) -> _Stream:
        """As the client does."""
        return _Stream(self, self._answer("watch", arguments))

    def _answer(self, verb: str, arguments: dict[str, Any]) -> Any:
        self.calls.append((verb, self.clock.monotonic(), arguments))
        if self.script:
            return self.script.pop(0)
        return Stream([HANG]) if verb == "watch" else AssertionError("a list that the script doesn't know of")

    @property
    def verbs(self) -> list[str]:
        """What was called, in order."""
        return [verb for verb, _, _ in self.calls]

    @property
    def times(self) -> list[float]:
        """When each call was made."""
        return [time for _, time, _ in self.calls]

    @property
    def watched(self) -> list[str]:
        """The resourceVersion of each watch."""
        return [arguments["resource_version"] for verb, _, arguments in self.calls if verb == "watch"]


class _Answering:
    def __init__(self, client: ScriptedClient, answer: Any) -> None:
        self._client = client
        self._answer = answer

    async def __aenter__(self) -> Self:
        await asyncio.sleep(0)
        if isinstance(self._answer, Exception):
            raise self._answer
        self._client.open += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.open -= 1
        await asyncio.sleep(0)


class _Pages(_Answering):
    async def __aenter__(self) -> Self:
        if isinstance(self._answer, Listing):
            self._rest: list[Widget | Exception] | None = list(self._answer.objects)
        return await super().__aenter__()

    async def next(self) -> Page | None:
        """As the client does."""
        await asyncio.sleep(0)
        if self._rest is None:
            return None
        taken, self._rest = self._rest[:2], self._rest[2:] or None
        for item in taken:
            if isinstance(item, Exception):
                raise item
        return Page([item for item in taken if isinstance(item, Widget)], str(self._answer.version))


class _Stream(_Answering):
    async def __aenter__(self) -> Self:
        if isinstance(self._answer, Stream):
            self._steps = iter(self._answer.steps)
        return await super().__aenter__()

    async def next(self) -> bytes | None:
        """As the client does."""
        for step in self._steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, bytes):
                return step
            if step == HANG:
                await asyncio.get_running_loop().create_future()
            await asyncio.sleep(step)
        return None


class Recorder:
    """A handler that writes down what it is told, in words; `fail_on` is the word at which it raises."""

    def __init__(self, *, fail_on: str = "", failure: Exception | None = None) -> None:
        self.told: list[str] = []
        self._fail_on = fail_on
        self._failure = failure or RuntimeError("a handler's bug")

    def on_add(self, obj: Widget, initial: bool) -> None:  # noqa: FBT001 - as in client-go
        """Note it."""
        self._note(f"{'initial' if initial else 'add'} {_short(obj)}")

    def on_update(self, old: Widget, new: Widget) -> None:
        """Note it."""
        self._note(f"update {_short(old)} to {_short(new)}")

    def on_delete(self, obj: Widget) -> None:
        """Note it."""
        self._note(f"delete {_short(obj)}")

    def _note(self, word: str) -> None:
        self.told.append(word)
        if self._fail_on and word.startswith(self._fail_on):
            raise self._failure


def _short(obj: Widget) -> str:
    return f"{obj.metadata.name}@{obj.metadata.resource_version}"


def informer_of(client: ScriptedClient, **arguments: Any) -> Informer[Widget]:
    """An informer of the kind on a scripted client."""
    return Informer(WIDGETS, cast("Client", client), **arguments)


@contextlib.asynccontextmanager
async def running(informer: Informer[Any]) -> AsyncIterator[asyncio.Task[Any]]:
    """The informer runs in a task; it is cancelled and awaited at the end."""
    task = asyncio.create_task(informer.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
