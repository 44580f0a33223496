"""Puts Node IPAM together: the one place that the command line, the demo and the simulator share."""

from __future__ import annotations

import platform

from prometheus_client import Info

from nodeipam import __version__
from nodeipam.api.clustercidr import CLUSTER_CIDRS
from nodeipam.api.node import NODES, Node, NodeTransform
from nodeipam.runtime import (
    Client,
    Controller,
    Fence,
    HealthError,
    Lease,
    Manager,
    ManagerOptions,
    Request,
    Source,
)

from .defaults import DefaultClusterCIDR, default_cluster_cidr
from .ledger import Ledger
from .metrics import PREFIX, PoolCollector
from .nodes import NodeReconciler
from .oddities import Oddities
from .pools import PoolReconciler
from .poolset import PoolSet
from .reports import Reports
from .settings import Settings
from .takeover import EPOCH, TakeOver
from .waiting import Waiting

__all__ = ["build"]

NAME = "node-ipam-controller"


def build(settings: Settings, client: Client) -> Manager:
    """A manager that gives Nodes their ranges once it is run. Nothing starts here, and no request is made.

    Clock, random source and metrics are the client's.
    """
    options = ManagerOptions(name=NAME, election=settings.election, server=settings.bind_address)
    manager = Manager(client, options)
    transform = NodeTransform()
    nodes = manager.informer(NODES, transform=transform)
    cluster_cidrs = manager.informer(CLUSTER_CIDRS)

    ledger = Ledger(settings.service_ranges)
    pools = PoolSet(ledger)
    nodes.add_handler(ledger)
    cluster_cidrs.add_handler(pools)

    def lease() -> Lease:
        return manager.lease

    def look_at_node(request: Request) -> None:
        node_controller.enqueue(request)

    def look_at_pool(request: Request) -> None:
        pool_controller.enqueue(request)

    waiting = Waiting(pools, look_at_node, clock=client.clock)
    reports = Reports(manager.events)
    fence: Fence[Node] = Fence(
        client,
        nodes,
        annotation=EPOCH,
        exposed=lambda node: not node.pod_cidrs,
        processed=ledger.processed,
        parallel=settings.concurrent_node_syncs,
    )
    node_reconciler = NodeReconciler(
        client=client,
        nodes=nodes,
        ledger=ledger,
        pools=pools,
        waiting=waiting,
        reports=reports,
        oddities=Oddities(ledger=ledger, pools=pools, reports=reports),
        fence=fence,
        lease=lease,
        transform=transform,
    )
    node_controller = Controller(
        "nodes",
        node_reconciler,
        sources=[Source(nodes, predicate=node_reconciler.concerns)],
        workers=settings.concurrent_node_syncs,
    )
    pool_reconciler = PoolReconciler(
        client=client,
        informer=cluster_cidrs,
        nodes=nodes,
        ledger=ledger,
        pools=pools,
        reports=reports,
        lease=lease,
        enqueue=look_at_pool,
    )
    pool_controller = Controller("clustercidrs", pool_reconciler, sources=[cluster_cidrs], workers=4)
    ledger.on_freed(waiting.freed)
    ledger.on_freed(pool_reconciler.freed)
    pools.on_change(waiting.pool_changed)
    pools.on_change(pool_reconciler.pool_changed)

    manager.gate(
        TakeOver(
            client=client,
            nodes=nodes,
            cluster_cidrs=cluster_cidrs,
            ledger=ledger,
            pools=pools,
            waiting=waiting,
            fence=fence,
        )
    )
    manager.add(pool_controller)
    manager.add(node_controller)
    manager.add(waiting)
    manifest = default_cluster_cidr(settings)
    if manifest is not None:
        manager.add(DefaultClusterCIDR(client, lease, manifest))

    def check_fence() -> None:
        if manager.leading and fence.problem is not None:
            raise HealthError(f"Nodes that get no range: {fence.problem}")

    manager.readiness.add("fence", check_fence)
    registry = client.metrics.registry
    build_info = Info(f"{PREFIX}_build", "Which version this is, and of Python.", registry=registry)
    build_info.info({"version": __version__, "python": platform.python_version()})
    registry.register(
        PoolCollector(
            pools,
            ledger,
            waiting=waiting.by_cause,
            set_aside=lambda: len(fence.aside),
            leading=lambda: manager.leading,
        )
    )
    return manager
