"""
Every metric of a node is declared here; this file is the catalogue.

Counting happens on the event loop and nowhere else, so values are plain numbers without locks (an increment costs
0.1 us, a prometheus_client histogram ten times that); prometheus_client only renders them when somebody asks.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Up to twice the default deadline; 0.2 and 0.8 are the bounds of the latency objectives."""

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass
class Counter:
    """A number that only grows, by label values. The label values must come from a small closed set."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    values: dict[tuple[str, ...], int] = field(default_factory=dict)

    def inc(self, *labels: str, by: int = 1) -> None:
        """Add `by` to the series with these label values."""
        self.values[labels] = self.values.get(labels, 0) + by

    def family(self) -> Metric:
        """Return the current values in prometheus_client's form."""
        family = CounterMetricFamily(self.name.removesuffix("_total"), self.help, labels=self.labels)
        for labels, value in (self.values or ({} if self.labels else {(): 0})).items():
            family.add_metric(labels, value)
        return family


@dataclass
class Gauge:
    """A number read when somebody asks."""

    name: str
    help: str
    read: Callable[[], float] = lambda: 0.0
    labels: dict[str, str] = field(default_factory=dict)

    def family(self) -> Metric:
        """Return the current value in prometheus_client's form."""
        family = GaugeMetricFamily(self.name, self.help, labels=list(self.labels))
        family.add_metric(list(self.labels.values()), self.read())
        return family


@dataclass
class Histogram:
    """Observations counted by upper bound, by one label value."""

    name: str
    help: str
    bounds: tuple[float, ...]
    label: str
    series: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)

    def observe(self, label: str, value: float) -> None:
        """Count `value`, in the unit that the name ends with."""
        series = self.series.get(label)
        if series is None:
            series = self.series[label] = ([0] * (len(self.bounds) + 1), [0.0])
        series[0][bisect_left(self.bounds, value)] += 1
        series[1][0] += value

    def family(self) -> Metric:
        """Return the current values in prometheus_client's form."""
        family = HistogramMetricFamily(self.name, self.help, labels=[self.label] if self.label else [])
        for label, (counts, total) in self.series.items():
            buckets, running = [], 0
            for bound, amount in zip((*map(str, self.bounds), "+Inf"), counts, strict=True):
                running += amount
                buckets.append((bound, running))
            family.add_metric([label] if self.label else [], buckets, total[0])
        return family


@dataclass(eq=False)
class NodeMetrics(Collector):
    """The metrics of one node."""

    parse_requests: Counter = field(
        default_factory=lambda: Counter(
            "parse_requests_total",
            "Addresses asked for, by outcome: ok, builtin-model, rules-only or a problem code.",
            ("outcome",),
        )
    )
    http_requests: Counter = field(
        default_factory=lambda: Counter(
            "http_requests_total", "HTTP requests answered, by route and status.", ("route", "status")
        )
    )
    http_request_seconds: Histogram = field(
        default_factory=lambda: Histogram(
            "http_request_seconds", "From the last byte of the head to the reply, by route.", SECONDS, "route"
        )
    )
    parse_stage_seconds: Histogram = field(
        default_factory=lambda: Histogram(
            "parse_stage_seconds",
            "queue: longest wait in a batch; inference: one run of the engine.",
            SECONDS,
            "stage",
        )
    )
    batch_rows: Histogram = field(
        default_factory=lambda: Histogram("batch_rows", "Addresses in one run of the engine.", ROWS, "")
    )
    cache_hits: Counter = field(
        default_factory=lambda: Counter("cache_hits_total", "Addresses answered from the node's memory.")
    )
    cache_misses: Counter = field(
        default_factory=lambda: Counter("cache_misses_total", "Addresses not found in the node's memory.")
    )
    single_flight_joins: Counter = field(
        default_factory=lambda: Counter(
            "single_flight_joins_total", "Misses that joined an identical request already running."
        )
    )
    shed: Counter = field(
        default_factory=lambda: Counter("shed_total", "Requests refused to protect the others, by reason.", ("reason",))
    )
    queue_depth: Gauge = field(default_factory=lambda: Gauge("queue_depth", "Addresses waiting for the engine."))
    queue_tokens: Gauge = field(default_factory=lambda: Gauge("queue_tokens", "Code points waiting for the engine."))
    cache_entries: Gauge = field(default_factory=lambda: Gauge("cache_entries", "Answers in the node's memory."))
    node_ready: Gauge = field(default_factory=lambda: Gauge("node_ready", "1 when the node takes requests."))
    release_info: Gauge = field(
        default_factory=lambda: Gauge(
            "release_info", "1 for the release this node serves, 0 while it has none.", labels={"release": "none"}
        )
    )

    match_fallbacks: Counter = field(
        default_factory=lambda: Counter(
            "match_fallbacks_total",
            "Pairs that the built-in scorer took over from the match release, by problem code.",
            ("reason",),
        )
    )
    node_degraded: Gauge = field(
        default_factory=lambda: Gauge(
            "node_degraded", "1 while what is built in answers in place of a release of the node; /health says why."
        )
    )
    engine_restarts: Counter = field(
        default_factory=lambda: Counter(
            "engine_restarts_total", "Attempts to load a model again that was left: tagger or scorer.", ("engine",)
        )
    )

    def __post_init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def observe_batch(self, rows: int, seconds: float, waited: float) -> None:
        """Count one run of the engine; durations in seconds."""
        self.batch_rows.observe("", rows)
        self.parse_stage_seconds.observe("inference", seconds)
        self.parse_stage_seconds.observe("queue", max(waited, 0.0))

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, as prometheus_client asks."""
        for metric in vars(self).values():
            if isinstance(metric, Counter | Gauge | Histogram):
                yield metric.family()

    def exposition(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self._registry)
