"""
Tags: a component type with its place in the span (BIES), and `O` for everything else.

The order is fixed: `O`, then B, I, E, S of each type in the order of `COMPONENT_TYPES`. With that order the place and
the type of a tag are arithmetic: tag 0 is `O`; tag t > 0 has place `(t - 1) % 4` and type `(t - 1) // 4`.
"""

from addrmesh.address.types import COMPONENT_TYPES

B, I, E, S = range(4)  # noqa: E741 - the scheme's own letters
TAGS = ("O", *(f"{place}-{name}" for name in COMPONENT_TYPES for place in "BIES"))

MGEO_TYPES = tuple(sorted(set(COMPONENT_TYPES) - {"roomno"}))
"""The 17 types of MGeo's published tagger; the strict view leaves `roomno` out, as its training data does."""

MGEO_TAGS = (
    *(f"{place}-{name}" for place in "BEI" for name in MGEO_TYPES),
    "O",
    *(f"S-{name}" for name in ("assist", "community", "district", "intersection", "poi")),
)
"""MGeo's 57 tags in the order of its published `id2label` (configuration.json of the tagging checkpoint)."""
