"""
The OpenAPI 3.1 document: what each path takes and gives, and nothing it does not.

Bodies come from the structs in `wire.py`, problems from the table in `problems.py`, limits from the node's settings.
`operation` gives what FastAPI's routes are registered with; `schemas` what they refer to.
"""

from typing import Any

import msgspec

from addrmesh.address.types import COMPONENT_TYPES
from addrmesh.address.wire import TAGSETS
from addrmesh.node.problems import BY_CODE
from addrmesh.node.wire import BODIES
from addrmesh.settings import Limits

Json = dict[str, Any]

TITLE = "addrmesh node"
DESCRIPTION = """
Finds the components of Chinese addresses.

Every call but bulk is a pure function of its input and the release: any node may answer, and repeating it is safe.
Errors are problem documents (RFC 9457) with a stable `code`; `/v1/meta` lists them. Addresses are personal data:
they are sent in bodies only, and never logged or quoted in an error.
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
        "gazetteer_version": "2023", "cached": False, "elapsed_ms": 0.731, "truncated": False,
    },
}  # fmt: skip

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
    _, found = msgspec.json.schema_components(BODIES, ref_template="#/components/schemas/{name}")
    found["ParseRequest"]["properties"]["address"]["maxLength"] = limits.max_code_points
    found["BatchRequest"]["properties"]["addresses"]["maxItems"] = limits.batch_items
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

_OPERATIONS: dict[tuple[str, str], Json] = {
    ("POST", "/v1/address:parse"): {
        "summary": "Find the components of one address",
        "operationId": "parseAddress",
        "tags": ["addresses"],
        "parameters": [_DEADLINE_PARAMETER],
        "requestBody": _body("application/json", _ref("ParseRequest"), "At most 1 MiB."),
        "responses": {
            "200": _json("ParseReply", "The components, in the order of the text", _EXAMPLE),
            **_problems(*_BODY_CODES, "validation-failed", "invalid-text", *_WORK_CODES),
        },
    },
    ("POST", "/v1/addresses:batchParse"): {
        "summary": "Find the components of several addresses",
        "description": "Each item has its own status; a bad item does not spoil the others.",
        "operationId": "batchParseAddresses",
        "tags": ["addresses"],
        "parameters": [_DEADLINE_PARAMETER],
        "requestBody": _body("application/json", _ref("BatchRequest"), "At most 1 MiB."),
        "responses": {
            "200": _json("BatchReply", "One item per address, in order"),
            **_problems(*_BODY_CODES, "validation-failed", *_WORK_CODES),
        },
    },
    ("POST", "/v1/addresses:bulkParse"): {
        "summary": "Find the components of a file of addresses",
        "description": (
            "One JSON document per line (NDJSON), streamed both ways: read while you send. Blank lines are skipped "
            "but counted; a bad line is answered with a problem and the stream goes on. When a limit is reached or "
            "the node drains, a problem line says so. The last line is the summary; without it the answer was cut: "
            "send the file again with `start_line`."
        ),
        "operationId": "bulkParseAddresses",
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
            _parameter("tagset", "query", "As in `options`.", {"type": "string", "enum": list(TAGSETS)}),
        ],
        "requestBody": _body(
            "application/x-ndjson",
            {"type": "string", "description": "Lines of the schema `BulkLine`."},
            "Lines of `BulkLine`.",
        ),
        "responses": {
            "200": {
                "description": "Lines of `BulkAnswer`, then one `BulkSummary`",
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
