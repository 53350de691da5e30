"""Open-loop load: arrivals at a constant rate whatever happens, each request timed from when it was due."""

import asyncio
import math
import os
import platform
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Self

import msgspec

from addrmesh.client import AsyncClient, ClientError, ParseReply, ParseResult

Ask = Callable[[str], Awaitable[ParseReply]]
"""Answers an address, or raises."""
Door = Callable[[], AbstractAsyncContextManager[Ask]]
"""A way into the fleet, as a user of one region has it."""

GIVE_UP_S = 5.0
SLOW_S = 0.1
"""Above this, a request shows that the fleet has not yet converged."""

_decode = msgspec.json.Decoder(ParseReply).decode


class NotOk(Exception):
    """A status other than 200."""


@dataclass(frozen=True)
class Sent:
    """What became of one request."""

    at_s: float
    """When it was due, in monotonic seconds."""
    late_s: float
    """How much later than that it was sent: what the load itself lacked in time."""
    took_s: float
    door: int
    node: str | None
    """`region/node` that answered."""
    problem: str | None
    """None: the right answer."""


@dataclass(frozen=True)
class Figures:
    """What a load measured."""

    requests: int
    failed: int
    before_p99_ms: float
    fault_p50_ms: float
    fault_p99_ms: float
    after_p99_ms: float
    slow: int
    """Requests in the fault that failed or took more than 100 ms."""
    last_slow_s: float
    """How long after the start of the fault the last of them was due."""


def edge(url: str) -> Door:
    """Ask an edge on kept connections, without any retry: what fails here has failed for a user."""
    host, port = url.removeprefix("http://").split(":")

    @asynccontextmanager
    async def door() -> AsyncIterator[Ask]:
        idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        opened: list[asyncio.StreamWriter] = []

        async def ask(address: str) -> ParseReply:
            body = msgspec.json.encode({"address": address})
            while idle and idle[-1][0].at_eof():  # closed while nobody used it
                idle.pop()
            if not idle:
                idle.append(await asyncio.open_connection(host, int(port)))
                opened.append(idle[-1][1])
            reader, writer = idle.pop()
            writer.write(
                b"POST /v1/address:parse HTTP/1.1\r\nhost: lab\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\n\r\n%s" % (len(body), body)
            )
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            reply = await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
            if b"connection: close" not in head:
                idle.append((reader, writer))
            if not head.startswith(b"http/1.1 200"):
                raise NotOk(f"{head[9:12].decode()} {reply[:200].decode('utf-8', 'replace')}")
            return _decode(reply)

        try:
            yield ask
        finally:
            for writer in opened:
                writer.close()

    return door


def client(*urls: str) -> Door:
    """Ask through the library, which knows several regions."""

    @asynccontextmanager
    async def door() -> AsyncIterator[Ask]:
        async with AsyncClient(urls) as asking:
            yield asking.parse

    return door


class Load:
    """
    Sends to each door in turn from entering to leaving the context, on a thread of its own.

    Args:
        doors: Ways into the fleet.
        answers: The right answer to every address that is sent.
        rps: Requests a second, over all doors.
    """

    def __init__(self, doors: Sequence[Door], answers: Mapping[str, ParseResult], rps: float) -> None:
        self._doors, self._answers, self._rps = doors, answers, rps
        self._sent: list[Sent] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")
        self.began_s, self.ended_s = 0.0, 0.0
        """Of the fault, in monotonic seconds."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @staticmethod
    def goes_on(seconds: float) -> None:
        time.sleep(seconds)

    @contextmanager
    def fault(self) -> Iterator[None]:
        """Note the time in which the fleet is disturbed."""
        self.began_s = time.monotonic()
        yield
        self.ended_s = time.monotonic()

    @property
    def sent(self) -> list[Sent]:
        """What has come to an end, in the order in which it was due."""
        return sorted(self._sent, key=lambda sent: sent.at_s)

    @property
    def failures(self) -> list[Sent]:
        return [sent for sent in self.sent if sent.problem]

    def last_from(self, nodes: str, *, before: float = math.inf) -> float:
        """Return when the last request was due that a node with this prefix answered, in monotonic seconds."""
        return max(self._from(nodes, 0.0, before))

    def first_from(self, nodes: str, *, after: float) -> float:
        """Return when the first request was due that a node with this prefix answered, in monotonic seconds."""
        return min(self._from(nodes, after, math.inf))

    def _from(self, nodes: str, start: float, end: float) -> list[float]:
        found = [s.at_s for s in self.sent if s.node and s.node.startswith(nodes) and start < s.at_s < end]
        assert found, f"{nodes} answered nothing then"
        return found

    def slow_share(self, start: float, end: float) -> float:
        """Return the share of the requests due then that failed or took more than `SLOW_S`."""
        due = [sent for sent in self.sent if start <= sent.at_s < end]
        return sum(map(_is_slow, due)) / len(due)

    def p99_ms(self, start: float, end: float) -> float:
        """Return the 99th percentile of the requests that were due then."""
        return _quantile_ms([sent for sent in self.sent if start <= sent.at_s < end], 0.99)

    def story(self) -> str:
        """Tell of every request that failed or was slow."""
        found = [s for s in self.sent if _is_slow(s)]
        return "\n".join(
            f"{s.at_s - self.began_s:+7.3f} s, sent {1000 * s.late_s:.0f} ms late by door {s.door}, "
            f"took {1000 * s.took_s:.0f} ms: {s.problem or s.node}"
            for s in found
        )

    def figures(self) -> Figures:
        start, end = self.began_s, self.ended_s
        before = [sent for sent in self.sent if sent.at_s < start]
        during = [sent for sent in self.sent if start <= sent.at_s < end]
        after = [sent for sent in self.sent if sent.at_s >= end]
        return Figures(
            requests=len(self.sent),
            failed=len(self.failures),
            before_p99_ms=_quantile_ms(before, 0.99),
            fault_p50_ms=_quantile_ms(during, 0.5),
            fault_p99_ms=_quantile_ms(during, 0.99),
            after_p99_ms=_quantile_ms(after, 0.99),
            slow=sum(map(_is_slow, during)),
            last_slow_s=round(max((sent.at_s - start for sent in during if _is_slow(sent)), default=0.0), 2),
        )

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:
            asks = [await stack.enter_async_context(door()) for door in self._doors]
            addresses = list(self._answers)
            start, running = time.monotonic(), set[asyncio.Task[None]]()
            for number in range(1_000_000):
                due = start + number / self._rps
                if (early := due - time.monotonic()) > 0:
                    await asyncio.sleep(early)
                if self._over.is_set():
                    break
                # Doors and addresses are both taken in turn; so every door sees every address.
                address = addresses[(number // len(asks)) % len(addresses)]
                task = asyncio.create_task(self._one(number % len(asks), asks[number % len(asks)], address, due))
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.gather(*running)

    async def _one(self, door: int, ask: Ask, address: str, due: float) -> None:
        late_s = time.monotonic() - due
        node, problem = None, None
        try:
            async with asyncio.timeout(GIVE_UP_S):
                reply = await ask(address)
            node = f"{reply.service.region}/{reply.service.node}"
            if reply.result != self._answers[address]:
                problem = f"{node} gave another answer"
        except (OSError, EOFError, NotOk, ClientError, msgspec.DecodeError) as error:
            problem = f"{type(error).__name__} {error}"
        self._sent.append(Sent(due, late_s, time.monotonic() - due, door, node, problem))


def machine() -> str:
    """Say where figures were measured."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, load {os.getloadavg()[0]:.1f}"


def _quantile_ms(sent: Sequence[Sent], share: float) -> float:
    took = sorted(s.took_s for s in sent)
    return round(1000 * took[min(len(took) - 1, int(len(took) * share))], 1) if took else 0.0


def _is_slow(sent: Sent) -> bool:
    return sent.problem is not None or sent.took_s > SLOW_S
