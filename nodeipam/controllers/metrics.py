"""The metrics of Node IPAM, computed when they are asked for, from the pools that exist and the index.

So a series lives and dies with its pool (D-26), and usage is never out of step with what Nodes hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from nodeipam.api.cidr import format_cidr
from nodeipam.ipam.pool import Pool
from nodeipam.ipam.prefix import Prefix

from .ledger import Ledger
from .poolset import PoolSet, RangeStats
from .waiting import Cause

__all__ = ["PREFIX", "PoolCollector"]

PREFIX = "node_ipam_controller"
_LABELS = ("clusterCIDR", "clusterCIDRName")
_TRIES = (1, 5, 25, 125, 625)
"""The reference's buckets."""


class PoolCollector(Collector):
    """Collects what Prometheus asks of pools, waiting Nodes and conflicts.

    Args:
        pools: the pools in force.
        ledger: what is in use.
        waiting: how many Nodes wait for a range, by cause.
        set_aside: how many Nodes the fence has set aside.
        leading: whether this replica leads: of what it alone can know, a standby says nothing, or 0.
    """

    def __init__(
        self,
        pools: PoolSet,
        ledger: Ledger,
        *,
        waiting: Callable[[], Mapping[Cause, int]],
        set_aside: Callable[[], int],
        leading: Callable[[], bool],
    ) -> None:
        self._pools = pools
        self._ledger = ledger
        self._waiting = waiting
        self._set_aside = set_aside
        self._leading = leading
        self._gauges = {
            "conflicting_nodes": (
                "Nodes whose ranges overlapped another's when they were seen.",
                self._conflicts,
            ),
            "reserved_nodes": ("Nodes with a reserved range that isn't seen on them yet.", self._reserved),
            "set_aside_nodes": ("Nodes that get no range, since they can't be fenced off.", self._aside),
        }

    def describe(self) -> Iterator[Metric]:
        """Name nothing in advance: the registry then doesn't have to collect to learn names."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """One family after the other, each range of each pool a series."""
        allocations = CounterMetricFamily(
            f"{PREFIX}_multicidrset_cidrs_allocations", "Blocks taken from this range.", labels=_LABELS
        )
        releases = CounterMetricFamily(
            f"{PREFIX}_multicidrset_cidrs_releases", "Blocks of this range given back.", labels=_LABELS
        )
        most = GaugeMetricFamily(
            f"{PREFIX}_multicidrset_max_cidrs", "Blocks that this range has in all.", labels=_LABELS
        )
        free = GaugeMetricFamily(
            f"{PREFIX}_multicidrset_free_cidrs",
            "Blocks that this range can still give out; an upper bound where it is badly broken up.",
            labels=_LABELS,
        )
        usage = GaugeMetricFamily(
            f"{PREFIX}_multicidrset_usage_cidrs",
            "Share of this range's addresses that are in use, by whomever, from 0 to 1.",
            labels=_LABELS,
        )
        tries = HistogramMetricFamily(
            f"{PREFIX}_multicidrset_allocation_tries_per_request",
            "How far the search for a block went: 1 the next was free, 2 some were skipped, 3 it went round.",
            labels=_LABELS,
        )
        for pool, inside, stats in self._ranges():
            labels = (format_cidr(inside), pool.name)
            allocations.add_metric(labels, stats.allocations)
            releases.add_metric(labels, stats.releases)
            most.add_metric(labels, inside.blocks(inside.bits - pool.host_bits))
            index = self._ledger.indexes[inside.family]
            free.add_metric(labels, index.vacant(inside, inside.bits - pool.host_bits))
            usage.add_metric(labels, index.used(inside) / inside.size)
            tries.add_metric(labels, _buckets(stats), sum(n * count for n, count in enumerate(stats.tries)))
        yield from (allocations, releases, most, free, usage, tries, self._waiting_nodes(), self._states())
        for name, (text, read) in self._gauges.items():
            yield GaugeMetricFamily(f"{PREFIX}_{name}", text, value=read())

    def _waiting_nodes(self) -> Metric:
        family = GaugeMetricFamily(
            f"{PREFIX}_waiting_nodes", "Nodes that wait for a range, by cause.", labels=["cause"]
        )
        leading = self._leading()
        for cause, count in self._waiting().items():
            family.add_metric([cause], count if leading else 0)
        return family

    def _states(self) -> Metric:
        family = GaugeMetricFamily(
            f"{PREFIX}_cluster_cidr_state",
            "1 for the state that a ClusterCIDR is in.",
            labels=["clusterCIDRName", "state"],
        )
        for entry in self._pools if self._leading() else ():
            family.add_metric([entry.obj.metadata.name, entry.state], 1)
        return family

    def _ranges(self) -> Iterator[tuple[Pool, Prefix, RangeStats]]:
        for entry in self._pools:
            if entry.pool is not None:
                for inside in entry.pool.ranges:
                    yield entry.pool, inside, entry.stats[inside.family]

    def _conflicts(self) -> int:
        return self._ledger.conflicted

    def _aside(self) -> int:
        return self._set_aside() if self._leading() else 0

    def _reserved(self) -> int:
        return sum(1 for _ in self._ledger.reservations())


def _buckets(stats: RangeStats) -> list[tuple[str, float]]:
    counts = [(str(float(bound)), sum(stats.tries[: bound + 1])) for bound in _TRIES]
    return [*counts, ("+Inf", sum(stats.tries))]
