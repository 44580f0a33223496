"""Every metric of the runtime, in one registry.

Names, labels and buckets are those of client-go and controller-runtime, so that their dashboards and alerts
serve. Numbers that are a matter of asking (a queue's depth, the age of a watch) are asked for at each scrape:
nothing runs at rest and nothing can drift. No label holds the name of an object, so the series are few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

__all__ = ["LiveGauge", "Metrics"]

_REST_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_QUEUE_BUCKETS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
_RECONCILE_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    *(1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0),
    *(15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0),
)


class LiveGauge(Collector):
    """A gauge with one label, whose values are asked for at each scrape.

    Each label value has at most one reader. A new reader takes the series over from an old one, so that what
    lives in terms (a work queue) needs no registration of its own and leaves no gap.
    """

    def __init__(self, name: str, documentation: str, label: str, *, registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._label = label
        self._readers: dict[str, Callable[[], float]] = {}
        registry.register(self)

    def __repr__(self) -> str:
        return f"<LiveGauge {self._name} of {', '.join(self._readers) or 'nothing'}>"

    def attach(self, value: str, read: Callable[[], float]) -> None:
        """Show what `read()` returns as the series of label value `value`, in place of any earlier reader."""
        self._readers[value] = read

    def detach(self, value: str, read: Callable[[], float]) -> None:
        """End the series, unless somebody else has taken it over by now."""
        if self._readers.get(value) == read:
            del self._readers[value]

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """What a registry checks for duplicates: the family, without asking anybody."""
        return [self._family()]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The family with a sample of each reader."""
        family = self._family()
        for value, read in tuple(self._readers.items()):
            family.add_metric([value], read())
        yield family

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(self._name, self._documentation, labels=[self._label])


class Metrics:
    """The metric families of one runtime.

    Hot paths look their labelled children up once (`family.labels(...)`) and keep them. A registry holds one
    Metrics: a second one on the same registry raises prometheus_client's DuplicateTimeseries.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self._rest_client()
        self._work_queue()
        self._controller()
        self._leader_election()
        self._reflector()
        self._events()

    def __repr__(self) -> str:
        return f"<Metrics in {self.registry!r}>"

    def _rest_client(self) -> None:
        self.rest_client_requests = self._counter(
            "rest_client_requests_total",
            "Requests to the API server by status code (<error> where there was no answer), method and host.",
            ("code", "method", "host"),
        )
        self.rest_client_request_duration = self._histogram(
            "rest_client_request_duration_seconds",
            "Seconds from sending a request to the API server to the end of its answer.",
            ("verb", "host"),
            _REST_BUCKETS,
        )

    def _work_queue(self) -> None:
        self.workqueue_depth = self._live(
            "workqueue_depth", "Keys that wait to be handed out, or will again once they are done.", "name"
        )
        self.workqueue_adds = self._counter(
            "workqueue_adds_total", "Keys that were added and weren't waiting already.", ("name",)
        )
        self.workqueue_queue_duration = self._histogram(
            "workqueue_queue_duration_seconds",
            "Seconds that a key waited from its first add until it was handed out.",
            ("name",),
            _QUEUE_BUCKETS,
        )
        self.workqueue_work_duration = self._histogram(
            "workqueue_work_duration_seconds",
            "Seconds from handing a key out until it was done.",
            ("name",),
            _QUEUE_BUCKETS,
        )
        self.workqueue_unfinished_work = self._live(
            "workqueue_unfinished_work_seconds",
            "Seconds of work in progress, all keys together, which work_duration hasn't seen yet.",
            "name",
        )
        self.workqueue_longest_running_processor = self._live(
            "workqueue_longest_running_processor_seconds",
            "Seconds since the key that has been in work for longest was handed out.",
            "name",
        )
        self.workqueue_retries = self._counter(
            "workqueue_retries_total",
            "Adds after a delay: retries, and keys to be looked at again.",
            ("name",),
        )

    def _controller(self) -> None:
        self.reconcile = self._counter(
            "controller_runtime_reconcile_total",
            "Finished reconciles by result: error, requeue_after, requeue, success.",
            ("controller", "result"),
        )
        self.reconcile_errors = self._counter(
            "controller_runtime_reconcile_errors_total", "Reconciles that raised an error.", ("controller",)
        )
        self.terminal_reconcile_errors = self._counter(
            "controller_runtime_terminal_reconcile_errors_total",
            "Reconciles that raised a TerminalError, which isn't retried.",
            ("controller",),
        )
        self.reconcile_panics = self._counter(
            "controller_runtime_reconcile_panics_total",
            "Reconciles that broke on a programming error, such as a TypeError or a KeyError.",
            ("controller",),
        )
        self.reconcile_timeouts = self._counter(
            "controller_runtime_reconcile_timeouts_total",
            "Reconciles that were cancelled since they took longer than the controller's timeout.",
            ("controller",),
        )
        self.reconcile_time = self._histogram(
            "controller_runtime_reconcile_time_seconds",
            "Seconds that a reconcile took.",
            ("controller",),
            _RECONCILE_BUCKETS,
        )
        self.max_concurrent_reconciles = self._gauge(
            "controller_runtime_max_concurrent_reconciles",
            "Reconciles that may run at the same time.",
            ("controller",),
        )
        self.active_workers = self._live(
            "controller_runtime_active_workers", "Reconciles that are running now.", "controller"
        )

    def _leader_election(self) -> None:
        self.leader_election_master_status = self._gauge(
            "leader_election_master_status",
            "1 while this process leads, else 0, by name of the lock.",
            ("name",),
        )
        self.leader_election_slowpath = self._counter(
            "leader_election_slowpath_total",
            "Renewals that had to read the lock first, since it had been changed by somebody else.",
            ("name",),
        )

    def _reflector(self) -> None:
        self.reflector_relists = self._counter(
            "reflector_relists_total",
            "Lists of a resource, by what made them necessary.",
            ("resource", "reason"),
        )
        self.reflector_last_activity = self._live(
            "reflector_last_activity_seconds",
            "Seconds since the last event or bookmark of the watch, or the end of the last list.",
            "resource",
        )
        self.reflector_ignored_events = self._counter(
            "reflector_ignored_events_total", "Events that were not taken, by reason.", ("resource", "reason")
        )

    def _events(self) -> None:
        self.events_dropped = self._counter(
            "events_dropped_total", "Kubernetes Events that were not sent, since there were too many.", ()
        )

    def _counter(self, name: str, documentation: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str, labels: tuple[str, ...]) -> Gauge:
        return Gauge(name, documentation, labels, registry=self.registry)

    def _live(self, name: str, documentation: str, label: str) -> LiveGauge:
        return LiveGauge(name, documentation, label, registry=self.registry)

    def _histogram(
        self, name: str, documentation: str, labels: tuple[str, ...], buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(name, documentation, labels, buckets=buckets, registry=self.registry)
