"""
The fitted scorer: three small models, each of which reads a pair in its own way.

A linear model weighs the tokens of what the two have and lack; trees weigh its verdict with the facts; a
convolutional network reads both texts side by side. Trees and network are mixed. All of it is numpy.
"""

import lzma
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from addrmesh.address.match_features import Likeness, Tables, begins, bucket, facts, tokens
from addrmesh.address.match_guards import Compared
from addrmesh.address.match_reading import Reading

Floats = NDArray[np.floating[Any]]

MODEL_VERSION = 2
WIDTH = 44
"""Characters of an address that the network reads; facts and tokens take all of it."""


class Weights(msgspec.Struct, frozen=True):
    """The contents of `match_model.bin`: packed by training/match.py, little-endian, lzma around msgpack."""

    version: int
    source: str
    gazetteer: str
    characters: str
    """The characters that have a vector; digits come after them."""
    sound: dict[int, int]
    """Of each character that is spoken like another, the first that is spoken so."""
    rarity: bytes
    """uint8 per bucket, twentieths of a nat."""
    arrays: dict[str, tuple[str, tuple[int, ...], bytes]]
    share: float
    """Weight of the network against the trees, between logarithms."""
    lift: tuple[float, float, float]
    """Factor on the probability of each label: each counts the same, however rare it was in the training data."""


class Model:
    """The contents of a `match_model.bin`, ready to score."""

    def __init__(self, weights: Weights) -> None:
        self.version, self.source = weights.version, weights.source
        self._share, self._lift = weights.share, np.array(weights.lift)
        self._number = {c: i for i, c in enumerate(weights.characters + "0123456789", start=1)}
        arrays = {
            name: np.frombuffer(data, dtype).reshape(shape) for name, (dtype, shape, data) in weights.arrays.items()
        }
        # The network's weights are int8 with one scale per output.
        self._w: dict[str, NDArray[Any]] = {
            name: (array * arrays[f"{name}.scale"]).astype(np.float32) if f"{name}.scale" in arrays else array
            for name, array in arrays.items()
        }
        self._weight = self._w["token.weight"].astype(np.int32)
        self._rise = self._w["token.rise"]
        # Row i holds the i-th test of every tree.
        self._feature = self._w["tree.feature"].astype(np.int64)
        self._threshold = self._w["tree.threshold"]
        self._leaves = self._w["tree.leaves"].astype(np.uint16)
        self._value = self._w["tree.value"].astype(np.float64)
        self._first_leaf = np.arange(self._value.shape[0]) * 16
        self._flat = self._value.ravel()
        rarity = weights.rarity
        self._tables = Tables(
            lru_cache(1 << 16)(lambda pair: rarity[bucket(pair)]), weights.sound, self._w["written"].tolist()
        )

    def likeness(self, read: Reading) -> Likeness:
        """Prepare one side."""
        return Likeness(read, self._tables)

    def probabilities(self, compared: Compared) -> Floats:
        """Return the probability of each of the labels, before any guard."""
        x, y = ordered(self.likeness(compared.x), self.likeness(compared.y))
        first = begins(x.read.text, y.read.text), begins(y.read.text, x.read.text)
        row = np.array(facts(x, y, compared), np.float32)
        said = self.linear(tokens(x, y, compared, first))
        mixed = self._share * self._network(x, y, first, row) + (1 - self._share) * self._trees(row, said)
        chances = np.exp(mixed - mixed.max()) * self._lift
        return np.asarray(chances / chances.sum())

    def linear(self, found: set[int]) -> NDArray[np.float32]:
        """Return how far the tokens speak for partial above not, for exact above partial, and for exact above not."""
        # A sum of whole numbers does not depend on the order of a set.
        total = self._weight.take(list(found), 0).sum(0)
        one, two = (total * self._w["token.scale"] / np.sqrt(len(found) + 1.0) + self._rise).tolist()
        return np.array([one, two, one + two], np.float32)

    def _trees(self, row: NDArray[np.float32], said: NDArray[np.float32]) -> Floats:
        """
        Return the logarithms of the probabilities.

        Every test of every tree is made at once. A test that fails takes away the leaves on its left; the first leaf
        that remains in a tree is the one that a walk would have reached.
        """
        fails = np.concatenate([row, said]).take(self._feature) > self._threshold
        remain = np.bitwise_and.reduce(np.where(fails, self._leaves, np.uint16(0xFFFF)), 0).astype(np.int32)
        leaf = np.frexp(remain & -remain)[1] - 1
        return _log_softmax(self._flat.take(self._first_leaf + leaf).reshape(-1, 3).sum(0))

    def _network(
        self, x: Likeness, y: Likeness, first: tuple[list[bool], list[bool]], row: NDArray[np.float32]
    ) -> Floats:
        w = self._w
        texts = [side.read.text[:WIDTH] or " " for side in (x, y)]
        size, whole = len(texts[0]), len(texts[0]) + len(texts[1]) + 1
        # Both texts in one matrix, a row of zeros between and around them.
        hits = np.zeros((whole, 4), np.float32)
        hits[:size] = flags(texts[0], y.read.text, first[0])
        hits[size + 1 :] = flags(texts[1], x.read.text, first[1])
        number = self._number
        characters = [number.get(c, 0) for text in texts for c in text]
        characters.insert(size, 0)
        types = [*(x.types[:WIDTH] or [0]), 0, *(y.types[:WIDTH] or [0])]
        inputs = np.concatenate([w["character"].take(characters, 0), w["kind"].take(types, 0), hits], 1)
        inputs[size] = 0
        hidden = _times(_windows(inputs), w["conv1"])
        hidden[:size] += w["conv1.bias"][0]
        hidden[size + 1 :] += w["conv1.bias"][1]
        np.maximum(hidden, 0, out=hidden)
        hidden[size] = 0
        hidden += np.maximum(_times(_windows(hidden), w["conv2"]) + w["conv2.bias"], 0)
        a, b = hidden[:size], hidden[size + 1 :]
        scores = (a @ b.T) * w["sharpness"][0]
        hidden, hits = np.delete(hidden, size, 0), np.delete(hits, size, 0)
        theirs = np.concatenate([_softmax(scores) @ b, _softmax(scores.T) @ a])
        pairs = np.concatenate([hidden, theirs, hidden - theirs, hidden * theirs, hits], 1)
        compared = np.maximum(_times(pairs, w["compare"]) + w["compare.bias"], 0)
        pooled = [found for side in (compared[:size], compared[size:]) for found in (side.max(0), side.mean(0))]
        scaled = ((row - w["mean"]) / w["deviation"]).clip(-4, 4)
        known = np.maximum(scaled @ w["facts"] + w["facts.bias"], 0)
        top = np.maximum(np.concatenate([*pooled, known]) @ w["top"] + w["top.bias"], 0)
        return _log_softmax((top @ w["out"] + w["out.bias"]).astype(np.float64))


def ordered(x: Likeness, y: Likeness) -> tuple[Likeness, Likeness]:
    """Return the side that looks written before the one that looks like a map's entry, whichever came first."""
    one, two = [(-side.written, side.read.plain, side.read.text, side.types) for side in (x, y)]
    return (x, y) if one <= two else (y, x)


def flags(text: str, other: str, first: list[bool]) -> NDArray[np.float32]:
    """Tell of each character whether the other text has it, it and the next, the one before and it, all three."""
    size = len(text)
    result = np.zeros((size, 4), np.float32)
    pair = np.array((first or [False])[:size])
    result[:, 0] = [c in other for c in text]
    result[:, 1] = pair
    result[1:, 2] = pair[:-1]
    three = np.array([bool(first[i]) and text[i : i + 3] in other for i in range(size - 2)], bool)
    for shift in range(3):
        result[shift : shift + len(three), 3] += three
    np.minimum(result[:, 3], 1, out=result[:, 3])
    return result


def _windows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return of each row the one before, itself and the one after."""
    size, width = rows.shape
    result = np.zeros((size, 3 * width), np.float32)
    result[1:, :width] = rows[:-1]
    result[:, width : 2 * width] = rows
    result[:-1, 2 * width :] = rows[1:]
    return result


def _times(rows: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Multiply in blocks so small that BLAS does not wake a second thread, which would cost more than it saves."""
    step = max(1, (1 << 18) // weight.size)
    return np.concatenate([rows[i : i + step] @ weight for i in range(0, len(rows), step)])


def _softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(weights / weights.sum(1, keepdims=True))


def _log_softmax(scores: Floats) -> Floats:
    scores = scores - scores.max()
    return np.asarray(scores - np.log(np.exp(scores).sum()))


def read_model(data: bytes) -> Model:
    """Read the contents of a `match_model.bin`."""
    return Model(msgspec.msgpack.decode(lzma.decompress(data), type=Weights))


@cache
def load_model() -> Model:
    """Return the model that comes with the package."""
    return read_model(files(__package__).joinpath("match_model.bin").read_bytes())
