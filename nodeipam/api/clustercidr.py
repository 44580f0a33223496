"""ClusterCIDR: decoded whatever is stored in one, and checked in one place.

The CRD refuses most faults, but not in objects that are older than its rules, and not where another, laxer
CRD is installed. So decoding never fails on a spec, and `validate` either returns what the controller works
with or names every fault, each with the value and what would be right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from nodeipam.ipam.prefix import Prefix
from nodeipam.runtime.objects import ObjectMeta, Resource

from .cidr import IPV4_MAPPED, format_cidr, parse_cidr
from .nodeselector import InvalidSelector, Selector, compile_selector
from .reasons import quote

__all__ = [
    "API_VERSION",
    "CLUSTER_CIDRS",
    "FINALIZER",
    "GROUP",
    "LEAST_HOST_BITS",
    "ClusterCIDR",
    "Condition",
    "InvalidClusterCIDR",
    "PoolSpec",
    "validate",
]

GROUP = "networking.x-k8s.io"
API_VERSION = f"{GROUP}/v1"
FINALIZER = f"{GROUP}/cluster-cidr-finalizer"
LEAST_HOST_BITS = 4
"""What the CRD demands of new objects. Fewer are served where they are stored already, with a warning."""

_SHOWN = 8


class Condition(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """A condition, as in metav1."""

    type: str
    status: str
    """"True", "False" or "Unknown"."""
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""
    observed_generation: int = 0


class ClusterCIDR(msgspec.Struct, frozen=True, gc=False):
    """A ClusterCIDR as it is stored. Its spec and status are whatever JSON they are."""

    metadata: ObjectMeta = ObjectMeta()
    spec: Any = None
    status: Any = None

    @property
    def terminating(self) -> bool:
        """Whether it is being deleted: nothing may be allocated from it any more."""
        return self.metadata.deletion_timestamp is not None

    @property
    def finalized(self) -> bool:
        """Whether our finalizer keeps it from going."""
        return FINALIZER in (self.metadata.finalizers or ())

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions in its status; entries that are none are left out."""
        found = self.status.get("conditions") if isinstance(self.status, dict) else None
        conditions = []
        for entry in found if isinstance(found, list) else ():
            try:
                conditions.append(msgspec.convert(entry, Condition))
            except msgspec.ValidationError:
                continue
        return tuple(conditions)


CLUSTER_CIDRS = Resource(
    API_VERSION, "ClusterCIDR", plural="clustercidrs", namespaced=False, type=ClusterCIDR
)
"""ClusterCIDRs on the API server."""


class PoolSpec(msgspec.Struct, frozen=True, gc=False):
    """What a valid ClusterCIDR says."""

    ranges: tuple[Prefix, ...]
    """One range a family, IPv4 first."""
    host_bits: int
    """Each Node gets 2^host_bits addresses a family."""
    selector: Selector | None
    """None for a catch-all, which has no nodeSelector."""
    warnings: tuple[str, ...] = ()
    """What is served, though it can hardly be meant."""
    notes: tuple[str, ...] = ()
    """Where the selector means something else than to kubernetes-sigs/node-ipam-controller, for the log."""


class InvalidClusterCIDR(ValueError):
    """Raised by `validate` for a ClusterCIDR that can't be served; `reasons` has the faults it found.

    The text is fit for a condition's message: it has the first reasons and the number of the others. There
    may be more than these: one fault can hide others, and of very many the first are enough.
    """

    def __init__(self, reasons: Sequence[str]) -> None:
        others = len(reasons) - _SHOWN
        shown = [*reasons[:_SHOWN], *([f"and at least {others} more"] if others > 0 else [])]
        super().__init__("; ".join(shown))
        self.reasons = tuple(reasons)


def validate(cluster_cidr: ClusterCIDR) -> PoolSpec:
    """What the controller works with: ranges, host bits, compiled selector. "" and null count as absent.

    Raises:
        InvalidClusterCIDR: something in the spec can't be served.
    """
    spec = cluster_cidr.spec
    if not isinstance(spec, dict):
        what = "is missing" if spec is None else f"{quote(spec)} is not an object"
        raise InvalidClusterCIDR([f"spec {what}; it needs perNodeHostBits, and ipv4 or ipv6"])
    reasons: list[str] = []
    warnings: list[str] = []
    ranges = _ranges(spec, reasons, warnings)
    host_bits = _host_bits(spec.get("perNodeHostBits"), ranges, reasons, warnings)
    selector = _selector(spec.get("nodeSelector"), reasons)
    if reasons:
        raise InvalidClusterCIDR(reasons)
    if selector is not None and selector.matches_nothing:
        warnings.append(
            "spec.nodeSelector: all its terms are empty, and an empty term matches no Node; "
            "leave out nodeSelector to serve every Node"
        )
    return PoolSpec(ranges, host_bits, selector, tuple(warnings), _notes(selector))


def _ranges(spec: dict[str, Any], reasons: list[str], warnings: list[str]) -> tuple[Prefix, ...]:
    """The ranges that can be read. What can't is a reason, and so is it to have none."""
    given = [
        (field, family) for field, family in (("ipv4", 4), ("ipv6", 6)) if spec.get(field) not in (None, "")
    ]
    if not given:
        reasons.append(
            'spec has no range; it needs ipv4, such as "10.244.0.0/16", or ipv6, such as "2001:db8::/64"'
        )
    found = []
    for field, family in given:
        text = spec[field]
        try:
            inside = _range(text, family)
        except ValueError as fault:
            reasons.append(f"spec.{field}: {fault}")
            continue
        found.append(inside)
        if parse_cidr(f"{text.partition('/')[0]}/{inside.bits}").value != inside.value:
            warnings.append(
                f"spec.{field}: {quote(text)} is used as {format_cidr(inside)}; its host bits are ignored"
            )
    return tuple(found)


def _range(text: Any, family: int) -> Prefix:
    if not isinstance(text, str):
        raise ValueError(f"{quote(text)} is not a string; write a range in quotation marks")  # noqa: TRY004
    inside = parse_cidr(text)
    if inside.family != family:
        raise ValueError(
            f"{quote(text)} is an IPv{inside.family} range; it belongs into spec.ipv{inside.family}"
        )
    if inside.overlaps(IPV4_MAPPED):
        raise ValueError(
            f"{quote(text)} contains {format_cidr(IPV4_MAPPED)}, which stands for IPv4; use another range"
        )
    return inside


def _host_bits(found: Any, ranges: Sequence[Prefix], reasons: list[str], warnings: list[str]) -> int:
    """The host bits, held against the ranges that could be read."""
    at = "spec.perNodeHostBits"
    most = min((inside.host_bits for inside in ranges), default=128)
    if not isinstance(found, int) or isinstance(found, bool):
        what = "is missing" if found is None else f"{quote(found)} is not an integer"
        reasons.append(f"{at} {what}; a Node gets 2^perNodeHostBits addresses, 8 for an IPv4 /24")
        return 0
    if found < 0:
        reasons.append(f"{at}: {found} is negative; use {_span(most)}")
    reasons += [
        f"{at}: {found} is more than {format_cidr(inside)} has, {inside.host_bits}; use {_span(most)}"
        for inside in ranges
        if found > inside.host_bits
    ]
    if 0 <= found < LEAST_HOST_BITS:
        warnings.append(
            f"{at}: {found} gives a Node no more than {1 << found} pod addresses a family; "
            f"new ClusterCIDRs need at least {LEAST_HOST_BITS}"
        )
    return found


def _span(most: int) -> str:
    return f"{LEAST_HOST_BITS} to {most}" if most > LEAST_HOST_BITS else f"{most}, or a wider range"


def _selector(raw: Any, reasons: list[str]) -> Selector | None:
    if raw is None:
        return None
    try:
        return compile_selector(raw)
    except InvalidSelector as fault:
        reasons += [f"spec.nodeSelector.{reason}" for reason in fault.reasons]
        return None


def _notes(selector: Selector | None) -> tuple[str, ...]:
    if selector is None:
        return ()
    notes = []
    if len(selector.terms) > 1:
        notes.append(f"the {len(selector.terms)} terms of spec.nodeSelector are ORed, not ANDed")
    if any(requirement.field for term in selector.terms for requirement in term.requirements):
        notes.append("matchFields in spec.nodeSelector ask for the Node's name, not for a label")
    if any(not term.requirements for term in selector.terms):
        notes.append("an empty term in spec.nodeSelector matches no Node, not every Node")
    return tuple(notes)
