"""Waiting for something that another thread does, without sleeping and hoping."""

import asyncio
import threading
import time
from collections.abc import Callable

from support.engines import DigitsEngine

PATIENCE_S = 15.0


async def running(engine: DigitsEngine) -> None:
    """Return when the engine has been entered since the last call."""
    assert await asyncio.to_thread(engine.entered.wait, PATIENCE_S), "the engine was never asked"
    engine.entered.clear()


async def until(condition: Callable[[], bool], what: str) -> None:
    """Let the event loop turn until `condition` holds."""
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError(f"never happened: {what}")


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Return whether a condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.02)
    return True
