"""
Bulk work: lines in, lines out, streamed both ways, for every operation that has a `Bulk`.

A reader cuts the body into chunks, a few chunks are answered at a time, a writer sends what is done. Whoever is slow,
the engine, the sender or the receiver, slows the others down: at most `CHUNKS_IN_FLIGHT` chunks are in memory. A
client must therefore read while it sends. One that stops reading for as long as it may stop sending is cut.
"""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from addrmesh.errors import AddrmeshError
from addrmesh.node import wire
from addrmesh.node.asgi import ClientDisconnected, Receive, Request, Send, require_content_type
from addrmesh.node.lifecycle import State
from addrmesh.node.lines import Line, LineReader
from addrmesh.node.node import Node
from addrmesh.node.operations import Bulk, Item
from addrmesh.node.pipeline import Answer, Pipeline
from addrmesh.node.problems import BadRequest, kind_of, problem
from addrmesh.node.routes import deadline_of, decode

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTENT_TYPE = b"application/x-ndjson"

CHUNKS_IN_FLIGHT = 4
"""One is being answered, one waits for the engine, one is read, one is written."""


@dataclass(frozen=True)
class Terms:
    """The query parameters."""

    start_line: int = 1
    ordered: bool = True
    own: Any = None
    """What the operation made of its own ones."""


def terms_of(query: bytes, bulk: Bulk) -> Terms:
    """
    Read the query.

    Raises:
        BadRequest: A parameter has a value that is not allowed.
    """
    found = {name: values[-1] for name, values in parse_qs(query.decode("latin-1"), keep_blank_values=True).items()}
    start, ordered = found.get("start_line", "1"), found.get("ordered", "true")
    if not (start.isascii() and start.isdigit() and 0 < len(start) < 10 and int(start) > 0):
        raise BadRequest("invalid-parameter", "start_line must be a whole number from 1 to 999999999")
    if ordered not in ("true", "false"):
        raise BadRequest("invalid-parameter", "ordered must be true or false")
    return Terms(int(start), ordered == "true", bulk.parameters(found))


async def answer_lines(bulk: Bulk, scope: str, node: Node, request: Request, receive: Receive, send: Send) -> None:
    """
    Answer one bulk request.

    Raises:
        AddrmeshError: It is refused; nothing has been sent.
        ClientDisconnected: The client went away; what was under way has been cancelled.
    """
    quota = node.authorize(request, scope)
    pipeline = node.pipeline()
    require_content_type(request.headers, CONTENT_TYPE)
    terms = terms_of(request.query, bulk)
    deadline = deadline_of(request, float("inf"))
    reader = LineReader(receive, node.settings.limits, terms.start_line)
    headers = [(b"content-type", CONTENT_TYPE), (b"x-request-id", request.id.encode()), *quota, *node.responder.headers]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    transfer = _Transfer(bulk, node, pipeline, request.id, terms, deadline, reader, receive, send)
    try:
        await transfer.run()
    except* ClientDisconnected as group:
        raise ClientDisconnected from group


@dataclass
class _Transfer:
    bulk: Bulk
    node: Node
    pipeline: Pipeline
    request_id: str
    terms: Terms
    deadline: float
    reader: LineReader
    receive: Receive
    send: Send
    ok: int = 0
    failed: int = 0
    refusal: AddrmeshError | None = None
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CHUNKS_IN_FLIGHT))
    _done: "asyncio.Queue[asyncio.Task[bytes] | None]" = field(default_factory=asyncio.Queue)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read(group))
            while (task := await self._done.get()) is not None:
                await self._write(await task)
                self._slots.release()
            reading.cancel()  # it only watches for a disconnect by now
            await self._write(self._ending(), more=False)

    async def _read(self, group: asyncio.TaskGroup) -> None:
        try:
            async for chunk in self.reader.chunks():
                await self._slots.acquire()
                task = group.create_task(self._answer(chunk))
                if self.terms.ordered:
                    self._done.put_nowait(task)
                else:
                    task.add_done_callback(self._done.put_nowait)
                if self.node.lifecycle.state is not State.READY:
                    self.node.lifecycle.require_ready()
        except AddrmeshError as error:
            self.refusal = error
        ending = group.create_task(self._end())
        while self.refusal is None and (await self.receive())["type"] != "http.disconnect":
            pass
        if self.refusal is None and not ending.done():
            raise ClientDisconnected

    async def _end(self) -> None:
        for _ in range(CHUNKS_IN_FLIGHT):  # all of them free: everything has been written
            await self._slots.acquire()
        self._done.put_nowait(None)

    async def _answer(self, chunk: list[Line]) -> bytes:
        read = [self._read_line(line) for line in chunk]
        answers: Sequence[Answer | AddrmeshError]
        try:
            answers = await self.pipeline.ask_many([asked for _, asked in read], deadline=self.deadline)
        except AddrmeshError as error:
            answers = [asked if isinstance(asked, AddrmeshError) else error for _, asked in read]
        out = bytearray()
        for line, (id_, _), answer in zip(chunk, read, answers, strict=True):
            out += self._line(id_, line.number, answer)
        return bytes(out)

    def _read_line(self, line: Line) -> tuple[str | int | None, Item]:
        """Return the caller's id and what it asks."""
        if line.data is None:
            limit = self.node.settings.limits.line_bytes
            return None, BadRequest("input-too-long", f"the line is longer than {limit} bytes")
        try:
            found = decode(line.data, self.bulk.decode)
        except BadRequest as error:
            return None, error
        return found.id, self.bulk.asked(found, self.terms.own)

    def _line(self, id_: str | int | None, number: int, answer: Answer | AddrmeshError) -> bytes:
        line: wire.BulkAnswer[Any]
        if isinstance(answer, Answer):
            self.ok += 1
            marks = wire.marks(answer.mode, answer.corrected)
            line = wire.BulkAnswer(id_, number, 200, wire.rendered(answer.result), **marks)
        else:
            self.failed += 1
            line = _problem_line(id_, number, answer, self.request_id)
        return wire.encode(line) + b"\n"

    def _ending(self) -> bytes:
        out = b""
        next_line = max(self.reader.next_line, self.terms.start_line)
        if self.refusal is not None:
            out = wire.encode(_problem_line(None, next_line, self.refusal, self.request_id)) + b"\n"
        summary = wire.Summary(next_line - self.terms.start_line, self.ok, self.failed, next_line)
        return out + wire.encode(wire.BulkSummary(summary)) + b"\n"

    async def _write(self, data: bytes, *, more: bool = True) -> None:
        try:
            async with asyncio.timeout(self.node.settings.limits.body_timeout_s):
                await self.send({"type": "http.response.body", "body": data, "more_body": more})
        except TimeoutError as error:
            raise ClientDisconnected from error


def _problem_line(id_: str | int | None, number: int, error: AddrmeshError, request_id: str) -> wire.BulkAnswer[Any]:
    return wire.BulkAnswer(id_, number, kind_of(error).status, problem=problem(error, request_id))
