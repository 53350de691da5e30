"""From HTTP to replies and errors: no exception of httpx gets out, no address gets into a message."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

import addrmesh.client
from addrmesh.client import AsyncClient, BatchParseResult, Client, ClientError, NoAnswer, ParseReply, ProblemError
from addrmesh.client.client import _decode_items
from addrmesh.client.exchange import Connection, Request, tls_context
from addrmesh.client.outcome import judge
from addrmesh.errors import AddrmeshError, ConfigError
from addrmesh.node import wire
from addrmesh.node.problems import KINDS

ADDRESS = "浙江省杭州市余杭区文一西路969号"
SERVICE = {
    "mode": "FULL", "region": "eu", "node": "n1", "release": "r@1", "gazetteer_version": "g", "cached": False,
    "elapsed_ms": 1.5, "truncated": False,
}  # fmt: skip
RESULT = {"components": [{"type": "prov", "text": "浙江省", "input_text": "浙江省", "span": [0, 3], "confidence": 0.9}]}
decode_parse = msgspec.json.Decoder(ParseReply).decode


def tree(error: type[Exception]) -> Iterator[type[Exception]]:
    yield error
    for child in error.__subclasses__():
        yield from tree(child)


RAISED_BY_HTTPX = sorted(
    {
        kind
        for name in httpx.__all__
        if isinstance(thing := getattr(httpx, name), type) and issubclass(thing, Exception)
        for kind in tree(thing)
    },
    key=lambda kind: kind.__name__,
)


def raised(kind: type[Exception]) -> Exception:
    if issubclass(kind, httpx.HTTPStatusError):
        return kind(ADDRESS, request=httpx.Request("GET", "http://x"), response=httpx.Response(500))
    if kind in (httpx.StreamConsumed, httpx.ResponseNotRead, httpx.RequestNotRead, httpx.StreamClosed):
        return kind()
    return kind(ADDRESS)


class Raising(httpx.AsyncBaseTransport):
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:  # noqa: ARG002
        raise self.error


def test_httpx_has_errors_to_walk():
    assert {httpx.ReadError, httpx.PoolTimeout, httpx.InvalidURL, httpx.StreamClosed} <= set(RAISED_BY_HTTPX)


@pytest.mark.parametrize("kind", [*RAISED_BY_HTTPX, OSError, ConnectionResetError], ids=lambda kind: kind.__name__)
async def test_no_exception_of_httpx_gets_out(kind):
    client = AsyncClient(["http://eu.example"], deadline_s=0.2)
    for endpoint, line in client._course.lines.items():
        await line.close()
        line = Connection(endpoint.url, {}, tls_context(None, None), Raising(raised(kind)))  # noqa: PLW2901
        client._course.lines[endpoint] = line
    async with client:
        with pytest.raises(NoAnswer) as error:
            await client.parse(ADDRESS)
    assert ADDRESS not in str(error.value)
    assert "http://eu.example conn" in str(error.value) or "http://eu.example no conn" in str(error.value)


def test_every_error_of_the_client_is_one_of_addrmesh():
    found = [thing for name in addrmesh.client.__all__ if isinstance(thing := getattr(addrmesh.client, name), type)]
    errors = [thing for thing in found if issubclass(thing, Exception)]
    assert {ClientError, NoAnswer, ProblemError} == set(errors)
    assert all(issubclass(error, ClientError) and issubclass(error, AddrmeshError) for error in errors)


def test_the_structs_are_those_of_the_wire():
    from addrmesh.client import replies

    for mine, theirs in [
        (replies.ParseReply, wire.ParseReply), (replies.Service, wire.Service), (replies.ParseResult, wire.ParseResult),
        (replies.BatchReply, wire.BatchReply), (replies.BatchItem, wire.BatchItem),
        (replies.FieldError, wire.FieldError),
    ]:  # fmt: skip
        assert mine.__struct_fields__ == theirs.__struct_fields__
    assert set(replies.Problem.__struct_fields__) <= set(wire.Problem.__struct_fields__)


def test_a_newer_service_can_answer_an_older_client():
    newer = {
        "response_id": "1",
        "result": {"components": [RESULT["components"][0] | {"type": "moonbase", "source": "INPUT"}], "issues": []},
        "service": SERVICE | {"mode": "LUNAR", "revalidate_after": "2026-01-01"},
    }
    outcome = judge(200, None, msgspec.json.encode(newer), decode_parse)
    assert outcome.reply is not None
    assert outcome.reply.service.mode == "LUNAR"
    assert outcome.reply.result.components[0].type == "moonbase"
    assert ADDRESS[slice(*outcome.reply.result.components[0].span)] == "浙江省"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_every_problem_of_the_service_is_understood(kind):
    document = wire.Problem(f"/problems/{kind.code}", kind.en, kind.status, "why", kind.code, "r1", retry_after_ms=250)
    outcome = judge(kind.status, "1", wire.encode(document), decode_parse)
    assert outcome.problem is not None
    error = ProblemError(outcome.problem)
    assert (error.code, error.status, error.detail, error.request_id) == (kind.code, kind.status, "why", "r1")
    assert error.retry_after_s == 0.25
    assert outcome.is_final is (kind.status not in (408, 429, 502, 503, 504))
    assert outcome.leaving is (kind.code == "node-draining")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"\xff", b"[]", b'{"code": "internal", "status": 200}', b'{"code": 1}']
)
def test_an_error_page_of_a_proxy_is_a_problem_without_its_words(body):
    outcome = judge(502, "3", ADDRESS.encode() + body if body == b"<html>" else body, decode_parse)
    assert outcome.problem is not None
    error = ProblemError(outcome.problem)
    assert (error.code, error.status, error.retry_after_s) == ("http-502", 502, 3.0)
    assert ADDRESS not in str(error)


@pytest.mark.parametrize("body", [b"", b"<html>welcome to this hotel", b"{}", b'{"response_id": "1"', b"\xff"])
def test_a_200_that_is_no_reply_is_no_answer(body):
    outcome = judge(200, None, body, decode_parse)
    assert (outcome.reply, outcome.is_final, outcome.working) == (None, False, False)


@pytest.mark.parametrize("header", ["soon", "Wed, 21 Oct 2026 07:28:00 GMT", "-1", "²", ""])
def test_a_retry_after_that_is_no_number_is_none(header):
    outcome = judge(503, header, b"", decode_parse)
    assert outcome.problem is not None
    assert outcome.problem.retry_after_ms is None


def test_a_batch_reply_must_answer_every_item_in_its_place():
    good = {"index": 0, "status": 200, "result": RESULT}
    bad = {"index": 1, "status": 422, "problem": {"code": "invalid-text", "status": 422, "detail": "blank"}}

    def reply(*items: object) -> bytes:
        return msgspec.json.encode({"response_id": "1", "service": SERVICE, "items": items})

    result, error = _decode_items(reply(good, bad), 2)
    assert isinstance(result, BatchParseResult)
    assert isinstance(error, ProblemError)
    assert error.code == "invalid-text"
    weaker, _ = _decode_items(reply(good | {"mode": "BUILTIN_MODEL"}, bad), 2)
    assert isinstance(weaker, BatchParseResult)
    assert (result.mode, weaker.mode) == ("FULL", "BUILTIN_MODEL")
    for items in [(good,), (bad, good), (good, bad, bad), (good, {"index": 1, "status": 200})]:
        with pytest.raises(msgspec.ValidationError):
            _decode_items(reply(*items), 2)


@pytest.mark.parametrize(
    "endpoints",
    [
        [], "http://eu.example", ["eu.example"], ["ftp://eu.example"], ["http://"], ["http://x:y"], ["http://[::1"],
        ["https://user:secret@eu.example"], ["http://eu.example?key=1"], ["http://x:0"],
    ],
)  # fmt: skip
@pytest.mark.parametrize("client", [AsyncClient, Client])
def test_endpoints_that_cannot_be_asked_are_refused_with_what_to_write(endpoints, client):
    with pytest.raises(ConfigError, match=r"endpoints.*https://") as error:
        client(endpoints)
    assert "secret" not in str(error.value)


def test_other_arguments_that_cannot_be_used_are_refused(tmp_path: Path):
    for wrong in (
        {"api_key": "two\nlines"},
        {"api_key": ""},
        {"api_key": "钥匙"},
        {"deadline_s": 0},
        {"deadline_s": 601},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            AsyncClient(["http://eu.example"], **wrong)
    (tmp_path / "no.pem").write_text("no certificate")
    for wrong in ({"verify": tmp_path / "none.pem"}, {"verify": tmp_path / "no.pem"}, {"cert": tmp_path / "no.pem"}):
        with pytest.raises(ConfigError, match=r"PEM"):
            AsyncClient(["https://eu.example"], **wrong)


async def test_a_deadline_out_of_range_is_refused_before_anything_is_sent():
    async with AsyncClient(["http://127.0.0.1:9"]) as client:
        for call in (client.parse(ADDRESS, deadline_s=-1), client.parse_many([ADDRESS], deadline_s=1e9)):
            with pytest.raises(ConfigError, match="deadline_s"):
                await call


def test_the_client_imports_nothing_that_a_node_needs():
    heavy = "'onnxruntime numpy fastapi uvicorn pydantic typer prometheus_client structlog ahocorasick'.split()"
    code = (
        "import sys, addrmesh.client; "
        f"loaded = [name for name in {heavy} if name in sys.modules]; "
        "own = [n for n in sys.modules if n.startswith('addrmesh.') and n.split('.')[1] not in ('client', 'errors')]; "
        "sys.exit(str(loaded + own) if loaded + own else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_half_a_surrogate_pair_is_sent_as_something_as_long_that_the_service_skips():
    sent: list[bytes] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        sent.append(await request.aread())
        return httpx.Response(200, json={"response_id": "1", "result": RESULT, "service": SERVICE})

    connection = Connection("http://x", {}, tls_context(None, None), httpx.MockTransport(answer))
    client = AsyncClient(["http://x"])
    (endpoint,) = client._course.lines
    await client._course.lines[endpoint].close()
    client._course.lines[endpoint] = connection
    async with client:
        await client.parse("路\ud83d9")
        await asyncio.sleep(0)
    address = msgspec.json.decode(next(body for body in sent if body))["address"]
    from addrmesh.address.normalize import normalize

    assert len(address) == 3
    assert normalize(address) == normalize("路\ud83d9")


async def test_the_key_and_the_name_are_sent_with_everything():
    seen: list[httpx.Request] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(404)

    line = Connection(
        "http://x/base", {"Authorization": "Bearer k"}, tls_context(None, None), httpx.MockTransport(answer)
    )
    request = Request("id", "POST", "/v1/address:parse", b"{}", decode_parse)
    await line.ask(request, deadline_s=0.25, connect_s=0.1)
    await line.probe("/livez")
    await line.close()
    assert {str(request.url) for request in seen} == {"http://x/base/v1/address:parse", "http://x/base/livez"}
    assert {request.headers["authorization"] for request in seen} == {"Bearer k"}
    assert seen[0].headers["x-deadline-ms"] == "250"
    assert seen[0].headers["user-agent"].startswith("addrmesh-client/")
