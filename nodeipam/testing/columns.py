"""What `kubectl get` shows of each built-in kind, cell by cell, as kube-apiserver prints it.

A column is data: its head, and a function from an object's body and the server's time to the cell. Columns of
priority 1 are those of `-o wide`. The descriptions of a real server, which nothing shows, are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

__all__ = [
    "AGE",
    "CONFIG_MAP_COLUMNS",
    "ENDPOINTS_COLUMNS",
    "EVENT_COLUMNS",
    "LEASE_COLUMNS",
    "NAME",
    "NAMESPACE_COLUMNS",
    "NODE_COLUMNS",
    "Column",
    "since",
]

Body = Mapping[str, Any]
Cell = Callable[[Body, datetime], Any]

_NONE, _UNKNOWN = "<none>", "<unknown>"
_SHOWN_ENDPOINTS = 3


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a table."""

    name: str
    cell: Cell
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0

    def show(self, body: Body, now: datetime) -> Any:
        """The cell; "<invalid>" where the object is of a shape that no real server would have taken."""
        try:
            return self.cell(body, now)
        except (AttributeError, KeyError, TypeError):
            return "<invalid>"

    def head(self) -> dict[str, Any]:
        """Its definition in a Table."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


def since(text: str | None, now: datetime) -> str:
    """The age of a time of the API, as people read it: "5s", "3m10s", "7h", "12d"."""
    if not text:
        return _UNKNOWN
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return "<invalid>"
    if then.tzinfo is None:
        return "<invalid>"
    return _duration((now - then).total_seconds())


def _duration(elapsed: float) -> str:
    """Two units at most, and the second only while the first is small (apimachinery: HumanDuration)."""
    if elapsed <= -2:
        return "<invalid>"
    seconds = max(0, int(elapsed))
    minutes, hours = seconds // 60, seconds // 3600
    days, years = hours // 24, hours // (24 * 365)
    for below, unit, count, part, rest in (
        (seconds < 120, "s", seconds, "", 0),
        (minutes < 10, "m", minutes, "s", seconds % 60),
        (minutes < 180, "m", minutes, "", 0),
        (hours < 8, "h", hours, "m", minutes % 60),
        (hours < 48, "h", hours, "", 0),
        (days < 8, "d", days, "h", hours % 24),
        (years < 2, "d", days, "", 0),
        (years < 8, "y", years, "d", days % 365),
    ):
        if below:
            return f"{count}{unit}" + (f"{rest}{part}" if rest else "")
    return f"{years}y"


def _part(body: Body, *path: str) -> Any:
    """What stands there, None if it or anything above it is missing."""
    value: Any = body
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(*path: str, missing: str = "") -> Cell:
    return lambda body, _: _part(body, *path) or missing


def _ready(body: Body, _: datetime) -> str:
    conditions = _part(body, "status", "conditions") or []
    ready = [each.get("status") == "True" for each in conditions if each.get("type") == "Ready"]
    found = ["Ready" if each else "NotReady" for each in ready] or ["Unknown"]
    return ",".join(found + ["SchedulingDisabled"] * bool(_part(body, "spec", "unschedulable")))


def _roles(body: Body, _: datetime) -> str:
    roles = set()
    for key, value in (_part(body, "metadata", "labels") or {}).items():
        prefix, found, role = key.partition("node-role.kubernetes.io/")
        if found and not prefix and role:
            roles.add(role)
        elif key == "kubernetes.io/role" and value:
            roles.add(value)
    return ",".join(sorted(roles)) or _NONE


def _address(kind: str) -> Cell:
    def cell(body: Body, _: datetime) -> str:
        addresses = _part(body, "status", "addresses") or []
        return next((each["address"] for each in addresses if each.get("type") == kind), _NONE)

    return cell


def _kernel(body: Body, _: datetime) -> str:
    info = _part(body, "status", "nodeInfo") or {}
    kernel, architecture = info.get("kernelVersion"), info.get("architecture")
    if not kernel:
        return _UNKNOWN
    return f"{kernel} ({architecture})" if architecture else str(kernel)


def _endpoints(body: Body, _: datetime) -> str:
    subsets = body.get("subsets") or []
    if not subsets:
        return _NONE
    found = [text for subset in subsets for text in _of_subset(subset)]
    more = len(found) - _SHOWN_ENDPOINTS
    return ",".join(found[:_SHOWN_ENDPOINTS]) + (f" + {more} more..." if more > 0 else "")


def _of_subset(subset: Body) -> Iterator[str]:
    addresses = [each["ip"] for each in subset.get("addresses") or []]
    if not subset.get("ports"):
        yield from addresses
    for port in subset.get("ports") or []:
        for ip in addresses:
            yield f"[{ip}]:{port['port']}" if ":" in ip else f"{ip}:{port['port']}"


def _entries(body: Body, _: datetime) -> int:
    return len(body.get("data") or {}) + len(body.get("binaryData") or {})


def _of_either(body: Body, core: str, other: str) -> Any:
    """A field of an Event, which has another name in events.k8s.io."""
    return body.get(core) or body.get(other)


def _first_seen(body: Body, now: datetime) -> str:
    return since(_of_either(body, "firstTimestamp", "deprecatedFirstTimestamp") or body.get("eventTime"), now)


def _last_seen(body: Body, now: datetime) -> str:
    last = _part(body, "series", "lastObservedTime") or _of_either(
        body, "lastTimestamp", "deprecatedLastTimestamp"
    )
    return since(last, now) if last else _first_seen(body, now)


def _times(body: Body, _: datetime) -> int:
    count = _part(body, "series", "count") or _of_either(body, "count", "deprecatedCount")
    return int(count or 1)


def _regarding(body: Body, _: datetime) -> str:
    regarding = _of_either(body, "involvedObject", "regarding") or {}
    kind, name = regarding.get("kind", "").lower(), regarding.get("name")
    return f"{kind}/{name}" if name else kind


def _field_path(body: Body, _: datetime) -> str:
    found: str = (_of_either(body, "involvedObject", "regarding") or {}).get("fieldPath", "")
    return found


def _source(body: Body, _: datetime) -> str:
    source = _of_either(body, "source", "deprecatedSource") or {}
    component = source.get("component") or _of_either(body, "reportingComponent", "reportingController")
    instance = source.get("host") or body.get("reportingInstance")
    return ", ".join(filter(None, (component, instance)))


def _message(body: Body, _: datetime) -> str:
    return str(_of_either(body, "message", "note") or "").strip()


NAME = Column(name="Name", format="name", cell=_text("metadata", "name"))
AGE = Column(name="Age", cell=lambda body, now: since(_part(body, "metadata", "creationTimestamp"), now))
NODE_COLUMNS = (
    NAME,
    Column(name="Status", cell=_ready),
    Column(name="Roles", cell=_roles),
    AGE,
    Column(name="Version", cell=_text("status", "nodeInfo", "kubeletVersion")),
    Column(name="Internal-IP", priority=1, cell=_address("InternalIP")),
    Column(name="External-IP", priority=1, cell=_address("ExternalIP")),
    Column(name="OS-Image", priority=1, cell=_text("status", "nodeInfo", "osImage", missing=_UNKNOWN)),
    Column(name="Kernel-Version", priority=1, cell=_kernel),
    Column(
        name="Container-Runtime",
        priority=1,
        cell=_text("status", "nodeInfo", "containerRuntimeVersion", missing=_UNKNOWN),
    ),
)
LEASE_COLUMNS = (NAME, Column(name="Holder", cell=_text("spec", "holderIdentity")), AGE)
CONFIG_MAP_COLUMNS = (NAME, Column(name="Data", cell=_entries), AGE)
ENDPOINTS_COLUMNS = (NAME, Column(name="Endpoints", cell=_endpoints), AGE)
NAMESPACE_COLUMNS = (NAME, Column(name="Status", cell=_text("status", "phase")), AGE)
EVENT_COLUMNS = (
    Column(name="Last Seen", cell=_last_seen),
    Column(name="Type", cell=_text("type")),
    Column(name="Reason", cell=_text("reason")),
    Column(name="Object", cell=_regarding),
    Column(name="Subobject", priority=1, cell=_field_path),
    Column(name="Source", priority=1, cell=_source),
    Column(name="Message", cell=_message),
    Column(name="First Seen", priority=1, cell=_first_seen),
    Column(name="Count", priority=1, cell=_times),
    Column(name="Name", format="name", priority=1, cell=_text("metadata", "name")),
)
