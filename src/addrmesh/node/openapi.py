"""
The OpenAPI 3.1 document: what each path takes and gives, and nothing it does not.

Bodies come from the structs in `wire.py`, problems from the table in `problems.py`, limits from the node's settings.
`operation` gives what FastAPI's routes are registered with; `schemas` what they refer to.
"""

from typing import Any

import msgspec

from addrmesh.address.types import COMPONENT_TYPES
from addrmesh.address.wire import TAGSETS
from addrmesh.node import google
from addrmesh.node.problems import BY_CODE
from addrmesh.node.wire import BODIES, REVALIDATE_S
from addrmesh.settings import Limits

Json = dict[str, Any]

TITLE = "addrmesh node"
DESCRIPTION = """
Parses, validates and compares Chinese addresses.

Every call but bulk and feedback is a pure function of its input and the release: any node may answer, and repeating
it is safe. Errors are problem documents (RFC 9457) with a stable `code`; `/v1/meta` lists them. Addresses are
personal data: they are sent in bodies only, and never logged or quoted in an error.
"""

_EXAMPLE = {
    "response_id": "3f9a1c0be2d4-1",
    "result": {
        "components": [
            {"type": "prov", "text": "浙江省", "input_text": "浙江省", "span": [0, 3], "confidence": 0.9991},
            {"type": "city", "text": "杭州市", "input_text": "杭州市", "span": [3, 6], "confidence": 0.9987},
        ]
    },
    "service": {
        "mode": "FULL", "region": "local", "node": "node-1", "release": "addrmesh-small@0123456789ab",
        "gazetteer_version": "nbs2023-06+mca2024-12", "cached": False, "elapsed_ms": 0.731, "truncated": False,
    },
}  # fmt: skip

_WEAKER = (
    "When the node's own model fails or is late, the one that comes with the package answers in its place: `mode` is "
    "`BUILTIN_MODEL`, and `service.release` names it. When that fails too, gazetteer and rules answer alone: `mode` is "
    "`RULES_ONLY`. Either way the action is never better than CONFIRM, and `revalidate_after` is "
    f"{REVALIDATE_S} seconds later. A remembered answer is the model's own, so it stays `FULL`, whatever has become of "
    "the model since; `cached` says that it was remembered."
)

_MATCHED = (
    "`result.scorer` names who gave the probabilities: the node's match release, or the built-in scorer where the node "
    "has none, or the release has nothing to say (the same text twice, an empty one, more than it reads at once). When "
    "the release fails or is late, the built-in scorer answers and `mode` is `BUILTIN_MODEL`. Guards stand above both."
)

_BODY_CODES = ("invalid-json", "invalid-header", "request-timeout", "input-too-long", "unsupported-media-type")
_WORK_CODES = ("internal", "engine-failed", "overloaded", "node-starting", "node-draining", "deadline-exceeded")

_PLAIN_HEADERS = {
    "X-Request-Id": "The caller's own, or a new one.",
    "X-Region": "Region of the node that answered.",
    "X-Node": "Name of the node that answered.",
}
_RELEASE_HEADER = {"X-Release": "Model of the node that answered; absent while it starts."}


def schemas(limits: Limits) -> Json:
    """Return the component schemas, with the limits this node enforces written in."""
    _, found = msgspec.json.schema_components((*BODIES, *google.BODIES), ref_template="#/components/schemas/{name}")
    found["ParseRequest"]["properties"]["address"]["maxLength"] = limits.max_code_points
    for name, items in (("Parse", "addresses"), ("Validate", "addresses"), ("Match", "pairs")):
        found[f"Batch{name}Request"]["properties"][items]["maxItems"] = limits.batch_items
    component = found["WireComponent"]["properties"]
    component["type"]["enum"] = list(COMPONENT_TYPES)
    component["confidence"] |= {"minimum": 0, "maximum": 1}
    component["span"] |= {
        "description": "Half-open, in Unicode code points of the caller's text (JavaScript counts UTF-16 units).",
        "prefixItems": [{"type": "integer", "minimum": 0}] * 2,
    }
    component["text"]["description"] = "The canonical form: half-width, simplified, without invisible characters."
    component["input_text"]["description"] = "What the caller wrote there."
    return found


def operation(method: str, path: str) -> Json:
    """Return what OpenAPI says about one endpoint."""
    described = _OPERATIONS[method, path]
    return {**described, "parameters": [*described.get("parameters", ()), _REQUEST_ID_PARAMETER]}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _headers(described: dict[str, str]) -> Json:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in described.items()}


def _json(schema: str, description: str, example: Any = None) -> Json:
    content: Json = {"schema": _ref(schema)}
    if example is not None:
        content["example"] = example
    return {
        "description": description,
        "headers": _headers(_PLAIN_HEADERS | _RELEASE_HEADER),
        "content": {"application/json": content},
    }


def _problems(*codes: str) -> Json:
    """Group codes by status."""
    responses: Json = {}
    for kind in (BY_CODE[code] for code in codes):
        example = {
            "type": f"/problems/{kind.code}", "title": kind.en, "status": kind.status,
            "detail": kind.en, "code": kind.code, "request_id": "3f9a1c0be2d4-2",
        }  # fmt: skip
        response = responses.setdefault(
            str(kind.status),
            {
                "description": "",
                "headers": _headers(_PLAIN_HEADERS | _RELEASE_HEADER),
                "content": {"application/problem+json": {"schema": _ref("Problem"), "examples": {}}},
            },
        )
        response["description"] += f"{', ' if response['description'] else ''}`{kind.code}`: {kind.en}"
        response["content"]["application/problem+json"]["examples"][kind.code] = {"value": example}
        if kind.status in (503, 504):
            response["headers"] |= _headers({"Retry-After": "Seconds after which to try again."})
            example["retry_after_ms"] = 1000
        if kind.status == 503:
            response["headers"] |= _headers({"Connection": "`close` while the node drains."})
    return responses


def _body(content_type: str, schema: Json, description: str) -> Json:
    return {"required": True, "description": description, "content": {content_type: {"schema": schema}}}


def _parameter(name: str, where: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": where, "required": False, "description": description, "schema": schema}


_REQUEST_ID_PARAMETER = _parameter(
    "X-Request-Id",
    "header",
    "Returned as it is when it is 1 to 64 of `A-Z a-z 0-9 . _ -`, replaced otherwise.",
    {"type": "string"},
)
_DEADLINE_PARAMETER = _parameter(
    "X-Deadline-Ms",
    "header",
    "How long the caller will wait, in milliseconds. What cannot be answered by then is not begun.",
    {"type": "integer", "minimum": 1, "maximum": 600_000},
)

_CODE: Json = {"type": "string", "pattern": "^[0-9]{6}([0-9]{3})?$", "examples": ["330100"]}
_AT_PARAMETER = _parameter(
    "at", "query", "The day that is meant, as in 2020-01-31; absent: now.", {"type": "string", "format": "date"}
)


def _single(
    summary: str, operation_id: str, kind: str, answer: str, example: Any = None, description: str | None = None
) -> Json:
    return {
        "summary": summary,
        **({"description": description} if description else {}),
        "operationId": operation_id,
        "tags": ["addresses"],
        "parameters": [_DEADLINE_PARAMETER],
        "requestBody": _body("application/json", _ref(f"{kind}Request"), "At most 1 MiB."),
        "responses": {
            "200": _json(f"{kind}Reply", answer, example),
            **_problems(*_BODY_CODES, "validation-failed", "invalid-text", *_WORK_CODES),
        },
    }


_RESULTS = {"Parse": "ParseResult", "Validate": "Result", "Match": "MatchResult"}


def _batch(summary: str, operation_id: str, kind: str) -> Json:
    return {
        "summary": summary,
        "description": "Each item has its own status; a bad item does not spoil the others.",
        "operationId": operation_id,
        "tags": ["addresses"],
        "parameters": [_DEADLINE_PARAMETER],
        "requestBody": _body("application/json", _ref(f"Batch{kind}Request"), "At most 1 MiB."),
        "responses": {
            "200": _json(f"BatchReply_{_RESULTS[kind]}_", "One item for each that was sent, in order"),
            **_problems(*_BODY_CODES, "validation-failed", *_WORK_CODES),
        },
    }


def _bulk(summary: str, operation_id: str, kind: str, *parameters: Json) -> Json:
    return {
        "summary": summary,
        "description": (
            "One JSON document per line (NDJSON), streamed both ways: read while you send. Blank lines are skipped "
            "but counted; a bad line is answered with a problem and the stream goes on. When a limit is reached or "
            "the node drains, a problem line says so. The last line is the summary; without it the answer was cut: "
            "send the file again with `start_line`."
        ),
        "operationId": operation_id,
        "tags": ["addresses"],
        "parameters": [
            _DEADLINE_PARAMETER,
            _parameter(
                "start_line",
                "query",
                "Skip the lines before this one; numbering is kept.",
                {"type": "integer", "minimum": 1, "maximum": 999_999_999, "default": 1},
            ),
            _parameter(
                "ordered",
                "query",
                "`false` sends answers as they are ready.",
                {"type": "string", "enum": ["true", "false"], "default": "true"},
            ),
            *parameters,
        ],
        "requestBody": _body(
            "application/x-ndjson",
            {"type": "string", "description": f"Lines of the schema `{kind}Line`."},
            f"Lines of `{kind}Line`.",
        ),
        "responses": {
            "200": {
                "description": f"Lines of `BulkAnswer_{_RESULTS[kind]}_`, then one `BulkSummary`",
                "headers": _headers(_PLAIN_HEADERS | _RELEASE_HEADER),
                "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
            },
            **_problems(
                "invalid-header",
                "invalid-parameter",
                "unsupported-media-type",
                "internal",
                "node-starting",
                "node-draining",
            ),
        },
    }


_OPERATIONS: dict[tuple[str, str], Json] = {
    ("POST", "/v1/address:parse"): _single(
        "Find the components of one address",
        "parseAddress",
        "Parse",
        "The components, in the order of the text",
        _EXAMPLE,
    ),
    ("POST", "/v1/addresses:batchParse"): _batch(
        "Find the components of several addresses", "batchParseAddresses", "Parse"
    ),
    ("POST", "/v1/addresses:bulkParse"): _bulk(
        "Find the components of a file of addresses",
        "bulkParseAddresses",
        "Parse",
        _parameter("tagset", "query", "As in `options`.", {"type": "string", "enum": list(TAGSETS)}),
    ),
    ("POST", "/v1/address:validate"): _single(
        "Judge one address: what it is, and whether an order can be sent there",
        "validateAddress",
        "Validate",
        "The judgement; a bad address is `FIX`, not an error",
        description=_WEAKER,
    ),
    ("POST", "/v1/addresses:batchValidate"): _batch("Judge several addresses", "batchValidateAddresses", "Validate"),
    ("POST", "/v1/addresses:bulkValidate"): _bulk("Judge a file of addresses", "bulkValidateAddresses", "Validate"),
    ("POST", "/v1/address:match"): _single(
        "Say whether two addresses name the same place",
        "matchAddresses",
        "Match",
        "How the two relate",
        description=_MATCHED,
    ),
    ("POST", "/v1/addresses:batchMatch"): _batch("Compare several pairs of addresses", "batchMatch", "Match"),
    ("POST", "/v1:validateAddress"): {
        "summary": "Judge one address in the words of Google's Address Validation",
        "description": (
            "Requests and replies have the fields of `addressvalidation.googleapis.com`, so that its clients can send "
            "Chinese addresses here. There is no geocode and no postal data, and nothing says that a weaker answer is "
            "one, but that it is never `ACCEPT`. The key may come in `X-Goog-Api-Key`."
        ),
        "operationId": "googleValidateAddress",
        "tags": ["addresses"],
        "parameters": [_DEADLINE_PARAMETER],
        "requestBody": _body("application/json", _ref("ValidateAddressRequest"), "At most 1 MiB."),
        "responses": {
            "200": _json("ValidateAddressResponse", "The judgement"),
            **_problems(*_BODY_CODES, "validation-failed", "invalid-text", *_WORK_CODES),
        },
    },
    ("GET", "/v1/divisions"): {
        "summary": "List what lies right below a division",
        "operationId": "listDivisions",
        "tags": ["divisions"],
        "parameters": [
            _parameter("parent", "query", "Code of a province, city or district; absent: the provinces.", _CODE),
            _AT_PARAMETER,
        ],
        "responses": {
            "200": _json("Listing", "In the order of codes, development zones last"),
            **_problems("invalid-parameter", "unknown-division"),
        },
    },
    ("GET", "/v1/divisions/{code}"): {
        "summary": "Describe one division, in force or former",
        "operationId": "describeDivision",
        "tags": ["divisions"],
        "parameters": [
            {**_parameter("code", "path", "Of 6 digits, or 9 for a town.", _CODE), "required": True},
            _AT_PARAMETER,
        ],
        "responses": {
            "200": _json("Detail", "The division with its path, its successors and all that its code has stood for"),
            **_problems("invalid-parameter", "unknown-division"),
        },
    },
    ("POST", "/v1/feedback"): {
        "summary": "Say what became of an answer",
        "description": (
            "Conclusions are only counted, once a day for each answer and all that name it as their previous one. A "
            "proposed correction is kept with its address until an operator has judged it. A node without a store "
            "refuses both."
        ),
        "operationId": "feedback",
        "tags": ["addresses"],
        "parameters": [
            _parameter(
                "Idempotency-Key",
                "header",
                "The same key and body have no second effect for a day; the same key with another body is a 409. "
                "Each caller has keys of its own; the store holds digests only.",
                {"type": "string", "pattern": "^[!-~]{1,255}$"},
            ),
        ],
        "requestBody": _body("application/json", _ref("FeedbackRequest"), "At most 1 MiB."),
        "responses": {
            "200": _json("Recorded", "It is recorded"),
            **_problems(
                *_BODY_CODES,
                "idempotency-conflict",
                "validation-failed",
                "invalid-text",
                "internal",
                "store-unavailable",
            ),
        },
    },
    ("GET", "/livez"): {
        "summary": "Does the process answer?",
        "operationId": "live",
        "tags": ["operations"],
        "responses": {"200": _json("Alive", "It does")},
    },
    ("GET", "/readyz"): {
        "summary": "Does the node take requests?",
        "operationId": "ready",
        "tags": ["operations"],
        "parameters": [
            _parameter("release", "query", "Ask for this release; another one is not ready.", {"type": "string"})
        ],
        "responses": {
            "200": _json("Ready", "It does"),
            **_problems("node-starting", "node-draining", "wrong-release"),
        },
    },
    ("GET", "/health"): {
        "summary": "How is the node?",
        "operationId": "health",
        "tags": ["operations"],
        "responses": {
            "200": _json("Health", "Healthy"),
            "503": _json("Health", "Starting, draining, or unhealthy"),
        },
    },
    ("GET", "/metrics"): {
        "summary": "Metrics in the Prometheus text format",
        "operationId": "metrics",
        "tags": ["operations"],
        "responses": {
            "200": {
                "description": "Every metric of the node",
                "headers": _headers(_PLAIN_HEADERS | _RELEASE_HEADER),
                "content": {"text/plain": {"schema": {"type": "string"}}},
            }
        },
    },
    ("GET", "/v1/meta"): {
        "summary": "Versions, limits and catalogues",
        "operationId": "meta",
        "tags": ["operations"],
        "responses": {"200": _json("MetaReply", "What runs here")},
    },
    ("GET", "/"): {
        "summary": "To the documentation",
        "operationId": "root",
        "tags": ["operations"],
        "responses": {"307": {"description": "To `/docs`", "headers": _headers({"Location": "docs"})}},
    },
}
