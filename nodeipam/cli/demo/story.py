"""What happens in the demo, as data: which pool comes when, which Nodes join and leave, when the leader dies.

Invariant: a story is a function of the number of Nodes and the seed, and its first pool is always too small.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["LEAST", "MOST", "Await", "Join", "Kill", "Leave", "NewNode", "NewPool", "Step", "tell"]

LEAST, MOST = 8, 5000
"""How many Nodes a story can have: fewer fill no pool, and more than this don't fit into its pools."""

_LABEL = "example.com/gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPool:
    """A ClusterCIDR is created."""

    name: str
    ipv4: str
    ipv6: str
    host_bits: int
    label: str = ""
    """Only Nodes with this label, whatever its value, are served from it; "": all Nodes."""
    text: str


@dataclass(frozen=True, slots=True)
class NewNode:
    """A Node that joins."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """Nodes join, one after the other."""

    nodes: tuple[NewNode, ...]
    spread: bool = True
    """Whether there is time between them; else what comes next finds them in the midst of it."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """Nodes are deleted."""

    names: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """The leader is killed, as by SIGKILL."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Await:
    """The story goes on when just so many Nodes wait for ranges."""

    waiting: int = 0
    within: float
    """Seconds after which it has failed."""
    text: str


Step = NewPool | Join | Leave | Kill | Await


def tell(nodes: int, seed: int) -> tuple[Step, ...]:
    """The story of so many Nodes, LEAST to MOST."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    group = max(1, nodes * 8 // 60)
    late = max(2, nodes * 12 // 60)
    early = (nodes - group - late) * 2 // 5
    crowd = nodes - group - late - early
    blocks = _below(early + crowd)
    everyone = _names("node", nodes - group, rng)
    gpus = [NewNode(node.name, ((_LABEL, "true"),)) for node in _names("gpu", group, rng)]
    first, second, third = everyone[:early], everyone[early : early + crowd], everyone[early + crowd :]
    leaving = tuple(sorted(rng.sample([node.name for node in first], max(1, early // 3))))
    patience = 10.0 + nodes / 50
    surplus = early + crowd - blocks
    served = "every Node has its ranges"
    return (
        _pool("first", 0, blocks, f"a pool with room for {_nodes(blocks)}"),
        Join(nodes=tuple(first), text=f"{_nodes(early)} join: the first wave"),
        Await(within=patience, text=served),
        Join(nodes=tuple(second), text=f"{_nodes(crowd)} join: more than there is room for"),
        Await(
            within=patience,
            waiting=surplus,
            text=f"the pool is full: {_nodes(surplus)} {'waits' if surplus == 1 else 'wait'}",
        ),
        _pool("second", 64, _above(nodes), "a second pool: who waits wakes up"),
        Await(within=patience, text=served),
        _pool("gpu", 128, _above(2 * group), "a pool of bigger blocks for gpu Nodes", bits=10, label=_LABEL),
        Join(nodes=tuple(gpus), text=f"{_nodes(group)} with the label {_LABEL} join"),
        Await(within=patience, text=served),
        Leave(names=leaving, text=f"{_nodes(len(leaving))} leave: their ranges are free again"),
        Join(nodes=tuple(third[: late // 2]), spread=False, text=f"{_nodes(late // 2)} join …"),
        Kill(text="… and in the midst of it the leader is killed (SIGKILL)"),
        Join(nodes=tuple(third[late // 2 :]), text=f"{_nodes(late - late // 2)} join while nobody leads"),
        Await(within=patience + 10.0, text="the standby has taken over: every Node has its ranges"),
    )


def _pool(name: str, network: int, blocks: int, text: str, *, bits: int = 8, label: str = "") -> NewPool:
    """A pool of so many blocks, a power of two, from 10.`network`.0.0 and fd00:`network`:: on."""
    size = bits + blocks.bit_length() - 1
    return NewPool(
        name=name,
        ipv4=f"10.{network}.0.0/{32 - size}",
        ipv6=f"fd00:{network}::/{128 - size}",
        host_bits=bits,
        label=label,
        text=text,
    )


def _names(prefix: str, number: int, rng: random.Random) -> Sequence[NewNode]:
    width = len(str(number))
    nodes = [NewNode(f"{prefix}-{index:0{width}}") for index in range(1, number + 1)]
    rng.shuffle(nodes)
    return nodes


def _nodes(number: int) -> str:
    return f"{number} Node{'' if number == 1 else 's'}"


def _below(number: int) -> int:
    """The largest power of two below a number."""
    return 1 << ((number - 1).bit_length() - 1)


def _above(number: int) -> int:
    """The smallest power of two that is no less than a number, and not 1."""
    return max(2, 1 << (number - 1).bit_length())
