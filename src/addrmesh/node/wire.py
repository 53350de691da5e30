"""
Request and reply bodies. These structs are the one definition: they decode, encode, and make the OpenAPI document.

Spans are half-open and count Unicode code points of the caller's text (JavaScript counts UTF-16 units instead).
Callers must ignore fields they do not know; within `/v1` fields are only added.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from addrmesh.address.normalize import Canonical
from addrmesh.address.types import COMPONENT_TYPES
from addrmesh.address.wire import ParseResult, Tagset, to_wire
from addrmesh.node.lifecycle import HealthStatus, State

_Type = Annotated[str, Meta(extra_json_schema={"enum": list(COMPONENT_TYPES)})]


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


class BatchRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Several addresses. An item that is no usable address is a problem of that item alone."""

    addresses: Annotated[
        list[Any],
        Meta(
            description="Strings; anything else is answered with a problem in its place.",
            examples=[["浙江省杭州市余杭区文一西路969号", "上海市浦东新区世纪大道100号"]],
        ),
    ]
    options: Options = Options()


class BulkLine(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a bulk request."""

    address: Annotated[str, Meta(description="The address as the customer wrote it.")]
    id: Annotated[str | int | None, Meta(description="Returned as it is.")] = None


class Service(Struct, frozen=True):
    """Who answered, and how."""

    mode: Literal["FULL"]
    region: str
    node: str
    release: Annotated[str, Meta(description="The model that answered, equal on every node that runs the same bytes.")]
    gazetteer_version: str
    cached: Annotated[bool, Meta(description="Whether every answer came from the node's memory.")]
    elapsed_ms: Annotated[float, Meta(ge=0, description="Spent in the node, in milliseconds.")]
    truncated: Annotated[bool, Meta(description="Whether text was left out; addrmesh refuses instead, so never.")]
    edge: Annotated[str | None, Meta(description="Region of the edge that took the request; null without one.")] = None
    failed_over: Annotated[bool, Meta(description="Whether another region's edge took the request.")] = False


class ParseReply(Struct, frozen=True):
    """The answer to one address."""

    response_id: str
    result: ParseResult
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


class BatchItem(Struct, frozen=True, omit_defaults=True):
    """The answer to one item: a result, or a problem."""

    index: Annotated[int, Meta(ge=0)]
    status: int
    result: ParseResult | UnsetType = UNSET
    problem: Problem | UnsetType = UNSET


class BatchReply(Struct, frozen=True):
    """The answers, in the order of the request."""

    response_id: str
    items: list[BatchItem]
    service: Service


class BulkAnswer(Struct, frozen=True):
    """The answer to one line."""

    id: str | int | None
    line: Annotated[int, Meta(ge=1, description="Number of the line in the request, blank ones counted.")]
    status: int
    result: ParseResult | UnsetType = UNSET
    problem: Problem | UnsetType = UNSET


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
    gazetteer_version: str | None
    region: str
    node: str
    state: State
    uptime_s: float
    detail: str | None = None
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
    gazetteer: str | None


class MetaReply(Struct, frozen=True):
    """Versions, limits and catalogues."""

    versions: Versions
    limits: MetaLimits
    component_types: list[ComponentName]
    problems: list[ProblemName]


BODIES: tuple[type[Struct], ...] = (
    ParseRequest, BatchRequest, BulkLine, ParseReply, BatchReply, BulkAnswer, BulkSummary, Problem,
    Health, Alive, Ready, MetaReply,
)  # fmt: skip

encode = msgspec.json.Encoder().encode
decode_parse_request = msgspec.json.Decoder(ParseRequest).decode
decode_batch_request = msgspec.json.Decoder(BatchRequest).decode
decode_bulk_line = msgspec.json.Decoder(BulkLine).decode


def rendered(result: bytes) -> ParseResult:
    """Put an already encoded result where a struct expects one; the encoder copies its bytes."""
    return cast("ParseResult", Raw(result))


def encode_result(
    components: Iterable[tuple[str, int, int, float]], canonical: Canonical, text: str, tagset: Tagset
) -> bytes:
    """Encode the components of `canonical` for the caller who sent `text`."""
    return encode(to_wire(text, canonical, components, tagset))
