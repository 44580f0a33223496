"""`python -m tests.reference.document`: writes docs/reference.md from the code.

What only a person can say (when an event is sent, what a condition means) stands here, and a test finds what
is missing in the tables.
"""

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import Metric

from nodeipam.api.clustercidr import FINALIZER
from nodeipam.cli.options import FLAGS
from nodeipam.controllers.poolset import State
from nodeipam.controllers.settings import Settings
from nodeipam.controllers.takeover import EPOCH
from nodeipam.controllers.waiting import Cause
from nodeipam.controllers.wiring import build
from nodeipam.runtime import Client, Election, Manager
from nodeipam.runtime.electionrecord import RELEASED
from nodeipam.testing import APIServer, ModelTransport, VirtualClock, run_virtual

__all__ = ["CONDITIONS", "EVENTS", "PAGE", "manager", "metrics", "series", "written"]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference.md"
RIGHTS = ROOT / "manifests" / "rbac.yaml"

HEAD = """\
# Reference

Written by `make docs` from the code; a test fails where it doesn't say what the code does.
"""

EVENTS = {
    "CIDRNotAvailable": "Node: no ClusterCIDR can serve it. Which are full, or why none matches",
    "CIDRAssignmentFailed": "Node: its ranges can't be written. What the API server, or a webhook, answered",
    "CIDRConflict": "Node: its ranges overlap another's. Which, and whose",
    "CIDRInvalid": "Node: among its ranges is text that is none. What is wrong with it",
    "CIDROutOfRange": "Node: it has ranges outside every ClusterCIDR, which are protected as they are",
    "InvalidClusterCIDR": "ClusterCIDR: no Node gets a range of it. Which value is wrong, and what is right",
}
CONDITIONS = {
    ("Ready", "True", "Allocating"): "Nodes get ranges from it",
    ("Ready", "False", "Invalid"): "It can't work; the message names the value and what would be right",
    ("Ready", "False", "Terminating"): "It is being deleted; the message names a Node that still uses it",
    (
        "Warning",
        "True",
        "Questionable",
    ): "It is served, but can hardly be meant as it is; the message says why",
}
WRITES = {
    f"`{FINALIZER}`": "finalizer of each ClusterCIDR that blocks are taken from; gone with its last Node",
    f"`{EPOCH}`": "annotation of Nodes that had no ranges at a take-over without a release: the fence",
    f"`{RELEASED}`": "annotation of the lock object: with which transition it was released in good order",
}
PROBES = (
    ("`/healthz`", "liveness; asks nobody", "event-loop, leader-election"),
    (
        "`/readyz`",
        "readiness",
        "fence, informer-clustercidrs.networking.x-k8s.io, informer-nodes, leader-election, running",
    ),
)
PARTS = {
    "histogram": ("_bucket", "_count", "_sum"),
    "counter": ("_total",),
    "info": ("_info",),
    "gauge": ("",),
}
EXITS = (
    ("0", "stopped in good order by SIGINT or SIGTERM"),
    ("1", "anything else: a bad flag, no API server to be found, a second signal, an error"),
)


def written() -> str:
    """The page as it should be."""
    return "\n".join([HEAD, *_flags(), *_metrics(), *_events(), *_writes(), *_probes(), *_rights()])


def manager() -> Manager:
    """The controller as it is put together, never run, with all that it can have."""

    async def made() -> Manager:
        transport = ModelTransport(APIServer(), identity="reference")
        client = Client(transport, clock=VirtualClock(), rng=random.Random(0))
        settings = Settings(election=Election(namespace="nodeipam", name="node-ipam-controller"))
        controller = build(settings, client)
        ProcessCollector(registry=client.metrics.registry)
        return controller

    return run_virtual(made())


def metrics(registry: CollectorRegistry) -> Iterator[tuple[Metric, tuple[str, ...]]]:
    """Each metric family, with the names of its labels."""
    for collector in list(registry._collector_to_names):  # noqa: SLF001 - labels are told nowhere else
        for family in collector.collect():
            if family.type == "info":
                yield family, tuple(sorted(family.samples[0].labels))
            else:
                labels = getattr(collector, "_labelnames", None) or getattr(family, "_labelnames", None)
                yield family, tuple(labels or ())


def series(family: Metric) -> tuple[str, ...]:
    """The names that a family's series have on `/metrics`."""
    return tuple(family.name + part for part in PARTS[family.type])


def _table(*heads: str, rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _flags() -> Iterator[str]:
    yield "## Flags and environment\n"
    yield "How they are read, and what they mean for one another: [configuration.md](configuration.md).\n"
    rows = [
        (
            f"`{flag.name}`",
            ", ".join(f"`{variable}`" for variable in flag.variables),
            f"`{flag.default}`" if flag.default else "",
            flag.what,
        )
        for flag in FLAGS
    ]
    yield from _table("flag", "environment", "default", "what", rows=rows)


def _metrics() -> Iterator[str]:
    yield "## Metrics\n"
    yield "On `/metrics`. No label holds the name of a Node.\n"
    for label, values in (("cause", Cause), ("state", State)):
        yield f"`{label}` is one of {', '.join(f'`{value}`' for value in values)}.\n"
    found = sorted(metrics(manager().client.metrics.registry), key=lambda item: item[0].name)
    rows = []
    for family, labels in found:
        name = family.name if family.type == "histogram" else series(family)[0]
        names = ", ".join(f"`{label}`" for label in labels)
        rows.append((f"`{name}`", family.type, names, family.documentation.rstrip(".")))
    yield from _table("metric", "type", "labels", "what", rows=rows)


def _events() -> Iterator[str]:
    yield "## Events\n"
    yield "All are Warnings by `node-ipam-controller`, and come once for each change.\n"
    yield from _table("reason", "about", rows=[(f"`{reason}`", text) for reason, text in EVENTS.items()])
    yield "## Conditions of a ClusterCIDR\n"
    rows = [(*(f"`{word}`" for word in condition), text) for condition, text in CONDITIONS.items()]
    yield from _table("type", "status", "reason", "meaning", rows=rows)


def _writes() -> Iterator[str]:
    yield "## What it leaves on objects\n"
    yield "Beside `spec.podCIDR` and `spec.podCIDRs` of Nodes, and the conditions:\n"
    yield from _table("name", "what", rows=list(WRITES.items()))


def _probes() -> Iterator[str]:
    yield "## Probes and exit codes\n"
    yield "`?verbose` lists the checks, `?exclude=NAME` leaves one out, `/readyz/NAME` asks for one.\n"
    yield from _table("path", "what", "checks", rows=list(PROBES))
    yield from _table("exit code", "when", rows=list(EXITS))


def _rights() -> Iterator[str]:
    yield "## Rights\n"
    yield "With the default flags; the chart's Role follows the lock that is chosen.\n"
    rows = []
    for body in yaml.safe_load_all(RIGHTS.read_text()):
        if body["kind"] in ("Role", "ClusterRole"):
            rows += [(body["kind"], *_rule(rule)) for rule in body["rules"]]
    yield from _table("role", "group", "resources", "verbs", rows=rows)


def _rule(rule: dict[str, Any]) -> tuple[str, str, str]:
    groups = ", ".join(f"`{group}`" if group else "core" for group in rule["apiGroups"])
    names = ", ".join(f"`{name}`" for name in rule.get("resourceNames", ()))
    resources = ", ".join(f"`{resource}`" for resource in rule["resources"])
    return groups, resources + (f" named {names}" if names else ""), ", ".join(rule["verbs"])


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
