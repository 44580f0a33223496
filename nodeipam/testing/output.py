"""How the API server model writes objects: whole, as PartialObjectMetadata, or as a Table.

Items in the list of a built-in kind don't name their kind, those of a custom one do, as on a real server.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec

from .kinds import Kind
from .status import bad_request, expired, not_acceptable
from .storage import Key, Record

__all__ = ["Form", "Output", "continue_token", "negotiate", "read_continue_token"]

_INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}
_META = "meta.k8s.io/v1"


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """The form that a client asks for: by its Accept header, and of a Table's rows by `includeObject`."""

    accept: str
    rows: str
    now: Callable[[], datetime]
    """The server's time: a Table tells ages."""


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What one client wants to get. The base gives objects whole."""

    kind: Kind

    def object(self, record: Record) -> bytes:
        """One object."""
        return _prefixed(self._head(), record.json())

    def list(self, records: Iterable[Record], metadata: dict[str, Any]) -> bytes:
        """A list with this metadata."""
        items = [self.object(record) if self.kind.custom else record.json() for record in records]
        return _listed(self._head("List"), metadata, items)

    def events(self) -> Callable[[Record], bytes]:
        """What writes the objects of one watch, from its first to its last."""
        return self.object

    def bookmark(self, version: int, end: bool) -> bytes:  # noqa: FBT001 - it is data
        """The object of a BOOKMARK at `version`; `end`: it closes the initial events."""
        return _prefixed(self._head(), msgspec.json.encode({"metadata": _bookmark(version, end=end)}))

    def _head(self, suffix: str = "") -> bytes:
        return _head(self.kind.kind + suffix, self.kind.api_version)


class _Partial(Output, frozen=True, kw_only=True):
    """Only the metadata."""

    def object(self, record: Record) -> bytes:
        return _prefixed(self._head(), record.partial())

    def list(self, records: Iterable[Record], metadata: dict[str, Any]) -> bytes:
        return _listed(self._head("List"), metadata, map(self.object, records))

    def _head(self, suffix: str = "") -> bytes:
        return _head(f"PartialObjectMetadata{suffix}", _META)


class _Table(Output, frozen=True, kw_only=True):
    """Rows of cells, for people; the objects beside them as the client wants them."""

    rows: Output | None
    """None: without the objects."""
    now: Callable[[], datetime]

    def object(self, record: Record) -> bytes:
        return self._of([self._row(record)], {"resourceVersion": str(record.version)})

    def list(self, records: Iterable[Record], metadata: dict[str, Any]) -> bytes:
        return self._of(map(self._row, records), metadata)

    def events(self) -> Callable[[Record], bytes]:
        """Only the first of them brings the heads of the columns."""
        heads = iter((True,))

        def write(record: Record) -> bytes:
            metadata = {"resourceVersion": str(record.version)}
            return self._of([self._row(record)], metadata, heads=next(heads, False))

        return write

    def bookmark(self, version: int, end: bool) -> bytes:  # noqa: FBT001 - it is data
        body = {"metadata": _bookmark(version, end=end)}
        row = self._row(Record(("", ""), version, body))
        return self._of([row], {"resourceVersion": str(version)}, heads=False)

    def _row(self, record: Record) -> bytes:
        now = self.now()
        cells = [column.show(record.body, now) for column in self.kind.columns]
        beside = self.rows.object(record) if self.rows else b"null"
        return b'{"cells":%s,"object":%s}' % (msgspec.json.encode(cells), beside)

    def _of(self, rows: Iterable[bytes], metadata: dict[str, Any], *, heads: bool = True) -> bytes:
        columns = [column.head() for column in self.kind.columns] if heads else None
        return b'%s"metadata":%s,"columnDefinitions":%s,"rows":[%s]}' % (
            _head("Table", _META),
            msgspec.json.encode(metadata),
            msgspec.json.encode(columns),
            b",".join(rows),
        )


def negotiate(kind: Kind, form: Form, *, partial: str = "PartialObjectMetadata") -> Output:
    """Choose by the Accept header; `partial` is the form in which metadata alone is given here.

    Raises:
        Refusal: 406, nothing that the client accepts can be given; 400, a Table's rows can't be as asked.
    """
    for entry in (form.accept or "*/*").split(","):
        media_type, *parameters = (part.strip() for part in entry.split(";"))
        if media_type not in {"application/json", "application/*", "*/*"}:
            continue
        given = dict(parameter.partition("=")[::2] for parameter in parameters)
        if "as" not in given:
            return Output(kind=kind)
        if (given.get("g"), given.get("v")) != ("meta.k8s.io", "v1"):
            continue
        if given["as"] == partial:
            return _Partial(kind=kind)
        if given["as"] == "Table":
            return _Table(kind=kind, rows=_rows(kind, form.rows), now=form.now)
    raise not_acceptable("application/json")


def _rows(kind: Kind, include: str) -> Output | None:
    match include:
        case "" | "Metadata":
            return _Partial(kind=kind)
        case "Object":
            return Output(kind=kind)
        case "None":
            return None
    raise bad_request(
        f'Unable to convert to Table as requested: includeObject: Invalid value: "{include}": '
        "must be 'Metadata', 'Object', 'None', or empty"
    )


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


def _bookmark(version: int, *, end: bool) -> dict[str, Any]:
    metadata: dict[str, Any] = {"resourceVersion": str(version)}
    return metadata | ({"annotations": _INITIAL_EVENTS_END} if end else {})


def _head(kind: str, api_version: str) -> bytes:
    return f'{{"kind":"{kind}","apiVersion":"{api_version}",'.encode()


def _listed(head: bytes, metadata: dict[str, Any], items: Iterable[bytes]) -> bytes:
    """A list; joined once, since a page of big objects is many MiB."""
    parts = list(items) or [b""]
    parts[0] = b'%s"metadata":%s,"items":[%s' % (head, msgspec.json.encode(metadata), parts[0])
    parts[-1] += b"]}"
    return b",".join(parts)


def _prefixed(head: bytes, body: bytes) -> bytes:
    """`head` is an open object with a trailing comma, `body` an object that isn't empty."""
    return head + body[1:]
