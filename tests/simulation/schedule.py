"""What happens in one simulated cluster, as data: who runs, what is done to them, and when.

A run is a pure function of its Schedule. Steps are drawn from a seed, listed by a plan, or left over by the
minimiser; all of them print as the story that a person reads when a run fails.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from nodeipam.testing.faults import Action, Requests

__all__ = [
    "AddPool",
    "Break",
    "Compact",
    "Cut",
    "DropPool",
    "Fail",
    "Join",
    "Label",
    "Lag",
    "Land",
    "Leave",
    "Lock",
    "Pause",
    "Rejoin",
    "Restore",
    "Run",
    "Schedule",
    "Stall",
    "Start",
    "Step",
    "Stop",
    "Touch",
    "Unpin",
    "When",
]


class _Step(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    at: float
    """Seconds from the start."""


# What happens to the cluster's objects


class Join(_Step, frozen=True, kw_only=True):
    """A Node appears."""

    node: str
    zone: str = ""
    brings: tuple[str, ...] = ()
    """podCIDRs that it was given by somebody else."""
    pinned: bool = False
    """It has a finalizer, so that it stays for a while after it was deleted."""


class Leave(_Step, frozen=True, kw_only=True):
    """A Node is deleted."""

    node: str


class Unpin(_Step, frozen=True, kw_only=True):
    """A Node's finalizer is taken off."""

    node: str


class Rejoin(_Step, frozen=True, kw_only=True):
    """A Node is deleted, and created under its name at once."""

    node: str


class Label(_Step, frozen=True, kw_only=True):
    """A Node's zone changes."""

    node: str
    zone: str


class Touch(_Step, frozen=True, kw_only=True):
    """A Node changes in a way that matters to nobody."""

    node: str


class AddPool(_Step, frozen=True, kw_only=True):
    """A ClusterCIDR appears."""

    name: str
    ipv4: str = ""
    ipv6: str = ""
    bits: int = 4
    """perNodeHostBits."""
    zone: str = ""
    """The Nodes that it is for; empty: all."""


class DropPool(_Step, frozen=True, kw_only=True):
    """A ClusterCIDR is deleted."""

    name: str


# What happens to replicas


class Start(_Step, frozen=True, kw_only=True):
    """A replica is started, if it isn't running."""

    replica: str


class Stop(_Step, frozen=True, kw_only=True):
    """A replica is told to end: by SIGTERM, or by SIGKILL."""

    replica: str
    kill: bool = False


class Pause(_Step, frozen=True, kw_only=True):
    """A replica's process stands still, or the machine under it sleeps."""

    replica: str
    seconds: float
    suspended: bool = False
    timers_first: bool = False


class Cut(_Step, frozen=True, kw_only=True):
    """Nothing passes between a replica and the API server."""

    replica: str
    seconds: float
    lose: bool = False
    """What was sent meanwhile is lost; else it arrives at the end."""


class Lag(_Step, frozen=True, kw_only=True):
    """A replica's watches are late."""

    replica: str
    lag: float
    seconds: float


class Stall(_Step, frozen=True, kw_only=True):
    """A replica's open watches say nothing, and then all of it."""

    replica: str
    seconds: float


class Break(_Step, frozen=True, kw_only=True):
    """A replica's watches break off."""

    replica: str


class Fail(_Step, frozen=True, kw_only=True):
    """Requests go wrong, from now on: see `nodeipam.testing.Fault`."""

    action: Action
    requests: Requests = Requests()
    replica: str = ""
    """Whose; empty: everybody's."""
    status: int = 503
    retry_after: int | None = None
    delay: float = 0.0
    skip: int = 0
    times: int | None = 1


class Land(_Step, frozen=True, kw_only=True):
    """Everything that a replica has sent arrives now, however late it was to be."""

    replica: str


# What happens to the API server


class Compact(_Step, frozen=True, kw_only=True):
    """etcd forgets its history."""


class Restore(_Step, frozen=True, kw_only=True):
    """etcd is set back to what it held at that time, as soon as nothing is under way."""

    to: float
    """Seconds from the start."""
    bump: int = 1_000_000
    """As of `etcdutl snapshot restore --mark-compacted --bump-revision`."""


class Lock(_Step, frozen=True, kw_only=True):
    """Somebody deletes the Lease by hand, or clears its holder."""

    how: Literal["deleted", "cleared"]


class When(_Step, frozen=True, kw_only=True):
    """Other steps happen in the moment before a certain request is sent."""

    requests: Requests
    replica: str = ""
    """Whose; empty: anybody's."""
    skip: int = 0
    """How many such requests pass before."""
    then: tuple[Step, ...]
    """Their own times count from that moment."""


Step: TypeAlias = (
    Join
    | Leave
    | Unpin
    | Rejoin
    | Label
    | Touch
    | AddPool
    | DropPool
    | Start
    | Stop
    | Pause
    | Cut
    | Lag
    | Stall
    | Break
    | Land
    | Fail
    | Compact
    | Restore
    | Lock
    | When
)


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One replica."""

    name: str
    rate: float = 1.0
    """Of its clocks."""
    start: float = 0.0
    """Seconds from the start at which it is started."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that one run depends on."""

    name: str
    """Kind and number: "random 17"."""
    seed: int
    """Of delays and of the replicas' own randomness."""
    replicas: tuple[Run, ...]
    steps: tuple[Step, ...]
    seconds: float
    """After so many nothing goes wrong any more."""
    latency: float = 0.01
    """Seconds that a message takes at most."""
