import pytest

from addrmesh.fleet.local import local_spec
from addrmesh.fleet.plan import Plan, UnsafePlan, make_plan
from addrmesh.topology.routing import Traffic
from addrmesh.topology.spec import FleetSpec, Overrides

SPEC = local_spec(regions=2, nodes=2, port=8000)


def plan(wanted: FleetSpec, traffic: Traffic | None = None, **releases: str) -> Plan:
    return make_plan(SPEC, wanted, traffic or Traffic(), releases)


def names(made: Plan) -> list[str]:
    return [refusal.name for refusal in made.refusals]


def with_node_rps(node_rps: float) -> FleetSpec:
    return SPEC.model_copy(update={"capacity": SPEC.capacity.model_copy(update={"node_rps": node_rps})})


def test_the_same_spec_changes_nothing_and_is_safe() -> None:
    made = plan(SPEC, eu="r@000000000000", cn="r@000000000000")
    assert (made.changes, made.warnings, made.refusals) == ((), (), ())
    made.raise_if_unsafe()


def test_a_change_is_shown_with_the_figures_that_follow_from_it() -> None:
    eu, cn = SPEC.regions
    wanted = SPEC.model_copy(update={"regions": (eu.model_copy(update={"peak_rps": 400.0}), cn)})
    shown = [str(change) for change in plan(wanted).changes]
    assert "~ regions[eu].peak_rps: 300.0 → 400.0" in shown
    assert any(line.startswith("~ figures[cn].min_retry_concurrency: ") for line in shown)
    assert plan(wanted).digest != plan(SPEC).digest


def test_a_first_spec_is_all_additions() -> None:
    assert {change.kind for change in make_plan(None, SPEC, Traffic(), {}).changes} == {"add"}


def test_a_removed_node_is_a_removal() -> None:
    eu, cn = SPEC.regions
    wanted = SPEC.model_copy(update={"regions": (eu.model_copy(update={"nodes": eu.nodes[:1]}), cn)})
    assert "- regions[eu].nodes[node-2].port: 8002" in [str(change) for change in plan(wanted).changes]


@pytest.mark.parametrize(
    ("made", "refused"),
    [
        (plan(with_node_rps(200)), ["region-loss"]),
        (plan(with_node_rps(150)), ["region-loss", "node-loss"]),
        (plan(SPEC, Traffic(drained_regions=("eu", "cn"))), ["no-region-left"]),
        (plan(SPEC, Traffic(drained_nodes=("eu/node-9",))), ["unknown-name"]),
        (plan(SPEC, eu="r@000000000000", cn="r@111111111111"), ["mixed-releases"]),
    ],
)
def test_an_unsafe_plan_is_refused_by_name_unless_each_name_is_forced(made: Plan, refused: list[str]) -> None:
    assert names(made) == refused
    with pytest.raises(UnsafePlan) as caught:
        made.raise_if_unsafe(frozenset(refused[1:]))
    assert f"--force {refused[0]}" in str(caught.value)
    made.raise_if_unsafe(frozenset(refused))


def test_an_override_that_loses_requests_is_warned_of() -> None:
    wanted = SPEC.model_copy(update={"overrides": Overrides(panic_percent=0)})
    (warning,) = plan(wanted).warnings
    assert "fails closed" in str(warning)
