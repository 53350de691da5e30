"""
Requests wait here for the engine, and share its runs.

An engine that is `quick` runs in the event loop itself: handing a few milliseconds of work to another thread costs
more than it frees, because both then wait for the interpreter lock. Any other runs on a worker thread.

Batching happens **while the engine is busy**: an idle engine takes a request at once, a busy one finds everything
that arrived meanwhile when it returns. There is no waiting timer. Two classes wait: INTERACTIVE, one address with a
person behind it, and BULK, which fills what is left of a batch and keeps a small floor share. `form_batch` decides,
purely; `Batcher` owns the clock, the queue and the worker thread, and belongs to one event loop.

A row is what an engine answers: a text to tag, or a pair of texts to score.
"""

import asyncio
import heapq
import time
from collections.abc import Callable, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import count
from typing import Generic, NamedTuple, Protocol, TypeVar

from addrmesh.address.types import Component
from addrmesh.errors import DeadlineExceeded, EngineError, NotReady, Overloaded
from addrmesh.inference.release import Release

Components = tuple[Component, ...]
Row = TypeVar("Row", bound=Sized)
Found = TypeVar("Found")
Row_contra = TypeVar("Row_contra", contravariant=True)


class Runs(Protocol[Row_contra, Found]):
    """What the batcher needs of an engine, as `inference.engine.Engine` describes it for texts."""

    release: Release
    quick: bool

    def predict(self, rows: Sequence[Row_contra], /) -> list[Found]:
        """Answer each row; EngineError if the model failed."""
        ...

    def close(self) -> None:
        """Release the model's memory."""
        ...


BULK_SHARE = 0.25
"""Part of every batch that bulk work may claim when both classes wait: it goes on, at a quarter of full speed."""

MEMORY = 0.8
"""Weight of the past when a batch has been measured: the estimate follows a stolen core within about five batches."""


class Priority(IntEnum):
    """Who waits for the answer."""

    INTERACTIVE = 0
    BULK = 1


class Pending(Generic[Row, Found]):
    """One row in the queue. `answer` resolves to what is found; cancelling it gives the place up."""

    __slots__ = ("answer", "deadline", "enqueued", "priority", "row", "tokens")

    def __init__(
        self,
        row: Row,
        tokens: int,
        answer: "asyncio.Future[Found]",
        deadline: float,
        priority: Priority,
        enqueued: float,
    ) -> None:
        self.row, self.tokens = row, tokens
        self.answer, self.deadline, self.priority, self.enqueued = answer, deadline, priority, enqueued


Queue = list[tuple[float, int, Pending[Row, Found]]]
"""A heap by (deadline, arrival)."""


class Batch(NamedTuple, Generic[Row, Found]):
    """What `form_batch` decided."""

    rows: list[Pending[Row, Found]]
    dropped: list[Pending[Row, Found]]
    """No longer wanted, or out of time: left the queue without taking a row."""
    bulk_credit: float


def form_batch(
    interactive: Queue[Row, Found],
    bulk: Queue[Row, Found],
    *,
    max_tokens: int,
    now: float,
    bulk_credit: float = 0.0,
) -> Batch[Row, Found]:
    """
    Take from both queues as many rows as one run of the engine may hold, earliest deadline first.

    Cost is the sum of lengths, because the engine runs rows unpadded. Bulk rows come out of what interactive rows
    leave, and out of a credit that grows by `BULK_SHARE` of a batch whenever bulk work waits: deficit round robin
    (Shreedhar and Varghese, SIGCOMM 1995), so bulk work is never starved, whatever its row lengths.

    Args:
        interactive: Heap; taken and dropped rows are removed in place.
        bulk: The same, for bulk work.
        max_tokens: Upper bound on the code points of a batch. A single longer row is still returned, alone.
        now: Monotonic seconds. A row whose deadline is not after `now` is dropped.
        bulk_credit: What the previous call returned, in tokens.

    Returns:
        The rows, the dropped rows, and the credit to pass to the next call.
    """
    rows: list[Pending[Row, Found]] = []
    dropped: list[Pending[Row, Found]] = []
    left = max_tokens

    def head(queue: Queue[Row, Found]) -> Pending[Row, Found] | None:
        while queue:
            pending = queue[0][2]
            if pending.deadline > now and not pending.answer.done():
                return pending
            dropped.append(pending)
            heapq.heappop(queue)
        return None

    def take(queue: Queue[Row, Found], allowance: float) -> float:
        nonlocal left
        while left > 0 and (pending := head(queue)) is not None:
            if pending.tokens > allowance or (pending.tokens > left and rows):
                break
            heapq.heappop(queue)
            rows.append(pending)
            left -= pending.tokens
            allowance -= pending.tokens
        return allowance

    if head(bulk) is not None:
        bulk_credit = take(bulk, bulk_credit + BULK_SHARE * max_tokens)
    take(interactive, float("inf"))
    take(bulk, float("inf"))
    return Batch(rows, dropped, bulk_credit if bulk else 0.0)


@dataclass
class BatcherStats:
    """What the batcher has done; read by the metrics, written by nobody else."""

    batches: int = 0
    rows: int = 0
    tokens: int = 0
    engine_seconds: float = 0.0
    failed_rows: int = 0
    expired: int = 0
    shed: int = 0


@dataclass
class _Pace:
    """
    Seconds per token, from decaying sums.

    Sums rather than an average of ratios: a big batch then outweighs the small ones before it, whose fixed cost would
    make the queue look longer than it is.
    """

    seconds: float = 0.0
    tokens: float = 0.0
    per_token: float = 0.0

    def observe(self, seconds: float, tokens: int) -> None:
        self.seconds = self.seconds * MEMORY + seconds
        self.tokens = self.tokens * MEMORY + tokens
        self.per_token = self.seconds / self.tokens


@dataclass
class Batcher(Generic[Row, Found]):
    """
    An engine behind a queue.

    Takes ownership of the engine: `close` closes it, on the one thread that ever ran it.

    Args:
        engine: A loaded model.
        max_batch_tokens: Upper bound on the code points of one run.
        max_wait_s: Admission limit: a longer predicted wait is refused.
        tokens: Counts the code points of a row.
        on_batch: Called after each run with (rows, seconds of the engine, seconds the oldest row had waited).
    """

    engine: Runs[Row, Found]
    max_batch_tokens: int
    max_wait_s: float
    tokens: Callable[[Row], int] = len
    on_batch: Callable[[int, float, float], None] = lambda rows, seconds, waited: None  # noqa: ARG005
    stats: BatcherStats = field(default_factory=BatcherStats)

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._queues: tuple[Queue[Row, Found], Queue[Row, Found]] = ([], [])
        self._waiting_tokens = [0, 0]
        self._running: list[Pending[Row, Found]] = []
        self._running_tokens = 0
        self._arrivals = count()
        self._credit = 0.0
        self._pace = _Pace()
        self._overload = Overloaded("the queue is full", retry_after_s=self.max_wait_s)
        self._delivered_at, self._had_backlog = 0.0, False
        self._held_s = 0.0
        self._turn: asyncio.Handle | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    @property
    def queue_depth(self) -> int:
        """Rows waiting, cancelled ones that have not been met yet included."""
        return len(self._queues[0]) + len(self._queues[1])

    @property
    def queue_tokens(self) -> int:
        """Code points waiting."""
        return self._waiting_tokens[0] + self._waiting_tokens[1]

    def predicted_wait_s(self, priority: Priority) -> float:
        """
        Return how long a request that is read now will have waited for its run, in seconds; its own cost is not in it.

        What is read right after a run of a quick engine has waited in its socket while that run held the loop.
        """
        ahead = self._waiting_tokens[Priority.INTERACTIVE]
        if bulk := self._waiting_tokens[Priority.BULK]:
            # Interactive work waits for at most the floor share of bulk work, bulk work for everything.
            ahead += bulk if priority is Priority.BULK else min(bulk, int(ahead * BULK_SHARE))
        return (ahead + self._running_tokens) * self._pace.per_token + self._held_s

    def admit(self, deadline: float, priority: Priority) -> None:
        """
        Refuse what could not be answered in time.

        Raises:
            DeadlineExceeded: `deadline` (loop time) has passed.
            Overloaded: The predicted wait is over the limit or would outlast the deadline; `retry_after_s` says when
                the queue will have drained.
            NotReady: The batcher is closed.
        """
        if self._closed:
            raise NotReady("the node is stopping")
        wait = self.predicted_wait_s(priority)
        remaining = deadline - self._loop.time()
        if remaining <= 0:
            self.stats.expired += 1
            raise DeadlineExceeded("the deadline had passed when the request arrived")
        # Bulk work expects to wait, so only its deadline limits it.
        limit = remaining if priority is Priority.BULK else min(self.max_wait_s, remaining)
        if wait > limit:
            self.stats.shed += 1
            raise Overloaded(f"the predicted wait is {wait * 1000:.0f} ms", retry_after_s=wait)

    def overload(self) -> Overloaded | None:
        """Return why any interactive request is refused now, if so. It is always the same object: do not raise it."""
        if self.predicted_wait_s(Priority.INTERACTIVE) <= self.max_wait_s:
            return None
        self.stats.shed += 1
        return self._overload

    def submit(self, row: Row, deadline: float, priority: Priority = Priority.INTERACTIVE) -> Pending[Row, Found]:
        """
        Put a row in the queue without asking for admission.

        Args:
            row: What the engine takes, as a canonical text that is not empty.
            deadline: Loop time after which the row is not worth running; may be infinite.
            priority: Its class.

        Returns:
            A pending row; await its `answer`, or cancel that to leave the queue. The answer fails with
            DeadlineExceeded, EngineError or NotReady.
        """
        answer: asyncio.Future[Found] = self._loop.create_future()
        pending = Pending(row, self.tokens(row), answer, deadline, priority, time.perf_counter())
        if self._closed:
            pending.answer.set_exception(NotReady("the node is stopping"))
            return pending
        heapq.heappush(self._queues[priority], (deadline, next(self._arrivals), pending))
        self._waiting_tokens[priority] += pending.tokens
        self._idle.clear()
        if not self._running:
            # At the end of this turn of the loop, so that what arrives together runs together.
            if self._turn is None:
                self._turn = self._loop.call_soon(self._start)
        elif self._alarm is None or deadline < self._alarm.when():
            self._set_alarm()
        return pending

    async def predict(
        self, row: Row, *, deadline: float = float("inf"), priority: Priority = Priority.INTERACTIVE
    ) -> Found:
        """Admit, queue and await one row: `admit`, then `submit`, with their errors."""
        self.admit(deadline, priority)
        return await self.submit(row, deadline, priority).answer

    async def drain(self) -> None:
        """Return when everything that was submitted has been answered."""
        await self._idle.wait()

    def give_up(self, error: EngineError) -> None:
        """Fail everything that was submitted, what runs included."""
        for pending in (*self._running, *(waiting for queue in self._queues for _, _, waiting in queue)):
            if not pending.answer.done():
                pending.answer.set_exception(error)

    async def close(self) -> None:
        """Fail what still waits with NotReady, let a running batch finish, and close the engine."""
        if self._closed:
            return
        self._closed = True
        for queue in self._queues:
            for _, _, pending in queue:
                if not pending.answer.done():
                    pending.answer.set_exception(NotReady("the node is stopping"))
        # The queue is now all answered rows: the next turn drops them.
        if not self._running:
            self._start()
        await self._idle.wait()
        await self._loop.run_in_executor(self._worker, self.engine.close)
        self._worker.shutdown(wait=True)

    def _start(self) -> None:
        self._turn = None
        batch = form_batch(
            *self._queues, max_tokens=self.max_batch_tokens, now=self._loop.time(), bulk_credit=self._credit
        )
        self._credit = batch.bulk_credit
        for pending in batch.dropped:
            self._waiting_tokens[pending.priority] -= pending.tokens
            self._expire(pending)
        self._running = batch.rows
        tokens = 0
        for pending in batch.rows:
            self._waiting_tokens[pending.priority] -= pending.tokens
            tokens += pending.tokens
        self._running_tokens = tokens
        if not batch.rows:
            self._held_s = 0.0
            self._set_alarm()
            self._idle.set()
            return
        self._set_alarm()
        rows = [pending.row for pending in batch.rows]
        if self.engine.quick:
            self._deliver(*self._run(rows))
        else:
            self._loop.run_in_executor(self._worker, self._run, rows).add_done_callback(self._finish)

    def _run(self, rows: list[Row]) -> tuple[Sequence[Found | EngineError], float]:
        """Run on the worker thread; a batch that fails is tried row by row, once, so a bad row fails alone."""
        started = time.perf_counter()
        answers: Sequence[Found | EngineError]
        try:
            answers = self._engine_rows(rows)
        except EngineError as error:
            answers = [error] if len(rows) == 1 else [self._engine_row(row) for row in rows]
        return answers, time.perf_counter() - started

    def _engine_row(self, row: Row) -> Found | EngineError:
        try:
            return self._engine_rows([row])[0]
        except EngineError as error:
            return error

    def _engine_rows(self, rows: list[Row]) -> list[Found]:
        try:
            answers = self.engine.predict(rows)
        except EngineError:
            raise
        except Exception as error:
            # Whatever a runtime raises; its message may hold the text, so only the type is kept.
            raise EngineError(f"the model failed with {type(error).__name__}") from error
        if not isinstance(answers, list) or len(answers) != len(rows):
            raise EngineError(f"the model did not give {len(rows)} answers to {len(rows)} texts")
        return answers

    def _finish(self, run: "asyncio.Future[tuple[Sequence[Found | EngineError], float]]") -> None:
        answers: Sequence[Found | EngineError]
        try:
            answers, seconds = run.result()
        except BaseException as error:  # noqa: BLE001 - e.g. SystemExit on the worker: those who wait must be told
            failed = EngineError(f"the model's thread failed with {type(error).__name__}")
            failed.__cause__ = error
            answers, seconds = [failed] * len(self._running), 0.0
        self._deliver(answers, seconds)

    def _deliver(self, answers: Sequence[Found | EngineError], seconds: float) -> None:
        rows, tokens = self._running, self._running_tokens
        for pending, answer in zip(rows, answers, strict=True):
            if pending.answer.done():
                continue
            if isinstance(answer, EngineError):
                self.stats.failed_rows += 1
                pending.answer.set_exception(answer)
            else:
                pending.answer.set_result(answer)
        # The pace is what the queue sees: with work waiting, the time since the last batch came back, in which the
        # process also read, refused and replied. Under overload that is most of it.
        now = time.perf_counter()
        self._pace.observe(now - self._delivered_at if self._had_backlog else seconds, tokens)
        self._delivered_at, self._had_backlog = now, self.queue_depth > 0
        stats = self.stats
        stats.batches += 1
        stats.rows += len(rows)
        stats.tokens += tokens
        stats.engine_seconds += seconds
        waited = time.perf_counter() - seconds - min(pending.enqueued for pending in rows)
        # Before anybody else is called: nothing that fails out there may stop the queue.
        if self.engine.quick:
            self._running, self._running_tokens = [], 0
            self._held_s = seconds
            self._turn = self._loop.call_soon(self._let_replies_go)
        else:
            self._start()
        self.on_batch(len(rows), seconds, waited)

    def _let_replies_go(self) -> None:
        """Start the next batch behind the callbacks that write this one's replies: they need two turns of the loop."""
        self._turn = self._loop.call_soon(self._start)

    def _set_alarm(self) -> None:
        """Keep one timer for the earliest deadline of all, instead of one per request."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        deadlines = [queue[0][0] for queue in self._queues if queue]
        deadlines += [pending.deadline for pending in self._running if not pending.answer.done()]
        if deadlines and (earliest := min(deadlines)) != float("inf"):
            self._alarm = self._loop.call_at(earliest, self._expire_overdue)

    def _expire_overdue(self) -> None:
        self._alarm = None
        now = self._loop.time()
        for queue in self._queues:
            while queue and (queue[0][0] <= now or queue[0][2].answer.done()):
                pending = heapq.heappop(queue)[2]
                self._waiting_tokens[pending.priority] -= pending.tokens
                self._expire(pending)
        for pending in self._running:
            if pending.deadline <= now:
                self._expire(pending)
        self._set_alarm()

    def _expire(self, pending: Pending[Row, Found]) -> None:
        if not pending.answer.done():
            self.stats.expired += 1
            pending.answer.set_exception(DeadlineExceeded("the deadline passed before the model could answer"))


PendingText = Pending[str, Components]
TextBatcher = Batcher[str, Components]
