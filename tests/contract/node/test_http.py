"""What a caller sees over a real socket: routes, methods, headers."""

import threading

import httpx
import pytest

from support.engines import DigitsEngine, release


def test_one_address_is_answered_with_its_components(client):
    reply = client.post("/v1/address:parse", json={"address": "文三路１２号\u200b34"})
    assert reply.status_code == 200, reply.text
    body = reply.json()
    assert [(c["text"], c["input_text"], c["span"]) for c in body["result"]["components"]] == [
        ("12", "１２", [3, 5]),
        ("34", "34", [7, 9]),
    ]
    assert body["service"]["release"] == reply.headers["x-release"] == "digits@0123456789ab"
    assert (reply.headers["x-region"], reply.headers["x-node"]) == ("local", "node-1")
    assert body["service"]["cached"] is False
    assert client.post("/v1/address:parse", json={"address": "文三路12号34"}).json()["service"]["cached"] is True


def test_a_healthy_node_says_so(client):
    health = client.get("/health").json()
    assert (health["status"], health["state"], health["model_version"]) == ("healthy", "ready", "digits@0123456789ab")
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/readyz").status_code == 200
    assert client.get("/readyz", params={"release": "digits@0123456789ab"}).status_code == 200


def test_a_node_is_not_ready_for_another_release(client):
    reply = client.get("/readyz", params={"release": "digits@ffffffffffff"})
    assert (reply.status_code, reply.json()["code"]) == (503, "wrong-release")
    assert "digits@ffffffffffff" not in reply.text


def test_meta_lists_versions_limits_types_and_problems(client):
    meta = client.get("/v1/meta").json()
    assert meta["versions"]["release"] == "digits@0123456789ab"
    assert meta["limits"]["batch_items"] == 100
    assert {"type": "prov", "zh": "省级行政区", "en": "province"} in meta["component_types"]
    assert "overloaded" in {problem["code"] for problem in meta["problems"]}


def test_metrics_count_what_happened(client):
    for address in ("1", "1", " "):
        client.post("/v1/address:parse", json={"address": address})
    text = client.get("/metrics").text
    for line in (
        'parse_requests_total{outcome="ok"} 2.0',
        'parse_requests_total{outcome="invalid-text"} 1.0',
        "cache_hits_total 1.0",
        'http_requests_total{route="/v1/address:parse",status="200"} 2.0',
        'release_info{release="digits@0123456789ab"} 1.0',
        "node_ready 1.0",
    ):
        assert line in text.splitlines()


def test_the_documentation_needs_no_other_host(client):
    page = client.get("/", follow_redirects=True)
    assert (page.status_code, page.url.path) == (200, "/docs")
    assert "https://" not in page.text
    assert "<code>POST /v1/address:parse</code>" in page.text
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert client.get(f"/docs/{asset}").status_code == 200
    assert client.get("/openapi.json").json()["openapi"].startswith("3.1")


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/v1/address:parse", 405, "OPTIONS, POST"),
        ("DELETE", "/v1/address:parse", 405, "OPTIONS, POST"),
        ("POST", "/livez", 405, "GET, HEAD, OPTIONS"),
        ("GET", "/v1/addresses:bulkParse", 405, "OPTIONS, POST"),
        ("OPTIONS", "/v1/address:parse", 204, "OPTIONS, POST"),
        ("OPTIONS", "/health", 204, "GET, HEAD, OPTIONS"),
        ("GET", "/nothing", 404, None),
        ("OPTIONS", "/nothing", 404, None),
        ("POST", "/v1/address:parse/", 404, None),
        ("GET", "/docs/nothing", 404, None),
    ],
)
def test_a_wrong_path_or_method_is_a_problem_that_says_what_is_right(client, method, path, status, allow):
    reply = client.request(method, path)
    assert (reply.status_code, reply.headers.get("allow")) == (status, allow)
    if status != 204:
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["request_id"] == reply.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/livez", "/health", "/v1/meta", "/docs"])
def test_head_is_get_without_a_body(client, path):
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


def test_the_caller_may_name_the_request(client):
    assert client.get("/livez", headers={"X-Request-Id": "order-7"}).headers["x-request-id"] == "order-7"
    assert client.get("/nothing", headers={"X-Request-Id": "order-7"}).json()["request_id"] == "order-7"


def test_a_deadline_that_passes_is_a_504(client, node):
    node.engine.gate.clear()
    reply = client.post("/v1/address:parse", json={"address": "1"}, headers={"X-Deadline-Ms": "40"})
    assert (reply.status_code, reply.json()["code"]) == (504, "deadline-exceeded")


def test_an_overloaded_node_refuses_at_once_and_says_when_to_come_back(client, node):
    node.engine.gate.clear()
    node.engine.entered.clear()
    first = threading.Thread(
        target=httpx.post, args=(f"{node.url}/v1/address:parse",), kwargs={"json": {"address": "1"}}
    )
    first.start()
    assert node.engine.entered.wait(10)
    node.app.node._pipeline.tagger.batcher._pace.per_token = 2.5
    reply = client.post("/v1/address:parse", json={"address": "2"}, headers={"X-Deadline-Ms": "9000"})
    node.engine.gate.set()
    first.join(10)
    assert (reply.status_code, reply.json()["code"], reply.headers["retry-after"]) == (503, "overloaded", "3")
    assert reply.json()["retry_after_ms"] == 2500


def test_an_unforeseen_error_is_a_500_without_its_message(client, node, monkeypatch):
    async def broken(*args: object, **kwargs: object) -> None:
        raise ValueError("秘密路9号")

    monkeypatch.setattr(node.app.node._pipeline, "ask", broken)
    reply = client.post("/v1/address:parse", json={"address": "秘密路9号"})
    assert (reply.status_code, reply.json()["code"]) == (500, "internal")
    assert "秘密" not in reply.text
    assert client.get("/livez").status_code == 200


def test_a_text_the_model_fails_on_is_a_500_of_its_own_code(client, node):
    node.engine.fails = lambda text: RuntimeError(text) if "9" in text else None
    body = client.post("/v1/addresses:batchParse", json={"addresses": ["秘密路9号", "1"]}).json()
    assert [item["status"] for item in body["items"]] == [500, 200]
    assert body["items"][0]["problem"]["code"] == "engine-failed"


def test_a_node_that_is_told_to_stop_refuses_new_work_and_closes_connections(client, node):
    node.loop_call(node.app.node.drain)
    for path, call in (("/readyz", client.get), ("/v1/address:parse", client.post)):
        reply = call(path)
        assert (reply.status_code, reply.json()["code"]) == (503, "node-draining")
        assert reply.headers["connection"] == "close"
    assert client.get("/livez").status_code == 200
    assert client.get("/health").json()["status"] == "draining"


def test_a_node_whose_model_fails_its_probe_is_alive_but_not_ready(start_node, tmp_path):
    node = start_node(DigitsEngine(release(tmp_path, probes=[("秘密路2", ())])))
    with httpx.Client(base_url=node.url) as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 503
        health = client.get("/health")
    assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
    assert "probe 0 of 1 failed" in health.json()["detail"]
    assert "秘密" not in health.text
