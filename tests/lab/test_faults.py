"""
Faults of nodes, regions and stores, on a fleet that repairs nothing, 30 ms between its regions.

Each test is named in `docs/explanation/failure-modes.md`. A fault of one region is put to its own users alone.
"""

from addrmesh.fleet.verdict import FULL_WEIGHT
from conftest import Drill
from support.lab import NODES, REGIONS, RPS, Lab, wait_until
from support.links import dropped, tampered
from support.load import Load, client

EU = ("eu/node-1", "eu/node-2")
SLOWER_S = 0.3
CONVERGED_S = 1.5
OUTLIERS = 0.03
"""Share of requests that may be slow after that: other work on a shared machine delays some now and then."""


def has_converged(load: Load) -> bool:
    return load.slow_share(load.began_s + CONVERGED_S, load.ended_s) <= OUTLIERS


def test_a_killed_node_costs_no_request(lab: Lab, drill: Drill) -> None:
    drill.run(lab.killed("cn/node-1"), drill.edges["cn"])


def test_a_hung_node_costs_no_request(lab: Lab, drill: Drill) -> None:
    assert has_converged(drill.run(lab.hung("cn/node-2"), drill.edges["cn"]))


def test_a_node_that_answers_errors_costs_no_request(lab: Lab, drill: Drill) -> None:
    drill.run(tampered(lab.links_to("eu/node-1"), error_share=0.3), drill.edges["eu"])


def test_a_slow_node_loses_weight_and_users_stop_noticing(lab: Lab, drill: Drill) -> None:
    with drill.load(drill.edges["eu"]) as load:
        load.goes_on(2)
        with load.fault(), tampered(lab.links_to("eu/node-2"), extra_s=SLOWER_S):
            took = wait_until(
                lambda: all(lab.weight("eu/node-2", seen_from=here) < FULL_WEIGHT for here in REGIONS), "it weighs less"
            )
            load.goes_on(3)
        load.goes_on(1)
    recovered = load.p99_ms(load.ended_s - 2.5, load.ended_s)
    drill.report(load, f"lost its weight after {took:.1f} s, p99 then {recovered:g} ms")
    assert took < 6
    assert recovered < 100


def test_a_fleet_that_is_slow_everywhere_costs_no_request(lab: Lab, drill: Drill) -> None:
    drill.run(tampered(lab.links_to(*NODES), extra_s=SLOWER_S))
    assert all(lab.weight(node, seen_from="eu") == FULL_WEIGHT for node in NODES)


def test_healthy_nodes_whose_probes_are_all_red_cost_no_request(lab: Lab, drill: Drill) -> None:
    drill.run(tampered(lab.links_to(*NODES), is_red=True))


def test_a_lost_region_costs_no_request_and_little_time(lab: Lab, drill: Drill) -> None:
    load = drill.run(lab.killed(*EU), drill.edges["eu"])
    assert load.figures().fault_p99_ms <= 250
    assert has_converged(load)


def test_a_hung_region_costs_no_request(lab: Lab, drill: Drill) -> None:
    assert has_converged(drill.run(lab.hung(*EU), drill.edges["eu"]))


def test_a_region_in_a_black_hole_costs_no_request(lab: Lab, drill: Drill) -> None:
    assert has_converged(drill.run(dropped(lab.links_to(*EU)), drill.edges["eu"]))


def test_a_cut_between_the_regions_costs_no_request(lab: Lab, drill: Drill) -> None:
    drill.run(dropped(link for (here, node), link in lab.links.items() if not node.startswith(here)))


def test_a_region_lost_with_its_edge_costs_users_of_the_client_no_request(lab: Lab, drill: Drill) -> None:
    users = client(lab.edges["eu"], lab.distant_edge("cn"))
    # Half the load: the client is more work than a bare request, and shares the cores with the fleet.
    load = drill.run(lab.killed("eu/edge", *EU), users, rps=RPS / 2)
    assert has_converged(load)


def test_a_lost_edge_does_cost_users_who_know_no_other(lab: Lab, drill: Drill) -> None:
    """And so the load counts failures where there are some."""
    with drill.load() as load, load.fault(), lab.killed("eu/edge"):
        load.goes_on(1)
    failed = load.failures
    assert failed
    assert {sent.door for sent in failed} == {0}


def test_the_store_of_one_region_is_not_needed_to_answer(lab: Lab, drill: Drill) -> None:
    drill.run(lab.killed("eu/primary", "eu/replica-cn"))


def test_no_store_at_all_is_needed_to_answer(lab: Lab, drill: Drill) -> None:
    drill.run(lab.killed("eu/primary", "eu/replica-cn", "cn/primary", "cn/replica-eu"))
