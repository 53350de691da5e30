"""
uvicorn's HTTP protocol with a short cut for the hot routes.

A request that arrives whole in one piece, in the plain form every HTTP library sends, for a path in `NodeApp.hot` is
answered here: one look at its bytes, the handler, one write. Anything else, a body in pieces, `Expect`,
`Transfer-Encoding`, a repeated length, another path, goes to uvicorn as it came, and reaches the same handler
through ASGI. So the short cut never has to be lenient: what it does not know for certain it passes on.

Why: uvicorn and ASGI cost three times what everything else around the model costs, and refusing must be cheap for a
node to survive overload: while the queue is full, an address is refused before its body is looked at. See
docs/adr/0003-hot-routes-beside-fastapi.md.
"""

import re
from collections.abc import Awaitable
from functools import lru_cache, partial
from time import perf_counter
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from addrmesh.node.app import NodeApp
from addrmesh.node.asgi import CLOSE, Endpoint, HeaderPairs, Reply, Request

if TYPE_CHECKING:
    import asyncio

MAX_HEAD = 4096
"""Bytes of head looked at; a longer one is uvicorn's to judge."""

_HEAD = re.compile(
    rb"(POST|GET) (/[A-Za-z0-9/:._-]*)(?:\?([A-Za-z0-9=&@%._-]*))? HTTP/1\.1"
    rb"(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\x20-\x7e\t]*)*"
).fullmatch
_FIELDS = re.compile(rb"\r\n([^:]+):([^\r]*)").findall
_UNUSUAL = frozenset((b"transfer-encoding", b"expect", b"upgrade", b"content-encoding", b"trailer"))


class HotProtocol(HttpToolsProtocol):
    """One connection."""

    _answering: "asyncio.Task[Reply] | None" = None
    _later: bytes = b""
    """What arrived while a request of this connection was being answered here."""
    _between_messages: bool = True
    """Whether uvicorn's parser is not in the middle of a message: only then may a request be taken from under it."""
    _replied: float = 0.0
    """When this connection was last answered here, in seconds of `perf_counter`."""
    _last: bool = False
    """Whether to close after the answer under way."""

    def data_received(self, data: bytes) -> None:
        """Answer a whole hot request at once; leave the rest to uvicorn."""
        if self._answering is not None:
            self._later += data
            self.flow.pause_reading()
            return
        if (self.cycle is None or self.cycle.response_complete) and self._between_messages:
            found = self._hot_request(data)
            if found is not None:
                self._begin(*found)
                return
        self._between_messages = False
        super().data_received(data)

    def on_message_complete(self) -> None:
        """Note that uvicorn has read the whole message."""
        self._between_messages = True
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up the answer nobody waits for."""
        if self._answering is not None:
            self._answering.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close, after the answer under way."""
        if self._answering is None:
            super().shutdown()
        else:
            self._last = True

    def _hot_request(self, data: bytes) -> tuple[NodeApp, Endpoint, Request] | None:
        """Return what `data` asks for if it is exactly one plain request for a hot route."""
        app = self.config.app
        head, end, body = data.partition(b"\r\n\r\n")
        if not end or len(head) > MAX_HEAD or not isinstance(app, NodeApp):
            return None
        line = _HEAD(head)
        endpoint = app.hot.get((line[1].decode(), line[2].decode())) if line else None
        if line is None or endpoint is None:
            return None
        fields = _FIELDS(head)
        headers = {name.lower(): value.strip(b" \t") for name, value in fields}
        if len(headers) < len(fields) or not _UNUSUAL.isdisjoint(headers):
            return None
        if b"host" not in headers:
            return None
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 9 or int(length) != len(body) or len(body) > endpoint.max_body:
            return None
        if headers.get(b"connection", b"keep-alive").lower() != b"keep-alive":
            return None
        request_id = app.node.responder.request_id(headers)
        return app, endpoint, Request(request_id, headers, line[3] or b"", body, perf_counter())

    def _begin(self, app: NodeApp, endpoint: Endpoint, request: Request) -> None:
        responder = app.node.responder
        try:
            refused = app.node.pipeline().overload() if endpoint.refused_unread else None
            reply = endpoint.handler(request) if refused is None else responder.repeated_refusal(refused, request.id)
        except Exception as error:  # noqa: BLE001 - the last border, as in Responder.respond
            reply = responder.refusal(error, request.id)
        if isinstance(reply, Reply):
            self._end(app, endpoint, request, reply)
            return
        responder.enter()
        self._answering = self.loop.create_task(_awaited(reply))
        self._answering.add_done_callback(partial(self._answered, app, endpoint, request))

    def _answered(self, app: NodeApp, endpoint: Endpoint, request: Request, answering: "asyncio.Task[Reply]") -> None:
        self._answering = None
        app.node.responder.leave()
        if answering.cancelled():
            return
        error = answering.exception()
        if error is None:
            reply = answering.result()
        elif isinstance(error, Exception):
            reply = app.node.responder.refusal(error, request.id)
        else:
            raise error
        self._end(app, endpoint, request, reply)
        if self._later and not self.transport.is_closing():
            later, self._later = self._later, b""
            self.flow.resume_reading()
            self.data_received(later)

    def _end(self, app: NodeApp, endpoint: Endpoint, request: Request, reply: Reply) -> None:
        responder = app.node.responder
        head = _head(reply.status, tuple(self.server_state.default_headers), reply.headers, responder.headers)
        self.transport.write(
            b"%bcontent-length: %d\r\nx-request-id: %b\r\n\r\n%b"
            % (head, len(reply.body), request.id.encode(), reply.body)
        )
        responder.count(endpoint, request, reply)
        self.server_state.total_requests += 1
        self._replied = perf_counter()
        if self._last or _CLOSE in head:
            self.transport.close()
        elif self.timeout_keep_alive_task is None:
            self._keep_alive(self.timeout_keep_alive)

    def _keep_alive(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if nothing was asked meanwhile; a timer for each request would cost too much."""
        self.timeout_keep_alive_task = None
        if self._answering is not None:
            return  # its reply starts the time anew
        left = self._replied + self.timeout_keep_alive - perf_counter()
        if left > 0:
            self._keep_alive(left)
        else:
            super().timeout_keep_alive_handler()


async def _awaited(reply: Awaitable[Reply]) -> Reply:
    return await reply


@lru_cache(64)
def _head(status: int, *headers: HeaderPairs) -> bytes:
    return STATUS_LINE[status] + b"".join(b"%b: %b\r\n" % pair for pairs in headers for pair in pairs)


_CLOSE = b"\r\n%b: %b\r\n" % CLOSE[0]
