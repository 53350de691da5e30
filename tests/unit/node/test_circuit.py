"""When an engine of the node is left and asked again, by a clock that is turned by hand."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addrmesh.errors import EngineError
from addrmesh.inference.batcher import Batcher, Priority
from addrmesh.node.circuit import FAILURES, FIRST_PAUSE_S, LONGEST_PAUSE_S, SILENT_S, WELL_S, Breaker, Circuit
from addrmesh.telemetry.metrics import NodeMetrics
from support.clocks import Clock
from support.engines import DigitsEngine, release
from support.waiting import running, until

FOREVER = float("inf")


def breaker() -> tuple[Breaker, Clock]:
    clock = Clock()
    return Breaker(clock), clock


def leave(breaker: Breaker) -> None:
    assert [breaker.failed() for _ in range(FAILURES)] == [False] * (FAILURES - 1) + [True]


@given(st.lists(st.booleans(), max_size=30))
def test_an_engine_is_left_at_the_third_failure_in_a_row_and_never_before(answers):
    engine, _ = breaker()
    in_a_row = 0
    for answered in answers:
        in_a_row = 0 if answered else in_a_row + 1
        if answered:
            engine.answered()
        else:
            assert engine.failed() == (in_a_row == FAILURES)
        if in_a_row == FAILURES:
            assert engine.left_at is not None
            return
    assert engine.left_at is None


@given(st.lists(st.tuples(st.floats(0, 2 * SILENT_S), st.booleans(), st.integers(0, 1)), max_size=30))
def test_an_engine_is_left_when_it_finishes_nothing_for_seconds_although_it_has_work(looks):
    engine, clock = breaker()
    runs, silent_since = 7, None
    for pause, busy, finished in looks:
        clock.now += pause
        runs += finished
        if silent_since is None or finished or not busy:
            silent_since = clock.now
        left = engine.seen(runs, busy=busy)
        assert left == (clock.now - silent_since >= SILENT_S) == (engine.left_at is not None)
        if left:
            return


def test_an_idle_engine_is_not_silent_and_its_first_work_starts_the_time():
    engine, clock = breaker()
    for busy, pause, left in ((False, 100, False), (False, 100, False), (True, 0, False), (True, SILENT_S, True)):
        clock.now += pause
        assert engine.seen(3, busy=busy) is left, (busy, pause)


@given(st.lists(st.one_of(st.none(), st.floats(0, 3 * WELL_S)), min_size=1, max_size=20))
def test_pauses_grow_while_it_does_not_stay_and_begin_anew_when_it_did(course):
    """Each step is a trial that fails (None), or one that succeeds and so many good seconds before it is left again."""
    engine, clock = breaker()
    leave(engine)
    expected = FIRST_PAUSE_S
    for well_s in course:
        assert engine.pause_s == expected
        clock.now += engine.pause_s
        if well_s is None:
            engine.still_away()
            expected = min(2 * expected, LONGEST_PAUSE_S)
            continue
        engine.back()
        assert engine.left_at is None
        back_at = clock.now
        clock.now += well_s
        leave(engine)
        well = clock.now - back_at >= WELL_S
        expected = FIRST_PAUSE_S if well else min(2 * expected, LONGEST_PAUSE_S)


def test_what_still_fails_while_it_is_away_counts_neither_now_nor_later():
    engine, clock = breaker()
    leave(engine)
    left_at = clock.now
    clock.now += 2.5
    assert [engine.failed(), engine.failed(), engine.seen(1, busy=True)] == [False] * 3
    clock.now += SILENT_S
    assert not engine.seen(1, busy=True)
    assert (engine.left_at, engine.pause_s) == (left_at, FIRST_PAUSE_S)
    assert engine.back() == 2.5 + SILENT_S
    assert not engine.seen(1, busy=True), "the new engine has not been silent so far"
    leave(engine)


def circuit(engine: DigitsEngine, clock: Clock, *, restarts: bool = True) -> Circuit:
    async def never() -> Batcher:
        raise AssertionError("it was asked to bring nothing back")

    batcher = Batcher(engine, max_batch_tokens=100, max_wait_s=10.0)
    return Circuit("tagger", batcher, NodeMetrics(), never if restarts else None, Breaker(clock))


async def test_an_engine_that_hangs_when_the_node_stops_is_closed_as_soon_as_it_can_be(tmp_path):
    engine, clock = DigitsEngine(release(tmp_path)), Clock()
    kept = circuit(engine, clock)
    await kept.submit("路1", FOREVER, Priority.BULK).answer
    engine.entered.clear()
    engine.gate.clear()
    hangs = kept.submit("路2", FOREVER, Priority.BULK)
    await running(engine)
    kept.admit(FOREVER, Priority.BULK)
    clock.now += SILENT_S
    for _ in range(2):
        with pytest.raises(EngineError):
            kept.admit(FOREVER, Priority.BULK)
    with pytest.raises(EngineError):
        await hangs.answer
    await asyncio.sleep(0)  # it is being closed
    await kept.stop()
    assert not engine.closed
    engine.gate.set()
    await until(lambda: engine.closed, "the run has ended")


@pytest.mark.parametrize("stopped", [False, True], ids=["nothing below", "stopped"])
async def test_an_engine_is_never_left_when_nothing_stands_below_it_or_the_node_stops(tmp_path, stopped):
    engine, clock = DigitsEngine(release(tmp_path), lambda text: RuntimeError() if "2" in text else None), Clock()
    kept = circuit(engine, clock, restarts=stopped)
    if stopped:
        await kept.stop()
    for _ in range(FAILURES + 1):
        kept.admit(FOREVER, Priority.BULK)
        with pytest.raises(EngineError):
            await kept.submit("路2", FOREVER, Priority.BULK).answer
        clock.now += SILENT_S
    assert await kept.submit("路1", FOREVER, Priority.BULK).answer
    assert kept.why is None
    await kept.batcher.close()
