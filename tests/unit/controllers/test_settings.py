from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeipam.api.cidr import parse_cidr
from nodeipam.api.clustercidr import ClusterCIDR, validate
from nodeipam.controllers.defaults import default_cluster_cidr
from nodeipam.controllers.settings import Settings
from nodeipam.ipam.prefix import Prefix
from nodeipam.runtime import ConfigurationError


def ranges(*texts: str) -> tuple[Prefix, ...]:
    """Texts as prefixes."""
    return tuple(map(parse_cidr, texts))


V4, V6 = ranges("10.244.0.0/16", "2001:db8::/48")


def test_defaults() -> None:
    """By default there is no default ClusterCIDR, no election, no limit; 16 writes at a time, port 8081."""
    found = Settings()

    assert ((), None, (), 16, ":8081", None, None, None, 0) == (
        found.cluster_cidrs,
        found.node_cidr_mask_size,
        found.service_ranges,
        found.concurrent_node_syncs,
        found.bind_address,
        found.election,
        found.kube_api_qps,
        found.kube_api_burst,
        found.per_node_host_bits,
    )


class TestHostBits:
    """The rule for the default ClusterCIDR, which has one number of host bits for both families."""

    @pytest.mark.parametrize(
        "cidr,size,bits",
        [
            ("10.244.0.0/16", None, 8),
            ("10.244.0.0/16", 26, 6),
            ("10.244.0.0/16", 16, 16),
            ("10.244.0.0/16", 28, 4),
            ("10.244.0.0/16", 30, 4),
            ("10.244.0.0/16", 32, 4),
            ("2001:db8::/48", None, 64),
            ("2001:db8::/48", 112, 16),
            ("2001:db8::/48", 128, 4),
        ],
    )
    def test_one_family(self, cidr: str, size: int | None, bits: int) -> None:
        """With one family they are what the mask size leaves, and at least 4."""
        assert bits == Settings(cluster_cidrs=ranges(cidr), node_cidr_mask_size=size).per_node_host_bits

    @pytest.mark.parametrize(
        "cidr,field,bits",
        [("10.244.0.0/16", "node_cidr_mask_size_ipv4", 7), ("fd00::/48", "node_cidr_mask_size_ipv6", 103)],
    )
    def test_one_family_by_its_own_setting(self, cidr: str, field: str, bits: int) -> None:
        """The mask size of the own family will do as well."""
        sizes: dict[str, Any] = {field: 25}
        if "ipv6" in field:
            cidr = "fd00::/8"

        assert bits == Settings(cluster_cidrs=ranges(cidr), **sizes).per_node_host_bits

    @pytest.mark.parametrize(
        "ipv4,ipv6,bits",
        [
            (None, None, 8),
            (24, 120, 8),
            (28, 64, 4),
            (24, 121, 7),
            (24, 124, 4),
            (24, 125, 4),
            (30, 120, 8),
            (30, 64, 4),
            (30, 126, 4),
        ],
    )
    def test_two_families(self, ipv4: int | None, ipv6: int | None, bits: int) -> None:
        """With two they are IPv4's if 4 or more and not above IPv6's, else IPv6's if 4 to 32, else 4."""
        for cidrs in ((V4, V6), (V6, V4)):
            found = Settings(
                cluster_cidrs=cidrs, node_cidr_mask_size_ipv4=ipv4, node_cidr_mask_size_ipv6=ipv6
            )
            assert bits == found.per_node_host_bits

    @given(
        v4=st.integers(0, 32),
        v6=st.integers(8, 128),
        both=st.sampled_from([(V4,), (V6,), (V4, V6)]),
        ipv4=st.none() | st.integers(0, 32),
        ipv6=st.none() | st.integers(0, 128),
    )
    def test_can_be_served(
        self, v4: int, v6: int, both: tuple[Prefix, ...], ipv4: int | None, ipv6: int | None
    ) -> None:
        """Settings that are accepted make a ClusterCIDR that is valid and gives no cause for warnings."""
        cidrs = tuple(
            [Prefix.around(cidr.family, cidr.value, v4 if cidr.family == 4 else v6) for cidr in both]
        )
        families = {cidr.family for cidr in cidrs}
        try:
            settings = Settings(
                cluster_cidrs=cidrs,
                node_cidr_mask_size_ipv4=ipv4 if 4 in families else None,
                node_cidr_mask_size_ipv6=ipv6 if 6 in families else None,
            )
        except ConfigurationError:
            return
        manifest = default_cluster_cidr(settings)
        assert manifest is not None

        spec = validate(ClusterCIDR(spec=manifest["spec"]))

        assert (tuple(sorted(cidrs)), ()) == (spec.ranges, spec.warnings)


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"cluster_cidrs": ranges("10.0.0.0/16", "10.1.0.0/16")},
        (
            "cluster-cidr is one range, or one of IPv4 and one of IPv6, not 10.0.0.0/16,10.1.0.0/16; "
            "further ranges belong into further ClusterCIDRs"
        ),
    ),
    (
        {"cluster_cidrs": ranges("10.0.0.0/16", "fd00::/48", "fd01::/48")},
        (
            "cluster-cidr is one range, or one of IPv4 and one of IPv6, not 10.0.0.0/16,fd00::/48,fd01::/48; "
            "further ranges belong into further ClusterCIDRs"
        ),
    ),
    (
        {"cluster_cidrs": ranges("::/64")},
        "cluster-cidr ::/64 contains ::ffff:0.0.0.0/96, which stands for IPv4; use another range",
    ),
    (
        {"node_cidr_mask_size": 24},
        (
            "node-cidr-mask-size (24): a mask size belongs to the default ClusterCIDR, and there is none; "
            "set cluster-cidr too"
        ),
    ),
    (
        {"cluster_cidrs": (V4, V6), "node_cidr_mask_size": 24},
        (
            "node-cidr-mask-size (24): with two cluster CIDRs (10.244.0.0/16,2001:db8::/48) "
            "node-cidr-mask-size would be ambiguous; "
            "use node-cidr-mask-size-ipv4 and node-cidr-mask-size-ipv6"
        ),
    ),
    (
        {"cluster_cidrs": (V4,), "node_cidr_mask_size": 24, "node_cidr_mask_size_ipv4": 25},
        (
            "node-cidr-mask-size (24) and node-cidr-mask-size-ipv4 (25): with one cluster CIDR "
            "(10.244.0.0/16) one mask size is enough; leave out the others"
        ),
    ),
    (
        {"cluster_cidrs": (V4,), "node_cidr_mask_size_ipv6": 64},
        (
            "node-cidr-mask-size-ipv6 (64): the only cluster CIDR is 10.244.0.0/16, which is IPv4; "
            "use node-cidr-mask-size, or add an IPv6 range to cluster-cidr"
        ),
    ),
    (
        {"cluster_cidrs": (V6,), "node_cidr_mask_size_ipv4": 24},
        (
            "node-cidr-mask-size-ipv4 (24): the only cluster CIDR is 2001:db8::/48, which is IPv6; "
            "use node-cidr-mask-size, or add an IPv4 range to cluster-cidr"
        ),
    ),
    (
        {"cluster_cidrs": ranges("10.0.0.0/29")},
        (
            "cluster-cidr 10.0.0.0/29 is too small: a Node gets at least 2^4 addresses, "
            "so it has to be /28 or wider"
        ),
    ),
    (
        {"cluster_cidrs": ranges("10.0.0.0/26")},
        (
            "the IPv4 mask size 24, the default, doesn't go with cluster-cidr 10.0.0.0/26: "
            "it has to be from 26 to 28; set node-cidr-mask-size"
        ),
    ),
    (
        {"cluster_cidrs": (V4,), "node_cidr_mask_size": 0},
        (
            "the IPv4 mask size 0 doesn't go with cluster-cidr 10.244.0.0/16: "
            "it has to be from 16 to 28; set node-cidr-mask-size"
        ),
    ),
    (
        {"cluster_cidrs": (V4,), "node_cidr_mask_size": 33},
        (
            "the IPv4 mask size 33 doesn't go with cluster-cidr 10.244.0.0/16: "
            "it has to be from 16 to 28; set node-cidr-mask-size"
        ),
    ),
    (
        {"cluster_cidrs": (V4, V6), "node_cidr_mask_size_ipv6": 47},
        (
            "the IPv6 mask size 47 doesn't go with cluster-cidr 2001:db8::/48: "
            "it has to be from 48 to 124; set node-cidr-mask-size-ipv6"
        ),
    ),
    (
        {"cluster_cidrs": (V4, V6), "node_cidr_mask_size_ipv4": 30, "node_cidr_mask_size_ipv6": 108},
        (
            "the mask sizes 30 (IPv4) and 108 (IPv6) make 2^20 addresses for a Node in each family, "
            "and cluster-cidr 10.244.0.0/16 has but 2^16; choose mask sizes "
            "with as many host bits in both families, such as 24 and 120"
        ),
    ),
    (
        {"cluster_cidrs": (V4,), "service_ranges": ranges("10.0.0.0/8")},
        (
            "service-cluster-ip-range 10.0.0.0/8 contains cluster-cidr 10.244.0.0/16: "
            "no address would be left for Nodes"
        ),
    ),
    ({"concurrent_node_syncs": 0}, "concurrent-node-syncs is 1 or more, not 0"),
    ({"kube_api_qps": 0.0}, "kube-api-qps is a positive number, or left out for no limit, not 0"),
    ({"kube_api_qps": math.inf}, "kube-api-qps is a positive number, or left out for no limit, not inf"),
    ({"kube_api_qps": 5.0, "kube_api_burst": 0}, "kube-api-burst is 1 or more, not 0"),
    ({"kube_api_burst": 7}, "kube-api-burst (7) means nothing without kube-api-qps; set both or neither"),
]


@pytest.mark.parametrize("fields,message", REFUSED)
def test_refused(fields: dict[str, Any], message: str) -> None:
    """What can't work is refused, with the values, and what would be right."""
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$"):
        Settings(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"cluster_cidrs": (V4,), "service_ranges": ranges("10.244.255.0/24", "10.96.0.0/12", "fd00::/112")},
        {"service_ranges": ranges("0.0.0.0/0")},
        {"cluster_cidrs": ranges("10.0.0.0/26"), "node_cidr_mask_size": 26},
        {"kube_api_qps": 0.5, "kube_api_burst": 1},
        {"bind_address": None},
    ],
)
def test_accepted(fields: dict[str, Any]) -> None:
    """What can work is taken."""
    Settings(**fields)
