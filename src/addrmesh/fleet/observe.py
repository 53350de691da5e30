"""
Questions to running things, from outside the request path.

Each answers within its timeout and never raises: what cannot be reached is a finding.
"""

import asyncio
import http.client
import json
import ssl
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import httpx
import msgspec
import redis

from addrmesh.fleet.processes import Sighting
from addrmesh.fleet.verdict import NodeSeen, Observation
from addrmesh.store.store import Store
from addrmesh.topology.spec import FleetSpec

TIMEOUT_S = 1.0
LOOK_AGAIN_S = 0.05
PREFIX = "observation/"
"""Of the records in which supervisors tell each other what they see."""
HEARTBEAT_S = 5.0
REMEMBERED = 5
"""Probes whose median is a node's latency: one slow answer is no news."""


class Vantage:
    """
    Probes every node of the fleet from one region.

    Args:
        region: Where it stands; the name of its observations.
        client: For the probes; its owner closes it.
    """

    def __init__(self, region: str, client: httpx.AsyncClient) -> None:
        self._region, self._client = region, client
        self._latencies: dict[str, deque[float]] = {}

    async def observe(self, spec: FleetSpec, releases: Mapping[str, str]) -> Observation:
        """Ask every node whether it serves the release its region should serve."""
        urls = {
            f"{region.name}/{node.name}": f"{spec.url(node)}/readyz{_wanted(releases.get(region.name))}"
            for region in spec.regions
            for node in region.nodes
        }
        found = await asyncio.gather(*(self._ask(node, url) for node, url in urls.items()))
        for gone in self._latencies.keys() - urls.keys():
            del self._latencies[gone]
        return Observation(self._region, time.time(), dict(zip(urls, found, strict=True)))

    async def _ask(self, node: str, url: str) -> NodeSeen:
        started = time.perf_counter()
        try:
            answer = await self._client.get(url, timeout=TIMEOUT_S)
        except httpx.HTTPError:
            return NodeSeen(ready=False)
        remembered = self._latencies.setdefault(node, deque(maxlen=REMEMBERED))
        remembered.append((time.perf_counter() - started) * 1000)
        return NodeSeen(answer.status_code == httpx.codes.OK, round(median(remembered), 2))


def _wanted(release: str | None) -> str:
    return f"?release={release}" if release else ""


async def observe_edge(spec: FleetSpec, region: str, client: httpx.AsyncClient) -> Observation | None:
    """Return which nodes the Envoy of a region believes healthy: a second vantage point there; None if it is silent."""
    edge = spec.region(region).edge
    name_by_host = {f"{r.name}.{node.name}": f"{r.name}/{node.name}" for r in spec.regions for node in r.nodes}
    try:
        answer = await client.get(f"http://127.0.0.1:{edge.admin_port}/clusters?format=json", timeout=TIMEOUT_S)
        clusters = answer.json()["cluster_statuses"]
    except (httpx.HTTPError, ValueError, KeyError):
        return None
    nodes = {
        name_by_host[host["hostname"]]: NodeSeen(not host["health_status"].get("failed_active_health_check", False))
        for cluster in clusters
        if cluster["name"] == "nodes"  # the other one is not probed
        for host in cluster.get("host_statuses", ())
        if host.get("hostname") in name_by_host
    }
    return Observation(f"{region} edge", time.time(), nodes) if nodes else None


async def wait_for_edges(spec: FleetSpec, within_s: float) -> None:
    """Return when every Envoy has found its own region's nodes healthy, or after `within_s` seconds."""
    wanted = {r.name: {f"{r.name}/{node.name}" for node in r.nodes} for r in spec.regions if r.edge.kind == "envoy"}
    deadline = time.monotonic() + within_s
    async with httpx.AsyncClient() as client:
        while wanted and time.monotonic() < deadline:
            for region in list(wanted):
                seen = await observe_edge(spec, region, client)
                if seen and all(seen.nodes[node].ready for node in wanted[region] & seen.nodes.keys()):
                    del wanted[region]
            if wanted:
                await asyncio.sleep(LOOK_AGAIN_S)


async def publish(store: Store, region: str, seen: list[Observation]) -> None:
    """
    Tell the other supervisors what is seen from a region.

    Raises:
        StoreUnavailable: It could not be written.
    """
    await store.put(PREFIX + region, msgspec.json.encode(seen))


async def observations(store: Store, *, besides: str | None = None) -> list[Observation]:
    """
    Return what supervisors last published, but those of the region `besides`.

    Raises:
        StoreUnavailable: No server can be reached.
    """
    records = [r for r in await store.scan(PREFIX) if besides is None or r.key != PREFIX + besides]
    return [o for r in records if r.value for o in msgspec.json.decode(r.value, type=list[Observation])]


def see_node(host: str, port: int, context: ssl.SSLContext | None) -> Sighting:
    """Ask a node for its health."""
    status, body = _get(host, port, "/health", context)
    if status is None:
        return Sighting(answers=False)
    try:
        release = json.loads(body).get("model_version")
    except (ValueError, AttributeError):
        release = None
    return Sighting(answers=True, ready=status == http.client.OK, release=release)


def see_http(host: str, port: int, path: str, context: ssl.SSLContext | None = None) -> Sighting:
    """Ask for a page whose status is the answer."""
    status, _ = _get(host, port, path, context)
    return Sighting(answers=status is not None, ready=status == http.client.OK)


def see_store(client: "redis.Redis") -> Sighting:
    """Ask a Redis whether it answers commands (it does not while it loads its data), and a replica how late it is."""
    try:
        replication = client.info("replication")
    except redis.BusyLoadingError:
        return Sighting(answers=True)
    except (redis.RedisError, OSError):
        return Sighting(answers=False)
    heard = replication.get("master_last_io_seconds_ago", -1)
    unheard = replication.get("master_link_down_since_seconds", -1)
    lag = max(heard, unheard)
    return Sighting(answers=True, ready=True, lag_seconds=float(lag) if lag >= 0 else None)


def see_supervisor(heartbeat: Path) -> Sighting:
    """Look how old a supervisor's last sign of life is."""
    try:
        is_fresh = time.time() - heartbeat.stat().st_mtime < HEARTBEAT_S
    except OSError:
        is_fresh = False
    return Sighting(answers=is_fresh, ready=is_fresh)


def _get(host: str, port: int, path: str, context: ssl.SSLContext | None) -> tuple[int | None, bytes]:
    connection = (
        http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
        if context
        else http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (TimeoutError, OSError, http.client.HTTPException):
        return None, b""
    finally:
        connection.close()
