"""
The data spine: normalise, look in the cache, join a flight or wait in the batcher, render.

The order of the steps is written here and nowhere else.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from addrmesh.address.normalize import Canonical, normalize_within
from addrmesh.address.wire import Tagset
from addrmesh.errors import AddrmeshError, DeadlineExceeded, Overloaded
from addrmesh.inference.batcher import Batcher, Pending, Priority
from addrmesh.node.cache import Cache, Parsed
from addrmesh.node.problems import kind_of
from addrmesh.node.wire import encode_result
from addrmesh.telemetry.metrics import NodeMetrics

LOOKUP_PAYS = 0.05
"""Share of addresses that must be found in the cache, or under way, to look for one although the queue is full: a
look-up in vain costs a twentieth of an answer."""

LOOKUP_WEIGHT = 1 / 128
"""Weight of one look-up in that share."""


class Answer(NamedTuple):
    """A rendered result (`ParseResult` as JSON) and whether it came from the cache."""

    result: bytes
    cached: bool


@dataclass
class Pipeline:
    """
    What becomes of an address.

    Args:
        batcher: Owned by whoever made it.
        cache: Bound to the release that the batcher's engine runs.
        metrics: Where outcomes are counted, one per address.
        max_code_points: Longest text, as the caller wrote it and in canonical form.
    """

    batcher: Batcher
    cache: Cache
    metrics: NodeMetrics
    max_code_points: int
    _flights: dict[bytes, Pending] = field(default_factory=dict)
    _found: float = 1.0
    """Share of addresses that lately needed no row of their own; 1 until it is known better."""

    def overload(self) -> Overloaded | None:
        """
        Return why the next address is refused unread, if it is: the queue is full, and few addresses do without it.

        What a refusal costs is taken from what is answered, and under overload most are refused.
        """
        if self._found > LOOKUP_PAYS or (refusal := self.batcher.overload()) is None:
            return None
        self.metrics.parse_requests.inc("overloaded")
        self.metrics.shed.inc("overloaded")
        return refusal

    def parse(self, text: str, *, deadline: float, tagset: Tagset) -> Answer | Awaitable[Answer]:
        """
        Find the components of one address: at once when they are remembered, else as something to await.

        A refusal is raised at once too, so that it costs as little as it can.

        Args:
            text: As the caller wrote it.
            deadline: Loop time.
            tagset: which types to show.

        Raises:
            InvalidText: Nothing is left of `text` after normalisation.
            TextTooLong: It is over the limit.
            Overloaded, DeadlineExceeded, NotReady, EngineError: As the batcher says.
        """
        try:
            canonical = normalize_within(text, self.max_code_points)
            key = self.cache.key(canonical.text)
            parsed = self.cache.get(key)
            flight = self._flights.get(key)
            self._found += LOOKUP_WEIGHT * ((parsed is not None or flight is not None) - self._found)
            if parsed is not None:
                self.metrics.cache_hits.inc()
                self.metrics.parse_requests.inc("ok")
                return Answer(_render(parsed, canonical, text, tagset), cached=True)
            self.metrics.cache_misses.inc()
            mine = None
            if flight is None:
                # Queued at once, not when its task starts: the next to be admitted must find it there.
                self.batcher.admit(deadline, Priority.INTERACTIVE)
                mine = self._submit(key, canonical.text, deadline, Priority.INTERACTIVE)
        except AddrmeshError as error:
            self._count_failure(error)
            raise
        return self._parse_miss(text, canonical, key, deadline, tagset, mine)

    async def _parse_miss(
        self, text: str, canonical: Canonical, key: bytes, deadline: float, tagset: Tagset, mine: Pending | None
    ) -> Answer:
        try:
            parsed = await self._infer(key, canonical.text, deadline, Priority.INTERACTIVE, mine)
        except AddrmeshError as error:
            self._count_failure(error)
            raise
        self.metrics.parse_requests.inc("ok")
        return Answer(_render(parsed, canonical, text, tagset), cached=False)

    async def parse_many(
        self, texts: Sequence[str], *, deadline: float, tagset: Tagset
    ) -> list[Answer | AddrmeshError]:
        """
        Find the components of several addresses, as bulk work. What is wrong with one is returned in its place.

        Raises:
            Overloaded, DeadlineExceeded: The whole is refused, before any of it was queued.
        """
        answers: list[Answer | AddrmeshError | None] = []
        misses: list[tuple[int, bytes, Canonical]] = []
        for index, text in enumerate(texts):
            try:
                canonical = normalize_within(text, self.max_code_points)
            except AddrmeshError as error:
                answers.append(error)
                continue
            key = self.cache.key(canonical.text)
            parsed = self.cache.get(key)
            if parsed is None:
                misses.append((index, key, canonical))
                answers.append(None)
            else:
                answers.append(Answer(_render(parsed, canonical, text, tagset), cached=True))
        if misses:
            try:
                self.batcher.admit(deadline, Priority.BULK)
            except AddrmeshError as error:
                self._count_failure(error)
                raise
        found = await asyncio.gather(
            *(self._infer_or_error(key, canonical.text, deadline) for _, key, canonical in misses)
        )
        for (index, _, canonical), parsed_or_error in zip(misses, found, strict=True):
            answers[index] = (
                parsed_or_error
                if isinstance(parsed_or_error, AddrmeshError)
                else Answer(_render(parsed_or_error, canonical, texts[index], tagset), cached=False)
            )
        self.metrics.cache_misses.inc(by=len(misses))
        complete = [answer for answer in answers if answer is not None]
        self._count(complete)
        return complete

    async def _infer(
        self, key: bytes, text: str, deadline: float, priority: Priority, mine: Pending | None = None
    ) -> Parsed:
        """Answer a miss: await the row `mine`, or join an identical request's, or queue a row that others join."""
        while mine is None:
            flight = self._flights.get(key)
            if flight is None or flight.priority > priority or flight.answer.done():
                mine = self._submit(key, text, deadline, priority)
                break
            self.metrics.single_flight_joins.inc()
            try:
                async with asyncio.timeout_at(None if deadline == float("inf") else deadline):
                    components = await asyncio.shield(flight.answer)
            except TimeoutError as error:
                raise DeadlineExceeded("the deadline passed before the model could answer") from error
            except DeadlineExceeded:
                continue  # that was the deadline of the one we joined, ours may be later
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not flight.answer.cancelled() or (task is not None and task.cancelling()):
                    raise
                continue  # the one we joined has gone away, we have not
            return self.cache.get(key) or Parsed.of(components)
        components = await mine.answer
        return self.cache.get(key) or Parsed.of(components)

    def _submit(self, key: bytes, text: str, deadline: float, priority: Priority) -> Pending:
        """Queue a row that others may join."""
        flight = self._flights[key] = self.batcher.submit(text, deadline, priority)
        flight.answer.add_done_callback(lambda _: self._land(key, flight))  # before whoever awaits it goes on
        return flight

    def _land(self, key: bytes, flight: Pending) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not flight.answer.cancelled() and flight.answer.exception() is None:
            self.cache.put(key, Parsed.of(flight.answer.result()))

    async def _infer_or_error(self, key: bytes, text: str, deadline: float) -> Parsed | AddrmeshError:
        try:
            return await self._infer(key, text, deadline, Priority.BULK)
        except AddrmeshError as error:
            return error

    def _count(self, answers: Sequence[Answer | AddrmeshError]) -> None:
        for answer in answers:
            if isinstance(answer, AddrmeshError):
                self._count_failure(answer)
            else:
                self.metrics.parse_requests.inc("ok")
                if answer.cached:
                    self.metrics.cache_hits.inc()

    def _count_failure(self, error: AddrmeshError) -> None:
        kind = kind_of(error)
        self.metrics.parse_requests.inc(kind.code)
        if kind.status in (503, 504):
            self.metrics.shed.inc(kind.code)


def _render(parsed: Parsed, canonical: Canonical, text: str, tagset: Tagset) -> bytes:
    if canonical.text != text:
        return encode_result(parsed.components, canonical, text, tagset)
    plain = parsed.plain.get(tagset)
    if plain is None:
        plain = parsed.plain[tagset] = encode_result(parsed.components, canonical, text, tagset)
    return plain
