from hypothesis import given
from hypothesis import strategies as st

from addrmesh.fleet.verdict import (
    FALL_ROUNDS,
    FRESH_S,
    FULL_WEIGHT,
    RISE_ROUNDS,
    SLOW_WEIGHT,
    NodeSeen,
    Observation,
    Verdict,
    judge,
)

NODES = ["eu/a", "eu/b", "eu/c", "cn/a", "cn/b"]


def seen(vantage: str, at: float = 0.0, **odd: NodeSeen) -> Observation:
    usual = {node: NodeSeen(True, 2.0 if node.startswith(vantage) else 32.0) for node in NODES}
    return Observation(vantage, at, usual | {name.replace("_", "/"): node for name, node in odd.items()})


def after(rounds: int, observations: list[Observation], before: dict[str, Verdict] | None = None) -> dict[str, Verdict]:
    verdicts = before or {}
    for _ in range(rounds):
        verdicts = judge(verdicts, observations, nodes=NODES, now=0.0)
    return verdicts


SLOW_EU_A = [seen("eu", eu_a=NodeSeen(True, 302.0)), seen("cn", eu_a=NodeSeen(True, 332.0))]
DEAD_EU_A = [seen("eu", eu_a=NodeSeen(False)), seen("cn", eu_a=NodeSeen(False))]
ALL_WELL = [seen("eu"), seen("cn")]


def test_a_node_that_two_places_see_slow_loses_weight_but_not_all_of_it() -> None:
    assert after(FALL_ROUNDS - 1, SLOW_EU_A)["eu/a"].weight == FULL_WEIGHT
    verdicts = after(FALL_ROUNDS, SLOW_EU_A)
    assert {node: v.weight for node, v in verdicts.items()} == dict.fromkeys(NODES, FULL_WEIGHT) | {"eu/a": SLOW_WEIGHT}


def test_one_witness_moves_nothing() -> None:
    for witness in (SLOW_EU_A, DEAD_EU_A):
        verdict = after(50, [witness[0], ALL_WELL[1]])["eu/a"]
        assert (verdict.weight, verdict.is_alive) == (FULL_WEIGHT, True)


def test_witnesses_that_are_outvoted_move_nothing() -> None:
    edges = [seen("eu edge", eu_a=NodeSeen(False)), seen("cn edge", eu_a=NodeSeen(False))]
    assert after(50, [*ALL_WELL, *edges])["eu/a"].is_alive
    assert not after(FALL_ROUNDS, [DEAD_EU_A[0], ALL_WELL[1], *edges])["eu/a"].is_alive


def test_an_old_observation_is_no_witness() -> None:
    old = Observation("cn", -FRESH_S - 0.1, DEAD_EU_A[1].nodes)
    assert after(50, [DEAD_EU_A[0], old])["eu/a"].is_alive


def test_weight_comes_back_later_than_it_went() -> None:
    slow = after(FALL_ROUNDS, SLOW_EU_A)
    assert after(RISE_ROUNDS - 1, ALL_WELL, slow)["eu/a"].weight == SLOW_WEIGHT
    assert after(RISE_ROUNDS, ALL_WELL, slow)["eu/a"].weight == FULL_WEIGHT


def test_a_single_good_round_starts_the_count_again() -> None:
    verdicts = after(FALL_ROUNDS - 1, SLOW_EU_A)
    verdicts = after(1, ALL_WELL, verdicts)
    assert after(FALL_ROUNDS - 1, SLOW_EU_A, verdicts)["eu/a"].weight == FULL_WEIGHT


def test_a_region_that_is_slow_as_a_whole_keeps_its_weights() -> None:
    slow = NodeSeen(True, 400.0)
    both = [seen(v, eu_a=slow, eu_b=slow) for v in ("eu", "cn")]
    assert all(v.weight == FULL_WEIGHT for v in after(20, both).values())


def test_distance_is_not_slowness() -> None:
    assert all(v.weight == FULL_WEIGHT for v in after(20, ALL_WELL).values())


def test_a_dead_node_is_declared_dead_and_alive_again() -> None:
    dead = after(FALL_ROUNDS, DEAD_EU_A)
    assert [node for node, v in dead.items() if not v.is_alive] == ["eu/a"]
    assert after(FALL_ROUNDS, ALL_WELL, dead)["eu/a"].is_alive


@given(
    st.lists(
        st.lists(
            st.builds(
                Observation,
                st.sampled_from(["eu", "cn", "eu edge"]),
                st.floats(-10, 0),
                st.dictionaries(
                    st.sampled_from(NODES), st.builds(NodeSeen, st.booleans(), st.none() | st.floats(0, 1e5))
                ),
            ),
            max_size=3,
        ),
        max_size=30,
    )
)
def test_whatever_is_seen_every_node_keeps_some_weight(
    rounds: list[list[Observation]],
) -> None:
    verdicts: dict[str, Verdict] = {}
    for observations in rounds:
        verdicts = judge(verdicts, observations, nodes=NODES, now=0.0)
        assert set(verdicts) == set(NODES)
        assert all(v.weight in (SLOW_WEIGHT, FULL_WEIGHT) for v in verdicts.values())
