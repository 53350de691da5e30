"""The tutorial's way, with the real model in real processes: no doubles."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from addrmesh.inference.release import BUILTIN, open_release
from support.ports import free_block

ADDRESS = "浙江省杭州市余杭区文一西路969号3栋2单元1501室"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("ADDRMESH_")}
    environ["ADDRMESH_STATE_DIR"] = str(tmp_path / "state")

    def run(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "addrmesh", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=check, timeout=60
        )

    yield run
    run("down")


@pytest.fixture
def port() -> int:
    return free_block(40)


def ask(port: int, path: str, body: object = None) -> dict[str, object]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return dict(json.load(reply))


def test_up_parse_kill_status_down(run: Run, port: int) -> None:
    """Both regions serve the built-in release, a node comes back after kill -9, and everything stops when told."""
    release = open_release(BUILTIN).id
    run("up", "--detach", f"--port={port}")
    replies = [ask(edge, "/v1/address:parse", {"address": ADDRESS}) for edge in (port, port + 20)]
    assert replies[0]["result"] == replies[1]["result"]
    assert [reply["service"]["region"] for reply in replies] == ["eu", "cn"]  # type: ignore[index]
    assert ask(port, "/health").items() >= {"status": "healthy", "model_version": release}.items()
    reply = ask(port, "/v1/address:parse", {"address": ADDRESS})
    parts = [(c["type"], c["input_text"]) for c in reply["result"]["components"]]  # type: ignore[index]
    assert parts == [
        ("prov", "浙江省"), ("city", "杭州市"), ("district", "余杭区"), ("road", "文一西路"), ("roadno", "969号"),
        ("houseno", "3栋"), ("cellno", "2单元"), ("roomno", "1501室"),
    ]  # fmt: skip
    node = json.loads(run("status", "--json").stdout)["regions"][0]["nodes"][0]
    assert (node["state"], node["release"]) == ("ready", release)
    os.kill(node["pid"], signal.SIGKILL)
    restarted = node
    while restarted["pid"] in (node["pid"], None) or restarted["state"] != "ready":
        restarted = json.loads(run("status", "--json", check=False).stdout)["regions"][0]["nodes"][0]
    assert restarted["restarts"] == 1
    run("down")
    assert run("status", check=False).returncode == 5


def test_the_command_line_and_the_node_give_the_same_answer(run: Run, port: int, tmp_path: Path) -> None:
    texts = [
        ADDRESS,
        "東莞市長安鎮上沙社區中南路９號",
        "张三 13800138000 北京市海淀区中关村大街27号1101室 放前台",
        "㈱½路",
    ]
    lines = "".join(json.dumps({"id": i, "address": text}) + "\n" for i, text in enumerate(texts))
    (tmp_path / "in.ndjson").write_text(lines, "utf-8")
    run("bulk", "parse", "in.ndjson", "-o", "out.ndjson")
    bulk = [json.loads(line)["result"] for line in (tmp_path / "out.ndjson").read_text("utf-8").splitlines()]
    run("up", "--detach", f"--port={port}", "--regions=1", "--nodes=1")
    assert bulk == [ask(port, "/v1/address:parse", {"address": text})["result"] for text in texts]
    single = json.loads(run("parse", "--json", *texts).stdout)["items"]
    assert [item["components"] for item in single] == [result["components"] for result in bulk]


def test_the_built_in_release_verifies(run: Run) -> None:
    assert "24 probes are answered as expected" in run("release", "verify").stdout
