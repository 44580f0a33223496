from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.metrics import MetricWrapperBase

from nodeipam.runtime.metrics import LiveGauge, Metrics

FAMILIES = {
    "rest_client_requests": ("counter", ("code", "method", "host")),
    "rest_client_request_duration_seconds": ("histogram", ("verb", "host")),
    "workqueue_depth": ("gauge", ("name",)),
    "workqueue_adds": ("counter", ("name",)),
    "workqueue_queue_duration_seconds": ("histogram", ("name",)),
    "workqueue_work_duration_seconds": ("histogram", ("name",)),
    "workqueue_unfinished_work_seconds": ("gauge", ("name",)),
    "workqueue_longest_running_processor_seconds": ("gauge", ("name",)),
    "workqueue_retries": ("counter", ("name",)),
    "controller_runtime_reconcile": ("counter", ("controller", "result")),
    "controller_runtime_reconcile_errors": ("counter", ("controller",)),
    "controller_runtime_terminal_reconcile_errors": ("counter", ("controller",)),
    "controller_runtime_reconcile_panics": ("counter", ("controller",)),
    "controller_runtime_reconcile_timeouts": ("counter", ("controller",)),
    "controller_runtime_reconcile_time_seconds": ("histogram", ("controller",)),
    "controller_runtime_max_concurrent_reconciles": ("gauge", ("controller",)),
    "controller_runtime_active_workers": ("gauge", ("controller",)),
    "leader_election_master_status": ("gauge", ("name",)),
    "leader_election_slowpath": ("counter", ("name",)),
    "reflector_relists": ("counter", ("resource", "reason")),
    "reflector_last_activity_seconds": ("gauge", ("resource",)),
    "reflector_ignored_events": ("counter", ("resource", "reason")),
    "events_dropped": ("counter", ()),
}
"""What is exposed: family (a counter's samples have `_total` behind it), kind, labels."""


def _families(registry: CollectorRegistry) -> dict[str, Metric]:
    return {family.name: family for family in registry.collect()}


class TestMetrics:
    def test_families(self) -> None:
        """The families and their kinds are those that dashboards for Go controllers look for."""
        expected = {name: kind for name, (kind, _) in FAMILIES.items()}

        assert expected == {name: family.type for name, family in _families(Metrics().registry).items()}

    def test_labels(self) -> None:
        """Each family has the labels of its Go counterpart, in the registry it is given."""
        registry = CollectorRegistry()
        for family in vars(Metrics(registry)).values():
            if isinstance(family, LiveGauge):
                family.attach("x", lambda: 1.0)
            elif isinstance(family, MetricWrapperBase):
                labels = FAMILIES[next(iter(family.describe())).name][1]
                if labels:
                    family.labels(**dict.fromkeys(labels, "x"))

        found = {
            name: {key for sample in family.samples for key in sample.labels} - {"le"}
            for name, family in _families(registry).items()
        }
        assert {name: set(labels) for name, (_, labels) in FAMILIES.items()} == found

    @pytest.mark.parametrize(
        "family, label, first, last, count",
        [
            ("workqueue_queue_duration_seconds", {"name": "x"}, "1e-08", "1000.0", 12),
            ("workqueue_work_duration_seconds", {"name": "x"}, "1e-08", "1000.0", 12),
            ("controller_runtime_reconcile_time_seconds", {"controller": "x"}, "0.005", "60.0", 40),
            ("rest_client_request_duration_seconds", {"verb": "GET", "host": "x"}, "0.005", "60.0", 12),
        ],
    )
    def test_buckets(self, family: str, label: dict[str, str], first: str, last: str, count: int) -> None:
        """Histograms have the buckets of their Go counterparts."""
        metrics = Metrics()
        metrics.workqueue_queue_duration.labels("x")
        metrics.workqueue_work_duration.labels("x")
        metrics.reconcile_time.labels("x")
        metrics.rest_client_request_duration.labels("GET", "x")

        bounds = [
            sample.labels["le"]
            for sample in _families(metrics.registry)[family].samples
            if sample.name.endswith("_bucket") and label.items() <= sample.labels.items()
        ]
        assert (first, last, "+Inf", count + 1) == (bounds[0], bounds[-2], bounds[-1], len(bounds))

    def test_registries_are_apart(self) -> None:
        """Two runtimes in one process count on their own, unless they are given one registry."""
        one, other = Metrics(), Metrics()
        one.events_dropped.inc()

        assert 1.0 == one.registry.get_sample_value("events_dropped_total")
        assert 0.0 == other.registry.get_sample_value("events_dropped_total")

    def test_one_in_a_registry(self) -> None:
        """A second set of the same families in one registry is refused rather than mixed up."""
        registry = CollectorRegistry()
        Metrics(registry)

        with pytest.raises(ValueError, match="Duplicated timeseries"):
            Metrics(registry)


class TestLiveGauge:
    def _make(self) -> tuple[CollectorRegistry, LiveGauge]:
        registry = CollectorRegistry()
        return registry, LiveGauge("depth", "How deep.", "name", registry=registry)

    def test_asks_at_each_scrape(self) -> None:
        """The value is the reader's at the time of the scrape, not at the time it was attached."""
        registry, gauge = self._make()
        values = iter((1.0, 2.0))
        gauge.attach("q", lambda: next(values))

        assert [1.0, 2.0] == [registry.get_sample_value("depth", {"name": "q"}) for _ in range(2)]

    def test_takes_over(self) -> None:
        """A new reader takes the series over, and the old one's late farewell doesn't end it."""
        registry, gauge = self._make()

        def old() -> float:
            return 1.0

        gauge.attach("q", old)
        gauge.attach("q", lambda: 2.0)
        gauge.detach("q", old)

        assert 2.0 == registry.get_sample_value("depth", {"name": "q"})

    def test_series_ends(self) -> None:
        """Without a reader there is no series, while the family stays."""
        registry, gauge = self._make()

        def read() -> float:
            return 1.0

        gauge.attach("q", read)
        gauge.detach("q", read)

        assert registry.get_sample_value("depth", {"name": "q"}) is None
        assert b"# TYPE depth gauge" in generate_latest(registry)

    def test_repr(self) -> None:
        """A person sees which series there are."""
        _, gauge = self._make()
        assert "<LiveGauge depth of nothing>" == repr(gauge)
        gauge.attach("nodes", lambda: 1.0)
        assert "<LiveGauge depth of nodes>" == repr(gauge)
