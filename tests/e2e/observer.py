"""Somebody who watches all Nodes, and knows what must never happen to them.

It has a connection and code of its own, nothing of nodeipam's. It holds that

- the ranges of a Node, once set, never change (a Node is its UID), and
- no Node gets a range that overlaps another existing Node's, terminating ones included.

A test that presets podCIDRs marks the Node as foreign (`kube.node` does): what such a Node brings is nobody's
fault, but a range that is given out over it is.
"""

import asyncio
import contextlib
import ipaddress
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import aiohttp

from tests.e2e.controlplane import ControlPlane
from tests.e2e.kube import FOREIGN, NODES, ApiError, Kube, Object

Range = tuple[int, int, int]  # IP version, first and last address


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One state of one Node: what the observer saw, and when (monotonic seconds)."""

    at: float
    type: str
    name: str
    uid: str
    version: int
    pod_cidrs: tuple[str, ...]
    ranges: tuple[Range, ...]
    foreign: bool
    terminating: bool
    annotations: dict[str, str]


class Observer:
    """Watches the Nodes from `start` to `stop`; `history` is all that it saw, `violations` what was wrong."""

    def __init__(self, plane: ControlPlane) -> None:
        self.history: list[Seen] = []
        self.violations: list[str] = []
        self._kube = Kube(plane, token=plane.tokens["observer"])
        self._nodes: dict[str, Seen] = {}  # by UID
        self._gone: set[str] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        assigned = sum(1 for node in self._nodes.values() if node.pod_cidrs)
        return (
            f"<Observer {len(self._nodes)} Nodes, {assigned} with ranges, {len(self.violations)} violations>"
        )

    @property
    def nodes(self) -> dict[str, Seen]:
        """The Nodes that exist, by name."""
        return {node.name: node for node in self._nodes.values()}

    def cidrs(self, name: str) -> list[str]:
        """What a Node holds; nothing if it holds nothing or doesn't exist."""
        node = self.nodes.get(name)
        return list(node.pod_cidrs) if node else []

    def assigned(self, *names: str) -> bool:
        """Whether each of these Nodes holds a range (all existing ones, if none is named)."""
        nodes = self.nodes
        return bool(nodes) and all(name in nodes and nodes[name].pod_cidrs for name in names or nodes)

    async def start(self) -> None:
        """Read the Nodes that are there and go on watching."""
        await self._kube.__aenter__()
        version = await self._list()
        self._task = asyncio.create_task(self._run(version), name="observer")

    async def stop(self) -> None:
        """Stop watching, after a last look at everything."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._list()
        await self._kube.__aexit__(None, None, None)

    def check(self) -> None:
        """Raise an AssertionError that tells all violations, if there are any."""
        if self.violations:
            raise AssertionError("\n".join(["the observer saw:", *self.violations]))

    async def wait_for(
        self, predicate: Callable[["Observer"], bool], *, within: float = 10.0, what: str = ""
    ) -> None:
        """Wait until the predicate holds for what has been seen.

        Raises:
            AssertionError: it doesn't within so many seconds, or something was seen that must never happen.
        """
        try:
            async with asyncio.timeout(within):
                while not predicate(self):
                    self.check()
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            held = "\n".join(
                f"  {name}: {', '.join(node.pod_cidrs)}" for name, node in sorted(self.nodes.items())[:50]
            )
            raise AssertionError(f"not within {within:g} s: {what or predicate}; {self!r}\n{held}") from None
        self.check()

    async def wait_assigned(self, *names: str, within: float = 10.0) -> None:
        """Wait until each of these Nodes holds a range."""
        await self.wait_for(
            lambda seen: seen.assigned(*names),
            within=within,
            what=f"ranges for {', '.join(names) or 'all Nodes'}",
        )

    async def _run(self, version: str) -> None:
        while True:
            try:
                version = await self._watch(version)
            except ApiError as error:
                if error.status == 410:
                    version = await self._list_when_possible()
                    continue
                await asyncio.sleep(0.1)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
                await asyncio.sleep(0.1)  # the test stopped or froze the API server

    async def _watch(self, version: str) -> str:
        async with contextlib.aclosing(self._kube.watch(NODES, version)) as events:
            async for event in events:
                if event["type"] == "ERROR":
                    raise ApiError("WATCH", NODES, event["object"].get("code", 500), event["object"])
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._see(event["type"], event["object"])
        return version

    async def _list_when_possible(self) -> str:
        while True:
            try:
                return await self._list()
            except (ApiError, aiohttp.ClientError, TimeoutError, OSError):
                await asyncio.sleep(0.1)

    async def _list(self) -> str:
        answer = await self._kube.get(NODES)
        items: list[Object] = answer["items"]
        present = {item["metadata"]["uid"] for item in items}
        for uid in [uid for uid in self._nodes if uid not in present]:
            self._forget(uid)
        # Within a list nobody came first. Foreign ones last: what they bring is nobody's fault.
        for item in sorted(items, key=_is_foreign):
            self._see("LISTED", item)
        self._changed.set()
        version: str = answer["metadata"]["resourceVersion"]
        return version

    def _see(self, kind: str, item: Object) -> None:
        seen = _seen(kind, item)
        known = self._nodes.get(seen.uid)
        if seen.uid in self._gone or (known is not None and seen.version <= known.version):
            return  # an older state than one that we know
        self.history.append(seen)
        if kind == "DELETED":
            self._forget(seen.uid)
        else:
            self._check_unchanged(known, seen)
            if known is None or known.pod_cidrs != seen.pod_cidrs:
                self._check_overlaps(seen)
            self._nodes[seen.uid] = seen
        self._changed.set()

    def _forget(self, uid: str) -> None:
        self._nodes.pop(uid, None)
        self._gone.add(uid)
        self._changed.set()

    def _check_unchanged(self, known: Seen | None, seen: Seen) -> None:
        if known is not None and known.pod_cidrs and known.pod_cidrs != seen.pod_cidrs:
            self.violations.append(
                f"Node {seen.name} ({seen.uid}) had {_text(known.pod_cidrs)}, then {_text(seen.pod_cidrs)}"
            )

    def _check_overlaps(self, seen: Seen) -> None:
        if seen.foreign:
            return
        for other in self._nodes.values():
            if other.uid != seen.uid and _overlap(seen.ranges, other.ranges):
                got, held = _text(seen.pod_cidrs), _text(other.pod_cidrs)
                self.violations.append(f"Node {seen.name} got {got} though {_existing(other)} held {held}")


def _seen(kind: str, item: Object) -> Seen:
    metadata = item["metadata"]
    pod_cidrs = tuple(item["spec"].get("podCIDRs", ()))
    return Seen(
        at=time.monotonic(),
        type=kind,
        name=metadata["name"],
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        pod_cidrs=pod_cidrs,
        ranges=tuple(_range(text) for text in pod_cidrs),
        foreign=_is_foreign(item),
        terminating="deletionTimestamp" in metadata,
        annotations=metadata.get("annotations", {}),
    )


def _is_foreign(item: Object) -> bool:
    return FOREIGN in item["metadata"].get("annotations", {})


def _range(text: str) -> Range:
    network = ipaddress.ip_network(text, strict=False)  # older servers store host bits
    return network.version, int(network.network_address), int(network.broadcast_address)


def _overlap(ours: Iterable[Range], theirs: Iterable[Range]) -> bool:
    theirs = tuple(theirs)
    return any(a[0] == b[0] and a[1] <= b[2] and b[1] <= a[2] for a in ours for b in theirs)


def _existing(node: Seen) -> str:
    return f"{'terminating ' if node.terminating else ''}Node {node.name} ({node.uid})"


def _text(ranges: tuple[str, ...]) -> str:
    return ", ".join(ranges) or "nothing"
