"""Real HTTP servers that misbehave as told, and a port that swallows connections."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from support import listening

REPLY = {
    "response_id": "1",
    "result": {"components": []},
    "service": {
        "mode": "FULL", "region": "?", "node": "n", "release": "r@1", "gazetteer_version": "g", "cached": False,
        "elapsed_ms": 0.1, "truncated": False,
    },
}  # fmt: skip
OVERLOADED = {"code": "overloaded", "status": 503, "detail": "the queue is too long", "retry_after_ms": 1000}


class Cut(Exception):
    """Close the connection now."""


class Hang(Exception):
    """Say nothing until the client closes the connection."""


class Faulty:
    """
    One server; `behave` is asked for (status, body) of every call and may raise `Cut` or `Hang`.

    `requests` holds the head of each call, `open` counts connections. Probes are answered as long as it behaves.
    """

    def __init__(self, region: str) -> None:
        self.region = region
        self.behave: Callable[[Faulty], tuple[int, object]] = good
        self.requests: list[str] = []
        self.open = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next((int(v) for k, _, v in map(_header, head.splitlines()) if k == "content-length"), 0)
                await reader.readexactly(length)
                if " /v1/" in head:
                    self.requests.append(head)
                    answer = self.behave(self)
                else:
                    answer = 200 if self.behave is good else 503, {"status": "ready"}
                status, body = answer
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(data), data))
                await writer.drain()
        except Hang:
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError, Cut):
            pass
        finally:
            self.open -= 1
            writer.transport.abort()


def _header(line: str) -> tuple[str, str, str]:
    name, colon, value = line.partition(":")
    return name.lower(), colon, value.strip()


def good(server: Faulty) -> tuple[int, object]:
    return 200, REPLY | {"service": REPLY["service"] | {"region": server.region}}  # type: ignore[operator]


def batch_of_one(server: Faulty) -> tuple[int, object]:
    items = [{"index": 0, "status": 200, "result": REPLY["result"]}]
    return 200, {"response_id": "1", "items": items, "service": REPLY["service"]}


def hang(server: Faulty) -> tuple[int, object]:
    raise Hang


def cut(server: Faulty) -> tuple[int, object]:
    raise Cut


def overloaded(server: Faulty) -> tuple[int, object]:
    return 503, OVERLOADED


def garbage(server: Faulty) -> tuple[int, object]:
    return 200, b"<html>welcome to this hotel"


@asynccontextmanager
async def faulty(region: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Faulty]:
    """Start one on a free port."""
    one, tasks = Faulty(region), set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await one.serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the streams module would log it
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    one.url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
    yield one
    await listening.stop(server)
    while tasks:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@asynccontextmanager
async def black_hole() -> AsyncIterator[str]:
    """A port whose SYN packets are dropped: its queue of connections nobody accepts is full (Linux)."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
            fillers.append(filler)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        for filler in fillers:
            filler.close()
