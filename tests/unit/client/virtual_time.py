"""An event loop whose clock jumps to the next timer, and endpoints that behave as told on it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from addrmesh.client.budget import RetryBudget
from addrmesh.client.endpoints import Endpoint, Fleet
from addrmesh.client.exchange import Request
from addrmesh.client.outcome import Outcome, judge
from addrmesh.client.race import Course, Tasks

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Waits for nothing: when only timers are left it is their time."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0
        select = self._selector.select

        def jump(timeout: float | None = None) -> Any:
            if timeout is None:
                raise AssertionError("nothing will ever happen again")
            self._now += timeout
            return select(0)

        self._selector.select = jump

    def time(self) -> float:
        return self._now


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def now() -> float:
    return asyncio.get_running_loop().time()


class Region:
    """
    A line to a simulated region. `answers` is (status, headers' Retry-After, body) after `latency_s`; `silent` never
    answers; `refusing` refuses connections.
    """

    def __init__(self, latency_s: float = 0.01) -> None:
        self.latency_s = latency_s
        self.silent = self.refusing = False
        self.answers: Callable[[], tuple[int, str | None, bytes]] = lambda: (200, None, b'"ok"')
        self.asked: list[float] = []
        self.told: list[float] = []
        self.cancelled = 0
        self.probes: list[str] = []

    async def ask(self, request: Request[T], *, deadline_s: float, connect_s: float | None) -> Outcome[T]:  # noqa: ARG002
        self.asked.append(now())
        self.told.append(deadline_s)
        try:
            if self.refusing:
                return Outcome("connection refused or unreachable")
            await asyncio.sleep(self.latency_s)
            for _ in range(5):  # from a readable socket to a decoded answer the loop turns a few times
                await asyncio.sleep(0)
            if self.silent:  # also what was under way
                await asyncio.sleep(1000)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return judge(*self.answers(), request.decode)

    async def probe(self, path: str) -> float | None:
        self.probes.append(path)
        if self.refusing:
            return None
        if self.silent:
            await asyncio.sleep(2)
            return None
        await asyncio.sleep(self.latency_s / 2)
        return self.latency_s / 2

    async def close(self) -> None:
        raise AssertionError("nobody closes a simulated region")


def course(*regions: Region) -> Course:
    lines = {Endpoint(f"http://region-{number}"): region for number, region in enumerate(regions)}
    return Course(Fleet(list(lines)), dict(lines), RetryBudget(), Tasks(), 0.1, jitter_s=lambda: 0.03)
