"""Lines in, lines out."""

import json
import socket
import threading

import httpx
import pytest

from addrmesh.settings import Batching, Limits

PATH = "/v1/addresses:bulkParse"
NDJSON = {"Content-Type": "application/x-ndjson"}


def lines_of(reply: httpx.Response) -> list[dict]:
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in reply.text.splitlines()]


def file_of(count: int) -> bytes:
    return b"".join(b'{"id":"n%d","address":"\xe8\xb7\xaf%d"}\n' % (n, n) for n in range(1, count + 1))


class Duplex:
    """A request whose body is sent in pieces while its answer is read."""

    def __init__(self, port: int, query: str = "") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=15)
        self.socket.sendall(
            f"POST {PATH}{query} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
            "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode()
        )
        self._answer = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        self.socket.sendall(b"0\r\n\r\n")

    def line(self) -> dict:
        """Return the next line that is a JSON object, past heads and chunk sizes."""
        while line := self._answer.readline():
            if line.startswith(b"{"):
                return json.loads(line)
        raise EOFError

    def close(self) -> None:
        self._answer.close()
        self.socket.close()


@pytest.fixture
def duplex(node):
    opened: list[Duplex] = []

    def open_(query: str = "", port: int = 0) -> Duplex:
        opened.append(Duplex(port or node.port, query))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()


def test_lines_are_answered_in_order_and_summed_up(client):
    *answers, summary = lines_of(client.post(PATH, content=file_of(500), headers=NDJSON))
    assert [(a["id"], a["line"], a["status"]) for a in answers] == [(f"n{n}", n, 200) for n in range(1, 501)]
    assert answers[41]["result"]["components"][0]["span"] == [1, 3]
    assert summary == {"summary": {"lines": 500, "ok": 500, "failed": 0, "next_line": 501}}


def test_a_bad_line_is_a_problem_of_its_own(client):
    body = b"\n".join(
        [
            b'{"id":1,"address":"1"}', b"", b"  \r", b"{bad", b'{"address":"\xff"}', b'{"id":"x","address":" "}',
            b'{"address":7}', b'{"address":"' + b"1" * 8200 + b'"}', b'{"address":"' + b"1" * 2001 + b'"}',
            b'{"id":null,"address":"2"}',
        ]
    )  # fmt: skip
    *answers, summary = lines_of(client.post(PATH, content=body, headers=NDJSON))
    assert [(a["id"], a["line"], a["status"]) for a in answers] == [
        (1, 1, 200), (None, 4, 400), (None, 5, 400), ("x", 6, 422), (None, 7, 422), (None, 8, 413), (None, 9, 413),
        (None, 10, 200),
    ]  # fmt: skip
    assert summary["summary"] == {"lines": 10, "ok": 2, "failed": 6, "next_line": 11}


def test_an_empty_file_is_summed_up(client):
    assert lines_of(client.post(PATH, content=b"", headers=NDJSON)) == [
        {"summary": {"lines": 0, "ok": 0, "failed": 0, "next_line": 1}}
    ]


def test_start_line_goes_on_where_an_answer_was_cut(client):
    whole = lines_of(client.post(PATH, content=file_of(100), headers=NDJSON))
    rest = lines_of(client.post(PATH, params={"start_line": 71}, content=file_of(100), headers=NDJSON))
    assert rest[:-1] == whole[70:-1]
    assert rest[-1]["summary"] == {"lines": 30, "ok": 30, "failed": 0, "next_line": 101}


def test_unordered_answers_are_the_same_answers(client):
    ordered = lines_of(client.post(PATH, content=file_of(300), headers=NDJSON))
    unordered = lines_of(client.post(PATH, params={"ordered": "false"}, content=file_of(300), headers=NDJSON))
    assert sorted(unordered[:-1], key=lambda a: a["line"]) == ordered[:-1]
    assert unordered[-1] == ordered[-1]


@pytest.mark.parametrize("query", ["start_line=0", "start_line=x", "start_line=", "ordered=1", "tagset=more"])
def test_a_parameter_that_is_not_allowed_is_refused(client, query):
    reply = client.post(f"{PATH}?{query}", content=b"", headers=NDJSON)
    assert (reply.status_code, reply.json()["code"]) == (400, "invalid-parameter")


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/json"}, NDJSON | {"Content-Encoding": "gzip"}])
def test_only_plain_ndjson_is_taken(client, headers):
    assert client.post(PATH, content=b"x", headers=headers).status_code == 415


def test_a_line_is_answered_before_the_next_one_is_sent(duplex):
    stream = duplex()
    for number in (1, 2, 3):
        stream.send(b'{"id":%d,"address":"%d"}\n' % (number, number))
        assert stream.line()["id"] == number
    stream.end()
    assert stream.line()["summary"]["ok"] == 3


def test_a_sender_that_stalls_is_told_with_the_line_to_go_on_from(duplex):
    stream = duplex()
    stream.send(b'{"id":1,"address":"1"}\n{"id":2,"addr')
    assert stream.line()["id"] == 1
    problem = stream.line()
    assert (problem["line"], problem["problem"]["code"]) == (2, "request-timeout")
    assert stream.line() == {"summary": {"lines": 1, "ok": 1, "failed": 0, "next_line": 2}}


def test_a_limit_ends_the_stream_with_a_problem_and_the_summary(start_node):
    node = start_node(limits=Limits(bulk_lines=70, body_timeout_s=0.4))
    reply = httpx.post(f"{node.url}{PATH}", content=file_of(100), headers=NDJSON)
    *answers, problem, summary = lines_of(reply)
    assert len(answers) == 70
    assert (problem["line"], problem["problem"]["code"]) == (71, "input-too-long")
    assert summary["summary"] == {"lines": 70, "ok": 70, "failed": 0, "next_line": 71}


def test_a_draining_node_answers_what_it_read_and_says_where_to_go_on(duplex, node):
    stream = duplex()
    stream.send(b'{"id":1,"address":"1"}\n')
    assert stream.line()["id"] == 1
    node.loop_call(node.app.node.drain)
    stream.send(b'{"id":2,"address":"2"}\n')
    assert stream.line()["id"] == 2
    assert stream.line()["problem"]["code"] == "node-draining"
    assert stream.line()["summary"]["next_line"] == 3


def test_a_client_that_leaves_is_not_worked_for(duplex, start_node):
    node = start_node(batching=Batching(max_batch_tokens=40))
    node.engine.gate.clear()
    node.engine.entered.clear()
    stream = duplex(port=node.port)
    stream.send(file_of(200))
    assert node.engine.entered.wait(10)
    stream.close()
    with httpx.Client(base_url=node.url) as client:
        while node.app.node.responder.in_flight > 0:
            client.get("/livez")
        node.engine.gate.set()
        client.post("/v1/address:parse", json={"address": "路9999"})
    asked = [text for batch in node.engine.batches for text in batch if text.startswith("路")]
    assert len(asked) <= 22, "one batch was running, no other was begun"
    assert asked[-1] == "路9999"


def test_a_client_that_does_not_read_is_cut_and_never_filled_up_on(duplex, node, client):
    """What the sockets hold is all that is read: a reader that stops ends the sender too."""
    stream = duplex()
    chunk = 200 * (b'{"id":"' + b"x" * 1000 + b'","address":"1"}\n')
    sent = [0]

    def send_for_ever() -> None:
        while True:
            stream.send(chunk)
            sent[0] += len(chunk)

    with pytest.raises(OSError, match=r"reset|Broken"):
        send_for_ever()
    assert sent[0] < 50_000_000
    while node.app.node.responder.in_flight > 0:
        client.get("/livez")


def test_two_streams_do_not_mix(node):
    found: dict[str, list[dict]] = {}

    def ask(name: str) -> None:
        body = b"".join(b'{"id":"%b%d","address":"%d"}\n' % (name.encode(), n, n) for n in range(200))
        found[name] = lines_of(httpx.post(f"{node.url}{PATH}", content=body, headers=NDJSON))

    threads = [threading.Thread(target=ask, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for name in "ab":
        assert [answer["id"] for answer in found[name][:-1]] == [f"{name}{n}" for n in range(200)]
