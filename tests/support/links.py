"""Paths between processes that a test can make long, cut, or fill with errors, without root."""

import asyncio
import random
import sys
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from support import listening

T = TypeVar("T")

RED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
ERROR = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"


class Link:
    """
    A port that leads to another port of this machine.

    Every byte takes half of `round_trip_s` in each direction; a TCP handshake takes nothing, which a real distance
    would not allow. Change an attribute, and it holds from the next bytes on.
    """

    def __init__(self, network: "Network", port: int, target: int, round_trip_s: float = 0.0) -> None:
        self.port, self.target, self.round_trip_s = port, target, round_trip_s
        self.extra_s = 0.0
        """Added to the way there: the target looks slow."""
        self.error_share = 0.0
        """Share of POST requests that are answered with 500 instead of by the target."""
        self.is_red = False
        """Readiness probes are answered with 503 instead of by the target."""
        self._network, self._draw = network, random.Random(1).random
        self._passing = asyncio.Event()
        self._passing.set()
        self._connections: set[asyncio.StreamWriter] = set()

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """Look as a target does whose process was killed: connections are reset, new ones refused."""
        await listening.stop(self._server)
        for writer in self._connections:
            writer.transport.abort()

    def drop(self) -> None:
        """Swallow everything; nobody is told."""
        self._network.loop.call_soon_threadsafe(self._passing.clear)

    def pass_on(self) -> None:
        self._network.loop.call_soon_threadsafe(self._passing.set)

    async def _accept(self, here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        self._connections.add(back)
        writers = [back]
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._passing.wait()
            there, on = await asyncio.open_connection("127.0.0.1", self.target)
            writers.append(on)
            tasks = [
                asyncio.ensure_future(self._carry(self._tampered(here, back), on, lambda: self.extra_s)),
                asyncio.ensure_future(self._carry(_chunks(there), back, lambda: 0.0)),
            ]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except OSError:
            for writer in writers:
                writer.transport.abort()
        except asyncio.CancelledError:
            pass  # the test is over; `start_server` would report it as an error
        finally:
            self._connections.discard(back)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in writers:
                writer.close()

    async def _carry(self, source: Any, target: asyncio.StreamWriter, extra_s: Callable[[], float]) -> None:
        """Deliver in order, each chunk as late as the distance was when it came."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def take() -> None:
            async for chunk in source:
                queue.put_nowait((loop.time() + self.round_trip_s / 2 + extra_s(), chunk))
            queue.put_nowait((loop.time() + self.round_trip_s / 2, b""))

        async def deliver() -> None:
            while True:
                due, chunk = await queue.get()
                if (early := due - loop.time()) > 0:
                    await asyncio.sleep(early)
                await self._passing.wait()
                if not chunk:
                    return
                target.write(chunk)

        taking, delivering = asyncio.ensure_future(take()), asyncio.ensure_future(deliver())
        try:
            await taking
            await delivering
        finally:
            taking.cancel()
            delivering.cancel()

    async def _tampered(self, here: asyncio.StreamReader, back: asyncio.StreamWriter) -> Any:
        """Yield what comes, but for what is answered here. Every request comes in one piece, as Envoy sends it."""
        async for chunk in _chunks(here):
            if self.is_red and chunk.startswith(b"GET /readyz"):
                back.write(RED)
            elif self.error_share and chunk.startswith(b"POST ") and self._draw() < self.error_share:
                head, _, body = chunk.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                await here.readexactly(length - len(body))
                back.write(ERROR)
            else:
                yield chunk


async def _chunks(reader: asyncio.StreamReader) -> Any:
    while chunk := await reader.read(65536):
        yield chunk


class Network:
    """
    Links, on a thread of their own.

    Threads take turns ten times as often as usual, else a busy load would make every link some milliseconds longer.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="network")
        self._links: list[Link] = []

    def __enter__(self) -> Self:
        self._switch_s = sys.getswitchinterval()
        sys.setswitchinterval(self._switch_s / 10)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links:
            self.do(link.refuse())
        self.do(_cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        sys.setswitchinterval(self._switch_s)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def link(self, port: int, target: int, round_trip_s: float = 0.0) -> Link:
        link = Link(self, port, target, round_trip_s)
        self.do(link.listen())
        self._links.append(link)
        return link


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def tampered(links: Iterable[Link], **attributes: object) -> Iterator[None]:
    """Set attributes of links, and put back what they were."""
    before = [(link, {name: getattr(link, name) for name in attributes}) for link in links]
    for link, _ in before:
        vars(link).update(attributes)
    try:
        yield
    finally:
        for link, old in before:
            vars(link).update(old)


@contextmanager
def dropped(links: Iterable[Link]) -> Iterator[None]:
    """Let links swallow everything."""
    links = list(links)
    for link in links:
        link.drop()
    try:
        yield
    finally:
        for link in links:
            link.pass_on()
