"""Bodies that are slow, cut or too large, over raw sockets."""

import json
import socket

import httpx
import pytest

HEAD = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%b\r\n"
PARSE = b"/v1/address:parse"


@pytest.fixture
def raw(node):
    with socket.create_connection(("127.0.0.1", node.port), timeout=15) as connection:
        yield connection


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Read to the end of the connection."""
    data = b""
    while piece := connection.recv(65536):
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def test_a_body_that_stalls_is_a_408(raw):
    raw.sendall(HEAD % (PARSE, b"Content-Length: 50\r\n") + b'{"address":')
    status, body = answer(raw)
    assert (status, json.loads(body)["code"]) == (408, "request-timeout")


def test_a_body_that_dribbles_in_is_answered(raw):
    body = '{"address":"路１2"}'.encode()
    raw.sendall(HEAD % (PARSE, b"Connection: close\r\nContent-Length: %d\r\n" % len(body)))
    for byte in body:
        raw.sendall(bytes([byte]))
    status, reply = answer(raw)
    assert (status, json.loads(reply)["result"]["components"][0]["span"]) == (200, [1, 3])


def test_a_client_that_leaves_mid_body_is_no_error(capfd, raw, node, client):
    raw.sendall(HEAD % (PARSE, b"Content-Length: 50\r\n") + b'{"address":')
    while node.app.node.responder.in_flight == 0:
        client.get("/livez")
    raw.close()
    while node.app.node.responder.in_flight:  # its 0.4 s are not up: leaving is what ends it
        client.get("/livez")
    logged = capfd.readouterr().err
    assert "node.started" in logged
    assert '"level": "error"' not in logged
    assert "/v1/address:parse" not in client.get("/metrics").text


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_a_413_even_while_it_is_being_sent(node, chunked):
    body = b'{"addresses":["' + b"1" * 3_000_000 + b'"]}'
    content = (body[i : i + 50_000] for i in range(0, len(body), 50_000)) if chunked else body
    with httpx.Client(base_url=node.url) as client:
        reply = client.post("/v1/addresses:batchParse", content=content, headers={"Content-Type": "application/json"})
        assert (reply.status_code, reply.json()["code"]) == (413, "input-too-long")
        assert client.get("/livez").status_code == 200


def test_a_client_that_asks_before_it_sends_is_told_without_sending(raw):
    raw.sendall(HEAD % (PARSE, b"Content-Length: 90000000\r\nExpect: 100-continue\r\n"))
    assert answer(raw)[0] == 413


def test_requests_sent_ahead_are_answered_in_order(raw):
    for number, last in ((1, b""), (2, b""), (3, b"Connection: close\r\n")):
        body = b'{"address":"%d"}' % number
        raw.sendall(HEAD % (PARSE, b"X-Request-Id: r%d\r\n%bContent-Length: %d\r\n" % (number, last, len(body))) + body)
    data = b""
    while piece := raw.recv(65536):
        data += piece
    places = [data.find(b"x-request-id: r%d" % number) for number in (1, 2, 3)]
    assert -1 not in places
    assert places == sorted(places)
