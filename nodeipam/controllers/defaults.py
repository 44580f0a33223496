"""The default ClusterCIDR: made from settings, once, if no object of its name exists.

Whatever stands under that name belongs to those who put it there: it is never changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from nodeipam.api.cidr import format_cidr
from nodeipam.api.clustercidr import (
    API_VERSION,
    CLUSTER_CIDRS,
    ClusterCIDR,
    InvalidClusterCIDR,
    PoolSpec,
    validate,
)
from nodeipam.runtime import APIError, Backoff, Client, Lease, Request, TransportError, get_logger

from .settings import Settings

__all__ = ["DEFAULT_NAME", "DefaultClusterCIDR", "default_cluster_cidr"]

log = get_logger(__name__)

DEFAULT_NAME = "default-cluster-cidr"
"""KEP-2593's name for it."""

_BACKOFF = Backoff(base=0.5, cap=60.0)


def default_cluster_cidr(settings: Settings) -> dict[str, Any] | None:
    """The manifest of the default ClusterCIDR; None if the settings have no cluster CIDR."""
    if not settings.cluster_cidrs:
        return None
    ranges = {f"ipv{cidr.family}": format_cidr(cidr) for cidr in sorted(settings.cluster_cidrs)}
    return {
        "apiVersion": API_VERSION,
        "kind": CLUSTER_CIDRS.kind,
        "metadata": {"name": DEFAULT_NAME},
        "spec": {"perNodeHostBits": settings.per_node_host_bits, **ranges},
    }


class DefaultClusterCIDR:
    """Creates the default ClusterCIDR under leadership.

    Args:
        client: speaks to the API server.
        lease: the current term; raises LeadershipLost when there is none.
        manifest: what `default_cluster_cidr` returned.
    """

    needs_leader = True

    def __init__(self, client: Client, lease: Callable[[], Lease], manifest: dict[str, Any]) -> None:
        self._client = client
        self._lease = lease
        self._manifest = manifest
        self._request = Request(manifest["metadata"]["name"])

    async def run(self) -> None:
        """Create it, however often that takes, and return; an object of the name counts as created.

        What keeps it from being created is logged once, and again when it changes. Can be cancelled at any
        time, and be run again: a request of unknown outcome is settled by the next one.

        Raises:
            LeadershipLost: the term is over.
        """
        failures, told = 0, ""
        while True:
            try:
                return await self._ensure()
            except (APIError, TransportError) as error:
                failures += 1
                if told != str(error):
                    log.warning("can't create the default ClusterCIDR yet", cause=str(error))
                    told = str(error)
                delay = _BACKOFF.delay(failures, self._client.rng)
                wish = error.retry_after if isinstance(error, APIError) else None
                await asyncio.sleep(max(delay, wish or 0.0))

    async def _ensure(self) -> None:
        try:
            await self._client.create(CLUSTER_CIDRS, self._body)
        except APIError as error:
            if not error.refused or error.code != 409:
                raise
            self._compare(await self._client.get(CLUSTER_CIDRS, self._request))
        else:
            log.info("created the default ClusterCIDR", clusterCIDR=self._request.name, **self._told())

    def _body(self) -> Mapping[str, Any]:
        self._lease().check()
        return self._manifest

    def _compare(self, found: ClusterCIDR) -> None:
        if _meaning(found) != _meaning(msgspec.convert(self._manifest, ClusterCIDR)):
            log.info(
                "the default ClusterCIDR exists already and differs from the flags: it stays as it is",
                clusterCIDR=self._request.name,
                spec=found.spec,
                flags=self._manifest["spec"],
            )

    def _told(self) -> dict[str, Any]:
        """What each Node gets, as ranges are read: one number of host bits makes different lengths."""
        spec = validate(msgspec.convert(self._manifest, ClusterCIDR))
        lengths = [f"/{cidr.bits - spec.host_bits} of {format_cidr(cidr)}" for cidr in spec.ranges]
        return {"each_node": " and ".join(lengths)}


def _meaning(found: ClusterCIDR) -> PoolSpec | None:
    """What an object is served as, without remarks; None if it can't be served."""
    try:
        return msgspec.structs.replace(validate(found), warnings=(), notes=())
    except InvalidClusterCIDR:
        return None
