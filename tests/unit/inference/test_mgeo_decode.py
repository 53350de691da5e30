"""Labels to spans: strictly, and as ModelScope's pipeline does."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from addrmesh.address.labels import MGEO_TAGS
from addrmesh.inference.mgeo.decode import Compatible, Span, Strict

NUMBER = {label: number for number, label in enumerate(MGEO_TAGS)}


def sure_of(labels: list[str], by: float = 5.0) -> np.ndarray:
    scores = np.zeros((len(labels), len(MGEO_TAGS)), np.float32)
    scores[range(len(labels)), [NUMBER[label] for label in labels]] = by
    return scores


def decoded(how: type[Strict] | type[Compatible], *labels: str) -> list[Span]:
    return how(MGEO_TAGS).spans([NUMBER[label] for label in labels], sure_of(list(labels)))[0]


@pytest.mark.parametrize(
    ("labels", "spans"),
    [
        (("B-city", "E-poi"), [("city", 0, 2)]),
        (("B-city", "O", "E-city"), [("city", 0, 3)]),
        (("B-city", "O", "O", "I-poi"), [("city", 0, 4)]),
        (("B-city", "O", "O", "O"), [("city", 0, 1)]),
        (("I-city", "I-city"), [("city", 0, 2)]),
        (("O", "O"), []),
        (
            ("S-poi", "I-city", "B-road", "S-poi", "E-town"),
            [("poi", 0, 1), ("city", 1, 2), ("road", 2, 3), ("poi", 3, 4), ("town", 4, 5)],
        ),
    ],
)  # fmt: skip
def test_compatible_decoding_keeps_the_librarys_rules(labels: tuple[str, ...], spans: list[Span]) -> None:
    assert decoded(Compatible, *labels) == spans


def test_legal_labels_decode_alike_in_both_ways() -> None:
    labels = ("B-prov", "I-prov", "E-prov", "O", "S-poi", "B-road", "E-road")
    assert decoded(Strict, *labels) == decoded(Compatible, *labels) == [("prov", 0, 3), ("poi", 4, 5), ("road", 5, 7)]


def test_o_closes_a_span_in_strict_decoding() -> None:
    spans = decoded(Strict, "B-city", "E-city", "O", "O", "I-poi", "O")
    assert ("city", 0, 2) in spans
    assert all(end <= 2 or start > 3 for _, start, end in spans)


labels_of_a_text = st.lists(st.sampled_from(MGEO_TAGS), min_size=1, max_size=12)


@given(labels_of_a_text, st.integers(0, 2**32 - 1))
def test_strict_spans_are_ordered_and_the_labels_chosen_spell_them(labels: list[str], seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(len(labels), len(MGEO_TAGS))).astype(np.float32)
    scores += sure_of(labels, 3.0)
    spans, chosen = Strict(MGEO_TAGS).spans(scores.argmax(1).tolist(), scores)
    assert all(0 <= start < end <= len(labels) for _, start, end in spans)
    assert all(one[2] <= other[1] for one, other in itertools.pairwise(spans))
    spelt = ["O"] * len(labels)
    for kind, start, end in spans:
        spelt[start:end] = [f"I-{kind}"] * (end - start)
        spelt[start], spelt[end - 1] = f"B-{kind}", f"E-{kind}"
        if end - start == 1:
            spelt[start] = f"S-{kind}"
    assert [MGEO_TAGS[label] for label in chosen] == spelt


@given(labels_of_a_text)
def test_compatible_spans_never_overlap(labels: list[str]) -> None:
    spans = decoded(Compatible, *labels)
    assert all(one[2] <= other[1] for one, other in itertools.pairwise(spans))
