"""Creating, changing and deleting objects in the API server model.

Invariant: whatever goes through here is either written whole, or refused; a dry run is answered as if it had
been written.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec

from . import rules, status
from .patches import patch_type, patched
from .routing import Target
from .storage import Collection, Key, Record, Storage
from .writeoptions import DeleteOptions

__all__ = ["Writer"]

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Of made names: no vowels, and nothing that looks like something else."""
_TRIES = 8
"""How many names are made before one that is taken is the client's problem."""


class Writer:
    """The writing verbs. Each is one synchronous step that either changes the storage or raises a Refusal."""

    def __init__(self, storage: Storage, timestamp: Callable[[], str], rng: random.Random) -> None:
        self._storage = storage
        self._timestamp = timestamp
        self._rng = rng
        self._made = 0

    def existing(self, target: Target) -> Record:
        """The object as it is; 404 if it isn't there."""
        record = self._collection(target).records.get(_key(target))
        if record is None:
            raise status.not_found(target.kind.plural, target.kind.group, target.name)
        return record

    def create(self, target: Target, body: dict[str, Any], *, dry_run: bool = False) -> Record:
        """POST, and the first PUT of a kind that is made by one.

        Raises:
            Refusal: 403 or 404, the namespace is going or isn't there; 409, the name is taken; 400, 422 or
                500, the object can't be.
        """
        kind = target.kind
        name = rules.name_of(kind, body) or self._made_name(target, body["metadata"]["generateName"])
        self._check_namespace(target, name)
        made = rules.created(
            kind,
            body,
            namespace=target.namespace,
            name=name,
            uid=self.new_uid(),
            timestamp=self._timestamp(),
        )
        key = (target.namespace, name)
        if key in self._collection(target).records:
            raise status.already_exists(kind.plural, kind.group, name)
        return self._put(target, key, made, dry_run=dry_run)

    def replace(
        self, target: Target, data: bytes | None, *, strict: bool = False, dry_run: bool = False
    ) -> tuple[Record, bool]:
        """PUT; and whether it created the object.

        A UID in the body is a precondition: where it is another's, or nobody's, the answer is 409. Where a
        PUT creates, a resourceVersion in the body is ignored. `strict`: no field that the kind doesn't have.
        """
        kind = target.kind
        body = rules.decode_object(kind, data, strict=strict)
        metadata = body["metadata"]
        rules.check_name(metadata.get("name", ""), target.name)
        old = self._collection(target).records.get(_key(target))
        if old is None and not kind.create_on_update:
            raise status.not_found(kind.plural, kind.group, target.name)
        self._check_uid(target, metadata.get("uid", ""), old)
        if old is None:
            metadata = {k: v for k, v in metadata.items() if k != "resourceVersion"}
            return self.create(target, {**body, "metadata": metadata}, dry_run=dry_run), True
        return self._update(target, old, body, dry_run=dry_run), False

    def patch(
        self,
        target: Target,
        content_type: str,
        data: bytes | None,
        *,
        strict: bool = False,
        dry_run: bool = False,
    ) -> Record:
        """PATCH. A patch that changes nothing leaves the version. `strict`: as for PUT."""
        media_type = patch_type(target.kind, content_type)  # whether or not there is such an object
        old = self.existing(target)
        body = patched(target.kind, old.body, media_type, data)
        if strict and (paths := list(target.kind.unknown(body))):
            raise status.unknown_patched_fields(body, paths)
        try:
            body = rules.typed(target.kind, body)
        except msgspec.ValidationError as error:
            raise status.unlike_its_kind(body, str(error)) from None
        return self._update(target, old, body, dry_run=dry_run)

    def delete(self, target: Target, options: DeleteOptions) -> tuple[Record, bool]:
        """DELETE; and whether the object is gone, or waits for its finalizers."""
        kind, old = target.kind, self.existing(target)
        self._check_preconditions(target, options, old)
        if old.key[1] in kind.protected:
            raise status.forbidden(kind.plural, kind.group, old.key[1], "this namespace may not be deleted")
        had = old.metadata.get("finalizers", [])
        finalizers = options.finalizers(had)
        if not finalizers and not kind.lingers:
            return self._remove(target, old, dry_run=bool(options.dry_run)), True
        if "deletionTimestamp" in old.metadata and finalizers == had:
            return old, False
        going = rules.terminating(kind, old.body, finalizers=finalizers, timestamp=self._timestamp())
        return self._put(target, old.key, going, dry_run=bool(options.dry_run)), False

    def new_uid(self) -> str:
        """A UID that no object of this server has had; the same in every run."""
        self._made += 1
        return f"{self._made:08x}-0000-4000-8000-{self._made:012x}"

    def _update(self, target: Target, old: Record, body: dict[str, Any], *, dry_run: bool) -> Record:
        new = rules.updated(target.kind, old.body, body, subresource=target.subresource)
        if new == old.body:
            return old
        had = old.metadata.get("finalizers")
        if "deletionTimestamp" in old.metadata and had and not new["metadata"].get("finalizers"):
            # The object goes instead of being written: what watches are told is its last state that was.
            self._remove(target, old, dry_run=dry_run)
            return Record(old.key, old.version, new)
        return self._put(target, old.key, new, dry_run=dry_run)

    def _put(self, target: Target, key: Key, body: dict[str, Any], *, dry_run: bool) -> Record:
        if dry_run:
            return Record(key, self._storage.version, body)
        return self._storage.put(target.kind.name, key, body)

    def _remove(self, target: Target, old: Record, *, dry_run: bool) -> Record:
        return old if dry_run else self._storage.delete(target.kind.name, old.key, old.body)

    def _made_name(self, target: Target, prefix: str) -> str:
        """A name that nobody has, if luck will have it; what is too long of the prefix is cut off."""
        taken = self._collection(target).records
        for _ in range(_TRIES):
            name = prefix[:58] + "".join(self._rng.choices(_ALPHABET, k=5))
            if (target.namespace, name) not in taken:
                break
        return name

    def _check_namespace(self, target: Target, name: str) -> None:
        """Refuse to make anything in a namespace that isn't there, or is going."""
        kind, namespace = target.kind, target.namespace
        if not kind.namespaced:
            return
        found = self._storage.collection("namespaces").records.get(("", namespace))
        if found is None:
            raise status.not_found("namespaces", "", namespace)
        if "deletionTimestamp" in found.metadata:
            raise status.namespace_terminating(kind.plural, kind.group, name, namespace)

    def _check_uid(self, target: Target, asked: str, old: Record | None) -> None:
        found = old.metadata["uid"] if old else ""
        if asked and asked != found:
            why = f"Precondition failed: UID in precondition: {asked}, UID in object meta: {found}"
            raise status.conflict(target.kind.plural, target.kind.group, target.name, why)

    def _check_preconditions(self, target: Target, options: DeleteOptions, old: Record) -> None:
        kind, asked, found = target.kind, options.preconditions, old.metadata
        why = ""
        if asked.uid is not None and asked.uid != found["uid"]:
            why = (
                f"the UID in the precondition ({asked.uid}) does not match the UID in record "
                f"({found['uid']}). The object might have been deleted and then recreated"
            )
        elif asked.resource_version is not None and asked.resource_version != found["resourceVersion"]:
            why = (
                f"the ResourceVersion in the precondition ({asked.resource_version}) does not match the "
                f"ResourceVersion in record ({found['resourceVersion']}). The object might have been modified"
            )
        if why:
            raise status.conflict(kind.kind, kind.group, old.key[1], why)

    def _collection(self, target: Target) -> Collection:
        return self._storage.collection(target.kind.name)


def _key(target: Target) -> Key:
    return target.namespace, target.name
