"""A release is what its manifest says, or it is refused with the reason."""

import json
import shutil
from pathlib import Path

import pytest

from addrmesh.errors import ReleaseError
from addrmesh.inference.release import BUILTIN, open_release


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BUILTIN, tmp_path / "release"))


def test_the_built_in_release_is_whole() -> None:
    release = open_release(BUILTIN)
    assert release.id.startswith("addrmesh-small@")
    assert len(release.probes()) >= 20


def test_the_id_changes_with_the_manifest(copy: Path) -> None:
    manifest = copy / "manifest.json"
    manifest.write_text(manifest.read_text("utf-8").replace('"created": "', '"created": "x'), "utf-8")
    assert open_release(copy).id != open_release(BUILTIN).id


def test_an_altered_file_is_named_with_both_digests(copy: Path) -> None:
    model = copy / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\x00\x00")
    expected = json.loads((copy / "manifest.json").read_text("utf-8"))["files"]["model.onnx"]["sha256"]
    with pytest.raises(ReleaseError, match=f"model.onnx.*expected sha256 {expected}.*found "):
        open_release(copy)


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "vocabulary.json").unlink()
    with pytest.raises(ReleaseError, match=r"vocabulary\.json cannot be read"):
        open_release(copy)


def test_a_file_the_manifest_does_not_name_is_refused(copy: Path) -> None:
    (copy / "setup.py").write_text("raise SystemExit")
    with pytest.raises(ReleaseError, match=r"setup\.py; remove them"):
        open_release(copy)


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "a/b"])
def test_a_name_outside_the_directory_is_refused(copy: Path, name: str) -> None:
    manifest = json.loads((copy / "manifest.json").read_text("utf-8"))
    manifest["files"][name] = {"sha256": "0", "bytes": 1}
    (copy / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(ReleaseError, match="only plain names"):
        open_release(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', "\xff"])
def test_a_malformed_manifest_is_refused(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ReleaseError, match="malformed"):
        open_release(copy)


def test_a_directory_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="is not a release"):
        open_release(tmp_path)


def test_a_newer_schema_is_refused(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text("utf-8"))
    manifest["schema"] = 2
    (copy / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(ReleaseError, match="schema 2"):
        open_release(copy)
