"""Tells a run as a story that a person can read: what was done, asked, answered and logged."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import msgspec

from nodeipam.testing import Logged, VirtualLoop, current_host
from nodeipam.testing.listoptions import asks_to_watch

from .cluster import Cluster
from .schedule import Schedule

__all__ = ["story"]


def story(schedule: Schedule) -> str:
    """Play a schedule once more, and write down what happens."""
    loop = VirtualLoop()
    scribe = _Scribe(loop)
    logger = logging.getLogger("nodeipam")
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(scribe)
    cluster = Cluster(schedule, loop)
    try:
        outcome = loop.run_until_complete(cluster.play())
    finally:
        logger.removeHandler(scribe)
        logger.setLevel(level)
        loop.close()
    lines = [
        *((at, f"*** {step}") for at, step in cluster.told),
        *scribe.lines,
        *((line.time, _request(line)) for line in _worth_telling(cluster.server.log)),
    ]
    lines.sort(key=lambda line: line[0])
    found = [f"{at:10.3f}  {text}" for at, text in lines]
    violated = [f"VIOLATED {what}" for what in outcome.violations] or ["Nothing was violated."]
    return "\n".join([_heading(schedule), *found, *violated])


def _heading(schedule: Schedule) -> str:
    clocks = ", ".join(f"{run.name} from {run.start:.3f} s at rate {run.rate:g}" for run in schedule.replicas)
    return f"{schedule.name}: replicas {clocks}; a message takes up to {schedule.latency:g} s"


class _Scribe(logging.Handler):
    """Keeps log lines, with the host that logged them and when."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self.lines: list[tuple[float, str]] = []
        self._loop = loop

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        host = current_host()
        extra = " ".join(f"{key}={value}" for key, value in vars(record).items() if key not in _USUAL)
        text = f"{host.name if host else 'the world'}: {record.getMessage()} {extra}".rstrip()
        self.lines.append((self._loop.now, text))


_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "exc_info"}


def _worth_telling(log: list[Logged]) -> Iterator[Logged]:
    """All requests but the second and later renewals in a row that succeed."""
    previous = ""
    for line in log:
        renewal = f"{line.identity} {line.status}" if line.call.method == "PUT" else ""
        if "/leases" in line.call.path and not asks_to_watch(line.call.query):
            again, previous = renewal and renewal == previous, renewal
            if again and line.status == 200:
                continue
        yield line


def _request(line: Logged) -> str:
    call = line.call
    watch = asks_to_watch(call.query)
    query = " ".join(f"{key}={value}" for key, value in call.query if key in ("resourceVersion", "continue"))
    body = "" if "/events" in call.path else " ".join(_gist(call.body))
    said = (f"{line.identity}:", "WATCH" if watch else call.method, call.path, query, body)
    return f"{' '.join(filter(None, said))} → {line.status or 'lost'}"


def _gist(body: bytes | None) -> Iterator[str]:
    found: Any = msgspec.json.decode(body or b"{}")
    metadata, spec = found.get("metadata") or {}, found.get("spec") or {}
    for key in ("uid", "resourceVersion", "finalizers", "annotations"):
        if key in metadata:
            yield f"{key}={metadata[key]}"
    for key in ("podCIDRs", "holderIdentity", "leaseTransitions"):
        if key in spec:
            yield f"{key}={spec[key]}"
