"""One Event as it is written to the API, and how often the same has happened.

It has two forms, that of `events.k8s.io/v1` and that of core `v1`. Both keep within what the API server
accepts, whatever they are made of.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from .errors import ConfigurationError

__all__ = ["ObjectReference", "Reporter", "Series"]

_NOTE = 1024
_FIELD = 128
"""What the API server accepts, in bytes: of a note; of reason, action and reportingInstance."""
_NAME = 253
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_QUALIFIED = re.compile(rf"({_LABEL}(\.{_LABEL})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?")


class ObjectReference(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False
):
    """The object that an Event is about. It need not exist any more."""

    api_version: str
    kind: str
    name: str
    uid: str
    namespace: str = ""
    """Empty for cluster-scoped kinds; Events about those lie in the namespace "default"."""
    resource_version: str = ""

    @property
    def identity(self) -> tuple[str, ...]:
        """What makes it this object, whatever its version."""
        return (self.api_version, self.kind, self.namespace, self.name, self.uid)

    def event_name(self, number: int) -> str:
        """The name of an Event about it: valid, and unique as far as `number` (64 bits) is."""
        suffix = f".{number:016x}"
        stem = self.name[: _NAME - len(suffix)].rstrip("-.")
        return (stem if _SUBDOMAIN.fullmatch(stem) else "event") + suffix


@dataclass(frozen=True, kw_only=True, slots=True)
class Reporter:
    """Who reports Events.

    Raises:
        ConfigurationError: the API server would refuse it.
    """

    component: str
    """A qualified name, such as "widgets" or "example.com/widgets"."""
    instance: str

    def __post_init__(self) -> None:
        if not _QUALIFIED.fullmatch(self.component):
            raise ConfigurationError(
                f"Events come from a qualified name such as 'example.com/widgets', not {self.component!r}"
            )
        if not self.instance:
            raise ConfigurationError(f"the instance of {self.component} that reports Events needs a name")


class Series:
    """One Event, and how often the same has happened. `event` and `core` are its two forms."""

    __slots__ = (
        "action",
        "count",
        "first",
        "last",
        "made",
        "name",
        "note",
        "reason",
        "regarding",
        "seen",
        "type",
        "waiting",
    )

    def __init__(
        self,
        name: str,
        regarding: ObjectReference,
        now: float,
        wall: datetime,
        *,
        type: str,
        reason: str,
        action: str,
        note: str,
    ) -> None:
        self.name = name
        self.regarding = regarding
        self.type = type
        self.reason = _clip(reason, _FIELD)
        self.action = _clip(action or reason, _FIELD)
        self.note = _clip(note, _NOTE)
        self.first = self.last = wall
        self.seen = now
        """When it happened last, in monotonic seconds."""
        self.count = 1
        self.waiting = False
        """It stands in the queue, and will tell of all that is counted until it is sent."""
        self.made = False
        """The server has it."""

    def __repr__(self) -> str:
        return f"<Series {self.reason} of {self.regarding.kind} {self.regarding.name}, {self.count} times>"

    @property
    def namespace(self) -> str:
        """Where the Event lies: beside its object, or in "default"."""
        return self.regarding.namespace or "default"

    @property
    def metadata(self) -> dict[str, str]:
        """The Event's own."""
        return {"name": self.name, "namespace": self.namespace}

    def again(self, now: float, wall: datetime) -> None:
        """Count it once more."""
        self.count, self.seen, self.last = self.count + 1, now, wall

    @property
    def event(self) -> EventForm:
        """As `events.k8s.io/v1` has it."""
        return EventForm(self)

    @property
    def core(self) -> CoreForm:
        """As core `v1` has it."""
        return CoreForm(self)


@dataclass(frozen=True, slots=True)
class EventForm:
    """A series as an Event of `events.k8s.io/v1`."""

    series: Series

    def whole(self, reporter: Reporter) -> dict[str, Any]:
        """What to create."""
        series = self.series
        return {
            "metadata": series.metadata,
            "eventTime": _micro_time(series.first),
            "regarding": series.regarding,
            "type": series.type,
            "reason": series.reason,
            "action": series.action,
            "note": series.note,
            "reportingController": reporter.component,
            "reportingInstance": _clip(reporter.instance, _FIELD),
            **(self.count() if series.count > 1 else {}),  # a series is two at least
        }

    def count(self) -> dict[str, Any]:
        """What to patch after more of the same."""
        return {"series": {"count": self.series.count, "lastObservedTime": _micro_time(self.series.last)}}


@dataclass(frozen=True, slots=True)
class CoreForm:
    """A series as an Event of core `v1`."""

    series: Series

    def whole(self, reporter: Reporter) -> dict[str, Any]:
        """What to create: without an eventTime, which would subject it to the rules of the newer API."""
        series = self.series
        return {
            "metadata": series.metadata,
            "involvedObject": series.regarding,
            "type": series.type,
            "reason": series.reason,
            "action": series.action,
            "message": series.note,
            "source": {"component": reporter.component},
            "reportingComponent": reporter.component,
            "reportingInstance": _clip(reporter.instance, _FIELD),
            "firstTimestamp": _time(series.first),
            **self.count(),
        }

    def count(self) -> dict[str, Any]:
        """What to patch after more of the same."""
        return {"count": self.series.count, "lastTimestamp": _time(self.series.last)}


def _clip(text: str, limit: int) -> str:
    """At most `limit` bytes of `text`, with an ellipsis where something was cut off."""
    data = text.encode(errors="replace")
    if len(data) <= limit:
        return data.decode()
    return data[: limit - len("…".encode())].decode(errors="ignore") + "…"


def _micro_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
