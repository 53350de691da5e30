"""
What operators do, and what the keeper repairs, on the fleet of `addrmesh up` under load.

A change takes effect within a second of being written: the time counts from the write that was acknowledged to the
last request that was sent to where it no longer belongs.
"""

import json
import os
import signal
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import httpx

from addrmesh.topology.spec import dump
from conftest import Drill
from support.lab import NODES, REGIONS, Up, hung, wait_until, wait_until_content

EFFECT_S = 1.0


def kill(up: Up, *names: str) -> None:
    for pid in [up.pid(name) for name in names]:
        os.kill(pid, signal.SIGKILL)


def wait_until_repaired(up: Up, names: Sequence[str], restarts: Sequence[int]) -> float:
    return wait_until(
        lambda: up.is_well() and all(up.restarts(n) > r for n, r in zip(names, restarts, strict=True)),
        f"the keeper has started {', '.join(names)} again",
    )


def written_at(up: Up, document: str) -> float:
    """When the document's latest revision was written, in monotonic seconds."""
    at = json.loads(up("config", "get", document, "--json"))["document"]["at"]
    return datetime.fromisoformat(at).timestamp() - time.time() + time.monotonic()


def test_a_killed_node_is_started_again_and_costs_no_request(up: Up, drill: Drill) -> None:
    restarts = up.restarts("cn/node-1")
    with drill.load() as load:
        load.goes_on(2)
        with load.fault():
            kill(up, "cn/node-1")
            took = wait_until_repaired(up, ["cn/node-1"], [restarts])
        load.goes_on(2)
    drill.report(load, f"ready again after {took:.1f} s")


def test_a_restart_of_every_node_in_turn_costs_no_request(up: Up, drill: Drill) -> None:
    with drill.load() as load:
        load.goes_on(2)
        with load.fault():
            for name in NODES:
                restarts = up.restarts(name)
                os.kill(up.pid(name), signal.SIGTERM)
                wait_until_repaired(up, [name], [restarts])
                for region in REGIONS:
                    wait_until_content(up.spec, region)
        load.goes_on(1)
    drill.report(load)


def test_nothing_fails_without_supervisors_not_even_when_a_node_dies(up: Up, drill: Drill) -> None:
    supervisors = [f"{region}/supervisor" for region in REGIONS]
    with drill.load() as load:
        load.goes_on(2)
        with load.fault():
            with hung(*map(up.pid, supervisors)):
                kill(up, "eu/node-1")
                load.goes_on(2.5)
            restarts = list(map(up.restarts, supervisors))
            kill(up, *supervisors)
            took = wait_until_repaired(up, supervisors, restarts)
        load.goes_on(1)
    drill.report(load, f"both supervisors back after {took:.1f} s")


def test_a_drained_node_gets_nothing_within_a_second_and_loses_nothing(up: Up, drill: Drill) -> None:
    drains(up, drill, "eu/node-2")


def test_a_drained_region_gets_nothing_within_a_second_and_loses_nothing(up: Up, drill: Drill) -> None:
    drains(up, drill, "eu")


def drains(up: Up, drill: Drill, target: str) -> None:
    with drill.load() as load:
        load.goes_on(2)
        with load.fault():
            up("drain", target, "--reason", "drill")
            drained = written_at(up, "traffic")
            load.goes_on(1)
            up("undrain", target, "--reason", "drill is over")
            undrained = written_at(up, "traffic")
        load.goes_on(2)
    out = load.last_from(target, before=undrained) - drained
    back = load.first_from(target, after=undrained) - undrained
    drill.report(load, f"out after {max(0.0, out):.2f} s, back after {back:.2f} s")
    assert out <= EFFECT_S
    assert back <= EFFECT_S


def test_new_figures_for_the_edges_cost_no_request(up: Up, drill: Drill, tmp_path: Path) -> None:
    """A new p99 changes timeouts, so the listener and the cluster of every edge are replaced while they serve."""
    spec = up.state.spec_file.read_text()
    wanted = tmp_path / "fleet.yaml"
    wanted.write_text(spec.replace("p99_ms: 10.0", "p99_ms: 12.0"))
    assert wanted.read_text() != spec
    listener = up.state.region("cn").edge / "lds.json"
    before = listener.read_text()
    with drill.load() as load:
        load.goes_on(2)
        with load.fault():
            planned = json.loads(up("fleet", "plan", str(wanted), "--json", exits=5))
            up("fleet", "apply", str(wanted), "--plan-digest", planned["digest"], "--reason", "drill")
            wait_until(lambda: listener.read_text() != before, "the edge has new timeouts")
            took = time.monotonic() - written_at(up, "fleet")
            load.goes_on(4)  # the old listener's connections are told to close for three seconds
        load.goes_on(1)
    drill.report(load, f"in the edge's files after {took:.2f} s at most")


def test_new_limits_reach_every_node_within_a_second(up: Up, drill: Drill, tmp_path: Path) -> None:
    limits = tmp_path / "limits.yaml"
    limits.write_text("max_wait_ms: 200\n")
    urls = [up.spec.url(node) for region in up.spec.regions for node in region.nodes]
    with drill.load() as load:
        load.goes_on(1)
        with load.fault():
            revision = json.loads(up("config", "set", "limits", str(limits), "--reason", "drill", "--json"))
            wanted = revision["document"]["revision"]
            wait_until(
                lambda: all(httpx.get(f"{url}/health").json()["configuration"].get("limits") == wanted for url in urls),
                "every node has the new limits",
            )
            took = time.monotonic() - written_at(up, "limits")
        load.goes_on(1)
    drill.report(load, f"on every node after {took:.2f} s at most")


def test_nodes_of_another_release_than_their_region_should_serve_get_no_traffic(
    up: Up, drill: Drill, tmp_path: Path
) -> None:
    release, none = tmp_path / "release.yaml", tmp_path / "none.yaml"
    release.write_text("by_region: {eu: 'another@000000000000'}\n")
    none.write_text("by_region: {}\n")
    with drill.load() as load:
        load.goes_on(1)
        with load.fault():
            up("config", "set", "release", str(release), "--reason", "drill")
            wanted = written_at(up, "release")
            load.goes_on(2)
            up("config", "set", "release", str(none), "--reason", "drill is over")
            taken_back = written_at(up, "release")
        wait_until_content(up.spec, "eu")
        load.goes_on(1)
    out = load.last_from("eu/", before=taken_back) - wanted
    drill.report(load, f"out after {out:.2f} s")
    # The next probe of each node asks for the release; one answer other than 200 is enough.
    assert out <= EFFECT_S + 0.25


def test_a_decision_that_names_no_node_of_the_fleet_changes_nothing(up: Up, drill: Drill, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.yaml", tmp_path / "good.yaml"
    bad.write_text("drained_nodes: [eu/nobody]\ndrained_regions: [cn]\n")
    good.write_text("drained_nodes: []\n")
    endpoints = up.state.region("eu").edge / "eds.json"
    before = endpoints.read_text()
    with drill.load() as load:
        load.goes_on(1)
        with load.fault():
            up("config", "set", "traffic", str(bad), "--reason", "drill")
            log = up.state.region("eu").log("supervisor")
            wait_until(lambda: "'eu/nobody' is not a node of this fleet" in log.read_text(), "it is refused by name")
            load.goes_on(1)
            assert endpoints.read_text() == before
            up("config", "set", "traffic", str(good), "--reason", "drill is over")
        load.goes_on(1)
    drill.report(load)


def test_a_node_added_to_the_spec_and_taken_out_again_costs_no_request(up: Up, drill: Drill, tmp_path: Path) -> None:
    """Every node's settings say how many nodes there are, so all of them start anew, one after the other."""
    eu, cn = up.spec.regions
    third = eu.nodes[0].model_copy(update={"name": "node-3", "port": max(n.port for n in eu.nodes) + 1})
    larger = eu.model_copy(update={"nodes": (*eu.nodes, third)})
    with drill.load() as load:
        load.goes_on(2)
        with load.fault():
            for number, spec in enumerate((up.spec.model_copy(update={"regions": (larger, cn)}), up.spec)):
                before = {name: up.pid(name) for name in NODES}
                wanted = tmp_path / f"{number}.yaml"
                wanted.write_text(dump(spec))
                planned = json.loads(up("fleet", "plan", str(wanted), "--json", exits=5))
                up("fleet", "apply", str(wanted), "--plan-digest", planned["digest"], "--reason", "drill")
                wait_until(
                    lambda before=before: up.is_well() and all(up.pid(name) != pid for name, pid in before.items()),
                    "every node has its new settings",
                )
                load.goes_on(2)
        load.goes_on(1)
    assert load.first_from("eu/node-3", after=load.began_s) < load.ended_s
    drill.report(load)


def test_everything_goes_on_when_the_keeper_is_killed(up: Up, drill: Drill) -> None:
    """`addrmesh up` itself. It must start anew after this, because nothing else adopts what it left."""
    known = up.state.read()
    assert known
    try:
        with drill.load() as load:
            load.goes_on(2)
            with load.fault():
                os.kill(known.keeper, signal.SIGKILL)
                load.goes_on(3.5)
            load.goes_on(1)
        drill.report(load)
        assert all(map(_runs, (process.pid for process in known.processes)))
    finally:
        up.stop()
        up.start()


def _runs(pid: int | None) -> bool:
    try:
        os.kill(pid or 0, 0)
    except ProcessLookupError:
        return False
    return True
