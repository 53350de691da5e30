"""
Tags to components.

The network is trained without transition scores, so the best tag of each character taken alone is also the best
sequence whenever it is a legal one (a span opens with B, goes on with I, closes with E, S stands alone). Only the few
texts where it is not pay for a search, and that search needs one number for "outside" and one per type for "inside",
because every legal sequence may follow a closed span.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from addrmesh.address.labels import TAGS, B, E, I
from addrmesh.address.types import COMPONENT_TYPES

DECODER_VERSION = 1
"""Raise it when equal scores could give another answer: it is part of a release's manifest."""

Span = tuple[int, int, int]
"""Type number, start, end."""

# Per tag: what it does to the span under way. Negative: closes nothing and opens nothing (O).
_PLACE = (-1, *((t - 1) % 4 for t in range(1, len(TAGS))))
_TYPE = (-1, *((t - 1) // 4 for t in range(1, len(TAGS))))


def legal_spans(tags: Sequence[int]) -> list[Span] | None:
    """Return the spans of a tag sequence, or None when it breaks the BIES scheme."""
    spans: list[Span] = []
    start, inside = 0, -1  # inside: the type number of the open span, -1 for none
    for position, tag in enumerate(tags):
        place = _PLACE[tag]
        if inside >= 0:
            if place not in (I, E) or _TYPE[tag] != inside:
                return None
            if place == E:
                spans.append((inside, start, position + 1))
                inside = -1
        elif place == B:
            start, inside = position, _TYPE[tag]
        elif place in (I, E):
            return None
        elif place >= 0:
            spans.append((_TYPE[tag], position, position + 1))
    return spans if inside < 0 else None


def best_tags(scores: NDArray[np.float32]) -> list[int]:
    """
    Find the legal tag sequence with the highest total score.

    Args:
        scores: `[T, L]`, one row per character, L = len(TAGS), in the order of `labels.TAGS`.

    Returns:
        T tag numbers.
    """
    length = len(scores)
    outside, parts = scores[:, 0], scores[:, 1:].reshape(length, len(COMPONENT_TYPES), 4)
    begin, within, end, single = (parts[:, :, place] for place in range(4))
    best_single = single.argmax(1)
    closed = 0.0  # best score of a prefix in which no span is open
    opened = np.full(len(COMPONENT_TYPES), -np.inf, np.float32)  # the same, with a span of each type open
    stays: list[NDArray[np.bool_]] = []  # was the span of this type open before this character?
    choice: list[int] = []  # the tag with which each prefix closes
    for t in range(length):
        ends = opened + end[t]
        ending = int(ends.argmax())
        alone = int(best_single[t])
        options = (closed + float(outside[t]), float(ends[ending]), closed + float(single[t, alone]))
        pick = options.index(max(options))
        going_on, opening = opened + within[t], np.float32(closed) + begin[t]
        stay = going_on > opening
        opened = np.where(stay, going_on, opening)
        stays.append(stay)
        closed = options[pick]
        choice.append((0, 1 + 4 * ending + E, 1 + 4 * alone + 3)[pick])
    tags = [0] * length
    t = length - 1
    while t >= 0:
        tag = tags[t] = choice[t]
        t -= 1
        if _PLACE[tag] == E:
            kind = _TYPE[tag]
            while stays[t][kind]:
                tags[t] = 1 + 4 * kind + I
                t -= 1
            tags[t] = 1 + 4 * kind + B
            t -= 1
    return tags
