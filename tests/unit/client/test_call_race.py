"""A call on virtual time: the real race, budget and choice, over simulated regions."""

import asyncio
import time

import msgspec
import pytest
from virtual_time import Region, course, now, run

from addrmesh.client.errors import ClientError, NoAnswer, ProblemError
from addrmesh.client.exchange import Request
from addrmesh.client.race import Course

REQUEST = Request("id-1", "POST", "/v1/address:parse", b"{}", msgspec.json.Decoder(str).decode)


def problem(status: int, code: str, **more: object) -> tuple[int, str | None, bytes]:
    return status, None, msgspec.json.encode({"status": status, "code": code, "detail": "why", **more})


async def call(asked: Course, deadline_s: float = 0.8, *, hedged: bool = True) -> str:
    return await asked.call(REQUEST, deadline_s, hedged=hedged)


async def load(asked: Course, rate: float, seconds: float, failures: list[ClientError]) -> int:
    """Send calls at fixed times, whatever becomes of them; collect what fails, return how many were sent."""

    async def one() -> None:
        try:
            await call(asked)
        except ClientError as error:
            failures.append(error)

    async with asyncio.TaskGroup() as group:
        for _ in range(round(rate * seconds)):
            group.create_task(one())
            await asyncio.sleep(1 / rate)
    return round(rate * seconds)


def lose(region: Region, how: str) -> None:
    if how == "silent":
        region.silent = True
    else:
        region.refusing = True


@pytest.mark.parametrize("how", ["silent", "refusing"])
@pytest.mark.parametrize("far_s", [0.035, 0.2])
@pytest.mark.parametrize("measured_s", [0.0, 4.0], ids=["from the start", "after a while"])
def test_a_region_lost_at_300_requests_a_second_fails_no_request(how, far_s, measured_s):
    near, far = Region(0.005), Region(far_s)

    async def scenario() -> tuple[list[ClientError], int]:
        asked, failures = course(near, far), []
        await load(asked, 300, measured_s, failures)
        lose(near, how)
        before = len(near.asked) + len(far.asked)
        calls = await load(asked, 300, 3, failures)
        second_tries = len(near.asked) + len(far.asked) - before - calls
        await asked.tasks.close()
        return failures, second_tries

    failures, second_tries = run(scenario())
    assert failures == []
    # Those under way until five had come back: 40-120 ms of delay, an answer of the other, a few more calls.
    assert second_tries <= 300 * (0.12 + far_s + 0.03) + 5


def test_a_region_that_comes_and_goes_fails_no_request_either():
    near, far = Region(0.005), Region(0.05)

    async def scenario() -> list[ClientError]:
        asked, failures = course(near, far), []
        for _ in range(12):
            await load(asked, 300, 1.3, failures)
            near.silent = not near.silent
        await asked.tasks.close()
        return failures

    assert run(scenario()) == []


def test_when_everything_is_slow_second_tries_are_a_tenth_of_the_calls_after_one_burst():
    regions = Region(0.3), Region(0.3)

    async def scenario() -> int:
        asked, failures = course(*regions), []
        calls = await load(asked, 100, 60, failures)
        await asked.tasks.close()
        assert failures == []
        return sum(len(region.asked) for region in regions) - calls

    assert run(scenario()) <= 100 + 0.1 * 6000


def test_when_everything_refuses_the_calls_are_not_multiplied():
    regions = Region(), Region()
    for region in regions:
        region.answers = lambda: problem(503, "overloaded")

    async def scenario() -> int:
        asked, failures = course(*regions), []
        calls = await load(asked, 100, 30, failures)
        await asked.tasks.close()
        assert len(failures) == calls
        return sum(len(region.asked) for region in regions) - calls

    assert run(scenario()) <= 101  # the calls of one second, both ends counted


def test_a_silent_endpoint_is_raced_after_the_delay_and_the_loser_is_cancelled():
    near, far = Region(0.005), Region(0.05)
    near.silent = True

    async def scenario() -> float:
        asked, began = course(near, far), now()
        assert await call(asked) == "ok"
        took = now() - began
        await asyncio.sleep(0)
        assert near.cancelled == 1
        await asked.tasks.close()
        return took

    assert run(scenario()) == pytest.approx(0.12 + 0.05)


def test_a_call_that_may_not_be_hedged_shares_its_time_between_three_tries():
    near, far = Region(0.005), Region(0.05)
    near.silent = far.silent = True

    async def scenario() -> None:
        asked, began = course(near, far), now()
        with pytest.raises(NoAnswer) as error:
            await call(asked, 30, hedged=False)
        assert now() - began == pytest.approx(30)
        assert [attempt.outcome for attempt in error.value.attempts] == ["silent"] * 3
        assert [attempt.elapsed_ms for attempt in error.value.attempts] == pytest.approx([10000] * 3, abs=50)
        await asked.tasks.close()

    run(scenario())


def test_the_service_is_told_what_is_left_of_the_deadline():
    near, far = Region(0.02), Region(0.05)
    near.refusing = True

    async def scenario() -> None:
        asked = course(near, far)
        for endpoint, rtt_s in zip(asked.fleet.endpoints, (0.0, 0.04), strict=True):
            endpoint.rtt_s, endpoint.probe_at = rtt_s, float("inf")
        await call(asked)

    run(scenario())
    assert near.told == pytest.approx([0.8])
    assert far.told == pytest.approx([0.8 - 0.03 - 0.04])  # less the jitter, less the way back


def test_nobody_answers_and_the_error_tells_the_story():
    near, far = Region(), Region()
    near.silent, far.refusing = True, True

    async def scenario() -> NoAnswer:
        asked, began = course(near, far), now()
        with pytest.raises(NoAnswer) as error:
            await call(asked)
        assert now() - began == pytest.approx(0.8)
        await asked.tasks.close()
        return error.value

    error = run(scenario())
    refused = [attempt.endpoint for attempt in error.attempts if attempt.outcome != "silent"]
    assert refused == ["http://region-1"] * 2  # the hedge and a retry; the other one is still being asked
    assert str(error).startswith(
        "no answer within 800 ms (request id-1): 3 attempts: "
        "http://region-1 connection refused or unreachable after 0 ms, "
    )
    assert "http://region-0 silent after 800 ms" in str(error)


def test_an_ejected_endpoint_is_raced_when_half_the_time_is_gone_and_nobody_else_is_left():
    near, far = Region(0.005), Region(0.05)
    near.silent = True

    async def scenario() -> float:
        asked, began = course(near, far), now()
        asked.fleet.endpoints[1].eject(now())
        assert await call(asked) == "ok"
        took = now() - began
        await asked.tasks.close()
        return took

    assert run(scenario()) == pytest.approx(0.4 + 0.05)


def test_a_stall_of_this_process_is_not_taken_for_a_slow_endpoint():
    near, far = Region(0.01), Region(0.01)

    async def scenario() -> None:
        asked = course(near, far)
        under_way = asyncio.create_task(call(asked))
        await asyncio.sleep(0.005)
        asyncio.get_running_loop()._now += 0.3  # type: ignore[attr-defined]
        assert await under_way == "ok"
        await asked.tasks.close()

    run(scenario())
    assert (len(near.asked), len(far.asked)) == (1, 0)


def test_a_spent_budget_is_named():
    near = Region()
    near.refusing = True

    async def scenario() -> str:
        asked = course(near)
        while asked.budget.spend(now()):
            pass
        with pytest.raises(NoAnswer) as error:
            await call(asked)
        await asked.tasks.close()
        return str(error.value)

    assert "the retry budget is spent" in run(scenario())


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 500])
def test_an_answer_that_another_try_cannot_better_ends_the_call(status):
    near, far = Region(), Region()
    near.answers = lambda: problem(status, "invalid-text")

    async def scenario() -> None:
        asked = course(near, far)
        with pytest.raises(ProblemError, match=rf"^{status} invalid-text: why"):
            await call(asked)
        await asked.tasks.close()

    run(scenario())
    assert (len(near.asked), len(far.asked)) == (1, 0)


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_an_answer_that_another_endpoint_may_better_goes_there(status):
    near, far = Region(), Region()
    near.answers = lambda: problem(status, "some-code")

    async def scenario() -> float:
        asked, began = course(near, far), now()
        assert await call(asked) == "ok"
        took = now() - began
        await asked.tasks.close()
        return took

    assert run(scenario()) == pytest.approx(0.01 + 0.03 + 0.01)


def test_one_that_says_retry_after_is_left_alone_and_the_other_asked_at_once():
    near, far = Region(), Region()
    near.answers = lambda: problem(503, "overloaded", retry_after_ms=200)

    async def scenario() -> float:
        asked, began = course(near, far), now()
        assert await call(asked) == "ok"
        took = now() - began
        await asked.tasks.close()
        return took

    assert run(scenario()) == pytest.approx(0.01 + 0.01)


def test_if_all_say_retry_after_the_call_waits_for_it_within_the_deadline():
    near, far = Region(), Region()
    far.answers = lambda: problem(503, "overloaded", retry_after_ms=500)
    near.answers = lambda: (
        problem(429, "rate-limited", retry_after_ms=200) if len(near.asked) < 2 else (200, None, b'"ok"')
    )

    async def scenario() -> float:
        asked, began = course(near, far), now()
        assert await call(asked) == "ok"
        took = now() - began
        await asked.tasks.close()
        return took

    assert run(scenario()) == pytest.approx(0.21 + 0.01)


def test_if_all_say_retry_after_the_deadline_the_call_ends_at_once_and_says_when():
    near, far = Region(), Region()
    near.answers = far.answers = lambda: (503, "1", problem(503, "overloaded")[2])

    async def scenario() -> None:
        asked, began = course(near, far), now()
        with pytest.raises(ProblemError) as error:
            await call(asked)
        assert now() - began == pytest.approx(0.02)
        assert (error.value.code, error.value.retry_after_s, len(error.value.attempts)) == ("overloaded", 1.0, 2)
        await asked.tasks.close()

    run(scenario())


def test_an_endpoint_that_says_it_drains_is_left_at_once():
    near, far = Region(), Region()
    near.answers = lambda: problem(503, "node-draining", retry_after_ms=1000)

    async def scenario() -> None:
        asked = course(near, far)
        for _ in range(5):
            await call(asked)
        await asked.tasks.close()

    run(scenario())
    assert (len(near.asked), len(far.asked)) == (1, 5)


def test_a_short_deadline_says_nothing_about_an_endpoint():
    near, far = Region(0.05), Region(0.05)

    async def scenario() -> None:
        asked = course(near, far)
        for _ in range(20):
            with pytest.raises(NoAnswer):
                await call(asked, 0.02)
        assert not any(endpoint.ejected for endpoint in asked.fleet.endpoints)
        await asked.tasks.close()

    run(scenario())


def test_the_first_call_does_not_wait_for_the_probes():
    near, far = Region(0.01), Region(0.4)

    async def scenario() -> float:
        asked, began = course(near, far), now()
        await call(asked)
        took = now() - began
        assert (near.probes, far.probes) == (["/livez"], ["/livez"])
        await asked.tasks.close()
        return took

    assert run(scenario()) == pytest.approx(0.01)


def test_a_nearer_endpoint_is_found_by_itself():
    first, nearer = Region(0.1), Region(0.01)

    async def scenario() -> None:
        asked = course(first, nearer)
        for _ in range(4):
            await call(asked)
        await asked.tasks.close()

    run(scenario())
    assert (len(first.asked), len(nearer.asked)) == (1, 3)


def test_a_caller_who_goes_away_takes_its_attempts_along():
    near, far = Region(), Region()
    near.silent = far.silent = True

    async def scenario() -> None:
        asked = course(near, far)
        task = asyncio.create_task(call(asked))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert (near.cancelled, far.cancelled) == (1, 1)
        assert not any(endpoint.ejected for endpoint in asked.fleet.endpoints)
        await asked.tasks.close()

    run(scenario())


def test_closing_ends_the_calls_under_way_and_refuses_others():
    near = Region()
    near.silent = True

    async def scenario() -> None:
        asked = course(near)
        task = asyncio.create_task(call(asked))
        await asyncio.sleep(0.1)
        await asked.tasks.close()
        with pytest.raises(ClientError, match="closed during the call"):
            await task
        with pytest.raises(ClientError, match="the client is closed"):
            await call(asked)

    run(scenario())


def test_virtual_time_is_virtual():
    began = time.monotonic()
    run(asyncio.sleep(3600))
    assert time.monotonic() - began < 60
