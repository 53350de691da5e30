"""
What the service answers, as it is on the wire.

A field that is not listed here is ignored, and every word of a closed list (`Service.mode`, `Component.type`) is a
plain string: a newer service can answer an older client.
"""

from msgspec import Struct


class Component(Struct, frozen=True, gc=False):
    """One labelled piece of an address."""

    type: str
    text: str
    """The canonical form: half-width, simplified, without invisible characters."""
    input_text: str
    """What the caller wrote there."""
    span: tuple[int, int]
    """Half-open, in code points of the caller's text: `address[slice(*span)]`."""
    confidence: float
    """Calibrated probability that span and type are both right."""


class ParseResult(Struct, frozen=True):
    """The components of one address, by position."""

    components: tuple[Component, ...]


class BatchParseResult(ParseResult, frozen=True):
    """The components of one address of a batch."""

    mode: str = "FULL"
    """As in `Service`: in a batch, each address has its own."""


class Service(Struct, frozen=True):
    """Who answered, and how."""

    mode: str
    """`FULL`, or how a weaker answer was made: `BUILTIN_MODEL`, `RULES_ONLY`, `CLIENT_FALLBACK`; never an ACCEPT."""
    region: str
    node: str
    release: str
    gazetteer_version: str
    cached: bool
    elapsed_ms: float
    truncated: bool
    edge: str | None = None
    """Region of the edge that took the request."""
    failed_over: bool = False
    """Whether another region's edge took the request. (The client's own failover shows in `region`.)"""
    corrected: bool = False
    """Whether an approved correction took part in the answer."""
    revalidate_after: str | None = None
    """When to ask again (RFC 3339), unless the mode is FULL."""


class ParseReply(Struct, frozen=True):
    """The answer to one address."""

    response_id: str
    result: ParseResult
    service: Service


class Verdict(Struct, frozen=True):
    """The judgement in one line."""

    possible_next_action: str
    """`ACCEPT`, `CONFIRM` (show both versions) or `FIX` (ask again)."""
    input_granularity: str
    validation_granularity: str
    address_complete: bool
    has_inferred_components: bool
    has_replaced_components: bool
    has_spell_corrected_components: bool
    has_unconfirmed_components: bool
    has_unresolved_tokens: bool
    score: float


class AddressComponent(Struct, frozen=True):
    """One part of the answered address."""

    type: str
    text: str
    input_text: str | None
    source: str
    """Such as `INPUT`, `INFERRED`, `REPLACED`."""
    confirmation_level: str
    confidence: float
    code: str | None
    span: tuple[int, int] | None
    """Half-open, in code points of the caller's text; None when nothing there says so."""
    text_latin: str | None = None
    """In pinyin and English, where `options` asked for it with `romanize`."""


class Address(Struct, frozen=True):
    """The address as it should be written."""

    formatted_address: str
    adcode: str | None
    town_code: str | None
    components: tuple[AddressComponent, ...]
    missing_component_types: tuple[str, ...]
    unresolved_tokens: tuple[str, ...]
    formatted_address_latin: str | None = None
    """In pinyin and English, fine before coarse, where asked for."""


class Spans(Struct, frozen=True):
    """Where the receiver was found."""

    name: tuple[int, int] | None = None
    phone: tuple[int, int] | None = None
    id_number: tuple[int, int] | None = None


class Receiver(Struct, frozen=True):
    """Who is to receive the goods, as written."""

    name: str | None = None
    phone: str | None = None
    id_number: str | None = None
    spans: Spans = Spans()


class Issue(Struct, frozen=True):
    """Something found or changed; there may be codes that this client does not know."""

    code: str
    severity: str
    component: str | None
    message: str
    suggestion: dict[str, str] | None = None
    effective: str | None = None


class Candidate(Struct, frozen=True):
    """A division that the address may mean."""

    adcode: str | None
    prov: str
    city: str | None
    district: str | None
    formatted_address: str


class ValidateResult(Struct, frozen=True):
    """What an address is, and whether an order can be sent there."""

    verdict: Verdict
    address: Address
    receiver: Receiver | None
    issues: tuple[Issue, ...]
    candidates: tuple[Candidate, ...]

    @property
    def needs_user(self) -> bool:
        """Whether the customer should look at it: anything but ACCEPT."""
        return self.verdict.possible_next_action != "ACCEPT"


class ValidateReply(Struct, frozen=True):
    """The judgement of one address."""

    response_id: str
    result: ValidateResult
    service: Service
    client_reference: str | None = None


class Difference(Struct, frozen=True):
    """Components of one type that both addresses have and that are not the same."""

    type: str
    a: str
    b: str


class MatchResult(Struct, frozen=True):
    """How two addresses relate."""

    label: str
    """`exact_match`, `partial_match` or `not_match`."""
    score: float
    probabilities: dict[str, float]
    deepest_common_level: str
    guards: tuple[str, ...]
    scorer: str = ""
    """Who gave the probabilities: a match release, or the built-in scorer; empty from an older service."""
    differences: tuple[Difference, ...] = ()


class MatchReply(Struct, frozen=True):
    """How two addresses relate."""

    response_id: str
    result: MatchResult
    service: Service


class Division(Struct, frozen=True):
    """An administrative division; `valid_to` is None for one in force."""

    code: str | None
    name: str
    level: str
    parent: str | None
    valid_from: str | None
    valid_to: str | None


class Divisions(Struct, frozen=True):
    """What lies right below a division."""

    parent: Division | None
    divisions: tuple[Division, ...]
    gazetteer_version: str


class Recorded(Struct, frozen=True):
    """The feedback is counted."""

    recorded: bool


class FieldError(Struct, frozen=True):
    """What is wrong with one part of the request."""

    pointer: str
    detail: str


class Problem(Struct, frozen=True):
    """A problem document (RFC 9457)."""

    code: str
    status: int
    detail: str = ""
    request_id: str = ""
    errors: tuple[FieldError, ...] = ()
    retry_after_ms: float | None = None


class BatchItem(Struct, frozen=True):
    """The answer to one address of several."""

    index: int
    status: int
    result: ParseResult | None = None
    problem: Problem | None = None
    mode: str = "FULL"
    revalidate_after: str | None = None
    corrected: bool = False


class BatchReply(Struct, frozen=True):
    """The answers, in the order of the request."""

    response_id: str
    items: tuple[BatchItem, ...]
    service: Service
