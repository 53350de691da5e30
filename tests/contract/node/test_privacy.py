"""Addresses are personal data: they are in answers, and nowhere else."""

import json
import socket

import httpx
import pytest

ROAD = "秘密路"
ADDRESS = f"{ROAD}7号"


@pytest.fixture
def everything_asked(capfd, node):
    """Every kind of success and failure with an address in it; returns what the node showed."""
    node.engine.fails = lambda text: RuntimeError(text) if "8" in text else None
    shown: list[str] = []
    bodies = [
        json.dumps(body, ensure_ascii=False).encode()
        for body in (
            {"address": ADDRESS * 900}, {"address": f"{ROAD}8"}, {"address": {ADDRESS: 1}}, {ADDRESS: 1},
            {"address": [ADDRESS]}, {"address": ADDRESS, "options": {"tagset": ADDRESS}},
            {"address": ADDRESS, "options": {ADDRESS: 1}}, {"address": ADDRESS, ADDRESS: 1}, ADDRESS,
        )
    ]  # fmt: skip
    bodies += [bodies[0][:50], ROAD.encode("gbk"), f'{{"address":"{ROAD}\\ud800"}}'.encode()]
    json_type = {"Content-Type": "application/json"}
    with httpx.Client(base_url=node.url, timeout=15) as client:
        assert client.post("/v1/address:parse", json={"address": ADDRESS}).status_code == 200
        for path in ("/v1/address:parse", "/v1/addresses:batchParse"):
            for body in bodies:
                reply = client.post(path, content=body, headers=json_type)
                assert reply.status_code != 200
                shown.append(reply.text)
        reply = client.post("/v1/addresses:batchParse", json={"addresses": [f"{ROAD}8", [ADDRESS], ADDRESS * 900]})
        shown.append(reply.text)
        shown.append(client.post(f"/{ADDRESS}", params={"address": ADDRESS}, headers=json_type, content=bodies[0]).text)
        shown.append(client.post("/v1/address:parse", headers={"X-Deadline-Ms": "x"}, json={"address": ADDRESS}).text)
        shown.append(client.get("/readyz", params={"release": ADDRESS}).text)
        for path, good, more in (
            ("/v1/address:validate", {"address": ADDRESS}, [{"address": {"locality": {ADDRESS: 1}}}, {"address": " "}]),
            ("/v1/address:match", {"a": ADDRESS, "b": ADDRESS}, [{"a": f"{ROAD}8", "b": "1"}, {"a": ADDRESS}]),
            ("/v1:validateAddress", {"address": {"addressLines": [ADDRESS]}}, [{"address": ADDRESS}]),
        ):
            assert client.post(path, json=good).status_code == 200
            for body in [*(b for b in bodies if b != bodies[1]), *(json.dumps(one).encode() for one in more)]:
                reply = client.post(path, content=body, headers=json_type)
                assert reply.status_code != 200, (path, body)
                shown.append(reply.text)
        # The model fails: rules answer, and the log says so. The answer itself may hold the address.
        reply = client.post("/v1/address:validate", json={"address": f"{ROAD}8"})
        assert reply.json()["service"]["mode"] == "RULES_ONLY"
        items = client.post(
            "/v1/addresses:batchMatch", json={"pairs": [{"a": f"{ROAD}8", "b": "1"}, ADDRESS, {"a": ADDRESS}]}
        )
        shown.append(items.text)
        items = client.post("/v1/addresses:batchValidate", json={"addresses": [{ADDRESS: 1}, [ADDRESS], ADDRESS * 900]})
        shown.append(items.text)
        feedback = {"response_id": ADDRESS, "conclusion": ADDRESS, "correction": {"address": ADDRESS}}
        shown.append(client.post("/v1/feedback", json=feedback).text)
        feedback = {"response_id": "1", "conclusion": "UNUSED"}
        shown.append(client.post("/v1/feedback", json=feedback).text)
        shown.append(client.get("/v1/divisions", params={"parent": ADDRESS, "at": ADDRESS}).text)
        shown.append(client.get("/v1/divisions", params={"parent": ADDRESS}).text)
        shown.append(client.get(f"/v1/divisions/{ADDRESS}").text)
        bulk = b"\n".join(body for body in bodies if b"\n" not in body)
        for path in ("/v1/addresses:bulkParse", "/v1/addresses:bulkValidate"):
            failing = b"\n".join(body for body in bodies if b"\n" not in body and body != bodies[1])
            content = bulk if path.endswith("Parse") else failing
            shown.append(client.post(path, content=content, headers={"Content-Type": "application/x-ndjson"}).text)
        shown.append(
            client.post(
                f"/v1/addresses:bulkParse?tagset={ADDRESS}", headers={"Content-Type": "application/x-ndjson"}
            ).text
        )
        with socket.create_connection(("127.0.0.1", node.port)) as broken:
            broken.sendall(f"GET /{ADDRESS} HTTP/9.9\r\n{ADDRESS}\r\n\r\n".encode())
            broken.recv(4096)
        shown.append(client.get("/metrics").text)
        shown.append(client.get("/health").text)
    captured = capfd.readouterr()
    return {"replies": "".join(shown), "logs": captured.out + captured.err}


def test_no_address_is_in_a_log_line_a_metric_or_an_error(everything_asked):
    assert "request.failed" in everything_asked["logs"], "the failing model should have been logged"
    assert "engine.failed" in everything_asked["logs"], "also where rules answered instead"
    for where, text in everything_asked.items():
        assert ROAD not in text, where
        assert ROAD.encode("unicode_escape").decode() not in text, where
        assert "%E7%A7%98" not in text, where
