"""A pair that waits for a match release: what it says, and what happens when it fails, is late or is full."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from addrmesh.address.questions import builtin_scorer
from addrmesh.errors import InvalidText
from addrmesh.inference.batcher import Batcher
from addrmesh.inference.engine import load_engine
from addrmesh.inference.release import BUILTIN, open_release
from addrmesh.node import circuit
from addrmesh.node.cache import Cache
from addrmesh.node.circuit import FAILURES, SILENT_S, Breaker, Circuit
from addrmesh.node.pipeline import Answer, Pipeline
from addrmesh.node.wire import MatchRequest, ParseRequest, ValidateRequest
from addrmesh.telemetry.metrics import NodeMetrics
from support.clocks import Clock
from support.engines import DigitsEngine, PairEngine, pair_release, release
from support.waiting import running, until

FOREVER = float("inf")
ALIGN_ID = "align@0123456789ab"
A, B = "云帆路18号听松苑", "云帆路18号望月楼"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tagger(tmp_path: Path) -> DigitsEngine:
    return DigitsEngine(release(tmp_path))


@pytest.fixture
def scorer(tmp_path: Path) -> PairEngine:
    (tmp_path / "align").mkdir()
    return PairEngine(pair_release(tmp_path / "align"))


@pytest.fixture
async def pipeline(tagger: DigitsEngine, scorer: PairEngine, clock: Clock) -> AsyncIterator[Pipeline]:
    async def load() -> Any:
        return Batcher(scorer, max_batch_tokens=40, max_wait_s=10.0, tokens=lambda pair: sum(map(len, pair)))

    metrics = NodeMetrics()
    queue = Circuit("tagger", Batcher(tagger, max_batch_tokens=100, max_wait_s=10.0), metrics)
    pairs = Circuit("scorer", await load(), metrics, load, Breaker(clock))
    yield Pipeline(queue, Cache(100, "r"), metrics, 2000, scorer=pairs)
    for engine, of in ((tagger, queue), (scorer, pairs)):
        engine.gate.set()
        await of.stop()
        await of.batcher.close()


def within(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def asked(pipeline: Pipeline, what: Any, deadline: float = FOREVER) -> Answer:
    answer = pipeline.ask(what, deadline=deadline)
    return answer if isinstance(answer, Answer) else await answer


async def matched(pipeline: Pipeline, a: str, b: str, deadline: float = FOREVER) -> tuple[str, str, str]:
    answer = await asked(pipeline, MatchRequest(a, b), deadline)
    result = json.loads(answer.result)
    return answer.mode, result["scorer"], result["label"]


def fallbacks(pipeline: Pipeline) -> dict[str, int]:
    return {reason: count for (reason,), count in pipeline.metrics.match_fallbacks.values.items()}


async def test_the_release_scores_what_no_guard_tells_apart(pipeline):
    assert await matched(pipeline, A, B) == ("FULL", ALIGN_ID, "exact_match")
    assert await matched(pipeline, A, A.replace("18", "81")) == ("FULL", ALIGN_ID, "partial_match")
    assert pipeline.metrics.parse_requests.values == {("ok",): 2}
    assert fallbacks(pipeline) == {}


async def test_both_orders_of_a_pair_are_one_question(pipeline, scorer):
    there, back = [await asked(pipeline, MatchRequest(*pair)) for pair in ((A, B), (B, A))]
    assert scorer.batches[0] == scorer.batches[1]
    assert {**json.loads(there.result), "differences": 0} == {**json.loads(back.result), "differences": 0}


async def test_what_the_tagger_remembers_is_still_scored_and_not_called_remembered(pipeline, tagger, scorer):
    first, second = [await asked(pipeline, MatchRequest(A, B)) for _ in range(2)]
    assert (len(tagger.batches), len(scorer.batches)) == (1, 2)
    assert (first.result, first.cached, second.cached) == (second.result, False, False)


@pytest.mark.parametrize(("a", "b"), [(A, A), ("13800138000", A), (A * 4, B * 4)])
async def test_the_built_in_scorer_answers_in_full_what_the_release_cannot_read(pipeline, scorer, a, b):
    assert (await matched(pipeline, a, b))[:2] == ("FULL", builtin_scorer())
    assert (await asked(pipeline, MatchRequest(a, b))).cached
    assert scorer.batches == []


async def test_a_pair_is_scored_while_its_texts_are_tagged(pipeline, tagger, scorer):
    tagger.gate.clear()
    answer = asyncio.create_task(matched(pipeline, A, B))
    await running(scorer)
    await running(tagger)
    assert not answer.done()
    tagger.gate.set()
    assert (await answer)[1] == ALIGN_ID


async def test_parsing_and_validating_do_not_wait_for_the_scorer(pipeline, scorer):
    scorer.gate.clear()
    for what in (ParseRequest(A), ValidateRequest(A)):
        assert (await asked(pipeline, what)).mode == "FULL"
    assert scorer.batches == []


async def test_a_scorer_that_fails_is_replaced_for_that_pair_and_logged_without_the_text(pipeline, scorer, capsys):
    scorer.fails = lambda text: RuntimeError(text) if "望月" in text else None
    assert await matched(pipeline, A, B) == ("BUILTIN_MODEL", builtin_scorer(), "partial_match")
    assert (await matched(pipeline, A, "云帆路18号"))[:2] == ("FULL", ALIGN_ID)
    assert fallbacks(pipeline) == {"engine-failed": 1}
    assert pipeline.metrics.parse_requests.values == {("builtin-model",): 1, ("ok",): 1}
    shown = "".join(capsys.readouterr())
    assert "engine.failed" in shown
    assert "望月" not in shown


async def test_a_scorer_that_hangs_costs_no_deadline(pipeline, scorer):
    scorer.gate.clear()
    for _ in range(3):
        deadline = within(0.2)
        assert (await matched(pipeline, A, B, deadline))[:2] == ("BUILTIN_MODEL", builtin_scorer())
        assert asyncio.get_running_loop().time() < deadline
    assert fallbacks(pipeline) == {"deadline-exceeded": 3}
    assert pipeline.scorer.batcher.queue_depth == 0


async def test_a_scorer_that_keeps_failing_is_not_asked_until_it_has_been_loaded_again(pipeline, scorer, monkeypatch):
    monkeypatch.setattr(circuit, "FIRST_PAUSE_S", 0.0)
    scorer.gate.set()
    scorer.fails = lambda _: RuntimeError()
    for _ in range(FAILURES):
        assert (await matched(pipeline, A, B))[:2] == ("BUILTIN_MODEL", builtin_scorer())
    assert pipeline.scorer.why == "it failed 3 times in a row"
    assert (await matched(pipeline, A, B))[:2] == ("BUILTIN_MODEL", builtin_scorer())
    assert len(scorer.batches) == FAILURES
    assert (await asked(pipeline, ParseRequest(A))).mode == "FULL"
    assert fallbacks(pipeline) == {"engine-failed": FAILURES + 1}
    scorer.fails = lambda _: None
    await until(lambda: pipeline.scorer.why is None, "it came back")
    assert scorer.closed, "before it was loaded again"
    assert (await matched(pipeline, A, B))[:2] == ("FULL", ALIGN_ID)
    assert pipeline.metrics.engine_restarts.values == {("scorer",): 1}


async def test_what_waits_for_a_scorer_that_is_silent_is_answered_when_it_is_left(
    pipeline, scorer, clock, monkeypatch, capsys
):
    monkeypatch.setattr(circuit, "FIRST_PAUSE_S", 0.0)
    assert (await matched(pipeline, A, B))[0] == "FULL"
    scorer.entered.clear()
    scorer.gate.clear()
    runs = asyncio.create_task(matched(pipeline, A, B))
    await running(scorer)
    waits = asyncio.create_task(pipeline.ask_many([MatchRequest(A, B)] * 3, deadline=FOREVER))
    await until(lambda: pipeline.scorer.batcher.queue_depth == 3, "three pairs wait behind it")
    clock.now += SILENT_S
    assert (await matched(pipeline, A, B))[:2] == (await runs)[:2] == ("BUILTIN_MODEL", builtin_scorer())
    assert [answer.mode for answer in await waits] == ["BUILTIN_MODEL"] * 3
    assert fallbacks(pipeline) == {"engine-failed": 5}
    shown = "".join(capsys.readouterr())
    assert "engine.left" in shown
    assert "engine.failed" not in shown, "once is enough"
    assert (pipeline.scorer.why, scorer.closed) == ("it has not answered for 5 s", False)
    scorer.gate.set()
    await until(lambda: pipeline.scorer.why is None, "it came back when the run ended")
    assert (scorer.closed, len(scorer.batches)) == (True, 2), "nobody's pair was run for nothing"
    assert (await matched(pipeline, A, B))[0] == "FULL"


async def test_bulk_work_without_a_deadline_does_not_wait_for_ever(pipeline, scorer, monkeypatch):
    monkeypatch.setattr(circuit, "LONGEST_S", 0.05)
    scorer.gate.clear()
    answers = await pipeline.ask_many([MatchRequest(A, B)] * 3, deadline=FOREVER)
    assert [answer.mode for answer in answers] == ["BUILTIN_MODEL"] * 3


async def test_a_full_scorer_leaves_its_pairs_to_the_built_in_one_at_once(pipeline, scorer):
    assert (await matched(pipeline, A, B))[0] == "FULL"
    pairs = pipeline.scorer.batcher
    pairs._pace.per_token, pairs.max_wait_s = 1.0, 0.01
    scorer.gate.clear()
    first = asyncio.create_task(matched(pipeline, A, B, within(10)))
    await running(scorer)
    assert (await matched(pipeline, A, B, within(10)))[:2] == ("BUILTIN_MODEL", builtin_scorer())
    assert fallbacks(pipeline) == {"overloaded": 1}
    scorer.gate.set()
    assert (await first)[0] == "FULL"


async def test_of_a_batch_each_item_says_how_it_was_scored(pipeline, scorer):
    scorer.fails = lambda text: RuntimeError() if "望月" in text else None
    pairs = [(A, B), (A, "云帆路18号"), (" ", A), (A, A)]
    one, other, blank, same = await pipeline.ask_many([MatchRequest(*pair) for pair in pairs], deadline=within(10))
    found = [(answer.mode, json.loads(answer.result)["scorer"]) for answer in (one, other, same)]
    assert found == [("BUILTIN_MODEL", builtin_scorer()), ("FULL", ALIGN_ID), ("FULL", builtin_scorer())]
    assert isinstance(blank, InvalidText)


async def test_who_goes_away_takes_the_pair_along(pipeline, tagger, scorer):
    scorer.gate.clear()
    first = asyncio.create_task(matched(pipeline, A, B))
    await running(scorer)
    second = asyncio.create_task(matched(pipeline, A, "云帆路18号"))
    await until(lambda: pipeline.scorer.batcher.queue_depth == 1, "the second waits")
    await until(lambda: len(tagger.batches) == 2, "for the scorer alone")
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    scorer.gate.set()
    await first
    await pipeline.scorer.batcher.drain()
    assert len(scorer.batches) == 1


async def test_an_answer_names_the_release_that_tagged_it_whoever_scored(pipeline, tagger, scorer):
    below = pipeline.builtin = Batcher(load_engine(open_release(BUILTIN)), max_batch_tokens=512, max_wait_s=10.0)
    scorer.fails = lambda _: RuntimeError()
    answer = await asked(pipeline, MatchRequest(A, B), within(10))
    assert (answer.mode, answer.release) == ("BUILTIN_MODEL", None), "the node's own model tagged it"
    tagger.fails, scorer.fails = (lambda _: RuntimeError()), (lambda _: None)
    other = MatchRequest(A + "1", B)
    for answer in (
        await asked(pipeline, other, within(10)), *await pipeline.ask_many([other], deadline=within(10)),
    ):  # fmt: skip
        assert (answer.mode, answer.release) == ("BUILTIN_MODEL", below.engine.release.id)
        assert json.loads(answer.result)["scorer"] == builtin_scorer()
    await below.close()


async def test_one_pair_and_a_batch_of_pairs_get_the_same_answer(pipeline):
    request = MatchRequest(A, B)
    (many,) = await pipeline.ask_many([request], deadline=FOREVER)
    assert many == await asked(pipeline, request)
    wanted = {"exact_match": 0.875, "partial_match": 0.125, "not_match": 0.0}
    assert json.loads(many.result)["probabilities"] == wanted
