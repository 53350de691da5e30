"""However a request's bytes arrive, the short cut and uvicorn's own way answer the same."""

import json
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from addrmesh.node.hot import HotProtocol
from addrmesh.settings import Batching
from support.live import LiveNode

BODY = '{"address": "文三路12号"}'.encode()
HEAD = b"POST /v1/address:parse HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Request-Id: me\r\n"
PLAIN = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


class Caller:
    def __init__(self, node: LiveNode) -> None:
        self.socket = socket.create_connection(("127.0.0.1", node.port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reply(self) -> tuple[int, dict[str, str], bytes]:
        status = int(self.file.readline().split()[1])
        headers = {}
        while (line := self.file.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        return status, headers, self.file.read(int(headers["content-length"]))

    def leave(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def caller(node: LiveNode) -> Iterator[Caller]:
    caller = Caller(node)
    yield caller
    caller.leave()


def result(reply: tuple[int, dict[str, str], bytes]) -> object:
    status, headers, body = reply
    assert (status, headers["x-request-id"], headers["content-type"]) == (200, "me", "application/json")
    assert headers["x-release"] == "digits@0123456789ab"
    return json.loads(body)["result"]


def test_every_cut_of_two_requests_gives_the_same_two_answers(caller: Caller) -> None:
    caller.send(PLAIN)
    expected = result(caller.reply())
    for cut in range(1, 2 * len(PLAIN), 7):
        caller.send((PLAIN + PLAIN)[:cut])
        if cut >= len(PLAIN):
            assert result(caller.reply()) == expected
        caller.send((PLAIN + PLAIN)[cut:])
        for _ in range(1 if cut >= len(PLAIN) else 2):
            assert result(caller.reply()) == expected


def test_a_request_sent_while_another_is_answered_waits_for_its_turn(caller: Caller, node: LiveNode) -> None:
    node.engine.gate.clear()
    other = '{"address": "文三路99号"}'.encode()
    caller.send(PLAIN)
    assert node.engine.entered.wait(10)
    caller.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(other) + other)
    node.engine.gate.set()
    assert [json.dumps(result(caller.reply())).count(number) for number in ("12", "99")] == [2, 2]


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n",
        HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY,
        HEAD.replace(b"address:parse", b"address%3Aparse") + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY,
        HEAD + b"X-Long: " + b"x" * 5000 + b"\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY,
        HEAD + b"Cookie: a=1\r\nCookie: b=2\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY,
    ],
    ids=["chunked", "expect", "escaped", "long", "repeated"],
)
def test_a_request_in_an_unusual_form_is_answered_too(caller: Caller, head: bytes) -> None:
    caller.send(head)
    if b"Expect" in head:
        assert caller.file.readline() == b"HTTP/1.1 100 Continue\r\n"
        caller.file.readline()
    assert result(caller.reply())
    caller.send(PLAIN)
    assert result(caller.reply())


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + BODY,
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
        b"Content-Length: -1\r\n\r\n" + BODY,
        b"Bad Name: x\r\nContent-Length: 0\r\n\r\n",
        b"X: a\nContent-Length: 0\r\n\r\n",
    ],
)
def test_a_request_that_could_be_read_in_two_ways_is_refused(caller: Caller, fields: bytes) -> None:
    caller.send(HEAD + fields)
    status, _, _ = caller.reply()
    assert status == 400


def test_a_caller_who_wants_to_close_is_closed(caller: Caller) -> None:
    caller.send(PLAIN.replace(b"Host: x", b"Host: x\r\nConnection: close"))
    assert result(caller.reply())
    assert caller.file.read() == b""


def test_a_full_node_refuses_unread_with_the_same_document_and_still_answers_probes(
    caller: Caller, node: LiveNode
) -> None:
    pipeline = node.app.node._pipeline
    pipeline.tagger.batcher.max_wait_s = -1.0
    documents = []
    for found in (1.0, 0.0):
        pipeline._found = found
        caller.send(PLAIN)
        status, headers, document = caller.reply()
        assert (status, headers["retry-after"], headers["x-request-id"]) == (503, "1", "me")
        assert headers["content-type"] == "application/problem+json"
        documents.append(json.loads(document))
    unread = node._server.config.http is HotProtocol
    assert pipeline.metrics.cache_misses.values == {(): 1 if unread else 2}
    for own in ("detail", "retry_after_ms"):
        assert (documents[0].pop(own) != documents[1].pop(own)) is unread
    assert documents[0] == documents[1]
    caller.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert caller.reply()[0] == 200
    node.loop_call(node.app.node.drain)
    caller.send(PLAIN)
    assert json.loads(caller.reply()[2])["code"] == "node-draining"


def test_a_connection_is_closed_when_idle_for_long_and_not_while_it_is_used(
    start_node: Callable[..., LiveNode],
) -> None:
    node = start_node()
    node._server.config.timeout_keep_alive = 0.4  # type: ignore[assignment]
    caller = Caller(node)
    started = time.monotonic()
    while time.monotonic() - started < 1.0:
        caller.send(PLAIN)
        assert result(caller.reply())
    idle = time.monotonic()
    assert caller.file.read() == b""
    assert 0.3 < time.monotonic() - idle < 5
    caller.leave()


def test_one_who_leaves_gives_the_answer_up(start_node: Callable[..., LiveNode]) -> None:
    # The stalled engine makes the predicted wait long; nothing is to be refused for it here.
    node = start_node(batching=Batching(max_wait_ms=60_000, default_deadline_ms=60_000))
    node.engine.gate.clear()
    for number in range(20):
        leaving = Caller(node)
        body = json.dumps({"address": f"路{number}"}).encode()
        leaving.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        leaving.leave()
    node.engine.gate.set()
    caller = Caller(node)
    caller.send(PLAIN)
    reply = caller.reply()
    caller.leave()
    assert result(reply)
    node.loop_call(lambda: None)
    assert node.app.node.responder.in_flight == 0
