"""Who holds which addresses: the one account that every allocation is decided on.

The ledger is fed by *every* Node in event order, whatever its labels and whoever gave it its ranges, and
adds what we have reserved for a Node and not yet seen on it. Invariant: a prefix stays in the index as long
as some existing Node holds it, some write of ours might still give it to one, or it is excluded by settings.
All of it is synchronous, so choosing a block and recording it is one step.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from nodeipam.api.cidr import parse_pod_cidr
from nodeipam.api.node import Node
from nodeipam.ipam.index import PrefixIndex
from nodeipam.ipam.prefix import Prefix
from nodeipam.runtime import version_number

__all__ = ["SERVICES", "Holder", "Ledger", "Reservation", "holdings", "malformed"]

SERVICES: Literal["service range"] = "service range"
"""The owner of ranges that are never handed out."""


class Reservation(msgspec.Struct, eq=False, gc=False):
    """A block that we chose for one Node, by UID, until its outcome is seen."""

    uid: str
    name: str
    pool: str
    """UID of the ClusterCIDR it was taken from."""
    prefixes: tuple[Prefix, ...]
    term: int
    """The term of leadership in which it was made."""
    maybe_landed: bool = False
    """An attempt was answered 200, or its outcome isn't known: then only the truth releases the block."""
    unknown_at: int = -1
    """The highest resourceVersion an attempt of unknown outcome was decided on; -1 when there is none."""
    answered: bool = False
    """The last attempt was answered 200, and the cache has not shown what came of it."""
    dropped: int = 0
    """How often an attempt was answered 200 and the Node then had no ranges."""


Holder = str | Reservation
"""What owns a prefix in the index: a Node's UID, a reservation, or `SERVICES`."""


class Ledger:
    """The handler of Node events that keeps the account, and the place where blocks are reserved.

    Args:
        excluded: ranges that are never handed out.
    """

    def __init__(self, excluded: Iterable[Prefix] = ()) -> None:
        self.indexes: dict[int, PrefixIndex[Holder]] = {4: PrefixIndex(4), 6: PrefixIndex(6)}
        self._nodes: dict[str, Node] = {}
        self._reservations: dict[str, Reservation] = {}
        self._conflicted: set[str] = set()
        self._freed: list[Callable[[Sequence[Prefix]], None]] = []
        for prefix in excluded:
            self.indexes[prefix.family].add(prefix, SERVICES)

    def __repr__(self) -> str:
        return (
            f"<Ledger: {len(self._nodes)} nodes, {len(self._reservations)} reservations "
            f"({self.unsettled} unsettled), {len(self._conflicted)} in conflict>"
        )

    def on_freed(self, listener: Callable[[Sequence[Prefix]], None]) -> None:
        """Have `listener` called, synchronously, with prefixes that some owner has just given up."""
        self._freed.append(listener)

    # What Node events do

    def on_add(self, node: Node, initial: bool) -> None:  # noqa: FBT001 - the handler's protocol
        """A Node appeared."""
        self._record(node)

    def on_update(self, old: Node, new: Node) -> None:
        """A Node changed. Its ranges never do in Kubernetes; if they did, we believe what we see."""
        self._record(new)

    def on_delete(self, node: Node) -> None:
        """The Node object of this UID is gone, and only now are its addresses free (D-08)."""
        uid = node.metadata.uid
        known = self._nodes.pop(uid, None)  # what is on record counts, should the last state differ
        self._conflicted.discard(uid)
        freed = list(holdings(known)) if known is not None else []
        for prefix in freed:
            self.indexes[prefix.family].remove(prefix, uid)
        reservation = self._reservations.pop(uid, None)
        if reservation is not None:
            freed += self._vacate(reservation)
        self._tell(freed)

    def _record(self, new: Node) -> None:
        uid = new.metadata.uid
        old = self._nodes.get(uid)
        self._nodes[uid] = new
        if old is not None and old.pod_cidrs == new.pod_cidrs:
            self._see_version(new)
            return
        before = [] if old is None else list(holdings(old))
        after = list(holdings(new))
        reservation = self._reservations.pop(uid, None) if new.pod_cidrs else None
        own: list[Prefix] = [] if reservation is None else [*reservation.prefixes]
        for prefix in after:
            if prefix in before:
                continue
            index = self.indexes[prefix.family]
            if not self._ours_alone(prefix, uid, reservation):
                self._conflicted.add(uid)
            if reservation is not None and prefix in own:
                own.remove(prefix)
                index.hand_over(prefix, reservation, uid)
            else:
                index.add(prefix, uid)
        gone = [prefix for prefix in before if prefix not in after]
        for prefix in gone:
            self.indexes[prefix.family].remove(prefix, uid)
        if reservation is not None:
            for prefix in own:
                self.indexes[prefix.family].remove(prefix, reservation)
        self._see_version(new)
        self._tell(prefix for prefix in (*gone, *own) if prefix not in after)

    def _see_version(self, node: Node) -> None:
        """Settle what was decided on a version that the Node has left behind: the server refuses it now."""
        reservation = self._reservations.get(node.metadata.uid)
        if reservation is not None:
            self.settle(reservation, version_number(node.metadata.resource_version))

    # Reservations

    @property
    def unsettled(self) -> int:
        """How many Nodes have a write of unknown outcome under way."""
        return sum(reservation.unknown_at >= 0 for reservation in self._reservations.values())

    def reservation(self, uid: str) -> Reservation | None:
        """What is reserved for the Node of this UID."""
        return self._reservations.get(uid)

    def reservations(self) -> Iterator[Reservation]:
        """All that is reserved."""
        return iter(self._reservations.values())

    def reserve(self, node: Node, pool: str, prefixes: tuple[Prefix, ...], term: int) -> Reservation:
        """Record that these prefixes are meant for this Node, having found them free in this same step.

        Raises:
            AssertionError: they overlap something, or the Node has a reservation; then nothing was recorded.
        """
        uid = node.metadata.uid
        if uid in self._reservations:
            raise AssertionError(f"Node {node.metadata.name} ({uid}) has a reservation already")
        reservation = Reservation(uid, node.metadata.name, pool, prefixes, term)
        for number, prefix in enumerate(prefixes):
            if not self.indexes[prefix.family].claim(prefix, reservation):
                for claimed in prefixes[:number]:
                    self.indexes[claimed.family].remove(claimed, reservation)
                raise AssertionError(f"{prefix} was chosen for Node {node.metadata.name} but isn't free")
        self._reservations[uid] = reservation
        return reservation

    def attempt(self, reservation: Reservation, version: int) -> None:
        """A write of the reservation, decided on this resourceVersion, is being handed to the transport."""
        reservation.maybe_landed = True
        reservation.unknown_at = max(reservation.unknown_at, version)

    def settle(self, reservation: Reservation, version: int) -> None:
        """The Node was seen at this version: attempts decided on earlier ones have landed or never will."""
        if version > reservation.unknown_at:
            reservation.unknown_at = -1

    def overlapped(self, reservation: Reservation) -> bool:
        """Whether somebody else has come to hold addresses of a reserved block: a Node may bring its own."""
        return not all(
            self.indexes[prefix.family].only(prefix, reservation) for prefix in reservation.prefixes
        )

    def release(self, reservation: Reservation) -> None:
        """Give the block back: the Node is gone, or no attempt can have landed."""
        if self._reservations.get(reservation.uid) is reservation:
            del self._reservations[reservation.uid]
            self._tell(self._vacate(reservation))

    def void_before(self, term: int, *, keep: Container[str] = ()) -> None:
        """Give back all that was reserved in earlier terms, once the fence is up.

        Their attempts have landed, and then the Node's own ranges are on record, or they never will. Not so
        for Nodes that the fence had to set aside: `keep` has their UIDs.
        """
        for reservation in [r for r in self._reservations.values() if r.term < term and r.uid not in keep]:
            self.release(reservation)

    def _vacate(self, reservation: Reservation) -> tuple[Prefix, ...]:
        for prefix in reservation.prefixes:
            self.indexes[prefix.family].remove(prefix, reservation)
        return reservation.prefixes

    def _tell(self, freed: Iterable[Prefix]) -> None:
        prefixes = tuple(freed)
        if not prefixes:
            return
        if self._conflicted:
            self._forget_conflicts(prefixes)
        for listener in self._freed:
            listener(prefixes)

    def _forget_conflicts(self, freed: Sequence[Prefix]) -> None:
        """Whoever overlapped nobody but the owner of these prefixes is in no conflict any more."""
        owners = {owner for prefix in freed for _, owner in self.indexes[prefix.family].holders(prefix)}
        for uid in [owner for owner in owners if isinstance(owner, str) and owner in self._conflicted]:
            own = self._reservations.get(uid)
            if all(self._ours_alone(prefix, uid, own) for prefix in self.held_by(uid)):
                self._conflicted.discard(uid)

    # Questions

    def processed(self, uid: str) -> int:
        """The resourceVersion at which the Node of this UID was last accounted for; -1 if there is none."""
        node = self._nodes.get(uid)
        return version_number(node.metadata.resource_version) if node is not None else -1

    def node(self, uid: str) -> Node | None:
        """The Node of this UID as it was last accounted for."""
        return self._nodes.get(uid)

    def held_by(self, holder: Holder) -> tuple[Prefix, ...]:
        """The prefixes of one owner."""
        if isinstance(holder, Reservation):
            return holder.prefixes
        node = self._nodes.get(holder)
        return tuple(holdings(node)) if node is not None else ()

    def conflicts(self, node: Node) -> list[tuple[Prefix, Holder, Prefix]]:
        """Overlaps of a Node's ranges with others': (its prefix, the other owner, the other's prefix).

        We never make one; kubelets, cloud controllers and other allocators do. Empty for a Node that
        overlapped nothing when it was seen, or no longer does.
        """
        uid = node.metadata.uid
        if uid not in self._conflicted:
            return []
        return [
            (prefix, owner, other) for prefix in holdings(node) for other, owner in self._others(prefix, uid)
        ]

    @property
    def conflicted(self) -> int:
        """How many Nodes overlapped another when they were seen."""
        return len(self._conflicted)

    def in_conflict(self, uid: str) -> bool:
        """Whether this Node overlapped another when it was seen."""
        return uid in self._conflicted

    def _ours_alone(self, prefix: Prefix, uid: str, own: Reservation | None) -> bool:
        """Whether nobody but this Node, and what is reserved for it, holds addresses of a prefix."""
        index = self.indexes[prefix.family]
        return index.only(prefix, uid) if own is None else index.only(prefix, uid, own)

    def _others(self, prefix: Prefix, uid: str) -> list[tuple[Prefix, Holder]]:
        own = self._reservations.get(uid)
        return [
            (held, owner)
            for held, owner in self.indexes[prefix.family].holders(prefix)
            if owner != uid and owner is not own
        ]


def holdings(node: Node) -> Iterator[Prefix]:
    """The prefixes that a Node's podCIDRs stand for, each once; text that is none is passed over."""
    seen: set[Prefix] = set()
    for text in node.pod_cidrs:
        try:
            prefix = parse_pod_cidr(text)
        except ValueError:
            continue
        if prefix not in seen:
            seen.add(prefix)
            yield prefix


def malformed(node: Node) -> list[str]:
    """What is wrong with those of a Node's podCIDRs that are no range at all."""
    faults = []
    for text in node.pod_cidrs:
        try:
            parse_pod_cidr(text)
        except ValueError as error:
            faults.append(str(error))
    return faults
