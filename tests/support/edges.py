"""Edges as real processes, small nodes to put behind them, and a load to count failures with."""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from addrmesh.edge.check import binary
from addrmesh.edge.install import install
from addrmesh.edge.render import command, render
from addrmesh.errors import ConfigError
from addrmesh.topology.routing import RoutingTable
from addrmesh.topology.spec import FleetSpec
from support import listening

PATIENCE_S = 15.0


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago; all are held until all are found."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def require(kind: str) -> None:
    """Skip, visibly, without the engine; with REQUIRE_ENGINES set, fail."""
    try:
        binary(kind)
    except ConfigError as error:
        if os.environ.get("REQUIRE_ENGINES"):
            raise
        pytest.skip(str(error))


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Poll a process that cannot tell us by itself."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.02)


async def eventually(condition: Callable[[], Any], what: str) -> None:
    """As `wait_until`, while the event loop serves on."""
    end = time.monotonic() + PATIENCE_S
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < end, f"never happened: {what}"
        await asyncio.sleep(0.02)


class FakeNode:
    """
    A small HTTP server with a node's manners; change an attribute and it misbehaves from the next request on.

    It answers a POST with its id and the header of the edge it came through, a bulk stream line by line.
    """

    def __init__(self, id: str, port: int, release: str = "r@1") -> None:  # noqa: A002
        self.id, self.port, self.release = id, port, release
        self.delay_s = 0.0
        self.is_ready = True
        self.is_hung = False
        self.shed_above: int | None = None
        self.status_of: Callable[[int], int] = lambda _: 200
        self.served = 0
        self.active = 0
        self.most_active = 0
        self.requests: list[dict[str, str]] = []
        self.tls: ssl.SSLContext | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)

    async def kill(self) -> None:
        """Stop listening and reset every connection."""
        assert self._server
        await listening.stop(self._server)
        for writer in list(self._connections):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(head.decode(), reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # cancelled: the test is over; `start_server` would report it as an error
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _answer(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *rest = head.split("\r\n")
        path = line.split()[1]
        headers = {k.lower(): v.strip() for k, _, v in (h.partition(":") for h in rest if h)}
        if path == "/v1/addresses:bulkParse":
            await self._stream(reader, writer)
            return
        await reader.readexactly(int(headers.get("content-length", 0)))
        if self.is_hung:
            await asyncio.Event().wait()
        if path == "/readyz":
            wanted = headers.get("x-addrmesh-release")
            _reply(writer, 200 if self.is_ready and wanted in (None, self.release) else 503, {})
            return
        self.requests.append({"path": path, **headers})
        if self.shed_above is not None and self.active >= self.shed_above:
            _reply(writer, 503, {"code": "overloaded"}, "retry-after: 1\r\n")
            return
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            await asyncio.sleep(self.delay_s)
        finally:
            self.active -= 1
        self.served += 1
        _reply(writer, self.status_of(self.served), {"node": self.id, "edge": headers.get("x-addrmesh-edge")})

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while size := int(await reader.readline(), 16):
            chunk = await reader.readexactly(size + 2)
            writer.write(b"%x\r\n%s" % (size, chunk))
            await writer.drain()
        await reader.readline()
        writer.write(b"0\r\n\r\n")


def _reply(writer: asyncio.StreamWriter, status: int, document: Any, more: str = "") -> None:
    body = json.dumps(document).encode()
    writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{more}\r\n".encode() + body)


class Edge:
    """An engine in a directory of its own, from the files rendered for a table."""

    def __init__(self, table: RoutingTable, directory: Path) -> None:
        self.table, self.directory = table, directory
        self.url = f"{'https' if table.certificates else 'http'}://127.0.0.1:{table.listener.port}"
        self.admin = f"http://127.0.0.1:{table.listener.admin_port}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Edge"]:
        install(render(self.table), self.directory)
        program = str(binary(self.table.listener.kind))
        with (self.directory / "log").open("wb") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - it takes a millisecond
                command(self.table, program), cwd=self.directory, stdout=log, stderr=log
            )
        try:
            await eventually(lambda: self.is_live, "the edge is live")
            yield self
        finally:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(10)
            print((self.directory / "log").read_text())

    @property
    def is_live(self) -> bool:
        assert self.process.poll() is None, (self.directory / "log").read_text()
        try:
            return self.get("/ready").startswith("LIVE")
        except OSError:
            return False

    def get(self, path: str) -> str:
        """Ask the edge's status page."""
        with urllib.request.urlopen(self.admin + path, timeout=5) as reply:
            return str(reply.read().decode())

    def stat(self, name: str) -> int:
        """An Envoy counter or gauge, by its full name; 0 if it does not exist yet."""
        found = self.get(f"/stats?filter=^{name}$")
        return int(found.rpartition(" ")[2]) if found else 0

    def apply(self, table: RoutingTable) -> list[str]:
        """Replace the files under the running engine."""
        changed = install(render(table), self.directory)
        if table.listener.kind == "nginx":
            self.process.send_signal(signal.SIGHUP)
        return changed

    def is_healthy(self, node: FakeNode) -> bool:
        """Say whether Envoy would send there."""
        return f"nodes::127.0.0.1:{node.port}::health_flags::healthy" in self.get("/clusters")


@dataclass(frozen=True)
class Sent:
    """What became of one request; `status` is 0 when there was no answer."""

    at_s: float
    status: int
    node: str | None
    took_s: float


async def load(url: str, *, rps: float, seconds: float, reconnects: bool = False) -> list[Sent]:
    """
    Send at a constant rate whatever happens (open loop); time counts from when a request should have been sent.

    With `reconnects`, a connection that was closed while it was idle is no failure, as with most HTTP clients.
    """
    host, port = url.removeprefix("http://").split(":")
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    opened: list[asyncio.StreamWriter] = []
    start = time.monotonic()

    async def one(at_s: float) -> Sent:
        await asyncio.sleep(start + at_s - time.monotonic())
        status, node = 0, None
        try:
            async with asyncio.timeout(5):
                while not status:
                    is_fresh = not idle
                    if is_fresh:
                        idle.append(await asyncio.open_connection(host, int(port)))
                        opened.append(idle[-1][1])
                    try:
                        status, node = await ask(*idle.pop())
                    except (ConnectionError, EOFError):
                        if is_fresh or not reconnects:
                            raise
        except (OSError, EOFError):  # a timeout is an OSError
            pass
        return Sent(at_s, status, node, time.monotonic() - start - at_s)

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, str | None]:
        writer.write(b"POST /v1/address:parse HTTP/1.1\r\nhost: edge\r\ncontent-length: 2\r\n\r\n{}")
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].split("\r\n")[0])
        body = await reader.readexactly(length)
        if "connection: close" not in head:
            idle.append((reader, writer))
        status = int(head.split()[1])
        return status, json.loads(body)["node"] if status == 200 else None

    try:
        async with asyncio.TaskGroup() as tasks:
            sent = [tasks.create_task(one(i / rps)) for i in range(int(rps * seconds))]
    finally:
        for writer in opened:
            writer.close()
    return [task.result() for task in sent]


def failures(sent: Iterable[Sent]) -> list[Sent]:
    return [s for s in sent if s.status != 200]


def two_regions(kind: str = "envoy", **sections: Any) -> FleetSpec:
    """`eu` and `cn` with two nodes each, 30 ms apart by name only, on free ports."""
    ports = iter(free_ports(8))
    regions = [
        {
            "name": name,
            "location": {"latitude": latitude, "longitude": longitude},
            "client_networks": [network],
            "nodes": [{"name": f"node-{i + 1}", "port": next(ports)} for i in range(2)],
            "edge": {"kind": kind, "port": next(ports), "admin_port": next(ports)},
        }
        for name, latitude, longitude, network in (
            ("eu", 50.1, 8.7, "10.1.0.0/16"),
            ("cn", 31.2, 121.5, "10.2.0.0/16"),
        )
    ]
    return FleetSpec.model_validate(
        {"regions": regions, "round_trips": [{"between": ["eu", "cn"], "ms": 30}], **sections}
    )


@asynccontextmanager
async def fake_nodes(spec: FleetSpec, tls: Mapping[str, ssl.SSLContext] = {}) -> AsyncIterator[dict[str, FakeNode]]:
    """A fake node for every node of the spec, by `region/node`; with TLS where `tls` names it."""
    names = {f"{r.name}/{n.name}": n.port for r in spec.regions for n in r.nodes}
    nodes = {name: FakeNode(name, port) for name, port in names.items()}
    for node in nodes.values():
        node.tls = tls.get(node.id)
        await node.start()
    try:
        yield nodes
    finally:
        for node in nodes.values():
            await node.kill()
