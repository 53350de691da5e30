"""What a caller sees over a real socket."""

import pytest


def test_one_address_is_answered_with_its_components(client):
    reply = client.post("/v1/address:parse", json={"address": "文三路１２号\u200b34"})
    assert reply.status_code == 200, reply.text
    body = reply.json()
    assert [(c["text"], c["input_text"], c["span"]) for c in body["result"]["components"]] == [
        ("12", "１２", [3, 5]),
        ("34", "34", [7, 9]),
    ]
    assert body["service"]["release"] == reply.headers["x-release"] == "digits@0123456789ab"
    assert body["service"]["cached"] is False
    assert body["response_id"] == reply.headers["x-request-id"]
    assert client.post("/v1/address:parse", json={"address": "文三路12号34"}).json()["service"]["cached"] is True


def test_zz(client):
    for m, p in [("GET","/health"),("GET","/readyz"),("GET","/livez"),("GET","/metrics"),("GET","/v1/meta"),("GET","/docs"),("GET","/docs/swagger-ui.css"),("GET","/"),("GET","/nope"),("GET","/v1/address:parse"),("DELETE","/v1/address:parse"),("OPTIONS","/v1/address:parse"),("HEAD","/health"),("HEAD","/livez"),("OPTIONS","/nope"),("GET","/docs/x"),("POST","/v1/addresses:bulkParse")]:
        r = client.request(m, p)
        print(m, p, r.status_code, dict(r.headers), r.text[:300])
    print(client.get("/metrics").text)
    r = client.post("/v1/addresses:batchParse", json={"addresses": ["1号", "", 5, "１2"]})
    print(r.status_code, r.text)
    r = client.post("/v1/addresses:bulkParse", content=b'{"id":1,"address":"1"}\n\n{"id":2,"address":""}\nxx\n\xff\n{"address":"22"}', headers={"content-type":"application/x-ndjson"})
    print(r.status_code, r.headers, r.text)
    r = client.get("/openapi.json")
    print(r.status_code, r.text[:3000])
