"""The built-in model through the engine that serves it."""

import itertools
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addrmesh.address.normalize import normalize
from addrmesh.address.types import COMPONENT_TYPES
from addrmesh.inference.engine import load_engine
from addrmesh.inference.release import BUILTIN, open_release
from addrmesh.inference.tagger import Tagger

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("LABELLED_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="module")
def engine() -> Iterator[Tagger]:
    engine = load_engine(open_release(BUILTIN))
    assert isinstance(engine, Tagger)
    yield engine
    engine.close()


def made_up(count: int) -> list[str]:
    draw = random.Random(5)
    parts = (
        "浙江省",
        "杭州市",
        "余杭区",
        "文一西路",
        "969号",
        "A座",
        "3单元",
        "1201室",
        "",
        "北京",
        "某某大厦",
        "旁边",
        " ",
        "12-3-4",
        "路",
    )
    return ["".join(draw.choices(parts, k=draw.randint(1, 12))) + "1" for _ in range(count)]


def test_the_probe_set_is_answered(engine: Tagger) -> None:
    for probe in engine.release.probes():
        (found,) = engine.predict([normalize(probe.address).text])
        assert [(c.type, c.start, c.end) for c in found] == [tuple(c) for c in probe.components]


def test_a_strangers_address_comes_out_right(engine: Tagger) -> None:
    text = "江苏省南京市鼓楼区汉口路22号3栋2单元501室"
    (found,) = engine.predict([text])
    assert [(c.type, text[c.start : c.end]) for c in found] == [
        ("prov", "江苏省"), ("city", "南京市"), ("district", "鼓楼区"), ("road", "汉口路"), ("roadno", "22号"),
        ("houseno", "3栋"), ("cellno", "2单元"), ("roomno", "501室"),
    ]  # fmt: skip


def test_contact_data_and_notes_are_no_part_of_the_address(engine: Tagger) -> None:
    text = "张三 13800138000 广东省广州市天河区体育西路103号维多利广场A座 放前台"
    (found,) = engine.predict([text])
    start, end = text.index("广东"), text.index(" 放前台")
    assert found
    assert all(start <= c.start and c.end <= end for c in found)


def test_an_answer_does_not_depend_on_the_batch(engine: Tagger) -> None:
    """Scores and confidences are equal to the last bit, alone, in any company and in any order."""
    texts = made_up(300)
    alone = {text: engine.predict([text])[0] for text in texts}
    draw = random.Random(7)
    for size in (2, 3, 17, 32, 33, 64, 300):
        batch = draw.sample(texts, size)
        for text, found in zip(batch, engine.predict(batch), strict=True):
            assert found == alone[text]


def test_padding_does_not_move_a_score(engine: Tagger) -> None:
    """Raw scores beside a text of 2,000 characters are bit for bit those of the text alone."""
    run = engine._session.run
    for text in made_up(20):
        alone, beside = (
            run(None, {name: getattr(inputs, name) for name in ("characters", "pairs", "gazetteer", "lengths")})[0]
            for inputs in (engine._featurize([text]), engine._featurize(["路" * 2000, text]))
        )
        assert np.array_equal(alone[:, 0], beside[: len(text), 1])


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=80))
@settings(max_examples=200, deadline=None)
def test_any_text_has_ordered_components_within_its_bounds(engine: Tagger, raw: str) -> None:
    text = normalize(raw).text
    if not text:
        return
    (found,) = engine.predict([text])
    assert all(0 <= c.start < c.end <= len(text) and c.type in COMPONENT_TYPES for c in found)
    assert all(a.end <= b.start for a, b in itertools.pairwise(found))
    assert all(0 <= c.confidence <= 1 for c in found)


def test_the_model_is_small(engine: Tagger) -> None:
    assert engine.release.manifest.files["model.onnx"].bytes <= 4_000_000
    assert engine.release.manifest.precision == "int8"


@pytest.fixture(scope="module")
def measured(engine: Tagger) -> dict[str, float]:
    """F1 on the development sets; the splits held out for acceptance are not here."""
    if not DATA.is_dir():
        pytest.skip(f"labelled data are not at {DATA}; set LABELLED_DATA")
    sys.path.insert(0, str(ROOT / "training"))
    try:
        from corpus import read_ccks, read_naacl
        from measure import COMPARABLE, Score, comparable, has_waste
    finally:
        sys.path.pop(0)

    def spans(text_spans: list) -> list:
        return [[(c.type, c.start, c.end) for c in engine.predict([e.text])[0]] for e in text_spans]

    ccks = read_ccks(DATA / "ccks21-addr" / "dev.conll")
    naacl = [e for e in read_naacl(DATA / "naacl19-addr" / "dev.txt") if not has_waste(e.text, e.spans)]
    mgeo = [[span for span in row if span[0] != "roomno"] for row in spans(ccks)]
    ten = Score((comparable(e.spans) for e in naacl), spans(naacl), COMPARABLE)
    return {"ccks": Score((e.spans for e in ccks), mgeo).f1(), "naacl": ten.f1(), "roomno": ten.f1("roomno")}


def test_mgeos_types_are_found(measured: dict[str, float]) -> None:
    assert measured["ccks"] >= 93.0


def test_the_ten_comparable_types_are_found(measured: dict[str, float]) -> None:
    assert measured["naacl"] >= 93.7


def test_rooms_are_found(measured: dict[str, float]) -> None:
    assert measured["roomno"] >= 90
