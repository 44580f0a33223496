"""What the API server model remembers: every object, every change to it, under one counter of versions.

Invariant: a `Record` never changes once it is stored, so lists, watches and snapshots share them freely; the
state at any version since the last compaction can be told by undoing the changes after it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from .packing import Packed, Packing, unpacked

__all__ = ["Backup", "Change", "Collection", "Key", "Record", "Storage"]

Key = tuple[str, str]
"""Namespace and name: the order of a list."""
Twin = tuple[str, Callable[[Mapping[str, Any]], dict[str, Any]]]


class Record:
    """One version of one object. `body` is everything but kind and apiVersion, and must not be changed.

    With a `packing` it is in memory as that sees fit: what is asked for is the same.
    """

    __slots__ = ("_body", "_json", "_packed", "_packing", "key", "version")

    def __init__(self, key: Key, version: int, body: dict[str, Any], packing: Packing | None = None) -> None:
        self.key = key
        self.version = version
        self._body: dict[str, Any] | None = body
        self._json = msgspec.json.encode(body)
        self._packed: Packed | None = None
        self._packing = packing
        if packing is not None:
            packing.opened(self, len(self._json))

    @property
    def body(self) -> dict[str, Any]:
        """The object."""
        if self._body is not None:
            return self._body
        self._json = self.json()
        body: dict[str, Any] = msgspec.json.decode(self._json)
        self._body = body
        if self._packing is not None:
            self._packing.opened(self, len(self._json))
        return body

    @property
    def metadata(self) -> dict[str, Any]:
        """The object's metadata, which must not be changed."""
        found: dict[str, Any] = self.body["metadata"]
        return found

    def json(self) -> bytes:
        """The body as JSON."""
        return self._json or unpacked(self._packed or ())

    def partial(self) -> bytes:
        """Only the metadata, as JSON."""
        return msgspec.json.encode({"metadata": self.metadata})

    def pack(self, packing: Packing) -> int:
        """Keep only the packed JSON until the body is asked for again."""
        size = len(self._json)
        self._packed = self._packed or packing.packed(self._json)
        self._body, self._json = None, b""
        return size


class Change(NamedTuple):
    """One step of history: `record` is the new state, or of a deleted object its last one."""

    version: int
    type: str
    """ADDED, MODIFIED or DELETED."""
    record: Record
    previous: Record | None


class Collection:
    """All objects of one kind, in order of their keys, with their history."""

    def __init__(self) -> None:
        self.records: dict[Key, Record] = {}
        self.changes: list[Change] = []
        self.watchers: list[Callable[[Change], None]] = []
        self.begun = 0
        """The version from which on it is watched by the server, and can be by clients."""
        self._keys: list[Key] = []
        self._snapshot: tuple[int, list[Record]] | None = None

    def at(self, version: int) -> list[Record]:
        """The records that were current at `version`, in order. The caller must not change the list."""
        version = min(version, self.changes[-1].version if self.changes else 0)
        if self._snapshot is None or self._snapshot[0] != version:
            self._snapshot = version, self._build(version)
        return self._snapshot[1]

    def since(self, version: int) -> list[Change]:
        """The changes after `version`, in order."""
        return self.changes[bisect_left(self.changes, version + 1, key=_version_of) :]

    def apply(self, change: Change) -> None:
        """Make a change, and tell the watches, the oldest first."""
        key = change.record.key
        if change.type == "DELETED":
            del self.records[key]
            self._keys.pop(bisect_left(self._keys, key))
        else:
            if key not in self.records:
                insort(self._keys, key)
            self.records[key] = change.record
        self.changes.append(change)
        for watcher in tuple(self.watchers):
            watcher(change)

    def forget(self, version: int) -> None:
        """Forget the changes up to `version`, but for the last of all, which tells the state's version."""
        del self.changes[
            : min(bisect_left(self.changes, version + 1, key=_version_of), len(self.changes) - 1)
        ]

    def reset(self, records: Mapping[Key, Record]) -> None:
        """Hold these records, without a history."""
        self.records = dict(records)
        self.changes.clear()
        self._keys = sorted(records)
        self._snapshot = None

    def _build(self, version: int) -> list[Record]:
        later = self.since(version)
        if not later:
            return [self.records[key] for key in self._keys]
        records: dict[Key, Record | None] = dict(self.records)
        for change in reversed(later):
            records[change.record.key] = change.previous
        return [found for _, found in sorted(records.items()) if found is not None]


class Backup(NamedTuple):
    """What etcd's snapshot holds."""

    version: int
    records: Mapping[str, Mapping[Key, Record]]
    """By kind."""


class Storage:
    """All collections, and the counter that gives each change its version."""

    def __init__(self, twins: Mapping[str, Twin] = MappingProxyType({})) -> None:
        """`twins`: by kind, under which other kind its objects are found too, and how they look there."""
        self.version = 1
        self.compacted = 0
        """Versions below this one can't be listed or watched from any more."""
        self._twins = twins
        self._collections: dict[str, Collection] = {}
        self._packing = Packing()

    def collection(self, name: str) -> Collection:
        """All objects of the kind of that name."""
        return self._collections.setdefault(name, Collection())

    def begin(self, name: str, objects: Iterable[tuple[Key, dict[str, Any]]]) -> None:
        """Hold these objects from the beginning of time, before anybody could watch."""
        version = self.version
        records = {}
        for key, body in objects:
            metadata = {**body["metadata"], "resourceVersion": str(version)}
            records[key] = Record(key, version, {**body, "metadata": metadata})
        self.collection(name).reset(records)

    def put(self, name: str, key: Key, body: Mapping[str, Any]) -> Record:
        """Store `body` under the next version, which is written into its metadata."""
        previous = self.collection(name).records.get(key)
        return self._apply(name, "MODIFIED" if previous else "ADDED", key, body)

    def delete(self, name: str, key: Key, body: Mapping[str, Any]) -> Record:
        """Remove the object; `body`, its last state, is what the DELETED event shows."""
        return self._apply(name, "DELETED", key, body)

    def compact(self, *, keep: int = 0) -> None:
        """Forget the history but for the last `keep` versions: those before it are expired from now on."""
        self.compacted = max(self.compacted, self.version - keep)
        for collection in self._collections.values():
            collection.forget(self.compacted)

    def backup(self) -> Backup:
        """All that is stored now."""
        kinds = self._collections.items()
        return Backup(self.version, {name: dict(collection.records) for name, collection in kinds})

    def restore(self, backup: Backup, *, bump: int = 0) -> None:
        """Be as at the time of the backup. There is no history, and nobody is told.

        `bump`: by how much the next versions are raised, and all before them are compacted.
        """
        self.version = self.compacted = backup.version + bump
        for name, collection in self._collections.items():
            collection.reset(backup.records.get(name, {}))

    def _apply(self, name: str, type: str, key: Key, body: Mapping[str, Any]) -> Record:
        self.version += 1
        record = self._change(name, type, key, body)
        if (twin := self._twins.get(name)) is not None:
            self._change(twin[0], type, key, twin[1](body))
        return record

    def _change(self, name: str, type: str, key: Key, body: Mapping[str, Any]) -> Record:
        collection = self.collection(name)
        metadata = {**body["metadata"], "resourceVersion": str(self.version)}
        record = Record(key, self.version, {**body, "metadata": metadata}, self._packing)
        collection.apply(Change(self.version, type, record, collection.records.get(key)))
        return record


def _version_of(change: Change) -> int:
    return change.version
