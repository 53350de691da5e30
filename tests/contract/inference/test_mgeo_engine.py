"""A checkpoint becomes a release, and the release answers: the same whatever runs with a text."""

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="checkpoints are written and read with torch")
pytest.importorskip("onnx", reason="releases are built with onnx")

from addrmesh.cli.main import app
from addrmesh.errors import ReleaseError
from addrmesh.inference.build import build_release
from addrmesh.inference.engine import load_engine
from addrmesh.inference.mgeo.engine import MGeoTagger, PairScorer, layout
from addrmesh.inference.release import Release, open_release
from support.mgeo import assert_the_same_in_any_company, made_up, write_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module", params=["int8", "fp32"])
def release(request: pytest.FixtureRequest, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Release:
    out = tmp_path_factory.mktemp("releases") / f"mgeo-{request.param}"
    return build_release(checkpoint, out, precision=request.param, origin="iic/made-up@v1")


@pytest.fixture
def tagger(release: Release) -> Iterator[MGeoTagger]:
    engine = load_engine(release)
    assert isinstance(engine, MGeoTagger)
    with closing(engine):
        yield engine


def test_a_release_says_what_it_was_made_of(release: Release, checkpoint: Path) -> None:
    manifest = release.manifest
    assert (manifest.task, manifest.family, manifest.decoding) == ("elements-tagging", "mgeo-bert", "strict")
    assert manifest.source.startswith("iic/made-up@v1, pytorch_model.bin sha256 ")
    assert (len(manifest.tags), manifest.limits.max_code_points, len(release.probes())) == (57, 510, 24)
    assert sorted(path.name for path in release.path.iterdir()) == [
        "manifest.json", "model.onnx", "probes.json", "vocab.txt",
    ]  # fmt: skip


def test_a_release_is_served_without_torch_or_onnx(release: Release) -> None:
    script = (
        "import sys; from pathlib import Path; from addrmesh.inference.engine import load_engine\n"
        "from addrmesh.inference.release import open_release\n"
        f"engine = load_engine(open_release(Path({str(release.path)!r})))\n"
        "assert engine.predict(['浙江省1号'])[0]\n"
        "assert not {'torch', 'onnx', 'modelscope', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_an_answer_is_the_same_to_the_byte_alone_and_in_any_company(tagger: MGeoTagger) -> None:
    assert_the_same_in_any_company(tagger, made_up(400))


def test_scores_are_bit_for_bit_the_same_beside_a_text_of_any_length(tagger: MGeoTagger) -> None:
    ids = [tagger.tokenizer.characters(text).ids for text in made_up(40)]
    run = tagger._network._session.run
    for own, length in zip(ids, itertools.cycle((3, 17, 33, 64, 65, 129, 512)), strict=False):
        feeds = (layout(rows) for rows in ([own], [own, (own * 512)[:length]]))
        alone, beside = (run(["scores"], feed)[0] for feed in feeds)
        assert np.array_equal(alone, beside[: len(own)])


def test_components_lie_in_order_inside_the_text_with_true_probabilities(tagger: MGeoTagger) -> None:
    for text, found in zip(texts := made_up(60, seed=9), tagger.predict(texts), strict=True):
        assert all(0 <= c.start < c.end <= len(text) and 0 < c.confidence <= 1 for c in found)
        assert all(a.end <= b.start for a, b in itertools.pairwise(found))
        assert not any(text[c.start].isspace() or text[c.end - 1].isspace() for c in found)


def test_blank_text_has_no_components(tagger: MGeoTagger) -> None:
    assert tagger.predict([" ", "\u200b", "省"])[:2] == [(), ()]


def test_int8_answers_as_fp32_does(checkpoint: Path, tmp_path: Path) -> None:
    texts = made_up(200)
    tags = []
    for precision in ("int8", "fp32"):
        release = build_release(checkpoint, tmp_path / precision, precision=precision)
        with closing(MGeoTagger(release)) as tagger:
            ids = [tagger.tokenizer.characters(text).ids for text in texts]
            tags.append(np.concatenate([tags for _, (_, tags, _) in tagger._network.run(range(len(ids)), ids)]))
    assert (tags[0] == tags[1]).mean() >= 0.96  # random weights leave labels close together


@pytest.mark.parametrize("task", ["sentence-similarity", "text-ranking"])
def test_a_pair_gets_the_same_scores_alone_and_in_any_company(tmp_path: Path, task: str) -> None:
    release = build_release(write_checkpoint(tmp_path / "checkpoint", task), tmp_path / "pairs")
    texts = made_up(60)
    pairs = list(zip(texts, reversed(texts), strict=True))
    with closing(PairScorer(release)) as scorer:
        together = scorer.score(pairs)
        assert [scorer.score([pair])[0] for pair in pairs] == together
    for scores in together:
        assert tuple(scores) == release.manifest.tags
        assert all(0 <= score <= 1 for score in scores.values())
        assert len(scores) == 1 or abs(sum(scores.values()) - 1) < 1e-9
    with pytest.raises(ReleaseError, match="asked for is one for elements-tagging"):
        load_engine(release)


def test_a_release_that_was_tampered_with_is_refused(release: Release, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(release.path, tmp_path / "copy"))
    with (copy / "model.onnx").open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\1\2\3")
    with pytest.raises(ReleaseError, match=r"model\.onnx is not the file this release was made with"):
        open_release(copy)


def test_a_node_serves_a_release(release: Release, tagger: MGeoTagger) -> None:
    address = "浙江省杭州市余杭区文一西路12号"
    command = [Path(sys.executable).with_name("addrmesh"), "node", "serve", "--port", "0", "--release", release.path]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as node:
        try:
            assert node.stderr is not None
            events = map(json.loads, node.stderr)
            port = next(event["port"] for event in events if event["event"] == "node.listening")
            assert next(event for event in events if event["event"] == "node.started")["release"] == release.id
            reply = httpx.post(f"http://127.0.0.1:{port}/v1/address:parse", json={"address": address}, timeout=20)
        finally:
            node.terminate()
            node.communicate(timeout=20)
    found = [(c["type"], *c["span"]) for c in reply.json()["result"]["components"]]
    assert found == [c[:3] for c in tagger.predict([address])[0]]
    assert node.returncode == 0


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("task", ["token-classification", "sentence-similarity", "text-ranking"])
def test_the_command_builds_a_release_that_verifies(tmp_path: Path, task: str) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", task)
    assert "int8, in " in run("release", "build", "--from", folder, "-o", tmp_path / "mgeo")
    assert "24 probes are answered as expected" in run("release", "verify", tmp_path / "mgeo")
    assert "mgeo-bert" in run("release", "show", tmp_path / "mgeo")


def test_the_command_overwrites_nothing(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["release", "build", "--from", str(tmp_path), "-o", str(tmp_path)])
    assert "exists; name a directory that does not" in str(done.exception)
