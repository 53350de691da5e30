"""
Where a node is in its life. The probe endpoints answer from here and from nowhere else.

    starting ──▶ ready ──▶ draining ──▶ stopped
        └──────────────────────▲

A node is ready when its warm-up has answered the release's probe set as the manifest's author expected. It never
goes back: a drained process ends.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Literal

from addrmesh.address.normalize import normalize
from addrmesh.errors import NotReady, ReleaseError
from addrmesh.inference.batcher import Components
from addrmesh.inference.release import PairProbe, Probe, rounded


class Draining(NotReady):
    """The node is draining."""


class WrongRelease(NotReady):
    """The node serves another release than the one asked for."""


class ProbeFailed(ReleaseError):
    """The model does not answer its probe set as the release promises."""


HealthStatus = Literal["healthy", "starting", "draining", "unhealthy"]


class State(StrEnum):
    """The states, in order."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


_NEXT = {
    State.STARTING: {State.READY, State.DRAINING},
    State.READY: {State.DRAINING},
    State.DRAINING: {State.STOPPED},
    State.STOPPED: set[State](),
}


class Lifecycle:
    """The state of one node."""

    def __init__(self) -> None:
        self.state = State.STARTING
        self.failure: str | None = None
        """Why the node cannot become ready, in words that may be shown."""
        self._started = time.monotonic()

    @property
    def uptime_s(self) -> float:
        """Seconds since the process began to start."""
        return time.monotonic() - self._started

    @property
    def status(self) -> HealthStatus:
        """The word `/health` uses."""
        if self.failure or self.state is State.STOPPED:
            return "unhealthy"
        if self.state is State.READY:
            return "healthy"
        return "draining" if self.state is State.DRAINING else "starting"

    def move_to(self, state: State) -> None:
        """Change the state; a step that is not in the diagram is a bug."""
        if state not in _NEXT[self.state]:
            raise AssertionError(f"a node cannot go from {self.state} to {state}; this is a bug")
        self.state = state

    def require_ready(self) -> None:
        """
        Return if the node takes requests.

        Raises:
            Draining: It is about to stop; ask another node.
            NotReady: It is still starting, or could not start.
        """
        if self.state is State.READY:
            return
        if self.state is State.STARTING:
            raise NotReady(self.failure or "the model is being loaded", retry_after_s=1.0)
        raise Draining("the node is about to stop; ask another one", retry_after_s=1.0)


async def check_probes(probes: Sequence[Probe], predict: Callable[[str], Awaitable[Components]]) -> None:
    """
    Ask every probe, twice: the first round warms the engine up and is checked like the second.

    Raises:
        ProbeFailed: It names the probe by its number, from 0, and the labels that differ, never its text.
    """

    async def answer(probe: Probe) -> str:
        return _words([c[:3] for c in await predict(normalize(probe.address).text)])

    await _check([_words(probe.components) for probe in probes], lambda number: answer(probes[number]))


async def check_pair_probes(
    probes: Sequence[PairProbe], score: Callable[[str, str], Awaitable[Mapping[str, float]]]
) -> None:
    """Ask every probe of a match release, as `check_probes` does."""

    async def answer(probe: PairProbe) -> str:
        return _chances(rounded(await score(probe.first, probe.second)))

    await _check([_chances(probe.scores) for probe in probes], lambda number: answer(probes[number]))


async def _check(expected: Sequence[str], answer: Callable[[int], Awaitable[str]]) -> None:
    for _ in range(2):
        answers = await asyncio.gather(*map(answer, range(len(expected))))
        for number, (wanted, found) in enumerate(zip(expected, answers, strict=True)):
            if wanted != found:
                raise ProbeFailed(
                    f"probe {number} of {len(expected)} failed: expected {wanted}, found {found}; "
                    "the release does not run here as it did where it was made"
                )


def _chances(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{label} {scores[label]}" for label in sorted(scores))


def _words(components: Sequence[tuple[str, int, int]]) -> str:
    return ", ".join(f"{kind}[{start}:{end}]" for kind, start, end in components) or "nothing"
