"""
What a node does when its own model fails or hangs: the built-in model answers, marked as weaker, until it is back.

An engine that is merely full is not left: what it cannot take in time goes to the built-in model, request by request.
One that fails again and again, or is silent, is left altogether: it is closed and loaded anew after a pause that
grows, and comes back when it has answered its release's probe set. So no request is ever a trial.
`Breaker` decides, purely; `Ladder` carries it out. A node whose own release is the built-in one has no ladder.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import structlog

from addrmesh.address.questions import Found, Question, Validation
from addrmesh.errors import AddrmeshError, EngineError, Overloaded, Unavailable
from addrmesh.inference.batcher import Priority, TextBatcher
from addrmesh.telemetry.log import failure
from addrmesh.telemetry.metrics import NodeMetrics

if TYPE_CHECKING:
    from addrmesh.node.pipeline import Pipeline

FAILURES = 3
"""In a row, until an engine is left. The batcher has tried each text alone, so it is not one bad text among others."""

SILENT_S = 5.0
"""Without an answer, with work, until an engine is left: four times what MGeo in fp32 takes for the largest batch."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
WELL_S = 60.0
"""An engine that has been back for so long begins with the first pause again."""

RESERVE_S = 0.1
"""Of the time until a deadline, kept for the built-in model; a quarter, where that is less."""

LONGEST_S = 60.0
"""A text without a deadline is given to the built-in model after this."""


@dataclass
class Breaker:
    """
    Whether the node's own engine is asked.

    Args:
        clock: Monotonic seconds.
    """

    clock: Callable[[], float] = time.monotonic
    left_at: float | None = None
    """When it was left; None while it is asked."""
    pause_s: float = 0.0
    """Time to wait before it is loaded anew."""
    _failures: int = 0
    _back_at: float = float("-inf")
    _runs: int = 0
    _silent_since: float = float("inf")

    def answered(self) -> None:
        """Forget the failures: they were not the engine's."""
        self._failures = 0

    def failed(self) -> bool:
        """Count a failure, and return whether the engine is left for it."""
        self._failures += 1
        return self._failures >= FAILURES and self._leave()

    def seen(self, runs: int, *, busy: bool) -> bool:
        """
        Look at the engine, and return whether it is left because it is silent.

        Args:
            runs: How many it has finished.
            busy: Whether it has work.
        """
        now = self.clock()
        if not busy or runs != self._runs or self._silent_since > now:
            self._runs, self._silent_since = runs, now
        return now - self._silent_since >= SILENT_S and self._leave()

    def still_away(self) -> None:
        """Note that it could not be brought back."""
        self.pause_s = min(2 * self.pause_s, LONGEST_PAUSE_S)

    def back(self) -> float:
        """Ask it again, and return for how many seconds it was away."""
        if self.left_at is None:
            raise AssertionError("an engine that was not left cannot come back; this is a bug")
        self._back_at = self.clock()
        away_s = self._back_at - self.left_at
        self.left_at, self._failures, self._silent_since = None, 0, float("inf")
        return away_s

    def _leave(self) -> bool:
        if self.left_at is not None:
            return False
        self.left_at = self.clock()
        if self.left_at - self._back_at >= WELL_S:
            self.pause_s = FIRST_PAUSE_S
        else:
            self.still_away()
        return True


class Ladder:
    """
    The built-in model, beside the node's own.

    Args:
        builtin: Answers instead; belongs to whoever made it.
        restart: Loads the node's own model again, and returns it once it has answered its probe set.
        metrics: Where restarts are counted.
        breaker: Decides.
    """

    def __init__(
        self,
        builtin: TextBatcher,
        restart: Callable[[], Awaitable[TextBatcher]],
        metrics: NodeMetrics,
        breaker: Breaker | None = None,
    ) -> None:
        self.builtin = builtin
        self.why: str | None = None
        """Why the node's own model is away; None while it is asked."""
        self._restart, self._metrics = restart, metrics
        self._breaker = breaker or Breaker()
        self._returning: asyncio.Task[None] | None = None
        self._log = structlog.get_logger()

    @staticmethod
    def until(deadline: float) -> float:
        """Return the loop time at which a node's own model has had its share of the time until `deadline`."""
        now = asyncio.get_running_loop().time()
        return min(deadline - min(RESERVE_S, (deadline - now) / 4), now + LONGEST_S)

    def admit(self, pipeline: "Pipeline", deadline: float, priority: Priority) -> Unavailable | None:
        """
        Return why the node's own model does not take what the built-in one takes, if so.

        Raises:
            Overloaded, DeadlineExceeded, NotReady: Neither takes it.
        """
        self._look(pipeline)
        try:
            pipeline.batcher.admit(self.until(deadline), priority)
        except Unavailable as error:
            self.builtin.admit(deadline, priority)
            return error
        return None

    def overload(self, own: TextBatcher) -> Overloaded | None:
        """Return why any interactive request is refused now, if so. It is always the same object: do not raise it."""
        refusal = self.builtin.overload()
        return refusal if self.why is not None or own.overload() is not None else None

    def landed(self, pipeline: "Pipeline", error: BaseException | None) -> None:
        """Take note of what became of a text that the node's own model was asked about."""
        if error is None:
            self._breaker.answered()
        elif isinstance(error, EngineError):
            if self.why is None:
                self._log.error("engine.failed", **failure(error))
            if self._breaker.failed():
                self._leave(pipeline, f"it failed {FAILURES} times in a row")
        else:
            self._look(pipeline)

    async def stop(self) -> None:
        """Bring nothing back any more."""
        if self._returning is not None:
            self._returning.cancel()
            await asyncio.gather(self._returning, return_exceptions=True)

    def _look(self, pipeline: "Pipeline") -> None:
        own = pipeline.batcher
        if self._breaker.seen(own.stats.batches, busy=own.predicted_wait_s(Priority.BULK) > 0):
            self._leave(pipeline, f"it has not answered for {SILENT_S:g} s")

    def _leave(self, pipeline: "Pipeline", why: str) -> None:
        self.why = why
        self._log.error("engine.left", why=why, pause_s=self._breaker.pause_s)
        pipeline.give_up(EngineError("the node's own model was left for the built-in one"))
        self._returning = asyncio.create_task(self._return(pipeline))

    async def _return(self, pipeline: "Pipeline") -> None:
        try:
            await pipeline.batcher.close()  # a run that hangs holds this up; two copies might not fit into the memory
        except Exception as error:  # noqa: BLE001 - it is broken, so it may not even close
            self._log.warning("engine.not_closed", **failure(error))
        while True:
            await asyncio.sleep(self._breaker.pause_s)
            self._metrics.engine_restarts.inc()
            try:
                pipeline.batcher = await self._restart()
            except Exception as error:  # noqa: BLE001 - whatever it is, the built-in model serves on
                self._breaker.still_away()
                detail = {"detail": str(error)} if isinstance(error, AddrmeshError) else failure(error)
                self._log.warning("engine.still_away", pause_s=self._breaker.pause_s, **detail)
            else:
                break
        self.why = None
        self._log.info("engine.back", away_s=round(self._breaker.back(), 3))


def weaker(question: Question, found: Sequence[Found]) -> msgspec.Struct:
    """Return the answer made of what the built-in model found, which is never better than CONFIRM."""
    if isinstance(question, Validation):
        return question.answer(found, floor="CONFIRM")
    return question.answer(found)
