"""
From ASGI to a handler and back, with as little Python as possible.

A handler takes a `Request` and returns a `Reply`, or something to await for one: it knows neither ASGI nor FastAPI.
Everything every reply needs happens here: the request id, the body within its limits, the translation of errors, the
node's headers, the counting.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from secrets import token_hex
from time import perf_counter
from typing import Any, NamedTuple

import structlog

from addrmesh.errors import Unavailable
from addrmesh.node.problems import CONTENT_TYPE, BadRequest, headers_of, problem
from addrmesh.node.wire import encode
from addrmesh.telemetry.log import failure
from addrmesh.telemetry.metrics import NodeMetrics

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
HeaderPairs = tuple[tuple[bytes, bytes], ...]

JSON: HeaderPairs = ((b"content-type", b"application/json"),)
PROBLEM: HeaderPairs = ((b"content-type", CONTENT_TYPE),)
CLOSE: HeaderPairs = ((b"connection", b"close"),)

DISCARD_FACTOR = 8
"""How many times its limit a body that is too large is read and thrown away before the connection is closed: a client
that is still sending sees a reset instead of the 413 otherwise."""

_ID = b"{id}"
"""Stands for the id in a template; no id looks like this."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}").fullmatch


class ClientDisconnected(Exception):
    """The client went away before it had sent its body: there is nobody to answer."""


class Request(NamedTuple):
    """What a handler sees."""

    id: str
    headers: dict[bytes, bytes]
    """Lower-case names; of a repeated header the last value."""
    query: bytes
    body: bytes
    arrived: float
    """`time.perf_counter` seconds: uvloop's own clock has steps of a millisecond."""
    path_parameter: str = ""
    """What stands in the path where the endpoint's has a name in braces."""


class Reply(NamedTuple):
    """What a handler answers; the node's own headers are added to its `headers`."""

    status: int
    body: bytes
    headers: HeaderPairs = JSON


Handler = Callable[[Request], Reply | Awaitable[Reply]]
"""Answers at once, or returns what to await."""
Stream = Callable[[Request, Receive, Send], Awaitable[None]]


class Endpoint(NamedTuple):
    """A handler and where it is found."""

    method: str
    path: str
    handler: Handler
    max_body: int = 0
    """Largest body in bytes; 0 when none is read."""
    refused_unread: bool = False
    """Whether a request may be refused before its body is looked at; others cost little, or wait for long."""


@dataclass
class Responder:
    """Answers requests in the name of one node."""

    metrics: NodeMetrics
    body_timeout_s: float
    headers: HeaderPairs = ()
    """On every reply: who answers, and `Connection: close` while the node drains."""
    in_flight: int = 0

    def __post_init__(self) -> None:
        self._log = structlog.get_logger()
        self._idle = asyncio.Event()
        self._process = token_hex(6)
        self._numbers = count(1)

    def request(self, scope: Scope) -> Request:
        """Read the head of a request and give it an id, its own if that is a sound one."""
        headers = dict(scope["headers"])
        named = next(iter(scope.get("path_params", {}).values()), "")
        return Request(self.request_id(headers), headers, scope["query_string"], b"", perf_counter(), named)

    def request_id(self, headers: dict[bytes, bytes]) -> str:
        """Return the id the caller gave, if it is a sound one, or a new one."""
        given = headers.get(b"x-request-id")
        return given.decode() if given is not None and _REQUEST_ID(given) else self.new_id()

    def new_id(self) -> str:
        """Return an id nobody else uses: the process's random part and a number."""
        return f"{self._process}-{next(self._numbers):x}"

    def enter(self) -> None:
        """Count a request as accepted."""
        self.in_flight += 1

    def leave(self) -> None:
        """Count it as finished."""
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    async def idle(self) -> None:
        """Return when no request is under way."""
        while self.in_flight:
            self._idle.clear()
            await self._idle.wait()

    async def respond(self, endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Nothing but a cancellation gets out of here."""
        request = self.request(scope)
        self.enter()
        try:
            try:
                if endpoint.max_body:
                    body = await read_body(receive, request.headers, endpoint.max_body, self.body_timeout_s)
                    request = request._replace(body=body)
                answer = endpoint.handler(request)
                reply = answer if isinstance(answer, Reply) else await answer
            except ClientDisconnected:
                return
            except Exception as error:  # noqa: BLE001 - the last border; what is not ours becomes `internal`
                reply = self.refusal(error, request.id)
            await self.send(reply, request, send)
            self.count(endpoint, request, reply)
        finally:
            self.leave()

    def count(self, endpoint: Endpoint, request: Request, reply: Reply) -> None:
        """Count a request that has been answered."""
        self.metrics.http_requests.inc(endpoint.path, str(reply.status))
        self.metrics.http_request_seconds.observe(endpoint.path, perf_counter() - request.arrived)

    def refusal(self, error: Exception, request_id: str) -> Reply:
        """Return the problem document of an error, and log it if nobody foresaw it."""
        document = problem(error, request_id)
        if document.code in ("internal", "engine-failed"):
            self._log.error("request.failed", request_id=request_id, code=document.code, **failure(error))
        return Reply(document.status, encode(document), PROBLEM + headers_of(error))

    def repeated_refusal(self, error: Unavailable, request_id: str) -> Reply:
        """Return the same as `refusal` for an error that comes again and again: only the id is written anew."""
        status, body, headers = _template(error)
        return Reply(status, body.replace(_ID, request_id.encode()), headers)

    async def send(self, reply: Reply, request: Request, send: Send) -> None:
        """Send a whole reply."""
        await send({
            "type": "http.response.start",
            "status": reply.status,
            "headers": [
                (b"content-length", b"%d" % len(reply.body)),
                (b"x-request-id", request.id.encode()),
                *reply.headers,
                *self.headers,
            ],
        })  # fmt: skip
        await send({"type": "http.response.body", "body": reply.body})


@lru_cache(64)
def _template(error: Unavailable) -> Reply:
    document = problem(error, _ID.decode())
    return Reply(document.status, encode(document), PROBLEM + headers_of(error))


async def read_body(receive: Receive, headers: dict[bytes, bytes], limit: int, timeout_s: float) -> bytes:
    """
    Read a whole body.

    Args:
        receive: ASGI's.
        headers: Of the request.
        limit: Bytes.
        timeout_s: How long the client may pause, in seconds.

    Raises:
        BadRequest: The body is too long (413) or does not arrive (408).
        ClientDisconnected: The client went away.
    """
    declared = headers.get(b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit and b"expect" in headers:
        raise too_large(limit)  # the client waits for our word before it sends anything
    chunks: list[bytes] = []
    size = 0
    while True:
        try:
            async with asyncio.timeout(timeout_s):
                message = await receive()
        except TimeoutError as error:
            raise BadRequest(
                "request-timeout", f"nothing more of the body arrived for {timeout_s:g} s", headers=CLOSE
            ) from error
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        chunk = message.get("body", b"")
        size += len(chunk)
        if not message.get("more_body", False):
            if size > limit:
                raise too_large(limit)
            return b"".join([*chunks, chunk]) if chunks else chunk
        if size <= limit:
            chunks.append(chunk)
        elif size > limit * DISCARD_FACTOR:
            raise too_large(limit)


def too_large(limit: int) -> BadRequest:
    """Return the refusal of a body over `limit` bytes."""
    return BadRequest("input-too-long", f"the body is longer than {limit} bytes; split it", headers=CLOSE)


def require_content_type(headers: dict[bytes, bytes], wanted: bytes) -> None:
    """
    Return if the body is what this path takes: `wanted`, in UTF-8, not compressed.

    Raises:
        BadRequest: 415.
    """
    found = headers.get(b"content-type", b"")
    if found != wanted:
        kind, *parameters = (part.strip().lower() for part in found.split(b";"))
        charsets = [p.removeprefix(b"charset=").strip(b'"') for p in parameters if p.startswith(b"charset=")]
        if kind != wanted or any(charset not in (b"utf-8", b"utf8") for charset in charsets):
            raise BadRequest("unsupported-media-type", f"send Content-Type: {wanted.decode()}, in UTF-8", headers=CLOSE)
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise BadRequest("unsupported-media-type", "send the body without Content-Encoding", headers=CLOSE)
