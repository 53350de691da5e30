"""Validation, matching and corrections over real sockets and a real store."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from addrmesh.inference.engine import load_engine
from addrmesh.inference.release import BUILTIN, open_release
from addrmesh.node.corrections import PREFIX, Correction, digest, encode
from addrmesh.settings import Keys, Server, Store
from addrmesh.store.redis import RedisStore
from support.engines import DigitsEngine, release
from support.live import LiveNode
from support.region import Region
from support.waiting import within

NDJSON = {"Content-Type": "application/x-ndjson"}
TEXTS = [
    "杭州江干区下沙街道幸福街1号 13800001234",
    "朝阳区建国路88号",
    "abc",
    "１２号",
    "½号",
    "北京市海淀区中关村大街27号1101室",
]


def result_of(body: bytes) -> bytes:
    """The bytes of the first result."""
    found = body.partition(b'"result":')[2]
    depth = 0
    for at, char in enumerate(found):
        depth += (char == ord("{")) - (char == ord("}"))
        if not depth:
            return found[: at + 1]
    raise AssertionError("no result")


def test_a_judgement_is_the_same_bytes_alone_in_a_batch_and_in_bulk(client):
    lines = b"".join(json.dumps({"address": text}).encode() + b"\n" for text in TEXTS)
    bulk = client.post("/v1/addresses:bulkValidate", content=lines, headers=NDJSON).content.splitlines()
    batch = client.post("/v1/addresses:batchValidate", json={"addresses": TEXTS}).content
    for text, line in zip(TEXTS, bulk, strict=False):
        alone = result_of(client.post("/v1/address:validate", json={"address": text}).content)
        assert result_of(line) == alone
        assert alone in batch
    assert json.loads(bulk[-1])["summary"] == {"lines": 6, "ok": 6, "failed": 0, "next_line": 7}


def test_a_bulk_line_has_the_options_of_its_own_and_its_own_problems(client):
    lines = [
        {"id": 1, "address": {"locality": "杭州市", "address_lines": ["1号"]}, "language_code": "en"},
        {"id": 2, "address": 7},
        {"id": 3, "address": " "},
        {"id": 4, "address": "1号", "tagset": "mgeo"},
    ]
    content = "\n".join(map(json.dumps, lines))
    reply = client.post("/v1/addresses:bulkValidate?ordered=false", content=content, headers=NDJSON)
    *answers, summary = map(json.loads, reply.text.splitlines())
    assert [(a["line"], a["status"]) for a in answers] == [(1, 200), (2, 422), (3, 422), (4, 422)]
    assert summary["summary"]["failed"] == 3


def test_a_weaker_line_of_a_stream_says_so(node, client):
    node.engine.fails = lambda text: RuntimeError() if "8" in text else None
    content = '{"id":1,"address":"幸福街1号"}\n{"id":2,"address":"幸福街8号"}\n'.encode()
    reply = client.post("/v1/addresses:bulkValidate", content=content, headers=NDJSON)
    first, second, _ = map(json.loads, reply.text.splitlines())
    assert ("mode" in first, second["mode"], second["status"]) == (False, "RULES_ONLY", 200)
    assert second["result"]["verdict"]["possible_next_action"] != "ACCEPT"


def test_divisions_are_listed_and_described(client):
    provinces = client.get("/v1/divisions").json()["divisions"]
    assert {"110000", "330000"} <= {division["code"] for division in provinces}
    assert "330114" in {d["code"] for d in client.get("/v1/divisions?parent=330100").json()["divisions"]}
    old = {d["code"] for d in client.get("/v1/divisions?parent=330100&at=2020-01-01").json()["divisions"]}
    assert ("330104" in old, "330114" in old) == (True, False)
    assert client.get("/v1/divisions/330104").json()["division"]["name"] == "江干区"
    for path in ("/v1/divisions/999999", "/v1/divisions/330104?at=1950-01-01", "/v1/divisions?parent=999999"):
        reply = client.get(path)
        assert (reply.status_code, reply.json()["code"]) == (404, "unknown-division")
    for path in ("/v1/divisions?at=yesterday", "/v1/divisions/330104?at=2020-02-30"):
        reply = client.get(path)
        assert (reply.status_code, reply.json()["code"]) == (400, "invalid-parameter")
    refused = client.post("/v1/divisions/330104")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


# ---------------------------------------------------------------- with the model that comes with the package


def test_the_built_in_model_judges_and_compares(start_node):
    node = start_node(load_engine(open_release(BUILTIN)))
    with httpx.Client(base_url=node.url, timeout=15) as client:
        judged = client.post("/v1/address:validate", json={"address": TEXTS[0]}).json()["result"]
        assert judged["address"]["formatted_address"] == "浙江省杭州市钱塘区下沙街道幸福街1号"
        assert (judged["address"]["adcode"], judged["receiver"]["phone"]) == ("330114", "13800001234")
        pair = {"a": "文一西路969号3号楼", "b": "余杭区文一西路969号5幢"}
        compared = client.post("/v1/address:match", json=pair).json()["result"]
        assert (compared["label"] != "exact_match", "BUILDING_DIFFERS" in compared["guards"]) == (True, True)
        short = client.post("/v1/address:match", json={**pair, "options": {"explain": False}}).json()["result"]
        assert ("differences" in compared, "differences" in short) == (True, False)


# ---------------------------------------------------------------- corrections


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    region = Region(tmp_path)
    yield region
    region.server.kill()


def test_a_correction_wins_within_a_second_until_it_is_taken_back_and_survives_the_store(start_node, region, tmp_path):
    kept = Store(primary=region.url, last_known_good=tmp_path / "known")
    text = "秘密路口1号"
    approved = Correction(datetime.now(UTC), "op", components=(("road", 0, 4), ("roadno", 4, 6)), length=6)
    nodes = [
        start_node(DigitsEngine(release(tmp_path)), store=kept, server=Server(port=0, name=f"n{i}")) for i in (1, 2)
    ]

    def types(node: LiveNode) -> list[str]:
        reply = httpx.post(f"{node.url}/v1/address:parse", json={"address": text}).json()
        return [c["type"] for c in reply["result"]["components"]]

    before = [types(node) for node in nodes]
    assert ["road", "roadno"] not in before
    region.write(lambda store: store.put(PREFIX + digest(text), encode(approved)))
    assert within(1.0, lambda: all(types(node) == ["road", "roadno"] for node in nodes))
    assert within(5.0, (tmp_path / "known/corrections.json").exists)
    assert text not in (tmp_path / "known/corrections.json").read_text()

    region.server.kill()
    alone = start_node(DigitsEngine(release(tmp_path)), store=kept)
    assert types(alone) == ["road", "roadno"], "from its disk, without any store"

    region.server.start()
    taken_back = Correction(datetime.now(UTC), "op")
    region.write(lambda store: store.put(PREFIX + digest(text), encode(taken_back)))
    assert within(10.0, lambda: [types(node) for node in (*nodes, alone)] == [before[0]] * 3)


def test_a_value_that_is_no_correction_changes_nothing(start_node, region, tmp_path):
    node = start_node(store=Store(primary=region.url))
    region.write(lambda store: store.put(PREFIX + digest("路1"), b"{}"))
    good = Correction(datetime.now(UTC), "op", components=(("road", 0, 1),), length=2)
    region.write(lambda store: store.put(PREFIX + digest("路2"), encode(good)))
    corrections = node.app.node.corrections
    assert within(2.0, lambda: corrections.of("路2") is not None)
    assert corrections.of("路1") is None


def test_each_operation_needs_its_scope(start_node, region):
    from addrmesh.node import access

    async def keys(store: RedisStore) -> dict[str, str]:
        made = {}
        for scope in ("parse", "validate", "match", "divisions", "feedback"):
            key_id, key, hashed = access.new_secret()
            value = access.ApiKey(hashed, scope, (scope,), 1000.0, datetime.now(UTC), "test")
            await store.put(access.PREFIX + key_id, access.encode(value))
            made[scope] = key
        return made

    made = region.write(keys)
    node = start_node(store=Store(primary=region.url), keys=Keys(required=True))
    asked = [
        ("validate", "POST", "/v1/address:validate", {"address": "1"}),
        ("validate", "POST", "/v1/addresses:batchValidate", {"addresses": ["1"]}),
        ("validate", "POST", "/v1/addresses:bulkValidate", None),
        ("validate", "POST", "/v1:validateAddress", {"address": {"addressLines": ["1"]}}),
        ("match", "POST", "/v1/address:match", {"a": "1", "b": "1"}),
        ("match", "POST", "/v1/addresses:batchMatch", {"pairs": []}),
        ("divisions", "GET", "/v1/divisions", None),
        ("divisions", "GET", "/v1/divisions/330100", None),
        ("feedback", "POST", "/v1/feedback", {"response_id": "1", "conclusion": "UNUSED"}),
    ]
    with httpx.Client(base_url=node.url, timeout=15) as client:

        def status(method: str, path: str, body: object, key: str | None) -> int:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            if body is None and method == "POST":
                return client.post(path, content=b"", headers=headers | NDJSON).status_code
            return client.request(method, path, json=body, headers=headers).status_code

        first = ("GET", "/v1/divisions", None)
        assert within(5.0, lambda: status(*first, made["divisions"]) == 200)
        for scope, *call in asked:
            wrong = made["parse" if scope != "parse" else "match"]
            assert [status(*call, key) for key in (None, wrong, made[scope])] == [401, 403, 200], call
        google = {"X-Goog-Api-Key": made["validate"]}
        reply = client.post("/v1:validateAddress", json={"address": {"addressLines": ["1"]}}, headers=google)
        assert reply.status_code == 200
