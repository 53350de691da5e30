"""A quick engine runs in the event loop: same answers, same batches, no thread."""

import asyncio
import threading

import pytest

from addrmesh.errors import DeadlineExceeded, EngineError
from addrmesh.inference.batcher import Batcher, Priority
from support.engines import DigitsEngine, digits, release


class QuickEngine(DigitsEngine):
    quick = True


@pytest.fixture
async def batcher(tmp_path):
    engine = QuickEngine(release(tmp_path), lambda text: EngineError("poison") if "毒" in text else None)
    batcher = Batcher(engine, max_batch_tokens=30, max_wait_s=10)
    yield batcher
    await batcher.close()
    assert engine.closed


async def test_what_arrives_together_runs_together_in_the_event_loop(batcher):
    texts = [f"路{i}号" for i in range(25)]
    found = await asyncio.gather(*(batcher.predict(text) for text in texts))
    assert found == [digits(text) for text in texts]
    assert [len(batch) for batch in batcher.engine.batches] == [10, 7, 7, 1]
    assert batcher.engine.threads == {threading.get_ident()}


async def test_replies_go_out_before_the_next_batch_runs(batcher):
    order = []

    async def ask(text):
        await batcher.predict(text)
        order.append(len(batcher.engine.batches))

    await asyncio.gather(*(ask(f"路{i}号") for i in range(25)))
    assert order == sorted(order)
    assert order[:10] == [1] * 10


async def test_a_poisonous_text_fails_alone(batcher):
    good, bad = await asyncio.gather(batcher.predict("路1号"), batcher.predict("毒2号"), return_exceptions=True)
    assert good == digits("路1号")
    assert isinstance(bad, EngineError)


async def test_a_deadline_that_passes_in_the_queue_is_told(batcher):
    now = asyncio.get_running_loop().time()
    first = batcher.submit("路" * 40, now + 60)
    late = batcher.submit("路1号", now + 1e-9)
    with pytest.raises(DeadlineExceeded):
        await late.answer
    assert await first.answer == ()
    assert not any("路1号" in batch for batch in batcher.engine.batches)


async def test_a_drain_waits_for_everything(batcher):
    pending = [batcher.submit(f"路{i}号", float("inf")) for i in range(25)]
    await batcher.drain()
    assert all(p.answer.done() for p in pending)


async def test_what_is_read_right_after_a_run_has_waited_for_it(batcher):
    await batcher.predict("路" * 20)
    assert batcher.predicted_wait_s(Priority.INTERACTIVE) == batcher.stats.engine_seconds > 0
    await batcher.drain()
    assert batcher.predicted_wait_s(Priority.INTERACTIVE) == 0
