"""One node: its engine, its pipeline and its state, from start to stop."""

import asyncio
import gc
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import structlog

from addrmesh.address import divisions, questions
from addrmesh.address.decision import DECISION_RULE
from addrmesh.address.questions import Scored
from addrmesh.address.verdict import DecisionRule, default_rule
from addrmesh.errors import AddrmeshError, ConfigError, ReleaseError
from addrmesh.inference.batcher import Batcher, Components, Priority, Runs, TextBatcher
from addrmesh.inference.engine import Engine, load_aligner, load_engine
from addrmesh.inference.release import BUILTIN, Release, open_release
from addrmesh.node.access import Access
from addrmesh.node.asgi import CLOSE, HeaderPairs, Request, Responder
from addrmesh.node.cache import Cache
from addrmesh.node.circuit import Circuit
from addrmesh.node.corrections import Corrections
from addrmesh.node.follow import Follower, open_store
from addrmesh.node.lifecycle import Lifecycle, ProbeFailed, State, check_pair_probes, check_probes
from addrmesh.node.pipeline import Pair, Pipeline
from addrmesh.node.wire import Mode, Service, revalidate_after
from addrmesh.settings import NodeSettings
from addrmesh.telemetry.log import failure
from addrmesh.telemetry.metrics import NodeMetrics
from addrmesh.topology.documents import LIMITS, Limits

_EDGE = re.compile(rb"[a-z0-9-]{1,32}").fullmatch
LoadEngine = Callable[[], Engine]
LoadScorer = Callable[[], Runs[Pair, Scored]]
PairBatcher = Batcher[Pair, Scored]
_Batcher = TypeVar("_Batcher", TextBatcher, PairBatcher)

QUICK_WAIT_MS, SLOW_WAIT_MS = 20.0, 300.0
"""Longest wait where the settings name none. MGeo takes 10 ms of a core for an address, so 20 ms would be no queue."""


def load_from(path: Path | None, device: str = "auto") -> Engine:
    """Open the release in `path`, or the built-in one, and load its model. Takes a second; run it in a thread."""
    return load_engine(open_release(path or BUILTIN), device)


def load_scorer_from(path: Path) -> Runs[Pair, Scored]:
    """Open the match release in `path` and load its model, as `load_from` does."""
    return load_aligner(open_release(path))


class Node:
    """
    What the endpoints talk to.

    Args:
        settings: Of this node.
        load: Makes the engine, in a thread; called again when the engine has failed.
        load_scorer: Makes what scores pairs, likewise; None for the built-in scorer.
    """

    def __init__(self, settings: NodeSettings, load: LoadEngine, load_scorer: LoadScorer | None = None) -> None:
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
        self._load, self._load_scorer = load, load_scorer
        self._log = structlog.get_logger()
        self._tagger: Circuit[str, Components] | None = None
        self._builtin: TextBatcher | None = None
        self._scorer: Circuit[Pair, Scored] | None = None
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
        """Why what is built in answers in place of a release of the node's; None while it does not."""
        own = (("", self._tagger), ("match release: ", self._scorer))
        return "; ".join(f"{said}{one.why}" for said, one in own if one is not None and one.why is not None) or None

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
        return self._scorer.release.id if self._scorer is not None else questions.builtin_scorer()

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
        if self.follower is not None:
            self.follower.restore()
            self._following = asyncio.create_task(self.follower.run())
        batcher = await self._open_tagger()
        release = batcher.engine.release
        builtin = open_release(BUILTIN) if settings.release.path is not None else release
        below = builtin.id != release.id
        tagger = self._tagger = Circuit("tagger", batcher, self.metrics, self._open_tagger if below else None)
        if below:
            engine = await asyncio.to_thread(load_engine, builtin)
            self._builtin = await self._checked(self._queue(engine), _check)
        if self._load_scorer is not None:
            open_scorer = partial(self._open_scorer, self._load_scorer)
            self._scorer = Circuit("scorer", await open_scorer(), self.metrics, open_scorer)
        limit = min(settings.limits.max_code_points, release.manifest.limits.max_code_points)
        cache = Cache(settings.cache.entries, release.id)
        self._pipeline = Pipeline(
            tagger, cache, self.metrics, limit, self.corrections, self._builtin, self._rule, self._scorer
        )
        await asyncio.to_thread(questions.warm)
        self.metrics.queue_depth.read = lambda: tagger.batcher.queue_depth
        self.metrics.queue_tokens.read = lambda: tagger.batcher.queue_tokens
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

    async def _open_tagger(self) -> TextBatcher:
        """Load the node's model, also in place of one that is closed, and check its probe set."""
        engine = await asyncio.to_thread(self._load)
        _require_same(engine, self._tagger, "release.path")
        return await self._checked(self._queue(engine), _check)

    async def _open_scorer(self, load: LoadScorer) -> PairBatcher:
        """Load the match release, as `_open_tagger` does the other one."""
        engine = await asyncio.to_thread(load)
        _require_same(engine, self._scorer, "match.release")
        batcher = PairBatcher(
            engine,
            max_batch_tokens=self.settings.batching.max_batch_tokens,
            max_wait_s=self._max_wait_s(engine),
            tokens=lambda pair: len(pair[0]) + len(pair[1]),
        )
        return await self._checked(batcher, _check_pairs)

    async def _checked(self, batcher: _Batcher, check: Callable[[_Batcher], Awaitable[None]]) -> _Batcher:
        try:
            await check(batcher)
        except BaseException:
            await batcher.close()
            raise
        batcher.max_wait_s = self._max_wait_s(batcher.engine)  # the limits may have changed meanwhile
        return batcher

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
        own = [circuit.batcher for circuit in self._circuits()]
        return own if self._builtin is None else [*own, self._builtin]

    def _circuits(self) -> list[Circuit[Any, Any]]:
        return [one for one in (self._tagger, self._scorer) if one is not None]

    async def stop(self) -> None:
        """Drain within the time the settings give, then free the engine."""
        self.drain()
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self.store is not None:
            await self.store.close()
        try:
            async with asyncio.timeout(self.settings.server.drain_timeout_s):
                stopping = [circuit.stop() for circuit in self._circuits()]
                await asyncio.gather(*stopping, *[batcher.drain() for batcher in self._batchers()])
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


def _require_same(engine: Runs[Any, Any], served: Circuit[Any, Any] | None, setting: str) -> None:
    """Close an engine of another release than the one `served`, if one is; ReleaseError says what to do."""
    if served is not None and engine.release.id != served.release.id:
        engine.close()
        raise ReleaseError(f"{setting} now holds {engine.release.id}; restart the node to serve it")


async def _check(batcher: TextBatcher) -> None:
    """Warm an engine up with its release's probe set, and check what it answers."""
    # As bulk work without a deadline: no probe is ever refused.
    await check_probes(batcher.engine.release.probes(), lambda text: batcher.predict(text, priority=Priority.BULK))


async def _check_pairs(batcher: PairBatcher) -> None:
    """Do the same for what scores pairs."""
    from addrmesh.address.match import LABELS  # late: numpy takes 0.1 s to import

    async def score(first: str, second: str) -> dict[str, float]:
        found = await batcher.predict((first, second), priority=Priority.BULK)
        return dict(zip(LABELS, found.chances, strict=True))

    await check_pair_probes(batcher.engine.release.pair_probes(), score)
