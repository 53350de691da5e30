"""
Labels of MGeo's tokens to components, in two ways.

`strict` is addrmesh's own decoding (`address.decode`): the best sequence in which every span opens, goes on and
closes with one type, `O` closes, and the confidence is the least probability of the span's labels. `compatible` gives
the spans of ModelScope's pipeline, whose rules are looser: any I, E or S stretches the span that is open, over `O`
and whatever its own type; the first label names it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from addrmesh.address.decode import best_tags, legal_spans
from addrmesh.address.labels import TAGS
from addrmesh.address.types import COMPONENT_TYPES

DECODER_VERSION = 1
"""Raise it when a text could get other tokens, or equal scores another answer: it is part of a release's manifest."""

Span = tuple[str, int, int]
"""Type, first token, the token behind the last."""


class Strict:
    """Decodes with the label order of one model; labels it lacks (`S-road`) are never chosen."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._tag = [TAGS.index(label) for label in labels]

    def spans(self, tags: Sequence[int], scores: NDArray[np.float32]) -> tuple[list[Span], list[int]]:
        """
        Find the spans of one text.

        Args:
            tags: The best label of each token.
            scores: `[T, labels]`.

        Returns:
            The spans, and the label each token was taken for.
        """
        chosen = list(tags)
        found = legal_spans([self._tag[tag] for tag in tags])
        if found is None:
            ordered = np.full((len(scores), len(TAGS)), -np.inf, np.float32)
            ordered[:, self._tag] = scores
            best = best_tags(ordered)
            found = legal_spans(best) or []
            chosen = [self._tag.index(tag) for tag in best]
        return [(COMPONENT_TYPES[kind], start, end) for kind, start, end in found], chosen


class Compatible:
    """Decodes as `TokenClassificationPipeline` of ModelScope 1.40.2 does."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = list(labels)

    def spans(self, tags: Sequence[int], scores: NDArray[np.float32]) -> tuple[list[Span], list[int]]:  # noqa: ARG002
        """Find the spans of one text; see `Strict.spans`."""
        spans: list[Span] = []
        open_span: Span | None = None
        for place, (does, _, kind) in enumerate(self._labels[tag].partition("-") for tag in tags):
            if does == "O":
                continue
            if does in "BS" or open_span is None:
                if open_span:
                    spans.append(open_span)
                open_span = (kind, place, place + 1)
            else:
                open_span = (open_span[0], open_span[1], place + 1)
            if does in "ES":
                spans.append(open_span)
                open_span = None
        if open_span:
            spans.append(open_span)
        return spans, list(tags)
