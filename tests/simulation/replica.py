"""One replica: a place where one process of the controller runs at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager

from nodeipam.runtime import Answer, Call, Election, Manager
from nodeipam.testing import Host, Link, ModelTransport, outside

from .observer import ranges
from .schedule import Run

__all__ = ["LOCK", "Replica", "Tap"]

LOCK = Election(namespace="nodeipam", name="node-ipam-controller")
"""What all of them campaign for."""


class Tap:
    """A replica's transport: what is sent is seen in the moment in which it is handed over."""

    def __init__(self, inner: ModelTransport, sent: Callable[[Call], None]) -> None:
        self._inner = inner
        self._sent = sent
        self.host = inner.host

    def open(self, call: Call) -> AbstractAsyncContextManager[Answer]:
        """Hand it on."""
        outside(self._sent, call)
        return self._inner.open(call)


class Replica:
    """A place where one process of the controller runs at a time."""

    def __init__(self, run: Run, link: Link) -> None:
        self.run = run
        self.link = link
        self.started = 0
        """How many processes there have been."""
        self.host: Host | None = None
        self.manager: Manager
        self.task: asyncio.Task[None]

    @property
    def name(self) -> str:
        """The name of the place; the API server takes all its processes for this."""
        return self.run.name

    @property
    def alive(self) -> bool:
        """Whether a process runs."""
        return self.host is not None and self.host.state != "dead" and not self.task.done()

    def knows(self, name: str, uid: str) -> bool:
        """Whether the process has this Node in its cache, with ranges."""
        for node in self.manager._informers[0].store.list():  # noqa: SLF001 - read as a debugger would
            if node.metadata.name == name:
                return bool(node.metadata.uid == uid and node.pod_cidrs)
        return False

    def serving(self) -> Iterator[str]:
        """The ranges of all ClusterCIDRs in its cache that aren't being deleted."""
        for pool in self.manager._informers[1].store.list():  # noqa: SLF001 - read as a debugger would
            if not pool.terminating:
                yield from ranges({"spec": pool.spec})
