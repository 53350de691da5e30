"""Derived numbers: they reproduce what the drills measured, and the linter knows each trap by name."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addrmesh.topology.figures import derive, lint, round_trip_ms
from addrmesh.topology.spec import FleetSpec

PLACES = {"eu": (50.1, 8.7), "cn": (31.2, 121.5), "us": (39.0, -77.5)}


def fleet(*names: str, nodes: int = 2, peak: float = 300, round_trips: Any = (), **sections: Any) -> FleetSpec:
    ports = iter(range(20000, 21000))
    return FleetSpec.model_validate(
        {
            "regions": [
                {
                    "name": name,
                    "location": dict(zip(("latitude", "longitude"), PLACES[name], strict=True)),
                    "peak_rps": peak,
                    "nodes": [{"name": f"node-{i}", "port": next(ports)} for i in range(nodes)],
                    "edge": {"port": next(ports), "admin_port": next(ports)},
                }
                for name in names
            ],
            "round_trips": [{"between": pair, "ms": ms} for pair, ms in round_trips],
            **sections,
        }
    )


def near_and_far(ms: float = 30, **sections: Any) -> FleetSpec:
    return fleet("eu", "cn", round_trips=[(("eu", "cn"), ms)], **sections)


def test_the_settings_that_lost_no_request_in_the_drills_are_what_is_derived_for_their_fleet() -> None:
    figures = derive(near_and_far(peak=150, capacity={"node_rps": 220}), "eu")
    assert (figures.per_try_ms, figures.route_timeout_ms, figures.panic_percent) == (100, 2000, 30)
    assert figures.min_retry_concurrency == 113  # 1.5 × 300 requests a second × 250 ms; 120 was used
    assert figures.retry_budget_percent == 50
    assert (figures.probe_interval_ms, figures.probe_timeout_ms) == (250, 200)


def test_a_survivor_is_not_driven_beyond_its_capacity() -> None:
    at_68_per_cent = near_and_far(peak=300, capacity={"node_rps": 300 / 2 / 0.68})
    factor = derive(at_68_per_cent, "eu").overprovisioning_percent
    assert factor * 0.68 == pytest.approx(80, abs=1)  # 140 drove it to 95 %
    assert derive(near_and_far(peak=900), "eu").overprovisioning_percent == 177
    assert derive(near_and_far(peak=2000), "eu").overprovisioning_percent == 100


@settings(deadline=None)
@given(st.floats(0, 400), st.floats(1, 200))
def test_a_healthy_node_of_another_region_is_never_taken_for_a_failing_one(ms: float, p99: float) -> None:
    figures = derive(near_and_far(ms, capacity={"p99_ms": p99}), "eu")
    assert figures.per_try_ms > ms + p99
    assert figures.probe_timeout_ms >= ms + p99
    assert figures.connect_timeout_ms >= 2 * ms
    assert figures.route_timeout_ms >= figures.tries * figures.per_try_ms


@settings(deadline=None)
@given(st.floats(1, 10_000), st.floats(0, 400))
def test_the_retry_budget_covers_a_region_that_hangs(peak: float, ms: float) -> None:
    figures = derive(near_and_far(ms, peak=peak), "eu")
    held_s = max(figures.per_try_ms, figures.connect_timeout_ms) / 1000
    assert figures.min_retry_concurrency >= 1.5 * 2 * peak * held_s


def test_a_round_trip_is_the_specs_or_else_estimated_from_the_map() -> None:
    spec = fleet("eu", "cn", "us", round_trips=[(("cn", "eu"), 31)])
    eu, cn, us = spec.regions
    assert round_trip_ms(spec, eu, cn) == round_trip_ms(spec, cn, eu) == 31
    assert round_trip_ms(spec, eu, us) == pytest.approx(131, abs=2)  # Frankfurt to Virginia: 6,540 km
    assert round_trip_ms(spec, eu, eu) == 0


def test_derived_figures_are_never_warned_of() -> None:
    derived = derive(near_and_far(), "eu")
    names = ("per_try_ms", "route_timeout_ms", "min_retry_concurrency", "overprovisioning_percent", "panic_percent")
    assert lint(near_and_far()) == lint(near_and_far(peak=900, overrides={"overprovisioning_percent": 177})) == []
    assert lint(near_and_far(overrides={name: getattr(derived, name) for name in names})) == []


@pytest.mark.parametrize(
    ("override", "trap"),
    [
        ({"per_try_ms": 35}, "a healthy node of the farthest region takes 40 ms"),
        ({"per_try_ms": 500}, "held by a hung node"),
        ({"route_timeout_ms": 200}, "no time for a second node"),
        ({"retry_budget_percent": 25}, "25 to 40 lost requests"),
        ({"retry_budget_percent": 95}, "doubles the load"),
        ({"min_retry_concurrency": 50}, "more requests than this must be retried"),
        ({"overprovisioning_percent": 250}, "would be driven to 112 % of their capacity"),
        ({"panic_percent": 0}, "fails closed"),
        ({"panic_percent": 80}, "dead nodes get traffic"),
        ({"probe_interval_ms": 5000}, "keeps its traffic"),
        ({"probe_timeout_ms": 20}, "all its probes would be red"),
    ],
)
def test_each_unsafe_override_is_warned_of_by_its_trap(override: dict[str, float], trap: str) -> None:
    (warning,) = lint(near_and_far(peak=900, overrides=override))
    assert trap in str(warning)
    assert str(warning).startswith(f"overrides.{next(iter(override))}: found ")


def test_an_override_replaces_the_derived_value_and_what_follows_from_it() -> None:
    figures = derive(near_and_far(overrides={"per_try_ms": 400, "panic_percent": 0}), "eu")
    assert (figures.per_try_ms, figures.panic_percent) == (400, 0)
    assert figures.min_retry_concurrency == 360
