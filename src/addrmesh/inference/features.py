"""
Canonical texts to the network's inputs: characters, character pairs and gazetteer hits.

Digits all read as `0` and latin letters as `A`: the labelled data knows no others. Spans do not move by it.
"""

import string
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from addrmesh.address import gazetteer

UNKNOWN, BOUNDARY = 0, 1
GAZETTEER_CODES = 1 << 3 * len(gazetteer.LEVELS)
_INNER, _LAST = len(gazetteer.LEVELS), 2 * len(gazetteer.LEVELS)  # bit offsets; the first character is at 0


class Inputs(msgspec.Struct, frozen=True):
    """What the network reads, time first: `[T, B]`, int32, and the lengths `[B]`."""

    characters: NDArray[np.int32]
    pairs: NDArray[np.int32]
    gazetteer: NDArray[np.int32]
    lengths: NDArray[np.int32]


class Vocabulary(msgspec.Struct, frozen=True):
    """The characters and character pairs the network knows, as they stand in a release's `vocabulary.json`."""

    characters: str
    pairs: list[str]


def fold(text: str) -> str:
    """Return `text` as the network reads it: digits as `0`, latin letters as `A`."""
    return text.translate(_FOLD)


_FOLD = {**dict.fromkeys(map(ord, string.digits), "0"), **dict.fromkeys(map(ord, string.ascii_letters), "A")}


class Featurizer:
    """Turns texts into `Inputs` with one vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        number = {char: i for i, char in enumerate(vocabulary.characters, start=2)}
        self.size = len(number) + 2
        self._number = np.zeros(0x10000, np.int32)
        self._number[0] = BOUNDARY  # rows are padded with NUL, which canonical text cannot contain
        for char, i in number.items():
            self._number[ord(char)] = i
        for code, folded in _FOLD.items():
            self._number[code] = number.get(folded, UNKNOWN)
        keys = np.array([number[pair[0]] * self.size + number[pair[1]] for pair in vocabulary.pairs], np.int32)
        order = np.argsort(keys)
        self._pair_keys, self._pair_number = keys[order], (order + 1).astype(np.int32)
        self._automaton = gazetteer.automaton()

    def __call__(self, texts: Sequence[str]) -> Inputs:
        """
        Return the inputs of a batch, rows padded to the longest.

        Args:
            texts: Canonical texts, at least one, none empty.
        """
        lengths = np.fromiter(map(len, texts), np.int32, len(texts))
        longest = int(lengths.max())
        joined = "".join([text.ljust(longest, "\0") for text in texts])
        codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32).reshape(len(texts), longest)
        numbers = self._number[np.minimum(codes, 0xFFFF)]
        before = np.empty_like(numbers)
        before[:, 0] = BOUNDARY
        before[:, 1:] = numbers[:, :-1]
        keys = before * np.int32(self.size) + numbers
        found = np.searchsorted(self._pair_keys, keys)
        np.minimum(found, len(self._pair_keys) - 1, out=found)
        pairs = np.where(self._pair_keys[found] == keys, self._pair_number[found], np.int32(0))
        rows = [code for text in texts for code in self._gazetteer_row(text, longest)]
        gazetteer_codes = np.array(rows, np.int32).reshape(len(texts), longest)
        characters, pairs, hits = (np.ascontiguousarray(table.T) for table in (numbers, pairs, gazetteer_codes))
        return Inputs(characters, pairs, hits, lengths)

    def _gazetteer_row(self, text: str, width: int) -> list[int]:
        row = [0] * width
        for last, (length, levels) in self._automaton.iter(text):
            row[last - length + 1] |= levels
            row[last] |= levels << _LAST
            for inner in range(last - length + 2, last):
                row[inner] |= levels << _INNER
        return row
