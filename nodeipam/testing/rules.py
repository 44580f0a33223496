"""What an API server does to an object of any kind before it stores it. Pure: bodies in, bodies out.

Invariant: nothing here changes a body that it was given; what is returned may share parts with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from nodeipam.runtime.errors import Cause
from nodeipam.runtime.objects import ObjectMeta

from .kinds import Kind
from .status import Refusal, bad_request, conflict, invalid, other_kind, unknown_fields

__all__ = ["created", "decode_object", "terminating", "updated"]

Body = dict[str, Any]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_KEPT = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "namespace",
)
_DROPPED_WHEN_EMPTY = ("labels", "annotations", "finalizers", "ownerReferences", "generateName")


def decode_object(kind: Kind, data: bytes | None, *, strict: bool = False) -> Body:
    """The body of a POST or PUT, without kind and apiVersion.

    Raises:
        Refusal: 400, it is not JSON, not an object, not of this kind, or it has fields that this kind doesn't
            have, where `strict` asks for that.
    """
    body = _decode(data)
    named = body.pop("apiVersion", kind.api_version), body.pop("kind", kind.kind)
    if named != (kind.api_version, kind.kind):
        raise other_kind(*named, expected=(kind.api_version, kind.kind))
    if strict and (paths := list(kind.unknown(body))):
        raise unknown_fields(kind.kind, kind.api_version.rpartition("/")[2], paths)
    return body


def created(kind: Kind, body: Body, *, namespace: str, uid: str, suffix: str, timestamp: str) -> Body:
    """The object as it will be stored first.

    Raises:
        Refusal: 400 or 422, the object can't be.
    """
    metadata = _metadata(body)
    if metadata.pop("resourceVersion", ""):
        raise Refusal(500, "resourceVersion should not be set on objects to be created")
    if not metadata.get("name"):
        if not metadata.get("generateName"):
            cause = Cause(
                "FieldValueRequired", "Required value: name or generateName is required", "metadata.name"
            )
            raise invalid(kind.kind, kind.group, "", [cause])
        metadata["name"] = metadata["generateName"] + suffix
    name = metadata["name"]
    if metadata.get("namespace", namespace) != namespace:
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    for ours in ("deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        metadata.pop(ours, None)
    if kind.namespaced:
        metadata["namespace"] = namespace
    metadata |= {"uid": uid, "creationTimestamp": timestamp} | ({"generation": 1} if kind.custom else {})
    body = kind.normalize({"metadata": metadata, **_rest(body)})
    if kind.custom and kind.status:
        body = {k: v for k, v in body.items() if k != "status"}
    causes = [] if _NAME.fullmatch(name) and len(name) <= 253 else [_bad_name(name)]
    if causes := causes + kind.validate(None, body):
        raise invalid(kind.kind, kind.group, name, causes)
    return body


def updated(kind: Kind, old: Body, body: Body, *, subresource: str) -> Body:
    """The object as a PUT or PATCH leaves it; equal to `old` when nothing changes.

    The version is compared first, then the rest is validated, so a stale version is a 409 whatever else is
    wrong (kube-apiserver: registry Store.Update).

    Raises:
        Refusal: 400, 409 or 422.
    """
    metadata, before = _metadata(body), old["metadata"]
    name = before["name"]
    _check_version(kind, name, before["resourceVersion"], metadata.get("resourceVersion") or "")
    causes = [
        Cause(
            "FieldValueInvalid",
            f'Invalid value: "{metadata[field]}": field is immutable',
            f"metadata.{field}",
        )
        for field in ("name", "namespace", "uid")
        if metadata.get(field) and metadata[field] != before.get(field)
    ]
    metadata |= {"name": name, "resourceVersion": before["resourceVersion"]}
    for field in _KEPT:
        metadata.pop(field, None)
        if field in before:
            metadata[field] = before[field]
    if before.get("deletionTimestamp"):
        causes += _new_finalizers(before, metadata)
    new = kind.normalize(_limited(kind, old, {"metadata": metadata, **_rest(body)}, subresource))
    if kind.custom and _specified(new, status=kind.status) != _specified(old, status=kind.status):
        new["metadata"] = {**new["metadata"], "generation": before["generation"] + 1}
    if causes := causes + kind.validate(old, new):
        raise invalid(kind.kind, kind.group, name, causes)
    return new


def terminating(body: Body, *, timestamp: str) -> Body:
    """The object once it is being deleted and waits for its finalizers. It counts as a new generation."""
    metadata = {**body["metadata"], "deletionTimestamp": timestamp, "deletionGracePeriodSeconds": 0}
    if "generation" in metadata:
        metadata["generation"] += 1
    return {**body, "metadata": metadata}


def _decode(data: bytes | None) -> Body:
    try:
        body = msgspec.json.decode(data or b"")
    except msgspec.DecodeError as error:
        raise bad_request(f"error decoding the body: {error}") from None
    if not isinstance(body, dict):
        raise bad_request("error decoding the body: it is not a JSON object")
    return body


def _metadata(body: Body) -> dict[str, Any]:
    """A copy of the metadata, without what is empty."""
    metadata = body.get("metadata") or {}
    try:
        msgspec.convert(metadata, ObjectMeta)
    except msgspec.ValidationError as error:
        raise bad_request(f"error decoding metadata: {error}") from None
    return {k: v for k, v in metadata.items() if v is not None and (v or k not in _DROPPED_WHEN_EMPTY)}


def _rest(body: Body) -> Body:
    return {k: v for k, v in body.items() if k != "metadata"}


def _check_version(kind: Kind, name: str, current: str, asked: str) -> None:
    if not asked or asked == "0":
        if kind.unconditional_update:
            return
        message = "Invalid value: 0: must be specified for an update"
        raise invalid(
            kind.kind, kind.group, name, [Cause("FieldValueInvalid", message, "metadata.resourceVersion")]
        )
    if not asked.isdecimal():
        raise bad_request(f'resourceVersion: Invalid value: "{asked}": not a number')
    if asked != current:
        raise conflict(kind.plural, kind.group, name)


def _new_finalizers(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Cause]:
    had = before.get("finalizers") or []
    new = [text for text in after.get("finalizers") or [] if text not in had]
    if not new:
        return []
    message = (
        "Forbidden: no new finalizers can be added if the object is being deleted, "
        f"found new finalizers {msgspec.json.encode(new).decode()}"
    )
    return [Cause("FieldValueForbidden", message, "metadata.finalizers")]


def _limited(kind: Kind, old: Body, new: Body, subresource: str) -> Body:
    """`new`, but with the parts of `old` that this endpoint can't change."""
    if not kind.status:
        return new
    if subresource == "status":
        metadata = old["metadata"] if kind.custom else new["metadata"]
        body = {**_rest(old), "metadata": metadata}
        source = new
    else:
        body = new
        source = old
    body = {k: v for k, v in body.items() if k != "status"}
    return {**body, "status": source["status"]} if "status" in source else body


def _specified(body: Body, *, status: bool) -> Body:
    """What a generation counts changes of."""
    return {k: v for k, v in body.items() if k != "metadata" and not (status and k == "status")}


def _bad_name(name: str) -> Cause:
    message = (
        f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric '
        "characters, '-' or '.', and must start and end with an alphanumeric character"
    )
    return Cause("FieldValueInvalid", message, "metadata.name")
