"""What the API server shows: ranges of Nodes that join, conditions, events, and what kubectl makes of it.

Waiting means watching: nothing here polls.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.e2e.controlplane import ControlPlane
from tests.e2e.kube import CLUSTER_CIDRS, EVENTS, Kube, Object
from tests.e2e.observer import Observer

Items = Mapping[str, Object]
"""The objects of a collection, by name."""


async def join(kube: Kube, observer: Observer, *names: str, **labels: str) -> list[list[str]]:
    """Let Nodes join one after the other, each when the one before has its ranges; returns these."""
    for name in names:
        await kube.create_node(name, labels=labels)
        await observer.wait_assigned(name)
    return [observer.cidrs(name) for name in names]


async def wait_shown(
    kube: Kube, path: str, predicate: Callable[[Items], bool], *, within: float = 10.0, what: str = ""
) -> Items:
    """Wait until a predicate holds for a collection, and return the collection.

    Raises:
        AssertionError: it doesn't within so many seconds; the message has the last state.
    """
    answer = await kube.get(path)
    items: dict[str, Object] = {item["metadata"]["name"]: item for item in answer["items"]}
    if predicate(items):
        return items
    events = kube.watch(path, answer["metadata"]["resourceVersion"])
    try:
        async with asyncio.timeout(within), contextlib.aclosing(events):
            async for event in events:
                item = event["object"]
                if event["type"] == "DELETED":
                    items.pop(item["metadata"]["name"], None)
                elif event["type"] in ("ADDED", "MODIFIED"):
                    items[item["metadata"]["name"]] = item
                if predicate(items):
                    return items
    except TimeoutError:
        pass
    state = "\n".join(f"  {name}: {item}" for name, item in list(items.items())[:20])
    raise AssertionError(f"not within {within:g} s: {what or path}\n{state}")


def condition(item: Object, kind: str = "Ready") -> Object:
    """One condition of an object; {} if it has none of this type."""
    conditions = item.get("status", {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == kind), {})


async def wait_reason(kube: Kube, name: str, reason: str, *, within: float = 10.0) -> Object:
    """Wait until a ClusterCIDR is ready, or not ready, for this reason; returns the condition Ready."""
    items = await wait_shown(
        kube,
        CLUSTER_CIDRS,
        lambda items: name in items and condition(items[name]).get("reason") == reason,
        within=within,
        what=f"ClusterCIDR {name} {reason}",
    )
    return condition(items[name])


async def wait_gone(kube: Kube, name: str, *, within: float = 10.0) -> None:
    """Wait until a ClusterCIDR doesn't exist."""
    await wait_shown(
        kube, CLUSTER_CIDRS, lambda items: name not in items, within=within, what=f"no ClusterCIDR {name}"
    )


def about(items: Items, name: str, reason: str) -> list[Object]:
    """Those of these events that tell of an object, for a reason."""
    return [
        event for event in items.values() if event["regarding"]["name"] == name and event["reason"] == reason
    ]


async def wait_event(kube: Kube, name: str, reason: str, *, within: float = 10.0) -> str:
    """Wait for an event about an object and return its note; a second one of the kind is an error."""
    items = await wait_shown(
        kube,
        EVENTS,
        lambda items: bool(about(items, name, reason)),
        within=within,
        what=f"an event {reason} about {name}",
    )
    (event,) = about(items, name, reason)
    assert "Warning" == event["type"]
    note: str = event["note"]
    return note


async def notes(kube: Kube, name: str) -> list[str]:
    """Each event there is about an object, as `reason: note`; one that was repeated says how often."""
    told = []
    for event in await kube.items(EVENTS):
        if event["regarding"]["name"] == name:
            series = event.get("series")
            times = f" ({series['count']} times)" if series else ""
            told.append(f"{event['reason']}: {event['note']}{times}")
    return sorted(told)


def kubectl_environment(plane: ControlPlane) -> dict[str, str]:
    """The environment in which a shell finds the kubectl of this control plane, for its administrator."""
    assert plane.binaries.kubectl is not None, "no kubectl; does KUBEBUILDER_ASSETS name a folder without?"
    return {
        "HOME": str(plane.folder),
        "KUBECONFIG": str(plane.kubeconfig("admin")),
        "PATH": os.pathsep.join((str(plane.binaries.kubectl.parent), os.environ["PATH"])),
    }


async def shell(
    line: str, *, env: Mapping[str, str], folder: Path | None = None, within: float = 60.0
) -> str:
    """What a line of shell prints; it has to succeed within so many seconds."""
    process = await asyncio.create_subprocess_shell(
        line, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=dict(env), cwd=folder
    )
    try:
        async with asyncio.timeout(within):
            output, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    text = output.decode()
    assert 0 == process.returncode, f"{line}: exit code {process.returncode}\n{text}"
    return text
