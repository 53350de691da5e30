"""
Corrections: answers that somebody has approved for an address, which win over the model in every region.

A record `correction/<digest>` of the replicated store holds one. The digest is SHA-256 of the canonical text without
the receiver: whoever can guess the whole address can recognise it, and nobody can read it out. The text itself is
kept only where the operator says so. `Corrections` decides and feeds itself from the store; with every store down a
node applies what it knew last, from its disk. A correction is taken back, never deleted, so that a node that was away
learns of it whenever it comes back.
"""

import asyncio
import hashlib
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_args

import msgspec
import structlog
from msgspec import Meta

from addrmesh.address.types import COMPONENT_TYPES
from addrmesh.address.verdict import Result
from addrmesh.atomic_file import replace_file
from addrmesh.errors import RequestError
from addrmesh.store.records import Record
from addrmesh.store.store import Store, StoreUnavailable

PREFIX = "correction/"
"""Of the records in the store."""
PROPOSED = "proposal/"
"""Of what callers propose; applied when an operator has imported it."""
FEEDBACK = "feedback/"
"""Of the counters, one for each of `CONCLUSIONS`."""

Conclusion = Literal["VALIDATED_USED", "USER_VERSION_USED", "UNVALIDATED_USED", "UNUSED"]
CONCLUSIONS: tuple[Conclusion, ...] = get_args(Conclusion)
"""Which version an order went with: ours, the customer's after seeing ours, an unchecked one, none."""

SAVE_S = 1.0
"""How long changes gather before they are written to disk: an import of thousands is one write."""
RETRY_S = 1.0
SEEN_S = 86_400.0
"""How long it is known of which answers there was feedback, and which keys it came with."""
ROOT_LENGTH = 40
"""Of the id of an answer that others follow; a UUID, as other services make them, has 36."""


class Correction(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the store holds of a correction: components, a result, or both; neither when it was taken back."""

    created: Annotated[datetime, Meta(tz=True)]
    created_by: str
    why: str = ""
    components: tuple[tuple[str, int, int], ...] = ()
    """Type, start and end, in the canonical text; the model's are replaced."""
    length: int = 0
    """Of the canonical text, so that no component can lie outside it."""
    result: Result | None = None
    """What validation answers, without spans and receiver, which belong to each request."""
    text: str | None = None
    """The canonical text, where it is kept."""

    def __post_init__(self) -> None:
        behind = 0
        for kind, start, end in self.components:
            if kind not in COMPONENT_TYPES or not behind <= start < end <= self.length:
                raise ValueError("a component is of no known type, or lies outside the text or over another one")
            behind = end

    @property
    def is_active(self) -> bool:
        """Whether it was not taken back."""
        return bool(self.components) or self.result is not None


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Correction).decode
"""Read the value of a record; msgspec.DecodeError if it is no correction."""


def digest(canonical: str) -> str:
    """Return the digest of a canonical text."""
    return hashlib.sha256(b"addrmesh correction\n" + canonical.encode()).hexdigest()[:40]


def anonymous(result: Result) -> Result:
    """Return a result without what belongs to one request alone: spans, the caller's spelling and the receiver."""
    parts = [msgspec.structs.replace(c, span=None, input_text=None) for c in result.address.components]
    address = msgspec.structs.replace(result.address, components=parts)
    return msgspec.structs.replace(result, address=address, receiver=None)


def proposed(canonical: str, result: Result) -> Correction:
    """Return what a caller proposes for a canonical text, which is kept with it: somebody has to judge it."""
    return Correction(datetime.now(UTC), "feedback", result=anonymous(result), text=canonical)


class IdempotencyConflict(RequestError):
    """The key came with another body before."""


class Attempt(NamedTuple):
    """A request that names itself, to have no second effect when it is sent again. The store counts two digests."""

    key: str
    body: str

    @classmethod
    def of(cls, key: bytes, caller: bytes, body: bytes) -> "Attempt":
        """Return the attempt of a caller, with what it asks in a form that is always the same."""
        whose = caller + b"\n" + key
        named, with_body = (hashlib.sha256(text).hexdigest()[:32] for text in (whose, whose + b"\n" + body))
        return cls(f"{FEEDBACK}key/{named}", f"{FEEDBACK}key/{named}/{with_body}")

    async def is_done(self, store: Store) -> bool:
        """
        Return whether it was made before.

        Raises:
            IdempotencyConflict: Another one was made under its name.
        """
        if await store.total(self.body):
            return True
        if await store.total(self.key):
            raise IdempotencyConflict("this Idempotency-Key came with another body today; take a new one")
        return False

    async def done(self, store: Store) -> None:
        """Note that it was made. Until then it may be made again: better twice than never."""
        for counter in self:
            await store.add(counter, ttl_s=SEEN_S)


def chained(response_id: str, previous: str | None) -> str:
    """Return the id of an answer that follows another one: it begins with the id of the first of them."""
    return f"{_first(previous)}.{response_id}" if previous else response_id


def _first(response_id: str) -> str:
    """Return the id of the first answer of a chain, cut so that what follows fits into an id."""
    return response_id.partition(".")[0][:ROOT_LENGTH]


async def record_feedback(store: Store, response_id: str, conclusion: Conclusion, proposal: Correction | None) -> None:
    """
    Count a conclusion, once for each chain of answers of a day, and keep a proposal.

    Raises:
        StoreUnavailable: Nothing is known of what was kept; it is safe to send again.
    """
    if proposal is not None and proposal.text is not None:
        await store.put(PROPOSED + digest(proposal.text), encode(proposal))
    seen = f"{FEEDBACK}seen/{_first(response_id)}"
    if not await store.total(seen):
        await store.add(FEEDBACK + conclusion)
        await store.add(seen, ttl_s=SEEN_S)


class Corrections:
    """
    Every correction there is, by digest.

    Args:
        last_known_good: File that keeps them for a start without a store; none if None.
    """

    def __init__(self, last_known_good: Path | None = None) -> None:
        self._known: dict[str, Correction] = {}
        self._file = last_known_good
        self._changed = asyncio.Event()
        self._log = structlog.get_logger()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, canonical: str) -> Correction | None:
        """Return what was approved for a canonical text."""
        return self._known.get(digest(canonical)) if self._known else None

    def restore(self) -> None:
        """Know again what was known when this node last ran."""
        if self._file is None:
            return
        try:
            self._known = msgspec.json.decode(self._file.read_bytes(), type=dict[str, Correction])
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as error:
            # The text of a DecodeError could quote the file.
            self._log.warning(
                "corrections.last_known_good_unreadable", file=str(self._file), error=type(error).__name__
            )

    async def follow(self, store: Store) -> None:
        """Keep up with the store, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(store))
            tasks.create_task(self._save_now_and_then())

    async def _follow(self, store: Store) -> None:
        while True:
            try:
                async with aclosing(store.watch(PREFIX)) as records:
                    async for record in records:
                        self._apply(record)
            except StoreUnavailable:
                await asyncio.sleep(RETRY_S)

    def _apply(self, record: Record) -> None:
        key = record.key.removeprefix(PREFIX)
        before = self._known.pop(key, None)
        try:
            correction = decode(record.value) if record.value is not None else None
        except msgspec.DecodeError as error:
            self._log.warning("correction.unreadable", key=record.key, error=type(error).__name__)
            correction = None
        if correction is not None and correction.is_active:
            self._known[key] = correction
        if self._known.get(key) != before:
            self._changed.set()

    async def _save_now_and_then(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(SAVE_S)
            self._changed.clear()
            self._save()

    def _save(self) -> None:
        if self._file is None:
            return
        try:
            replace_file(self._file, encode(self._known), private=True)
        except OSError as error:
            self._log.warning("corrections.last_known_good_unwritable", file=str(self._file), reason=error.strerror)
