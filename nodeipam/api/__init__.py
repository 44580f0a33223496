"""The API types of the project: ClusterCIDR, NodeSelector, the part of Node that is read, and CIDR text.

Nothing here does I/O or keeps the state of a cluster. What is read is taken tolerantly, then checked in one
place, so that one faulty object has a message and no other consequence.
"""

from __future__ import annotations

from .cidr import format_cidr, parse_cidr, parse_pod_cidr
from .clustercidr import (
    API_VERSION,
    CLUSTER_CIDRS,
    FINALIZER,
    GROUP,
    ClusterCIDR,
    Condition,
    InvalidClusterCIDR,
    PoolSpec,
    validate,
)
from .node import NODES, Node, NodeTransform, WireNode
from .nodeselector import InvalidSelector, Selector, compile_selector
from .selectorindex import SelectorIndex

__all__ = [
    "API_VERSION",
    "CLUSTER_CIDRS",
    "FINALIZER",
    "GROUP",
    "NODES",
    "ClusterCIDR",
    "Condition",
    "InvalidClusterCIDR",
    "InvalidSelector",
    "Node",
    "NodeTransform",
    "PoolSpec",
    "Selector",
    "SelectorIndex",
    "WireNode",
    "compile_selector",
    "format_cidr",
    "parse_cidr",
    "parse_pod_cidr",
    "validate",
]
