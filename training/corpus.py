"""
The labelled and unlabelled texts, read from outside the project and never copied into it.

Every text is brought to canonical form without moving a character, and every label to spans over its characters.
"""

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from addrmesh.address.labels import TAGS
from addrmesh.address.normalize import normalize
from addrmesh.address.types import COMPONENT_TYPES
from addrmesh.inference.features import fold

NAACL_TYPES = [
    "country",
    "prov",
    "city",
    "district",
    "devzone",
    "town",
    "community",
    "road",
    "subroad",
    "roadno",
    "subroadno",
    "poi",
    "subpoi",
    "houseno",
    "cellno",
    "floorno",
    "roomno",
    "person",
    "assist",
    "redundant",
    "otherinfo",
]

Span = tuple[str, int, int]


@dataclass
class Example:
    """A text with spans, or with a probability per character and tag where teachers labelled it."""

    text: str
    spans: list[Span]
    soft: NDArray[np.float16] | None = field(default=None, repr=False)  # [T, len(TAGS)]


def tag_rows(length: int, spans: list[Span], types: tuple[str, ...] | list[str] = COMPONENT_TYPES) -> NDArray[np.int64]:
    """Return one tag number per character; numbers as in `labels.TAGS` for the types given."""
    tags = np.zeros(length, np.int64)
    for name, start, end in spans:
        first = 1 + 4 * list(types).index(name)
        if end - start == 1:
            tags[start] = first + 3
        else:
            tags[start], tags[start + 1 : end - 1], tags[end - 1] = first, first + 1, first + 2
    return tags


def soft_rows(example: Example) -> NDArray[np.float16]:
    """Return the target distribution `[T, L]` of an example."""
    if example.soft is not None:
        return example.soft
    rows = np.zeros((len(example.text), len(TAGS)), np.float16)
    rows[np.arange(len(rows)), tag_rows(len(rows), example.spans)] = 1
    return rows


def _canonical(chars: str) -> str:
    """Canonical form, character by character; a character that would vanish or grow stays as it is."""
    return "".join(new if len(new := normalize(char).text) == 1 else "?" for char in chars)


def read_ccks(path: Path) -> list[Example]:
    """Read CCKS 2021 track 2: one character and its BIES tag a line."""
    examples = []
    for block in path.read_text("utf-8").strip().split("\n\n"):
        pairs = [line.split(" ") for line in block.split("\n")]
        spans, start = [], 0
        for i, (_, tag) in enumerate(pairs):
            place, _, name = tag.partition("-")
            if place in "BS":
                start = i
            if place in "ES":
                spans.append((name, start, i + 1))
        examples.append(Example(_canonical("".join(char for char, _ in pairs)), spans))
    return examples


def read_naacl(path: Path) -> list[Example]:
    """Read NAACL 2019: one token and its BIO tag a line; labels folded to lower case."""
    examples = []
    for block in path.read_text("utf-8").strip().split("\n\n"):
        text, spans = "", []
        for line in block.split("\n"):
            token, tag = line.split(" ")
            place, _, name = tag.lower().partition("-")
            start = len(text)
            text += token
            if place == "b" or not spans or spans[-1][0] != name:
                spans.append((name, start, len(text)))
            else:
                spans[-1] = (name, spans[-1][1], len(text))
        examples.append(Example(_canonical(text), spans))
    return examples


def read_unlabelled(data: Path) -> list[str]:
    """Read every text without labels: CCKS 2021's test texts and both sides of the address pairs."""
    texts = (data / "ccks21-addr" / "unlabelled.txt").read_text("utf-8").split("\n")
    with (data / "ccks21-addr-pairs" / "train.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            texts += row[:2]
    texts = [_canonical(text.strip()) for text in texts]
    return sorted({text for text in texts if 3 <= len(text) <= 80})


def without(examples: list[Example], held_out: list[Example]) -> list[Example]:
    """Drop the examples whose folded text is among the held-out ones."""
    keys = {fold(example.text) for example in held_out}
    return [example for example in examples if fold(example.text) not in keys]
