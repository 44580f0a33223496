"""What a person decides about Node IPAM, in one frozen object.

Invariant: settings that exist can work. They know nothing of command lines and environments: whoever reads
those, reads them into this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from nodeipam.api.cidr import IPV4_MAPPED, format_cidr
from nodeipam.api.clustercidr import LEAST_HOST_BITS
from nodeipam.ipam.prefix import BITS, Prefix
from nodeipam.runtime import ConfigurationError, Election

__all__ = ["DEFAULT_MASK_SIZES", "Settings"]

DEFAULT_MASK_SIZES = {4: 24, 6: 64}
"""By family, as in kube-controller-manager."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """All settings. Every default is the one of the command line, but for the election, which is off.

    The rules for cluster CIDRs and mask sizes are kube-controller-manager's (`setNodeCIDRMaskSizes`).

    Raises:
        ConfigurationError: a value can't work, by itself or beside the others; the message gives it,
            names the setting as the command line does, and says what would be right.
    """

    cluster_cidrs: tuple[Prefix, ...] = ()
    """Ranges of the default ClusterCIDR: none, one, or one of each family. Without any it isn't made."""
    node_cidr_mask_size: int | None = None
    """Length of a Node's range, for one cluster CIDR; None: 24 for IPv4, 64 for IPv6."""
    node_cidr_mask_size_ipv4: int | None = None
    """The same for IPv4, alone or beside IPv6; None: 24."""
    node_cidr_mask_size_ipv6: int | None = None
    """The same for IPv6, alone or beside IPv4; None: 64."""
    service_ranges: tuple[Prefix, ...] = ()
    """Ranges of which no Node ever gets an address."""
    concurrent_node_syncs: int = 16
    """How many Nodes are written to at a time."""
    bind_address: str | None = ":8081"
    """Where probes and metrics are served; None: nowhere."""
    election: Election | None = None
    """The election that comes before all work; None: this process works from the start."""
    kube_api_qps: float | None = None
    """Requests a second that we allow ourselves; None: as many as the API server takes."""
    kube_api_burst: int | None = None
    """Requests at once under `kube_api_qps`; None: twice that."""

    def __post_init__(self) -> None:
        self._check_cluster_cidrs()
        self._check_which_mask_sizes()
        self._check_mask_sizes()
        self._check_service_ranges()
        if self.concurrent_node_syncs < 1:
            raise ConfigurationError(f"concurrent-node-syncs is 1 or more, not {self.concurrent_node_syncs}")
        if self.kube_api_qps is not None and not 0 < self.kube_api_qps < math.inf:
            raise ConfigurationError(
                f"kube-api-qps is a positive number, or left out for no limit, not {self.kube_api_qps:g}"
            )
        if self.kube_api_burst is not None and self.kube_api_burst < 1:
            raise ConfigurationError(f"kube-api-burst is 1 or more, not {self.kube_api_burst}")
        if self.kube_api_burst is not None and self.kube_api_qps is None:
            raise ConfigurationError(
                f"kube-api-burst ({self.kube_api_burst}) means nothing without kube-api-qps; "
                "set both or neither"
            )

    @property
    def per_node_host_bits(self) -> int:
        """The host bits of the default ClusterCIDR; 0 where there is no cluster CIDR.

        One number holds for both families, as KEP-2593 has it: IPv4's if it is at least 4 and no more than
        IPv6's, else IPv6's if it is from 4 to 32, else 4. For one family it is that one's, or 4 if it is
        less.
        """
        bits = {cidr.family: cidr.bits - self._mask_size(cidr.family) for cidr in self.cluster_cidrs}
        if len(bits) < 2:
            return max((LEAST_HOST_BITS, *bits.values())) if bits else 0
        if LEAST_HOST_BITS <= bits[4] <= bits[6]:
            return bits[4]
        return bits[6] if LEAST_HOST_BITS <= bits[6] <= 32 else LEAST_HOST_BITS

    def _mask_size(self, family: int) -> int:
        own = self.node_cidr_mask_size_ipv4 if family == 4 else self.node_cidr_mask_size_ipv6
        if own is not None:
            return own
        return DEFAULT_MASK_SIZES[family] if self.node_cidr_mask_size is None else self.node_cidr_mask_size

    def _check_cluster_cidrs(self) -> None:
        families = [cidr.family for cidr in self.cluster_cidrs]
        if len(set(families)) < len(families):
            raise ConfigurationError(
                "cluster-cidr is one range, or one of IPv4 and one of IPv6, "
                f"not {_texts(self.cluster_cidrs)}; further ranges belong into further ClusterCIDRs"
            )
        for cidr in self.cluster_cidrs:
            if cidr.overlaps(IPV4_MAPPED):
                raise ConfigurationError(
                    f"cluster-cidr {format_cidr(cidr)} contains {format_cidr(IPV4_MAPPED)}, "
                    "which stands for IPv4; use another range"
                )

    def _check_which_mask_sizes(self) -> None:
        """Whether these mask sizes go with these families."""
        given = {
            name: size
            for name, size in (
                ("node-cidr-mask-size", self.node_cidr_mask_size),
                ("node-cidr-mask-size-ipv4", self.node_cidr_mask_size_ipv4),
                ("node-cidr-mask-size-ipv6", self.node_cidr_mask_size_ipv6),
            )
            if size is not None
        }
        if not given:
            return
        shown = " and ".join(f"{name} ({size})" for name, size in given.items())
        if not self.cluster_cidrs:
            raise ConfigurationError(
                f"{shown}: a mask size belongs to the default ClusterCIDR, and there is none; "
                "set cluster-cidr too"
            )
        ranges = _texts(self.cluster_cidrs)
        if len(self.cluster_cidrs) == 2:
            if "node-cidr-mask-size" in given:
                raise ConfigurationError(
                    f"{shown}: with two cluster CIDRs ({ranges}) node-cidr-mask-size would be ambiguous; "
                    "use node-cidr-mask-size-ipv4 and node-cidr-mask-size-ipv6"
                )
            return
        if "node-cidr-mask-size" in given and len(given) > 1:
            raise ConfigurationError(
                f"{shown}: with one cluster CIDR ({ranges}) one mask size is enough; leave out the others"
            )
        family = self.cluster_cidrs[0].family
        other = f"node-cidr-mask-size-ipv{10 - family}"
        if other in given:
            raise ConfigurationError(
                f"{shown}: the only cluster CIDR is {ranges}, which is IPv{family}; use node-cidr-mask-size, "
                f"or add an IPv{10 - family} range to cluster-cidr"
            )

    def _check_mask_sizes(self) -> None:
        """Whether at least one Node's range fits into each cluster CIDR."""
        for cidr in self.cluster_cidrs:
            size, longest = self._mask_size(cidr.family), BITS[cidr.family] - LEAST_HOST_BITS
            if cidr.length > longest:
                raise ConfigurationError(
                    f"cluster-cidr {format_cidr(cidr)} is too small: a Node gets at least "
                    f"2^{LEAST_HOST_BITS} addresses, so it has to be /{longest} or wider"
                )
            if not cidr.length <= size <= cidr.bits:
                implied = "" if self._is_given(cidr.family) else ", the default,"
                raise ConfigurationError(
                    f"the IPv{cidr.family} mask size {size}{implied} doesn't go with cluster-cidr "
                    f"{format_cidr(cidr)}: it has to be from {cidr.length} to {longest}; "
                    f"set {self._name_of_mask_size(cidr.family)}"
                )
        for cidr in self.cluster_cidrs:
            if self.per_node_host_bits > cidr.host_bits:
                raise ConfigurationError(
                    f"the mask sizes {self._mask_size(4)} (IPv4) and {self._mask_size(6)} (IPv6) make "
                    f"2^{self.per_node_host_bits} addresses for a Node in each family, "
                    f"and cluster-cidr {format_cidr(cidr)} has but 2^{cidr.host_bits}; choose mask sizes "
                    f"with as many host bits in both families, such as 24 and 120"
                )

    def _is_given(self, family: int) -> bool:
        own = self.node_cidr_mask_size_ipv4 if family == 4 else self.node_cidr_mask_size_ipv6
        return own is not None or self.node_cidr_mask_size is not None

    def _name_of_mask_size(self, family: int) -> str:
        return f"node-cidr-mask-size-ipv{family}" if len(self.cluster_cidrs) == 2 else "node-cidr-mask-size"

    def _check_service_ranges(self) -> None:
        for service in self.service_ranges:
            for cidr in self.cluster_cidrs:
                if service.contains(cidr):
                    raise ConfigurationError(
                        f"service-cluster-ip-range {format_cidr(service)} contains cluster-cidr "
                        f"{format_cidr(cidr)}: no address would be left for Nodes"
                    )


def _texts(prefixes: tuple[Prefix, ...]) -> str:
    return ",".join(map(format_cidr, prefixes))
