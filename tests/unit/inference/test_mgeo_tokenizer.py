"""Text to tokens: one for each character, or as ModelScope's pipeline cuts it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addrmesh.errors import ReleaseError
from addrmesh.inference.mgeo.checkpoint import vocabulary_of
from addrmesh.inference.mgeo.tokenizer import Encoded, Tokenizer
from support.mgeo import vocabulary

WORDS = vocabulary()
NUMBER = {word: number for number, word in enumerate(WORDS)}
TOKENIZER = Tokenizer(NUMBER, 512)
SPECIAL = {"[PAD]", "[CLS]", "[SEP]", "[MASK]"}


def shown(encoded: Encoded) -> list[str]:
    return [WORDS[number] for number in encoded.ids]


def test_every_digit_is_a_token_with_a_label_of_its_own() -> None:
    encoded = TOKENIZER.characters("280号 SOHO")
    assert shown(encoded) == ["[CLS]", "2", "8", "0", "号", "s", "o", "h", "o", "[SEP]"]
    assert encoded.spans == [(0, 1), (1, 2), (2, 3), (3, 4), (5, 6), (6, 7), (7, 8), (8, 9)]


def test_text_cannot_name_a_special_token() -> None:
    assert shown(TOKENIZER.characters("省[SEP]市"))[1:-1] == ["省", "[", "s", "e", "p", "]", "市"]


def test_the_librarys_way_cuts_words_and_labels_their_first_piece() -> None:
    encoded = TOKENIZER.words("280号 SOHO12x 省[SEP]市")
    assert shown(encoded)[1:] == ["280", "号", "soho", "##1", "##2", "##x", "省", "[SEP]", "市", "[SEP]"]
    assert [WORDS[encoded.ids[i]] for i in encoded.labelled] == ["280", "号", "soho", "省"]
    assert encoded.spans == [(0, 3), (3, 4), (5, 12), (13, 14)]


def test_the_librarys_way_drops_what_is_beyond_the_limit() -> None:
    encoded = Tokenizer(NUMBER, 6).words("省市区县 路号12")
    assert len(encoded.ids) == 6
    assert encoded.spans == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_of_a_pair_the_longer_text_is_cut_first() -> None:
    ids, types = Tokenizer(NUMBER, 10).pair("省市区路号幢", "省市")
    assert [WORDS[i] for i in ids] == ["[CLS]", "省", "市", "区", "路", "号", "[SEP]", "省", "市", "[SEP]"]
    assert types == [0] * 7 + [1] * 3


def test_characters_the_model_has_never_seen_are_reported() -> None:
    assert TOKENIZER.unknown("省崃市 𠮷\u200b") == [1, 4]


@given(st.text(max_size=60))
def test_strict_tokens_are_one_visible_character_each_and_never_special(text: str) -> None:
    encoded = TOKENIZER.characters(text)
    assert len(encoded.ids) == len(encoded.spans) + 2 <= len(text) + 2
    assert not SPECIAL & set(shown(encoded)[1:-1])
    assert encoded.spans == sorted(set(encoded.spans))
    assert not any(text[start:end].isspace() for start, end in encoded.spans)


PARTS = ("省", "1", "a", "é", "[SEP]", "[PAD]", " ", "\u200b", "😀", "12", "-")


@given(st.lists(st.sampled_from(PARTS), max_size=40).map("".join))
def test_words_lie_in_order_inside_the_text(text: str) -> None:
    encoded = TOKENIZER.words(text)
    flat = [place for span in encoded.spans for place in span]
    assert flat == sorted(flat)
    assert len(encoded.labelled) == len(encoded.spans)
    assert all(0 < place < len(encoded.ids) - 1 for place in encoded.labelled)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\xfe", "expected UTF-8 text; found something else at byte 0"),
        ("\n".join([*WORDS, "省"]).encode(), "expected each token once; found 1 of"),
        ("\n".join(WORDS).replace("[CLS]", "[XXX]").encode(), r"found no \[CLS\]"),
    ],
)
def test_a_vocabulary_of_something_else_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ReleaseError, match=rf"vocab\.txt is refused: .*{reason}"):
        vocabulary_of(data, "vocab.txt")
