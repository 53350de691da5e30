"""
What is asked, what is answered, and the rule that turns issues into an action.

The rule is data: `decision_rule.toml`, which the documentation shows and a configuration may replace. An issue's
severity gives its action, single issues may be named as exceptions, the strictest action wins. Whatever a rule says,
an error is never accepted.
"""

import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

import msgspec

from addrmesh.address.types import COMPONENT_TYPES
from addrmesh.errors import ConfigError

Action = Literal["ACCEPT", "CONFIRM", "FIX"]
ACTIONS: tuple[Action, ...] = get_args(Action)
"""From the mildest to the strictest."""

Severity = Literal["info", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

Granularity = Literal[
    "NONE", "PROVINCE", "CITY", "DISTRICT", "TOWN", "VILLAGE", "ROUTE", "PREMISE", "SUB_PREMISE"
]  # fmt: skip
GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)
"""From coarse to fine."""

Language = Literal["zh-CN", "en"]
Source = Literal["INPUT", "NORMALIZED", "INFERRED", "REPLACED", "SPELL_CORRECTED"]
Confirmation = Literal["CONFIRMED", "UNCONFIRMED_BUT_PLAUSIBLE", "UNCONFIRMED_AND_SUSPICIOUS"]


class Fields(msgspec.Struct, frozen=True):
    """An address in fields. `address_lines` may repeat what the other fields hold."""

    address_lines: list[str] = []
    region_code: str | None = None
    administrative_area: str | None = None
    locality: str | None = None
    district: str | None = None
    postal_code: str | None = None


class RegionHint(msgspec.Struct, frozen=True):
    """Where the caller expects the address to be; decides only between divisions that fit the text equally well."""

    adcode: str


class Options(msgspec.Struct, frozen=True):
    """How the answer should look."""

    extract_receiver: bool = True
    """Give back the receiver found in the text; it is taken out of the address either way."""
    admin_style: Literal["mca", "ecommerce"] = "mca"
    """What the city of a county directly under its province is: none, or the heading that shops use."""
    min_granularity: Granularity = "PREMISE"
    candidates: int = 3
    romanize: bool = False
    """Write the address in Latin letters too."""


class Request(msgspec.Struct, frozen=True):
    """One address to validate."""

    address: str | Fields
    region_hint: RegionHint | None = None
    options: Options = Options()
    language_code: Language = "zh-CN"


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """The answer in one line."""

    possible_next_action: Action
    input_granularity: Granularity
    validation_granularity: Granularity
    """The deepest level that the gazetteer holds."""
    address_complete: bool
    has_inferred_components: bool
    has_replaced_components: bool
    has_spell_corrected_components: bool
    has_unconfirmed_components: bool
    has_unresolved_tokens: bool
    score: float
    """The confidence of the least certain component, 0 when there is none."""


class ResultComponent(msgspec.Struct, frozen=True, gc=False):
    """One part of the answered address."""

    type: str
    text: str
    input_text: str | None
    source: Source
    confirmation_level: Confirmation
    confidence: float
    code: str | None
    span: tuple[int, int] | None
    """Half-open, in code points of the caller's text; None when nothing there says so."""
    text_latin: str | msgspec.UnsetType = msgspec.UNSET
    """In pinyin and English, where asked for."""


class Address(msgspec.Struct, frozen=True, gc=False):
    """The address as it should be written."""

    formatted_address: str
    adcode: str | None
    town_code: str | None
    components: list[ResultComponent]
    missing_component_types: list[str]
    unresolved_tokens: list[str]
    formatted_address_latin: str | msgspec.UnsetType | None = msgspec.UNSET
    """In pinyin and English, fine before coarse, where asked for; None where no honest spelling is known."""


class Spans(msgspec.Struct, frozen=True, gc=False):
    """Where the receiver was found."""

    name: tuple[int, int] | None = None
    phone: tuple[int, int] | None = None
    id_number: tuple[int, int] | None = None


class Receiver(msgspec.Struct, frozen=True, gc=False):
    """Who is to receive the goods, as written."""

    name: str | None = None
    phone: str | None = None
    id_number: str | None = None
    spans: Spans = Spans()


class Issue(msgspec.Struct, frozen=True, gc=False):
    """Something found or changed. Clients must tolerate codes that they do not know."""

    code: str
    severity: Severity
    component: str | None
    message: str
    suggestion: dict[str, str] | None = None
    effective: str | None = None
    """The date of the change, as far as it is known: a year or a day."""


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A division that the address may mean."""

    adcode: str | None
    prov: str
    city: str | None
    district: str | None
    formatted_address: str


class Result(msgspec.Struct, frozen=True, gc=False):
    """What `POST /v1/address:validate` answers about one address."""

    verdict: Verdict
    address: Address
    receiver: Receiver | None
    issues: list[Issue]
    candidates: list[Candidate]


class DecisionRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What follows from an issue."""

    severities: dict[Severity, Action]
    exceptions: dict[str, Action] = {}
    """By `CODE` or by `CODE/severity`."""

    def __post_init__(self) -> None:
        if set(self.severities) != set(SEVERITIES):
            raise ConfigError(f"the decision rule must give an action for each of {', '.join(SEVERITIES)}")
        if self.severities["error"] == "ACCEPT":
            raise ConfigError("the decision rule must not accept errors; use CONFIRM or FIX")

    def action(self, issue: Issue) -> Action:
        """Return what one issue leads to."""
        default = self.severities[issue.severity]
        exceptions = self.exceptions
        if not exceptions:
            return default
        said = exceptions.get(f"{issue.code}/{issue.severity}") or exceptions.get(issue.code, default)
        return "CONFIRM" if said == "ACCEPT" and issue.severity == "error" else said


def decide(issues: Iterable[Issue], rule: DecisionRule, floor: Action = "ACCEPT") -> Action:
    """Return the strictest action that an issue leads to, `floor` if none is stricter."""
    return max([floor, *map(rule.action, issues)], key=ACTIONS.index)


def load_rule(text: str) -> DecisionRule:
    """
    Read a decision rule from TOML.

    Raises:
        ConfigError: It is not one.
    """
    try:
        content: dict[str, Any] = tomllib.loads(text)
        return msgspec.convert(content, DecisionRule)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"the decision rule cannot be read: {error}; see docs/explanation/decision-rule.md"
        ) from error


@cache
def default_rule() -> DecisionRule:
    """Return the rule of the package."""
    return load_rule(files(__package__).joinpath("decision_rule.toml").read_text("utf-8"))


ORDER = {name: place for place, name in enumerate(COMPONENT_TYPES)}
"""Coarse to fine, as an address is written."""
