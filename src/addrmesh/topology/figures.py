"""
The numbers of an edge: derived from peak rate, p99, nodes and round trips, never chosen by hand.

Each field of `Figures` says its formula and where it comes from. "Drills" are fault injections at 300 requests a
second on two regions of two nodes, 30 ms apart, with a service of 4 to 8 ms; they found which plain values lose
requests. An operator may override a figure in the spec; `lint` then names the trap the value walks into.
"""

import math
from dataclasses import dataclass

from addrmesh.topology.spec import FleetSpec, Overrides, RegionSpec

SAFE_UTILISATION = 0.8
"""Share of its capacity a node may be driven to on purpose. Drill: a survivor at 95 % answers, but late."""

EARTH_RADIUS_KM = 6371.0
FIBRE_KM_PER_MS = 200.0
"""Light in fibre, two thirds of its speed in vacuum."""

PATH_FACTOR = 2.0
"""
How much longer the way through the network is than the great circle. Pings take about three times what light in vacuum
would need (Singla et al., "The Internet at the Speed of Light", HotNets 2014); fibre itself explains 1.5 of it.
"""


@dataclass(frozen=True)
class Figures:
    """The numbers of one region's edge. Times are in milliseconds."""

    tries: int
    """Nodes asked for one request at most: 4, or one more than there are regions. A retry goes to the next region."""

    per_try_ms: float
    """
    After this long a second node is asked too and the first answer wins: max(10 × p99, farthest round trip + 3 × p99).

    It must not cancel: with a cancelling one, every node 300 ms slower lost 100 % of the requests (drill). It must
    cover the farthest region too, else its healthy nodes count as failing.
    """

    connect_timeout_ms: float
    """max(250, 3 × farthest round trip): one for TCP, one for TLS 1.3, one to spare."""

    route_timeout_ms: float
    """After this long a request is given up: max(2000, tries × per_try + connect timeout)."""

    retry_budget_percent: float
    """Share of the running requests that may be retries: 50. Drill: 25 to 40 lost requests when a region hung; with none, hedging collapsed on a starved CPU."""  # noqa: E501

    min_retry_concurrency: int
    """
    Retries allowed whatever the share: 1.5 × peak × max(per_try, connect timeout), in seconds.

    When a region hangs, everything that arrives until then must be retried (drill: 20 to 50 lost requests, 120 did
    not). The peak is that of all regions: a surviving edge takes all users.
    """

    overprovisioning_percent: float
    """
    Traffic stays in a region while healthy nodes × this / nodes is 100 % or more: 100 × 0.8 × nodes × node_rps / peak,
    between 100 and 200.

    Survivors are then driven to `SAFE_UTILISATION` at most. Drill, at 68 % load: 140 drove the survivor of two to 95 %.
    """

    panic_percent: float
    """With fewer healthy nodes than this, probes are disbelieved: 30. Drill, all probes red: 0 failed 1,214 requests, 30 none."""  # noqa: E501

    probe_interval_ms: float
    """Time between two probes of a node, with and without traffic: 250. Envoy's default without traffic is a minute."""

    probe_timeout_ms: float
    """max(200, 3 × farthest round trip + p99): the first probe also connects."""

    probes_to_change: int
    """Equal probes in a row that change a node's state: 2. An answer other than 200 counts at once."""

    failures_to_eject: int
    """Failed or timed out requests in a row after which a node rests: 3."""

    ejection_ms: float
    """How long it rests the first time: 3000. All nodes may rest at once; `panic_percent` then serves anyway."""

    max_requests: int
    """Requests at once before the edge itself refuses: twice what all nodes hold, so that nodes refuse first; they know their queue."""  # noqa: E501

    node_concurrency: int
    """Requests a node may hold: the spec's capacity. nginx sends the overflow to the next region; under Envoy the node refuses and is retried there."""  # noqa: E501

    cancelling_read_timeout_ms: float
    """For nginx, which cannot hedge: max(1000, farthest round trip + 50 × p99), that is 5 × p99.9 when that is 10 × p99. A shorter one turns slowness into 502."""  # noqa: E501

    buffered_bytes: int = 1_114_112
    """Largest body kept for a retry: the node's limit of 1 MiB and 64 KiB, so that the node words the refusal."""


@dataclass(frozen=True)
class Warning:  # noqa: A001 - the operator's word for it
    """An override that is known to lose requests."""

    path: str
    found: float
    derived: float
    trap: str

    def __str__(self) -> str:
        return f"{self.path}: found {self.found:g}, derived {self.derived:g}; {self.trap}"


@dataclass(frozen=True)
class Finding:
    """A way in which the fleet does not carry its peak: `no-region-left`, `region-loss` or `node-loss`."""

    name: str
    detail: str


def round_trip_ms(spec: FleetSpec, one: RegionSpec, other: RegionSpec) -> float:
    """Return the round trip between two regions: the spec's, else estimated from the great circle."""
    if one.name == other.name:
        return 0.0
    for known in spec.round_trips:
        if set(known.between) == {one.name, other.name}:
            return known.ms
    return round(2 * great_circle_km(one, other) * PATH_FACTOR / FIBRE_KM_PER_MS, 1)


def great_circle_km(one: RegionSpec, other: RegionSpec) -> float:
    """Return the distance over ground (haversine formula)."""
    a, b = one.location, other.location
    north, east = math.radians(b.latitude - a.latitude), math.radians(b.longitude - a.longitude)
    inside = (
        math.sin(north / 2) ** 2
        + math.cos(math.radians(a.latitude)) * math.cos(math.radians(b.latitude)) * math.sin(east / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(inside)))


def derive(spec: FleetSpec, region: str) -> Figures:
    """Return the figures of a region's edge; what the spec overrides also changes what depends on it."""
    here, chosen, p99 = spec.region(region), spec.overrides, spec.capacity.p99_ms
    farthest = max(round_trip_ms(spec, here, other) for other in spec.regions)
    tries = max(4, len(spec.regions) + 1)
    per_try = chosen.per_try_ms or max(10 * p99, farthest + 3 * p99)
    connect = max(250.0, 3 * farthest)
    peak = sum(r.peak_rps for r in spec.regions)
    headroom = 100 * SAFE_UTILISATION * len(here.nodes) * spec.capacity.node_rps / here.peak_rps
    return Figures(
        tries=tries,
        per_try_ms=per_try,
        connect_timeout_ms=connect,
        route_timeout_ms=chosen.route_timeout_ms or max(2000.0, tries * per_try + connect),
        retry_budget_percent=chosen.retry_budget_percent or 50.0,
        min_retry_concurrency=chosen.min_retry_concurrency or math.ceil(1.5 * peak * max(per_try, connect) / 1000),
        overprovisioning_percent=chosen.overprovisioning_percent or float(math.floor(min(200, max(100, headroom)))),
        panic_percent=30.0 if chosen.panic_percent is None else chosen.panic_percent,
        probe_interval_ms=chosen.probe_interval_ms or 250.0,
        probe_timeout_ms=chosen.probe_timeout_ms or max(200.0, 3 * farthest + p99),
        probes_to_change=2,
        failures_to_eject=3,
        ejection_ms=3000.0,
        max_requests=2 * spec.capacity.node_concurrency * sum(len(r.nodes) for r in spec.regions),
        node_concurrency=spec.capacity.node_concurrency,
        cancelling_read_timeout_ms=max(1000.0, farthest + 50 * p99),
    )


def lint(spec: FleetSpec) -> list[Warning]:
    """Name the trap of every override that is known to lose requests, in the first region it concerns."""
    warnings = []
    for name, value in spec.overrides.model_dump(exclude_none=True).items():
        rest = Overrides(**spec.overrides.model_dump(exclude={name}))
        without = spec.model_copy(update={"overrides": rest})
        for region in spec.regions:
            derived = derive(without, region.name)
            if trap := _trap(name, value, spec, derived, region):
                warnings.append(Warning(f"overrides.{name}", value, getattr(derived, name), trap))
                break
    return warnings


def _trap(name: str, value: float, spec: FleetSpec, derived: Figures, region: RegionSpec) -> str | None:
    farthest = max(round_trip_ms(spec, region, other) for other in spec.regions)
    honest = farthest + spec.capacity.p99_ms
    utilisation = region.peak_rps / (len(region.nodes) * spec.capacity.node_rps)
    match name:
        case "per_try_ms" if value < honest:
            return f"a healthy node of the farthest region takes {honest:g} ms, so it would count as failing"
        case "per_try_ms" if value > 3 * derived.per_try_ms:
            return "a request held by a hung node waits this long before a second node is asked"
        case "route_timeout_ms" if value < 2 * derived.per_try_ms + farthest:
            return "there is no time for a second node, so a hung node loses requests"
        case "retry_budget_percent" if value < derived.retry_budget_percent:
            return "when a whole region hangs, everything must be retried; 25 to 40 lost requests in the drills"
        case "retry_budget_percent" if value > 80:  # next to no budget
            return "hedging with hardly a budget doubles the load of starved nodes until they collapse"
        case "min_retry_concurrency" if value < derived.min_retry_concurrency:
            return "when a whole region hangs, more requests than this must be retried at once"
        case "overprovisioning_percent" if value * utilisation > 100 * SAFE_UTILISATION:
            driven = value * utilisation
            return f"the nodes that remain in {region.name} would be driven to {driven:.0f} % of their capacity"
        case "panic_percent" if value < 1:
            return "the edge fails closed: when all probes are red and the nodes are fine, it refuses everything"
        case "panic_percent" if value > 50:  # half the nodes
            return "probes are disbelieved while half of the nodes are healthy, so dead nodes get traffic"
        case "probe_interval_ms" if value > 1000:  # a second
            return "a hung node keeps its traffic for two intervals and timeouts"
        case "probe_timeout_ms" if value < honest:
            return f"a healthy node of the farthest region takes {honest:g} ms, so all its probes would be red"
    return None
