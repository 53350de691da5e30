import json
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.contract.cli.conftest import Command


@pytest.fixture
def port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def node(addrmesh: "Command") -> dict[str, Any]:
    regions = json.loads(addrmesh("status", "--json").stdout)["regions"]
    return dict(regions[0]["nodes"][0]) if regions else {}


def test_up_status_down(addrmesh: "Command", port: int) -> None:
    started = addrmesh("up", "--detach", "--port", str(port), "--region", "eu")
    assert started.returncode == 0, started.stderr
    assert f"curl -s http://127.0.0.1:{port}/v1/address:parse" in started.stderr.decode()
    status = addrmesh("status", "--json")
    assert status.returncode == 0
    document = json.loads(status.stdout)
    assert document["schema"] == 1
    (region,) = document["regions"]
    assert (region["name"], region["edge"], region["stores"]) == ("eu", None, [])
    (only,) = region["nodes"]
    assert only | {"pid": 0} == {
        "name": "node-1", "pid": 0, "url": f"http://127.0.0.1:{port}", "release": "double@000000000000",
        "state": "ready", "restarts": 0,
    }  # fmt: skip
    stopped = addrmesh("down")
    assert (stopped.returncode, stopped.stderr) == (0, b"stopped eu/node-1\n")
    with pytest.raises(ProcessLookupError):
        os.kill(only["pid"], 0)


def test_nothing_running_is_said_and_is_not_ready(addrmesh: "Command") -> None:
    status = addrmesh("status", "--json")
    assert status.returncode == 5
    assert json.loads(status.stdout)["regions"] == []
    assert b"nothing is running" in status.stderr
    assert addrmesh("down").returncode == 0


def test_a_node_that_dies_is_started_again_and_counted(addrmesh: "Command", port: int) -> None:
    addrmesh("up", "--detach", "--port", str(port))
    first = node(addrmesh)["pid"]
    os.kill(first, signal.SIGKILL)
    addrmesh.wait_until(
        lambda: node(addrmesh).get("restarts") == 1 and node(addrmesh)["state"] == "ready", "the repair"
    )
    assert node(addrmesh)["pid"] != first


def test_a_second_up_is_refused(addrmesh: "Command", port: int) -> None:
    addrmesh("up", "--detach", "--port", str(port))
    second = addrmesh("up", "--port", str(port))
    assert second.returncode == 3
    assert b"already up" in second.stderr


def test_a_taken_port_is_found_before_anything_starts(addrmesh: "Command") -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for more in ([], ["--detach"]):
            done = addrmesh("up", "--port", str(port), *more)
            assert done.returncode == 2
            assert f"error: port {port} on 127.0.0.1 is taken by " in done.stderr.decode()


def test_ctrl_c_stops_everything_cleanly(addrmesh: "Command", port: int) -> None:
    process = addrmesh.start("up", "--port", str(port))
    addrmesh.wait_until(lambda: node(addrmesh).get("state") == "ready", "the node")
    pid = node(addrmesh)["pid"]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_node_whose_supervisor_was_killed_is_found_and_stopped_by_down(addrmesh: "Command", port: int) -> None:
    process = addrmesh.start("up", "--port", str(port))
    addrmesh.wait_until(lambda: node(addrmesh).get("state") == "ready", "the node")
    process.kill()
    process.communicate()
    assert addrmesh("status").returncode == 5
    refused = addrmesh("up", "--port", str(port))
    assert refused.returncode == 3
    assert b"nodes of a killed supervisor still run" in refused.stderr
    assert b"stopped local/node-1" in addrmesh("down").stderr
    assert addrmesh("up", "--detach", "--port", str(port)).returncode == 0


def test_a_bad_setting_is_found_before_anything_starts(addrmesh: "Command") -> None:
    done = addrmesh("up", ADDRMESH_CACHE__ENTRIES="many")
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
