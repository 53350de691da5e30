"""Entity alignment behind the batcher: `PairScorer`'s answers, with nothing in a text obeyed as a special token."""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="checkpoints are written and read with torch")
pytest.importorskip("onnx", reason="releases are built with onnx")

from hypothesis import given
from hypothesis import strategies as st

from addrmesh.address.match import LABELS
from addrmesh.errors import ReleaseError
from addrmesh.inference.batcher import Batcher
from addrmesh.inference.build import build_release
from addrmesh.inference.engine import load_aligner, load_ranker
from addrmesh.inference.mgeo.align import Aligner, literal
from addrmesh.inference.mgeo.checkpoint import SPECIAL
from addrmesh.inference.mgeo.engine import PairScorer
from addrmesh.inference.mgeo.tokenizer import Tokenizer
from addrmesh.inference.release import BUILTIN, Release, open_release
from support.mgeo import vocabulary, write_checkpoint

PAIRS = [("文一西路12号", "余杭区文一西路12号"), ("西湖大厦", "文一西路280号"), ("北京海淀", "中关街道3层")]
TOKENIZER = Tokenizer({word: number for number, word in enumerate(vocabulary())}, 512)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    folder = tmp_path_factory.mktemp("align")
    return build_release(write_checkpoint(folder / "checkpoint", "sentence-similarity"), folder / "align")


@pytest.fixture(scope="module")
def aligner(release: Release) -> Iterator[Aligner]:
    with closing(load_aligner(release)) as aligner:
        yield aligner


def rewritten(release: Release, folder: Path, **changes: object) -> Release:
    copy = Path(shutil.copytree(release.path, folder / "copy"))
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | changes))
    return open_release(copy)


def test_the_scores_are_those_of_the_pipeline_in_the_order_of_the_grades(release: Release, aligner: Aligner) -> None:
    with closing(PairScorer(release)) as scorer:
        expected = scorer.score(PAIRS)
    for found, wanted in zip(aligner.predict(PAIRS), expected, strict=True):
        assert (found.release, dict(zip(LABELS, found.chances, strict=True))) == (release.id, wanted)


def test_the_network_reads_the_order_of_two_texts_so_it_has_to_be_one(aligner: Aligner) -> None:
    there, back = (aligner.predict([pair])[0] for pair in (PAIRS[0], PAIRS[0][::-1]))
    assert there.chances != back.chances


@pytest.mark.parametrize("special", SPECIAL)
def test_a_special_token_in_a_text_is_ordinary_characters(aligner: Aligner, special: str) -> None:
    first, second = PAIRS[0]
    number = vocabulary().index(special)
    plain, obeyed, read = (
        TOKENIZER.pair(text, second)[0] for text in (first, first + special, literal(first + special))
    )
    assert obeyed.count(number) == plain.count(number) + 1
    assert read.count(number) == plain.count(number)
    spelt, lower = (aligner.predict([(first + word, second)])[0] for word in (special, special.lower()))
    assert spelt == lower


@given(st.text("路12号ab [](SEP).", max_size=20).filter(lambda text: not any(word in text for word in SPECIAL)))
def test_a_text_without_special_tokens_keeps_its_tokens(text: str) -> None:
    assert TOKENIZER.pair(literal(text), "路") == TOKENIZER.pair(text, "路")


def test_two_texts_of_the_limit_are_read_whole(release: Release) -> None:
    limit = release.manifest.limits.pair_code_points
    whole, _ = TOKENIZER.pair("路" * (limit - 1), "号")
    assert (limit, len(whole)) == (509, 512)
    assert len(TOKENIZER.pair("路" * limit, "号")[0]) == 512, "one more is cut"


async def test_the_batcher_runs_pairs_and_counts_both_texts(aligner: Aligner, release: Release) -> None:
    runs: list[int] = []
    batcher = Batcher(
        load_aligner(release),
        max_batch_tokens=40,
        max_wait_s=10,
        tokens=lambda pair: sum(map(len, pair)),
        on_batch=lambda rows, *_: runs.append(rows),
    )
    rows = [batcher.submit(pair, float("inf")) for pair in PAIRS * 4]
    assert batcher.queue_tokens == 4 * sum(len(a) + len(b) for a, b in PAIRS)
    assert [await row.answer for row in rows] == aligner.predict(PAIRS) * 4
    assert sum(runs) == len(rows)
    assert len(runs) > 1, "40 code points are two pairs or three"
    await batcher.close()


def test_a_release_for_something_else_is_refused_by_its_task(release: Release, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"is for elements-tagging, asked for is one for entity-alignment: .*path"):
        load_aligner(open_release(BUILTIN))
    with pytest.raises(ReleaseError, match="is for entity-alignment, asked for is one for rerank"):
        load_ranker(release)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalizer_version": 99}, "was made with normaliser version 99, .*; build it again"),
        (
            {"tags": ["exact_match", "no", "maybe"]},
            "has the labels exact_match, no, maybe; expected not_match, partial",
        ),
    ],
)
def test_a_release_that_does_not_fit_is_refused(
    release: Release, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ReleaseError, match=message):
        load_aligner(rewritten(release, tmp_path, **changes))
