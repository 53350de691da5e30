"""One node: its engine, its pipeline and its state, from start to stop."""

import asyncio
import gc
import re
import time
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import structlog

from addrmesh.address import divisions, questions
from addrmesh.address.decision import DECISION_RULE
from addrmesh.address.verdict import DecisionRule, default_rule
from addrmesh.errors import AddrmeshError, ConfigError, ReleaseError
from addrmesh.inference.batcher import Batcher, Priority, Runs, TextBatcher
from addrmesh.inference.engine import Engine, load_aligner, load_engine
from addrmesh.inference.release import BUILTIN, Release, open_release
from addrmesh.node.access import Access
from addrmesh.node.asgi import CLOSE, HeaderPairs, Request, Responder
from addrmesh.node.cache import Cache
from addrmesh.node.corrections import Corrections
from addrmesh.node.follow import Follower, open_store
from addrmesh.node.ladder import Ladder
from addrmesh.node.lifecycle import Lifecycle, ProbeFailed, State, check_pair_probes, check_probes
from addrmesh.node.pipeline import PairBatcher, Pipeline
from addrmesh.node.wire import Mode, Service, revalidate_after
from addrmesh.settings import NodeSettings
from addrmesh.telemetry.log import failure
from addrmesh.telemetry.metrics import NodeMetrics
from addrmesh.topology.documents import LIMITS, Limits

_EDGE = re.compile(rb"[a-z0-9-]{1,32}").fullmatch
LoadEngine = Callable[[], Engine]

QUICK_WAIT_MS, SLOW_WAIT_MS = 20.0, 300.0
"""Longest wait where the settings name none. MGeo takes 10 ms of a core for an address, so 20 ms would be no queue."""


def load_from(path: Path | None, device: str = "auto") -> Engine:
    """Open the release in `path`, or the built-in one, and load its model. Takes a second; run it in a thread."""
    return load_engine(open_release(path or BUILTIN), device)


class Node:
    """
    What the endpoints talk to.

    Args:
        settings: Of this node.
        load: Makes the engine, in a thread; called again when the engine has failed.
    """

    def __init__(self, settings: NodeSettings, load: LoadEngine) -> None:
        self.settings = settings
        self.lifecycle = Lifecycle()
        self.metrics = NodeMetrics()
        self.responder = Responder(self.metrics, settings.limits.body_timeout_s)
        self.release: Release | None = None
        self.failed: Exception | None = None
        """What ended the start."""
        self.default_deadline_s = settings.batching.default_deadline_ms / 1000
        self._max_wait_ms = settings.batching.max_wait_ms
        self._rule = default_rule()
        self.store = open_store(settings)
        self.access: Access | None = None
        """Who may ask; None where everybody may."""
        self._load = load
        self._log = structlog.get_logger()
        self._batcher: TextBatcher | None = None
        self._scorer: PairBatcher | None = None
        self._ladder: Ladder | None = None
        self._pipeline: Pipeline | None = None
        self._following: asyncio.Task[None] | None = None
        self._service = self._identify()
        known = settings.store.last_known_good
        if settings.keys.required:
            if self.store is None:
                raise ConfigError("keys.required: is true, but keys are kept in a store, and store.primary is empty")
            self.access = Access(known / "keys.json" if known else None)
            self.access.quota.nodes = settings.keys.fleet_nodes
        self.corrections = Corrections(known / "corrections.json" if known else None)
        self.follower: Follower | None = None
        if self.store is not None:
            applied: dict[str, Callable[[Any], None]] = {LIMITS: self._limit, DECISION_RULE: self._judge_by}
            self.follower = Follower(self.store, settings.store, self.access, self.corrections, applied)
        self.metrics.node_ready.read = lambda: float(self.lifecycle.state is State.READY)
        self.metrics.node_degraded.read = lambda: float(self.degraded is not None)

    @property
    def degraded(self) -> str | None:
        """Why the built-in model answers in place of the node's own; None while it does not."""
        return self._ladder.why if self._ladder is not None else None

    def pipeline(self) -> Pipeline:
        """
        Return the pipeline, if the node takes requests.

        Raises:
            NotReady: It does not.
        """
        self.lifecycle.require_ready()
        if self._pipeline is None:
            raise AssertionError("a ready node has a pipeline; this is a bug")
        return self._pipeline

    def authorize(self, request: Request, scope: str) -> HeaderPairs:
        """
        Let a request in, and return what the reply should say of the caller's quota.

        Raises:
            Unauthenticated, Forbidden, RateLimited, NotReady: As `Access.authorize` says.
        """
        if self.access is None:
            return ()
        now = time.time()
        caller = self.access.authorize(request.headers.get(b"authorization"), scope, now)
        return self.access.quota.headers(caller, now)

    @property
    def scorer(self) -> str:
        """Who scores pairs: the match release, or the built-in scorer."""
        return self._scorer.engine.release.id if self._scorer is not None else questions.builtin_scorer()

    def service(
        self,
        request: Request,
        cached: bool,
        mode: Mode = "FULL",
        corrected: bool = False,
        tagged_by: str | None = None,
    ) -> Service:
        """Return who answered, how, and how long it took since the request arrived."""
        region, node, release, gazetteer = self._service
        release = tagged_by or release
        edge = request.headers.get(b"x-addrmesh-edge")
        took_by = edge.decode("latin-1") if edge is not None and _EDGE(edge) else None
        elapsed_ms = round((perf_counter() - request.arrived) * 1000, 3)
        failed_over = took_by is not None and took_by != region
        again = revalidate_after(mode)
        return Service(
            mode, region, node, release, gazetteer, cached, elapsed_ms, False, took_by, failed_over, corrected, again
        )

    async def start(self) -> None:
        """Load, warm up, check the probe set, and become ready. What goes wrong is kept in `failed`, and logged."""
        try:
            await self._start()
        except Exception as error:  # noqa: BLE001 - kept for whoever runs the node: `serve` raises it
            self.failed = error
            self.lifecycle.failure = str(error) if isinstance(error, ProbeFailed) else "the release cannot be loaded"
            detail = {"detail": str(error)} if isinstance(error, AddrmeshError) else failure(error)
            self._log.error("node.start_failed", **detail)

    async def _start(self) -> None:
        settings = self.settings
        engine = await asyncio.to_thread(self._load)
        release = engine.release
        batcher = self._batcher = self._queue(engine)
        if self.follower is not None:
            self.follower.restore()
            self._following = asyncio.create_task(self.follower.run())
        await _check(batcher)
        if settings.release.path is not None and release.id != (builtin := open_release(BUILTIN)).id:
            self._ladder = Ladder(
                self._queue(await asyncio.to_thread(load_engine, builtin)), self._restart, self.metrics
            )
            await _check(self._ladder.builtin)
        if settings.match.release is not None:
            await self._load_scorer(settings.match.release)
        limit = min(settings.limits.max_code_points, release.manifest.limits.max_code_points)
        cache = Cache(settings.cache.entries, release.id)
        pipeline = self._pipeline = Pipeline(
            batcher, cache, self.metrics, limit, self.corrections, self._ladder, self._rule, self._scorer
        )
        await asyncio.to_thread(questions.warm)
        self.metrics.queue_depth.read = lambda: pipeline.batcher.queue_depth
        self.metrics.queue_tokens.read = lambda: pipeline.batcher.queue_tokens
        self.metrics.cache_entries.read = lambda: len(cache)
        self.metrics.release_info.labels = {"release": release.id}
        self.metrics.release_info.read = lambda: 1.0
        self.release = release
        self._service = self._identify()
        # What is loaded now stays for ever: the collector need not look at it again (the gazetteer alone has 60,000
        # names, and a full collection stops every request under way).
        gc.collect()
        gc.freeze()
        if self.lifecycle.state is State.STARTING:  # it may have been told to stop meanwhile
            self.lifecycle.move_to(State.READY)
            self._log.info(
                "node.started", release=release.id, scorer=self.scorer, seconds=round(self.lifecycle.uptime_s, 3)
            )

    async def _load_scorer(self, path: Path) -> None:
        """Load a match release and check its probe set."""
        from addrmesh.address.match import LABELS  # late: numpy takes 0.1 s to import

        engine = await asyncio.to_thread(lambda: load_aligner(open_release(path)))
        scorer = self._scorer = PairBatcher(
            engine,
            max_batch_tokens=self.settings.batching.max_batch_tokens,
            max_wait_s=self._max_wait_s(engine),
            tokens=lambda pair: len(pair[0]) + len(pair[1]),
        )

        async def score(first: str, second: str) -> dict[str, float]:
            found = await scorer.predict((first, second), priority=Priority.BULK)
            return dict(zip(LABELS, found.chances, strict=True))

        await check_pair_probes(scorer.engine.release.pair_probes(), score)

    def _queue(self, engine: Engine) -> TextBatcher:
        return Batcher(
            engine,
            max_batch_tokens=self.settings.batching.max_batch_tokens,
            max_wait_s=self._max_wait_s(engine),
            on_batch=self.metrics.observe_batch,
        )

    def _max_wait_s(self, engine: Runs[Any, Any]) -> float:
        usual_ms = QUICK_WAIT_MS if engine.quick else SLOW_WAIT_MS
        return (usual_ms if self._max_wait_ms is None else self._max_wait_ms) / 1000

    async def _restart(self) -> TextBatcher:
        """Load the node's model again, in place of one that is closed."""
        engine = await asyncio.to_thread(self._load)
        if self.release is not None and engine.release.id != self.release.id:
            engine.close()
            raise ReleaseError(f"release.path now holds {engine.release.id}; restart the node to serve it")
        batcher = self._queue(engine)
        try:
            await _check(batcher)
        except BaseException:
            await batcher.close()
            raise
        self._batcher = batcher
        return batcher

    def drain(self) -> None:
        """Take no more work; what was accepted goes on. Replies now ask their connections to close."""
        if self.lifecycle.state in (State.STARTING, State.READY):
            self.lifecycle.move_to(State.DRAINING)
            self.responder.headers += CLOSE
            self._log.info("node.draining", in_flight=self.responder.in_flight)

    def _limit(self, limits: Limits) -> None:
        """Accept what the document `limits` says; what it leaves out is as the settings have it."""
        batching = self.settings.batching
        deadline_ms, wait_ms = limits.default_deadline_ms, limits.max_wait_ms
        self.default_deadline_s = (batching.default_deadline_ms if deadline_ms is None else deadline_ms) / 1000
        self._max_wait_ms = batching.max_wait_ms if wait_ms is None else wait_ms
        for batcher in self._batchers():
            batcher.max_wait_s = self._max_wait_s(batcher.engine)

    def _judge_by(self, rule: DecisionRule) -> None:
        """Judge what is asked from now on by the document `decision-rule`."""
        self._rule = rule
        if self._pipeline is not None:
            self._pipeline.rule = rule

    def _batchers(self) -> list[Batcher[Any, Any]]:
        builtin = self._ladder.builtin if self._ladder is not None else None
        return [one for one in (self._batcher, builtin, self._scorer) if one is not None]

    async def stop(self) -> None:
        """Drain within the time the settings give, then free the engine."""
        self.drain()
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self.store is not None:
            await self.store.close()
        if self._ladder is not None:
            await self._ladder.stop()
        try:
            async with asyncio.timeout(self.settings.server.drain_timeout_s):
                for batcher in self._batchers():
                    await batcher.drain()
        except TimeoutError:
            self._log.warning("node.drain_cut", queue_depth=sum(one.queue_depth for one in self._batchers()))
        for batcher in self._batchers():
            await batcher.close()
        if self.lifecycle.state is not State.STOPPED:
            self.lifecycle.move_to(State.STOPPED)
            self._log.info("node.stopped", uptime_s=round(self.lifecycle.uptime_s, 1))

    def _identify(self) -> tuple[str, str, str, str]:
        """Put who answers into the headers and in front of every reply."""
        server, release = self.settings.server, self.release
        headers: HeaderPairs = ((b"x-region", server.region.encode()), (b"x-node", server.name.encode()))
        if release is not None:
            headers += ((b"x-release", release.id.encode()),)
        if self.lifecycle.state not in (State.STARTING, State.READY):
            headers += CLOSE
        self.responder.headers = headers
        return server.region, server.name, release.id if release else "", divisions.version()


async def _check(batcher: TextBatcher) -> None:
    """Warm an engine up with its release's probe set, and check what it answers."""
    # As bulk work without a deadline: no probe is ever refused.
    await check_probes(batcher.engine.release.probes(), lambda text: batcher.predict(text, priority=Priority.BULK))
