from __future__ import annotations

from typing import Any

import pytest

from nodeipam.cli.flag import Flag
from nodeipam.cli.options import FLAGS

TABLE = {
    "--apiserver": (["IPAM_API_SERVER_URL"], ""),
    "--kubeconfig": (["IPAM_KUBECONFIG"], ""),
    "--webserver-bind-address": (["IPAM_WEBSERVER_BIND_ADDR"], ":8081"),
    "--health-probe-address": (["IPAM_HEALTH_PROBE_ADDR"], ""),
    "--enable-leader-election": (["IPAM_ENABLE_LEADER_ELECTION"], "true"),
    "--leader-elect-lease-duration": (["IPAM_LEASE_DURATION"], "15s"),
    "--leader-elect-renew-deadline": (["IPAM_RENEW_DEADLINE"], "10s"),
    "--leader-elect-retry-period": (["IPAM_LEADER_ELECT_RETRY_PERIOD", "IPAM_RESOURCE_LOCK"], "2s"),
    "--leader-elect-resource-lock": (["IPAM_RESOURCE_LOCK_NAME"], "leases"),
    "--leader-elect-resource-name": (["IPAM_RESOURCE_NAME"], "node-ipam-controller"),
    "--leader-elect-id": (["IPAM_LEADER_ELECT_ID"], ""),
    "--leader-elect-namespace": (["IPAM_LEADER_ELECT_NAMESPACE"], ""),
    "--cluster-cidr": (["IPAM_CLUSTER_CIDR"], ""),
    "--node-cidr-mask-size": (["IPAM_NODE_CIDR_MASK_SIZE"], ""),
    "--node-cidr-mask-size-ipv4": (["IPAM_NODE_CIDR_MASK_SIZE_IPV4"], ""),
    "--node-cidr-mask-size-ipv6": (["IPAM_NODE_CIDR_MASK_SIZE_IPV6"], ""),
    "--service-cluster-ip-range": (["IPAM_SERVICE_CLUSTER_IP_RANGE"], ""),
    "--concurrent-node-syncs": (["IPAM_CONCURRENT_NODE_SYNCS"], "16"),
    "--kube-api-qps": (["IPAM_KUBE_API_QPS"], "off"),
    "--kube-api-burst": (["IPAM_KUBE_API_BURST"], "off"),
    "--log-level": (["IPAM_LOG_LEVEL"], "info"),
    "--log-format": (["IPAM_LOG_FORMAT"], "text"),
}

each_flag = pytest.mark.parametrize("flag", [pytest.param(flag, id=flag.name) for flag in FLAGS])


def test_table() -> None:
    """These flags, variables and defaults are what deployments rely on: none of them changes."""
    assert TABLE == {flag.name: (list(flag.variables), flag.default) for flag in FLAGS}


@each_flag
def test_default_can_be_read(flag: Flag[Any]) -> None:
    """Each default is a text that the flag itself would take."""
    flag.read(flag.default)
