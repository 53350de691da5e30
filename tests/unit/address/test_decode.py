"""Tags to spans: legal sequences are read off, others are searched for the best legal one."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from addrmesh.address.decode import best_tags, legal_spans
from addrmesh.address.labels import MGEO_TAGS, TAGS
from addrmesh.address.types import COMPONENT_TYPES

TAG = {name: number for number, name in enumerate(TAGS)}


def test_tags_become_spans() -> None:
    tags = [TAG[t] for t in ("B-prov", "E-prov", "O", "S-poi", "B-road", "I-road", "E-road")]
    assert legal_spans(tags) == [
        (COMPONENT_TYPES.index("prov"), 0, 2),
        (COMPONENT_TYPES.index("poi"), 3, 4),
        (COMPONENT_TYPES.index("road"), 4, 7),
    ]


def test_a_broken_sequence_is_refused() -> None:
    for names in (["B-prov"], ["I-prov"], ["E-prov"], ["B-prov", "O"], ["B-prov", "E-city"], ["B-prov", "B-prov"]):
        assert legal_spans([TAG[name] for name in names]) is None


def test_there_are_57_tags_in_the_mgeo_view() -> None:
    assert len(MGEO_TAGS) == len(set(MGEO_TAGS)) == 57
    assert not [tag for tag in MGEO_TAGS if "roomno" in tag]


@given(arrays(np.float32, st.tuples(st.integers(1, 40), st.just(len(TAGS))), elements=st.floats(-20, 20, width=32)))
def test_the_search_always_finds_a_legal_sequence(scores: np.ndarray) -> None:
    tags = best_tags(scores)
    assert len(tags) == len(scores)
    assert legal_spans(tags) is not None


@given(arrays(np.float32, (3, 9), elements=st.floats(-5, 5, width=16)))
def test_no_legal_sequence_scores_higher(few: np.ndarray) -> None:
    """Two types only, so that all 9³ sequences can be tried."""
    scores = np.full((3, len(TAGS)), -100, np.float32)
    scores[:, :9] = few
    total = lambda tags: float(sum(scores[i, tag] for i, tag in enumerate(tags)))  # noqa: E731
    best = max(total(tags) for tags in itertools.product(range(9), repeat=3) if legal_spans(tags) is not None)
    assert total(best_tags(scores)) >= best - 1e-3


@given(st.lists(st.tuples(st.sampled_from(range(len(COMPONENT_TYPES))), st.integers(1, 5)), min_size=1, max_size=6))
def test_where_the_best_tags_are_legal_the_search_agrees(pieces: list[tuple[int, int]]) -> None:
    tags: list[int] = []
    for kind, length in pieces:
        first = 1 + 4 * kind
        tags += [first + 3] if length == 1 else [first, *[first + 1] * (length - 2), first + 2]
    scores = np.zeros((len(tags), len(TAGS)), np.float32)
    scores[np.arange(len(tags)), tags] = 1
    assert best_tags(scores) == tags
