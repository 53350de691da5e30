from hypothesis import given
from hypothesis import strategies as st

from addrmesh.client.budget import DEPTH_S, EARNED_PER_SUCCESS, LEAST_TOKENS, RetryBudget

events = st.lists(st.sampled_from(["begin", "succeed", "spend", "pass 0.1 s", "pass 2 s"]), max_size=300)


@given(events)
def test_second_tries_never_exceed_the_deepest_bucket_and_a_tenth_of_the_successes(events):
    budget, now, spent, earned, begun, deepest = RetryBudget(), 0.0, 0, 0.0, [], LEAST_TOKENS
    for event in events:
        if event == "begin":
            budget.begin(now)
            begun.append(now)
        elif event == "succeed":
            budget.succeed()
            earned += EARNED_PER_SUCCESS
        elif event == "spend":
            spent += budget.spend(now)
        else:
            now += float(event.split()[1])
        deepest = max(deepest, sum(at > now - DEPTH_S for at in begun))
        assert spent <= deepest + earned + 1e-6


@given(st.integers(0, 400))
def test_every_call_that_may_be_under_way_has_a_second_try(calls):
    budget = RetryBudget()
    for number in range(calls):
        budget.begin(number * DEPTH_S / 400)
    granted = sum(budget.spend(0.999 * DEPTH_S) for _ in range(1000))
    assert granted == max(10, calls)


def test_the_depth_goes_with_the_traffic_that_needed_it():
    budget = RetryBudget()
    for _ in range(100):
        budget.begin(0.0)
    assert sum(budget.spend(DEPTH_S) for _ in range(100)) == 10


def test_ten_successes_earn_one_second_try():
    budget = RetryBudget()
    assert sum(budget.spend(0.0) for _ in range(20)) == 10
    for _ in range(9):
        budget.succeed()
    assert not budget.spend(0.0)
    budget.succeed()
    budget.succeed()  # one for the rounding of tenths
    assert budget.spend(0.0)
    assert not budget.spend(0.0)
