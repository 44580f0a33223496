"""The kinds that the API server model serves, and the CustomResourceDefinitions that decide about them.

Definitions are objects like others. Invariant: after each write to them, what is served is what they say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .definitions import DEFINITIONS, kind_of
from .kinds import BUILTIN_KINDS, Kind
from .storage import Record, Storage

__all__ = ["Registry"]


class Registry:
    """Kinds by name, as `str(Resource)` writes it."""

    def __init__(self, storage: Storage, end_watches: Callable[[str], None]) -> None:
        """`end_watches` is told the name of a kind that goes, or is served anew."""
        self.kinds = {kind.name: kind for kind in (*BUILTIN_KINDS, DEFINITIONS)}
        self._storage = storage
        self._end_watches = end_watches
        self._followed: dict[str, int] = {}
        """The generation of each definition that is in force, by the name of its kind."""

    def of(self, api_version: str, kind: str) -> Kind:
        """The kind of objects that name themselves so.

        Raises:
            KeyError: there is none.
        """
        for found in self.kinds.values():
            if (found.api_version, found.kind) == (api_version, kind):
                return found
        raise KeyError(f"no kind {kind!r} of {api_version!r} is registered")

    def add(self, kind: Kind) -> None:
        """Serve a kind, whether or not there is a definition."""
        self.kinds[kind.name] = kind

    def remove(self, name: str) -> None:
        """Serve a kind no more: its objects are deleted, its watches end."""
        del self.kinds[name]
        self._followed.pop(name, None)
        for record in list(self._storage.collection(name).records.values()):
            self._storage.delete(name, record.key, record.body)
        self._end_watches(name)
        definition = self._storage.collection(DEFINITIONS.name).records.get(("", name))
        if definition is not None:
            self._storage.delete(DEFINITIONS.name, definition.key, definition.body)

    def follow(self) -> None:
        """Serve what the definitions say now."""
        records = dict(self._storage.collection(DEFINITIONS.name).records)
        for name in [name for name in self._followed if ("", name) not in records]:
            self.remove(name)
        for record in records.values():
            name = record.key[1]
            if "deletionTimestamp" in record.metadata:
                self.remove(name)
            elif self._followed.get(name) != record.metadata["generation"]:
                self._define(name, record)

    def _define(self, name: str, record: Record) -> None:
        """The server's cache begins anew with each definition: older versions can't be watched from."""
        self.add(kind_of(whole(DEFINITIONS, record.body)))
        self._followed[name] = record.metadata["generation"]
        self._storage.collection(name).begun = record.version
        self._end_watches(name)


def whole(kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]:
    """The object with its kind."""
    return {"kind": kind.kind, "apiVersion": kind.api_version, **body}
