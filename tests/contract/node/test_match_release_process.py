"""A node process with a match release, from its settings to its answers; and the releases it does not start with."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

pytest.importorskip("torch", reason="checkpoints are written and read with torch")
pytest.importorskip("onnx", reason="releases are built with onnx")

from addrmesh.address.questions import builtin_scorer
from addrmesh.client import Client
from addrmesh.inference.build import build_release
from addrmesh.inference.release import BUILTIN, Release, open_release
from support.mgeo import write_checkpoint

ADDRMESH = Path(sys.executable).with_name("addrmesh")
A, B = "浙江省杭州市余杭区文一西路969号3号楼 张三 13800138000", "杭州余杭文一西路969号西湖大厦"
APART = B.replace("969", "996")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    folder = tmp_path_factory.mktemp("align")
    return build_release(write_checkpoint(folder / "checkpoint", "sentence-similarity"), folder / "align")


@contextmanager
def serving(*arguments: object, **variables: str) -> Iterator[tuple[str, dict]]:
    """Yield the URL of a node that has started, and what it logged then."""
    command = [ADDRMESH, "node", "serve", "--port", "0", *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | variables) as node:
        try:
            assert node.stderr is not None
            events = map(json.loads, node.stderr)
            port = next(event["port"] for event in events if event["event"] == "node.listening")
            yield f"http://127.0.0.1:{port}", next(event for event in events if event["event"] == "node.started")
        finally:
            node.terminate()
            node.communicate(timeout=20)
    assert node.returncode == 0


def refused(*arguments: object) -> str:
    command = [ADDRMESH, "node", "serve", "--port", "0", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done
    return done.stderr.splitlines()[-1]


def test_a_node_scores_pairs_with_its_match_release(release: Release) -> None:
    with serving("--match-release", release.path) as (url, started), httpx.Client(base_url=url, timeout=20) as client:
        assert (started["release"], started["scorer"]) == (open_release(BUILTIN).id, release.id)
        assert client.get("/v1/meta").json()["versions"]["scorer"] == release.id
        there, back, apart = (
            client.post("/v1/address:match", json={"a": a, "b": b}).json() for a, b in ((A, B), (B, A), (A, APART))
        )
        pairs = [{"a": A, "b": B}, {"a": A, "b": APART}, {"a": A, "b": A}]
        batch = client.post("/v1/addresses:batchMatch", json={"pairs": pairs}).json()
        parsed = client.post("/v1/address:parse", json={"address": A}).json()
        metrics = client.get("/metrics").text
        with Client([url], deadline_s=5) as library:
            assert library.match(A, B).result.scorer == release.id
    assert there["result"]["scorer"] == back["result"]["scorer"] == release.id
    assert there["service"]["mode"] == "FULL"
    assert there["service"]["release"] == parsed["service"]["release"] == started["release"]
    for field in ("label", "score", "probabilities", "guards"):
        assert there["result"][field] == back["result"][field]
    assert "ROADNO_DIFFERS" in apart["result"]["guards"]
    assert apart["result"]["probabilities"]["exact_match"] == 0
    assert [item["result"] for item in batch["items"][:2]] == [there["result"], apart["result"]]
    assert (batch["items"][2]["result"]["label"], batch["items"][2]["result"]["scorer"]) == (
        "exact_match", builtin_scorer(),
    )  # fmt: skip
    assert "match_fallbacks_total{" not in metrics

    command = [ADDRMESH, "match", A, B, "--json", "--release", release.path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["result"] == there["result"]


def test_the_variable_names_it_too(release: Release) -> None:
    with serving(ADDRMESH_MATCH__RELEASE=str(release.path)) as (_, started):
        assert started["scorer"] == release.id


def test_without_one_the_built_in_scorer_answers() -> None:
    with serving() as (url, started):
        reply = httpx.post(f"{url}/v1/address:match", json={"a": A, "b": B}, timeout=20).json()
    assert started["scorer"] == reply["result"]["scorer"] == builtin_scorer()


def test_a_release_for_something_else_ends_the_start(release: Release) -> None:
    found = refused("--match-release", BUILTIN)
    assert f"release {open_release(BUILTIN).id} is for elements-tagging, asked for is one for entity-alignment" in found
    found = refused("--release", release.path)
    assert f"release {release.id} is for entity-alignment, asked for is one for elements-tagging" in found


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("manifest.json", r'"normalizer_version": \d+', '"normalizer_version": 99', "normaliser version 99"),
        ("probes.json", r'"exact_match":[0-9.]+', '"exact_match":2', "probe 0 of 24 failed: expected exact_match 2"),
    ],
)  # fmt: skip
def test_a_release_that_does_not_run_as_it_did_ends_the_start(
    release: Release, tmp_path: Path, name: str, old: str, new: str, message: str
) -> None:
    copy = Path(shutil.copytree(release.path, tmp_path / "copy"))
    (copy / name).write_text(re.sub(old, new, (copy / name).read_text(), count=1))
    manifest = json.loads((copy / "manifest.json").read_text())
    if name in manifest["files"]:
        data = (copy / name).read_bytes()
        manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        (copy / "manifest.json").write_text(json.dumps(manifest))
    assert message in refused("--match-release", copy)
