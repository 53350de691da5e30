"""
What a node does when a model of its own fails or hangs: what is built in answers until it is back.

An engine that is merely full is not left: what it cannot take in time goes to what is built in, request by request.
One that fails again and again, or is silent, is left altogether: it is closed and loaded anew after a pause that
grows, and comes back when it has answered its release's probe set. So no request is ever a trial.
`Breaker` decides, purely; `Circuit` carries it out, for the tagger and for the scorer of pairs alike.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic

import structlog

from addrmesh.errors import AddrmeshError, EngineError
from addrmesh.inference.batcher import Batcher, Found, Pending, Priority, Row
from addrmesh.telemetry.log import failure
from addrmesh.telemetry.metrics import NodeMetrics

FAILURES = 3
"""In a row, until an engine is left. The batcher has tried each row alone, so it is not one bad text among others."""

SILENT_S = 5.0
"""Without an answer, with work, until an engine is left: four times what MGeo in fp32 takes for the largest batch."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
WELL_S = 60.0
"""An engine that has been back for so long begins with the first pause again."""

RESERVE_S = 0.1
"""Of the time until a deadline, kept for what is built in; a quarter, where that is less."""

LONGEST_S = 60.0
"""A row without a deadline is given to what is built in after this."""


@dataclass
class Breaker:
    """
    Whether an engine is asked.

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


class Circuit(Generic[Row, Found]):
    """
    An engine behind its queue, left when it breaks and brought back by itself.

    Args:
        name: Of the engine, in the log and the metrics.
        batcher: Asks the engine. Another takes its place when it comes back; whoever made the circuit closes the last.
        metrics: Where restarts are counted.
        restart: Loads the engine again, and returns it once it has answered its probe set; None where nothing stands
            below the engine, which is never left then.
        breaker: Decides.
    """

    def __init__(
        self,
        name: str,
        batcher: Batcher[Row, Found],
        metrics: NodeMetrics,
        restart: Callable[[], Awaitable[Batcher[Row, Found]]] | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        self.batcher, self.release = batcher, batcher.engine.release
        self.why: str | None = None
        """Why the engine is away; None while it is asked."""
        self._name, self._metrics, self._restart = name, metrics, restart
        self._breaker = breaker or Breaker()
        self._returning: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(engine=name)

    @staticmethod
    def until(deadline: float) -> float:
        """Return the loop time at which an engine has had its share of the time until `deadline`."""
        now = asyncio.get_running_loop().time()
        return min(deadline - min(RESERVE_S, (deadline - now) / 4), now + LONGEST_S)

    def admit(self, deadline: float, priority: Priority) -> None:
        """
        Refuse what the engine could not answer in time.

        Raises:
            EngineError: It is away.
            Overloaded, DeadlineExceeded, NotReady: As the batcher says.
        """
        self._look()
        if self.why is not None:
            raise _left()
        self.batcher.admit(deadline, priority)

    def submit(self, row: Row, deadline: float, priority: Priority) -> Pending[Row, Found]:
        """Put a row in the queue, as `Batcher.submit` does, and take note of what becomes of it."""
        pending = self.batcher.submit(row, deadline, priority)
        if self._restart is not None:
            pending.answer.add_done_callback(self._landed)
        return pending

    async def stop(self) -> None:
        """Leave nothing and bring nothing back any more."""
        self._restart = None
        if self._returning is not None:
            self._returning.cancel()
            await asyncio.gather(self._returning, return_exceptions=True)

    def _landed(self, answer: "asyncio.Future[Found]") -> None:
        if answer.cancelled():
            return
        error = answer.exception()
        if error is None:
            self._breaker.answered()
        elif isinstance(error, EngineError):
            if self.why is None:
                self._log.error("engine.failed", **failure(error))
            if self._breaker.failed():
                self._leave(f"it failed {FAILURES} times in a row")
        else:
            self._look()

    def _look(self) -> None:
        own = self.batcher
        if self._breaker.seen(own.stats.batches, busy=own.predicted_wait_s(Priority.BULK) > 0):
            self._leave(f"it has not answered for {SILENT_S:g} s")

    def _leave(self, why: str) -> None:
        if self._restart is None:
            return
        self.why = why
        self._log.error("engine.left", why=why, pause_s=self._breaker.pause_s)
        self.batcher.give_up(_left())
        self._returning = asyncio.create_task(self._return(self._restart))

    async def _return(self, restart: Callable[[], Awaitable[Batcher[Row, Found]]]) -> None:
        try:
            # A run that hangs holds this up: two copies might not fit into the memory. Closing outlives `stop`.
            await asyncio.shield(self.batcher.close())
        except Exception as error:  # noqa: BLE001 - it is broken, so it may not even close
            self._log.warning("engine.not_closed", **failure(error))
        while True:
            await asyncio.sleep(self._breaker.pause_s)
            self._metrics.engine_restarts.inc(self._name)
            try:
                self.batcher = await restart()
            except Exception as error:  # noqa: BLE001 - whatever it is, what is built in serves on
                self._breaker.still_away()
                detail = {"detail": str(error)} if isinstance(error, AddrmeshError) else failure(error)
                self._log.warning("engine.still_away", pause_s=self._breaker.pause_s, **detail)
            else:
                break
        self.why = None
        self._log.info("engine.back", away_s=round(self._breaker.back(), 3))


def _left() -> EngineError:
    return EngineError("the model was left for what is built in")
