"""
What a parsed address looks like outside the process: in a reply, in a bulk result, on a terminal.

The node and the command line both render with `to_wire`, so the same text and release give the same bytes.
"""

from collections.abc import Iterable
from typing import Literal, get_args

import msgspec

from addrmesh.address.labels import MGEO_TYPES
from addrmesh.address.normalize import Canonical

Tagset = Literal["addrmesh", "mgeo"]
"""`addrmesh` is the whole scheme; `mgeo` keeps to the types MGeo knows and leaves `roomno` out."""

TAGSETS: tuple[str, ...] = get_args(Tagset)


class WireComponent(msgspec.Struct, frozen=True, gc=False):
    """One component, in the words and positions of the caller's own text."""

    type: str
    text: str
    """The canonical form: half-width, simplified, without invisible characters."""
    input_text: str
    """What the caller wrote there."""
    span: tuple[int, int]
    """Half-open, in Unicode code points of the caller's text (JavaScript counts UTF-16 units instead)."""
    confidence: float
    """Calibrated probability that span and type are both right, to four decimals."""


class ParseResult(msgspec.Struct, frozen=True, gc=False):
    """The components of one address, by position."""

    components: list[WireComponent]


def to_wire(
    address: str, canonical: Canonical, components: Iterable[tuple[str, int, int, float]], tagset: Tagset = "addrmesh"
) -> ParseResult:
    """
    Show the components of a canonical text in the caller's own text.

    Args:
        address: The text as the caller sent it.
        canonical: `normalize(address)`.
        components: What the engine found in `canonical.text`: `Component`s or tuples like them.
        tagset: Types outside it are left out.
    """
    if tagset == "mgeo":
        components = [c for c in components if c[0] in MGEO_TYPES]
    text, origin = canonical
    if origin is None:
        return ParseResult(
            [
                WireComponent(type_, text[start:end], address[start:end], (start, end), round(confidence, 4))
                for type_, start, end, confidence in components
            ]
        )
    found = []
    behind = 0
    for type_, start, end, confidence in components:
        # One input character can stand for several canonical ones ("½") that two components share: the first has it.
        first, last = max(behind, origin[start]), origin[end - 1] + 1
        if first < last:
            piece = WireComponent(type_, text[start:end], address[first:last], (first, last), round(confidence, 4))
            found.append(piece)
            behind = last
    return ParseResult(found)
