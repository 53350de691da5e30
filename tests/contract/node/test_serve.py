"""`serve` as a process: start, drain, and the ways it does not start."""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from addrmesh.errors import ConfigError
from addrmesh.node.server import bind
from addrmesh.settings import Server

TESTS = Path(__file__).parents[2]


class Process:
    """One node process; `events` are its log lines so far."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, "-m", "support.serve", directory], cwd=TESTS, stderr=subprocess.PIPE, text=True
        )
        self.events: list[dict] = []
        self.port = self.wait_for("node.listening")["port"]
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20)

    def wait_for(self, event: str) -> dict:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == event:
                return self.events[-1]
        raise AssertionError(f"the process ended without {event}: {self.events}")

    def let(self, what: str) -> None:
        (self.directory / what).touch()

    def end(self) -> int:
        assert self.process.stderr is not None
        self.events += [json.loads(line) for line in self.process.stderr]
        return self.process.wait(20)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Process]]:
    started: list[Process] = []

    def start() -> Process:
        started.append(Process(tmp_path))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
        one.process.stderr.close()
        one.client.close()


def test_a_node_is_alive_but_not_ready_while_it_loads(start):
    node = start()
    assert node.client.get("/livez").status_code == 200
    assert node.client.get("/health").json()["status"] == "starting"
    for reply in (node.client.get("/readyz"), node.client.post("/v1/address:parse")):
        assert (reply.status_code, reply.json()["code"], reply.headers["retry-after"]) == (503, "node-starting", "1")
    node.let("load")
    node.wait_for("node.started")
    assert node.client.get("/readyz").status_code == 200


def test_a_drained_node_finishes_what_it_accepted_and_ends_with_0(start):
    node = start()
    node.let("load")
    node.wait_for("node.started")
    found: list[httpx.Response] = []

    def ask() -> None:
        found.append(httpx.post(f"{node.client.base_url}/v1/address:parse", json={"address": "路9"}, timeout=20))

    accepted = threading.Thread(target=ask)
    accepted.start()
    while "cache_misses_total 1.0" not in node.client.get("/metrics").text:
        pass
    node.process.send_signal(signal.SIGTERM)
    node.wait_for("node.draining")
    ready = node.client.get("/readyz")
    assert (ready.status_code, ready.json()["code"], ready.headers["connection"]) == (503, "node-draining", "close")
    refused = node.client.post("/v1/address:parse", json={"address": "1"})
    assert (refused.status_code, refused.json()["code"]) == (503, "node-draining")
    assert node.process.poll() is None
    node.let("open")
    accepted.join(20)
    assert (found[0].status_code, found[0].headers["connection"]) == (200, "close")
    assert node.end() == 0
    assert node.events[-1]["event"] == "node.stopped"


def test_an_idle_node_ends_with_0_at_once(start):
    node = start()
    node.let("load")
    node.wait_for("node.started")
    node.client.get("/livez")
    node.process.send_signal(signal.SIGTERM)
    assert node.end() == 0


def test_a_second_signal_does_not_wait_for_what_was_accepted(start):
    node = start()
    node.let("load")
    node.wait_for("node.started")
    with socket.create_connection(("127.0.0.1", node.port)) as stalled:
        stalled.sendall(b"POST /v1/address:parse HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        while node.client.get("/livez").status_code != 200:
            pass
        node.process.send_signal(signal.SIGTERM)
        node.wait_for("node.draining")
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(9) is not None  # the body may take 10 s, the drain 20 s


def test_a_port_in_use_is_named_with_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{port} .*choose another"):
            bind(Server(port=port), 1.0)


def test_a_host_that_is_not_here_is_named():
    with pytest.raises(ConfigError, match=r"cannot listen on 203\.0\.113\.1:8000"):
        bind(Server(host="203.0.113.1"), 1.0)
