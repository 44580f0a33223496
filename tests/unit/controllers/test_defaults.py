from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from nodeipam.api.cidr import parse_cidr
from nodeipam.api.clustercidr import CLUSTER_CIDRS
from nodeipam.controllers.defaults import DefaultClusterCIDR, default_cluster_cidr
from nodeipam.controllers.settings import Settings
from nodeipam.runtime import Client, LeadershipLost, Lease
from nodeipam.testing.apiserver import APIServer
from nodeipam.testing.faults import Fault
from nodeipam.testing.loop import VirtualClock, run_virtual
from nodeipam.testing.transport import ModelTransport

NAME = "default-cluster-cidr"
SETTINGS = Settings(
    cluster_cidrs=(parse_cidr("10.244.0.0/16"),), service_ranges=(parse_cidr("10.96.0.0/12"),)
)


class Cluster:
    """An API server, and the runnable in front of it."""

    def __init__(self) -> None:
        self.server = APIServer()
        self.register()
        self.clock = VirtualClock()
        self.lease = Lease.unelected(clock=self.clock, identity="me")
        manifest = default_cluster_cidr(SETTINGS)
        assert manifest is not None
        client = Client(ModelTransport(self.server), clock=self.clock, rng=random.Random(1))
        self.runnable = DefaultClusterCIDR(client, lambda: self.lease, manifest)

    def register(self) -> None:
        """Install the CRD."""
        self.server.register("networking.x-k8s.io/v1", "ClusterCIDR", "clustercidrs", False, status=True)

    def put(self, **spec: Any) -> None:
        """Have somebody else's object of the name."""
        self.server.put(
            {
                "apiVersion": "networking.x-k8s.io/v1",
                "kind": "ClusterCIDR",
                "metadata": {"name": NAME},
                "spec": spec,
            }
        )

    def fault(self, method: str, action: Any, **fields: Any) -> None:
        """Let requests of a method go wrong."""
        self.server.faults.append(Fault(match=lambda call: call.method == method, action=action, **fields))

    @property
    def stored(self) -> dict[str, Any] | None:
        """The spec of the object, if there is one."""
        specs = [found["spec"] for found in self.server.objects(CLUSTER_CIDRS)]
        return specs[0] if specs else None

    @property
    def methods(self) -> list[str]:
        """The methods of all requests."""
        return [logged.call.method for logged in self.server.log]


def story(tell: Callable[[Cluster], Awaitable[None]]) -> Cluster:
    """Tell a story on virtual time."""

    async def main() -> Cluster:
        cluster = Cluster()
        await tell(cluster)
        return cluster

    return run_virtual(main())


async def _run(cluster: Cluster) -> None:
    await cluster.runnable.run()


class TestManifest:
    def test_none(self) -> None:
        """Without a cluster CIDR there is none."""
        assert default_cluster_cidr(Settings(service_ranges=SETTINGS.service_ranges)) is None

    def test_two_families(self) -> None:
        """It has the name of the KEP, the ranges of both families, the host bits, and no selector."""
        settings = Settings(cluster_cidrs=(parse_cidr("2001:db8::/48"), parse_cidr("10.244.7.0/16")))

        assert {
            "apiVersion": "networking.x-k8s.io/v1",
            "kind": "ClusterCIDR",
            "metadata": {"name": "default-cluster-cidr"},
            "spec": {"perNodeHostBits": 8, "ipv4": "10.244.0.0/16", "ipv6": "2001:db8::/48"},
        } == default_cluster_cidr(settings)


class TestRun:
    def test_creates(self, caplog: pytest.LogCaptureFixture) -> None:
        """Where there is no object of the name it is created by one request, and what it means is logged."""
        with caplog.at_level("INFO"):
            cluster = story(_run)

        (record,) = [record for record in caplog.records if record.name == "nodeipam.controllers.defaults"]
        assert ({"perNodeHostBits": 8, "ipv4": "10.244.0.0/16"}, ["POST"], "/24 of 10.244.0.0/16") == (
            cluster.stored,
            cluster.methods,
            vars(record)["each_node"],
        )

    @pytest.mark.parametrize(
        "spec,remarks",
        [
            ({"perNodeHostBits": 8, "ipv4": "10.244.0.0/16"}, 0),
            ({"perNodeHostBits": 8, "ipv4": "10.244.1.1/16", "ipv6": ""}, 0),
            ({"perNodeHostBits": 7, "ipv4": "10.244.0.0/16"}, 1),
            ({"perNodeHostBits": 8, "ipv4": "10.245.0.0/16"}, 1),
            ({"perNodeHostBits": 8, "ipv4": "nonsense"}, 1),
        ],
    )
    def test_exists(self, spec: dict[str, Any], remarks: int, caplog: pytest.LogCaptureFixture) -> None:
        """An object of the name is left as it is; the log says so if it means something else."""

        async def tell(cluster: Cluster) -> None:
            cluster.put(**spec)
            await cluster.runnable.run()

        with caplog.at_level("INFO"):
            cluster = story(tell)

        told = [text for text in caplog.messages if text.startswith("the default ClusterCIDR exists already")]
        assert (spec, ["POST", "GET"], remarks) == (cluster.stored, cluster.methods, len(told))

    @pytest.mark.parametrize(
        "action,fields",
        [
            ("drop_before", {}),
            ("drop_after", {}),
            ("error_before", {"status": 403}),
            ("error_before", {"status": 422}),
            ("error_after", {"status": 500}),
            ("error_before", {"status": 503, "body": b"<html>"}),
        ],
    )
    def test_tries_again(self, action: str, fields: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
        """Whatever keeps it from being created is logged once, and it is tried again until it is there."""

        async def tell(cluster: Cluster) -> None:
            cluster.fault("POST", action, times=4, **fields)
            await cluster.runnable.run()

        cluster = story(tell)

        warnings = [record for record in caplog.records if record.levelname == "WARNING"]
        assert (True, len(warnings)) == (cluster.stored is not None, 1)

    def test_crd_appears(self) -> None:
        """Where the CRD is missing it is tried until it appears, at the most a minute later."""

        async def tell(cluster: Cluster) -> None:
            cluster.server.unregister(CLUSTER_CIDRS)
            running = asyncio.create_task(cluster.runnable.run())
            await asyncio.sleep(3600)
            cluster.register()
            await asyncio.sleep(61)
            assert running.done()
            await running

        cluster = story(tell)

        assert cluster.stored is not None
        assert len(cluster.methods) < 100

    def test_goes_between_two_requests(self) -> None:
        """An object that exists for the POST and not for the GET is created after all."""

        async def tell(cluster: Cluster) -> None:
            cluster.fault("POST", "error_before", status=409)
            await cluster.runnable.run()

        cluster = story(tell)

        assert (True, ["POST", "GET", "POST"]) == (cluster.stored is not None, cluster.methods)

    def test_retry_after(self) -> None:
        """The server's wish for a pause is granted."""

        async def tell(cluster: Cluster) -> None:
            cluster.fault("POST", "error_before", status=429, retry_after=200)
            await cluster.runnable.run()
            assert asyncio.get_running_loop().time() >= 200

        assert story(tell).stored is not None

    def test_lost_lease(self) -> None:
        """Once the term is over nothing is sent any more (I9)."""

        async def tell(cluster: Cluster) -> None:
            cluster.fault("POST", "drop_before")
            running = asyncio.create_task(cluster.runnable.run())
            await asyncio.sleep(0.01)
            cluster.lease.end("lost")
            with pytest.raises(LeadershipLost):
                await running

        cluster = story(tell)

        assert (None, ["POST"]) == (cluster.stored, cluster.methods)

    def test_cancelled(self) -> None:
        """Cancelled while it waits, it ends at once."""

        async def tell(cluster: Cluster) -> None:
            cluster.fault("POST", "drop_before", times=None)
            running = asyncio.create_task(cluster.runnable.run())
            await asyncio.sleep(100)
            before = asyncio.get_running_loop().time()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert before == asyncio.get_running_loop().time()

        assert story(tell).stored is None
