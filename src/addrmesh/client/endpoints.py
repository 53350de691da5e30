"""
Whom to ask: the nearest endpoint that works; and how long to wait for it before another is asked too.

Near is measured by probes of `/livez`, not by calls: they cost the same everywhere, so a busy region does not look
far and an idle one not near. Working is judged by what became of calls. An endpoint that does not work is ejected
and comes back when a probe of `/readyz` succeeds; probes are sent in the background while calls are made. If no
endpoint works all are used, and a call that waits for its only working endpoint may race one that is ejected: the
judgement may be wrong, and nothing is lost by trying.

Nothing here waits or sends; times are monotonic seconds.
"""

from collections import deque
from dataclasses import dataclass, field
from math import inf

PROBE_EVERY_S = 5.0
RTT_WEIGHT = 0.3
"""Of the newest measurement in the moving average: three or four probes are believed, one is not."""
NEARER_BY_S = 0.005
"""Endpoints closer together than this are equally near, and the one in use is kept: its caches are warm."""

EJECT_AFTER_FAILURES = 5
ERROR_WINDOW_S = 10.0
ERROR_WINDOW_LEAST = 10
EJECT_S = 1.0
EJECT_MOST_S = 30.0
"""Ejection doubles for an endpoint that is ejected again within this time of coming back."""

CONNECT_UNKNOWN_S = 1.0
"""Until the distance is known: the other side of the world, with TLS."""

HEDGE_LEAST_S = 0.04
HEDGE_UNKNOWN_S = 0.12
"""Before there are enough latencies to know a 95th percentile."""
HEDGE_SAMPLES = 20


@dataclass(eq=False)
class Endpoint:
    """What is known of one endpoint."""

    url: str
    rtt_s: float | None = None
    ejected: bool = False
    probe_at: float = 0.0
    _latencies: deque[float] = field(default_factory=lambda: deque(maxlen=100))
    _failures: int = 0
    _recent: deque[tuple[float, bool]] = field(default_factory=deque)
    _recent_failures: int = 0
    _eject_s: float = EJECT_S
    _back_at: float = -inf

    def hedge_delay_s(self, left_s: float) -> float:
        """Return after how long a call with `left_s` to go is worth racing on another endpoint."""
        if len(self._latencies) < HEDGE_SAMPLES:
            p95 = HEDGE_UNKNOWN_S
        else:
            p95 = sorted(self._latencies)[int(len(self._latencies) * 0.95)]
        return min(max(p95, HEDGE_LEAST_S), left_s / 2)  # later, the other one could not finish

    def connect_timeout_s(self, least_s: float) -> float:
        """Return how long a connection may take: three round trips, but never less than `least_s`."""
        return max(least_s, CONNECT_UNKNOWN_S if self.rtt_s is None else 3 * self.rtt_s)

    def answered(self, now: float, latency_s: float | None = None) -> None:
        """Note a call that the endpoint answered; `latency_s` if it is one to compare others with."""
        self._failures = 0
        self._note(now, failed=False)
        if latency_s is not None:
            self._latencies.append(latency_s)

    def failed(self, now: float) -> None:
        """Note a call that the endpoint let down, and eject it if that was one too many."""
        if self.ejected:
            return
        self._failures += 1
        self._note(now, failed=True)
        mostly_failing = len(self._recent) >= ERROR_WINDOW_LEAST and self._recent_failures * 2 > len(self._recent)
        if self._failures >= EJECT_AFTER_FAILURES or mostly_failing:
            self.eject(now)

    def eject(self, now: float) -> None:
        """Stop choosing the endpoint until a probe succeeds."""
        if self.ejected:
            return
        again = now - self._back_at < EJECT_MOST_S
        self._eject_s = min(self._eject_s * 2, EJECT_MOST_S) if again else EJECT_S
        self.ejected, self.probe_at = True, now + self._eject_s

    def probed(self, path: str, rtt_s: float | None, now: float) -> None:
        """Note what a probe found; `rtt_s` is None when it failed."""
        if rtt_s is not None:
            self.rtt_s = rtt_s if self.rtt_s is None else self.rtt_s + RTT_WEIGHT * (rtt_s - self.rtt_s)
        if self.ejected and path != "/readyz":  # sent before the ejection, which has planned the next one
            return
        self.probe_at = now + (PROBE_EVERY_S if rtt_s is not None or not self.ejected else EJECT_S)
        if rtt_s is None:
            self.failed(now)
        elif self.ejected:
            self.ejected, self._back_at = False, now
            self._failures = self._recent_failures = 0
            self._recent.clear()

    def _note(self, now: float, *, failed: bool) -> None:
        self._recent.append((now, failed))
        self._recent_failures += failed
        while self._recent[0][0] <= now - ERROR_WINDOW_S:
            self._recent_failures -= self._recent.popleft()[1]


class Fleet:
    """All endpoints, in the caller's order."""

    def __init__(self, endpoints: list[Endpoint]) -> None:
        self.endpoints = endpoints
        self._in_use = endpoints[0]

    def ranked(self) -> list[Endpoint]:
        """Return the endpoints, best first; those that are ejected come last, for when nobody else is left."""
        usable = [endpoint for endpoint in self.endpoints if not endpoint.ejected] or list(self.endpoints)
        if all(endpoint.rtt_s is not None for endpoint in usable):  # until then the caller's order is the best guess
            usable.sort(key=_distance)
            if self._in_use in usable and _distance(self._in_use) <= _distance(usable[0]) + NEARER_BY_S:
                usable.remove(self._in_use)
                usable.insert(0, self._in_use)
        self._in_use = usable[0]
        return usable + sorted((endpoint for endpoint in self.endpoints if endpoint not in usable), key=_distance)

    def due_probes(self, now: float) -> list[tuple[Endpoint, str]]:
        """Return what should be probed now, and on which path; each is due once until `probed` is told."""
        due = [endpoint for endpoint in self.endpoints if endpoint.probe_at <= now]
        for endpoint in due:
            endpoint.probe_at = inf
        return [(endpoint, "/readyz" if endpoint.ejected else "/livez") for endpoint in due]


def _distance(endpoint: Endpoint) -> float:
    return inf if endpoint.rtt_s is None else endpoint.rtt_s
