import asyncio
import heapq
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addrmesh.errors import DeadlineExceeded, EngineError, NotReady, Overloaded
from addrmesh.inference.batcher import BULK_SHARE, Batcher, Pending, Priority, Queue, form_batch
from support.engines import DigitsEngine, digits, release
from support.waiting import running, until

FOREVER = float("inf")


class Answer:
    """As much of a future as `form_batch` looks at."""

    def __init__(self, *, done: bool) -> None:
        self._done = done

    def done(self) -> bool:
        return self._done


Row = tuple[int, float, bool]
rows = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 20), st.booleans()), max_size=25)


def queue_of(asked: list[Row], priority: Priority = Priority.INTERACTIVE) -> Queue:
    queue: Queue = []
    for number, (tokens, deadline, cancelled) in enumerate(asked):
        pending = Pending("x" * tokens, tokens, Answer(done=cancelled), deadline, priority, 0.0)  # type: ignore[arg-type]
        heapq.heappush(queue, (deadline, number, pending))
    return queue


@given(rows, rows, st.integers(1, 60), st.integers(0, 20))
def test_a_batch_is_over_budget_only_for_a_lone_oversize_row(interactive, bulk, budget, now):
    batch = form_batch(queue_of(interactive), queue_of(bulk, Priority.BULK), max_tokens=budget, now=now)
    assert len(batch.rows) == 1 or sum(row.tokens for row in batch.rows) <= budget


@given(rows, rows, st.integers(1, 60), st.integers(0, 20))
def test_expired_and_cancelled_rows_are_never_run_and_no_row_is_lost(interactive, bulk, budget, now):
    queues = queue_of(interactive), queue_of(bulk, Priority.BULK)
    before = [entry[2] for queue in queues for entry in queue]
    batch = form_batch(*queues, max_tokens=budget, now=now)
    assert all(row.deadline > now and not row.answer.done() for row in batch.rows)
    assert all(row.deadline <= now or row.answer.done() for row in batch.dropped)
    after = [*batch.rows, *batch.dropped, *(entry[2] for queue in queues for entry in queue)]
    assert sorted(map(id, after)) == sorted(map(id, before))


@given(rows, rows, st.integers(1, 60), st.integers(0, 20))
def test_a_class_is_served_by_deadline_then_arrival(interactive, bulk, budget, now):
    queues = queue_of(interactive), queue_of(bulk, Priority.BULK)
    order = {id(entry[2]): entry[:2] for queue in queues for entry in queue}
    batch = form_batch(*queues, max_tokens=budget, now=now)
    for priority, queue in zip(Priority, queues, strict=True):
        taken = [order[id(row)] for row in batch.rows if row.priority is priority]
        assert taken == sorted(taken)
        assert not taken or not queue or taken[-1] < queue[0][:2]


@given(rows, rows, st.integers(1, 60), st.integers(0, 20))
def test_something_is_run_whenever_something_is_wanted(interactive, bulk, budget, now):
    wanted = [row for row in interactive + bulk if row[1] > now and not row[2]]
    batch = form_batch(queue_of(interactive), queue_of(bulk, Priority.BULK), max_tokens=budget, now=now)
    assert bool(batch.rows) == bool(wanted)


@settings(deadline=None)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=8), st.integers(10, 40))
def test_bulk_work_is_not_starved_by_an_endless_interactive_queue(lengths, budget):
    bulk = queue_of([(tokens, FOREVER, False) for tokens in lengths], Priority.BULK)
    credit = 0.0
    rounds = int(sum(lengths) / (BULK_SHARE * budget)) + len(lengths) + 2
    for _ in range(rounds):
        interactive = queue_of([(budget // 3 + 1, 1.0, False)] * 4)
        credit = form_batch(interactive, bulk, max_tokens=budget, now=0.0, bulk_credit=credit).bulk_credit
    assert not bulk


def test_bulk_work_leaves_interactive_work_most_of_a_batch():
    interactive = queue_of([(10, 1.0, False)] * 20)
    bulk = queue_of([(10, FOREVER, False)] * 20, Priority.BULK)
    batch = form_batch(interactive, bulk, max_tokens=100, now=0.0)
    shares = [sum(row.tokens for row in batch.rows if row.priority is priority) for priority in Priority]
    assert shares == [80, 20]


@pytest.fixture
def engine(tmp_path: Path) -> DigitsEngine:
    return DigitsEngine(release(tmp_path))


@pytest.fixture
async def make(engine: DigitsEngine) -> AsyncIterator[Callable[..., Batcher]]:
    made: list[Batcher] = []

    def make(**changes: object) -> Batcher:
        made.append(Batcher(engine, **{"max_batch_tokens": 100, "max_wait_s": 10.0, **changes}))  # type: ignore[arg-type]
        return made[-1]

    yield make
    engine.gate.set()
    for batcher in made:
        await batcher.close()


async def busy(batcher: Batcher, engine: DigitsEngine, text: str = "0") -> "asyncio.Task[object]":
    """Hold the engine with one request behind its closed gate."""
    engine.gate.clear()
    task = asyncio.create_task(batcher.predict(text))
    await running(engine)
    return task


async def test_an_idle_engine_is_asked_at_once_and_answers(make, engine):
    assert await make().predict("文三路12号") == digits("文三路12号")
    assert engine.batches == [["文三路12号"]]


async def test_what_arrives_while_the_engine_is_busy_runs_together(make, engine):
    batcher = make()
    first = await busy(batcher, engine)
    others = [asyncio.create_task(batcher.predict(f"路{n}")) for n in range(5)]
    await until(lambda: batcher.queue_depth == 5, "five rows wait")
    engine.gate.set()
    assert await asyncio.gather(first, *others) == [digits("0"), *(digits(f"路{n}") for n in range(5))]
    assert engine.batches == [["0"], [f"路{n}" for n in range(5)]]


async def test_what_arrives_in_one_turn_of_the_loop_runs_together(make, engine):
    batcher = make()
    await asyncio.gather(*(batcher.predict(str(n)) for n in range(4)))
    assert engine.batches == [["0", "1", "2", "3"]]


async def test_the_earliest_deadline_goes_first(make, engine):
    batcher = make(max_batch_tokens=1)
    now = asyncio.get_running_loop().time()
    first = await busy(batcher, engine)
    waiting = [asyncio.create_task(batcher.predict(str(n), deadline=now + 100 - n)) for n in (1, 2, 3)]
    await until(lambda: batcher.queue_depth == 3, "three rows wait")
    engine.gate.set()
    await asyncio.gather(first, *waiting)
    assert engine.batches == [["0"], ["3"], ["2"], ["1"]]


async def test_a_cancelled_request_never_takes_a_row(make, engine):
    batcher = make()
    first = await busy(batcher, engine)
    gone, stays = asyncio.create_task(batcher.predict("1")), asyncio.create_task(batcher.predict("2"))
    await until(lambda: batcher.queue_depth == 2, "two rows wait")
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    engine.gate.set()
    await asyncio.gather(first, stays)
    assert engine.batches == [["0"], ["2"]]
    assert batcher.queue_tokens == 0


async def test_an_expired_request_is_told_at_its_deadline_and_never_run(make, engine):
    batcher = make()
    first = await busy(batcher, engine)
    with pytest.raises(DeadlineExceeded):  # while the engine is still busy: nothing but the deadline ends this wait
        await batcher.predict("1", deadline=asyncio.get_running_loop().time() + 0.02)
    engine.gate.set()
    await first
    assert engine.batches == [["0"]]
    assert batcher.stats.expired == 1


async def test_a_row_that_expires_while_it_runs_is_told_at_its_deadline(make, engine):
    batcher = make()
    engine.gate.clear()
    with pytest.raises(DeadlineExceeded):
        await batcher.predict("1", deadline=asyncio.get_running_loop().time() + 0.02)


async def test_a_deadline_in_the_past_is_refused_on_arrival(make, engine):
    with pytest.raises(DeadlineExceeded):
        await make().predict("1", deadline=asyncio.get_running_loop().time() - 1)
    assert engine.batches == []


async def measured(make: Callable[..., Batcher], engine: DigitsEngine, **changes: object) -> Batcher:
    """A busy batcher that believes a token takes ten milliseconds."""
    batcher = make(**changes)
    await batcher.predict("1")
    batcher._pace.per_token = 0.01
    return batcher


async def test_a_request_whose_predicted_wait_is_over_the_limit_is_refused(make, engine):
    batcher = await measured(make, engine, max_wait_s=0.05)
    engine.entered.clear()
    first = await busy(batcher, engine, "123456")
    with pytest.raises(Overloaded) as refused:
        await batcher.predict("1")
    assert refused.value.retry_after_s == pytest.approx(0.06)
    engine.gate.set()
    assert await first == digits("123456")


async def test_a_request_that_could_not_be_answered_by_its_deadline_is_refused(make, engine):
    batcher = await measured(make, engine)
    engine.entered.clear()
    first = await busy(batcher, engine, "123456")
    with pytest.raises(Overloaded):
        await batcher.predict("1", deadline=asyncio.get_running_loop().time() + 0.04)
    engine.gate.set()
    await first


async def test_a_full_queue_says_so_before_anything_is_known_of_the_request(make, engine):
    batcher = await measured(make, engine, max_wait_s=0.05)
    assert batcher.overload() is None
    engine.entered.clear()
    first = await busy(batcher, engine, "123456")
    full = batcher.overload()
    assert isinstance(full, Overloaded)
    assert full.retry_after_s == 0.05
    assert batcher.overload() is full
    assert batcher.stats.shed == 2
    engine.gate.set()
    await first


async def test_an_idle_node_admits_a_request_of_any_length(make, engine):
    batcher = await measured(make, engine, max_wait_s=0.0)
    assert await batcher.predict("1" * 500) == digits("1" * 500)


async def test_bulk_work_does_not_make_interactive_work_look_late(make, engine):
    batcher = await measured(make, engine, max_wait_s=0.05)
    engine.entered.clear()
    first = await busy(batcher, engine)
    bulk = [batcher.submit(f"{n}" * 50, FOREVER, Priority.BULK) for n in range(9)]
    last = asyncio.create_task(batcher.predict("7"))
    await until(lambda: batcher.queue_depth == 10, "all wait")
    engine.gate.set()
    await asyncio.gather(first, last, *(pending.answer for pending in bulk))
    assert "7" in engine.batches[2]


async def test_a_poisonous_text_fails_alone(make, engine):
    batcher = make()
    engine.fails = lambda text: RuntimeError(text) if text == "2" else None
    answers = await asyncio.gather(*(batcher.predict(str(n)) for n in range(4)), return_exceptions=True)
    assert [answer for answer in answers if not isinstance(answer, Exception)] == [
        digits("0"),
        digits("1"),
        digits("3"),
    ]
    assert isinstance(answers[2], EngineError)
    assert engine.batches == [["0", "1", "2", "3"], ["0"], ["1"], ["2"], ["3"]]
    assert await batcher.predict("5") == digits("5")


async def test_an_engine_that_answers_too_few_texts_is_an_engine_error(make, engine, monkeypatch):
    monkeypatch.setattr(engine, "predict", lambda _: [])
    with pytest.raises(EngineError, match="did not give 1 answers"):
        await make().predict("1")


async def test_a_drained_batcher_has_answered_everything(make, engine):
    batcher = make(max_batch_tokens=1)
    waiting = [asyncio.create_task(batcher.predict(str(n))) for n in range(5)]
    await until(lambda: batcher.queue_depth > 0, "something waits")
    await batcher.drain()
    assert all(task.done() or batcher.queue_depth == 0 for task in waiting)
    assert await asyncio.gather(*waiting) == [digits(str(n)) for n in range(5)]


async def test_what_is_given_up_is_told_at_once_also_in_a_run_that_hangs(make, engine):
    batcher = make()
    runs = await busy(batcher, engine)
    waits = [batcher.submit(f"{number}", FOREVER) for number in range(3)]
    waits[0].answer.cancel()
    error = EngineError("given up")
    batcher.give_up(error)
    with pytest.raises(EngineError, match="given up"):
        await runs
    assert [waiting.answer.exception() for waiting in waits[1:]] == [error] * 2
    later = batcher.submit("9", FOREVER)
    engine.gate.set()
    assert await later.answer == digits("9")
    assert engine.batches == [["0"], ["9"]]


async def test_closing_fails_what_waits_finishes_what_runs_and_closes_the_engine_on_its_thread(make, engine):
    batcher = make()
    first = await busy(batcher, engine)
    waiting = asyncio.create_task(batcher.predict("1"))
    await until(lambda: batcher.queue_depth == 1, "one row waits")
    closing = asyncio.create_task(batcher.close())
    with pytest.raises(NotReady):
        await waiting
    engine.gate.set()
    await closing
    assert await first == digits("0")
    assert engine.closed
    assert len(engine.threads) == 1
    assert threading.get_ident() not in engine.threads
    with pytest.raises(NotReady):
        await batcher.predict("2")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text("路号0123456789", min_size=1, max_size=12), min_size=1, max_size=12), st.randoms())
def test_company_and_order_never_change_an_answer(tmp_path_factory, texts, random):
    async def answers(order: list[str]) -> dict[str, object]:
        batcher = Batcher(DigitsEngine(release(tmp_path_factory.mktemp("r"))), max_batch_tokens=20, max_wait_s=10.0)
        found = await asyncio.gather(*(batcher.predict(text) for text in order))
        await batcher.close()
        return dict(zip(order, found, strict=True))

    shuffled = random.sample(texts, len(texts))
    assert asyncio.run(answers(texts)) == asyncio.run(answers(shuffled)) == {text: digits(text) for text in texts}
