from __future__ import annotations

import gc
import json
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeipam.api.node import NODES, Node, NodeTransform, WireNode
from nodeipam.runtime.objects import Request

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class Page(msgspec.Struct):
    """A page of a list, as far as it matters here."""

    items: list[WireNode]


def read(spec: Any = None, transform: NodeTransform | None = None, **metadata: Any) -> Node:
    """The Node that is cached of one with this spec and metadata."""
    meta = {"name": "node-1", "uid": "u1", "resourceVersion": "7", **metadata}
    wire = msgspec.json.decode(json.dumps({"metadata": meta, "spec": spec}), type=WireNode)
    return (transform or NodeTransform())(wire)


class TestWhatIsRead:
    def test_everything(self) -> None:
        """A Node is its identity, its labels, its podCIDRs and whether it is going."""
        node = read(
            {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24", "fd00::/64"], "providerID": "x"},
            labels={"zone": "a", "kubernetes.io/hostname": "node-1"},
            deletionTimestamp="2026-01-01T00:00:00Z",
        )
        assert ("node-1", "u1", "7") == (node.name, node.uid, node.resource_version)
        assert ("10.0.0.0/24", "fd00::/64") == node.pod_cidrs
        assert {"zone": "a", "kubernetes.io/hostname": "node-1"} == node.labels
        assert node.terminating
        assert node is node.metadata

    def test_next_to_nothing(self) -> None:
        """A Node that has just been created has no labels, no ranges and isn't going."""
        node = read({})
        assert ((), {}, False) == (node.pod_cidrs, node.labels, node.terminating)

    @pytest.mark.parametrize(
        "spec,expected",
        [
            ({"podCIDR": "10.0.0.0/24"}, ("10.0.0.0/24",)),
            ({"podCIDR": "10.0.0.0/24", "podCIDRs": []}, ("10.0.0.0/24",)),
            ({"podCIDR": "10.0.0.0/24", "podCIDRs": None}, ("10.0.0.0/24",)),
            ({"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.1.0/24"]}, ("10.0.0.0/24", "10.0.1.0/24")),
            ({"podCIDR": "", "podCIDRs": ["", "10.0.1.0/24"]}, ("10.0.1.0/24",)),
            ({"podCIDR": 5, "podCIDRs": ["10.0.1.0/24", 5, None]}, ("10.0.1.0/24",)),
            ({"podCIDRs": ["garbage"]}, ("garbage",)),
            ({"podCIDRs": "10.0.1.0/24"}, ()),
            (None, ()),
            ([], ()),
            ("spec", ()),
            (5, ()),
            (5.5, ()),
            (True, ()),
        ],
    )
    def test_pod_cidrs(self, spec: Any, expected: tuple[str, ...]) -> None:
        """Every text that claims addresses counts, in whichever field it stands; what is no text doesn't."""
        assert expected == read(spec).pod_cidrs

    @pytest.mark.parametrize(
        "labels,expected",
        [
            (None, {}),
            ({}, {}),
            ([], {}),
            ("x", {}),
            ({"a": "", "b": None, "c": 5, "d": ["x"], "e": "e"}, {"a": "", "b": "", "e": "e"}),
        ],
    )
    def test_odd_labels(self, labels: Any, expected: dict[str, str]) -> None:
        """Null labels are none, a null value is "" as for Go, and what is no text counts as absent."""
        assert expected == read(labels=labels).labels

    @settings(deadline=None)
    @given(JSON, JSON, JSON, JSON)
    def test_one_odd_node_spoils_no_page(self, spec: Any, labels: Any, ranges: Any, going: Any) -> None:
        """Whatever JSON stands in a Node, the page it came on is read, and so is the Node next to it."""
        identity = {"name": "odd", "uid": "u", "resourceVersion": "1"}
        items = [
            {"metadata": {**identity, "labels": labels, "deletionTimestamp": going}, "spec": spec},
            {"metadata": identity, "spec": {"podCIDR": ranges, "podCIDRs": ranges}, "status": spec},
            {"metadata": {"name": "good"}, "spec": {"podCIDRs": ["10.0.0.0/24"]}},
        ]
        page = msgspec.json.decode(json.dumps({"items": items}), type=Page)
        odd, _, good = map(NodeTransform(), page.items)
        assert "odd" == NODES.request(page.items[0]).name == odd.name
        assert all(isinstance(text, str) for text in [*odd.pod_cidrs, *odd.labels, *odd.labels.values()])
        assert ("10.0.0.0/24",) == good.pod_cidrs


class TestLabels:
    @settings(deadline=None)
    @given(
        st.lists(
            st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["", "x", "y", "node-1"]), max_size=6),
            max_size=30,
        ),
        st.integers(1, 4),
    )
    def test_sharing_changes_nothing(self, several: list[dict[str, str]], room: int) -> None:
        """However little is remembered and whatever is taken for a Node's own, labels are what they were."""
        transform = NodeTransform(texts=room, tuples=room, varied=room)
        nodes = [read(transform=transform, labels=labels) for labels in several]
        assert several == [node.labels for node in nodes]

    def test_are_shared(self) -> None:
        """Nodes that differ in their hostname label only share the tuples of their labels."""
        transform = NodeTransform()
        first, second = (
            read(transform=transform, name=name, labels={"zone": "a", "kubernetes.io/hostname": name})
            for name in ("node-1", "node-2")
        )
        assert first.label_keys is second.label_keys
        assert first.label_values is second.label_values
        assert ("node-1", "node-2") == (*first.own_values, *second.own_values)

    def test_a_key_whose_values_differ_everywhere(self) -> None:
        """Once a key had many values, it no longer keeps Nodes from sharing the others."""
        transform = NodeTransform(varied=8)
        nodes = [read(transform=transform, labels={"zone": "a", "id": f"i-{n}"}) for n in range(20)]
        assert nodes[-2].label_values is nodes[-1].label_values
        assert [{"zone": "a", "id": f"i-{n}"} for n in range(20)] == [node.labels for node in nodes]

    def test_same_labels(self) -> None:
        """Labels are the same if keys and values are, whatever was taken for the Node's own."""
        transform = NodeTransform(varied=2)
        before = read(transform=transform, labels={"id": "0"})
        for number in range(4):
            read(transform=transform, labels={"id": str(number)})
        after = read(transform=transform, labels={"id": "0"})
        assert before.own_values != after.own_values
        assert before.same_labels(after)
        assert not before.same_labels(read(labels={"id": "1"}))
        assert not before.same_labels(read(labels={"other": "0"}))
        assert before.same_labels(read(labels={"id": "0"}))


def realistic(number: int) -> dict[str, Any]:
    """A dual-stack Node of 20 labels: 18 that many share, its hostname and an id."""
    name = f"ip-10-1-{number // 256}-{number % 256}.eu-central-1.internal"
    labels = {f"topology.kubernetes.io/label-{n}": f"value-{n}-{number % 3}" for n in range(18)}
    labels |= {"kubernetes.io/hostname": name, "example.com/instance-id": f"i-0abc{number:013d}"}
    ranges = [f"10.{number // 256}.{number % 256}.0/24", f"2001:db8:1:{number:x}::/64"]
    meta = {"name": name, "uid": f"{number:08d}-1111-2222-3333-444444444444", "resourceVersion": str(number)}
    return {"metadata": {**meta, "labels": labels}, "spec": {"podCIDR": ranges[0], "podCIDRs": ranges}}


def test_memory() -> None:
    """A cached dual-stack Node of 20 labels, two of them its own, takes at most 0.8 KB, its key included."""
    pages = [json.dumps({"items": [realistic(page * 100 + n) for n in range(100)]}) for page in range(20)]
    decoder, transform = msgspec.json.Decoder(Page), NodeTransform()
    for item in decoder.decode(pages[0]).items:
        transform(item)
    tracemalloc.start()
    try:
        store: dict[Request, Node] = {}
        for page in pages:
            for item in decoder.decode(page).items:
                node = transform(item)
                store[Request(node.name)] = node
        del item, node
        gc.collect()  # empties the free lists, which aren't the cache's
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / len(store) <= 800


def test_repr() -> None:
    """A Node tells who it is, what it holds and that it is going, on one line."""
    node = read({"podCIDR": "10.0.0.0/24"}, labels={"a": "b"}, deletionTimestamp="2026-01-01T00:00:00Z")
    assert "<Node node-1, uid u1, version 7, podCIDRs 10.0.0.0/24, 1 labels, terminating>" == repr(node)
    assert "<Node node-1, uid u1, version 7, podCIDRs none, 0 labels>" == repr(read())
