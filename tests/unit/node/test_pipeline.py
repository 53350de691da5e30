import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from addrmesh.errors import DeadlineExceeded, EngineError, InvalidText, Overloaded
from addrmesh.inference.batcher import Batcher
from addrmesh.node.cache import Cache
from addrmesh.node.circuit import Circuit
from addrmesh.node.pipeline import Answer, Pipeline
from addrmesh.node.wire import ParseRequest
from addrmesh.telemetry.metrics import NodeMetrics
from support.engines import DigitsEngine, release
from support.waiting import running, until

FOREVER = float("inf")


@pytest.fixture
def engine(tmp_path: Path) -> DigitsEngine:
    return DigitsEngine(release(tmp_path))


@pytest.fixture
async def pipeline(engine: DigitsEngine) -> AsyncIterator[Pipeline]:
    batcher = Batcher(engine, max_batch_tokens=100, max_wait_s=10.0)
    metrics = NodeMetrics()
    yield Pipeline(Circuit("tagger", batcher, metrics), Cache(100, "r"), metrics, 2000)
    engine.gate.set()
    await batcher.close()


def start(pipeline: Pipeline, text: str, deadline: float = FOREVER) -> "asyncio.Task[Answer]":
    async def parse() -> Answer:
        answer = pipeline.ask(ParseRequest(text), deadline=deadline)
        return answer if isinstance(answer, Answer) else await answer

    return asyncio.create_task(parse())


def joins(pipeline: Pipeline) -> int:
    return sum(pipeline.metrics.single_flight_joins.values.values())


async def test_identical_requests_share_one_row(pipeline, engine):
    engine.gate.clear()
    tasks = [start(pipeline, text) for text in ("路12", "路１２", "路12\u200b")]
    await until(lambda: joins(pipeline) == 2, "two requests joined")
    engine.gate.set()
    await asyncio.gather(*tasks)
    assert engine.batches == [["路12"]]
    assert [task.result().cached for task in tasks] == [False] * 3


async def test_those_who_joined_survive_the_one_who_left(pipeline, engine):
    engine.gate.clear()
    leader, follower = start(pipeline, "路12"), None
    await running(engine)
    follower = start(pipeline, "路12")
    await until(lambda: joins(pipeline) == 1, "one request joined")
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    engine.gate.set()
    assert b'"12"' in (await follower).result


async def test_one_who_joined_can_leave_alone(pipeline, engine):
    engine.gate.clear()
    leader = start(pipeline, "路12")
    await running(engine)
    follower = start(pipeline, "路12")
    await until(lambda: joins(pipeline) == 1, "one request joined")
    follower.cancel()
    with pytest.raises(asyncio.CancelledError):
        await follower
    engine.gate.set()
    assert b'"12"' in (await leader).result


async def test_the_deadline_of_one_is_not_the_deadline_of_those_who_joined(pipeline, engine):
    now = asyncio.get_running_loop().time()
    engine.gate.clear()
    hurried = start(pipeline, "路12", now + 0.02)
    await running(engine)
    patient = start(pipeline, "路12", now + 60)
    with pytest.raises(DeadlineExceeded):
        await hurried
    engine.gate.set()
    assert b'"12"' in (await patient).result


async def test_one_who_joined_is_told_at_its_own_deadline(pipeline, engine):
    now = asyncio.get_running_loop().time()
    engine.gate.clear()
    patient = start(pipeline, "路12", now + 60)
    await running(engine)
    with pytest.raises(DeadlineExceeded):
        await start(pipeline, "路12", now + 0.02)
    engine.gate.set()
    await patient


async def test_a_person_does_not_join_bulk_work_far_back_in_the_queue(pipeline, engine):
    engine.gate.clear()
    first = start(pipeline, "0")
    await running(engine)
    texts = [str(n) * 99 for n in range(1, 6)]
    bulk = asyncio.create_task(pipeline.ask_many([ParseRequest(text) for text in texts], deadline=FOREVER))
    await until(lambda: pipeline.tagger.batcher.queue_depth == 5, "bulk work waits")
    person = start(pipeline, texts[-1])
    await until(lambda: pipeline.tagger.batcher.queue_depth == 6, "the person's row waits too")
    engine.gate.set()
    await asyncio.gather(first, bulk, person)
    assert texts[-1] in engine.batches[1] + engine.batches[2]


async def test_a_failure_is_not_remembered(pipeline, engine):
    engine.fails = lambda _: RuntimeError()
    with pytest.raises(EngineError):
        await start(pipeline, "路12")
    engine.fails = lambda _: None
    assert not (await start(pipeline, "路12")).cached
    assert (await start(pipeline, "路12")).cached


async def test_a_cached_answer_needs_no_admission(pipeline):
    await start(pipeline, "路12")
    pipeline.tagger.batcher._pace.per_token = 1e9
    pipeline.tagger.batcher.max_wait_s = -1.0
    assert (await start(pipeline, "路12")).cached
    with pytest.raises(Overloaded):
        await start(pipeline, "路13")


async def test_addresses_read_in_one_turn_of_the_loop_find_each_other_in_the_queue(pipeline):
    await start(pipeline, "路12")
    pipeline.tagger.batcher._pace.per_token, pipeline.tagger.batcher.max_wait_s = 0.01, 0.05
    admitted = [pipeline.ask(ParseRequest(text), deadline=FOREVER) for text in ("路1号", "路2号")]
    with pytest.raises(Overloaded):  # six code points wait
        pipeline.ask(ParseRequest("路3号"), deadline=FOREVER)
    assert [(await answer).cached for answer in admitted] == [False, False]


async def test_a_full_queue_refuses_unread_only_while_few_addresses_are_found(pipeline):
    await start(pipeline, "路12")
    pipeline.tagger.batcher._pace.per_token, pipeline.tagger.batcher.max_wait_s = 1.0, -1.0
    assert pipeline.overload() is None  # who knows what the cache holds
    for number in range(1000):
        with pytest.raises(Overloaded):
            pipeline.ask(ParseRequest(f"路9{number}"), deadline=FOREVER)
    assert isinstance(pipeline.overload(), Overloaded)
    assert pipeline.metrics.parse_requests.values == {("ok",): 1, ("overloaded",): 1001}
    assert pipeline.metrics.shed.values == {("overloaded",): 1001}
    for _ in range(10):  # in moments of room, one in twenty is enough
        assert (await start(pipeline, "路12")).cached
    assert pipeline.overload() is None


async def test_many_are_answered_in_place_and_each_is_counted_once(pipeline):
    asked = [ParseRequest(text) for text in ("路1", " ", "路1", "路2")]
    found = await pipeline.ask_many(asked, deadline=FOREVER)
    assert [type(item) for item in found] == [Answer, InvalidText, Answer, Answer]
    assert pipeline.metrics.parse_requests.values == {("ok",): 3, ("invalid-text",): 1}
    assert pipeline.metrics.cache_misses.values == {(): 3}


async def test_the_least_recently_used_answer_is_forgotten_first(engine):
    cache = Cache(2, "r")
    a, b, c = (cache.key(text) for text in "abc")
    answers = {key: object() for key in (a, b, c)}
    cache.put(a, answers[a])
    cache.put(b, answers[b])
    cache.get(a)
    cache.put(c, answers[c])
    assert (cache.get(a), cache.get(b), cache.get(c)) == (answers[a], None, answers[c])


def test_a_cache_key_means_nothing_to_another_process_or_release():
    assert Cache(1, "r").key("路1") != Cache(1, "r").key("路1")


def test_a_cache_of_no_entries_keeps_nothing():
    cache = Cache(0, "r")
    cache.put(cache.key("a"), object())
    assert len(cache) == 0
