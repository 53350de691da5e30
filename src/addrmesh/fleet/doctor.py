"""
What is between here and every part of the fleet, hop by hop, and what does not fit together.

Measured from the machine it runs on: name resolution, TCP, TLS, and then each service's own answer, so that a slow
total can be blamed on one part. Between regions the supervisors measure all the time, and their last observations are
read from the store. Findings compare regions with each other, and say what to do.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import httpx

from addrmesh.errors import AddrmeshError
from addrmesh.fleet import stores
from addrmesh.fleet.launch import context
from addrmesh.fleet.observe import observations
from addrmesh.store import keys
from addrmesh.store.connection import Connection
from addrmesh.store.documents import Documents
from addrmesh.store.records import DRIFT_ALARM_MS
from addrmesh.store.store import StoreUnavailable
from addrmesh.store.validators import VALIDATORS
from addrmesh.topology.documents import RELEASE, releases
from addrmesh.topology.spec import FleetSpec, RegionSpec

SAMPLES = 5
TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Hop:
    """One question to one part of a region; milliseconds, or what went wrong."""

    region: str
    target: str
    step: str
    ms: float | None
    problem: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Ailment:
    """Something that does not fit, and what to do about it."""

    name: str
    detail: str
    advice: str

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


@dataclass
class Diagnosis:
    """Everything `examine` found."""

    hops: list[Hop] = field(default_factory=list)
    findings: list[Ailment] = field(default_factory=list)


_SERVED = {
    "release": "install one release on every node",
    "scorer": "give every node the same match release (match.release)",
    "gazetteer": "install one version of addrmesh on every node",
}
"""What every node should answer with alike, and what to do where they do not."""


class _Served(NamedTuple):
    """What a node answers with; every node should say the same."""

    release: str | None
    scorer: str | None
    gazetteer: str | None


@dataclass(frozen=True)
class _Seen:
    """What is compared between regions."""

    nodes: dict[str, _Served]
    """Of those that answered."""
    clock_ms: float | None
    """How far the store's clock is ahead of ours."""
    revisions: dict[str, str] | None
    """Of the configuration documents, as this region's store has them; None when it cannot be asked."""
    wanted: str | None
    """The release the region is told to serve, as its store has it."""


async def examine(spec: FleetSpec) -> Diagnosis:
    """Measure and compare; whatever cannot be reached becomes a finding."""
    found = Diagnosis()
    tls = context(spec, spec.regions[0].name)
    async with httpx.AsyncClient(verify=tls or True, trust_env=False, timeout=TIMEOUT_S) as client:
        seen = await asyncio.gather(*(_region(spec, region, client, tls, found.hops) for region in spec.regions))
    found.hops += await _between_regions(spec)
    found.hops.sort(key=lambda hop: [r.name for r in spec.regions].index(hop.region))  # stable: steps keep their order
    found.findings += _compare(spec, found.hops, {r.name: s for r, s in zip(spec.regions, seen, strict=True)})
    return found


async def _region(
    spec: FleetSpec, region: RegionSpec, client: httpx.AsyncClient, tls: ssl.SSLContext | None, hops: list[Hop]
) -> _Seen:
    async def timed(target: str, step: str, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Ask several times, note the median, return the last answer."""
        taken, answer = [], None
        for _ in range(SAMPLES):
            started = time.perf_counter()
            try:
                answer = await ask()
            except (OSError, httpx.HTTPError, AddrmeshError, TimeoutError) as error:
                words = str(error) or type(error).__name__
                hops.append(Hop(region.name, target, step, None, words))
                return None
            taken.append((time.perf_counter() - started) * 1000)
        hops.append(Hop(region.name, target, step, round(median(taken), 2)))
        return answer

    edge = region.edge
    loop = asyncio.get_running_loop()
    await timed("edge", "resolve", lambda: loop.getaddrinfo(edge.host, edge.port, type=socket.SOCK_STREAM))
    await timed("edge", "connect", lambda: _connect(edge.host, edge.port, None))
    if tls:
        await timed("edge", "tls", lambda: _connect(edge.host, edge.port, tls))
    await timed("edge", "answer", lambda: _get(client, f"{spec.url(edge)}/livez"))
    found: dict[str, _Served] = {}
    for node in region.nodes:
        health = await timed(node.name, "answer", partial(_get, client, f"{spec.url(node)}/health"))
        if health:
            said = map(health.json().get, ("release", "scorer", "gazetteer_version"))
            found[f"{region.name}/{node.name}"] = _Served(*said)
    if region.store is None:
        return _Seen(found, None, None, None)
    connection = Connection(
        f"the primary of {region.name}",
        stores.endpoint(spec, region.name, region.store.port, keys.SUPERVISOR_USER),
    )
    store = stores.open_store(spec, region.name)
    try:
        clock_ms = await timed("store", "answer", lambda: _clock_ms(connection))
        if clock_ms is None:
            return _Seen(found, None, None, None)
        documents = Documents(store, VALIDATORS)
        heads = {name: d for name in await documents.names() if (d := await documents.get(name))}
        told = releases(heads[RELEASE].content).by_region.get(region.name) if RELEASE in heads else None
        return _Seen(found, clock_ms, {name: d.revision for name, d in heads.items()}, told)
    except AddrmeshError as error:
        hops.append(Hop(region.name, "store", "documents", None, str(error)))
        return _Seen(found, None, None, None)
    finally:
        await store.close()
        await connection.close()


async def _between_regions(spec: FleetSpec) -> list[Hop]:
    """Return what each supervisor last measured of the other regions' nodes, from the first store that answers."""
    for region in spec.regions:
        if region.store is None:
            continue
        store = stores.open_store(spec, region.name)
        try:
            seen = await observations(store)
        except StoreUnavailable:
            continue
        finally:
            await store.close()
        return [
            Hop(to, name, f"seen from {o.vantage}", known.latency_ms, None if known.ready else "not ready")
            for o in seen
            for node, known in o.nodes.items()
            for to, _, name in [node.partition("/")]
            if known.latency_ms is not None and to != o.vantage
        ]
    return []


async def _connect(host: str, port: int, tls: ssl.SSLContext | None) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        _, writer = await asyncio.open_connection(host, port, ssl=tls, server_hostname=host if tls else None)
    writer.close()
    await writer.wait_closed()


async def _get(client: httpx.AsyncClient, url: str) -> httpx.Response:
    answer = await client.get(url)
    answer.raise_for_status()
    return answer


async def _clock_ms(connection: Connection) -> float:
    """Return how far a store's clock is ahead of ours, in milliseconds, half the round trip taken off."""
    before = time.time()
    with connection.translated():
        seconds, microseconds = await connection.redis.time()
    after = time.time()
    ahead_s: float = seconds + microseconds / 1e6 - (before + after) / 2
    return ahead_s * 1000


def _compare(spec: FleetSpec, hops: list[Hop], seen: dict[str, _Seen]) -> Iterator[Ailment]:
    for hop in hops:
        if hop.problem:
            yield Ailment(
                "unreachable",
                f"{hop.region}/{hop.target}, {hop.step}: {hop.problem}",
                "see `addrmesh status` on that machine and the process's log; users are served by the others",
            )
    for what, remedy in _SERVED.items():
        served = {node: id_ for of in seen.values() for node, one in of.nodes.items() if (id_ := getattr(one, what))}
        if len(set(served.values())) > 1:
            told = ", ".join(f"{node} serves {id_}" for node, id_ in served.items())
            yield Ailment(f"mixed-{what}s", told, f"during a rollout this is expected; else {remedy}")
    for name, of in seen.items():
        for node, one in of.nodes.items():
            if of.wanted and one.release and one.release != of.wanted:
                yield Ailment(
                    "wrong-release",
                    f"{node} serves {one.release}, {name} is told to serve {of.wanted}",
                    "the edges keep it out; install the release there, or change the document `release`",
                )
        if of.clock_ms is not None and abs(of.clock_ms) > DRIFT_ALARM_MS:
            yield Ailment(
                "clock",
                f"the store of {name} is {of.clock_ms:.0f} ms off this machine's clock",
                "synchronise the clocks (chrony, ntpd); a clock that is ahead wins conflicts it should lose",
            )
    revisions = {name: of.revisions for name, of in seen.items() if of.revisions is not None}
    for document in sorted({document for of in revisions.values() for document in of}):
        by_region = {name: of.get(document) for name, of in revisions.items()}
        if len(set(by_region.values())) > 1:
            told = ", ".join(f"{name} has {revision or 'none'}" for name, revision in by_region.items())
            yield Ailment(
                "configuration",
                f"document {document}: {told}",
                "wait a second and ask again; if it stays, see `addrmesh store status` for a link that is down",
            )
    yield from _slow(spec, hops)


def _slow(spec: FleetSpec, hops: list[Hop]) -> Iterator[Ailment]:
    for hop in hops:
        if hop.step == "connect" and hop.ms is not None and hop.ms > spec.slo.p99_ms:
            yield Ailment(
                "far",
                f"{hop.region}'s edge is {hop.ms:.0f} ms away, the promise is {spec.slo.p99_ms:g} ms",
                "users here should be sent to a nearer region; see `addrmesh fleet explain`",
            )


def as_text(found: Diagnosis) -> str:
    """Return the diagnosis for people."""
    rows = [("region", "target", "step", "ms")] + [
        (hop.region, hop.target, hop.step, f"{hop.ms:.2f}" if hop.ms is not None else "-") for hop in found.hops
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join(f"{c:{w}}" for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.append("")
    for finding in found.findings:
        lines += [f"{finding.name}: {finding.detail}", f"    {finding.advice}"]
    return "\n".join(lines if found.findings else [*lines, "everything fits together"]) + "\n"
