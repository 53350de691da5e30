"""
Text to the numbers of MGeo's vocabulary, in two ways.

`characters` is how the model was trained and how addrmesh serves it: one token for each visible character, so every
digit has a label of its own, and text can name no special token. `words` is what ModelScope's pipeline does with the
same vocabulary: words cut into pieces, the first piece's label for the whole word, special tokens obeyed.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from addrmesh.inference.mgeo.checkpoint import SPECIAL

LONGEST_WORD = 100


class Encoded(NamedTuple):
    """A text as the network reads it, between `[CLS]` and `[SEP]`."""

    ids: list[int]
    labelled: list[int]
    """Which tokens carry a label, as places in `ids`; ascending."""
    spans: list[tuple[int, int]]
    """What each of them stands for, as code points of the text."""


class Tokenizer:
    """
    Encodes with one vocabulary.

    Args:
        vocabulary: Tokens and their numbers.
        limit: Tokens that the model takes, `[CLS]` and `[SEP]` included.
    """

    def __init__(self, vocabulary: Mapping[str, int], limit: int) -> None:
        self._vocabulary = vocabulary
        self._limit = limit
        self._unknown, self._first, self._last = (vocabulary[token] for token in ("[UNK]", "[CLS]", "[SEP]"))
        self._numbers = _Numbers(vocabulary, self._unknown)

    def characters(self, text: str) -> Encoded:
        """Return one token for each character of `text` but blanks and what cannot be seen."""
        ids, spans = [self._first], []
        for place, number in enumerate(map(self._numbers.__getitem__, text)):
            if number is not None:
                ids.append(number)
                spans.append((place, place + 1))
        ids.append(self._last)
        return Encoded(ids, list(range(1, len(ids) - 1)), spans)

    def unknown(self, text: str) -> list[int]:
        """Return where `text` has characters that the model has never seen; they all look alike to it."""
        return [place for place, char in enumerate(text) if self._numbers[char] == self._unknown]

    def words(self, text: str) -> Encoded:
        """Return what ModelScope's pipeline feeds the model; tokens beyond the limit are dropped."""
        ids, labelled, spans = [self._first], [], []
        for start, end, pieces in self._pieces(text):
            room = self._limit - 1 - len(ids)
            if room <= 0:
                break
            if self._last not in ids and pieces[0] != self._last:  # from a [SEP] in the text on, nothing has a label
                labelled.append(len(ids))
                spans.append((start, end))
            ids += pieces[:room]
        return Encoded([*ids, self._last], labelled, spans)

    def pair(self, first: str, second: str) -> tuple[list[int], list[int]]:
        """
        Return the tokens of two texts, as ModelScope's pipelines feed them, and to which of the two each belongs.

        Args:
            first: Stands after `[CLS]`.
            second: Stands after the first `[SEP]`. Beyond the limit the longer text loses its last tokens.
        """
        one, two = ([number for *_, pieces in self._pieces(text) for number in pieces] for text in (first, second))
        room = self._limit - 3
        if len(one) + len(two) > room:
            shorter, longer = (two, one) if len(one) > len(two) else (one, two)
            keep = min(len(shorter), room // 2)
            del shorter[keep:], longer[room - keep :]
        ids = [self._first, *one, self._last, *two, self._last]
        return ids, [0] * (len(one) + 2) + [1] * (len(two) + 1)

    def _pieces(self, text: str) -> Iterator[tuple[int, int, list[int]]]:
        for start, end, special in _split_special(text):
            if special:
                yield start, end, [self._vocabulary[text[start:end]]]
                continue
            for word_start, word_end, word in _words(text[start:end]):
                yield start + word_start, start + word_end, self._cut(word)

    def _cut(self, word: str) -> list[int]:
        """Greedily take the longest piece the vocabulary has, from the left."""
        if len(word) > LONGEST_WORD:
            return [self._unknown]
        pieces, at = [], 0
        while at < len(word):
            for end in range(len(word), at, -1):
                number = self._vocabulary.get(("##" if at else "") + word[at:end])
                if number is not None:
                    break
            else:
                return [self._unknown]
            pieces.append(number)
            at = end
        return pieces


class _Numbers(dict[str, int | None]):
    """The token of each character alone, worked out when first met; None for what gets no token."""

    def __init__(self, vocabulary: Mapping[str, int], unknown: int) -> None:
        self._vocabulary, self._unknown = vocabulary, unknown

    def __missing__(self, char: str) -> int | None:
        plain = _plain(char)
        number = None if not plain or plain.isspace() else self._vocabulary.get(plain, self._unknown)
        self[char] = number
        return number


def _plain(char: str) -> str:
    """Return a character as BERT reads it: lower case, no accent; empty for what cannot be seen, a blank for space."""
    if char in "\t\n\r" or unicodedata.category(char) == "Zs":
        return " "
    if char in "\0\ufffd" or unicodedata.category(char)[0] == "C":
        return ""
    decomposed = unicodedata.normalize("NFD", char)
    return "".join(c for c in decomposed if unicodedata.category(c) != "Mn").lower()


def _words(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield words as BERT's basic tokenizer finds them, with their places in the text."""
    word, start, end = "", 0, 0
    for place, char in enumerate(text):
        for plain in _plain(char):
            alone = _is_han(ord(plain)) or _is_punctuation(plain)
            if word and (alone or plain.isspace()):
                yield start, end, word
                word = ""
            if alone:
                yield place, place + 1, plain
            elif not plain.isspace():
                if not word:
                    start = place
                word += plain
                end = place + 1
    if word:
        yield start, end, word


def _is_han(code: int) -> bool:
    return any(low <= code <= high for low, high in _HAN)


_HAN = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


def _is_punctuation(char: str) -> bool:
    return (char.isascii() and char.isprintable() and not char.isalnum() and char != " ") or (
        unicodedata.category(char)[0] == "P"
    )


def _split_special(text: str) -> Iterable[tuple[int, int, bool]]:
    done = 0
    for found in _SPECIAL.finditer(text):
        yield done, found.start(), False
        yield found.start(), found.end(), True
        done = found.end()
    yield done, len(text), False


_SPECIAL = re.compile("|".join(map(re.escape, SPECIAL)))
