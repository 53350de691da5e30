"""
A request, read: the caller's text, what in it is no address, and the text that is tagged.

The tagger sees canonical text without receiver, notes and markup; `canonical.span` leads from there to the caller's
own code points. Structured input is read as its fields and lines, one
under the other: `text_of` is what spans count in.
"""

import re
from typing import NamedTuple

from addrmesh.address import receiver
from addrmesh.address.normalize import Canonical, normalize
from addrmesh.address.receiver import Cut
from addrmesh.address.verdict import Fields, Receiver, Request, Spans


class Reading(NamedTuple):
    """A request and what was found before tagging."""

    request: Request
    text: str
    """The caller's text."""
    canonical: Canonical
    """What is to be tagged; its text may be empty."""
    receiver: Receiver | None
    postcode: str | None
    contact_removed: bool
    noise_removed: bool
    converted: tuple[bool, bool]
    """Whether characters were simplified, and whether full-width ones were folded."""


def text_of(request: Request) -> str:
    """Return the text of a request, that all spans of the answer refer to."""
    given = request.address
    if isinstance(given, str):
        return given
    return "\n".join(filter(None, (given.administrative_area, given.locality, given.district, *given.address_lines)))


def read(request: Request) -> Reading:
    """Read a request; tag `canonical.text` of what is returned, then give both to `validate`."""
    text = text_of(request)
    canonical = normalize(text)
    cuts = sorted(receiver.cuts(canonical.text), key=lambda cut: cut.start)
    found = {cut.what: cut for cut in reversed(cuts)}  # the first of each kind
    given = request.address
    postcode = given.postal_code if isinstance(given, Fields) else None
    if postcode is None and (cut := found.get("postcode")):
        postcode = canonical.text[slice(*cut.value)]
    contacts = not found.keys().isdisjoint(("name", "phone", "id_number", "postcode"))
    return Reading(
        request,
        text,
        _without(canonical, cuts),
        _receiver(canonical, found) if contacts and request.options.extract_receiver else None,
        postcode,
        contacts,
        "noise" in found,
        (False, False) if canonical.text is text or canonical.text == text else _converted(text),
    )


def _receiver(canonical: Canonical, found: dict[receiver.What, Cut]) -> Receiver | None:
    values: dict[str, str] = {}
    spans: dict[str, tuple[int, int]] = {}
    for what in ("name", "phone", "id_number"):
        if cut := found.get(what):
            spans[what] = canonical.span(*cut.value)
            values[what] = canonical.text[slice(*cut.value)]
    return Receiver(**values, spans=Spans(**spans)) if values else None


def _converted(text: str) -> tuple[bool, bool]:
    changed = [(old, new) for old in text if not old.isascii() and (new := normalize(old).text) != old]
    script = any(len(new) == 1 and "一" <= old <= "鿿" for old, new in changed)
    return script, any(old == "\u3000" or ("！" <= old <= "～" and new.isalnum()) for old, new in changed)


_SPACED = re.compile(r"(?<!\S)(?:\S ){3,}\S(?!\S)")
_GAP = re.compile(
    r"(?<=\d) +(?=[号幢栋座单楼层室弄])|(?<=[0-9一-鿿]) (?=[号幢栋]\b)|(?<=[一-鿿]) (?=[省市区镇乡](?: |$))"
)


_LOOSE = " ,;:。、!?"


_DOT = re.compile("(?<=[一-鿿])·(?=[一-鿿])")


def _without(canonical: Canonical, cuts: list[Cut]) -> Canonical:
    """Return the canonical text with each cut replaced by one blank, and without blanks inside words."""
    text = canonical.text
    drop = [(cut.start, cut.end, True) for cut in cuts]
    if " " in text:
        for match in _SPACED.finditer(text):
            drop += [(at, at + 1, False) for at in range(*match.span()) if text[at] == " "]
        drop += [(*match.span(), False) for match in _GAP.finditer(text)]
    if "·" in text:
        drop += [(*match.span(), True) for match in _DOT.finditer(text)]
    if not drop:
        return canonical
    kept: list[int] = []
    blanks: set[int] = set()
    at = 0
    for start, end, blank in sorted(drop):
        kept += range(at, max(at, start))
        if blank and start >= at:
            blanks.add(len(kept))
            kept.append(start)
        at = max(at, end)
    kept += range(at, len(text))
    result = "".join(" " if place in blanks else text[index] for place, index in enumerate(kept))
    leading = len(result) - len(result.lstrip(_LOOSE))
    result = result.strip(_LOOSE)
    kept = kept[leading : leading + len(result)]
    origin = canonical.origin
    return Canonical(result, tuple(kept if origin is None else [origin[index] for index in kept]))
