"""The routing function: what holds for every fleet, and what it says about one."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addrmesh.edge import envoy, nginx
from addrmesh.errors import ConfigError
from addrmesh.topology.routing import (
    NoRegionLeft,
    Traffic,
    Verdicts,
    capacity_findings,
    explain,
    route,
    validate,
    zone,
)
from addrmesh.topology.spec import FleetSpec


@st.composite
def fleets(draw: st.DrawFn) -> FleetSpec:
    ports = iter(range(20000, 21000))
    return FleetSpec.model_validate(
        {
            "regions": [
                {
                    "name": f"r{i}",
                    "location": {"latitude": draw(st.floats(-90, 90)), "longitude": draw(st.floats(-180, 180))},
                    "nodes": [{"name": f"n{j}", "port": next(ports)} for j in range(draw(st.integers(1, 3)))],
                    "edge": {"port": next(ports), "admin_port": next(ports)},
                }
                for i in range(draw(st.integers(1, 4)))
            ]
        }
    )


@st.composite
def situations(draw: st.DrawFn) -> tuple[FleetSpec, Traffic, Verdicts]:
    spec = draw(fleets())
    nodes = [f"{r.name}/{n.name}" for r in spec.regions for n in r.nodes]
    some_nodes, some_regions = (
        st.lists(st.sampled_from(nodes)),
        st.lists(st.sampled_from([r.name for r in spec.regions])),
    )
    weights = st.dictionaries(st.sampled_from(nodes), st.integers(1, 100))
    traffic = Traffic(tuple(draw(some_nodes)), tuple(draw(some_regions)), draw(weights))
    return spec, traffic, Verdicts(draw(weights), tuple(draw(some_nodes)), tuple(draw(some_regions)))


@settings(deadline=None, max_examples=60)
@given(situations())
def test_every_node_is_in_every_table_exactly_once_and_its_own_region_first(situation: Any) -> None:
    spec, traffic, verdicts = situation
    everyone = sorted(f"{r.name}/{n.name}" for r in spec.regions for n in r.nodes)
    for region in spec.regions:
        table = route(spec, region.name, traffic, verdicts)
        assert sorted(e.id for group in table.groups for e in group.endpoints) == everyone
        assert table.groups[0].region == region.name
        assert [g.round_trip_ms for g in table.groups] == sorted(g.round_trip_ms for g in table.groups)


@settings(deadline=None, max_examples=60)
@given(situations())
def test_a_drained_node_is_marked_and_nobody_else_is(situation: Any) -> None:
    spec, traffic, verdicts = situation
    for group in route(spec, spec.regions[0].name, traffic, verdicts).groups:
        for e in group.endpoints:
            assert e.is_draining == (e.id in traffic.drained_nodes or group.region in traffic.drained_regions)
            assert 1 <= e.weight <= 100


@settings(deadline=None, max_examples=60)
@given(situations())
def test_equal_situations_give_equal_bytes(situation: Any) -> None:
    spec, traffic, verdicts = situation
    again = FleetSpec.model_validate(spec.model_dump())
    for render in (envoy.render, nginx.render):
        assert render(route(spec, "r0", traffic, verdicts)) == render(route(again, "r0", traffic, verdicts))


@settings(deadline=None, max_examples=60)
@given(situations())
def test_nginx_is_never_left_without_a_server(situation: Any) -> None:
    spec, traffic, verdicts = situation
    (file,) = nginx.render(route(spec, "r0", traffic, verdicts))
    for upstream in file.content.decode().split("upstream nearest_")[1:]:
        assert any("server 127" in line and " down;" not in line for line in upstream.partition("}")[0].splitlines())


@settings(deadline=None, max_examples=60)
@given(situations(), st.ip_addresses())
def test_an_explanation_names_every_region_once_and_agrees_with_the_table(situation: Any, client: Any) -> None:
    spec, traffic, verdicts = situation
    explanation = explain(spec, str(client), traffic, verdicts)
    assert sorted(c.region for c in explanation.regions) == sorted(r.name for r in spec.regions)
    table = route(spec, explanation.regions[0].region, traffic, verdicts)
    assert [c.region for c in explanation.groups] == [g.region for g in table.groups]
    assert all(c.reason for c in (*explanation.regions, *explanation.groups))


SPEC = FleetSpec.model_validate(
    {
        "regions": [
            {
                "name": name,
                "location": {"latitude": latitude, "longitude": longitude},
                "client_networks": networks,
                "nodes": [{"name": f"node-{i}", "port": port + i} for i in (1, 2)],
                "edge": {"port": port, "admin_port": port + 9},
            }
            for name, port, latitude, longitude, networks in (
                ("eu", 8100, 50.1, 8.7, ["10.1.0.0/16", "10.0.0.0/8"]),
                ("cn", 8200, 31.2, 121.5, ["10.2.0.0/16"]),
                ("us", 8300, 39.0, -77.5, []),
            )
        ]
    }
)


def test_a_client_goes_to_the_region_of_its_narrowest_network() -> None:
    explanation = explain(SPEC, "10.2.3.4")
    assert explanation.network == "10.2.0.0/16"
    assert [(c.region, c.reason) for c in explanation.regions] == [
        ("cn", "client network 10.2.0.0/16"),
        ("eu", "8823 km from cn"),
        ("us", "11966 km from cn"),
    ]
    assert explanation.groups[0].reason == "the edge's own region: 2 of 2 nodes take requests"


def test_a_client_whose_region_is_dead_goes_to_the_nearest_of_the_others() -> None:
    explanation = explain(SPEC, "10.1.3.4", Traffic(drained_nodes=("us/node-1",)), Verdicts(dead_regions=("eu",)))
    assert [c.region for c in explanation.regions] == ["us", "cn", "eu"]
    assert explanation.regions[-1].reason == "left out of DNS: is believed dead"
    assert explanation.groups[0].reason == "the edge's own region: 1 of 2 nodes take requests, 1 draining"


def test_when_every_region_is_out_every_region_is_in() -> None:
    explanation = explain(SPEC, "10.1.3.4", verdicts=Verdicts(dead_regions=("eu", "cn", "us")))
    assert explanation.regions[0].region == "eu"
    assert not any("left out" in c.reason for c in explanation.regions)


def test_a_client_that_is_no_address_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'10\.1' is not an IP address"):
        explain(SPEC, "10.1")


def test_weights_of_operators_and_supervisors_multiply() -> None:
    table = route(SPEC, "eu", Traffic(weights={"eu/node-1": 50}), Verdicts(weights={"eu/node-1": 50, "eu/node-2": 1}))
    assert [e.weight for e in table.groups[0].endpoints] == [25, 1]


def test_each_region_is_probed_for_its_own_release() -> None:
    table = route(SPEC, "eu", releases={"eu": "small@1", "cn": "small@2"})
    told = {group.region: {e.release for e in group.endpoints} for group in table.groups}
    assert told == {"eu": {"small@1"}, "cn": {"small@2"}, "us": {None}}


def test_unknown_names_are_all_refused_with_a_suggestion() -> None:
    traffic = Traffic(("eu/node1",), ("cnn",), {"mars/node-1": 3})
    with pytest.raises(ConfigError) as refused:
        validate(SPEC, traffic)
    assert str(refused.value).splitlines() == [
        "traffic.drained_nodes: 'eu/node1' is not a node of this fleet; did you mean eu/node-1?",
        "traffic.drained_regions: 'cnn' is not a region of this fleet; did you mean cn?",
        "traffic.weights: 'mars/node-1' is not a node of this fleet; did you mean us/node-1?",
    ]


def test_the_last_region_cannot_be_drained() -> None:
    validate(SPEC, Traffic(drained_regions=("eu", "cn")))
    with pytest.raises(NoRegionLeft):
        validate(SPEC, Traffic(("us/node-1", "us/node-2"), ("eu", "cn")))


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"weights": {"eu/node-1": 0}}, ">= 1"),
        ({"drained": []}, "drained"),
        ([], "object"),
    ],
)
def test_a_document_that_is_not_one_is_refused(document: Any, found: str) -> None:
    with pytest.raises(ConfigError, match=rf"traffic: .*{found}"):
        Traffic.from_dict(document)


@settings(deadline=None, max_examples=60)
@given(situations())
def test_a_document_survives_being_written_and_read(situation: Any) -> None:
    assert Traffic.from_dict(situation[1].to_dict()) == situation[1]


def with_capacity(node_rps: float) -> FleetSpec:
    return SPEC.model_copy(update={"capacity": SPEC.capacity.model_copy(update={"node_rps": node_rps})})


def test_a_fleet_carries_its_peak_without_its_largest_region() -> None:
    assert capacity_findings(with_capacity(225), Traffic()) == []  # 4 × 225 = 900, the peak
    (finding,) = capacity_findings(with_capacity(200), Traffic())
    assert (finding.name, finding.detail) == (
        "region-loss",
        "without region eu the fleet answers 800 requests a second, its peak is 900",
    )


def test_while_a_region_is_drained_the_loss_of_a_node_must_be_bearable() -> None:
    drained = Traffic(drained_regions=("us",))
    assert capacity_findings(with_capacity(300), drained) == []
    assert [f.name for f in capacity_findings(with_capacity(250), drained)] == ["node-loss"]
    assert [f.name for f in capacity_findings(SPEC, Traffic(drained_regions=("eu", "cn", "us")))] == ["no-region-left"]


def test_dns_needs_addresses_and_does_not_depend_on_what_happens() -> None:
    assert [p.verdict_url for p in zone(SPEC).places] == [f"{SPEC.url(r.edge)}/regionz" for r in SPEC.regions]
    eu, *others = SPEC.regions
    named = SPEC.model_copy(
        update={"regions": (eu.model_copy(update={"edge": eu.edge.model_copy(update={"host": "edge.eu"})}), *others)}
    )
    with pytest.raises(ConfigError, match=r"regions\[0\]\.edge\.host: found 'edge\.eu'"):
        zone(named)


def test_an_envoy_edge_refuses_host_names_before_envoy_does() -> None:
    eu, *others = SPEC.regions
    node = eu.nodes[0].model_copy(update={"host": "node-1.internal"})
    named = SPEC.model_copy(update={"regions": (eu.model_copy(update={"nodes": (node,)}), *others)})
    with pytest.raises(ConfigError, match=r"found 'node-1\.internal', allowed with an Envoy edge: an IP address"):
        envoy.render(route(named, "cn"))
