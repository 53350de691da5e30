"""
The lines of a streamed body, with numbers, in chunks, within limits.

Memory is bounded by what one `receive` brings (64 KiB) and one line. A chunk holds what has arrived, so a slow sender
is answered line by line and a fast one in runs worth a batch.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

from addrmesh.node.asgi import CLOSE, ClientDisconnected, Receive
from addrmesh.node.problems import BadRequest
from addrmesh.settings import Limits

CHUNK_LINES = 64
"""About two batches of the engine: enough to keep it busy, little enough to cancel."""


class Line(NamedTuple):
    """One line that is not blank; `data` is None when it was too long to keep."""

    number: int
    data: bytes | None


class LineReader:
    """
    Reads a body.

    Args:
        receive: ASGI's.
        limits: Of the node.
        start: Number of the first line to return, from 1.
    """

    def __init__(self, receive: Receive, limits: Limits, start: int) -> None:
        self._receive, self._limits, self._start = receive, limits, start
        self.next_line = 1
        """Number of the first line that has not been returned."""

    async def chunks(self) -> AsyncIterator[list[Line]]:
        """
        Yield the lines from `start` on, blank ones left out.

        Raises:
            BadRequest: A limit was reached, or the client paused for too long. The lines before have been yielded.
            ClientDisconnected: The client went away.
        """
        size, more, too_long, rest = 0, True, False, b""
        while more:
            data, more = await self._next()
            if self.next_line >= self._start:  # what is passed over on the way to `start` costs nothing
                size += len(data)
            *complete, rest = (rest + data).split(b"\n")
            if not more and (rest or (too_long and not complete)):
                complete.append(rest)
            chunk: list[Line] = []
            for text in complete:
                if self.next_line >= self._start + self._limits.bulk_lines:
                    if chunk:
                        yield chunk
                    raise BadRequest("input-too-long", f"only {self._limits.bulk_lines} lines are read; split the file")
                if self.next_line >= self._start:
                    if too_long or len(text) > self._limits.line_bytes:
                        chunk.append(Line(self.next_line, None))
                    elif stripped := text.strip():
                        chunk.append(Line(self.next_line, stripped))
                self.next_line += 1
                too_long = False
                if len(chunk) == CHUNK_LINES:
                    yield chunk
                    chunk = []
            if chunk:
                yield chunk
            if len(rest) > self._limits.line_bytes:
                too_long, rest = True, b""
            if size > self._limits.bulk_bytes:
                raise BadRequest("input-too-long", f"only {self._limits.bulk_bytes} bytes are read; split the file")

    async def _next(self) -> tuple[bytes, bool]:
        try:
            async with asyncio.timeout(self._limits.body_timeout_s):
                message = await self._receive()
        except TimeoutError as error:
            pause = self._limits.body_timeout_s
            raise BadRequest("request-timeout", f"nothing arrived for {pause:g} s", headers=CLOSE) from error
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        return message.get("body", b""), message.get("more_body", False)
