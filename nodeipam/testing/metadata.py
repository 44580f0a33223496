"""The metadata that every object has: what belongs to it, and what is wrong with it.

Only what a write changes is looked at, since what is stored has been looked at before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from nodeipam.runtime.errors import Cause

from .names import label_value, qualified_name

__all__ = ["Metadata", "faults_of_metadata", "updates_validated"]

Given = Mapping[str, Any]

_STANDARD_FINALIZERS = {"foregroundDeletion", "kubernetes", "orphan"}
_MOST_ANNOTATIONS = 256 * 1024
"""Bytes of all annotations together."""


class _Owner(msgspec.Struct, rename="camel", omit_defaults=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class Metadata(msgspec.Struct, rename="camel", omit_defaults=True):
    """The fields of metadata with their types; empty ones aren't stored.

    The model doesn't keep `managedFields`, so they aren't among them.
    """

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: list[_Owner] = []
    finalizers: list[str] = []


def faults_of_metadata(
    names: Callable[[str], tuple[str, ...]], before: Given, after: Given, *, custom: bool
) -> list[Cause]:
    """What a write that makes `after` of `before` (empty: a new object) does wrong.

    `names` tells what is wrong with a name of that kind; of a custom kind finalizers are more liberal.
    """
    wrong: list[Cause] = []
    if not before:
        wrong += _faults_of_names(names, after)
    if (labels := after.get("labels")) and labels != before.get("labels"):
        wrong += _faults_of_labels(labels)
    if (annotations := after.get("annotations")) and annotations != before.get("annotations"):
        wrong += _faults_of_annotations(annotations)
    if (owners := after.get("ownerReferences")) and owners != before.get("ownerReferences"):
        wrong += _faults_of_owners(owners)
    if (finalizers := after.get("finalizers")) and finalizers != before.get("finalizers"):
        wrong += _faults_of_finalizers(finalizers, custom=custom)
        if before.get("deletionTimestamp"):
            wrong += [*_new_finalizers(before, finalizers)] * updates_validated(custom=custom)
    return wrong


def updates_validated(*, custom: bool) -> int:
    """How often an update is compared with what it changes: for custom kinds the server does so twice."""
    return 2 if custom else 1


def _faults_of_names(names: Callable[[str], tuple[str, ...]], metadata: Given) -> Iterator[Cause]:
    if prefix := metadata.get("generateName"):
        # Checked as a name that could go on: what is cut off of it may end in anything but a letter.
        for fault in names(f"{prefix}a" if prefix[-1:] in {"-", "."} else prefix):
            yield _invalid(prefix, fault, "metadata.generateName")
    for fault in names(metadata["name"]):
        yield _invalid(metadata["name"], fault, "metadata.name")


def _faults_of_labels(labels: Mapping[str, str]) -> Iterator[Cause]:
    for key, value in sorted(labels.items()):
        for fault in qualified_name(key):
            yield _invalid(key, fault, "metadata.labels")
        for fault in label_value(value):
            yield _invalid(value, fault, "metadata.labels")


def _faults_of_annotations(annotations: Mapping[str, str]) -> Iterator[Cause]:
    for key in sorted(annotations):
        for fault in qualified_name(key.lower()):
            yield _invalid(key, fault, "metadata.annotations")
    if sum(len(key) + len(value) for key, value in annotations.items()) > _MOST_ANNOTATIONS:
        message = f"Too long: may not be more than {_MOST_ANNOTATIONS} bytes"
        yield Cause("FieldValueTooLong", message, "metadata.annotations")


def _faults_of_owners(owners: list[Given]) -> Iterator[Cause]:
    for index, owner in enumerate(owners):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                where = f"metadata.ownerReferences[{index}].{field}"
                yield Cause("FieldValueRequired", "Required value: must not be empty", where)


def _faults_of_finalizers(finalizers: list[str], *, custom: bool) -> Iterator[Cause]:
    for index, text in enumerate(finalizers):
        if faults := qualified_name(text):
            yield from (_invalid(text, fault, "metadata.finalizers") for fault in faults)
        elif not custom and "/" not in text and text not in _STANDARD_FINALIZERS:
            why = "name is neither a standard finalizer name nor is it fully qualified"
            yield _invalid(text, why, f"metadata.finalizers[{index}]")


def _new_finalizers(before: Given, finalizers: list[str]) -> Iterator[Cause]:
    had = before.get("finalizers") or []
    if new := [text for text in finalizers if text not in had]:
        quoted = ", ".join(f'"{text}"' for text in new)
        message = (
            "Forbidden: no new finalizers can be added if the object is being deleted, "
            f"found new finalizers []string{{{quoted}}}"
        )
        yield Cause("FieldValueForbidden", message, "metadata.finalizers")


def _invalid(value: str, why: str, field: str) -> Cause:
    return Cause("FieldValueInvalid", f'Invalid value: "{value}": {why}', field)
