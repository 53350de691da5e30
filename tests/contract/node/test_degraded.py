"""When a node's own model fails, hangs or is too slow, what is built in answers and says so, until the own is back."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from addrmesh.address.questions import builtin_scorer
from addrmesh.client import Client
from addrmesh.inference.engine import load_engine
from addrmesh.inference.release import BUILTIN, open_release
from addrmesh.node import circuit
from addrmesh.settings import Match, Release
from addrmesh.topology.documents import Limits
from support.engines import PROBE, DigitsEngine, PairEngine, pair_release, release
from support.live import LiveNode
from support.waiting import within

BUILTIN_ID = open_release(BUILTIN).id
OWN_ID, ALIGN_ID = "digits@0123456789ab", "align@0123456789ab"
ADDRESS = "浙江省杭州市钱塘区下沙街道幸福街1号3幢502室"
ROAD = "秘密路"
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
def node(start_node: Callable[..., LiveNode], tmp_path: Path) -> LiveNode:
    """Its own model is no built-in one, so it has the built-in one beside it."""
    return start_node(DigitsEngine(release(tmp_path)), release=Release(path=tmp_path))


@pytest.fixture
def failing(node: LiveNode) -> Iterator[LiveNode]:
    node.engine.fails = RuntimeError  # its message is the address
    yield node
    node.engine.fails = lambda _: None


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit, "SILENT_S", 0.6)
    monkeypatch.setattr(circuit, "FIRST_PAUSE_S", 0.05)


def parse(client: httpx.Client, text: str, **headers: str) -> dict[str, Any]:
    reply = client.post("/v1/address:parse", json={"address": text}, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()


def degraded(client: httpx.Client) -> str | None:
    health = client.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "healthy")
    return health.json()["degraded"]


def metric(client: httpx.Client, series: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} ")), 0.0)


def test_an_engine_that_fails_costs_no_request_and_every_answer_says_so(failing, client, capfd):
    bodies = [
        ("/v1/address:parse", lambda n: {"address": f"{ROAD}{n}号"}),
        ("/v1/address:validate", lambda n: {"address": f"{ADDRESS}{n}"}),
        ("/v1/address:match", lambda n: {"a": f"{ROAD}{n}号", "b": f"{ROAD}{n + 1}号"}),
    ]
    for number in range(100, 112, 2):
        for path, body in bodies:
            reply = client.post(path, json=body(number))
            assert reply.status_code == 200, reply.text
            service = reply.json()["service"]
            assert (service["mode"], service["release"], service["cached"]) == ("BUILTIN_MODEL", BUILTIN_ID, False)
            assert "revalidate_after" in service
            if path.endswith("validate"):
                assert reply.json()["result"]["verdict"]["possible_next_action"] == "CONFIRM"
    batch = client.post("/v1/addresses:batchValidate", json={"addresses": [f"{ADDRESS}{n}" for n in range(40)] + [" "]})
    *items, blank = batch.json()["items"]
    assert {item["mode"] for item in items} == {"BUILTIN_MODEL"} == {batch.json()["service"]["mode"]}
    assert {item["result"]["verdict"]["possible_next_action"] for item in items} == {"CONFIRM"}
    assert blank["problem"]["code"] == "invalid-text"
    lines = "".join(json.dumps({"id": n, "address": f"{ROAD}{n}"}) + "\n" for n in range(100))
    *answers, summary = client.post("/v1/addresses:bulkParse", content=lines, headers=NDJSON).text.splitlines()
    assert {json.loads(answer)["mode"] for answer in answers} == {"BUILTIN_MODEL"}
    assert json.loads(summary)["summary"]["ok"] == 100
    google = client.post("/v1:validateAddress", json={"address": {"addressLines": [ADDRESS]}}).json()
    assert google["result"]["verdict"]["possibleNextAction"] == "CONFIRM"

    assert degraded(client) == "it failed 3 times in a row"
    assert client.get("/readyz", params={"release": OWN_ID}).status_code == 200
    assert metric(client, 'parse_requests_total{outcome="builtin-model"}') == 6 * 3 + 40 + 100 + 1
    assert metric(client, "node_degraded") == 1
    shown = capfd.readouterr().err
    assert [json.loads(line)["event"] for line in shown.splitlines()].count("engine.left") == 1
    assert ROAD not in shown
    assert ADDRESS not in shown


def test_an_engine_that_failed_comes_back_by_itself(failing, client, capfd):
    text = f"{ROAD}1号"
    for _ in range(4):
        assert parse(client, text)["service"]["mode"] == "BUILTIN_MODEL"
    assert within(10, lambda: metric(client, 'engine_restarts_total{engine="tagger"}') >= 2), "it goes on trying"
    assert degraded(client)
    failing.engine.fails = lambda _: None
    assert within(15, lambda: degraded(client) is None)
    service = parse(client, text)["service"]
    assert (service["mode"], service["release"], service["cached"]) == ("FULL", OWN_ID, False), "nothing was kept"
    assert "revalidate_after" not in service
    assert metric(client, "node_degraded") == 0
    events = [json.loads(line)["event"] for line in capfd.readouterr().err.splitlines()]
    assert events[events.index("engine.left") :][:1] + events[-1:] == ["engine.left", "engine.back"]
    assert "engine.still_away" in events


def test_what_the_own_model_answered_before_it_failed_is_still_its_answer(node, client):
    before = parse(client, f"{ROAD}5号")
    node.engine.fails = lambda _: RuntimeError()
    for number in range(4):
        parse(client, f"{ROAD}{number}巷")
    assert degraded(client)
    after = parse(client, f"{ROAD}5号")
    assert (after["result"], after["service"]["mode"], after["service"]["cached"]) == (before["result"], "FULL", True)
    pair = client.post("/v1/address:match", json={"a": f"{ROAD}5号", "b": f"{ROAD}6号"}).json()
    assert pair["service"]["mode"] == "BUILTIN_MODEL"


def test_one_bad_text_is_answered_by_the_built_in_model_and_the_engine_is_kept(node, client):
    node.engine.fails = lambda text: RuntimeError() if "8" in text else None
    modes = [parse(client, f"{ROAD}{number}")["service"]["mode"] for number in (81, 1, 82, 2, 83, 3, 84, 4)]
    assert modes == ["BUILTIN_MODEL", "FULL"] * 4
    batch = client.post("/v1/addresses:batchParse", json={"addresses": [f"{ROAD}5", f"{ROAD}85"]}).json()
    assert [item.get("mode") for item in batch["items"]] == [None, "BUILTIN_MODEL"]
    assert batch["service"]["mode"] == "BUILTIN_MODEL"
    assert degraded(client) is None


def test_an_engine_that_hangs_costs_no_deadline_and_is_asked_again_when_it_answers(hasty, node, client):
    node.engine.gate.clear()
    bulk: list[httpx.Response] = []
    lines = "".join(json.dumps({"address": f"{ROAD}{n}巷"}) + "\n" for n in range(200))
    reader = threading.Thread(
        target=lambda: bulk.append(
            httpx.post(f"{node.url}/v1/addresses:bulkParse", content=lines, headers=NDJSON, timeout=15)
        )
    )
    node.engine.entered.clear()
    reader.start()  # without a deadline
    assert node.engine.entered.wait(15), "it hangs in a run of bulk work"
    took = []
    for number in range(8):
        started = time.monotonic()
        reply = parse(client, f"{ROAD}{number}号", **{"X-Deadline-Ms": "400"})
        took.append(time.monotonic() - started)
        assert reply["service"]["mode"] == "BUILTIN_MODEL"
    assert max(took) < 0.5, "in time, from the first on; the test itself takes some of it"
    assert max(took[-4:]) < 0.2, "nobody waits for an engine that was left"
    assert degraded(client) == "it has not answered for 0.6 s"
    reader.join(15)
    assert [json.loads(line).get("mode") for line in bulk[0].text.splitlines()[:-1]] == ["BUILTIN_MODEL"] * 200
    node.engine.gate.set()
    assert within(10, lambda: degraded(client) is None)
    assert parse(client, f"{ROAD}9号")["service"]["mode"] == "FULL"


def test_what_a_full_engine_cannot_take_in_time_goes_to_the_built_in_model(node, client):
    def slow(_: str) -> None:
        threading.Event().wait(0.02)

    node.engine.fails = slow
    node.app.node.pipeline().tagger.batcher.max_wait_s = 0.02  # as long as one address takes
    assert parse(client, f"{ROAD}1巷")["service"]["mode"] == "FULL"  # now the node knows how slow it is

    async def together() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=node.url, timeout=15) as client:
            asked = (client.post("/v1/address:parse", json={"address": f"{ROAD}{n}号"}) for n in range(60))
            return await asyncio.gather(*asked)

    replies = asyncio.run(together())
    assert {reply.status_code for reply in replies} == {200}
    assert {reply.json()["service"]["mode"] for reply in replies} == {"FULL", "BUILTIN_MODEL"}
    assert degraded(client) is None, "it is full, not broken"


def test_when_both_models_fail_gazetteer_and_rules_answer(failing, client):
    def broken(_: object) -> Any:
        raise RuntimeError

    failing.app.node.pipeline().builtin.engine.predict = broken
    reply = client.post("/v1/address:validate", json={"address": ADDRESS}).json()
    assert (reply["service"]["mode"], reply["service"]["release"]) == ("RULES_ONLY", OWN_ID)
    assert reply["result"]["verdict"]["possible_next_action"] == "CONFIRM"
    refused = client.post("/v1/address:parse", json={"address": ADDRESS})
    assert (refused.status_code, refused.json()["code"]) == (500, "engine-failed")


def test_the_client_sees_a_weaker_answer_that_the_customer_should_look_at(failing):
    with Client([failing.url], deadline_s=5) as client:
        reply = client.validate(ADDRESS)
    assert (reply.service.mode, reply.service.release, reply.result.needs_user) == ("BUILTIN_MODEL", BUILTIN_ID, True)
    assert reply.service.revalidate_after


def test_a_release_that_changed_on_disk_is_not_served_under_the_old_name(hasty, failing, client, tmp_path, capfd):
    other = tmp_path / "other"
    other.mkdir()
    failing.engine.release = release(other, "other")
    for number in range(4):
        parse(client, f"{ROAD}{number}号")
    failing.engine.fails = lambda _: None
    assert within(10, lambda: metric(client, 'engine_restarts_total{engine="tagger"}') >= 2)
    assert degraded(client)
    assert "release.path now holds other@0123456789ab; restart the node to serve it" in capfd.readouterr().err
    failing.engine.release = release(tmp_path)
    assert within(10, lambda: degraded(client) is None)


@pytest.mark.parametrize("path", [None, BUILTIN])
def test_a_node_of_the_built_in_model_has_nothing_below_it(start_node, path):
    node = start_node(load_engine(open_release(BUILTIN)), release=Release(path=path))
    assert (node.app.node.release.id, node.app.node.pipeline().builtin) == (BUILTIN_ID, None)


def match(client: httpx.Client, **headers: str) -> tuple[str, str]:
    reply = client.post("/v1/address:match", json={"a": f"{ROAD}1号", "b": f"{ROAD}1号楼"}, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()["service"]["mode"], reply.json()["result"]["scorer"]


def reloads(client: httpx.Client) -> float:
    return metric(client, 'engine_restarts_total{engine="scorer"}')


@pytest.fixture
def scoring(start_node: Callable[..., LiveNode], tmp_path: Path) -> Iterator[LiveNode]:
    """Both its models have something built in below them; every call finds the scorer well."""
    align = tmp_path / "align"
    align.mkdir()
    node = start_node(
        DigitsEngine(release(tmp_path)), scorer=PairEngine(pair_release(align)), release=Release(path=tmp_path)
    )
    with httpx.Client(base_url=node.url, timeout=15) as client:
        assert match(client) == ("FULL", ALIGN_ID)
    yield node
    node.scorer.fails = node.engine.fails = lambda _: None


def test_a_match_release_that_fails_costs_no_request_and_comes_back_by_itself(hasty, scoring, capfd):
    scoring.scorer.fails = RuntimeError  # its message is the pair
    with httpx.Client(base_url=scoring.url, timeout=15) as client:
        assert [match(client) for _ in range(3)] == [("BUILTIN_MODEL", builtin_scorer())] * 3
        assert degraded(client) == "match release: it failed 3 times in a row"
        assert metric(client, "node_degraded") == 1
        assert within(10, lambda: reloads(client) >= 2), "it goes on trying"
        assert match(client) == ("BUILTIN_MODEL", builtin_scorer())
        assert metric(client, 'match_fallbacks_total{reason="engine-failed"}') == 4
        assert parse(client, f"{ROAD}2号")["service"]["mode"] == "FULL"
        assert client.get("/readyz").status_code == 200
        scoring.scorer.fails = lambda _: None
        assert within(15, lambda: degraded(client) is None)
        assert match(client) == ("FULL", ALIGN_ID)
        assert (metric(client, "node_degraded"), metric(client, 'engine_restarts_total{engine="tagger"}')) == (0, 0)
    shown = capfd.readouterr().err
    events = [json.loads(line) for line in shown.splitlines()]
    assert [e["event"] for e in events if e.get("engine") == "scorer" and e["event"] != "engine.still_away"] == [
        "engine.failed", "engine.failed", "engine.failed", "engine.left", "engine.back",
    ]  # fmt: skip
    assert ROAD not in shown
    assert PROBE not in shown


def test_a_match_release_that_hangs_costs_no_deadline_and_is_left(hasty, scoring):
    scoring.scorer.gate.clear()
    took = []
    with httpx.Client(base_url=scoring.url, timeout=15) as client:
        for _ in range(8):
            started = time.monotonic()
            assert match(client, **{"X-Deadline-Ms": "400"}) == ("BUILTIN_MODEL", builtin_scorer())
            took.append(time.monotonic() - started)
        assert max(took) < 0.5, "in time, from the first on; the test itself takes some of it"
        assert max(took[-4:]) < 0.2, "nobody waits for a scorer that was left"
        assert degraded(client) == "match release: it has not answered for 0.6 s"
        scoring.scorer.gate.set()
        assert within(10, lambda: degraded(client) is None)
        assert match(client) == ("FULL", ALIGN_ID)


def test_a_match_release_that_changed_on_disk_is_not_served_under_the_old_name(hasty, scoring, tmp_path, capfd):
    other = tmp_path / "other"
    other.mkdir()
    scoring.scorer.fails = lambda _: RuntimeError()
    with httpx.Client(base_url=scoring.url, timeout=15) as client:
        for _ in range(3):
            match(client)
        own, scoring.scorer.release = scoring.scorer.release, pair_release(other, "other")
        scoring.scorer.fails = lambda _: None
        found = "match.release now holds other@0123456789ab; restart the node to serve it"
        shown: list[str] = []
        assert within(10, lambda: found in (shown.append(capfd.readouterr().err) or "".join(shown)))
        assert degraded(client)
        assert match(client)[0] == "BUILTIN_MODEL"
        scoring.scorer.release = own
        assert within(10, lambda: degraded(client) is None)


def test_both_may_be_away_at_once(hasty, scoring):
    scoring.scorer.fails = scoring.engine.fails = lambda _: RuntimeError()
    with httpx.Client(base_url=scoring.url, timeout=15) as client:
        for number in range(3):
            assert match(client) == ("BUILTIN_MODEL", builtin_scorer())
            assert parse(client, f"{ROAD}{number}巷")["service"]["mode"] == "BUILTIN_MODEL"
        assert degraded(client) == "it failed 3 times in a row; match release: it failed 3 times in a row"
        scoring.scorer.fails = scoring.engine.fails = lambda _: None
        assert within(15, lambda: degraded(client) is None)
        assert match(client) == ("FULL", ALIGN_ID)


def test_limits_that_change_while_a_model_is_loaded_again_are_its_limits(hasty, scoring):
    scoring.scorer.fails = lambda _: RuntimeError()
    with httpx.Client(base_url=scoring.url, timeout=15) as client:
        for _ in range(3):
            match(client)
        scoring.scorer.gate.clear()
        scoring.scorer.fails = lambda _: None
        scoring.scorer.entered.clear()
        assert scoring.scorer.entered.wait(15), "it is asked its probe set"
        scoring.loop_call(lambda: scoring.app.node._limit(Limits(max_wait_ms=45)))
        scoring.scorer.gate.set()
        assert within(15, lambda: degraded(client) is None)
    pipeline = scoring.app.node.pipeline()
    assert [one.batcher.max_wait_s for one in (pipeline.tagger, pipeline.scorer)] == [0.045] * 2


def test_mgeo_engines_that_broke_are_loaded_again(start_node, tmp_path, hasty, capfd):
    pytest.importorskip("torch", reason="checkpoints are written and read with torch")
    pytest.importorskip("onnx", reason="releases are built with onnx")
    from addrmesh.inference.build import build_release
    from support.mgeo import write_checkpoint

    own = build_release(write_checkpoint(tmp_path / "checkpoint"), tmp_path / "mgeo")
    align = build_release(write_checkpoint(tmp_path / "pairs", "sentence-similarity"), tmp_path / "align")
    named = {"release": Release(path=own.path), "match": Match(release=align.path)}
    node = LiveNode(None, start_node().app.node.settings.model_copy(update=named), "auto")
    node.start()
    try:
        with httpx.Client(base_url=node.url, timeout=15) as client:
            before = parse(client, f"{ADDRESS}0")
            assert (before["service"]["mode"], before["service"]["release"]) == ("FULL", own.id)
            node.loop_call(node.app.node.pipeline().tagger.batcher.engine.close)  # its session is gone
            modes = [parse(client, f"{ADDRESS}{number}")["service"]["mode"] for number in (1, 2, 3)]
            assert modes == ["BUILTIN_MODEL"] * 3
            assert within(15, lambda: degraded(client) is None)
            again = parse(client, f"{ADDRESS}1")["service"]
            assert (again["mode"], again["release"], again["cached"]) == ("FULL", own.id, False)
            assert metric(client, 'engine_restarts_total{engine="tagger"}') == 1
            assert match(client) == ("FULL", align.id)
            node.loop_call(node.app.node.pipeline().scorer.batcher.engine.close)
            assert [match(client) for _ in range(3)] == [("BUILTIN_MODEL", builtin_scorer())] * 3
            assert within(15, lambda: degraded(client) is None)
            assert (match(client), reloads(client)) == (("FULL", align.id), 1)
    finally:
        node.stop()
    events = [json.loads(line)["event"] for line in capfd.readouterr().err.splitlines()]
    assert {"engine.left", "engine.not_closed", "engine.back"} <= set(events)
