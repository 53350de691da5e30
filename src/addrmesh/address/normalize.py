"""
Raw text to canonical text, with a map back to the caller's code points.

Canonical text is what the model sees and what the cache is keyed by: full-width forms become half-width and other
compatibility characters their NFKC form, invisible, control and bidi characters disappear, white space becomes a
blank, traditional characters that no place name of the gazetteer needs become simplified. Every canonical
character remembers the range of input code points it came from, so a span can be shown in the caller's own text.
"""

import unicodedata
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from addrmesh.errors import InvalidText, TextTooLong

NORMALIZER_VERSION = 1
"""Raise it when any text could come out differently: it is part of a release's manifest."""


class Canonical(NamedTuple):
    """Canonical text and where each of its characters came from."""

    text: str
    origin: tuple[int, ...] | None
    """Input position of each canonical character; None when the two texts agree position by position."""

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Map a half-open span of the canonical text to the input text."""
        if self.origin is None:
            return start, end
        return self.origin[start], self.origin[end - 1] + 1


class _Table(dict[int, str | None]):
    """What becomes of each code point, worked out when first met."""

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        result = self[code] = _canonical_char(char)
        return result


@cache
def _simplified() -> dict[str, str]:
    traditional, simplified = files(__package__).joinpath("t2s.txt").read_text("utf-8").split("\n")[-3:-1]
    return dict(zip(traditional, simplified, strict=True))


def _canonical_char(char: str) -> str | None:
    category = unicodedata.category(char)
    if char.isspace() or category in ("Zs", "Zl", "Zp"):
        return " "
    # Control, format (zero width, bidi), lone surrogates, combining marks: nothing a reader would see.
    if category in ("Cc", "Cf", "Cs", "Mn", "Me"):
        return None
    folded = "".join(_simplified().get(c, c) for c in unicodedata.normalize("NFKC", char))
    # NFKC can give blanks, combining marks and several characters ("㈱", "ﷺ"); keep what can be seen.
    visible = "".join(" " if c.isspace() else c for c in folded if unicodedata.category(c) not in ("Mn", "Me"))
    return visible or None


_TABLE = _Table()


def normalize(text: str) -> Canonical:
    """Return the canonical form of `text`; it may be empty."""
    canonical = text.translate(_TABLE)
    if canonical == text:
        return Canonical(text, None)
    origin = tuple([i for i, char in enumerate(text) for _ in _TABLE[ord(char)] or ""])
    same_places = len(origin) == len(text) and origin[-1] == len(text) - 1
    return Canonical(canonical, None if same_places and origin == tuple(range(len(text))) else origin)


def normalize_within(text: str, limit: int) -> Canonical:
    """
    Return the canonical form of an address that a model can take.

    Raises:
        InvalidText: It is empty or blank.
        TextTooLong: It, or its canonical form, is longer than `limit` code points.
    """
    if len(text) > limit:
        raise TextTooLong(len(text), limit)
    canonical = normalize(text)
    if not canonical.text or canonical.text.isspace():
        raise InvalidText("the address is blank: no visible character is in it")
    if len(canonical.text) > limit:  # one compatibility character can stand for eighteen
        raise TextTooLong(len(canonical.text), limit)
    return canonical
