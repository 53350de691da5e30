"""The parse handler under any text: what it promises holds, whoever else is asking."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addrmesh.settings import Cache, NodeSettings
from support.nodes import InProcess, in_process

texts = st.one_of(
    st.text(max_size=60),
    st.text("路号 \u3000\u200b１２３４34½⅓㈱ﷺ①⑫㊿\u0301\ud800\U0002f800a", max_size=30),
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with in_process(tmp_path_factory.mktemp("release")) as node:
        yield node


@pytest.fixture(scope="module")
def uncached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with in_process(tmp_path_factory.mktemp("release"), NodeSettings(cache=Cache(entries=0))) as node:
        yield node


@settings(deadline=None, max_examples=300)
@given(texts)
def test_any_text_is_answered_or_refused_and_spans_are_sound(node, address):
    status, body = node.run(node.parse(address))
    if status != 200:
        assert (status, body["code"]) in {(422, "invalid-text"), (413, "input-too-long"), (400, "invalid-json")}
        return
    end_of_previous = 0
    for component in body["result"]["components"]:
        start, end = component["span"]
        assert end_of_previous <= start < end <= len(address)
        assert component["input_text"] == address[start:end]
        assert component["text"]
        assert component["confidence"] == round(component["confidence"], 4)
        end_of_previous = end


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=80))
def test_any_body_is_answered_or_refused_with_a_problem(node, body):
    status, headers, answer = node.run(node.ask("/v1/address:parse", body))
    assert status == 200 or headers["content-type"] == "application/problem+json"
    assert status < 500
    json.loads(answer)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(texts.filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)), min_size=1, max_size=8),
    st.randoms(),
)
def test_company_order_and_cache_never_change_an_answer(node, uncached, addresses, random):
    def outcome(item: dict[str, object]) -> object:
        return item.get("result") or (item.get("problem") or item)["code"]

    async def batch(of: InProcess, order: list[int]) -> dict[int, object]:
        asked = {"addresses": [addresses[i] for i in order]}
        _, _, body = await of.ask("/v1/addresses:batchParse", json.dumps(asked).encode())
        return {order[item["index"]]: outcome(item) for item in json.loads(body)["items"]}

    async def alone(of: InProcess) -> dict[int, object]:
        return {i: outcome((await of.parse(address))[1]) for i, address in enumerate(addresses)}

    async def together(of: InProcess) -> dict[int, object]:
        found = await asyncio.gather(*(of.parse(address) for address in addresses))
        return {i: outcome(body) for i, (_, body) in enumerate(found)}

    order = list(range(len(addresses)))
    expected = uncached.run(alone(uncached))
    assert node.run(alone(node)) == expected
    assert node.run(alone(node)) == expected
    assert uncached.run(together(uncached)) == expected
    assert node.run(batch(node, random.sample(order, len(order)))) == expected
    assert uncached.run(batch(uncached, random.sample(order, len(order)))) == expected


def test_a_result_is_the_same_bytes_alone_cached_and_in_a_batch(node):
    address = "文三路478号5幢6"
    alone = node.run(node.ask("/v1/address:parse", json.dumps({"address": address}).encode()))[2]
    cached = node.run(node.ask("/v1/address:parse", json.dumps({"address": address}).encode()))[2]
    batch = node.run(node.ask("/v1/addresses:batchParse", json.dumps({"addresses": ["1", address]}).encode()))[2]
    result = alone.partition(b'"result":')[2].partition(b',"service"')[0]
    assert result in cached
    assert result in batch
    assert (b'"cached":false' in alone, b'"cached":true' in cached) == (True, True)


def test_a_component_that_begins_inside_a_character_already_given_away_is_left_out(node):
    status, body = node.run(node.parse("½号"))  # "1⁄2号": two runs of digits, one character of the caller
    assert status == 200
    assert [c["span"] for c in body["result"]["components"]] == [[0, 1]]


def test_the_mgeo_view_leaves_room_numbers_out(node):
    everything = [node.run(node.parse(f"{n}"))[1]["result"]["components"][0]["type"] for n in range(100)]
    assert "roomno" in everything
    strict = [node.run(node.parse(f"{n}", tagset="mgeo"))[1]["result"]["components"] for n in range(100)]
    assert [bool(components) for components in strict] == [kind != "roomno" for kind in everything]


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        (b"", 400, "invalid-json", None),
        (b"{", 400, "invalid-json", None),
        (b'{"address":"\xff"}', 400, "invalid-json", None),
        (b'{"address":"\\ud800"}', 400, "invalid-json", None),
        (b'{"address":"\\ud800\\udc001"}', 200, None, None),
        (b"[]", 422, "validation-failed", ""),
        (b"{}", 422, "validation-failed", ""),
        (b'{"address":7}', 422, "validation-failed", "/address"),
        (b'{"address":"1","extra":1}', 422, "validation-failed", "/extra"),
        (b'{"address":"1","options":{"tagset":"x"}}', 422, "validation-failed", "/options/tagset"),
        (b'{"address":"1","options":{"more":1}}', 422, "validation-failed", "/options/more"),
        (b'{"address":""}', 422, "invalid-text", None),
        ('{"address":" \u3000\u200b\\u0000"}'.encode(), 422, "invalid-text", None),
        (b'{"address":"' + b"1" * 2001 + b'"}', 413, "input-too-long", None),
        (('{"address":"' + "ﷺ" * 200 + '"}').encode(), 413, "input-too-long", None),
        (b'{"address":' + b"[" * 5000, 422, "validation-failed", "/address"),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_a_body_is_refused_for_what_is_wrong_with_it(node, body, status, code, pointer):
    found, headers, answer = node.run(node.ask("/v1/address:parse", body))
    document = json.loads(answer)
    assert (found, document.get("code")) == (status, code)
    if code:
        assert document["request_id"] == headers["x-request-id"]
        assert document["status"] == status
        assert [e["pointer"] for e in document.get("errors", [])] == ([] if pointer is None else [pointer])


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "soon", "600001", "1e3", ""])
def test_a_deadline_that_is_no_whole_number_of_milliseconds_is_refused(node, value):
    status, _, body = node.run(node.ask("/v1/address:parse", b'{"address":"1"}', x_deadline_ms=value))
    assert (status, json.loads(body)["code"]) == (400, "invalid-header")


@pytest.mark.parametrize(("given", "kept"), [("order-1.A_b", True), ("x" * 65, False), ("a b", False), ("地", False)])
def test_a_sound_request_id_is_kept(node, given, kept):
    _, headers, _ = node.run(node.ask("/livez", x_request_id=given))
    assert (headers["x-request-id"] == given) is kept


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=UTF-8", 200),
        ("text/plain", 415),
        ("application/json; charset=gbk", 415),
        ("", 415),
    ],
)
def test_only_json_in_utf8_is_taken(node, content_type, status):
    found, _, _ = node.run(node.ask("/v1/address:parse", b'{"address":"1"}', content_type=content_type))
    assert found == status


def test_a_compressed_body_is_refused(node):
    assert node.run(node.ask("/v1/address:parse", b"x", content_encoding="gzip"))[0] == 415


def test_a_batch_answers_each_item_in_its_place(node):
    body = json.dumps({"addresses": ["1号", "", 5, None, "2" * 2001, "３"]}).encode()
    status, _, answer = node.run(node.ask("/v1/addresses:batchParse", body))
    items = json.loads(answer)["items"]
    assert status == 200
    assert [item["index"] for item in items] == list(range(6))
    assert [item["status"] for item in items] == [200, 422, 422, 422, 413, 200]
    assert ["result" in item for item in items] == [item["status"] == 200 for item in items]
    assert items[2]["problem"]["errors"][0]["pointer"] == "/addresses/2"


@pytest.mark.parametrize(("count", "status"), [(0, 200), (100, 200), (101, 413)])
def test_a_batch_has_at_most_a_hundred_addresses(node, count, status):
    body = json.dumps({"addresses": ["1"] * count}).encode()
    assert node.run(node.ask("/v1/addresses:batchParse", body))[0] == status


def test_a_body_over_a_mebibyte_is_refused(node):
    status, headers, body = node.run(node.ask("/v1/addresses:batchParse", b" " * 1_048_577))
    assert (status, json.loads(body)["code"], headers["connection"]) == (413, "input-too-long", "close")
