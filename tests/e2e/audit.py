"""What the API server's audit log tells: who asked for what, when, and with which answer.

The times are the API server's own, and only what the audited users and ServiceAccounts did is in it
(see `controlplane.plane`).
"""

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.e2e.kube import Object

EPOCH = "networking.x-k8s.io/ipam-epoch"

_WRITES = ("create", "update", "patch", "delete")
_LOCKS = ("leases", "endpoints", "configmaps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request, once it was answered. Times are seconds since 1970, by the API server's clock."""

    received: float
    answered: float
    user: str
    verb: str
    resource: str  # with the subresource, as in nodes/status
    group: str
    name: str
    code: int
    allowed: bool
    body: Any

    @property
    def ok(self) -> bool:
        """Whether it was carried out."""
        return 200 <= self.code < 300

    @property
    def holder(self) -> str | None:
        """The holder that a write of a lock names; None for any other request."""
        if self.verb not in ("create", "update") or self.resource not in _LOCKS:
            return None
        if self.resource == "leases":
            return str(self.body["spec"].get("holderIdentity") or "")
        annotations = self.body["metadata"].get("annotations", {})
        record = annotations.get("control-plane.alpha.kubernetes.io/leader", "{}")
        return str(json.loads(record).get("holderIdentity") or "")

    @property
    def guarded(self) -> bool:
        """Whether only a leader may ask for it: a write of a Node or a ClusterCIDR."""
        return self.verb in _WRITES and self.resource.partition("/")[0] in ("nodes", "clustercidrs")

    @property
    def assigns(self) -> bool:
        """Whether it is to give a Node its ranges."""
        return self.verb == "patch" and self.resource == "nodes" and "spec" in self.body

    @property
    def fences(self) -> bool:
        """Whether it is to change a Node's epoch."""
        if self.verb != "patch" or self.resource != "nodes":
            return False
        return EPOCH in self.body.get("metadata", {}).get("annotations", {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One user's writes that only a leader may make, from the first up to the next user's first."""

    user: str
    entries: tuple[Entry, ...]

    @property
    def fences(self) -> list[Entry]:
        """The Nodes' epochs that it changed."""
        return [entry for entry in self.entries if entry.fences and entry.ok]

    @property
    def assigns(self) -> list[Entry]:
        """The ranges that it gave."""
        return [entry for entry in self.entries if entry.assigns and entry.ok]

    def __repr__(self) -> str:
        refused = sum(not entry.ok for entry in self.entries)
        return (
            f"<Term of {self.user}: {len(self.entries)} writes, {len(self.fences)} epochs, "
            f"{len(self.assigns)} ranges, {refused} refused>"
        )


class Audit:
    """Reads the log, from where it ended when this was made."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._start = log.stat().st_size if log.exists() else 0

    def entries(self, *users: str) -> list[Entry]:
        """What these users (everybody, if none is named) asked for, in the order in which it arrived."""
        found = [entry for entry in self._read() if not users or entry.user in users]
        return sorted(found, key=lambda entry: entry.received)

    def terms(self, *, after: float = 0.0) -> list[Term]:
        """Who wrote as a leader, one after the other; what was refused counts too."""
        writes = (entry for entry in self.entries() if entry.guarded and entry.received > after)
        groups = itertools.groupby(writes, key=lambda entry: entry.user)
        return [Term(user=user, entries=tuple(entries)) for user, entries in groups]

    async def assigned(self, *names: str) -> None:
        """Wait until the log shows the writes that gave these Nodes their ranges.

        A request is logged when it was answered, and by then watches have told of what it did.
        """
        missing = set(names)
        async with asyncio.timeout(10.0):
            while missing:
                await asyncio.sleep(0.05)
                missing -= {entry.name for entry in self.entries() if entry.ok and entry.assigns}

    def first(self, user: str, which: Callable[[Entry], bool], *, after: float = 0.0) -> Entry:
        """The first such request of a user that arrived after a moment."""
        for entry in self.entries(user):
            if entry.received > after and which(entry):
                return entry
        raise AssertionError(f"{user} made no such request; its terms: {self.terms()}")

    def last(self, user: str, which: Callable[[Entry], bool]) -> Entry:
        """The last such request of a user."""
        for entry in reversed(self.entries(user)):
            if which(entry):
                return entry
        raise AssertionError(f"{user} made no such request; its terms: {self.terms()}")

    def took_lock(self, user: str, *, after: float = 0.0) -> Entry:
        """The write by which a user became the lock's holder."""
        return self.first(user, lambda entry: entry.ok and bool(entry.holder), after=after)

    def _read(self) -> Iterator[Entry]:
        with self._log.open("rb") as log:
            log.seek(self._start)
            for line in log:
                if line.endswith(b"\n"):
                    yield _entry(json.loads(line))


def _entry(event: Object) -> Entry:
    reference = event.get("objectRef", {})
    subresource = reference.get("subresource")
    return Entry(
        received=_seconds(event["requestReceivedTimestamp"]),
        answered=_seconds(event["stageTimestamp"]),
        user=event["user"]["username"],
        verb=event["verb"],
        resource=reference.get("resource", "") + (f"/{subresource}" if subresource else ""),
        group=reference.get("apiGroup", ""),
        name=reference.get("name", ""),
        code=event.get("responseStatus", {}).get("code", 0),
        allowed=event.get("annotations", {}).get("authorization.k8s.io/decision") == "allow",
        body=event.get("requestObject"),
    )


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
