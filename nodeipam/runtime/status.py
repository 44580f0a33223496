"""What an answer means that isn't a success: Kubernetes' Status object, `Retry-After`, anything else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from .errors import APIError, Cause, ProtocolError

__all__ = ["api_error", "begins", "unexpected"]

_LONGEST_WAIT = 300.0
"""Seconds. What a server or a proxy wishes beyond this isn't believed."""


class _Cause(msgspec.Struct):
    reason: str = ""
    message: str = ""
    field: str = ""


class _Details(msgspec.Struct, rename="camel"):
    causes: list[_Cause] | None = None
    retry_after_seconds: int | None = None


class _Status(msgspec.Struct):
    kind: str
    message: str = ""
    reason: str = ""
    details: _Details | None = None


def api_error(code: int, headers: Mapping[str, str], body: bytes, *, what: str, now: datetime) -> APIError:
    """The error that an answer of `code` ≥ 400 stands for. `what` names the request, `now` is the date."""
    try:
        status = msgspec.json.decode(body, type=_Status)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        status = None
    wish = _retry_after(headers.get("Retry-After", ""), now)
    if status is None or status.kind != "Status":
        message = f"{what} was answered with {begins(headers, body)}"
        return APIError(code, "", message, retry_after=wish, structured=False)
    details = status.details or _Details()
    if wish is None and details.retry_after_seconds:
        wish = _believable(details.retry_after_seconds)
    causes = tuple(Cause(cause.reason, cause.message, cause.field) for cause in details.causes or ())
    return APIError(code, status.reason, status.message or what, causes=causes, retry_after=wish)


def unexpected(code: int, headers: Mapping[str, str], body: bytes, *, what: str, why: str) -> ProtocolError:
    """The error for an answer that no API server gives: what was wrong with it, and how it begins."""
    return ProtocolError(f"{what}: {why}; the answer was {code}, {begins(headers, body)}")


def begins(headers: Mapping[str, str], body: bytes) -> str:
    """The content type and the first characters of a body, on one line."""
    text = " ".join(body[:400].decode(errors="replace").split())
    shown = text[:80] + "…" if len(text) > 80 else text
    return f"{headers.get('Content-Type', 'no content type')}: {shown!r}"


def _retry_after(text: str, now: datetime) -> float | None:
    """RFC 9110, 10.2.3: seconds, or a date."""
    if not text:
        return None
    try:
        return _believable(float(text))
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return _believable((date - now).total_seconds())


def _believable(seconds: float) -> float | None:
    return None if math.isnan(seconds) else min(max(seconds, 0.0), _LONGEST_WAIT)
