"""The fleet of `addrmesh up`: real Envoy, Redis and supervisors; only the nodes are doubles, which start at once."""

import json
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from addrmesh.fleet.local import PORTS_PER_REGION
from support.ports import free_block

if TYPE_CHECKING:
    from tests.contract.cli.conftest import Command

REGIONS = 2
BLOCK = PORTS_PER_REGION * REGIONS


@pytest.fixture
def port() -> int:
    return free_block(BLOCK)


def regions(addrmesh: "Command") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(addrmesh("status", "--json").stdout)["regions"]
    return found


def pids(addrmesh: "Command") -> list[int]:
    return [
        process["pid"]
        for region in regions(addrmesh)
        for process in [region["edge"], region["supervisor"], *region["nodes"], *region["stores"]]
    ]


def runs(pid: int) -> bool:
    """A process nobody waited for, because its parent was killed, has ended all the same."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_up_status_down(addrmesh: "Command", port: int) -> None:
    started = addrmesh("up", "--detach", "--port", str(port))
    assert started.returncode == 0, started.stderr
    assert f"curl -s http://127.0.0.1:{port}/v1/address:parse" in started.stderr.decode()
    status = addrmesh("status", "--json")
    assert status.returncode == 0
    document = json.loads(status.stdout)
    assert document["schema"] == 1
    eu, cn = document["regions"]
    assert (eu["name"], cn["name"]) == ("eu", "cn")
    assert eu["edge"]["url"] == f"http://127.0.0.1:{port}"
    assert [n | {"pid": 0} for n in eu["nodes"]] == [
        {
            "name": f"node-{i}", "pid": 0, "url": f"http://127.0.0.1:{port + i}", "release": "double@000000000000",
            "state": "ready", "restarts": 0,
        }
        for i in (1, 2)
    ]  # fmt: skip
    assert [(s["name"], s["role"], s["port"]) for s in cn["stores"]] == [
        ("primary", "primary", port + 30),
        ("replica-eu", "replica", port + 31),
    ]
    for region in document["regions"]:
        assert httpx.get(f"{region['edge']['url']}/readyz").status_code == 200
    running = pids(addrmesh)
    stopped = addrmesh("down")
    assert stopped.returncode == 0
    assert stopped.stderr.count(b"stopped ") == len(running) == 12
    assert not any(map(runs, running))


def test_nothing_running_is_said_and_is_not_ready(addrmesh: "Command") -> None:
    status = addrmesh("status", "--json")
    assert status.returncode == 5
    assert json.loads(status.stdout)["regions"] == []
    assert b"nothing is running" in status.stderr
    assert addrmesh("down").returncode == 0


def test_whatever_dies_is_started_again_and_counted(addrmesh: "Command", port: int) -> None:
    addrmesh("up", "--detach", "--port", str(port), "--regions", "1", "--nodes", "1")
    (region,) = regions(addrmesh)
    killed = {"node": region["nodes"][0]["pid"], "edge": region["edge"]["pid"], "store": region["stores"][0]["pid"]}
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)

    def is_repaired() -> bool:
        (now,) = regions(addrmesh)
        parts = [now["nodes"][0], now["edge"], now["stores"][0]]
        return all(p["state"] == "ready" and p["pid"] not in killed.values() for p in parts) and all(
            p["restarts"] == 1 for p in parts[:2]
        )

    addrmesh.wait_until(is_repaired, "the repair")


def test_a_drained_node_gets_no_traffic_within_a_second_and_the_last_region_is_kept(
    addrmesh: "Command", port: int
) -> None:
    addrmesh("up", "--detach", "--port", str(port))
    drained = addrmesh("drain", "eu/node-1", "--reason", "kernel update")
    assert drained.returncode == 0, drained.stderr
    refused = addrmesh("drain", "eu", "cn")
    assert refused.returncode == 3
    assert b"no-region-left" in refused.stderr
    explained = json.loads(addrmesh("fleet", "explain", "10.1.0.7", "--json").stdout)
    assert explained["regions"][0]["region"] == "eu"
    assert "1 of 2 nodes take requests, 1 draining" in explained["groups"][0]["reason"]
    assert b"drain eu/node-1 (kernel update)" in addrmesh("fleet", "journal").stdout
    assert addrmesh("undrain", "eu/node-1").returncode == 0
    unknown = addrmesh("drain", "eu/node-7")
    assert unknown.returncode == 2
    assert b"'eu/node-7' is not a node of this fleet; did you mean eu/node-" in unknown.stderr


def test_a_plan_is_shown_refused_by_name_and_applied_only_as_reviewed(addrmesh: "Command", port: int) -> None:
    addrmesh("up", "--detach", "--port", str(port), "--nodes", "1")
    spec = (addrmesh.directory / "state" / "fleet.yaml").read_text()
    wanted = addrmesh.directory / "wanted.yaml"
    wanted.write_text(spec.replace("peak_rps: 300.0", "peak_rps: 900.0"))
    unsafe = addrmesh("fleet", "plan", str(wanted), "--json")
    assert unsafe.returncode == 3
    assert [refusal["name"] for refusal in json.loads(unsafe.stdout)["refusals"]] == ["region-loss", "node-loss"]
    wanted.write_text(spec.replace("peak_rps: 300.0", "peak_rps: 200.0"))
    plan = addrmesh("fleet", "plan", str(wanted), "--json")
    assert plan.returncode == 5
    assert addrmesh("fleet", "apply", str(wanted), "--plan-digest", "sha256:0").returncode == 3
    applied = addrmesh("fleet", "apply", str(wanted), "--plan-digest", json.loads(plan.stdout)["digest"])
    assert applied.returncode == 0, applied.stderr
    addrmesh.wait_until(
        lambda: "peak_rps: 200.0" in (addrmesh.directory / "state" / "fleet.yaml").read_text(), "the new spec"
    )
    assert addrmesh("fleet", "plan", str(wanted)).returncode == 0


def test_the_doctor_finds_a_region_that_is_gone(addrmesh: "Command", port: int) -> None:
    addrmesh("up", "--detach", "--port", str(port), "--nodes", "1")
    well = addrmesh("fleet", "doctor", "--json")
    assert well.returncode == 0, well.stdout
    hung = psutil.Process(regions(addrmesh)[1]["stores"][0]["pid"])
    hung.suspend()
    try:
        ill = addrmesh("fleet", "doctor", "--json")
    finally:
        hung.resume()
    assert ill.returncode == 5
    (finding,) = json.loads(ill.stdout)["findings"]
    assert finding["name"] == "unreachable"
    assert finding["detail"].startswith("cn/store")


def test_a_second_up_is_refused(addrmesh: "Command", port: int) -> None:
    addrmesh("up", "--detach", "--port", str(port), "--regions", "1", "--nodes", "1")
    second = addrmesh("up", "--port", str(port))
    assert second.returncode == 3
    assert b"already up" in second.stderr


def test_a_taken_port_is_found_before_anything_starts(addrmesh: "Command") -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for more in ([], ["--detach"]):
            done = addrmesh("up", "--port", str(port - 1), *more)
            assert done.returncode == 2
            assert f"node eu/node-1: port {port} on 127.0.0.1 is taken by " in done.stderr.decode()


def test_ctrl_c_stops_everything_cleanly(addrmesh: "Command", port: int) -> None:
    process = addrmesh.start("up", "--port", str(port), "--regions", "1", "--nodes", "1")
    addrmesh.wait_until(lambda: addrmesh("status").returncode == 0, "the fleet")
    running = pids(addrmesh)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert not any(map(runs, running))


def test_what_a_killed_keeper_left_is_found_and_stopped_by_down(addrmesh: "Command", port: int) -> None:
    options = ("--port", str(port), "--regions", "1", "--nodes", "1")
    process = addrmesh.start("up", *options)
    addrmesh.wait_until(lambda: addrmesh("status").returncode == 0, "the fleet")
    running = pids(addrmesh)
    process.kill()
    process.communicate()
    assert addrmesh("status").returncode == 5
    refused = addrmesh("up", *options)
    assert refused.returncode == 3
    assert b"processes of a killed `addrmesh up` still run" in refused.stderr
    assert b"stopped eu/node-1" in addrmesh("down").stderr
    assert not any(map(runs, running))
    assert addrmesh("up", "--detach", *options).returncode == 0


def test_a_bad_setting_is_found_before_anything_starts(addrmesh: "Command") -> None:
    done = addrmesh("up", ADDRMESH_CACHE__ENTRIES="many")
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
