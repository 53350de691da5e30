"""
What can be asked about addresses, and how the answer is made of what the tagger finds.

A question names the canonical texts to be tagged; `answer` takes what was found in each. It knows neither who tags
nor who asks: the node and the command line share it, so the same text and release give the same answer everywhere.
Making a question checks the text: InvalidText and TextTooLong are raised here and nowhere else.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from addrmesh.address import divisions
from addrmesh.address.normalize import Canonical, normalize_within
from addrmesh.address.reading import Reading, read, text_of
from addrmesh.address.romanize import romanized
from addrmesh.address.types import Component
from addrmesh.address.validate import validate, validate_without_engine
from addrmesh.address.verdict import Action, DecisionRule, Fields, Options, Request, Result
from addrmesh.address.wire import ParseResult, Tagset, to_wire

if TYPE_CHECKING:
    from addrmesh.address.match import Side

Found = Iterable[tuple[str, int, int, float]]
"""Components of one text: `Component`s or tuples like them."""


class Question(Protocol):
    """One thing asked."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The canonical texts to tag; none is empty."""
        ...

    def answer(self, found: Sequence[Found]) -> msgspec.Struct:
        """Return the answer, from the components of each of `texts`."""
        ...


class Parsing(NamedTuple):
    """What are the components of an address?"""

    text: str
    canonical: Canonical
    tagset: Tagset

    @classmethod
    def of(cls, text: str, limit: int, tagset: Tagset = "addrmesh") -> "Parsing":
        """Ask about `text`, of at most `limit` code points."""
        return cls(text, normalize_within(text, limit), tagset)

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.canonical.text,)

    def answer(self, found: Sequence[Found]) -> ParseResult:
        return to_wire(self.text, self.canonical, found[0], self.tagset)


class Validation(NamedTuple):
    """What is this address, and can an order be sent there?"""

    reading: Reading
    rule: DecisionRule | None = None
    """None for the package's own."""

    @classmethod
    def of(cls, request: Request, limit: int) -> "Validation":
        """Ask about an address of at most `limit` code points."""
        return cls(_read(request, limit))

    @property
    def texts(self) -> tuple[str, ...]:
        text = self.reading.canonical.text
        return (text,) if text else ()

    def answer(self, found: Sequence[Found], floor: Action = "ACCEPT") -> Result:
        """Return the answer; `floor` is the mildest action to give."""
        return validate(self.reading, _components(found[0]) if found else (), rule=self.rule, floor=floor)

    def without_engine(self) -> Result:
        """Return what gazetteer and rules say, which is never better than CONFIRM."""
        return validate_without_engine(self.reading, rule=self.rule)

    def approved(self, result: Result) -> Result:
        """Return a result that somebody has approved for this text, with this request's receiver."""
        result = msgspec.structs.replace(result, receiver=self.reading.receiver)
        return romanized(result) if self.reading.request.options.romanize else result


class Difference(msgspec.Struct, frozen=True):
    """Components of one type that both addresses have and that are not the same."""

    type: str
    a: str
    b: str


class Scored(NamedTuple):
    """What a match release says of two addresses."""

    release: str
    chances: tuple[float, ...]
    """Of each of `match.LABELS`, in order."""


class MatchResult(msgspec.Struct, frozen=True):
    """How two addresses relate."""

    label: Literal["exact_match", "partial_match", "not_match"]
    score: float
    """The probability of the label."""
    probabilities: dict[Literal["exact_match", "partial_match", "not_match"], float]
    deepest_common_level: Literal[
        "NONE", "PROVINCE", "CITY", "DISTRICT", "TOWN", "VILLAGE", "ROUTE", "PREMISE", "SUB_PREMISE"
    ]
    guards: tuple[str, ...]
    """What the two certainly do not share; any of it rules out an exact match."""
    scorer: str
    """Who gave the probabilities, below what guards and identity say: a match release, or the built-in scorer."""
    differences: list[Difference] | UnsetType = UNSET


class Matching(NamedTuple):
    """Do two addresses name the same place?"""

    a: str
    b: str
    explain: bool
    """Whether to list the components that differ."""
    scored: Scored | None = None
    """None for the built-in scorer."""

    @classmethod
    def of(cls, a: str | Fields, b: str | Fields, limit: int, *, explain: bool = True) -> "Matching":
        """Ask about two addresses of at most `limit` code points each."""
        from addrmesh.address.match import prepare  # late: numpy takes 0.1 s to import

        one, other = (prepare(_read(Request(given), limit).canonical.text) for given in (a, b))
        return cls(one, other, explain)

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.a, self.b)))

    def pair(self, limit: int) -> tuple[str, str] | None:
        """
        Return the two texts for a match release, in one order whichever came first.

        None where it has nothing to say: the texts are the same, one is empty, or both have over `limit` code points.
        """
        if self.a == self.b or not self.a or not self.b or len(self.a) + len(self.b) > limit:
            return None
        return min(self.a, self.b), max(self.a, self.b)

    def answer(self, found: Sequence[Found]) -> MatchResult:
        from addrmesh.address.match import load_model, match

        left = iter(found)
        a, b = (_side(text, _components(next(left)) if text else []) for text in (self.a, self.b))
        result = match(a, b, load_model(), self.scored and self.scored.chances)
        differences = [Difference(*difference) for difference in result.differences] if self.explain else UNSET
        chances = {label: round(chance, 4) for label, chance in result.probabilities.items()}
        return MatchResult(
            result.label, chances[result.label], chances, result.deepest_common_level, result.guards,
            self.scored.release if self.scored else builtin_scorer(), differences,
        )  # fmt: skip


def builtin_scorer() -> str:
    """Return how replies name the scorer that comes with the package."""
    from addrmesh.address.match_model import MODEL_VERSION

    return f"addrmesh-match@{MODEL_VERSION}"


def _read(request: Request, limit: int) -> Reading:
    normalize_within(text_of(request), limit)
    return read(request)


def _components(found: Found) -> list[Component]:
    return [Component(*one) for one in found]


def _side(text: str, components: Sequence[Component]) -> "Side":
    from addrmesh.address.match import Side

    return Side(text, components, _codes(text, components))


def _codes(text: str, components: Sequence[Component]) -> tuple[str | None, ...] | None:
    """Return the codes of the divisions that a text certainly lies in, None where that is not certain."""
    if not text:
        return None
    reading = Reading(
        Request(text, options=_QUIET), text, Canonical(text, None), None, None, False, False, (False, False)
    )
    result = validate(reading, components)
    doubtful = {"ADMIN_INFERRED", "ADMIN_CONFLICT", "ADMIN_AMBIGUOUS", "SPELL_CORRECTED"}
    if any(issue.code in doubtful and issue.severity != "info" for issue in result.issues):
        return None
    codes = {c.type: c.code for c in result.address.components if c.confirmation_level == "CONFIRMED"}
    return tuple(codes.get(level) for level in _LEVELS)


_LEVELS = ("prov", "city", "district", "town")
_QUIET = Options(extract_receiver=False)


def warm() -> None:
    """Load now what the first questions would load, so that no caller waits for it."""
    from addrmesh.address.match import load_model

    divisions.warm()
    load_model()
    validation = Validation.of(Request("北京市海淀区中关村大街27号", options=Options(romanize=True)), 100)
    validation.without_engine()
