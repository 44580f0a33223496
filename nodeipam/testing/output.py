"""How the API server model writes objects: whole, or as PartialObjectMetadata where the client asked for it.

Items in the list of a built-in kind don't name their kind, those of a custom one do, as on a real server.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import msgspec

from .kinds import Kind
from .status import bad_request, expired, not_acceptable
from .storage import Key, Record

__all__ = ["Output", "continue_token", "negotiate", "read_continue_token"]

_INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What one client wants to get."""

    kind: Kind
    partial: bool = False

    def object(self, record: Record) -> bytes:
        """One object."""
        return _prefixed(self._head(), record.partial() if self.partial else record.json())

    def list(self, records: Iterable[Record], metadata: dict[str, Any]) -> bytes:
        """A list with this metadata."""
        if self.partial:
            items = [_prefixed(self._head(), record.partial()) for record in records]
        elif self.kind.custom:
            items = [_prefixed(self._head(), record.json()) for record in records]
        else:
            items = [record.json() for record in records]
        head = self._head("List")
        return b'%s"metadata":%s,"items":[%s]}' % (head, msgspec.json.encode(metadata), b",".join(items))

    def bookmark(self, version: int, end: bool) -> bytes:  # noqa: FBT001 - it is data
        """The object of a BOOKMARK at `version`; `end`: it closes the initial events."""
        metadata: dict[str, Any] = {"resourceVersion": str(version)}
        if end:
            metadata["annotations"] = _INITIAL_EVENTS_END
        return _prefixed(self._head(), msgspec.json.encode({"metadata": metadata}))

    def _head(self, suffix: str = "") -> bytes:
        kind, version = self.kind.kind, self.kind.api_version
        if self.partial:
            kind, version = "PartialObjectMetadata", "meta.k8s.io/v1"
        return f'{{"kind":"{kind}{suffix}","apiVersion":"{version}",'.encode()


def negotiate(kind: Kind, accept: str, *, partial: str = "PartialObjectMetadata") -> Output:
    """Choose by the Accept header; `partial` is the form in which metadata alone is given here.

    Raises:
        Refusal: 406, nothing that the client accepts can be given.
    """
    for entry in (accept or "*/*").split(","):
        media_type, *parameters = (part.strip() for part in entry.split(";"))
        if media_type not in {"application/json", "application/*", "*/*"}:
            continue
        form = dict(parameter.partition("=")[::2] for parameter in parameters)
        if "as" not in form:
            return Output(kind=kind)
        if (form["as"], form.get("g"), form.get("v")) == (partial, "meta.k8s.io", "v1"):
            return Output(kind=kind, partial=True)
    raise not_acceptable(f"application/json, application/json;as={partial};v=v1;g=meta.k8s.io")


def continue_token(version: int, last: Key) -> str:
    """Where the next page begins: after `last`, in the state at `version`."""
    return base64.urlsafe_b64encode(msgspec.json.encode((version, last))).decode().rstrip("=")


def read_continue_token(token: str, *, compacted: int) -> tuple[int, Key]:
    """The version and the last key of a token.

    Raises:
        Refusal: 400, it is none of ours; 410, its version is compacted.
    """
    try:
        data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        version, last = msgspec.json.decode(data, type=tuple[int, tuple[str, str]])
    except (ValueError, msgspec.MsgspecError):
        raise bad_request("continue key is not valid") from None
    if version < compacted:
        raise expired(
            "The provided continue parameter is too old to display a consistent list result. "
            "You can start a new list without the continue parameter."
        )
    return version, last


def _prefixed(head: bytes, body: bytes) -> bytes:
    """`head` is an open object with a trailing comma, `body` an object that isn't empty."""
    return head + body[1:]
