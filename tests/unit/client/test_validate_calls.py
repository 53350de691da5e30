"""Validation, matching and divisions through the client, and what it does when nobody answers."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx
import msgspec
import pytest

from addrmesh.address import divisions, questions, verdict
from addrmesh.address.divisions import version
from addrmesh.client import AsyncClient, Client, NoAnswer, ProblemError, replies
from addrmesh.client.exchange import Connection, tls_context
from addrmesh.node import wire

ADDRESS = "浙江省杭州市钱塘区下沙街道幸福街1号"
SERVICE = {
    "mode": "FULL", "region": "eu", "node": "n1", "release": "r@1", "gazetteer_version": "g", "cached": False,
    "elapsed_ms": 1.5, "truncated": False,
}  # fmt: skip


def reply_to(request: verdict.Request) -> bytes:
    result = questions.Validation.of(request, 2000).without_engine()
    return msgspec.json.encode({"response_id": "1", "result": result, "service": SERVICE})


async def answered_by(answer: Callable[[httpx.Request], httpx.Response], **arguments: Any) -> AsyncClient:
    client = AsyncClient(["http://x"], deadline_s=0.3, **arguments)
    (endpoint,) = client._course.lines
    await client._course.lines[endpoint].close()
    client._course.lines[endpoint] = Connection("http://x", {}, tls_context(None, None), httpx.MockTransport(answer))
    return client


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (replies.ValidateReply, wire.ValidateReply), (replies.ValidateResult, verdict.Result),
        (replies.Verdict, verdict.Verdict), (replies.Address, verdict.Address), (replies.Issue, verdict.Issue),
        (replies.AddressComponent, verdict.ResultComponent), (replies.Receiver, verdict.Receiver),
        (replies.Spans, verdict.Spans), (replies.Candidate, verdict.Candidate), (replies.MatchReply, wire.MatchReply),
        (replies.MatchResult, questions.MatchResult), (replies.Difference, questions.Difference),
        (replies.Divisions, divisions.Listing), (replies.Division, divisions.Entry), (replies.Recorded, wire.Recorded),
    ],
    ids=lambda struct: struct.__name__,
)  # fmt: skip
def test_the_structs_are_those_of_the_wire(mine, theirs):
    assert mine.__struct_fields__ == theirs.__struct_fields__


async def test_what_is_asked_is_what_the_service_takes():
    asked: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("validate"):
            asked.append(msgspec.json.decode(request.content, type=wire.ValidateRequest))
            return httpx.Response(200, content=reply_to(asked[-1]))
        if request.url.path.endswith("match"):
            asked.append(msgspec.json.decode(request.content, type=wire.MatchRequest))
            result = {
                "label": "not_match",
                "score": 1,
                "probabilities": {},
                "deepest_common_level": "NONE",
                "guards": [],
            }
            return httpx.Response(200, json={"response_id": "1", "result": result, "service": SERVICE})
        if request.url.path.endswith("feedback"):
            asked.append(msgspec.json.decode(request.content, type=wire.FeedbackRequest))
            assert request.headers["idempotency-key"] == request.headers["x-request-id"]
            return httpx.Response(200, json={"recorded": True})
        asked.append(str(request.url))
        return httpx.Response(200, content=msgspec.json.encode(divisions.listing("330100")))

    client = await answered_by(answer)
    async with client:
        fields = {"locality": "杭州市", "address_lines": ["幸福街\ud8001号"]}
        judged = await client.validate(
            fields, region_hint="330100", options={"admin_style": "ecommerce"}, language="en",
            previous_response_id="r-0", client_reference="c",
        )  # fmt: skip
        assert judged.result.needs_user
        assert asked[-1].address.address_lines == ["幸福街\u200b1号"]
        assert (asked[-1].region_hint.adcode, asked[-1].options.admin_style) == ("330100", "ecommerce")
        assert (asked[-1].language_code, asked[-1].client_reference) == ("en", "c")
        assert asked[-1].previous_response_id == "r-0"
        assert (await client.match("1", fields)).result.label == "not_match"
        await client.feedback("r-1", "UNUSED")
        assert (asked[-1].response_id, asked[-1].conclusion) == ("r-1", "UNUSED")
        listed = await client.divisions("330100", at="2020-01-01")
        assert asked[-1] == "http://x/v1/divisions?parent=330100&at=2020-01-01"
        assert "钱塘区" in {division.name for division in listed.divisions}


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_when_no_region_answers_gazetteer_and_rules_do_and_never_accept(status):
    client = await answered_by(lambda _: httpx.Response(status), fallback=True)
    async with client:
        reply = await client.validate(ADDRESS, client_reference="c")
        assert (reply.service.mode, reply.client_reference) == ("CLIENT_FALLBACK", "c")
        assert reply.service.gazetteer_version == version()
        assert datetime.fromisoformat(reply.service.revalidate_after or "").tzinfo is not None
        assert reply.result.address.adcode == "330114"
        assert reply.result.verdict.possible_next_action == "CONFIRM"
        assert reply.result.needs_user


async def test_the_fallback_answers_within_the_deadline_of_silence():
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("")

    client = await answered_by(refuse, fallback=True)
    async with client:
        async with asyncio.timeout(2):
            assert (await client.validate(ADDRESS)).service.mode == "CLIENT_FALLBACK"
        for blank in (" ", {}):
            with pytest.raises(ProblemError, match="invalid-text"):
                await client.validate(blank)
        with pytest.raises(ProblemError, match="input-too-long"):
            await client.validate("1" * 2001)
        with pytest.raises(ProblemError, match="validation-failed") as refused:
            await client.validate({"locality": 5, "district": ADDRESS})
        assert ADDRESS not in str(refused.value)


async def test_a_refusal_is_not_answered_by_the_fallback():
    problem = {"code": "invalid-text", "status": 422, "detail": "blank"}
    client = await answered_by(lambda _: httpx.Response(422, json=problem), fallback=True)
    async with client:
        with pytest.raises(ProblemError, match="blank"):
            await client.validate(ADDRESS)


def test_without_the_fallback_no_answer_is_an_error():
    with Client(["http://127.0.0.1:9"], deadline_s=0.2) as client, pytest.raises(NoAnswer):
        client.validate(ADDRESS)


def test_the_blocking_client_falls_back_too():
    with Client(["http://127.0.0.1:9"], deadline_s=0.2, fallback=True) as client:
        assert client.validate(ADDRESS).service.mode == "CLIENT_FALLBACK"


def test_a_client_without_the_fallback_stays_light():
    code = (
        "import sys; from addrmesh.client import Client; Client(['http://127.0.0.1:9']).close(); "
        "sys.exit(any(name.startswith('addrmesh.address') or name == 'numpy' for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
