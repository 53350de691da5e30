"""What the OpenAPI document promises, asked of the application with schemathesis."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.python.asgi import get_client
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from addrmesh.node import openapi
from addrmesh.node.app import create_app
from addrmesh.node.operations import OPERATIONS
from addrmesh.settings import NodeSettings
from addrmesh.store.memory import MemoryStore
from support.engines import DigitsEngine, release

POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
BULK = [operation.bulk.path for operation in OPERATIONS if operation.bulk]

CONFIG = schemathesis.Config.from_dict(
    {
        "checks": {
            # Too long is 413 here, also when the schema's maxLength is what says so.
            "negative_data_rejection": {"expected-statuses": ["400", "404", "405", "408", "413", "415", "422"]},
            # An address of which nothing can be seen ("\u200b") fits any schema one can write: 422.
            "positive_data_acceptance": {"expected-statuses": ["2xx", "3xx", "422"]},
        },
        "operations": [
            {
                "include-path": "/v1/feedback",
                # An Idempotency-Key that came with another body before: 409.
                "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "3xx", "409", "422"]}},
            }
        ],
    }
)
EXCLUDED = {
    # 503 is the answer to any release but the node's own, and any text may be asked for.
    "/readyz": [not_a_server_error, negative_data_rejection, positive_data_acceptance],
    # A line that is not what it should be is a problem of that line; the stream it is in is a 200.
    **{path: [negative_data_rejection] for path in BULK},
    # Most codes that look like one stand for nothing: 404.
    **{path: [positive_data_acceptance] for path in ("/v1/divisions", "/v1/divisions/{code}")},
}


@schemathesis.serializer("application/x-ndjson")
def ndjson(_: object, value: object) -> bytes:
    return value.encode("utf-8", "replace") if isinstance(value, str) else json.dumps(value, default=str).encode()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[schemathesis.BaseSchema]:
    app = create_app(NodeSettings(), engine=DigitsEngine(release(tmp_path)))
    app.node.store = MemoryStore()
    with get_client(app) as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.001)
        yield schemathesis.openapi.from_asgi("/openapi.json", app, config=CONFIG)


def asked() -> Iterator[tuple[str, str, GenerationMode]]:
    for (method, path), operation in sorted(openapi._OPERATIONS.items()):
        yield method, path, POSITIVE
        if "requestBody" in operation or "parameters" in operation:  # else nothing can be wrong with a request
            yield method, path, NEGATIVE


@pytest.mark.parametrize(("method", "path", "mode"), list(asked()))
def test_the_document_is_true(api, method, path, mode):
    # The pytest integration of schemathesis 4.32 (`from_fixture`) does not work with pytest 9.2; this is what it does.
    operation = api[path][method]

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(excluded_checks=EXCLUDED.get(path, []))

    check()
