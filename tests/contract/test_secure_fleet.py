"""A whole fleet with TLS and API keys, from the commands of docs/how-to/secure-the-fleet.md; no doubles."""

import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from addrmesh.binaries import find
from addrmesh.fleet.local import local_spec
from addrmesh.topology.spec import dump
from support.ports import free_block

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def has_tls(redis_server: str, directory: Path) -> bool:
    """Ask a redis-server which of two directives it does not know: `tls-port`, or the one nobody knows."""
    configuration = directory / "probe.conf"
    configuration.write_text("port 0\ntls-port 0\nno-such-directive 1\n")
    tried = subprocess.run([redis_server, configuration], capture_output=True, text=True, check=False, timeout=10)
    return "no-such-directive" in tried.stdout + tried.stderr


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    if not has_tls(find("redis-server", packaged=False), tmp_path):
        why = "this redis-server was built without TLS; install a distribution's"
        if os.environ.get("REQUIRE_ENGINES"):
            raise AssertionError(why)
        pytest.skip(why)
    environ = {k: v for k, v in os.environ.items() if not k.startswith("ADDRMESH_")}
    environ["ADDRMESH_STATE_DIR"] = str(tmp_path / "state")

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "addrmesh", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True, timeout=90
        )

    yield run
    run("down")


def ask(url: str, context: ssl.SSLContext, key: str | None = None) -> tuple[int, dict[str, object]]:
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    body = json.dumps({"address": "浙江省杭州市余杭区文一西路969号"}).encode()
    request = urllib.request.Request(f"{url}/v1/address:parse", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_fleet_with_certificates_and_keys_serves_those_who_have_both(run: Run, tmp_path: Path) -> None:
    port = free_block(40)
    spec = dump(local_spec(regions=2, nodes=1, port=port)).replace("required: false", "required: true")
    (tmp_path / "fleet.yaml").write_text(spec + "tls:\n  directory: certs\n")
    run("certs", "init", "--spec", "fleet.yaml")
    run("up", "--detach", "--spec", "fleet.yaml")
    trusting = ssl.create_default_context(cafile=tmp_path / "certs" / "ca.pem")
    eu, cn = f"https://127.0.0.1:{port}", f"https://127.0.0.1:{port + 20}"
    status, problem = ask(eu, trusting)
    assert (status, problem["code"]) == (401, "unauthenticated")
    key = run("keys", "create", "--label", "checkout", "--scope", "parse", "--rps", "50").stdout.strip()
    answers = {}
    for url in (eu, cn):  # the key was made in one region, and is known in both
        while url not in answers:
            status, reply = ask(url, trusting, key)
            assert status in (200, 401)
            if status == 200:
                answers[url] = reply["result"]
    assert answers[eu] == answers[cn]
    with pytest.raises(urllib.error.URLError):
        ask(eu, ssl.create_default_context(), key)
    for node in (port + 1, port + 21):
        with pytest.raises((urllib.error.URLError, ssl.SSLError, ConnectionError)):
            ask(f"https://127.0.0.1:{node}", trusting, key)  # nodes answer the fleet's own processes only
    assert "everything fits together" in run("fleet", "doctor").stdout
