"""A checkpoint directory is read as data, and refused with the reason when it is not what it should be."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from addrmesh.errors import ReleaseError
from addrmesh.inference.mgeo.checkpoint import read_checkpoint
from support.mgeo import write_checkpoint

torch = pytest.importorskip("torch", reason="checkpoints are written and read with torch")

WORD = "bert.text_encoder.embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "mgeo"))


def edit(file: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(file.read_text("utf-8"))
    change(document)
    file.write_text(json.dumps(document), "utf-8")


def edit_weights(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    change(state)
    torch.save(state, folder / "pytorch_model.bin")


def test_a_checkpoint_is_read(folder: Path) -> None:
    checkpoint = read_checkpoint(folder)
    assert (checkpoint.task, len(checkpoint.labels), len(checkpoint.sha256)) == ("elements-tagging", 57, 64)
    assert checkpoint.weights["classifier.weight"].shape == (57, 48)


def test_nothing_that_lies_beside_is_executed_or_obeyed(folder: Path) -> None:
    ran = folder / "ran"
    for name in ("modeling.py", "ms_wrapper.py", "__init__.py"):
        (folder / name).write_text(f"open({str(ran)!r}, 'w')")
    (folder / "requirements.txt").write_text("transformers==4.48.3")
    edit(folder / "configuration.json", lambda c: c.update(allow_remote=True, plugins=["modeling"]))
    read_checkpoint(folder)
    assert not ran.exists()


class Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def test_a_pickle_that_would_run_something_is_refused_unrun(folder: Path, tmp_path: Path) -> None:
    torch.save({"classifier.weight": Payload(tmp_path / "ran")}, folder / "pytorch_model.bin")
    with pytest.raises(ReleaseError, match=r"pytorch_model\.bin is refused: expected tensors and nothing else"):
        read_checkpoint(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["configuration.json", "config.json", "vocab.txt", "pytorch_model.bin"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ReleaseError, match=rf"{name} is refused: .*No such file"):
        read_checkpoint(folder)


@pytest.mark.parametrize("name", ["configuration.json", "config.json", "vocab.txt", "pytorch_model.bin"])
def test_a_file_that_was_cut_short_is_refused(folder: Path, name: str) -> None:
    file = folder / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    with pytest.raises(ReleaseError, match=rf"{name} is refused: expected .*found"):
        read_checkpoint(folder)


def test_other_weights_than_asked_for_are_refused_with_both_digests(folder: Path) -> None:
    digest = read_checkpoint(folder).sha256
    assert read_checkpoint(folder, sha256=digest.upper()).sha256 == digest
    edit_weights(folder, lambda state: state["classifier.bias"].add_(1))
    with pytest.raises(ReleaseError, match=f"expected sha256 {digest}; found [0-9a-f]{{64}}"):
        read_checkpoint(folder, sha256=digest)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s.pop(WORD), "without embeddings.word_embeddings.weight"),
        (lambda s: s.update({WORD: s[WORD][:-1]}), r"word_embeddings\.weight to be floats .*found float32"),
        (lambda s: s.update({WORD: s[WORD].int()}), "found int32"),
        (lambda s: s.update({WORD: s[WORD].to_sparse()}), "found float32 .*sparse"),
        (lambda s: s[WORD].fill_(float("nan")), "found infinities or NaN"),
        (lambda s: s.update({"lm_head.weight": s[WORD]}), "found also lm_head.weight"),
    ],
    ids=["missing", "shape", "integers", "sparse", "nan", "extra"],
)
def test_tensors_that_do_not_fit_are_refused(folder: Path, change: Callable[[Any], None], reason: str) -> None:
    edit_weights(folder, change)
    with pytest.raises(ReleaseError, match=rf"pytorch_model\.bin is refused: .*{reason}"):
        read_checkpoint(folder)


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, "text"])
def test_an_archive_of_other_things_is_refused(folder: Path, content: object) -> None:
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(ReleaseError, match="expected a dictionary of tensors"):
        read_checkpoint(folder)


def swap(labels: dict[str, int]) -> None:
    labels["O"], labels["B-poi"] = labels["B-poi"], labels["O"]


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("configuration.json", lambda c: c.update(task="fill-mask"), "found 'fill-mask'"),
        ("configuration.json", lambda c: c["model"].update(type="bert"), "'bert'"),
        ("configuration.json", lambda c: swap(c["model"]["label2id"]), "id2label and label2id to say the same"),
        ("configuration.json", lambda c: c["model"].update(id2label={"0": "B-PA"}, label2id=None), "composition"),
        ("configuration.json", lambda c: c["model"].update(id2label={"1": "O"}, label2id=None), "numbered 0 to 0"),
        ("configuration.json", lambda c: c["model"].update(id2label={"0": "S-poi"}, label2id=None), "the label O"),
        ("config.json", lambda c: c.update(model_type="roberta"), "roberta"),
        ("config.json", lambda c: c.update(hidden_act="relu"), "relu"),
        ("config.json", lambda c: c.update(hidden_size=10**9), "found 1,000,000,000"),
        ("config.json", lambda c: c.update(type_vocab_size=1), "type_vocab_size between 2 and 16; found 1"),
        ("config.json", lambda c: c.update(num_attention_heads=5), "divisible"),
        ("config.json", lambda c: c.update(fusion_layer=1), "fusion_layer 1 of 2"),
        ("config.json", lambda c: c.update(vocab_size=7), "expected 7 lines"),
    ],
)
def test_a_model_of_another_kind_is_refused(
    folder: Path, name: str, change: Callable[[Any], None], reason: str
) -> None:
    edit(folder / name, change)
    with pytest.raises(ReleaseError, match=f"is refused: .*{reason}"):
        read_checkpoint(folder)


def test_the_order_of_alignments_labels_comes_from_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(write_checkpoint(tmp_path, "sentence-similarity"))
    assert checkpoint.labels == ("exact_match", "not_match", "partial_match")
    assert "pooler.dense.weight" in checkpoint.weights
