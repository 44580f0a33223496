"""The two forms of an Event: that of v1 and that of events.k8s.io/v1 are the same object.

A real server stores one and converts. The model stores both, at the same version, so that lists and watches
need to know nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nodeipam.runtime.errors import Cause

from .names import qualified_name

__all__ = ["TWINS", "validate_core", "validate_new"]

Body = Mapping[str, Any]

_CORE = "events"
_EVENTS = "events.events.k8s.io"

_NEW_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_OLD_NAMES = {new: old for old, new in _NEW_NAMES.items()}


def _to_events(body: Body) -> dict[str, Any]:
    return {_NEW_NAMES.get(name, name): value for name, value in body.items()}


def _to_core(body: Body) -> dict[str, Any]:
    return {_OLD_NAMES.get(name, name): value for name, value in body.items()}


TWINS: Mapping[str, tuple[str, Callable[[Body], dict[str, Any]]]] = {
    _CORE: (_EVENTS, _to_events),
    _EVENTS: (_CORE, _to_core),
}
"""By kind: under which other kind the same objects are found, and how they look there."""


def validate_core(old: Body | None, new: Body) -> list[Cause]:
    """What is wrong with an Event of v1: only where it lies, since nobody may be kept from telling."""
    return list(_misplaced(new["metadata"], new.get("involvedObject", {}))) if old is None else []


def validate_new(old: Body | None, new: Body) -> list[Cause]:
    """What is wrong with one of events.k8s.io/v1: it is complete, and nothing but its series changes."""
    if old is not None:
        return [
            _invalid(_OLD_NAMES.get(field, field), str(new.get(field)), "field is immutable")
            for field in _FIXED
            if new.get(field) != old.get(field)
        ]
    causes = list(_misplaced(new["metadata"], new.get("regarding", {})))
    causes += [
        Cause("FieldValueRequired", "Required value", field)
        for field in ("eventTime", "reportingController", "reportingInstance", "action", "reason")
        if not new.get(field)
    ]
    if controller := new.get("reportingController"):
        causes += [_invalid("reportingController", controller, why) for why in qualified_name(controller)]
    causes += [
        _invalid(_OLD_NAMES.get(field, field), "", f"can have at most {most} characters")
        for field, most in (("reportingInstance", 128), ("action", 128), ("reason", 128), ("note", 1024))
        if len(new.get(field, "")) > most
    ]
    if new.get("type") not in {"Normal", "Warning"}:
        causes.append(_invalid("type", "", f"has invalid value: {new.get('type', '')}"))
    if new.get("series") and new["series"].get("count", 0) < 2:
        causes.append(_invalid("series.count", "", "should be at least 2"))
    causes += [
        _invalid(old, "", "needs to be unset") for name, old in _OLD_NAMES.items() if _is_old(name, new)
    ]
    return causes


_FIXED = (
    "eventTime",
    "reportingController",
    "reportingInstance",
    "action",
    "reason",
    "regarding",
    "related",
    "note",
    "type",
    "deprecatedSource",
    "deprecatedCount",
)


def _is_old(name: str, body: Body) -> bool:
    return name.startswith("deprecated") and bool(body.get(name))


def _misplaced(metadata: Body, about: Body) -> Iterator[Cause]:
    """An Event lies in the namespace of what it is about; of what has none, in "default"."""
    namespace = about.get("namespace", "")
    if (namespace or "default") != metadata["namespace"]:
        yield _invalid("involvedObject.namespace", namespace, "does not match event.namespace")


def _invalid(field: str, value: str, why: str) -> Cause:
    return Cause("FieldValueInvalid", f'Invalid value: "{value}": {why}', field)
