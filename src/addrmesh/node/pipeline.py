"""
The data spine: normalise, apply corrections, look in the cache, join a flight or wait in the batcher, answer.

The order of the steps is written here and nowhere else. Whatever is asked, parsing, validating or matching, its texts
go the same way, so a text is tagged once however it is asked about. Where the node has a match release, a pair waits
for its scores while its texts are tagged; when they fail or are late, the built-in scorer takes their place.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec
import structlog

from addrmesh.address.questions import Found, Matching, Parsing, Question, Scored, Validation
from addrmesh.address.verdict import DecisionRule
from addrmesh.errors import AddrmeshError, DeadlineExceeded, EngineError, Overloaded, Unavailable
from addrmesh.inference.batcher import Components, Pending, PendingText, Priority, TextBatcher
from addrmesh.node.cache import Cache, Parsed
from addrmesh.node.circuit import Circuit
from addrmesh.node.corrections import Corrections
from addrmesh.node.problems import kind_of
from addrmesh.node.wire import Mode, encode
from addrmesh.telemetry.log import failure
from addrmesh.telemetry.metrics import NodeMetrics

LOOKUP_PAYS = 0.05
"""Share of addresses that must be found in the cache, or under way, to look for one although the queue is full: a
look-up in vain costs a twentieth of an answer."""

LOOKUP_WEIGHT = 1 / 128
"""Weight of one look-up in that share."""


ANSWERS_AT_ONCE = 4
"""Of a batch, before others get the event loop: judging takes a quarter of a millisecond, comparing one."""


Pair = tuple[str, str]
Scoring = Pending[Pair, Scored] | AddrmeshError
"""A pair that waits for its scores, or why it is not taken."""

Scores = tuple[Scored | None, Mode]
"""What a match release says of a question, and how good that makes the answer."""

NOT_SCORED: Scores = (None, "FULL")
"""Of a question that no match release is asked about."""

_OUTCOMES: dict[Mode, str] = {"FULL": "ok", "BUILTIN_MODEL": "builtin-model", "RULES_ONLY": "rules-only"}


class Asked(Protocol):
    """A request that can be made a question, as those in `wire.py`."""

    def question(self, limit: int) -> Question:
        """Return the question; InvalidText or TextTooLong if its texts are none or over `limit` code points."""
        ...


class Answer(NamedTuple):
    """A rendered result (as JSON) and how it was made."""

    result: bytes
    cached: bool
    """Whether nothing had to be tagged or scored for it."""
    mode: Mode = "FULL"
    corrected: bool = False
    release: str | None = None
    """That tagged it; None for the node's own."""


class AnswerFailed(AddrmeshError):
    """No answer could be made of what the model found."""


async def _outcome(row: PendingText) -> Components | AddrmeshError:
    try:
        return await row.answer
    except AddrmeshError as error:
        return error


def _weaker(question: Question, found: Sequence[Found]) -> msgspec.Struct:
    """Return the answer made of what the built-in model found, which is never better than CONFIRM."""
    if isinstance(question, Validation):
        return question.answer(found, floor="CONFIRM")
    return question.answer(found)


class _Held(NamedTuple):
    """What is known of one text before the model is asked."""

    key: bytes
    text: str
    parsed: Parsed | None
    corrected: bool = False


@dataclass
class Pipeline:
    """
    What becomes of a question.

    Args:
        tagger: The node's own model. Owned by whoever made it.
        cache: Bound to the release that the tagger runs.
        metrics: Where outcomes are counted, one per question.
        max_code_points: Longest text, as the caller wrote it and in canonical form.
        corrections: Approved answers, which win over the model.
        builtin: Asks the built-in model when the tagger does not answer; None where the tagger runs that itself.
        rule: Turns issues into actions from the next question on; None for the package's own.
        scorer: Of a match release; None for the built-in scorer. Owned as the tagger is.
    """

    tagger: Circuit[str, Components]
    cache: Cache
    metrics: NodeMetrics
    max_code_points: int
    corrections: Corrections = field(default_factory=Corrections)
    builtin: TextBatcher | None = None
    rule: DecisionRule | None = None
    scorer: Circuit[Pair, Scored] | None = None
    _flights: dict[bytes, PendingText] = field(default_factory=dict)
    _found: float = 1.0
    """Share of texts that lately needed no row of their own; 1 until it is known better."""

    def __post_init__(self) -> None:
        self._log = structlog.get_logger()

    def overload(self) -> Overloaded | None:
        """
        Return why the next address is refused unread, if it is: the queue is full, and few addresses do without it.

        What a refusal costs is taken from what is answered, and under overload most are refused.
        """
        if self._found > LOOKUP_PAYS:
            return None
        refusal = self.tagger.batcher.overload()
        if self.builtin is not None and (refusal is not None or self.tagger.why is not None):
            refusal = self.builtin.overload()
        if refusal is None:
            return None
        self.metrics.parse_requests.inc("overloaded")
        self.metrics.shed.inc("overloaded")
        return refusal

    def ask(self, asked: Asked, *, deadline: float) -> Answer | Awaitable[Answer]:
        """
        Answer one question: at once when nothing has to be tagged, else as something to await.

        A refusal is raised at once too, so that it costs as little as it can.

        Args:
            asked: By somebody who waits.
            deadline: Loop time.

        Raises:
            InvalidText: Nothing is left of a text after normalisation.
            TextTooLong: It is over the limit.
            Overloaded, DeadlineExceeded, NotReady, EngineError: As the batcher says.
            AnswerFailed: A bug; the log says where.
        """
        try:
            question = self._made(asked)
            if self.corrections and (approved := self._approved(question)) is not None:
                self._count(approved)
                return approved
            held = [self._look_up(text) for text in question.texts]
            misses = []
            for one in held:
                known = one.parsed is not None or one.key in self._flights
                self._found += LOOKUP_WEIGHT * (known - self._found)
                if one.parsed is None:
                    misses.append(one)
            if not misses and (self.scorer is None or not isinstance(question, Matching)):
                answer = self._answer(question, held, [], cached=True)
                self._count(answer)
                return answer
            self.metrics.cache_misses.inc(by=len(misses))
            # Queued at once, not when its task starts: the next to be admitted must find it there.
            mine: dict[bytes, PendingText] = {}
            refusal = None
            new = {one.key: one.text for one in misses if one.key not in self._flights}
            until = self._until(deadline)
            if new and (refusal := self._admit(deadline, Priority.INTERACTIVE)) is None:
                mine = {key: self._submit(key, text, until, Priority.INTERACTIVE) for key, text in new.items()}
        except AddrmeshError as error:
            self._count(error)
            raise
        if refusal is not None:
            return self._ask_below(question, held, refusal, deadline)
        scoring = self._score(question, deadline, Priority.INTERACTIVE)
        return self._ask_later(question, held, misses, mine, until, deadline, scoring)

    async def _ask_later(
        self,
        question: Question,
        held: list[_Held],
        misses: list[_Held],
        mine: dict[bytes, PendingText],
        until: float,
        deadline: float,
        scoring: Scoring | None,
    ) -> Answer:
        """Answer with the model; it has time `until` then."""
        try:
            rows = [self._infer(m.key, m.text, until, Priority.INTERACTIVE, mine.get(m.key)) for m in misses]
            scores = NOT_SCORED
            if scoring is None:
                found = [await rows[0]] if len(rows) == 1 else await asyncio.gather(*rows)
            else:
                found, scores = await asyncio.gather(asyncio.gather(*rows), self._scored(scoring))
            answer = self._answer(question, held, found, cached=not rows and scoring is None, scores=scores)
        except (EngineError, Unavailable) as error:
            return await self._ask_below(question, held, error, deadline)
        except AddrmeshError as error:
            self._count(error)
            raise
        self._count(answer)
        return answer

    async def _ask_below(self, question: Question, held: list[_Held], error: AddrmeshError, deadline: float) -> Answer:
        """Answer without the node's own model, which fails with `error`."""
        try:
            answer = self._weaker(question, held, error, await self._builtin(held, deadline, Priority.INTERACTIVE))
        except AddrmeshError as error:
            self._count(error)
            raise
        self._count(answer)
        return answer

    async def ask_many(
        self, asked: Sequence[Asked | AddrmeshError], *, deadline: float
    ) -> list[Answer | AddrmeshError]:
        """
        Answer several questions, as bulk work. What is wrong with one is returned in its place.

        Args:
            asked: An error stands for what could not be read; it is returned as it is.
            deadline: Loop time.

        Raises:
            Overloaded, DeadlineExceeded: The whole is refused, before any of it was queued.
        """
        questions = [self._question(one) for one in asked]
        approved = [None if isinstance(q, AddrmeshError) else self._approved(q) for q in questions]
        held: list[list[_Held]] = [
            [] if isinstance(q, AddrmeshError) or done else [self._look_up(text) for text in q.texts]
            for q, done in zip(questions, approved, strict=True)
        ]
        misses = [one for some in held for one in some if one.parsed is None]
        rows = {one.key: one.text for one in misses}
        refusal = None
        if rows:
            try:
                refusal = self._admit(deadline, Priority.BULK)
            except AddrmeshError as error:
                self._count(error)
                raise
        self.metrics.cache_misses.inc(by=len(misses))
        found: dict[bytes, Parsed | AddrmeshError] = dict.fromkeys(rows, refusal) if refusal else {}
        scores: dict[int, Scores] = {}
        if refusal is None:
            until = self._until(deadline)
            pairs = {
                at: scoring
                for at, question in enumerate(questions)
                if (scoring := self._score(question, deadline, Priority.BULK)) is not None
            }
            answered, scored = await asyncio.gather(
                asyncio.gather(*(self._infer_or_error(key, text, until) for key, text in rows.items())),
                asyncio.gather(*map(self._scored, pairs.values())),
            )
            found, scores = dict(zip(rows, answered, strict=True)), dict(zip(pairs, scored, strict=True))
        failed = [some for some in held if any(isinstance(found.get(one.key), AddrmeshError) for one in some)]
        builtin = await self._builtin([one for some in failed for one in some], deadline, Priority.BULK)
        answers: list[Answer | AddrmeshError] = []
        for at, (question, done, some) in enumerate(zip(questions, approved, held, strict=True)):
            if len(answers) % ANSWERS_AT_ONCE == ANSWERS_AT_ONCE - 1:
                await asyncio.sleep(0)
            mine = [found[one.key] for one in some if one.parsed is None]
            answers.append(done or self._settle(question, some, mine, builtin, scores.get(at)))
            self._count(answers[-1])
        return answers

    def _made(self, asked: Asked) -> Question:
        question = asked.question(self.max_code_points)
        return question._replace(rule=self.rule) if isinstance(question, Validation) else question

    def _question(self, asked: Asked | AddrmeshError) -> Question | AddrmeshError:
        if isinstance(asked, AddrmeshError):
            return asked
        try:
            return self._made(asked)
        except AddrmeshError as error:
            return error

    def _approved(self, question: Question) -> Answer | None:
        """Return the approved result of a validation, if there is one."""
        if not isinstance(question, Validation):
            return None
        correction = self.corrections.of(question.reading.canonical.text)
        if correction is None or correction.result is None:
            return None
        result = question.approved(correction.result)
        return Answer(encode(result), cached=True, corrected=True)

    def _look_up(self, text: str) -> _Held:
        if self.corrections and (correction := self.corrections.of(text)) and correction.components:
            return _Held(b"", text, Parsed(tuple([(*c, 1.0) for c in correction.components])), corrected=True)
        key = self.cache.key(text)
        return _Held(key, text, self.cache.get(key))

    def _score(self, question: Question | AddrmeshError, deadline: float, priority: Priority) -> Scoring | None:
        """Let the pair of a question wait for its scores; None where no match release is asked."""
        if self.scorer is None or not isinstance(question, Matching):
            return None
        pair = question.pair(self.scorer.release.manifest.limits.pair_code_points)
        if pair is None:
            return None
        until = self.scorer.until(deadline)
        try:
            self.scorer.admit(until, priority)
        except AddrmeshError as error:
            return error
        return self.scorer.submit(pair, until, priority)

    async def _scored(self, scoring: Scoring) -> Scores:
        """Return the scores; without any, the built-in scorer is left to answer."""
        try:
            if isinstance(scoring, AddrmeshError):
                raise scoring
            return await scoring.answer, "FULL"
        except AddrmeshError as error:
            self.metrics.match_fallbacks.inc(kind_of(error).code)
            return None, "BUILTIN_MODEL"

    def _until(self, deadline: float) -> float:
        """Return until when the node's own model has time."""
        return deadline if self.builtin is None else self.tagger.until(deadline)

    def _admit(self, deadline: float, priority: Priority) -> EngineError | Unavailable | None:
        """Refuse what could not be answered in time, or return why only the model below can answer it."""
        try:
            self.tagger.admit(self._until(deadline), priority)
        except (EngineError, Unavailable) as error:
            if self.builtin is None:
                raise
            self.builtin.admit(deadline, priority)
            return error
        return None

    def _settle(
        self,
        question: Question | AddrmeshError,
        held: list[_Held],
        found: list[Parsed | AddrmeshError],
        builtin: Mapping[str, Components | AddrmeshError],
        scores: Scores | None,
    ) -> Answer | AddrmeshError:
        if isinstance(question, AddrmeshError):
            return question
        try:
            for one in found:
                if isinstance(one, AddrmeshError):
                    return self._weaker(question, held, one, builtin)
            parsed = [p for p in found if isinstance(p, Parsed)]
            cached = not found and scores is None
            return self._answer(question, held, parsed, cached=cached, scores=scores or NOT_SCORED)
        except AddrmeshError as error:
            return error

    def _answer(
        self,
        question: Question,
        held: list[_Held],
        found: Sequence[Parsed],
        *,
        cached: bool,
        scores: Scores = NOT_SCORED,
    ) -> Answer:
        """Render the answer; `found` is what `held` lacks, in order."""
        left = iter(found)
        parsed = [one.parsed or next(left) for one in held]
        scored, mode = scores
        if scored is not None and isinstance(question, Matching):
            question = question._replace(scored=scored)
        return Answer(self._rendered(question, parsed), cached, mode, self._corrected(held))

    def _corrected(self, held: list[_Held]) -> bool:
        return bool(self.corrections) and any(one.corrected for one in held)

    def _rendered(self, question: Question, parsed: list[Parsed]) -> bytes:
        if isinstance(question, Parsing) and question.text == question.canonical.text:
            # The spans are the canonical text's own, so the bytes are the same for every such caller.
            plain = parsed[0].plain
            if question.tagset not in plain:
                plain[question.tagset] = encode(question.answer([parsed[0].components]))
            return plain[question.tagset]
        return self._encoded(question, lambda: question.answer([one.components for one in parsed]))

    def _encoded(self, question: Question, answer: Callable[[], msgspec.Struct]) -> bytes:
        """Encode an answer. That none can be made is a bug, and must not take others' answers along."""
        try:
            return encode(answer())
        except Exception as error:
            self._log.error("answer.failed", question=type(question).__name__, **failure(error))
            raise AnswerFailed("the answer could not be made; give request_id when you report it") from error

    async def _builtin(
        self, held: Iterable[_Held], deadline: float, priority: Priority
    ) -> dict[str, Components | AddrmeshError]:
        """Return what the built-in model finds in each text; nothing where there is none below the node's own."""
        if self.builtin is None:
            return {}
        # Remembered texts too: of two that are compared, one model should have read both.
        texts = list(dict.fromkeys(one.text for one in held if not one.corrected))
        rows = [self.builtin.submit(text, deadline, priority) for text in texts]
        return dict(zip(texts, await asyncio.gather(*map(_outcome, rows)), strict=True))

    def _weaker(
        self,
        question: Question,
        held: list[_Held],
        error: AddrmeshError,
        builtin: Mapping[str, Components | AddrmeshError],
    ) -> Answer:
        """Return what can be said without the node's own model, if anything can; else raise what failed last."""
        if builtin:
            read = [one.parsed.components if one.parsed and one.corrected else builtin[one.text] for one in held]
            found = [one for one in read if not isinstance(one, AddrmeshError)]
            if len(found) == len(read):
                result = self._encoded(question, lambda: _weaker(question, found))
                release = self.builtin.engine.release.id if self.builtin is not None else None
                return Answer(result, False, "BUILTIN_MODEL", self._corrected(held), release)
            error = next(one for one in read if isinstance(one, AddrmeshError))
        if not (isinstance(error, EngineError) and isinstance(question, Validation)):
            raise error
        self._log.error("engine.failed", **failure(error))
        return Answer(self._encoded(question, question.without_engine), cached=False, mode="RULES_ONLY")

    async def _infer(
        self, key: bytes, text: str, deadline: float, priority: Priority, mine: PendingText | None = None
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

    def _submit(self, key: bytes, text: str, deadline: float, priority: Priority) -> PendingText:
        """Queue a row that others may join."""
        flight = self._flights[key] = self.tagger.submit(text, deadline, priority)
        flight.answer.add_done_callback(lambda _: self._land(key, flight))  # before whoever awaits it goes on
        return flight

    def _land(self, key: bytes, flight: PendingText) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not flight.answer.cancelled() and flight.answer.exception() is None:
            self.cache.put(key, Parsed.of(flight.answer.result()))

    async def _infer_or_error(self, key: bytes, text: str, deadline: float) -> Parsed | AddrmeshError:
        try:
            return await self._infer(key, text, deadline, Priority.BULK)
        except AddrmeshError as error:
            return error

    def _count(self, answer: Answer | AddrmeshError) -> None:
        if isinstance(answer, Answer):
            self.metrics.parse_requests.inc(_OUTCOMES[answer.mode])
            if answer.cached:
                self.metrics.cache_hits.inc()
            return
        kind = kind_of(answer)
        self.metrics.parse_requests.inc(kind.code)
        if kind.status in (503, 504):
            self.metrics.shed.inc(kind.code)
