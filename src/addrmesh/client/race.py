"""
One call, from the first try to the reply.

    0 ms                 ask the nearest endpoint that works
    hedge delay          it is silent: ask the next one too; the first good answer wins, the other is cancelled
    a try fails          ask again, another endpoint first: after 10-50 ms, or at once when told to stay away
    deadline             give up

At most one hedge and two retries, each paid for from the retry budget. An endpoint that is ejected is raced only when
nobody else is left and half of the time is gone. One that gave a `Retry-After` is not asked again before. An answer
that another try cannot better (4xx) ends the call at once.

No timeout cuts an attempt of a hedged call short, not even while it connects: that turns slow into down. (Tried: with
connections given 100 ms, a client short of CPU gave up each, opened the next at more CPU, and failed 172 of 280 calls
after one region was killed; with the race alone, none.) Calls that may not be hedged share their time out evenly
between the tries that are left, and have a connect timeout.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from addrmesh.client.budget import RetryBudget
from addrmesh.client.endpoints import Endpoint, Fleet
from addrmesh.client.errors import Attempt, ClientError, NoAnswer, ProblemError
from addrmesh.client.exchange import Request
from addrmesh.client.outcome import Outcome

T = TypeVar("T")

MAX_RETRIES = 2
JITTER_S = (0.01, 0.05)
STALL_S = 0.02
"""A timer that is later than this tells of this process, not of an endpoint."""
FAIR_S = 0.1
"""Silence for less, beyond the round trip, says nothing about an endpoint."""


class Line(Protocol):
    """A way to one endpoint; `Connection` in earnest."""

    async def ask(self, request: Request[T], *, deadline_s: float, connect_s: float | None) -> Outcome[T]: ...

    async def probe(self, path: str) -> float | None: ...

    async def close(self) -> None: ...


class Tasks:
    """What runs in the background: attempts, losers on their way out, probes."""

    def __init__(self) -> None:
        self.closed = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """
        Run something until it ends or `close` is called.

        Raises:
            ClientError: It has been called.
        """
        if self.closed:
            work.close()
            raise ClientError("the client is closed; make another one")
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Cancel everything and return when it has ended."""
        self.closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True)
class Course:
    """What all calls of a client share."""

    fleet: Fleet
    lines: dict[Endpoint, Line]
    budget: RetryBudget
    tasks: Tasks
    connect_timeout_s: float
    jitter_s: Callable[[], float] = lambda: random.uniform(*JITTER_S)  # noqa: S311 - no secret

    async def call(self, request: Request[T], deadline_s: float, *, hedged: bool) -> T:
        """
        Return the reply to a request; probes that are due are sent in the background.

        Args:
            request: Safe to send twice.
            deadline_s: From now.
            hedged: Whether a slow endpoint is raced. Its latencies are then also what others are compared with.

        Raises:
            ProblemError: The service refuses, or every try that was answered at all was answered with a problem.
            NoAnswer: No try was answered.
        """
        for endpoint, path in self.fleet.due_probes(asyncio.get_running_loop().time()):
            self.tasks.start(self._probe(endpoint, path))
        return await _Race(self, request, deadline_s, hedged).run()

    async def _probe(self, endpoint: Endpoint, path: str) -> None:
        rtt_s = await self.lines[endpoint].probe(path)
        endpoint.probed(path, rtt_s, asyncio.get_running_loop().time())


@dataclass(frozen=True, slots=True, eq=False)
class _Try:
    endpoint: Endpoint
    began: float
    until: float


@dataclass
class _Race(Generic[T]):
    course: Course
    request: Request[T]
    deadline_s: float
    hedged: bool
    _running: dict[asyncio.Task[Outcome[T]], _Try] = field(default_factory=dict)
    _tries: dict[Endpoint, int] = field(default_factory=dict)
    _not_before: dict[Endpoint, float] = field(default_factory=dict)
    _attempts: list[Attempt] = field(default_factory=list)
    _problem: Outcome[T] | None = None
    _retries: int = 0
    _retry: tuple[float, Endpoint] | None = None
    _hedge_at: float | None = None
    _was_stalled: bool = False
    _budget_spent: bool = False

    def __post_init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._deadline = self._clock() + self.deadline_s

    async def run(self) -> T:
        self.course.budget.begin(self._clock())
        try:
            self._ask(self._candidate())
            while self._running or self._retry is not None:
                await self._wait()
                if (won := self._settle()) is not None:
                    return won
                self._ask_again()
            raise self._failure()
        finally:
            for task in self._running:
                task.cancel()

    async def _wait(self) -> None:
        due = [ran.until for ran in self._running.values()]
        due += [self._retry[0]] if self._retry else []
        due += [self._hedge_at] if self._hedge_at is not None else []
        left = max(0.0, min(due) - self._clock())
        if self._running:
            await asyncio.wait(self._running, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(left)

    def _settle(self) -> T | None:
        """Judge the attempts that have ended or taken too long, and return the reply if one is good."""
        for task in [task for task in self._running if task.done()]:
            if task.cancelled():
                raise ClientError("the client was closed during the call; nothing is known of its answer")
            ran, outcome, now = self._running.pop(task), task.result(), self._clock()
            endpoint = ran.endpoint
            self._attempts.append(Attempt(endpoint.url, outcome.words, (now - ran.began) * 1000))
            if outcome.working:
                endpoint.answered(now, now - ran.began if self.hedged and outcome.reply is not None else None)
            elif outcome.working is False:
                endpoint.failed(now)
            if outcome.leaving:
                endpoint.eject(now)
            if outcome.reply is not None:
                self._win(ran, now)
                return outcome.reply
            if outcome.problem is not None:
                self._problem = outcome
                if outcome.is_final:
                    raise ProblemError(outcome.problem, self._attempts)
            self._plan_retry(endpoint, outcome, now)
        self._settle_silent()
        return None

    def _settle_silent(self) -> None:
        now = self._clock()
        for task, ran in [(task, ran) for task, ran in self._running.items() if ran.until <= now]:
            task.cancel()
            del self._running[task]
            self._attempts.append(Attempt(ran.endpoint.url, "silent", (now - ran.began) * 1000))
            if now - ran.began >= FAIR_S + (ran.endpoint.rtt_s or 0.0):
                ran.endpoint.failed(now)
            self._plan_retry(ran.endpoint, Outcome("silent"), now)

    def _win(self, winner: _Try, now: float) -> None:
        self.course.budget.succeed()
        for loser in self._running.values():
            if loser.began < winner.began:  # it had a head start of the hedge delay and is silent still
                loser.endpoint.failed(now)

    def _plan_retry(self, failed: Endpoint, outcome: Outcome[T], now: float) -> None:
        wait_ms = outcome.problem.retry_after_ms if outcome.problem else None
        if wait_ms is not None:
            self._not_before[failed] = now + wait_ms / 1000
        candidate = self._candidate()
        hopeless = failed.ejected or self._tries.get(candidate, 0) > 1
        if self._retry is not None or self._retries == MAX_RETRIES or (self._running and hopeless):
            return
        jitter = 0.0 if wait_ms is not None and candidate is not failed else self.course.jitter_s()
        at = max(now + jitter, self._not_before.get(candidate, now))
        if at >= self._deadline:
            return
        if not self.course.budget.spend(now):
            self._budget_spent = True
            return
        self._retries += 1
        self._retry = at, candidate

    def _ask_again(self) -> None:
        """Send the retry or the hedge that is due."""
        now = self._clock()
        if self._retry is not None and self._retry[0] <= now:
            candidate, self._retry = self._retry[1], None
            self._ask(candidate)
        elif self._hedge_at is not None and self._hedge_at + STALL_S <= now and not self._was_stalled:
            # The timer is late: this process was stalled, and the answer may wait in its own sockets.
            self._was_stalled, self._hedge_at = True, now + STALL_S
        elif self._hedge_at is not None and self._hedge_at <= now:
            self._hedge_at = None
            candidate = self._candidate()
            if candidate in self._tries or self._retry is not None:
                return
            if candidate.ejected and now < (last_resort_at := self._deadline - self.deadline_s / 2):
                self._hedge_at = last_resort_at
            elif self.course.budget.spend(now):
                self._ask(candidate)
            else:
                self._budget_spent = True

    def _candidate(self) -> Endpoint:
        """Return whom to ask next: rather not who is being asked, is ejected, wants to be left alone, was asked."""
        now, asked = self._clock(), {ran.endpoint for ran in self._running.values()}
        return min(
            self.course.fleet.ranked(),
            key=lambda e: (e in asked, e.ejected, self._not_before.get(e, now) > now, self._tries.get(e, 0)),
        )

    def _ask(self, endpoint: Endpoint) -> None:
        now = self._clock()
        left = max(0.0, self._deadline - now)
        limit = left if self.hedged else left / (1 + MAX_RETRIES - self._retries)
        work = self.course.lines[endpoint].ask(
            self.request,
            deadline_s=limit - (endpoint.rtt_s or 0.0),  # the answer has to travel, too
            connect_s=None if self.hedged else endpoint.connect_timeout_s(self.course.connect_timeout_s),
        )
        if self.hedged and not self._tries:
            self._hedge_at = now + endpoint.hedge_delay_s(left)
        self._tries[endpoint] = self._tries.get(endpoint, 0) + 1
        self._running[self.course.tasks.start(work)] = _Try(endpoint, now, now + limit)

    def _failure(self) -> ClientError:
        if self._problem is not None and self._problem.problem is not None:
            return ProblemError(self._problem.problem, self._attempts)
        hint = ", and the retry budget is spent: too many calls need a second try" if self._budget_spent else ""
        return NoAnswer(self._attempts, deadline_s=self.deadline_s, request_id=self.request.id, hint=hint)
