"""An informer keeps a cache of one kind of object, and tells handlers what changes in it.

This is the façade: :mod:`nodeipam.runtime.listwatch` gets the objects, :mod:`nodeipam.runtime.delivery` hands
them on. Invariant: whoever waits for the informer learns how it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Generic, NoReturn, TypeVar, overload

from .client import Client
from .delivery import Delivery, Handler, Registration
from .errors import KubeError
from .listwatch import ListWatch, Selection
from .objects import Request, Resource
from .ownwrites import OwnWrites
from .reflector import Reflector, ReflectorOptions
from .slices import Slices
from .store import IndexFunction, Store
from .tasks import TaskScope
from .watchevent import EventDecoder

__all__ = ["Handler", "Informer", "Registration"]

T = TypeVar("T")


class Informer(Generic[T]):
    """Lists and watches one kind of object while :meth:`run` runs.

    Args:
        resource: the kind.
        client: asks the server; its clock, random source and metrics are used too.
        namespace: only objects in it; empty: in all.
        label_selector: only objects that match it.
        field_selector: only objects that match it.
        transform: makes of a decoded object what is cached, to save memory. The result needs a `metadata` as
            well. An object on which it raises can't be cached: the list fails until it is mended.
        indexes: index functions of the store, by name.
        options: how to list and watch.
    """

    @overload
    def __init__(
        self,
        resource: Resource[T],
        client: Client,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        transform: None = None,
        indexes: Mapping[str, IndexFunction[T]] | None = None,
        options: ReflectorOptions | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        resource: Resource[Any],
        client: Client,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        transform: Callable[[Any], T],
        indexes: Mapping[str, IndexFunction[T]] | None = None,
        options: ReflectorOptions | None = None,
    ) -> None: ...

    def __init__(
        self,
        resource: Resource[Any],
        client: Client,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        transform: Callable[[Any], T] | None = None,
        indexes: Mapping[str, IndexFunction[T]] | None = None,
        options: ReflectorOptions | None = None,
    ) -> None:
        settings = options or ReflectorOptions()
        self.resource = resource
        self._client = client
        self._waiters: dict[asyncio.Future[None], Callable[[], bool]] = {}
        self._started = False
        self._ended: BaseException | None = None
        self._writes = OwnWrites()
        self._reflector = Reflector(resource, settings, rng=client.rng)
        self._delivery: Delivery[T] = Delivery(
            Store(resource, indexes=indexes),
            self._writes,
            self._wake,
            slices=lambda: Slices(client.clock, settings.slice),
        )
        self._listwatch: ListWatch[T] = ListWatch(
            client,
            resource,
            selection=Selection(
                namespace=namespace, label_selector=label_selector, field_selector=field_selector
            ),
            options=settings,
            reflector=self._reflector,
            decoder=EventDecoder(resource, transform),
            target=self._delivery,
        )

    def __repr__(self) -> str:
        held = f"{len(self.store)} objects at {self.version}" if self.synced else "nothing yet"
        parts = [held, self._state()]
        silence = self._silence()
        if self.synced and silence is not None:
            parts.append(f"last event {silence:.0f} s ago")
        if self.problem:
            parts.append(self.problem)
        return f"<Informer {self.resource}: {', '.join(parts)}>"

    @property
    def store(self) -> Store[T]:
        """The cache. Empty until `run` runs."""
        return self._delivery.store

    @property
    def version(self) -> int:
        """The resourceVersion up to which every handler has processed everything; -1: nothing can be said.

        Handlers that were added late and are still being given the cache's content aren't waited for. It goes
        back only with a list that is older than the cache, which is what a restored etcd looks like.
        """
        return self._delivery.version

    @property
    def replaces(self) -> int:
        """How many lists every handler has processed."""
        return self._delivery.replaces

    @property
    def replacing(self) -> bool:
        """Whether a list is being handed on: the store is new, and what handlers know is a mixture."""
        return self._delivery.replacing

    @property
    def problem(self) -> str | None:
        """Why it can't list or watch now; None when it can."""
        return self._reflector.problem

    @property
    def synced(self) -> bool:
        """Whether every handler that was registered at the start has processed the first list."""
        return self.replaces > 0

    async def wait_synced(self) -> None:
        """Wait for `synced`. Raises as :meth:`wait` does."""
        await self.wait(lambda: self.synced)

    async def wait(self, predicate: Callable[[], bool]) -> None:
        """Wait until `predicate` holds. It is asked now and after each processed event, bookmark or list.

        It holds when this returns, and what it raises is raised here. May be cancelled at any time.

        Raises:
            KubeError: the informer was stopped.
            Exception: what :meth:`run` raised, if that ended it.
        """
        while not predicate():
            if self._ended is not None:
                raise self._ended
            waiter = asyncio.get_running_loop().create_future()
            self._waiters[waiter] = predicate
            try:
                await waiter
            finally:
                del self._waiters[waiter]

    def add_handler(self, handler: Handler[T]) -> Registration[T]:
        """Tell `handler` of every object and change from now on, until the registration is removed.

        When the cache is filled already, its content is given as `on_add(…, initial=True)`, in slices, by the
        informer's own task; what changes meanwhile comes in its place in each object's life.
        """
        registration = Registration(handler, self.resource, self.wait, self._remove)
        self._delivery.add(registration)
        return registration

    def expect(self, request: Request, resource_version: str) -> None:
        """Note that a write of ours to this object was answered with this resourceVersion.

        The object isn't `current` from now on until the cache has processed that version or a later one, or a
        list that is older than the cache.

        Raises:
            ValueError: `resource_version` is no number.
        """
        version = int(resource_version)
        if version > self.version:
            self._writes.expect(request, version)

    def current(self, request: Request) -> bool:
        """Whether the cache shows every write to this object that was announced by `expect`."""
        return request not in self._writes

    def notify(self, request: Request, callback: Callable[[], None]) -> None:
        """Call `callback` once, synchronously, as soon as the object is `current`: now, if it is.

        What it raises ends the informer.
        """
        self._writes.notify(request, callback)

    async def run(self) -> NoReturn:
        """List and watch until cancelled. An informer runs once.

        Raises:
            Exception: what a handler or an index function raised; the cache isn't to be relied on any more.
        """
        if self._started:
            raise RuntimeError(f"{self!r} was run before")
        self._started = True
        ended: BaseException = KubeError(f"the informer of {self.resource} was stopped")
        try:
            await self._run()
        except Exception as error:
            ended = error
            raise
        finally:
            self._ended = ended
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def _run(self) -> NoReturn:
        metrics = self._client.metrics
        self._reflector.activity = self._client.clock.monotonic()
        metrics.reflector_last_activity.attach(str(self.resource), self._age)
        try:
            async with TaskScope() as scope:
                scope.create_task(self._delivery.replay())
                await self._listwatch.run()
        except BaseExceptionGroup as failures:
            first, *others = failures.exceptions
            raise first from failures if others else None
        finally:
            metrics.reflector_last_activity.detach(str(self.resource), self._age)

    def _wake(self) -> None:
        for waiter, predicate in tuple(self._waiters.items()):
            if not waiter.done() and _holds_or_raises(predicate):
                waiter.set_result(None)

    def _remove(self, registration: Registration[T]) -> None:
        self._delivery.remove(registration)
        self._wake()

    def _state(self) -> str:
        if self._ended is not None:
            return "ended"
        if not self._started:
            return "not started"
        return "handing on a list" if self.replacing else self._reflector.state

    def _silence(self) -> float | None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return None  # a repr in a debugger: the clock is the loop's
        return self._age()

    def _age(self) -> float:
        now = self._client.clock.monotonic()
        activity = self._reflector.activity
        return 0.0 if activity is None else now - activity


def _holds_or_raises(predicate: Callable[[], bool]) -> bool:
    try:
        return predicate()
    except Exception:  # noqa: BLE001 - whoever waits asks again and gets the exception
        return True
