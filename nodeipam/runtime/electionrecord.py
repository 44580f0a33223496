"""The election record: who holds the lock, and how that is written down in each kind of lock object.

A `Lease` keeps the record in its spec, `Endpoints` and `ConfigMap` keep it as JSON in the annotation that
client-go used before there were Leases. Whatever stands there can be read: a field that makes no sense
counts as absent, and an object without a holder is waited for like anybody else's. What is written back is
everything that was read, with nothing but the record changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from .objects import Resource

__all__ = ["LOCKS", "RELEASED", "Entry", "Lock", "Object", "Record", "Sighting", "next_transitions"]

RELEASED = "runtime.nodeipam/released"
"""The annotation by which a leader that left in good order says so; its value is the number of transitions.

An empty holder alone doesn't say it: a person or another program may have cleared the field. With the number
it can't be a left-over from an earlier term either, since each new holder counts one transition more.
"""

_RECORD = "control-plane.alpha.kubernetes.io/leader"
_INT32 = 2**31

Object = dict[str, Any]
"""A complete object as it came from the server."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What one version of the lock object says. Two that are equal are the same version."""

    holder: str
    """Identity of the holder; empty when there is none."""
    duration: int
    """Seconds for which others wait; 0 when the object doesn't say."""
    transitions: int
    acquired: str
    renewed: str
    """When it says that it acquired and renewed: text, compared with earlier text and never with a clock."""
    released: bool
    """Whether the last holder left in good order: nothing of it can still be on its way."""
    uid: str
    version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What is to be written as the record."""

    holder: str
    duration: int
    transitions: int
    acquired: str
    renewed: str
    released: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """One kind of lock object: which resource it is, and where in it the record lies."""

    resource: Resource[Object]
    transitions: str
    """Name of the field that counts changes of the holder."""
    tick: timedelta
    """The precision of its timestamps: renewals closer together than this would look the same to others."""
    load: Callable[[Object], Object]
    store: Callable[[Object, Object], None]

    def read(self, raw: Object) -> Record:
        """The record in `raw`, which may be any JSON object at all."""
        fields, meta = self.load(raw), _mapping(raw.get("metadata"))
        holder, transitions = fields.get("holderIdentity"), fields.get(self.transitions)
        marker = _mapping(meta.get("annotations")).get(RELEASED)
        return Record(
            holder=_text(holder),
            duration=_count(fields.get("leaseDurationSeconds")),
            transitions=_count(transitions),
            acquired=_text(fields.get("acquireTime")),
            renewed=_text(fields.get("renewTime")),
            released=holder in ("", None) and _is_count(transitions) and marker == str(transitions),
            uid=_text(meta.get("uid")),
            version=_text(meta.get("resourceVersion")),
        )

    def write(self, raw: Object, entry: Entry) -> Object:
        """A copy of `raw` that says `entry`. All else in it stays, uid and resourceVersion above all.

        Both are preconditions of the PUT. Leases and Endpoints may be created by PUT: without the uid, a
        renewal that comes after the object was deleted would make a new one.
        """
        body = {**raw, "metadata": dict(_mapping(raw.get("metadata")))}
        annotations = dict(_mapping(body["metadata"].get("annotations")))
        annotations.pop(RELEASED, None)
        if entry.released:
            annotations[RELEASED] = str(entry.transitions)
        body["metadata"]["annotations"] = annotations
        fields = {
            "holderIdentity": entry.holder,
            "leaseDurationSeconds": entry.duration,
            "acquireTime": entry.acquired,
            "renewTime": entry.renewed,
            self.transitions: entry.transitions,
        }
        self.store(body, {**self.load(raw), **fields})
        return body

    def blank(self, namespace: str, name: str) -> Object:
        """A lock object that doesn't exist yet."""
        return {
            "apiVersion": self.resource.api_version,
            "kind": self.resource.kind,
            "metadata": {"namespace": namespace, "name": name},
        }

    def text(self, moment: datetime) -> str:
        """`moment` as this kind of object writes it: a MicroTime, or a Time of whole seconds."""
        fraction = ".%f" if self.tick < timedelta(seconds=1) else ""
        return moment.astimezone(UTC).strftime(f"%Y-%m-%dT%H:%M:%S{fraction}Z")


class Sighting:
    """What a candidate has seen of the lock, and for how long: the decision whether it may be taken.

    A rival's timestamps come from a rival's clock, so they are never compared with ours. What counts is for
    how long this very version has stood, by our own clock, since we first saw it.
    """

    __slots__ = ("_duration", "_identity", "_since", "record")

    def __init__(self, identity: str, duration: float) -> None:
        self._identity = identity
        self._duration = duration
        self._since = math.inf
        self.record: Record | None = None
        """What was seen last; None when there was no lock object."""

    def __repr__(self) -> str:
        return f"<Sighting of {self.record} since {self._since:.3f}>"

    def see(self, record: Record | None, now: float) -> None:
        """Take note of the lock's state; `now` is elapsed time in seconds."""
        if self._since == math.inf or record != self.record:
            self.record, self._since = record, now

    def left(self, now: float) -> float:
        """Seconds until the lock may be taken; 0.0 when it may be taken now."""
        record = self.record
        if record is None or record.released or record.holder == self._identity:
            return 0.0
        # Who cleared the holder, and whether its work has ended, isn't known: then the longer time counts.
        others = record.duration or self._duration
        wait = others if record.holder else max(others, self._duration)
        return max(0.0, self._since + wait - now)


def next_transitions(record: Record) -> int:
    """The number of transitions after one more; it starts again where the field's type (int32) ends."""
    return (record.transitions + 1) % _INT32


def _load_spec(raw: Object) -> Object:
    return dict(_mapping(raw.get("spec")))


def _store_spec(body: Object, fields: Object) -> None:
    body["spec"] = fields


def _load_annotation(raw: Object) -> Object:
    text = _mapping(_mapping(raw.get("metadata")).get("annotations")).get(_RECORD)
    try:
        return dict(_mapping(msgspec.json.decode(_text(text) or "{}")))
    except (ValueError, RecursionError):  # somebody wrote something else there: as good as no record
        return {}


def _store_annotation(body: Object, fields: Object) -> None:
    body["metadata"]["annotations"][_RECORD] = msgspec.json.encode(fields).decode()


def _mapping(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _text(found: object) -> str:
    return found if isinstance(found, str) else ""


def _count(found: object) -> int:
    return found if isinstance(found, int) and _is_count(found) else 0


def _is_count(found: object) -> bool:
    return isinstance(found, int) and not isinstance(found, bool) and 0 <= found < _INT32


def _annotated(kind: str, plural: str) -> Lock:
    return Lock(
        resource=Resource("v1", kind, plural=plural, namespaced=True, type=dict),
        transitions="leaderTransitions",
        tick=timedelta(seconds=1),
        load=_load_annotation,
        store=_store_annotation,
    )


LOCKS: Mapping[str, Lock] = {
    "leases": Lock(
        resource=Resource("coordination.k8s.io/v1", "Lease", plural="leases", namespaced=True, type=dict),
        transitions="leaseTransitions",
        tick=timedelta(microseconds=1),
        load=_load_spec,
        store=_store_spec,
    ),
    "endpoints": _annotated("Endpoints", "endpoints"),
    "configmaps": _annotated("ConfigMap", "configmaps"),
}
"""The kinds of lock objects by the name that options give them, as client-go names them."""
