"""Fetching from the hub, with ModelScope's own client against a hub on loopback."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from addrmesh.errors import ReleaseError
from addrmesh.inference.mgeo.hub import FILES, MODELS, fetch, is_model_id
from support.hub import Hub, hub

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / "bench" / ".venvs" / "modelscope" / "bin" / "python"
MODEL = f"iic/{MODELS[0]}"

needs_modelscope = pytest.mark.skipif(
    not PYTHON.exists(), reason=f"ModelScope is not installed in {PYTHON.parents[1]}; run bench/venvs.py modelscope"
)


@pytest.fixture
def published(tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "published"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_bytes(name.encode() * 1000)
    (folder / "requirements.txt").write_text("transformers==4.48.3")
    (folder / "modeling.py").write_text("raise SystemExit('executed')")
    with hub(folder, MODEL) as served:
        yield served


def pull(served: Hub, folder: Path, revision: str = "v1.0.0") -> subprocess.CompletedProcess[str]:
    script = (
        "import sys; from pathlib import Path; from addrmesh.inference.mgeo.hub import fetch\n"
        f"print(fetch({MODEL!r}, Path(sys.argv[1]), revision=sys.argv[2]))"
    )
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder.parent), "PYTHONPATH": str(ROOT / "src"),
        "MODELSCOPE_ENDPOINT": served.url, "NO_PROXY": "*",
    }  # fmt: skip
    return subprocess.run(
        [PYTHON, "-c", script, folder, revision],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@needs_modelscope
def test_the_models_files_arrive_and_nothing_else(published: Hub, tmp_path: Path) -> None:
    done = pull(published, tmp_path / "got")
    assert done.returncode == 0, done.stderr
    arrived = {file.name for file in (tmp_path / "got").iterdir() if file.is_file() and not file.name.startswith(".")}
    assert arrived == set(FILES)
    for name in FILES:
        assert (tmp_path / "got" / name).read_bytes() == (published.folder / name).read_bytes()
    fetched = [path for path in published.asked if "/repo?" in path]
    assert len(fetched) == len(FILES)
    assert all("Revision=v1.0.0" in path for path in fetched)


@needs_modelscope
def test_a_file_altered_on_the_way_does_not_arrive(published: Hub, tmp_path: Path) -> None:
    published.altered.add("pytorch_model.bin")
    done = pull(published, tmp_path / "got")
    assert done.returncode != 0
    assert "could not be fetched" in done.stderr
    assert not (tmp_path / "got" / "pytorch_model.bin").exists()


@needs_modelscope
def test_a_model_the_hub_does_not_have_is_named(published: Hub, tmp_path: Path) -> None:
    published.model_id = "iic/other"
    with hub(published.folder, "iic/other") as elsewhere:
        done = pull(elsewhere, tmp_path / "got", "v9")
    assert f"{MODEL}@v9 could not be fetched" in done.stderr
    assert "check id, revision and network" in done.stderr


def test_without_the_hubs_client_the_way_around_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "modelscope", None)
    with pytest.raises(ReleaseError, match="fetch the directory elsewhere, copy it here and name it"):
        fetch(MODEL, tmp_path)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (MODEL, True),
        (f"damo/{MODELS[2]}", True),
        ("mgeo", False),
        ("/srv/a", False),
        ("../a/b", False),
        ("a/b/c", False),
    ],
)
def test_an_id_is_told_from_a_path(text: str, is_one: bool) -> None:
    assert is_model_id(text) is is_one
