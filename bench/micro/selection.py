"""What it costs to find a Node's pool among many with selectors."""

from __future__ import annotations

import time

from bench.report import Figure
from nodeipam.api.nodeselector import Selector, compile_selector
from nodeipam.api.selectorindex import SelectorIndex

POOLS, TERMS, NODES, ROUNDS = 1_000, 10, 2_000, 7


def selector(pool: int) -> Selector:
    """Ten terms of three requirements: an operating system, a zone, and one of the groups of this pool."""
    terms = [
        {
            "matchExpressions": [
                {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
                {"key": "zone", "operator": "In", "values": [f"zone-{term % 3}"]},
                {"key": "group", "operator": "In", "values": [f"group-{pool}-{term}"]},
            ]
        }
        for term in range(TERMS)
    ]
    return compile_selector({"nodeSelectorTerms": terms})


def labels(number: int) -> dict[str, str]:
    """A Node's labels: 20, as kubelets and clouds give them."""
    found = {f"node.example.com/label-{i}": f"value-{number % 7}" for i in range(17)}
    found["kubernetes.io/os"] = "linux"
    found["zone"] = f"zone-{number % TERMS % 3}"
    found["group"] = f"group-{number % POOLS}-{number % TERMS}"
    return found


def measure() -> list[Figure]:
    """The time a Node, against asking one selector after the other."""
    selectors = [selector(pool) for pool in range(POOLS)]
    index: SelectorIndex[int] = SelectorIndex()
    for pool, each in enumerate(selectors):
        index.add(pool, each)
    nodes = [(f"node-{number}", labels(number)) for number in range(NODES)]
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        found = [index.match(name, of) for name, of in nodes]
        rounds.append((time.process_time() - began) / NODES)
    if {1} != set(map(len, found)):
        raise RuntimeError("each Node matches one pool")
    began = time.process_time()
    for name, of in nodes[:20]:
        [each.match(name, of) for each in selectors]
    one_by_one = (time.process_time() - began) / 20
    cost = min(rounds)
    beside = f"one selector after the other: {one_by_one / cost:,.0f} times that"
    return [
        Figure(
            f"find a Node's pool, {POOLS:,} pools, {POOLS * TERMS:,} terms",
            cost * 1e6,
            "µs",
            50,
            beside=beside,
        )
    ]
