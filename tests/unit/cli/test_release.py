import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from addrmesh.address.types import COMPONENT_TYPES, Component
from addrmesh.cli import model
from addrmesh.cli.main import app
from addrmesh.errors import ReleaseError

PROBES = [{"address": "甲路1号", "components": [["road", 0, 2], ["roadno", 2, 4]]}]


class FixedEngine:
    def __init__(self, answer: tuple[Component, ...]) -> None:
        self.answer = answer

    def predict(self, texts: list[str]) -> list[tuple[Component, ...]]:
        return [self.answer for _ in texts]

    def close(self) -> None: ...


@pytest.fixture
def release(tmp_path: Path) -> Path:
    probes = json.dumps(PROBES).encode()
    manifest = {
        "schema": 1, "name": "tiny", "task": "tagging", "family": "test", "source": "here",
        "precision": "int8", "created": "2026-01-01", "licence": "Apache-2.0", "tags": COMPONENT_TYPES,
        "normalizer_version": 1,
        "decoder_version": 1, "gazetteer_version": "1", "gazetteer_sha256": "0",
        "limits": {"max_code_points": 2000},
        "calibration": {"score": [0, 1], "probability": [0, 1]},
        "files": {"probes.json": {"sha256": hashlib.sha256(probes).hexdigest(), "bytes": len(probes)}},
    }  # fmt: skip
    (tmp_path / "probes.json").write_bytes(probes)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_verify_accepts_the_expected_answers(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = (Component("road", 0, 2, 0.9), Component("roadno", 2, 4, 0.8))
    monkeypatch.setattr(model, "load", lambda *_: FixedEngine(answer))
    done = run("release", "verify", release)
    assert done.exit_code == 0
    assert "1 files are intact, 1 probes are answered as expected" in done.output


def test_verify_finds_a_model_that_answers_differently(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "load", lambda *_: FixedEngine((Component("road", 0, 3, 0.9),)))
    done = run("release", "verify", release)
    assert done.exit_code == 5
    assert "1 of 1 probes are answered differently: 1" in done.output
    assert "甲路" not in done.output


def test_verify_does_not_load_a_tampered_release(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "load", lambda *_: pytest.fail("loaded"))
    (release / "probes.json").write_text("[]")
    assert isinstance(run("release", "verify", release).exception, ReleaseError)


def test_show_prints_the_manifest(release: Path) -> None:
    assert "tiny@" in run("release", "show", release).output
    document = json.loads(run("release", "show", release, "--json").output)
    assert document["manifest"]["name"] == "tiny"
    assert document["release"].startswith("tiny@")


def test_serve_hands_the_settings_to_the_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    import addrmesh.node

    served = []
    double = SimpleNamespace(serve=served.append)
    monkeypatch.setitem(sys.modules, "addrmesh.node.server", double)
    monkeypatch.setattr(addrmesh.node, "server", double, raising=False)
    assert run("node", "serve", "--port", 9, "--name", "n2", "--release", tmp_path).exit_code == 0
    (settings,) = served
    assert (settings.server.port, settings.server.name, settings.release.path) == (9, "n2", tmp_path)


def test_config_show_says_where_each_value_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADDRMESH_CACHE__ENTRIES", "5")
    shown = run("config", "show", "--origin").output
    assert "cache.entries                 5          ADDRMESH_CACHE__ENTRIES" in shown
    document = json.loads(run("config", "show", "--origin", "--json").output)
    assert document["settings"]["cache.entries"] == {"value": 5, "origin": "ADDRMESH_CACHE__ENTRIES"}
    assert json.loads(run("config", "show", "--json").output)["settings"]["cache.entries"] == 5


def test_every_error_has_an_exit_code() -> None:
    from addrmesh import errors
    from addrmesh.cli.exits import exit_code
    from addrmesh.errors import Refused

    assert exit_code(errors.ConfigError("")) == 2
    assert exit_code(errors.InvalidText("")) == 2
    assert exit_code(Refused("")) == 3
    assert exit_code(errors.ReleaseError("")) == 1


def test_the_version_is_printed() -> None:
    from addrmesh import __version__

    assert run("--version").output == f"addrmesh {__version__}\n"
