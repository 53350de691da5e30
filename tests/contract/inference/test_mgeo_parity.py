"""
The same answers as ModelScope 1.40.2 with transformers 4.48.3, on the same weights.

Those versions need an environment of their own; `bench/venvs.py modelscope` makes it, and without it these tests skip.
`MGEO_CHECKPOINT=DIR` adds a tagging checkpoint of full size, with or without the published weights.
"""

import json
import os
import random
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="checkpoints are written and read with torch")
pytest.importorskip("onnx", reason="releases are built with onnx")

from addrmesh.inference.build import build_release
from addrmesh.inference.engine import load_engine
from addrmesh.inference.mgeo.engine import MGeoTagger, PairScorer
from support.mgeo import write_checkpoint

ORACLE = Path(__file__).with_name("modelscope_oracle.py")
PYTHON = Path(__file__).parents[3] / "bench" / ".venvs" / "modelscope" / "bin" / "python"
TOLERANCE = 1e-4

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason=f"ModelScope is not installed in {PYTHON.parents[1]}; run bench/venvs.py modelscope"
)

PARTS = (
    "浙江省", "杭州市", "余杭区", "文一西路", "969号", "A座", "3单元", "2801室", "SOHO", "１２３", "Ａ", "崃", "𠮷",
    "😀", " ", "\t", "\u3000", "\u200b", "\ufeff", "\x00", "é", "e\u0301", "İ", "[SEP]", "[CLS]", "[PAD]", "[UNK]",
    "[MASK]", "[sep]", "##", "-", "，", "（", ")", "①", "280", "1234567890", "가", "x" * 101,
)  # fmt: skip


def texts(count: int) -> list[str]:
    draw = random.Random(11)
    made = ["".join(draw.choices(PARTS, k=draw.randint(1, 12))) for _ in range(count)]
    return [*made, "", " ", "\u200b", "浙江省[SEP]杭州市西湖区", "浙江省杭州市" * 100]


def ask(path: Path, task: str, **asked: object) -> Any:
    given = {"path": str(path.resolve()), "task": task, "texts": [], "slow": [], "pairs": [], **asked}
    environment = {"PATH": os.environ["PATH"], "HOME": str(path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [PYTHON, "-W", "ignore", ORACLE],
        input=json.dumps(given), capture_output=True, text=True, timeout=600, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def compare_tagger(checkpoint: Path, release: Path, wanted: list[str], slow: list[str]) -> float:
    """Compare spans, and return the largest difference of a logit."""
    answer = ask(checkpoint, "token-classification", texts=wanted, slow=slow)
    tagger = load_engine(build_release(checkpoint, release, precision="fp32", decoding="compatible"))
    assert isinstance(tagger, MGeoTagger)
    worst = 0.0
    with closing(tagger):
        ours = [[[c.type, c.start, c.end] for c in found] for found in tagger.predict(wanted)]
        assert ours == answer["spans"]
        at = [wanted.index(text) for text in slow]
        assert [ours[i] for i in at] == answer["padded"]
        ids = [tagger.tokenizer.words(text).ids for text in wanted]
        for rows, (scores, *_) in tagger._network.run(range(len(ids)), ids):
            theirs = np.concatenate([np.array(answer["logits"][row], np.float32) for row in rows])
            assert theirs.shape == scores.shape
            worst = max(worst, float(np.abs(scores - theirs).max()))
    return worst


def test_tagging_gives_the_logits_and_the_spans_of_modelscope(tmp_path: Path) -> None:
    wanted = texts(150)
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    assert compare_tagger(checkpoint, tmp_path / "release", wanted, wanted[:12]) <= TOLERANCE


def test_a_model_of_full_size_gives_the_logits_and_the_spans_of_modelscope(tmp_path: Path) -> None:
    given = os.environ.get("MGEO_CHECKPOINT")
    if not given:
        pytest.skip("MGEO_CHECKPOINT names no directory")
    # ModelScope refuses the published directory as it is, so it gets one with the same files and no `allow_remote`.
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    for name in ("config.json", "vocab.txt", "pytorch_model.bin"):
        (checkpoint / name).symlink_to(Path(given).resolve() / name)
    configuration = json.loads((Path(given) / "configuration.json").read_text("utf-8"))
    configuration.pop("allow_remote", None)
    (checkpoint / "configuration.json").write_text(json.dumps(configuration), "utf-8")
    wanted = texts(40)
    worst = compare_tagger(checkpoint, tmp_path / "release", wanted, wanted[:2])
    print(f"largest difference of a logit: {worst:.2e}")
    assert worst <= TOLERANCE


@pytest.mark.parametrize("task", ["sentence-similarity", "text-ranking"])
def test_pairs_get_the_logits_of_modelscope(tmp_path: Path, task: str) -> None:
    some = [text for text in texts(80) if text.strip()]
    pairs = list(zip(some, reversed(some), strict=True))
    checkpoint = write_checkpoint(tmp_path / "checkpoint", task)
    answer = ask(checkpoint, task, pairs=pairs)
    release = build_release(checkpoint, tmp_path / "release", precision="fp32")
    with closing(PairScorer(release)) as scorer:
        logits = scorer.logits(pairs)
        scores = scorer.score(pairs)
    theirs = np.array(answer["logits"])
    assert np.abs(logits - theirs).max() <= TOLERANCE
    if task == "text-ranking":
        expected = 1 / (1 + np.exp(-theirs))
    else:
        expected = np.exp(theirs) / np.exp(theirs).sum(1, keepdims=True)
    found = np.array([list(one.values()) for one in scores])
    assert np.abs(found - expected).max() <= 1e-4
