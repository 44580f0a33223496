"""The table of all settings: flags, environment variables, defaults.

They are those of kubernetes-sigs/node-ipam-controller, so that one can take the other's place, and a few
more. docs/configuration.md explains them at greater length.
"""

from __future__ import annotations

from typing import Any, Literal

from . import values
from .durations import parse_duration
from .flag import Flag
from .logs import Format, Level

__all__ = ["FLAGS", "LOCKS", "Lock"]

Lock = Literal["leases", "endpoints", "configmaps"]
LOCKS: tuple[Lock, ...] = ("leases", "endpoints", "configmaps")


def _retry_period(text: str) -> float:
    """A duration. One variable of this setting has a name that suggests something else."""
    if text.lower().rstrip("s") in {lock.rstrip("s") for lock in LOCKS}:
        raise ValueError(
            f'"{text}" is a kind of lock, and this is the wait between two attempts, such as "2s"; '
            "the kind of lock belongs into IPAM_RESOURCE_LOCK_NAME"
        )
    return parse_duration(text)


APISERVER = Flag(
    name="--apiserver",
    variables=("IPAM_API_SERVER_URL",),
    read=values.text,
    metavar="URL",
    what="Address of the Kubernetes API server; overrides the kubeconfig's. Only out of cluster",
)
KUBECONFIG = Flag(
    name="--kubeconfig",
    variables=("IPAM_KUBECONFIG",),
    read=values.text,
    metavar="PATH",
    what="Path to a kubeconfig. Only out of cluster",
)
WEBSERVER_BIND_ADDRESS = Flag(
    name="--webserver-bind-address",
    variables=("IPAM_WEBSERVER_BIND_ADDR",),
    read=values.address,
    default=":8081",
    metavar="ADDRESS",
    what="TCP address of probes and metrics",
)
HEALTH_PROBE_ADDRESS = Flag(
    name="--health-probe-address",
    variables=("IPAM_HEALTH_PROBE_ADDR",),
    read=values.optional(values.address),
    metavar="ADDRESS",
    what="Deprecated: use --webserver-bind-address, over which this one wins if it is set",
)
ENABLE_LEADER_ELECTION = Flag(
    name="--enable-leader-election",
    variables=("IPAM_ENABLE_LEADER_ELECTION",),
    read=values.boolean,
    default="true",
    metavar="[=true|false]",
    is_boolean=True,
    what="Let one controller at a time be active; needed wherever there is more than one",
)
LEASE_DURATION = Flag(
    name="--leader-elect-lease-duration",
    variables=("IPAM_LEASE_DURATION",),
    read=parse_duration,
    default="15s",
    metavar="DURATION",
    what="How long non-leaders wait before they take a lease by force",
)
RENEW_DEADLINE = Flag(
    name="--leader-elect-renew-deadline",
    variables=("IPAM_RENEW_DEADLINE",),
    read=parse_duration,
    default="10s",
    metavar="DURATION",
    what="How long the leader tries to renew its lease before it stops leading",
)
RETRY_PERIOD = Flag(
    name="--leader-elect-retry-period",
    variables=("IPAM_LEADER_ELECT_RETRY_PERIOD", "IPAM_RESOURCE_LOCK"),
    read=_retry_period,
    default="2s",
    metavar="DURATION",
    what="Wait between two attempts to take or to renew a lease",
)
RESOURCE_LOCK: Flag[Lock] = Flag(
    name="--leader-elect-resource-lock",
    variables=("IPAM_RESOURCE_LOCK_NAME",),
    read=values.one_of(*LOCKS),
    default="leases",
    metavar="KIND",
    what="Kind of the lock object: leases, endpoints or configmaps",
)
RESOURCE_NAME = Flag(
    name="--leader-elect-resource-name",
    variables=("IPAM_RESOURCE_NAME",),
    read=values.text,
    default="node-ipam-controller",
    metavar="NAME",
    what="Name of the lock object",
)
ELECT_ID = Flag(
    name="--leader-elect-id",
    variables=("IPAM_LEADER_ELECT_ID",),
    read=values.text,
    metavar="TEXT",
    what="Identity of this candidate; a random suffix is added. Without it POD_NAME, else the host name",
)
ELECT_NAMESPACE = Flag(
    name="--leader-elect-namespace",
    variables=("IPAM_LEADER_ELECT_NAMESPACE",),
    read=values.text,
    metavar="NAME",
    what="Namespace of the lock object. Without it POD_NAMESPACE, else the service account's",
)
CLUSTER_CIDR = Flag(
    name="--cluster-cidr",
    variables=("IPAM_CLUSTER_CIDR",),
    read=values.ranges,
    metavar="CIDR[,CIDR]",
    what="Range of default-cluster-cidr, or one of IPv4 and one of IPv6; it is made if it doesn't exist",
)
MASK_SIZE = Flag(
    name="--node-cidr-mask-size",
    variables=("IPAM_NODE_CIDR_MASK_SIZE",),
    read=values.optional(values.integer),
    metavar="LENGTH",
    what="Length of a Node's range in the default ClusterCIDR, if that has one family. Without it 24 or 64",
)
MASK_SIZE_IPV4 = Flag(
    name="--node-cidr-mask-size-ipv4",
    variables=("IPAM_NODE_CIDR_MASK_SIZE_IPV4",),
    read=values.optional(values.integer),
    metavar="LENGTH",
    what="Length of a Node's IPv4 range in the default ClusterCIDR. Without it 24",
)
MASK_SIZE_IPV6 = Flag(
    name="--node-cidr-mask-size-ipv6",
    variables=("IPAM_NODE_CIDR_MASK_SIZE_IPV6",),
    read=values.optional(values.integer),
    metavar="LENGTH",
    what="Length of a Node's IPv6 range in the default ClusterCIDR. Without it 64",
)
SERVICE_RANGES = Flag(
    name="--service-cluster-ip-range",
    variables=("IPAM_SERVICE_CLUSTER_IP_RANGE",),
    read=values.ranges,
    metavar="CIDR[,CIDR]",
    what="Ranges of Services, of which no Node ever gets an address",
)
CONCURRENT_NODE_SYNCS = Flag(
    name="--concurrent-node-syncs",
    variables=("IPAM_CONCURRENT_NODE_SYNCS",),
    read=values.integer,
    default="16",
    metavar="NUMBER",
    what="How many Nodes are written to at a time",
)
KUBE_API_QPS = Flag(
    name="--kube-api-qps",
    variables=("IPAM_KUBE_API_QPS",),
    read=values.optional(values.number, "off"),
    default="off",
    metavar="NUMBER",
    what="Limit of our requests to the API server, a second; its own priority and fairness needs none",
)
KUBE_API_BURST = Flag(
    name="--kube-api-burst",
    variables=("IPAM_KUBE_API_BURST",),
    read=values.optional(values.integer, "off"),
    default="off",
    metavar="NUMBER",
    what="How many requests may exceed --kube-api-qps for a moment. Without it twice as many as that",
)
LOG_LEVEL: Flag[Level] = Flag(
    name="--log-level",
    variables=("IPAM_LOG_LEVEL",),
    read=values.one_of("debug", "info", "warning", "error"),
    default="info",
    metavar="LEVEL",
    what="The least important lines to log: debug, info, warning or error",
)
LOG_FORMAT: Flag[Format] = Flag(
    name="--log-format",
    variables=("IPAM_LOG_FORMAT",),
    read=values.one_of("text", "json"),
    default="text",
    metavar="FORMAT",
    what="How to log: text or json",
)

FLAGS: tuple[Flag[Any], ...] = (
    APISERVER,
    KUBECONFIG,
    WEBSERVER_BIND_ADDRESS,
    HEALTH_PROBE_ADDRESS,
    ENABLE_LEADER_ELECTION,
    LEASE_DURATION,
    RENEW_DEADLINE,
    RETRY_PERIOD,
    RESOURCE_LOCK,
    RESOURCE_NAME,
    ELECT_ID,
    ELECT_NAMESPACE,
    CLUSTER_CIDR,
    MASK_SIZE,
    MASK_SIZE_IPV4,
    MASK_SIZE_IPV6,
    SERVICE_RANGES,
    CONCURRENT_NODE_SYNCS,
    KUBE_API_QPS,
    KUBE_API_BURST,
    LOG_LEVEL,
    LOG_FORMAT,
)
"""In the order of --help."""
