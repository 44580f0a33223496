"""The API server's words: Status bodies for what went wrong, as a real one writes them.

Each function below is one refusal of kube-apiserver; `Refusal` carries it up to the edge of the model.
"""

from __future__ import annotations

from typing import Any

import msgspec

from nodeipam.runtime.errors import Cause

__all__ = [
    "REASONS",
    "Refusal",
    "already_exists",
    "bad_request",
    "conflict",
    "expired",
    "forbidden",
    "invalid",
    "method_not_allowed",
    "namespace_terminating",
    "not_acceptable",
    "not_found",
    "other_kind",
    "status_body",
    "too_large",
    "too_large_version",
    "unknown_fields",
    "unknown_patched_fields",
    "unlike_its_kind",
    "unreasoned",
    "unsupported_media_type",
]

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class Refusal(Exception):
    """Raised inside the model to answer with a Status instead of an object."""

    def __init__(
        self, code: int, message: str, *, reason: str = "", details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status_body(code, message, reason=reason, details=details)

    def encode(self) -> bytes:
        """The answer's body."""
        return msgspec.json.encode(self.status)


def status_body(
    code: int, message: str, *, reason: str = "", details: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A Status object of failure, as it stands in an answer's body and in a watch's ERROR event."""
    body: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason or REASONS.get(code, "Unknown"),
    }
    if details:
        body["details"] = details
    body["code"] = code
    return body


def _details(name: str, group: str, kind: str) -> dict[str, Any]:
    return {k: v for k, v in {"name": name, "group": group, "kind": kind}.items() if v}


def _qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


def bad_request(message: str) -> Refusal:
    """The request itself is malformed."""
    return Refusal(400, message)


def forbidden(
    plural: str, group: str, name: str, why: str, causes: list[dict[str, str]] | None = None
) -> Refusal:
    """Something that nobody may do."""
    message = f'{_qualified(plural, group)} "{name}" is forbidden: {why}'
    details = _details(name, group, plural) | ({"causes": causes} if causes else {})
    return Refusal(403, message, details=details)


def namespace_terminating(plural: str, group: str, name: str, namespace: str) -> Refusal:
    """A create in a namespace that is being deleted."""
    message = f"namespace {namespace} is being terminated"
    cause = {"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"}
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    return forbidden(plural, group, name, why, [cause])


def not_found(plural: str, group: str, name: str) -> Refusal:
    """There is no object of that name."""
    message = f'{_qualified(plural, group)} "{name}" not found'
    return Refusal(404, message, details=_details(name, group, plural))


def method_not_allowed() -> Refusal:
    """This verb isn't served here."""
    return Refusal(405, "the server does not allow this method on the requested resource")


def not_acceptable(accepted: str) -> Refusal:
    """The answer can't be given in a form that the client accepts."""
    return Refusal(406, f"only the following media types are accepted: {accepted}", reason="NotAcceptable")


def already_exists(plural: str, group: str, name: str) -> Refusal:
    """A create under a name that is taken."""
    message = f'{_qualified(plural, group)} "{name}" already exists'
    return Refusal(409, message, reason="AlreadyExists", details=_details(name, group, plural))


def conflict(plural: str, group: str, name: str, why: str = "") -> Refusal:
    """A stale resourceVersion, or a failed precondition when `why` tells which."""
    why = why or (
        "the object has been modified; please apply your changes to the latest version and try again"
    )
    message = f'Operation cannot be fulfilled on {_qualified(plural, group)} "{name}": {why}'
    return Refusal(409, message, details=_details(name, group, plural))


def expired(message: str) -> Refusal:
    """A version of which the history is gone."""
    return Refusal(410, message)


def unsupported_media_type(accepted: str) -> Refusal:
    """The request's body comes in a form that isn't read here."""
    message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
    return Refusal(415, message)


def other_kind(api_version: str, kind: str, *, expected: tuple[str, str]) -> Refusal:
    """The body says that it is an object of another kind than the path."""
    return bad_request(
        f"the API version in the data ({api_version}, Kind={kind}) does not match "
        f"the expected API version ({expected[0]}, Kind={expected[1]})"
    )


def unknown_fields(kind: str, version: str, paths: list[str]) -> Refusal:
    """A client that wants to know has sent fields that the kind doesn't have."""
    return bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {_unknown(paths)}')


def unknown_patched_fields(body: dict[str, Any], paths: list[str]) -> Refusal:
    """So it is for a patch, of which the server tells nothing but what it made."""
    return unlike_its_kind(body, _unknown(paths))


def unlike_its_kind(body: dict[str, Any], why: str) -> Refusal:
    """A patch that makes of the object what can't be of its kind."""
    shown = msgspec.json.encode(msgspec.json.encode(body, order="sorted").decode()).decode()
    return invalid("", "", "", [Cause("FieldValueInvalid", f"Invalid value: {shown}: {why}", "patch")])


def _unknown(paths: list[str]) -> str:
    return "strict decoding error: " + ", ".join(f'unknown field "{path}"' for path in paths)


def unreasoned(message: str) -> Refusal:
    """An error of Go that no part of the server turned into one of the API's: 500 without a reason."""
    refusal = Refusal(500, message)
    del refusal.status["reason"]
    return refusal


def invalid(kind: str, group: str, name: str, causes: list[Cause]) -> Refusal:
    """What a validation found, cause by cause."""
    told = [f"{cause.field}: {cause.message}" for cause in causes]
    text = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    details = _details(name, group, kind) | {
        "causes": [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]
    }
    qualified = _qualified(kind, group)
    return Refusal(422, f'{qualified} "{name}" is invalid: {text}', details=details)


def too_large(limit: int) -> Refusal:
    """A body that isn't read."""
    return Refusal(413, f"Request entity too large: limit is {limit}")


def too_large_version(asked: int, current: int) -> Refusal:
    """A list at a version that doesn't exist yet, as after etcd was restored from an older state."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return Refusal(
        504,
        f"Timeout: Too large resource version: {asked}, current: {current}",
        details={"causes": [cause], "retryAfterSeconds": 1},
    )
