"""The patches that kube-apiserver takes: JSON patch, JSON merge patch, strategic merge patch.

Pure: a body and a patch in, the patched body out; parts of the old body may be shared, none is changed.
Server-side apply isn't modelled and is refused with 415, as is a strategic merge patch of a custom resource.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .kinds import Kind
from .status import Refusal, bad_request, other_kind, unsupported_media_type
from .strategic import strategic_merge

__all__ = ["MERGE_PATCH", "patch_type", "patched"]

MERGE_PATCH = "application/merge-patch+json"

Body = dict[str, Any]

_JSON_PATCH = "application/json-patch+json"
_STRATEGIC = "application/strategic-merge-patch+json"


def patch_type(kind: Kind, content_type: str) -> str:
    """The media type of a patch.

    Raises:
        Refusal: 415, objects of this kind don't take such patches.
    """
    accepted = [_JSON_PATCH, MERGE_PATCH] if kind.custom else [_JSON_PATCH, MERGE_PATCH, _STRATEGIC]
    media_type = content_type.partition(";")[0].strip()
    if media_type not in accepted:
        raise unsupported_media_type(", ".join(accepted))
    return media_type


def patched(kind: Kind, old: Mapping[str, Any], media_type: str, data: bytes | None) -> Body:
    """`old` as a patch of this type leaves it, without kind and apiVersion.

    Raises:
        Refusal: 400, the patch can't be read; 422 or 500, it can't be carried out.
    """
    if media_type == MERGE_PATCH:
        body = _merge(old, _object(data))
    elif media_type == _JSON_PATCH:
        body = _json_patch({"kind": kind.kind, "apiVersion": kind.api_version, **old}, data)
    else:
        body = strategic_merge(kind.merge_keys, old, _object(data))
    return _without_type(kind, body)


def _without_type(kind: Kind, body: Any) -> Body:
    if not isinstance(body, dict):
        raise bad_request("the patched object is not a JSON object")
    named = body.get("apiVersion") or kind.api_version, body.get("kind") or kind.kind
    if named != (kind.api_version, kind.kind):
        raise other_kind(*named, expected=(kind.api_version, kind.kind))
    return {k: v for k, v in body.items() if k not in {"kind", "apiVersion"}}


def _object(data: bytes | None) -> Body:
    try:
        return msgspec.json.decode(data or b"", type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise bad_request(f"error decoding patch: {error}") from None


def _merge(old: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(old) if isinstance(old, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


class _Operation(msgspec.Struct, frozen=True):
    op: str
    path: str
    from_: str = msgspec.field(default="", name="from")
    value: Any = None


def _json_patch(document: Any, data: bytes | None) -> Any:
    """RFC 6902, as kube-apiserver's library reads it.

    A field that isn't there is null to test, copy and replace, and an index below 0 counts from the end. An
    operation that can't be carried out is a 422 that doesn't say which.
    """
    try:
        operations = msgspec.json.decode(data or b"", type=list[_Operation])
    except msgspec.MsgspecError as error:
        raise bad_request(f"error decoding patch: {error}") from None
    if len(operations) > _MOST_OPERATIONS:
        raise Refusal(
            413,
            f"The allowed maximum operations in a JSON patch is {_MOST_OPERATIONS}, got {len(operations)}",
        )
    try:
        for operation in operations:
            document = _step(document, operation)
    except (LookupError, ValueError):
        raise Refusal(422, "the server rejected our request due to an error in our request") from None
    return document


_MOST_OPERATIONS = 10_000


def _step(document: Any, operation: _Operation) -> Any:
    path = _pointer(operation.path)
    match operation.op:
        case "add":
            return _add(document, path, operation.value)
        case "remove":
            return _remove(document, path)
        case "replace":
            _found(document, path)
            return _changed(document, path, lambda parent, key: _set(parent, key, operation.value))
        case "move":
            value = _found(document, _pointer(operation.from_))
            return _add(_remove(document, _pointer(operation.from_)), path, value)
        case "copy":
            return _add(document, path, _found(document, _pointer(operation.from_)))
        case "test":
            if not _same(_found(document, path), operation.value):
                raise ValueError(operation.path)
            return document
        case _:
            raise ValueError(operation.op)


def _pointer(text: str) -> list[str]:
    """RFC 6901."""
    if not text:
        return []
    if not text.startswith("/"):
        raise ValueError(text)
    return [part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")]


_INDEX = re.compile(r"-?[0-9]+")


def _key(parent: Any, part: str, *, more: int = 0) -> Any:
    """`part` as the key of a field, or the index of an item; `more` places are thought behind the last."""
    if isinstance(parent, dict):
        return part
    if not isinstance(parent, list) or not _INDEX.fullmatch(part):
        raise LookupError(part)
    index = int(part)
    if index < 0:
        index += len(parent) + more
    if not 0 <= index < len(parent) + more:
        raise LookupError(part)
    return index


def _found(document: Any, path: list[str]) -> Any:
    """What stands at `path`; None for a field that isn't there, if its parent is."""
    for part in path[:-1]:
        document = document[_key(document, part)]
    for part in path[-1:]:
        key = _key(document, part)
        return document.get(key) if isinstance(document, dict) else document[key]
    return document


def _same(one: Any, other: Any) -> bool:
    """JSON equality: 1 and true are not the same."""
    return bool(one == other) and msgspec.json.encode(one, order="sorted") == msgspec.json.encode(
        other, order="sorted"
    )


def _changed(document: Any, path: list[str], change: Callable[[Any, str], Any]) -> Any:
    """The document with the parent of `path` replaced by what `change` makes of it."""
    if not path:
        return change({"": document}, "")[""]
    if len(path) == 1:
        return change(document, path[0])
    key = _key(document, path[0])
    return _set(document, path[0], _changed(document[key], path[1:], change))


def _set(parent: Any, part: str, value: Any) -> Any:
    copied = parent.copy()
    copied[_key(parent, part)] = value
    return copied


def _add(document: Any, path: list[str], value: Any) -> Any:
    def change(parent: Any, part: str) -> Any:
        if not isinstance(parent, list):
            return _set(parent, part, value) if isinstance(parent, dict) else _key(parent, part)
        index = len(parent) if part == "-" else _key(parent, part, more=1)
        return [*parent[:index], value, *parent[index:]]

    return _changed(document, path, change)


def _remove(document: Any, path: list[str]) -> Any:
    if not path:
        raise LookupError("the whole document")

    def change(parent: Any, part: str) -> Any:
        copied = parent.copy()
        del copied[_key(parent, part)]
        return copied

    return _changed(document, path, change)
