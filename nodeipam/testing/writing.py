"""Creating, changing and deleting objects in the API server model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from . import rules, status
from .patches import patched
from .routing import Target
from .storage import Collection, Key, Record, Storage

__all__ = ["Writer"]


class Writer:
    """The writing verbs. Each is one synchronous step that either changes the storage or raises a Refusal."""

    def __init__(self, storage: Storage, timestamp: Callable[[], str]) -> None:
        self._storage = storage
        self._timestamp = timestamp
        self._made = 0

    def existing(self, target: Target) -> Record:
        """The object as it is; 404 if it isn't there."""
        record = self._collection(target).records.get(_key(target))
        if record is None:
            raise status.not_found(target.kind.plural, target.kind.group, target.name)
        return record

    def create(self, target: Target, body: dict[str, Any]) -> Record:
        """POST, and the first PUT of a kind that is made by one."""
        kind = target.kind
        made = rules.created(
            kind,
            body,
            namespace=target.namespace,
            uid=self.new_uid(),
            suffix=f"{self._made:05d}",
            timestamp=self._timestamp(),
        )
        key = (target.namespace, made["metadata"]["name"])
        if key in self._collection(target).records:
            raise status.already_exists(kind.plural, kind.group, key[1])
        return self._storage.put(kind.name, key, made)

    def replace(self, target: Target, data: bytes | None) -> tuple[Record, bool]:
        """PUT; and whether it created the object.

        A UID in the body is a precondition: where it is another's, or nobody's, the answer is 409. Where a
        PUT creates, a resourceVersion in the body is ignored.
        """
        kind = target.kind
        body = rules.decode_object(kind, data)
        metadata = body["metadata"]
        rules.check_name(metadata.get("name", ""), target.name)
        old = self._collection(target).records.get(_key(target))
        if old is None and not kind.create_on_update:
            raise status.not_found(kind.plural, kind.group, target.name)
        self._check_uid(target, metadata.get("uid", ""), old)
        if old is None:
            metadata = {k: v for k, v in metadata.items() if k != "resourceVersion"}
            return self.create(target, {**body, "metadata": metadata}), True
        return self._update(target, old, body), False

    def patch(self, target: Target, content_type: str, data: bytes | None) -> Record:
        """PATCH. A patch that changes nothing leaves the version."""
        old = self.existing(target)
        body = patched(target.kind, old.body, content_type, data)
        try:
            body = rules.typed(target.kind, body)
        except msgspec.ValidationError as error:
            raise status.unlike_its_kind(body, str(error)) from None
        return self._update(target, old, body)

    def delete(self, target: Target, data: bytes | None) -> tuple[Record, bool]:
        """DELETE; and whether the object is gone, or waits for its finalizers."""
        kind, old = target.kind, self.existing(target)
        asked = (_options(data).get("preconditions") or {}) if data else {}
        self._check_uid(target, asked.get("uid", ""), old)
        if asked.get("resourceVersion", old.metadata["resourceVersion"]) != old.metadata["resourceVersion"]:
            why = (
                f"Precondition failed: ResourceVersion in precondition: {asked['resourceVersion']}, "
                f"ResourceVersion in object meta: {old.metadata['resourceVersion']}"
            )
            raise status.conflict(kind.plural, kind.group, target.name, why)
        if not old.metadata.get("finalizers"):
            return self._storage.delete(kind.name, old.key, old.body), True
        if "deletionTimestamp" in old.metadata:
            return old, False
        return self._storage.put(
            kind.name, old.key, rules.terminating(old.body, timestamp=self._timestamp())
        ), False

    def new_uid(self) -> str:
        """A UID that no object of this server has had; the same in every run."""
        self._made += 1
        return f"{self._made:08x}-0000-4000-8000-{self._made:012x}"

    def _update(self, target: Target, old: Record, body: dict[str, Any]) -> Record:
        new = rules.updated(target.kind, old.body, body, subresource=target.subresource)
        if new == old.body:
            return old
        if "deletionTimestamp" in new["metadata"] and not new["metadata"].get("finalizers"):
            return self._storage.delete(target.kind.name, old.key, new)
        return self._storage.put(target.kind.name, old.key, new)

    def _check_uid(self, target: Target, asked: str, old: Record | None) -> None:
        found = old.metadata["uid"] if old else ""
        if asked and asked != found:
            why = f"Precondition failed: UID in precondition: {asked}, UID in object meta: {found}"
            raise status.conflict(target.kind.plural, target.kind.group, target.name, why)

    def _collection(self, target: Target) -> Collection:
        return self._storage.collection(target.kind.name)


def _key(target: Target) -> Key:
    return target.namespace, target.name


def _options(data: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise status.bad_request(f"error decoding the options: {error}") from None
