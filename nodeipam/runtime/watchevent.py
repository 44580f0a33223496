"""What a watch says: one line of JSON in, one event out.

Invariant: nothing malformed gets past this point.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import msgspec

from .errors import ProtocolError
from .objects import ObjectMeta, PartialObject, Resource
from .status import api_error

__all__ = ["Bookmark", "Deleted", "Event", "EventDecoder", "Ignored", "Put"]

T = TypeVar("T")
W = TypeVar("W")

_INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class Put(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """ADDED or MODIFIED; which of the two, only the cache can tell."""

    object: T
    version: int


class Deleted(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """DELETED: `object` is its last state, `version` that of the deletion."""

    object: T
    version: int


class Bookmark(msgspec.Struct, frozen=True, gc=False):
    """BOOKMARK: every change up to `version` has been told."""

    version: int
    initial: bool = False
    """Whether it ends the initial events of a streamed list."""


class Ignored(msgspec.Struct, frozen=True, gc=False):
    """Well formed, and nothing that we know or asked for."""

    reason: Literal["unknown_type", "wrong_kind"]


Event: TypeAlias = Put[T] | Deleted[T] | Bookmark | Ignored


class EventDecoder(Generic[T]):
    """Decodes the objects of one resource, single or in watch events.

    Args:
        resource: the kind, and the type that its objects are decoded into.
        transform: makes what is cached of what was decoded; None: that is cached itself.
    """

    __slots__ = ("_kind", "_known", "_object", "_resource", "_transform", "_usual")

    def __init__(self, resource: Resource[Any], transform: Callable[[Any], T] | None) -> None:
        self._resource = resource
        self._transform = transform
        self._object: msgspec.json.Decoder[Any] = msgspec.json.Decoder(resource.type)
        change: Any = _Change
        self._known: msgspec.json.Decoder[_Change[Any]] = msgspec.json.Decoder(change[resource.type])
        kind, version = resource.kind, resource.api_version
        # API servers begin like this, built-in kinds with the kind, custom ones with the version.
        self._usual = tuple(
            f'{{"type":"{type_}","object":{{{start}"kind":"{kind}",'.encode()
            for type_ in ("ADDED", "MODIFIED", "DELETED")
            for start in ("", f'"apiVersion":"{version}",')
        )

    def object(self, wire: Any) -> T:
        """What is to be cached of the decoded object `wire`.

        Raises:
            ProtocolError: it has no name, UID or resourceVersion, or the transformation failed on it.
        """
        self._version(wire)
        return self._transformed(wire)

    def event(self, line: bytes) -> Event[T]:
        """The event in one line of a watch.

        Raises:
            APIError: it is an ERROR event.
            ProtocolError: it isn't JSON, or not what an API server says.
        """
        try:
            if line.startswith(self._usual):  # one pass over the bytes instead of two
                known = self._known.decode(line)
                return self._change(known.type, known.object)
            return self._other(_ENVELOPE.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(f"watch of {self._resource}: {error} in a line {_beginning(line)}") from error

    def _other(self, envelope: _Envelope) -> Event[T]:
        raw = envelope.object
        if envelope.type == "ERROR":
            what = f"watch of {self._resource}"
            raise api_error(_STATUS.decode(raw).code, {}, bytes(raw), what=what, now=_NO_DATE)
        if envelope.type == "BOOKMARK":
            return self._bookmark(_PARTIAL.decode(raw).metadata)
        if envelope.type not in ("ADDED", "MODIFIED", "DELETED"):
            return Ignored("unknown_type")
        if _KIND.decode(raw).kind != self._resource.kind:
            return Ignored("wrong_kind")
        return self._change(envelope.type, self._object.decode(raw))

    def _change(self, type_: str, wire: Any) -> Put[T] | Deleted[T]:
        version = self._version(wire)
        kind = Deleted if type_ == "DELETED" else Put
        return kind(self._transformed(wire), version)

    def _bookmark(self, meta: ObjectMeta) -> Bookmark:
        initial = (meta.annotations or {}).get(_INITIAL_EVENTS_END) == "true"
        return Bookmark(self._number(meta.resource_version), initial)

    def _version(self, wire: Any) -> int:
        try:
            meta = self._resource.metadata(wire)
        except msgspec.ValidationError as error:
            raise ProtocolError(
                f"{self._resource}: an object whose metadata is malformed: {error}"
            ) from error
        if not meta.name or not meta.uid:
            raise ProtocolError(
                f"{self._resource}: an object without a name or a UID ({meta.name!r}, {meta.uid!r})"
            )
        return self._number(meta.resource_version)

    def _number(self, resource_version: str) -> int:
        try:
            return int(resource_version)
        except ValueError as error:
            raise ProtocolError(f"{self._resource}: {resource_version!r} is no resourceVersion") from error

    def _transformed(self, wire: Any) -> T:
        if self._transform is None:
            return wire  # type: ignore[no-any-return]
        try:
            return self._transform(wire)
        except Exception as error:
            request = self._resource.request(wire)
            raise ProtocolError(f"{self._resource} {request}: {type(error).__name__}: {error}") from error


class _Change(msgspec.Struct, Generic[W], frozen=True, gc=False):
    type: str
    object: W


class _Envelope(msgspec.Struct, frozen=True, gc=False):
    type: str
    object: msgspec.Raw


class _Kind(msgspec.Struct, frozen=True, gc=False):
    kind: str = ""


class _Status(msgspec.Struct, frozen=True, gc=False):
    code: int


_NO_DATE = datetime.max.replace(tzinfo=UTC)
"""Dates matter only in headers, and an event has none."""
_ENVELOPE = msgspec.json.Decoder(_Envelope)
_KIND = msgspec.json.Decoder(_Kind)
_PARTIAL = msgspec.json.Decoder(PartialObject)
_STATUS = msgspec.json.Decoder(_Status)


def _beginning(line: bytes) -> str:
    return f"that begins with {line[:80]!r}"
