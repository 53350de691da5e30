"""Canonical text and the way back to the caller's characters."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addrmesh.address import gazetteer
from addrmesh.address.normalize import normalize


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ("浙江省杭州市", "浙江省杭州市"),
        ("文一西路９６９号", "文一西路969号"),
        ("Ａ座（北）", "A座(北)"),
        ("臺北市中正區", "台北市中正区"),
        ("東莞市長安鎮", "东莞市长安镇"),
        ("浙江省\u200b杭州\u202e市\ufeff", "浙江省杭州市"),
        ("一\t二\u3000三\n四", "一 二 三 四"),
        ("㈱①½", "(株)11⁄2"),
        ("\ud800路", "路"),
        ("乾縣", "乾县"),  # 乾 stands in names of divisions and stays
        ("於潛鎮", "於潜镇"),
        ("", ""),
    ],
)
def test_a_text_becomes_canonical(raw: str, canonical: str) -> None:
    assert normalize(raw).text == canonical


def test_a_span_maps_to_the_characters_it_came_from() -> None:
    raw = "㈱\u200b文一\u200b西路"
    canonical = normalize(raw)
    start = canonical.text.index("文")
    assert raw[slice(*canonical.span(start, start + 4))] == "文一\u200b西路"


def test_text_that_keeps_its_places_carries_no_map() -> None:
    assert normalize("文一西路９６９號").origin is None


@given(st.text(st.characters(codec=None), max_size=60))
def test_every_canonical_character_has_an_origin_in_order(raw: str) -> None:
    canonical = normalize(raw)
    if canonical.origin is None:
        assert len(canonical.text) == len(raw)
    else:
        assert len(canonical.origin) == len(canonical.text)
        assert list(canonical.origin) == sorted(canonical.origin)
        assert all(0 <= i < len(raw) for i in canonical.origin)


@given(st.text(st.characters(codec=None), max_size=60))
def test_canonical_text_is_its_own_canonical_form(raw: str) -> None:
    once = normalize(raw).text
    assert normalize(once).text == once


@given(st.text(st.characters(codec=None), max_size=60))
def test_nothing_invisible_is_left(raw: str) -> None:
    assert not [c for c in normalize(raw).text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Mn", "Me")]


def test_every_name_of_the_gazetteer_is_canonical() -> None:
    names = {name for level in gazetteer.LEVELS for name in gazetteer.names(level)}
    assert not [name for name in names if normalize(name).text != name and "（" not in name]
