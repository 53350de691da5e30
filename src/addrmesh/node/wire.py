"""
Request and reply bodies. These structs are the one definition: they decode, encode, and make the OpenAPI document.

Spans are half-open and count Unicode code points of the caller's text (JavaScript counts UTF-16 units instead).
Callers must ignore fields they do not know; within `/v1` fields are only added.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from addrmesh.address import questions, verdict
from addrmesh.address.divisions import Detail, Listing
from addrmesh.address.questions import MatchResult
from addrmesh.address.types import COMPONENT_TYPES
from addrmesh.address.verdict import Language, Result
from addrmesh.address.wire import ParseResult, Tagset
from addrmesh.node.corrections import Conclusion
from addrmesh.node.lifecycle import HealthStatus, State

R = TypeVar("R")
_Type = Annotated[str, Meta(extra_json_schema={"enum": list(COMPONENT_TYPES)})]

ResponseId = Annotated[str, Meta(pattern="^[A-Za-z0-9._-]{1,64}$")]

Mode = Literal["FULL", "BUILTIN_MODEL", "RULES_ONLY"]
"""
How an answer was made, the best first: with the node's own model; with the one that comes with the package, because
the own one failed or was late; by gazetteer and rules alone, because both failed.
"""


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """How to answer."""

    tagset: Annotated[
        Tagset, Meta(description="`mgeo` is the strict MGeo view: components of type `roomno` are left out.")
    ] = "addrmesh"


class ParseRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """One address."""

    address: Annotated[
        str,
        Meta(
            description="The address as the customer wrote it.",
            examples=["浙江省杭州市余杭区文一西路969号3号楼5层501室"],
            extra_json_schema={"minLength": 1},
        ),
    ]
    options: Options = Options()

    def question(self, limit: int) -> questions.Parsing:
        """Return what is asked; the text has at most `limit` code points."""
        return questions.Parsing.of(self.address, limit, self.options.tagset)


class BatchParseRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Several addresses. An item that is no usable address is a problem of that item alone."""

    addresses: Annotated[
        list[Any],
        Meta(
            description="Strings; anything else is answered with a problem in its place.",
            examples=[["浙江省杭州市余杭区文一西路969号", "上海市浦东新区世纪大道100号"]],
        ),
    ]
    options: Options = Options()


class ParseLine(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a bulk request."""

    address: Annotated[str, Meta(description="The address as the customer wrote it.")]
    id: Annotated[str | int | None, Meta(description="Returned as it is.")] = None


class Fields(verdict.Fields, frozen=True, forbid_unknown_fields=True):
    """An address in fields. `address_lines` may repeat what the other fields hold."""


_Address = Annotated[
    str | Fields,
    Meta(
        description="One text, or fields. Spans count in the text, or in the fields and lines joined by newlines.",
        examples=["杭州余杭文一西路969号3号楼501"],
    ),
]


class RegionHint(verdict.RegionHint, frozen=True, forbid_unknown_fields=True):
    """Where the address is expected; it decides only between divisions that fit the text equally well."""

    adcode: Annotated[str, Meta(pattern="^[0-9]{6}$", examples=["330100"])]


class ValidateOptions(verdict.Options, frozen=True, forbid_unknown_fields=True):
    """How the answer should look."""

    extract_receiver: Annotated[
        bool,
        Meta(description="Give back the receiver that was found; it is taken out of the address either way."),
    ] = True
    admin_style: Annotated[
        Literal["mca", "ecommerce"],
        Meta(description="City of a county directly under its province: none (`mca`), or the heading that shops use."),
    ] = "mca"
    min_granularity: Annotated[
        verdict.Granularity, Meta(description="The coarsest place that is good enough; a coarser one is FIX.")
    ] = "PREMISE"
    romanize: Annotated[
        bool,
        Meta(
            description="Write the address in Latin letters too, for couriers abroad: `formatted_address_latin` and "
            "each component's `text_latin`. Null for Hong Kong, Macao and Taiwan, where pinyin is not what is used."
        ),
    ] = False
    candidates: Annotated[int, Meta(ge=0, le=20, description="How many to list when several divisions fit.")] = 3


class ValidateRequest(verdict.Request, frozen=True, forbid_unknown_fields=True):
    """One address to judge."""

    address: _Address
    region_hint: RegionHint | None = None
    options: ValidateOptions = ValidateOptions()
    language_code: Annotated[Language, Meta(description="Of the messages.")] = "zh-CN"
    previous_response_id: (
        Annotated[
            ResponseId,
            Meta(
                description="Of the answer to an earlier version of this address. It changes nothing but the "
                "`response_id` of this one, which begins with that of the first; feedback on any of them counts once. "
                "Without effect in a bulk request, whose lines have no ids."
            ),
        ]
        | None
    ) = None
    client_reference: Annotated[str, Meta(max_length=64, description="Returned as it is.")] | None = None

    def question(self, limit: int) -> questions.Validation:
        """Return what is asked; the text has at most `limit` code points."""
        return questions.Validation.of(self, limit)


class BatchValidateRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Several addresses to judge alike. An item that is no usable address is a problem of that item alone."""

    addresses: Annotated[
        list[Any],
        Meta(
            description="Each a text or an object with fields; anything else is answered with a problem in its place.",
            examples=[["杭州余杭文一西路969号3号楼501", {"locality": "杭州市", "address_lines": ["文一西路969号"]}]],
        ),
    ]
    region_hint: RegionHint | None = None
    options: ValidateOptions = ValidateOptions()
    language_code: Language = "zh-CN"


class ValidateLine(ValidateRequest, frozen=True, forbid_unknown_fields=True):
    """One line of a bulk request."""

    id: Annotated[str | int | None, Meta(description="Returned as it is.")] = None


class MatchOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """How the answer should look."""

    explain: Annotated[bool, Meta(description="List the components that differ.")] = True


class MatchRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Two addresses to compare; their order makes no difference."""

    a: _Address
    b: _Address
    options: MatchOptions = MatchOptions()

    def question(self, limit: int) -> questions.Matching:
        """Return what is asked; each text has at most `limit` code points."""
        return questions.Matching.of(self.a, self.b, limit, explain=self.options.explain)


class BatchMatchRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Several pairs to compare. An item that is no usable pair is a problem of that item alone."""

    pairs: Annotated[
        list[Any],
        Meta(
            description="Objects with `a` and `b`; anything else is answered with a problem in its place.",
            examples=[[{"a": "文一西路969号3号楼", "b": "余杭区文一西路969号3幢"}]],
        ),
    ]
    options: MatchOptions = MatchOptions()


class Proposal(Struct, frozen=True, forbid_unknown_fields=True):
    """What should have been answered. An operator decides whether it becomes a correction."""

    address: _Address
    result: Annotated[Result, Meta(description="As `address:validate` answers; spans and receiver are not kept.")]

    def question(self, limit: int) -> questions.Validation:
        """Return what the result should have answered; the text has at most `limit` code points."""
        return questions.Validation.of(verdict.Request(self.address), limit)


class FeedbackRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What became of an answer."""

    response_id: Annotated[ResponseId, Meta(description="Of the answer, or of any answer of its chain.")]
    conclusion: Annotated[
        Conclusion,
        Meta(description="Which version the order went with: ours, the customer's after seeing ours, or unchecked."),
    ]
    correction: Proposal | None = None


class Recorded(Struct, frozen=True):
    """The feedback is counted, once a day for each `response_id` and all that follow it."""

    recorded: Literal[True] = True


class Service(Struct, frozen=True):
    """Who answered, and how."""

    mode: Annotated[Mode, Meta(description="Anything but `FULL` is a weaker answer, never better than CONFIRM.")]
    region: str
    node: str
    release: Annotated[str, Meta(description="The model that answered, equal on every node that runs the same bytes.")]
    gazetteer_version: str
    cached: Annotated[bool, Meta(description="Whether every answer came from the node's memory.")]
    elapsed_ms: Annotated[float, Meta(ge=0, description="Spent in the node, in milliseconds.")]
    truncated: Annotated[bool, Meta(description="Whether text was left out; addrmesh refuses instead, so never.")]
    edge: Annotated[str | None, Meta(description="Region of the edge that took the request; null without one.")] = None
    failed_over: Annotated[bool, Meta(description="Whether another region's edge took the request.")] = False
    corrected: Annotated[bool, Meta(description="Whether an approved correction took part in the answer.")] = False
    revalidate_after: Annotated[
        str | UnsetType, Meta(description="When to ask again (RFC 3339), unless the mode is FULL.")
    ] = UNSET


class ParseReply(Struct, frozen=True):
    """The answer to one address."""

    response_id: str
    result: ParseResult
    service: Service


class ValidateReply(Struct, frozen=True):
    """The judgement of one address."""

    response_id: str
    result: Result
    service: Service
    client_reference: str | UnsetType = UNSET


class MatchReply(Struct, frozen=True):
    """How two addresses relate."""

    response_id: str
    result: MatchResult
    service: Service


class FieldError(Struct, frozen=True):
    """What is wrong with one part of the body."""

    pointer: Annotated[str, Meta(description="JSON Pointer (RFC 6901) into the request body.")]
    detail: str


class Problem(Struct, frozen=True, omit_defaults=True):
    """A problem document (RFC 9457). It never quotes an address."""

    type: Annotated[str, Meta(description="`/problems/` and the code: a name, not an address to fetch.")]
    title: str
    status: int
    detail: str
    code: Annotated[str, Meta(description="Stable; `/v1/meta` lists them all.")]
    request_id: str
    errors: list[FieldError] | UnsetType = UNSET
    retry_after_ms: Annotated[int, Meta(ge=0)] | UnsetType = UNSET


_ItemMode = Annotated[
    Mode | UnsetType, Meta(description="Absent: FULL. Anything else is a weaker answer, never better than CONFIRM.")
]
_ItemAgain = Annotated[str | UnsetType, Meta(description="When to ask again (RFC 3339), where `mode` is given.")]
_ItemCorrected = Annotated[
    Literal[True] | UnsetType, Meta(description="Present when an approved correction took part in the answer.")
]


class BatchItem(Struct, Generic[R], frozen=True, omit_defaults=True):
    """The answer to one item: a result, or a problem."""

    index: Annotated[int, Meta(ge=0)]
    status: int
    result: R | UnsetType = UNSET
    problem: Problem | UnsetType = UNSET
    mode: _ItemMode = UNSET
    revalidate_after: _ItemAgain = UNSET
    corrected: _ItemCorrected = UNSET


class BatchReply(Struct, Generic[R], frozen=True):
    """The answers, in the order of the request."""

    response_id: str
    items: list[BatchItem[R]]
    service: Service


class BulkAnswer(Struct, Generic[R], frozen=True):
    """The answer to one line."""

    id: str | int | None
    line: Annotated[int, Meta(ge=1, description="Number of the line in the request, blank ones counted.")]
    status: int
    result: R | UnsetType = UNSET
    problem: Problem | UnsetType = UNSET
    mode: _ItemMode = UNSET
    revalidate_after: _ItemAgain = UNSET
    corrected: _ItemCorrected = UNSET


class Summary(Struct, frozen=True):
    """What became of a bulk request."""

    lines: Annotated[int, Meta(description="Lines answered, from `start_line` on.")]
    ok: int
    failed: int
    next_line: Annotated[int, Meta(description="Send the same file with `?start_line=` this to go on.")]


class BulkSummary(Struct, frozen=True):
    """The last line. Without it the answer was cut."""

    summary: Summary


class Health(Struct, frozen=True):
    """How the node is. `status` is `healthy` with 200, anything else with 503."""

    status: HealthStatus
    model_version: str | None
    release: str | None
    scorer: Annotated[str | None, Meta(description="Of pairs: a match release, or the built-in scorer.")]
    gazetteer_version: str | None
    region: str
    node: str
    state: State
    uptime_s: float
    detail: str | None = None
    degraded: Annotated[
        str | None,
        Meta(
            description="Why the built-in model answers in place of `release`, or the built-in scorer in place of the "
            "match release, which is named then; null while neither does."
        ),
    ] = None
    configuration: Annotated[
        dict[str, str], Meta(description="Revision of each configuration document the node applies.")
    ] = {}


class Alive(Struct, frozen=True):
    """The process answers; whether it is ready is another question."""

    status: Literal["alive"] = "alive"


class Ready(Struct, frozen=True):
    """The node takes requests."""

    status: Literal["ready"]
    release: str


class ComponentName(Struct, frozen=True):
    """A component type."""

    type: _Type
    zh: str
    en: str


class ProblemName(Struct, frozen=True):
    """A problem a reply may hold."""

    code: str
    status: int
    zh: str
    en: str


class IssueName(Struct, frozen=True):
    """An issue that a judgement may hold. More may be added; tolerate codes that you do not know."""

    code: str
    severities: tuple[verdict.Severity, ...]
    zh: str
    en: str


class MetaLimits(Struct, frozen=True):
    """What a caller may send."""

    max_code_points: int
    batch_items: int
    batch_bytes: int
    bulk_lines: int
    bulk_bytes: int
    line_bytes: int


class Versions(Struct, frozen=True):
    """What runs here."""

    addrmesh: str
    api: str
    normalizer: int
    release: str | None
    gazetteer: str
    scorer: Annotated[str | None, Meta(description="Of pairs: a match release, or the built-in scorer.")]


class MetaReply(Struct, frozen=True):
    """Versions, limits and catalogues."""

    versions: Versions
    limits: MetaLimits
    component_types: list[ComponentName]
    problems: list[ProblemName]
    issues: list[IssueName]


BODIES: tuple[Any, ...] = (
    ParseRequest, BatchParseRequest, ParseLine, ParseReply, BatchReply[ParseResult], BulkAnswer[ParseResult],
    ValidateRequest, BatchValidateRequest, ValidateLine, ValidateReply, BatchReply[Result], BulkAnswer[Result],
    MatchRequest, BatchMatchRequest, MatchReply, BatchReply[MatchResult], BulkSummary,
    FeedbackRequest, Recorded, Listing, Detail, Problem, Health, Alive, Ready, MetaReply,
)  # fmt: skip

REVALIDATE_S = 60
"""Time to restart an engine that failed; an order waits longer before it leaves the warehouse."""


def weakest(modes: Iterable[Mode]) -> Mode:
    """Return what to say of several answers together."""
    return max(modes, key=get_args(Mode).index, default="FULL")


def revalidate_after(mode: Mode) -> str | UnsetType:
    """Return when to ask again, if an answer of this mode is a weaker one."""
    if mode == "FULL":
        return UNSET
    return (datetime.now(UTC) + timedelta(seconds=REVALIDATE_S)).isoformat(timespec="seconds")


def marks(mode: Mode, corrected: bool) -> dict[str, Any]:
    """Return what an item or a line says of how it was answered: nothing, when that was in the ordinary way."""
    said: dict[str, Any] = {} if mode == "FULL" else {"mode": mode, "revalidate_after": revalidate_after(mode)}
    return said | {"corrected": True} if corrected else said


encode = msgspec.json.Encoder().encode


def rendered(result: bytes) -> Any:
    """Put an already encoded result where a struct expects one; the encoder copies its bytes."""
    return Raw(result)
