"""
The configuration centre: named documents with a history, writable in every region, also while cut off.

    config/<name>/revision/<id>     one immutable revision; its id is the digest of all it says
    config/<name>/head/<region>     the revision this region wrote last, and the sides of a conflict that it wrote
                                    before and nobody has resolved; only this region writes it

Heads that are ancestors of another head are history. Two heads neither of which descends from the other are a
conflict: two regions edited without seeing each other. It is shown until somebody resolves it with a revision that
has both as parents; until then the head written last is effective, and it is the same one everywhere.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from difflib import get_close_matches, unified_diff
from typing import Any, NamedTuple

import msgspec

from addrmesh import clock
from addrmesh.errors import ConfigError, Refused
from addrmesh.store.records import Record, Version
from addrmesh.store.store import ABSENT, Durability, RevisionConflict, Store, StoreUnavailable

RETRY_S = 0.2

Validators = Mapping[str, Callable[[Any], object]]
"""By document name, what raises ValueError, TypeError or ConfigError for content that must not be accepted."""


class Revision(msgspec.Struct, frozen=True):
    """One state of a document, for ever."""

    name: str
    content: Any
    parents: tuple[str, ...]
    author: str
    reason: str
    at: datetime

    @property
    def id(self) -> str:
        """The first 16 digits of the digest of everything above."""
        return _digest(self.encoded())

    def encoded(self) -> bytes:
        """Return the bytes that are kept and digested."""
        return msgspec.json.encode(self, order="sorted")


class Head(NamedTuple):
    """What a region stands for: the revision it wrote last, then unresolved ones; and the version that says so."""

    revisions: tuple[str, ...]
    version: Version

    @classmethod
    def of(cls, value: bytes, version: Version) -> "Head":
        """Read the value of a head's record."""
        return cls(tuple(value.decode().split()), version)


class Document(msgspec.Struct, frozen=True):
    """What is effective now, and what contradicts it."""

    name: str
    revision: str
    content: Any
    author: str
    reason: str
    at: datetime
    conflict: tuple[Revision, ...] = ()
    """The heads of other regions that the effective one has not seen, the latest first."""


class EditedMeanwhile(Refused):
    """Somebody else has changed the document since it was read."""

    def __init__(self, name: str, expected: str | None, found: Revision | None) -> None:
        self.name, self.expected, self.found = name, expected, found
        now = f'is at {found.id} by {found.author} ("{found.reason}", {found.at:%Y-%m-%d %H:%M:%S} UTC)' if found else (
            "does not exist"
        )  # fmt: skip
        based = f"your change is based on {expected}" if expected else "you meant to create it"
        super().__init__(f"document {name} {now}, {based}; read it again and repeat the change")


class DocumentRejected(ConfigError):
    """The content breaks a rule of this document."""


class NoSuchRevision(ConfigError):
    """The document has no such revision."""


class Documents:
    """The documents of the fleet, seen from one region."""

    def __init__(self, store: Store, validators: Validators, *, wall_ms: Callable[[], int] = clock.wall_ms) -> None:
        self._store = store
        self._validators = validators
        self._wall_ms = wall_ms
        self._revisions: dict[str, Revision] = {}

    async def names(self) -> list[str]:
        """Return the documents that exist."""
        heads = [_head_of(record.key) for record in await self._store.scan("config/")]
        return sorted({head[0] for head in heads if head})

    async def get(self, name: str) -> Document | None:
        """Return the effective document; None if it was never written."""
        self._check_name(name)
        return _document(await self._sides(name, await self._heads(name)))

    async def put(
        self,
        name: str,
        content: Any,
        *,
        author: str,
        reason: str,
        expect: str | None,
        durability: Durability = Durability.LOCAL,
    ) -> Document:
        """
        Write the next revision; content equal to the effective one writes nothing.

        `expect` is the revision on which the change is based, None to create the document.

        Raises:
            DocumentRejected: The validator does not accept it.
            EditedMeanwhile: Another revision is effective now.
        """
        return await self._write(name, content, author, reason, expect, durability, resolves=False)

    async def resolve(
        self,
        name: str,
        content: Any,
        *,
        author: str,
        reason: str,
        expect: str,
        durability: Durability = Durability.LOCAL,
    ) -> Document:
        """End a conflict with a revision that descends from every side of it; arguments and errors as for `put`."""
        return await self._write(name, content, author, reason, expect, durability, resolves=True)

    async def rollback(self, name: str, revision: str, *, author: str, reason: str, expect: str) -> Document:
        """Write a new revision with the content of an earlier one."""
        earlier = await self.find(name, revision)
        return await self.put(name, earlier.content, author=author, reason=reason, expect=expect)

    async def history(self, name: str) -> list[Revision]:
        """Return all revisions, the latest first; both sides of a conflict are in it."""
        self._check_name(name)
        known = await self._ancestry(name, _named((await self._heads(name)).values()))
        return sorted(known.values(), key=lambda revision: (revision.at, revision.id), reverse=True)

    async def find(self, name: str, start: str) -> Revision:
        """
        Return the revision whose id begins with `start`.

        Raises:
            NoSuchRevision: None does, or several do.
        """
        history = await self.history(name)
        found = [revision for revision in history if start and revision.id.startswith(start)]
        if len(found) == 1:
            return found[0]
        known = ", ".join(revision.id for revision in (found or history)[:5]) or "no revision at all"
        what = "is ambiguous" if found else "does not exist"
        raise NoSuchRevision(f"document {name}: revision {start!r} {what}; there is {known}")

    async def diff(self, name: str, old: str, new: str) -> list[str]:
        """Return the lines of a unified diff of two revisions as YAML."""
        first, second = await self.find(name, old), await self.find(name, new)
        return diff(first.content, second.content, first.id, second.id)

    async def watch(self) -> AsyncGenerator[Document, None]:
        """
        Yield every document, and again whenever its effective revision or its conflict changes; for ever.

        Documents of a name without a validator are of a later version, and left out.
        It waits while no store can be reached, and never goes back to an older state. Close it with `aclosing`.
        """
        heads: dict[str, dict[str, Head]] = {}
        shown: dict[str, Document] = {}

        def note(record: Record) -> str | None:
            """Keep a head, unless a later one is known; return the document's name."""
            if (head := _head_of(record.key)) is None or record.value is None:
                return None
            name, region = head
            if name not in self._validators:
                return None
            by_region = heads.setdefault(name, {})
            if region not in by_region or by_region[region].version < record.version:
                by_region[region] = Head.of(record.value, record.version)
            return name

        with suppress(StoreUnavailable):  # all heads before the first document, so that none is shown out of date
            for record in await self._store.scan("config/"):
                note(record)
        async with aclosing(self._store.watch("config/")) as records:
            async for record in records:
                name = note(record)
                if name is None:
                    continue
                while True:
                    try:
                        document = _document(await self._sides(name, heads[name]))
                        break
                    except StoreUnavailable:
                        await asyncio.sleep(RETRY_S)
                if document and shown.get(name) != document:
                    shown[name] = document
                    yield document

    async def _write(
        self,
        name: str,
        content: Any,
        author: str,
        reason: str,
        expect: str | None,
        durability: Durability,
        *,
        resolves: bool,
    ) -> Document:
        self._validate(name, content)
        if not reason.strip() or not author.strip():
            raise ConfigError(f"document {name}: say who changes it and why; the next reader will want to know")
        heads = await self._heads(name)
        sides = await self._sides(name, heads)
        current = sides[0] if sides else None
        if (current.id if current else None) != expect:
            raise EditedMeanwhile(name, expect, current)
        if current and current.content == content and not resolves:
            return _some(_document(sides))
        parents = tuple(side.id for side in (sides if resolves else sides[:1]))
        at = datetime.fromtimestamp(self._wall_ms() / 1000, UTC)
        revision = Revision(name, content, parents, author, reason, at)
        own = heads.get(self._store.region)
        unresolved = {side.id for side in sides} - set(parents)
        stands_for = [revision.id, *(id_ for id_ in (own.revisions if own else ()) if id_ in unresolved)]
        await self._store.put(_revision_key(name, revision.id), revision.encoded())
        try:
            await self._store.put(
                _head_key(name, self._store.region),
                " ".join(stands_for).encode(),
                expect=own.version if own else ABSENT,
                durability=durability,
            )
        except RevisionConflict as error:
            now = await self._sides(name, await self._heads(name))
            raise EditedMeanwhile(name, expect, now[0] if now else None) from error
        return _some(await self.get(name))

    async def _heads(self, name: str) -> dict[str, Head]:
        """Return the heads by region."""
        start = _head_key(name, "")
        return {
            record.key.removeprefix(start): Head.of(record.value, record.version)
            for record in await self._store.scan(start)
            if record.value is not None
        }

    async def _sides(self, name: str, heads: Mapping[str, Head]) -> list[Revision]:
        """Return the revisions that no other one descends from, the effective one first."""
        known = await self._ancestry(name, _named(heads.values()))
        parents = {revision.id: revision.parents for revision in known.values()}
        return [known[id_] for id_ in frontier(heads.values(), parents) if id_ in known]

    async def _ancestry(self, name: str, ids: Iterable[str]) -> dict[str, Revision]:
        """Return these revisions and all they descend from; one that has not arrived here is left out."""
        wanted, known, looked = list(ids), dict[str, Revision](), False
        while wanted:
            id_ = wanted.pop()
            if id_ not in self._revisions and not looked:
                for record in await self._store.scan(_revision_key(name, "")):
                    self._remember(record)
                looked = True
            if id_ in self._revisions and id_ not in known:
                known[id_] = self._revisions[id_]
                wanted += known[id_].parents
        return known

    def _remember(self, record: Record) -> None:
        """Keep a revision if it is what its key promises."""
        id_ = record.key.rpartition("/")[2]
        if record.value is not None and id_ == _digest(record.value):
            self._revisions[id_] = msgspec.json.decode(record.value, type=Revision)

    def _check_name(self, name: str) -> None:
        if name not in self._validators:
            close = get_close_matches(name, self._validators, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ConfigError(f"{name!r} is not a document; there are {', '.join(sorted(self._validators))}{hint}")

    def _validate(self, name: str, content: Any) -> None:
        self._check_name(name)
        try:
            self._validators[name](content)
        except (ValueError, TypeError) as error:
            raise DocumentRejected(f"document {name} was not changed: {error}") from error


def frontier(heads: Iterable[Head], parents: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the heads that no other head descends from, the one written last first. `parents` is by revision."""
    latest: dict[str, tuple[Version, int]] = {}
    for head in heads:
        for place, revision in enumerate(head.revisions):
            latest[revision] = max((head.version, -place), latest.get(revision, (head.version, -place)))
    ancestors: set[str] = set()
    todo = [parent for revision in latest for parent in parents.get(revision, ())]
    while todo:
        revision = todo.pop()
        if revision not in ancestors:
            ancestors.add(revision)
            todo += parents.get(revision, ())
    return sorted(latest.keys() - ancestors, key=latest.__getitem__, reverse=True)


def _named(heads: Iterable[Head]) -> set[str]:
    return {revision for head in heads for revision in head.revisions}


def as_yaml(content: Any) -> str:
    """Return content as people edit it."""
    import yaml

    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False)


def diff(old: Any, new: Any, old_name: str, new_name: str) -> list[str]:
    """Return the lines of a unified diff of two contents as YAML; none when they are equal."""
    before, after = as_yaml(old).splitlines(), as_yaml(new).splitlines()
    return list(unified_diff(before, after, old_name, new_name, lineterm=""))


def _document(sides: list[Revision]) -> Document | None:
    if not sides:
        return None
    winner, *others = sides
    return Document(winner.name, winner.id, winner.content, winner.author, winner.reason, winner.at, tuple(others))


def _some(document: Document | None) -> Document:
    if document is None:
        raise AssertionError("a document is gone after it was written; this is a bug")
    return document


def _revision_key(name: str, id_: str) -> str:
    return f"config/{name}/revision/{id_}"


def _head_key(name: str, region: str) -> str:
    return f"config/{name}/head/{region}"


def _head_of(key: str) -> tuple[str, str] | None:
    """Return document and region, if this is the key of a head."""
    match key.split("/"):
        case ["config", name, "head", region]:
            return name, region
        case _:
            return None


def _digest(encoded: bytes) -> str:
    return hashlib.sha256(encoded).hexdigest()[:16]
