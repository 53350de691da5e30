import pytest
from hypothesis import given
from hypothesis import strategies as st

from addrmesh.client.endpoints import EJECT_MOST_S, EJECT_S, HEDGE_SAMPLES, PROBE_EVERY_S, Endpoint, Fleet


def fleet_of(*rtts: float | None) -> Fleet:
    return Fleet([Endpoint(f"http://region-{number}", rtt_s=rtt) for number, rtt in enumerate(rtts)])


def order(fleet: Fleet) -> list[int]:
    return [fleet.endpoints.index(endpoint) for endpoint in fleet.ranked()]


def fail(endpoint: Endpoint, times: int = 5, now: float = 0.0) -> None:
    for _ in range(times):
        endpoint.failed(now)


def test_the_nearest_comes_first():
    assert order(fleet_of(0.15, 0.02, 0.08)) == [1, 2, 0]


def test_until_all_are_measured_the_caller_knows_best():
    fleet = fleet_of(0.15, None)
    assert order(fleet) == [0, 1]
    fleet.endpoints[1].probed("/livez", 0.02, 0.0)
    assert order(fleet) == [1, 0]


def test_one_as_near_as_another_does_not_take_over():
    fleet = fleet_of(0.020, 0.016)
    assert order(fleet) == [0, 1]
    fleet.endpoints[1].rtt_s = 0.014
    assert order(fleet) == [1, 0]
    fleet.endpoints[1].rtt_s = 0.024
    assert order(fleet) == [1, 0]


def test_one_slow_probe_moves_nothing_but_a_lasting_change_does():
    fleet = fleet_of(0.010, 0.040)
    fleet.endpoints[0].probed("/livez", 0.090, 0.0)
    assert order(fleet) == [0, 1]
    for _ in range(3):
        fleet.endpoints[0].probed("/livez", 0.090, 0.0)
    assert order(fleet) == [1, 0]


def test_five_failures_in_a_row_eject():
    fleet = fleet_of(0.01, 0.02)
    fail(fleet.endpoints[0], 4)
    fleet.endpoints[0].answered(0.0)
    fail(fleet.endpoints[0], 4)
    assert order(fleet) == [0, 1]
    fail(fleet.endpoints[0], 1)
    assert order(fleet) == [1, 0]


@pytest.mark.parametrize(("pattern", "is_ejected"), [("xxxx.xxx.x", True), ("xxxx.xxx.", False), (".x" * 50, False)])
def test_more_failures_than_answers_eject_once_there_are_ten(pattern, is_ejected):
    endpoint = Endpoint("http://a")
    for mark in pattern:
        endpoint.failed(0.0) if mark == "x" else endpoint.answered(0.0)
    assert endpoint.ejected is is_ejected


def test_failures_are_forgotten_after_ten_seconds():
    endpoint = Endpoint("http://a")
    for mark in "xxxx.xxxx":
        endpoint.failed(0.0) if mark == "x" else endpoint.answered(0.0)
    endpoint.answered(10.0)
    endpoint.failed(10.0)
    assert not endpoint.ejected


def test_if_none_works_all_are_used():
    fleet = fleet_of(0.02, 0.01)
    for endpoint in fleet.endpoints:
        fail(endpoint)
    assert sorted(order(fleet)) == [0, 1]


def test_everything_is_probed_at_first_use_and_then_now_and_again():
    fleet = fleet_of(None, None)
    assert [path for _, path in fleet.due_probes(0.0)] == ["/livez", "/livez"]
    assert fleet.due_probes(0.1) == []
    for endpoint in fleet.endpoints:
        endpoint.probed("/livez", 0.01, 0.2)
    assert fleet.due_probes(0.1 + PROBE_EVERY_S) == []
    assert len(fleet.due_probes(0.2 + PROBE_EVERY_S)) == 2


def test_an_ejected_endpoint_comes_back_when_it_says_it_is_ready():
    fleet = fleet_of(0.01, 0.02)
    away = fleet.endpoints[0]
    away.probe_at = fleet.endpoints[1].probe_at = 50.0
    fail(away, now=1.0)
    assert fleet.due_probes(1.0 + EJECT_S - 0.01) == []
    assert fleet.due_probes(1.0 + EJECT_S) == [(away, "/readyz")]
    away.probed("/readyz", None, 3.0)
    assert away.ejected
    assert fleet.due_probes(3.0 + EJECT_S) == [(away, "/readyz")]
    away.probed("/readyz", 0.01, 5.0)
    assert order(fleet) == [0, 1]
    fail(away, 4, now=5.0)
    assert not away.ejected, "failures before the ejection are forgotten"


def test_a_measurement_that_was_under_way_does_not_bring_an_ejected_endpoint_back():
    fleet = fleet_of(None, None)
    assert len(fleet.due_probes(0.0)) == 2
    fail(fleet.endpoints[0])
    fleet.endpoints[0].probed("/livez", 0.01, 0.1)
    assert fleet.endpoints[0].ejected
    assert fleet.due_probes(EJECT_S) == [(fleet.endpoints[0], "/readyz")]


def test_one_that_keeps_failing_after_it_came_back_stays_away_longer():
    endpoint, now, waits = Endpoint("http://a"), 0.0, []
    for _ in range(8):
        fail(endpoint, now=now)
        waits.append(endpoint.probe_at - now)
        now = endpoint.probe_at
        endpoint.probed("/readyz", 0.01, now)
    assert waits == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30])
    now += EJECT_MOST_S
    fail(endpoint, now=now)
    assert endpoint.probe_at - now == pytest.approx(EJECT_S)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["fail", "answer", "eject", "back", "lost"])), max_size=80)
)
def test_everybody_can_be_asked_but_the_ejected_come_last(steps):
    fleet = fleet_of(0.01, 0.02, 0.03)
    for now, (number, step) in enumerate(steps):
        endpoint = fleet.endpoints[number]
        match step:
            case "fail":
                endpoint.failed(float(now))
            case "answer":
                endpoint.answered(float(now), 0.01)
            case "eject":
                endpoint.eject(float(now))
            case _:
                endpoint.probed("/readyz", 0.01 if step == "back" else None, float(now))
        ranked = fleet.ranked()
        assert sorted(map(id, ranked)) == sorted(map(id, fleet.endpoints))
        assert [e.ejected for e in ranked] == sorted(e.ejected for e in ranked)


@given(st.lists(st.floats(0.001, 0.6), max_size=150), st.floats(0.1, 30))
def test_a_hedge_waits_for_the_95th_percentile_within_its_bounds(latencies, left_s):
    endpoint = Endpoint("http://a")
    for latency in latencies:
        endpoint.answered(0.0, latency)
    delay, recent = endpoint.hedge_delay_s(left_s), latencies[-100:]
    assert delay <= left_s / 2
    if len(latencies) < HEDGE_SAMPLES:
        assert delay == min(0.12, left_s / 2)
    elif delay not in (0.04, left_s / 2):
        assert sum(latency > delay for latency in recent) <= 0.05 * len(recent)
        assert sum(latency >= delay for latency in recent) >= 0.05 * len(recent)
    else:
        assert delay >= min(0.04, left_s / 2)


def test_a_far_endpoint_has_three_round_trips_to_connect_and_an_unknown_one_a_second():
    assert Endpoint("http://a", rtt_s=0.01).connect_timeout_s(0.1) == 0.1
    assert Endpoint("http://a", rtt_s=0.15).connect_timeout_s(0.1) == pytest.approx(0.45)
    assert Endpoint("http://a").connect_timeout_s(0.1) == 1.0
