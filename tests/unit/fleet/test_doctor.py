from addrmesh.fleet.doctor import Hop, _compare, _Seen, _Served
from addrmesh.fleet.local import local_spec

SPEC = local_spec(regions=2, nodes=1, port=8000)
ONE, OTHER = "r@000000000000", "r@111111111111"


def seen(region: str, release: str | None = ONE, scorer: str = "s@1", gazetteer: str = "g", **odd: object) -> _Seen:
    usual: dict[str, object] = {"clock_ms": 1.0, "revisions": {"traffic": "a"}, "wanted": None}
    return _Seen({f"{region}/node-1": _Served(release, scorer, gazetteer)}, **(usual | odd))  # type: ignore[arg-type]


def findings(eu: _Seen, cn: _Seen, *hops: Hop) -> list[tuple[str, str]]:
    return [(found.name, found.detail) for found in _compare(SPEC, list(hops), {"eu": eu, "cn": cn})]


def test_what_fits_together_is_no_finding() -> None:
    assert findings(seen("eu"), seen("cn"), Hop("eu", "edge", "connect", 12.0)) == []


def test_mixed_releases_are_named_by_node() -> None:
    assert findings(seen("eu"), seen("cn", OTHER)) == [
        ("mixed-releases", f"eu/node-1 serves {ONE}, cn/node-1 serves {OTHER}")
    ]


def test_a_fleet_whose_nodes_score_pairs_or_know_divisions_differently() -> None:
    assert findings(seen("eu"), seen("cn", scorer="m@2", gazetteer="h")) == [
        ("mixed-scorers", "eu/node-1 serves s@1, cn/node-1 serves m@2"),
        ("mixed-gazetteers", "eu/node-1 serves g, cn/node-1 serves h"),
    ]


def test_a_node_that_serves_another_release_than_its_region_should() -> None:
    (finding,) = findings(seen("eu", wanted=OTHER), seen("cn"))
    assert finding == ("wrong-release", f"eu/node-1 serves {ONE}, eu is told to serve {OTHER}")


def test_a_clock_that_is_ahead_and_one_that_is_behind() -> None:
    assert [name for name, _ in findings(seen("eu", clock_ms=501.0), seen("cn", clock_ms=-501.0))] == ["clock", "clock"]
    assert findings(seen("eu", clock_ms=499.0), seen("cn", clock_ms=None)) == []


def test_configuration_that_differs_between_regions() -> None:
    (finding,) = findings(seen("eu"), seen("cn", revisions={}))
    assert finding == ("configuration", "document traffic: eu has a, cn has none")
    assert findings(seen("eu"), seen("cn", revisions=None)) == [], "a store that cannot be asked says nothing of it"


def test_what_cannot_be_reached_and_what_is_too_far_for_the_promise() -> None:
    hops = Hop("cn", "store", "answer", None, "refused"), Hop("cn", "edge", "connect", 150.0)
    assert [name for name, _ in findings(seen("eu"), seen("cn"), *hops)] == ["unreachable", "far"]
