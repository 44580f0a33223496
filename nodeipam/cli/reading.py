"""From flags and environment to what the controller is built from."""

from __future__ import annotations

from dataclasses import dataclass

from nodeipam.controllers.settings import Settings
from nodeipam.runtime import ConfigurationError, CredentialsError, Election
from nodeipam.runtime.credentials import namespace

from . import options
from .flag import Given

__all__ = ["Configuration", "read_configuration"]

_NAMESPACE = "kube-system"


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """All that a run needs to know, but for logging."""

    settings: Settings
    apiserver: str | None
    """None: the kubeconfig's, or the cluster's own."""
    kubeconfig: str | None
    """None: the service account in a Pod, else where a kubeconfig usually is."""
    remarks: tuple[str, ...] = ()
    """What a person should know about what was given, as warnings in the log."""


def read_configuration(given: Given) -> Configuration:
    """Read everything that was given.

    Raises:
        click.UsageError: a text has no meaning.
        ConfigurationError: values contradict each other.
    """
    remarks = given.remarks(options.FLAGS)
    try:
        settings = _settings(given, remarks)
    except ConfigurationError as error:
        variables = given.variables(options.FLAGS)
        raise ConfigurationError(
            f"{error} [from the environment: {', '.join(variables)}]" if variables else str(error)
        ) from None
    return Configuration(
        settings=settings,
        apiserver=given.value(options.APISERVER) or None,
        kubeconfig=given.value(options.KUBECONFIG) or None,
        remarks=tuple(remarks),
    )


def _settings(given: Given, remarks: list[str]) -> Settings:
    return Settings(
        cluster_cidrs=given.value(options.CLUSTER_CIDR),
        node_cidr_mask_size=given.value(options.MASK_SIZE),
        node_cidr_mask_size_ipv4=given.value(options.MASK_SIZE_IPV4),
        node_cidr_mask_size_ipv6=given.value(options.MASK_SIZE_IPV6),
        service_ranges=given.value(options.SERVICE_RANGES),
        concurrent_node_syncs=given.value(options.CONCURRENT_NODE_SYNCS),
        bind_address=_bind_address(given, remarks),
        election=_election(given, remarks) if given.value(options.ENABLE_LEADER_ELECTION) else None,
        kube_api_qps=given.value(options.KUBE_API_QPS),
        kube_api_burst=given.value(options.KUBE_API_BURST),
    )


def _bind_address(given: Given, remarks: list[str]) -> str:
    address = given.value(options.WEBSERVER_BIND_ADDRESS)
    deprecated = given.value(options.HEALTH_PROBE_ADDRESS)
    if deprecated is None:
        return address
    old, new = given.name(options.HEALTH_PROBE_ADDRESS), options.WEBSERVER_BIND_ADDRESS.name
    unused = f", and {given.name(options.WEBSERVER_BIND_ADDRESS)}={address} is not used"
    remarks.append(
        f"{old} is deprecated: use {new}{unused if given.is_set(options.WEBSERVER_BIND_ADDRESS) else ''}"
    )
    return deprecated


def _election(given: Given, remarks: list[str]) -> Election:
    return Election(
        namespace=_namespace(given, remarks),
        name=given.value(options.RESOURCE_NAME),
        lock=given.value(options.RESOURCE_LOCK),
        id=given.value(options.ELECT_ID) or given.environ.get("POD_NAME", ""),
        lease_duration=given.value(options.LEASE_DURATION),
        renew_deadline=given.value(options.RENEW_DEADLINE),
        retry_period=given.value(options.RETRY_PERIOD),
    )


def _namespace(given: Given, remarks: list[str]) -> str:
    named = given.value(options.ELECT_NAMESPACE) or given.environ.get("POD_NAMESPACE", "")
    if named:
        return named
    try:
        return namespace()
    except CredentialsError:
        remarks.append(
            f"the lock is looked for in {_NAMESPACE}, since no {options.ELECT_NAMESPACE.name} is given and "
            "this is no Pod; all replicas must use the same namespace"
        )
        return _NAMESPACE
