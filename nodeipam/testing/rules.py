"""What an API server does to an object of any kind before it stores it. Pure: bodies in, bodies out.

Invariant: nothing here changes a body that it was given; what is returned may share parts with it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from nodeipam.runtime.errors import Cause

from .fields import shaped
from .kinds import Kind
from .metadata import Metadata, faults_of_metadata, updates_validated
from .status import bad_request, conflict, invalid, other_kind, unknown_fields, unreasoned

__all__ = ["check_name", "created", "decode_object", "name_of", "terminating", "typed", "updated"]

Body = dict[str, Any]

_KEPT = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "generateName",
    "namespace",
)


def decode_object(kind: Kind, data: bytes | None, *, strict: bool = False) -> Body:
    """The body of a POST or PUT, without kind and apiVersion.

    Raises:
        Refusal: 400, it is not JSON, not an object, not of this kind, a field is of a wrong type, or it has
            fields that this kind doesn't have, where `strict` asks for that.
    """
    body = _decode(data)
    named = body.pop("apiVersion", kind.api_version), body.pop("kind", kind.kind)
    if named != (kind.api_version, kind.kind):
        raise other_kind(*named, expected=(kind.api_version, kind.kind))
    version = kind.api_version.rpartition("/")[2]
    if strict and (paths := list(kind.unknown(body))):
        raise unknown_fields(kind.kind, version, paths)
    try:
        return typed(kind, body)
    except msgspec.ValidationError as error:
        raise bad_request(
            f'{kind.kind} in version "{version}" cannot be handled as a {kind.kind}: {error}'
        ) from None


def typed(kind: Kind, body: Body) -> Body:
    """`body` with the fields that its kind has, each of its type.

    Raises:
        msgspec.ValidationError: one isn't.
    """
    metadata = shaped(Metadata, body.get("metadata") or {})
    rest = {k: v for k, v in body.items() if k != "metadata"}
    return {"metadata": metadata, **(shaped(kind.fields, rest) if kind.fields else rest)}


def name_of(kind: Kind, body: Body) -> str:
    """The name of an object that is to be created; "" where the server has to make it.

    Raises:
        Refusal: 422, it can't make one either.
    """
    name: str = body["metadata"].get("name", "")
    if not name and not body["metadata"].get("generateName"):
        message = "Required value: name or generateName is required"
        raise invalid(kind.kind, kind.group, "", [Cause("FieldValueRequired", message, "metadata.name")])
    return name


def created(kind: Kind, body: Body, *, namespace: str, name: str, uid: str, timestamp: str) -> Body:
    """The object as it will be stored first.

    Raises:
        Refusal: 400, 422 or 500, the object can't be.
    """
    metadata = {**body["metadata"], "name": name}
    if metadata.pop("resourceVersion", ""):
        raise unreasoned("resourceVersion should not be set on objects to be created")
    _set_namespace(kind, metadata, namespace)
    for ours in ("deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        metadata.pop(ours, None)
    metadata |= {"uid": uid, "creationTimestamp": timestamp} | ({"generation": 1} if kind.counts else {})
    body = kind.normalize({**body, "metadata": metadata})
    if kind.custom and kind.status:
        body = {k: v for k, v in body.items() if k != "status"}
    causes = faults_of_metadata(kind.names, {}, body["metadata"], custom=kind.custom)
    if causes := causes + kind.validate(None, body):
        raise invalid(kind.kind, kind.group, metadata["name"], causes)
    return body


def updated(kind: Kind, old: Body, body: Body, *, subresource: str) -> Body:
    """The object as a PUT or PATCH leaves it; equal to `old` when nothing changes.

    The version is compared first, then the rest is validated, so a stale version is a 409 whatever else is
    wrong (kube-apiserver: registry Store.Update).

    Raises:
        Refusal: 400, 409, 422 or 500.
    """
    metadata, before = {**body["metadata"]}, old["metadata"]
    name = before["name"]
    check_name(metadata.get("name", ""), name)
    _set_namespace(kind, metadata, before.get("namespace", ""))
    _check_version(kind, name, before["resourceVersion"], metadata.get("resourceVersion", ""))
    causes = []
    if metadata.get("uid", before["uid"]) != before["uid"]:
        message = f'Invalid value: "{metadata["uid"]}": field is immutable'
        causes += [Cause("FieldValueInvalid", message, "metadata.uid")] * updates_validated(
            custom=kind.custom
        )
    metadata["resourceVersion"] = before["resourceVersion"]
    for field in _KEPT:
        metadata.pop(field, None)
        if field in before:
            metadata[field] = before[field]
    causes += faults_of_metadata(kind.names, before, metadata, custom=kind.custom)
    new = kind.normalize(_limited(kind, old, {**body, "metadata": metadata}, subresource))
    if kind.counts and _specified(new, status=kind.status) != _specified(old, status=kind.status):
        new["metadata"] = {**new["metadata"], "generation": before["generation"] + 1}
    if causes := causes + kind.validate(old, new):
        raise invalid(kind.kind, kind.group, name, causes)
    return new


def check_name(given: str, name: str) -> None:
    """Refuse a body that is another's than the path's: 400."""
    if given != name:
        raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")


def terminating(kind: Kind, body: Body, *, finalizers: list[str], timestamp: str) -> Body:
    """The object once it is being deleted and waits for these finalizers. It counts as a new generation."""
    metadata = {**body["metadata"], "finalizers": finalizers}
    if not finalizers:
        del metadata["finalizers"]
    if "deletionTimestamp" not in metadata:
        metadata |= {"deletionTimestamp": timestamp, "deletionGracePeriodSeconds": 0}
        if "generation" in metadata:
            metadata["generation"] += 1
    return kind.normalize({**body, "metadata": metadata})


def _decode(data: bytes | None) -> Body:
    try:
        body = msgspec.json.decode(data or b"")
    except msgspec.DecodeError as error:
        raise bad_request(f"error decoding the body: {error}") from None
    if not isinstance(body, dict):
        raise bad_request("error decoding the body: it is not a JSON object")
    return body


def _set_namespace(kind: Kind, metadata: Body, namespace: str) -> None:
    """The path tells the namespace: the body may be silent, or say the same."""
    given = metadata.pop("namespace", namespace)
    if not kind.namespaced:
        return
    if given != namespace:
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    metadata["namespace"] = namespace


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
        raise unreasoned(f'strconv.ParseUint: parsing "{asked}": invalid syntax')
    if asked != current:
        raise conflict(kind.plural, kind.group, name)


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
