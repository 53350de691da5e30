"""
One region's control loop: observe, judge, route, render. Off the request path, and not needed for serving: when it
dies, edges and nodes go on with what it wrote last.

    every node of the fleet ─▶ observation ─▶ store ─▶ other supervisors
    own edge's view ─────────┐
    others' observations ────┴▶ verdicts ──────────────┐
    configuration centre ─▶ fleet, traffic, release ───┴▶ routing ─▶ edge files, moved into place
                              └▶ last known good on disk

It also opens the region's primary to the other regions' replicas, after it has harvested them (`store/harvest.py`).
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import httpx
import msgspec
import structlog

from addrmesh.atomic_file import replace_file
from addrmesh.edge.check import check
from addrmesh.edge.install import install, is_installed
from addrmesh.edge.render import render
from addrmesh.errors import AddrmeshError, ConfigError
from addrmesh.fleet import journal, stores
from addrmesh.fleet.launch import context
from addrmesh.fleet.layout import FleetDirectory
from addrmesh.fleet.observe import Vantage, observations, observe_edge, publish
from addrmesh.fleet.verdict import FULL_WEIGHT, Observation, Verdict, judge
from addrmesh.store import keys
from addrmesh.store.connection import Connection
from addrmesh.store.documents import Document, Documents
from addrmesh.store.harvest import Outcome, open_for_replicas
from addrmesh.store.known_good import LastKnownGood
from addrmesh.store.store import Store, StoreUnavailable
from addrmesh.store.validators import VALIDATORS
from addrmesh.telemetry import log
from addrmesh.topology.documents import Releases
from addrmesh.topology.routing import Traffic, Verdicts, route, validate
from addrmesh.topology.spec import FleetSpec, dump, read

if TYPE_CHECKING:
    from addrmesh.store.redis import RedisStore

ROUND_S = 0.5
HARVEST_S = 1.0
STORE_S = 2.0
SWEEP_S = 3600.0
RETRY_S = 1.0
ENDPOINT_FILES = frozenset({"eds.json", "eds-own.json"})


class Heartbeat(msgspec.Struct, frozen=True):
    """What a supervisor leaves on disk after each round; its age tells whether the supervisor lives."""

    pid: int
    at: float
    """Wall-clock seconds."""
    weights: dict[str, int]
    dead_nodes: list[str]
    revisions: dict[str, str]
    """Of the configuration documents it applied."""


class Supervisor:
    """
    The control loop of one region.

    Args:
        spec: To begin with; a configuration document `fleet` that was put later takes its place.
        spec_since: When `spec` was written, in wall-clock seconds.
        region: Which region of it.
        directory: Of the fleet's files on this machine.
        client: For probes, with the supervisor's certificate where the fleet uses TLS.
    """

    def __init__(
        self, spec: FleetSpec, spec_since: float, region: str, directory: FleetDirectory, client: httpx.AsyncClient
    ) -> None:
        self._spec_since = spec_since
        self._spec, self._region, self._directory, self._client = spec, region, directory, client
        self._files = directory.region(region)
        self._vantage = Vantage(region, client)
        self._traffic, self._releases = Traffic(), Releases()
        self._revisions: dict[str, str] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._log = structlog.get_logger()
        self._known_good = LastKnownGood(self._files.last_known_good("supervisor"))
        self._store: RedisStore | None = None
        self._store_news: dict[str, bool] = {}

    async def run(self) -> NoReturn:
        """Run until cancelled."""
        for name in VALIDATORS:
            if document := self._known_good.load(name):
                self._apply(document)
        self._install()
        if self._spec.region(self._region).store:
            self._store = stores.open_store(self._spec, self._region)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._repeat(self._round, ROUND_S))
                if self._store is not None:
                    tasks.create_task(self._follow(Documents(self._store, VALIDATORS)))
                    tasks.create_task(self._repeat(self._open_primary, HARVEST_S))
                    tasks.create_task(self._repeat(self._look_after, STORE_S))
                    tasks.create_task(self._repeat(self._store.sweep, SWEEP_S))
        finally:
            if self._store is not None:
                await self._store.close()
        raise AssertionError("a supervisor's loops never end; this is a bug")

    async def _repeat(self, step: Callable[[], Awaitable[object]], period_s: float) -> NoReturn:
        """Repeat a step at its period. A store that is gone, or a file that cannot be written, is tried again."""
        failing = False
        while True:
            started = time.monotonic()
            try:
                await step()
                failing = False
            except (AddrmeshError, OSError) as error:
                if not failing:  # one line for each outage
                    self._log.warning("supervisor.step_failed", step=step.__name__, detail=str(error))
                failing = True
            await asyncio.sleep(max(0.0, period_s - (time.monotonic() - started)))

    async def _round(self) -> None:
        """Look at everything, tell the others, judge, and act on what has changed."""
        own = await self._vantage.observe(self._spec, self._releases.by_region)
        seen = [own]
        if edge := await observe_edge(self._spec, self._region, self._client):
            seen.append(edge)
        with suppress(StoreUnavailable):  # then the own edge is the second witness
            seen += await self._exchange(self._store, own, edge) if self._store else []
        before = self._verdicts
        nodes = list(own.nodes)
        self._verdicts = judge(before, seen, nodes=nodes, now=time.time())
        changed = [n for n in nodes if _decision(self._verdicts[n]) != _decision(before.get(n, Verdict()))]
        for node in changed:
            await self._report(node, before.get(node, Verdict()), self._verdicts[node], seen)
        if changed:
            self._install()
        self._beat()

    async def _exchange(self, store: Store, own: Observation, edge: Observation | None) -> list[Observation]:
        """Publish what is seen from here, and return what is seen from elsewhere."""
        await publish(store, self._region, [own, edge] if edge else [own])
        return await observations(store, besides=self._region)

    async def _report(self, node: str, before: Verdict, after: Verdict, seen: list[Observation]) -> None:
        """Log a decision with its inputs; the node's own region journals it, where that can be done."""
        inputs = {o.vantage: msgspec.json.encode(o.nodes[node]).decode() for o in seen if node in o.nodes}
        news = [f"weight {before.weight}→{after.weight}"] if after.weight != before.weight else []
        if after.is_alive != before.is_alive:
            news.append("is alive again" if after.is_alive else "is believed dead")
        what = f"{node} {', '.join(news)}"
        self._log.info("node.judged", node_judged=node, weight=after.weight, is_alive=after.is_alive, inputs=inputs)
        if self._store is not None and node.startswith(f"{self._region}/"):
            with suppress(StoreUnavailable):
                await journal.record(
                    self._store,
                    who=f"supervisor {self._region}",
                    what=what,
                    why="seen by " + ", ".join(inputs),
                    inputs=inputs,
                )

    async def _follow(self, documents: Documents) -> NoReturn:
        """Apply every configuration document that is put, and keep it as last known good."""
        while True:
            try:
                async with aclosing(documents.watch()) as changes:
                    async for document in changes:
                        self._take(document)
            except StoreUnavailable:
                await asyncio.sleep(RETRY_S)

    def _take(self, document: Document) -> None:
        try:
            self._apply(document)
            self._install()
        except (AddrmeshError, OSError) as error:
            self._log.warning("document.rejected", document=document.name, detail=str(error))
            return
        try:
            self._known_good.save(document)
        except ConfigError as error:
            self._log.warning("document.not_kept", document=document.name, detail=str(error))
        self._log.info("document.applied", document=document.name, revision=document.revision, author=document.author)

    def _apply(self, document: Document) -> None:
        content: Any = VALIDATORS[document.name](document.content)
        match document.name:
            case "fleet" if document.at.timestamp() > self._spec_since:
                spec = content.model_copy(update={"secret_file": self._spec.secret_file, "tls": self._spec.tls})
                spec.region(self._region)
                replace_file(self._directory.applied_file, dump(spec))
                self._spec = spec
            case "traffic":
                validate(self._spec, content)
                self._traffic = content
            case "release":
                self._releases = content
        self._revisions[document.name] = document.revision

    async def _open_primary(self) -> None:
        """Let the other regions replicate, once what they hold and the primary lost has been taken back."""
        store = self._spec.region(self._region).store
        if store is None:
            return
        at = stores.endpoint(self._spec, self._region, store.port, keys.SUPERVISOR_USER)
        primary, remotes = (
            Connection(f"the primary of {self._region}", at),
            stores.remote_replicas(self._spec, self._region),
        )
        try:
            report = await open_for_replicas(primary, remotes)
        finally:
            for connection in (primary, *remotes.values()):
                await connection.close()
        for region, done in report.by_region.items():
            if done.outcome is Outcome.OPENED:
                self._log.info("primary.opened", to=region, harvested=done.records, counter_cells=done.counter_cells)

    async def _look_after(self) -> None:
        """Log when a link between stores goes down or comes back, and when some region's clock is ahead."""
        if self._store is None:
            return
        status = await self._store.status()
        news = {origin.region: origin.link_up for origin in status.origins} | {"drifting": status.drifting}
        if news != self._store_news:
            is_well = all(o.link_up for o in status.origins) and not status.drifting
            say = self._log.info if is_well else self._log.warning
            lag = {origin.region: origin.lag_seconds for origin in status.origins}
            say("store.changed", links_up=news, lag_seconds=lag, drift_ms=status.drift_ms)
        self._store_news = news

    def _install(self) -> None:
        """
        Write the edge's files; those that have not changed are not touched.

        Raises:
            RenderRejected: The engine would not take them; what runs stays as it is.
        """
        weights = {node: v.weight for node, v in self._verdicts.items() if v.weight != FULL_WEIGHT}
        verdicts = _conclude(self._spec, weights, [n for n, v in self._verdicts.items() if not v.is_alive])
        table = route(self._spec, self._region, self._traffic, verdicts, self._releases.by_region)
        kind, files = table.listener.kind, render(table)
        # Weights and drains change one file of a form that is known to work; anything else is shown to the engine.
        if any(f.path not in ENDPOINT_FILES and not is_installed(f, self._files.edge) for f in files):
            check(kind, files)
        if not (changed := install(files, self._files.edge)):
            return
        self._log.info("edge.installed", files=changed)
        if kind == "nginx":  # it reads its file when told to
            with suppress(OSError, ValueError):
                os.kill(int((self._files.edge / "nginx.pid").read_text()), signal.SIGHUP)

    def _beat(self) -> None:
        beat = Heartbeat(
            pid=os.getpid(),
            at=time.time(),
            weights={node: verdict.weight for node, verdict in self._verdicts.items()},
            dead_nodes=[node for node, verdict in self._verdicts.items() if not verdict.is_alive],
            revisions=self._revisions,
        )
        replace_file(self._files.heartbeat, msgspec.json.encode(beat))


def last_verdicts(spec: FleetSpec, directory: FleetDirectory) -> Verdicts:
    """Return what the supervisors that run on this machine last concluded; nothing where none does."""
    beats = []
    for region in spec.regions:
        with suppress(OSError, msgspec.DecodeError):
            beats.append(msgspec.json.decode(directory.region(region.name).heartbeat.read_bytes(), type=Heartbeat))
    if not beats:
        return Verdicts()
    latest = max(beats, key=lambda beat: beat.at)
    weights = {node: weight for node, weight in latest.weights.items() if weight != FULL_WEIGHT}
    return _conclude(spec, weights, latest.dead_nodes)


def _conclude(spec: FleetSpec, weights: dict[str, int], dead_nodes: list[str]) -> Verdicts:
    dead_regions = (r.name for r in spec.regions if all(f"{r.name}/{n.name}" in dead_nodes for n in r.nodes))
    return Verdicts(weights, tuple(dead_nodes), tuple(dead_regions))


def _decision(verdict: Verdict) -> tuple[int, bool]:
    return verdict.weight, verdict.is_alive


def serve(spec_file: Path, region: str, directory: Path) -> None:
    """
    Run the supervisor of a region until SIGTERM or Ctrl-C.

    Raises:
        ConfigError: The spec has mistakes, or no such region.
    """
    spec = read(spec_file)
    spec.region(region)
    log.configure(region=region, node="supervisor")
    with suppress(asyncio.CancelledError):
        asyncio.run(_serve(spec, spec_file.stat().st_mtime, region, FleetDirectory(directory)))


async def _serve(spec: FleetSpec, spec_since: float, region: str, directory: FleetDirectory) -> None:
    tls = context(spec, region)
    async with httpx.AsyncClient(verify=tls or True, trust_env=False) as client:
        run = asyncio.ensure_future(Supervisor(spec, spec_since, region, directory, client).run())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, run.cancel)
        await run
