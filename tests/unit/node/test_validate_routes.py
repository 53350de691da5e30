"""Validation, matching, divisions and feedback as a node answers them, whoever else is asking."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addrmesh.address import rules
from addrmesh.address.decision import decision_rule
from addrmesh.address.divisions import version
from addrmesh.address.normalize import normalize
from addrmesh.address.verdict import ACTIONS, SEVERITIES, Result
from addrmesh.node import google, wire
from addrmesh.node.corrections import (
    CONCLUSIONS,
    FEEDBACK,
    PROPOSED,
    Correction,
    anonymous,
    chained,
    decode,
    digest,
)
from addrmesh.settings import Cache, NodeSettings
from addrmesh.store.memory import MemoryStore
from support.nodes import InProcess, in_process

ADDRESS = "杭州江干区下沙街道幸福街1号"
WORDS = [
    *("浙江省", "杭州市", "杭州", "江干区", "下沙街道", "朝阳区", "幸福街", "1号", "3幢", "502室", "13800001234"),
    *("张三", "北京市", "上海", "台湾", "Road", " ", "１２", "½", "\u200b"),
]
joined = st.lists(st.sampled_from(WORDS), min_size=1, max_size=7).map("".join)
texts = st.one_of(joined, st.text(st.characters(exclude_categories=["Cs"]), max_size=30))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with in_process(tmp_path_factory.mktemp("release")) as node:
        yield node


@pytest.fixture(scope="module")
def uncached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with in_process(tmp_path_factory.mktemp("release"), NodeSettings(cache=Cache(entries=0))) as node:
        yield node


@pytest.fixture
def fresh(tmp_path) -> Iterator[InProcess]:
    """A node of the test's own, which it may break."""
    with in_process(tmp_path) as node:
        yield node


@pytest.fixture
def tagging(fresh) -> InProcess:
    """A node whose engine knows divisions, roads and numbers."""
    fresh.engine.predict = lambda texts: [rules.components(text) for text in texts]
    return fresh


def post(node: InProcess, path: str, body: object) -> tuple[int, dict, bytes]:
    status, _, answer = node.run(node.ask(path, json.dumps(body).encode()))
    return status, json.loads(answer), answer


def result_bytes(answer: bytes) -> bytes:
    return answer.partition(b'"result":')[2].partition(b',"service"')[0]


@settings(deadline=None, max_examples=60)
@given(st.lists(texts, min_size=1, max_size=6), st.randoms())
def test_company_order_and_cache_never_change_a_judgement(node, uncached, addresses, random):
    def outcome(item: dict) -> object:
        return item.get("result") or (item.get("problem") or item)["code"]

    async def alone(of: InProcess) -> dict[int, object]:
        asked = (of.ask("/v1/address:validate", json.dumps({"address": text}).encode()) for text in addresses)
        return {i: outcome(json.loads(answer)) for i, (_, _, answer) in enumerate(await asyncio.gather(*asked))}

    async def batch(of: InProcess, order: list[int]) -> dict[int, object]:
        body = json.dumps({"addresses": [addresses[i] for i in order]}).encode()
        _, _, answer = await of.ask("/v1/addresses:batchValidate", body)
        return {order[item["index"]]: outcome(item) for item in json.loads(answer)["items"]}

    order = list(range(len(addresses)))
    expected = uncached.run(alone(uncached))
    assert node.run(alone(node)) == expected
    assert node.run(alone(node)) == expected
    assert node.run(batch(node, random.sample(order, len(order)))) == expected
    assert uncached.run(batch(uncached, random.sample(order, len(order)))) == expected


@settings(deadline=None, max_examples=150)
@given(texts)
def test_any_text_is_judged_or_refused_and_spans_are_sound(node, address):
    status, body, _ = post(node, "/v1/address:validate", {"address": address})
    if status != 200:
        assert (status, body["code"]) in {(422, "invalid-text"), (413, "input-too-long")}
        return
    result = body["result"]
    assert result["verdict"]["possible_next_action"] in ACTIONS
    for component in result["address"]["components"]:
        if component["span"] is not None:
            start, end = component["span"]
            assert 0 <= start < end <= len(address)
            assert component["input_text"] == address[start:end]


@settings(deadline=None, max_examples=60)
@given(texts, texts)
def test_a_comparison_does_not_depend_on_order_company_or_cache(node, uncached, a, b):
    pair, turned = {"a": a, "b": b}, {"a": b, "b": a}
    status, body, answer = post(uncached, "/v1/address:match", pair)
    assert post(node, "/v1/address:match", pair)[0] == status
    assert result_bytes(post(node, "/v1/address:match", pair)[2]) == result_bytes(answer)
    (item, other) = post(node, "/v1/addresses:batchMatch", {"pairs": [pair, turned]})[1]["items"]
    if status == 200:
        assert item["result"] == body["result"]
        assert other["result"]["probabilities"] == body["result"]["probabilities"]
    else:
        assert item["problem"]["code"] == body["code"]


def test_a_judgement_is_the_same_bytes_alone_cached_and_in_a_batch(node):
    answers = [post(node, "/v1/address:validate", {"address": ADDRESS})[2] for _ in range(2)]
    batch = post(node, "/v1/addresses:batchValidate", {"addresses": [" ", ADDRESS]})[2]
    assert result_bytes(answers[0]) == result_bytes(answers[1])
    assert result_bytes(answers[0]) in batch
    assert json.loads(answers[1])["service"]["cached"] is True


def test_one_row_of_the_model_serves_parsing_and_judging(fresh):
    ran = len(fresh.engine.batches)
    post(fresh, "/v1/address:validate", {"address": ADDRESS})
    assert fresh.run(fresh.parse(ADDRESS))[1]["service"]["cached"] is True
    assert fresh.engine.batches[ran:] == [[ADDRESS]]


def test_fields_hint_style_and_language_are_heard(tagging):
    fields = {"administrative_area": "湖北省", "address_lines": ["仙桃市干河街道1号"]}
    _, body, _ = post(
        tagging,
        "/v1/address:validate",
        {"address": fields, "options": {"admin_style": "ecommerce"}, "client_reference": "cart-42"},
    )
    assert "省直辖县级行政区划" in body["result"]["address"]["formatted_address"]
    assert body["client_reference"] == "cart-42"
    _, plain, _ = post(tagging, "/v1/address:validate", {"address": "朝阳区1号", "language_code": "en"})
    _, hinted, _ = post(tagging, "/v1/address:validate", {"address": "朝阳区1号", "region_hint": {"adcode": "110105"}})
    assert "several divisions" in plain["result"]["issues"][0]["message"]
    assert hinted["result"]["address"]["adcode"] == "110105"


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "pointer"),
    [
        ("/v1/address:validate", {"address": 5}, 422, "validation-failed", "/address"),
        ("/v1/address:validate", {"address": "1", "more": 1}, 422, "validation-failed", "/more"),
        ("/v1/address:validate", {"address": {"street": "1"}}, 422, "validation-failed", "/address/street"),
        ("/v1/address:validate", {"address": {}}, 422, "invalid-text", None),
        ("/v1/address:validate", {"address": "1", "options": {"candidates": 21}}, 422, "validation-failed", "/options/candidates"),  # noqa: E501
        ("/v1/address:validate", {"address": "1" * 2001}, 413, "input-too-long", None),
        ("/v1/address:match", {"a": "1"}, 422, "validation-failed", ""),
        ("/v1/address:match", {"a": "1", "b": " "}, 422, "invalid-text", None),
        ("/v1/feedback", {"response_id": "杭州", "conclusion": "UNUSED"}, 422, "validation-failed", "/response_id"),
        ("/v1/feedback", {"response_id": "1", "conclusion": "LOST"}, 422, "validation-failed", "/conclusion"),
    ],
)  # fmt: skip
def test_a_body_is_refused_for_what_is_wrong_with_it(node, path, body, status, code, pointer):
    found, document, _ = post(node, path, body)
    assert (found, document["code"]) == (status, code)
    assert [e["pointer"] for e in document.get("errors", [])] == ([] if pointer is None else [pointer])


def test_a_batch_answers_each_item_in_its_place(node):
    addresses = [ADDRESS, 5, {"locality": "杭州市"}, {"x": 1}, " "]
    status, body, _ = post(node, "/v1/addresses:batchValidate", {"addresses": addresses})
    assert (status, [item["status"] for item in body["items"]]) == (200, [200, 422, 200, 422, 422])
    assert body["items"][3]["problem"]["errors"][0]["pointer"] == "/addresses/3/x"
    status, body, _ = post(node, "/v1/addresses:batchMatch", {"pairs": [{"a": "1", "b": "1"}, {"a": "1"}, []]})
    assert (status, [item["status"] for item in body["items"]]) == (200, [200, 422, 422])
    for path, name in (("/v1/addresses:batchValidate", "addresses"), ("/v1/addresses:batchMatch", "pairs")):
        assert post(node, path, {name: ["1"] * 101})[0] == 413


# ---------------------------------------------------------------- modes


def test_without_the_model_gazetteer_and_rules_answer_and_never_accept(fresh):
    fresh.engine.fails = lambda _: RuntimeError()
    status, body, _ = post(fresh, "/v1/address:validate", {"address": "浙江省杭州市钱塘区下沙街道幸福街1号"})
    assert (status, body["service"]["mode"]) == (200, "RULES_ONLY")
    assert body["result"]["address"]["adcode"] == "330114"
    assert body["result"]["verdict"]["possible_next_action"] in ("CONFIRM", "FIX")
    again = datetime.fromisoformat(body["service"]["revalidate_after"])
    assert timedelta(0) < again - datetime.now(UTC) <= timedelta(seconds=61)
    assert post(fresh, "/v1/address:parse", {"address": "幸福街2号"})[0] == 500
    assert post(fresh, "/v1/address:match", {"a": "幸福街2号", "b": "1"})[0] == 500
    assert fresh.node.metrics.parse_requests.values["rules-only",] == 1


@settings(deadline=None, max_examples=60)
@given(texts)
def test_no_answer_by_rules_alone_is_an_accept(failing, address):
    status, body, _ = post(failing, "/v1/address:validate", {"address": address})
    assert status in (200, 422)
    if status == 200 and body["service"]["mode"] != "FULL":
        assert body["result"]["verdict"]["possible_next_action"] != "ACCEPT"


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with in_process(tmp_path_factory.mktemp("release")) as node:
        node.engine.fails = lambda _: RuntimeError()
        yield node


def test_in_a_batch_each_weaker_answer_says_so(fresh):
    post(fresh, "/v1/address:validate", {"address": "幸福街1号"})
    fresh.engine.fails = lambda _: RuntimeError()
    _, body, _ = post(fresh, "/v1/addresses:batchValidate", {"addresses": ["幸福街1号", "幸福街2号"]})
    first, second = body["items"]
    assert ("mode" in first, second["mode"], "revalidate_after" in second) == (False, "RULES_ONLY", True)
    assert body["service"]["mode"] == "RULES_ONLY"


def test_a_new_rule_judges_what_is_remembered_and_what_was_corrected(tagging):
    def actions(text: str) -> list[str]:
        asked = (("/v1/address:validate", {"address": text}), ("/v1/addresses:batchValidate", {"addresses": [text]}))
        bodies = [post(tagging, *one)[1] for one in asked]
        return [(b.get("result") or b["items"][0]["result"])["verdict"]["possible_next_action"] for b in bodies]

    corrected = "杭州市钱塘区秘密路口1号"
    approve(tagging, corrected, components=(("city", 0, 3), ("district", 3, 6), ("road", 6, 10), ("roadno", 10, 12)))
    assert [actions(text) for text in (ADDRESS, corrected)] == [["CONFIRM"] * 2, ["ACCEPT"] * 2]
    tagging.node._judge_by(decision_rule({"severities": dict.fromkeys(SEVERITIES, "FIX")}))
    assert [actions(text) for text in (ADDRESS, corrected)] == [["FIX"] * 2, ["FIX"] * 2]
    tagging.node._judge_by(decision_rule({"severities": {"error": "FIX", "warning": "ACCEPT", "info": "ACCEPT"}}))
    assert actions(ADDRESS) == ["ACCEPT"] * 2
    del tagging.engine.predict  # what only looks for digits, and fails if told to
    tagging.engine.fails = lambda _: RuntimeError()
    assert actions("杭州江干区下沙街道幸福街2号") == ["CONFIRM"] * 2, "rules alone are never better"


def test_an_overloaded_node_refuses_rather_than_answering_by_rules(fresh):
    pipeline = fresh.node.pipeline()
    pipeline.tagger.batcher.max_wait_s = -1.0
    assert post(fresh, "/v1/address:validate", {"address": "幸福街7号"})[0] == 503


def test_an_answer_that_cannot_be_made_is_a_500_of_its_item_alone(fresh, monkeypatch):
    def broken(reading, components, **how):
        if "7" in reading.text:
            raise ValueError(reading.text)
        return real(reading, components, **how)

    from addrmesh.address import questions

    real = questions.validate
    monkeypatch.setattr(questions, "validate", broken)
    _, body, answer = post(fresh, "/v1/addresses:batchValidate", {"addresses": ["秘密路7号", "幸福街1号"]})
    assert [item["status"] for item in body["items"]] == [500, 200]
    assert "秘密路" not in answer.decode().partition('"index":1')[0]


# ---------------------------------------------------------------- corrections, feedback


def approve(node: InProcess, text: str, **what: object) -> None:
    canonical = normalize(text).text
    correction = Correction(datetime.now(UTC), "test", length=len(canonical), **what)
    node.node.corrections._known[digest(canonical)] = correction


def test_approved_components_win_over_the_model_wherever_the_text_is_asked_about(fresh):
    before = fresh.run(fresh.parse("秘密路口1号"))[1]
    approve(fresh, "秘密路口1号", components=(("road", 0, 4), ("roadno", 4, 6)))
    _, body = fresh.run(fresh.parse("秘密路口１号"))
    assert [(c["type"], c["input_text"], c["confidence"]) for c in body["result"]["components"]] == [
        ("road", "秘密路口", 1.0), ("roadno", "１号", 1.0),
    ]  # fmt: skip
    assert (before["service"]["corrected"], body["service"]["corrected"]) == (False, True)
    _, judged, _ = post(fresh, "/v1/address:validate", {"address": "秘密路口1号 13800001234"})
    assert ("road", "秘密路口") in [(c["type"], c["text"]) for c in judged["result"]["address"]["components"]]
    assert judged["service"]["corrected"] is True


def test_an_approved_result_is_answered_with_this_caller_s_receiver(fresh):
    _, body, _ = post(fresh, "/v1/address:validate", {"address": ADDRESS})
    wanted = anonymous(msgspec.convert(body["result"], Result))
    wanted = msgspec.structs.replace(
        wanted, verdict=msgspec.structs.replace(wanted.verdict, possible_next_action="ACCEPT"), issues=[]
    )
    approve(fresh, ADDRESS, result=wanted)
    fresh.engine.fails = lambda _: RuntimeError()  # nor does it need the model
    for path, asked in (
        ("/v1/address:validate", {"address": f"{ADDRESS} 13800001234"}),
        ("/v1/addresses:batchValidate", {"addresses": [f"{ADDRESS} 13800001234"]}),
    ):
        _, body, _ = post(fresh, path, asked)
        result = body.get("result") or body["items"][0]["result"]
        assert (body.get("items") or [body["service"]])[0]["corrected"] is True
        assert result["verdict"]["possible_next_action"] == "ACCEPT"
        assert result["receiver"]["phone"] == "13800001234"


def test_an_approved_result_is_romanised_for_who_asks(tagging):
    _, body, _ = post(tagging, "/v1/address:validate", {"address": ADDRESS})
    approve(tagging, ADDRESS, result=anonymous(msgspec.convert(body["result"], Result)))
    asked = {"address": ADDRESS, "options": {"romanize": True}}
    shown = post(tagging, "/v1/address:validate", asked)[1]
    assert shown["service"]["corrected"] is True
    assert shown["result"]["address"]["formatted_address_latin"].endswith("Hangzhou, Zhejiang, China")
    several = {"addresses": ["上海市静安区1号"], "options": asked["options"]}
    (item,) = post(tagging, "/v1/addresses:batchValidate", several)[1]["items"]
    assert "Jing'an District, Shanghai, China" in item["result"]["address"]["formatted_address_latin"]
    assert b"latin" not in post(tagging, "/v1/address:validate", {"address": ADDRESS})[2]


@pytest.mark.parametrize(
    "bad", [(("road", 0, 9),), (("road", 2, 1),), (("road", 0, 2), ("road", 1, 3)), (("x", 0, 1),)]
)
def test_a_correction_that_does_not_fit_its_text_is_none(bad):
    with pytest.raises(ValueError, match="component"):
        Correction(datetime.now(UTC), "test", components=bad, length=5)


def test_feedback_is_counted_once_and_a_proposal_waits_for_an_operator(fresh):
    fresh.node.store = store = MemoryStore()
    _, answered, _ = post(fresh, "/v1/address:validate", {"address": ADDRESS})
    correction = {"address": f"{ADDRESS} 13800001234", "result": answered["result"]}
    asked = {"response_id": answered["response_id"], "conclusion": "USER_VERSION_USED", "correction": correction}
    for _ in range(2):
        assert post(fresh, "/v1/feedback", asked)[:2] == (200, {"recorded": True})
    assert {name: fresh.run(store.total(FEEDBACK + name)) for name in CONCLUSIONS} == {
        "VALIDATED_USED": 0, "USER_VERSION_USED": 1, "UNVALIDATED_USED": 0, "UNUSED": 0,
    }  # fmt: skip
    (record,) = fresh.run(store.export())
    proposal = decode(record.value)
    assert (record.key, proposal.text) == (PROPOSED + digest(ADDRESS), ADDRESS)
    assert b"13800001234" not in record.value
    assert len(fresh.node.corrections) == 0


def test_a_key_makes_feedback_once_and_never_stands_for_another_body(fresh):
    fresh.node.store = store = MemoryStore()
    _, answered, _ = post(fresh, "/v1/address:validate", {"address": ADDRESS})
    asked = {
        "response_id": "a-1",
        "conclusion": "UNUSED",
        "correction": {"address": ADDRESS, "result": answered["result"]},
    }

    def send(body: dict, **headers: str) -> tuple[int, str | None]:
        status, _, answer = fresh.run(fresh.ask("/v1/feedback", json.dumps(body).encode(), **headers))
        return status, json.loads(answer).get("code")

    assert send(asked, idempotency_key="k") == (200, None)
    (proposal,) = fresh.run(store.export())
    fresh.run(store.delete(proposal.key))  # an operator has rejected it
    for body in (asked, dict(reversed(asked.items()))):  # the order of fields is no other body
        assert send(body, idempotency_key="k") == (200, None)
    assert fresh.run(store.get(proposal.key)) is None
    assert send({**asked, "conclusion": "VALIDATED_USED"}, idempotency_key="k") == (409, "idempotency-conflict")
    assert send({**asked, "response_id": "a-2"}, idempotency_key="k") == (409, "idempotency-conflict")
    other = {"idempotency_key": "k", "authorization": "Bearer another"}
    assert send({**asked, "response_id": "a-2"}, **other) == (200, None), "each caller has keys of its own"
    for bad in ("", "k" * 256, "a b"):
        assert send(asked, idempotency_key=bad) == (400, "invalid-header")
    assert [fresh.run(store.total(FEEDBACK + name)) for name in CONCLUSIONS] == [0, 0, 0, 2]
    kept = "".join(store._counters)
    assert "Bearer" not in kept
    assert ADDRESS not in kept


def test_a_key_is_forgotten_after_a_day(fresh):
    now = [1_800_000_000_000]
    fresh.node.store = MemoryStore(wall_ms=lambda: now[0])
    body = json.dumps({"response_id": "a-1", "conclusion": "UNUSED"}).encode()
    other = json.dumps({"response_id": "a-2", "conclusion": "UNUSED"}).encode()
    ask = [fresh.run(fresh.ask("/v1/feedback", one, idempotency_key="k"))[0] for one in (body, other)]
    now[0] += 86_400_001
    assert [*ask, fresh.run(fresh.ask("/v1/feedback", other, idempotency_key="k"))[0]] == [200, 409, 200]


def test_feedback_on_any_answer_of_a_chain_counts_once(fresh):
    fresh.node.store = store = MemoryStore()
    ids = ["", "", ""]
    for i in range(3):
        asked = {"address": f"幸福街{i}号"} | ({"previous_response_id": ids[i - 1]} if i else {})
        ids[i] = post(fresh, "/v1/address:validate", asked)[1]["response_id"]
    google = {"address": {"addressLines": ["幸福街4号"]}, "previousResponseId": ids[2]}
    ids.append(post(fresh, "/v1:validateAddress", google)[1]["responseId"])
    assert len({*ids}) == 4
    assert {id_.partition(".")[0] for id_ in ids} == {ids[0]}
    for id_, conclusion in zip(ids[::-1], ("UNUSED", *CONCLUSIONS), strict=False):
        assert post(fresh, "/v1/feedback", {"response_id": id_, "conclusion": conclusion})[0] == 200
    assert sum(fresh.run(store.total(FEEDBACK + name)) for name in CONCLUSIONS) == 1
    assert fresh.run(store.total(FEEDBACK + "UNUSED")) == 1


@given(st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True))
def test_an_id_that_follows_any_other_can_be_used_for_feedback(previous):
    id_ = chained("0123456789ab-fffffffff", previous)
    msgspec.convert({"response_id": id_, "conclusion": "UNUSED"}, wire.FeedbackRequest)
    assert chained("b", id_) == chained("b", previous)


def test_a_previous_id_that_is_none_is_refused(node):
    status, body, _ = post(node, "/v1/address:validate", {"address": "1", "previous_response_id": "杭州"})
    assert (status, body["errors"][0]["pointer"]) == (422, "/previous_response_id")


def test_a_node_without_a_store_says_that_it_cannot_keep_feedback(node):
    status, body, _ = post(node, "/v1/feedback", {"response_id": "1", "conclusion": "UNUSED"})
    assert (status, body["code"]) == (503, "store-unavailable")
    assert "store.primary" in body["detail"]


def test_meta_lists_every_issue_in_both_languages_and_the_gazetteer(node):
    body = json.loads(node.run(node.ask("/v1/meta"))[2])
    assert body["versions"]["gazetteer"] == version()
    codes = {issue["code"]: issue for issue in body["issues"]}
    assert codes["ADMIN_OUTDATED"]["zh"] and codes["ADMIN_OUTDATED"]["en"]  # noqa: PT018
    assert {"NOT_AN_ADDRESS", "MULTIPLE_ADDRESSES", "ADMIN_AMBIGUOUS"} <= set(codes)


# ---------------------------------------------------------------- Google's words


def test_the_shim_says_what_the_judgement_says(tagging):
    _, ours, _ = post(tagging, "/v1/address:validate", {"address": ADDRESS})
    asked = {"address": {"regionCode": "CN", "addressLines": [ADDRESS], "recipients": ["x"]}, "enableUspsCass": False}
    _, theirs, _ = post(tagging, "/v1:validateAddress", asked)
    assert theirs["result"]["address"]["formattedAddress"] == ours["result"]["address"]["formatted_address"]
    found = theirs["result"]["verdict"]["possibleNextAction"]
    assert found == ours["result"]["verdict"]["possible_next_action"]
    replaced = [c for c in theirs["result"]["address"]["addressComponents"] if c["replaced"]]
    assert [c["componentName"]["text"] for c in replaced] == ["钱塘区"]


def test_every_type_and_granularity_has_a_word_of_google_s():
    from typing import get_args

    from addrmesh.address.types import COMPONENT_TYPES
    from addrmesh.address.verdict import Granularity

    assert set(google.TYPES) == set(COMPONENT_TYPES)
    assert set(google._GRANULARITY) == set(get_args(Granularity))
