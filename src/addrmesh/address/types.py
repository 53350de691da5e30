"""The words of the domain: a labelled piece of an address."""

from typing import NamedTuple

COMPONENT_TYPES = (
    "prov", "city", "district", "devzone", "town", "community", "village_group", "road", "roadno", "intersection",
    "poi", "subpoi", "houseno", "cellno", "floorno", "roomno", "assist", "distance",
)  # fmt: skip
"""The merged scheme: MGeo's 17 types plus `roomno`, in the order of a written address, coarse to fine."""


class Component(NamedTuple):
    """
    One labelled span.

    `start` and `end` are half-open code point positions in the text it was found in: in the canonical text
    inside the node, in the caller's text on the wire (`Canonical.span` maps one to the other).
    `confidence` is the calibrated probability, 0 to 1, that span and type are both right.
    """

    type: str
    start: int
    end: int
    confidence: float
