"""Node, the part of it that is read: flat and small, since every Node of the cluster is kept in memory.

A Node arrives as a `WireNode`, and `NodeTransform` turns it into the `Node` that is cached. Label keys and
label values are tuples that Nodes share, and the few values which only one Node has, its name above all, are
kept aside. So a dual-stack Node of 20 labels takes about 0.6 KB, its place in the store included.

Only the identity (name, UID, resourceVersion) has to be of its type: what lacks it was sent by no API server.
Everything else is taken tolerantly, so that one odd Node never fails the page that it stands on.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Generic, TypeVar

import msgspec

from nodeipam.runtime.objects import Resource

__all__ = ["NODES", "Node", "NodeTransform", "WireNode"]

V = TypeVar("V", bound=Hashable)


class WireMetadata(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """The metadata of a Node as it is decoded."""

    name: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: Any = None
    deletion_timestamp: Any = None


class WireSpec(msgspec.Struct, frozen=True, gc=False):
    """The spec of a Node as it is decoded."""

    pod_cidr: Any = msgspec.field(default=None, name="podCIDR")
    pod_cidrs: Any = msgspec.field(default=None, name="podCIDRs")


class WireNode(msgspec.Struct, frozen=True, gc=False):
    """A Node as it is decoded from the API server's answer; `NodeTransform` makes a Node of it."""

    metadata: WireMetadata = WireMetadata()
    spec: WireSpec | list[Any] | str | int | float | bool | None = None


NODES = Resource("v1", "Node", plural="nodes", namespaced=False, type=WireNode)
"""Nodes on the API server. An informer of them needs `transform=NodeTransform()`."""


class Node(msgspec.Struct, frozen=True, gc=False):
    """A Node as it is cached. It is its own metadata, which spares an object."""

    name: str
    uid: str
    resource_version: str
    pod_cidrs: tuple[str, ...] = ()
    """The texts of spec.podCIDRs, or of podCIDR alone, as they stand there: they may be no CIDRs at all."""
    label_keys: tuple[str, ...] = ()
    label_values: tuple[str | None, ...] = ()
    """The value of each of `label_keys`; None where the next of `own_values` is meant."""
    own_values: tuple[str, ...] = ()
    """Values that other Nodes won't have."""
    terminating: bool = False
    """Whether it has a deletionTimestamp. It may live on for hours and goes on using its addresses."""

    @property
    def metadata(self) -> Node:
        """What has name, uid and resource_version: the Node itself."""
        return self

    @property
    def labels(self) -> dict[str, str]:
        """The labels, as a new dict."""
        own = iter(self.own_values)
        pairs = zip(self.label_keys, self.label_values, strict=True)
        return {key: next(own) if value is None else value for key, value in pairs}

    def same_labels(self, other: Node) -> bool:
        """Whether both have the same labels, which is quickly told where they do."""
        return (
            self.label_values == other.label_values
            and self.label_keys == other.label_keys
            and self.own_values == other.own_values
        ) or self.labels == other.labels

    def __repr__(self) -> str:
        state = ", terminating" if self.terminating else ""
        return (
            f"<Node {self.name}, uid {self.uid}, version {self.resource_version}, "
            f"podCIDRs {', '.join(self.pod_cidrs) or 'none'}, {len(self.label_keys)} labels{state}>"
        )


class NodeTransform:
    """Makes the Node to cache of a decoded one; an informer keeps one for as long as it lives.

    It remembers label texts and tuples, so that Nodes share them: the `texts` and `tuples` used last, and at
    most as many before. A key seen with `varied` different values is taken for one whose values are each
    Node's own. All of this decides what a Node takes in memory, never what it says.
    """

    def __init__(self, *, texts: int = 16_384, tuples: int = 4_096, varied: int = 64) -> None:
        self._texts: _Shared[str] = _Shared(texts)
        self._tuples: _Shared[tuple[str | None, ...]] = _Shared(tuples)
        self._varied = varied
        self._variants: dict[str, int] = {}

    def __call__(self, wire: WireNode) -> Node:
        """The Node in `wire`. Whatever in it is of a wrong type counts as absent."""
        meta, spec = wire.metadata, wire.spec
        pod_cidrs = _pod_cidrs(spec) if isinstance(spec, WireSpec) else ()
        keys, values, own = self._labels(meta.name, meta.labels)
        terminating = bool(meta.deletion_timestamp)
        return Node(meta.name, meta.uid, meta.resource_version, pod_cidrs, keys, values, own, terminating)

    def _labels(
        self, name: str, labels: Any
    ) -> tuple[tuple[Any, ...], tuple[str | None, ...], tuple[str, ...]]:
        if not labels or not isinstance(labels, dict):
            return (), (), ()
        if set(map(type, labels.values())) != {str}:
            # Go reads null among strings as "".
            labels = {key: value or "" for key, value in labels.items() if isinstance(value, str | None)}
        variants, varied = self._variants, self._varied
        values: list[str | None] = []
        own: list[str] = []
        for key, value in labels.items():
            if value == name:
                own.append(name)
                values.append(None)
            elif variants.get(key, 0) >= varied:
                own.append(value)
                values.append(None)
            else:
                values.append(value)
        keys = tuple(labels)
        shared = self._tuples.get(tuple(values))
        if shared is None:
            self._count(keys, values)
            shared = self._share(tuple(values))
        return self._tuples.get(keys) or self._share(keys), shared, tuple(own)

    def _share(self, texts: tuple[str | None, ...]) -> tuple[str | None, ...]:
        return self._tuples.add(tuple([text if text is None else self._texts(text) for text in texts]))

    def _count(self, keys: tuple[str, ...], values: list[str | None]) -> None:
        """Note which keys show a value that is new here."""
        variants = self._variants
        if len(variants) > 4_096:
            variants.clear()
        for key, value in zip(keys, values, strict=True):
            if value is not None and self._texts.get(value) is None:
                variants[key] = variants.get(key, 0) + 1


class _Shared(Generic[V]):
    """The first of several equal values, as long as it was used among the latest `limit` different ones."""

    __slots__ = ("_before", "_latest", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._latest: dict[V, V] = {}
        self._before: dict[V, V] = {}

    def get(self, value: V) -> V | None:
        found = self._latest.get(value)
        if found is None:
            found = self._before.get(value)
            if found is not None:
                self.add(found)
        return found

    def add(self, value: V) -> V:
        if len(self._latest) >= self._limit:
            self._before, self._latest = self._latest, {}
        self._latest[value] = value
        return value

    def __call__(self, value: V) -> V:
        found = self.get(value)
        return self.add(value) if found is None else found


def _pod_cidrs(spec: WireSpec) -> tuple[str, ...]:
    listed = spec.pod_cidrs if isinstance(spec.pod_cidrs, list) else []
    texts = tuple([text for text in listed if text and isinstance(text, str)])
    first = spec.pod_cidr
    if first and isinstance(first, str) and first not in texts:
        return (first, *texts)
    return texts
