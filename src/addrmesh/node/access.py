"""
Who may ask, for what, and how often: API keys and their quotas.

A key is `am_<id>_<secret>`. The store holds a record under `key/<id>` with the SHA-256 of the secret, never the
secret. A plain hash is enough: the secret is 160 random bits, so there is no guess that a slow hash would make
dearer, and a fast one lets a node check a key it has not seen for microseconds.

`KeyRing` and `Quota` decide and touch nothing; `Access` feeds them from the store. With every store down a node knows
the keys it knew last, from its disk, and grants each its share. A key is revoked, never deleted, so that a node that
was away learns of it whenever it comes back.
"""

import asyncio
import base64
import hashlib
import math
import re
import secrets
import time
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest
from pathlib import Path
from typing import Annotated

import msgspec
import structlog

from addrmesh.atomic_file import replace_file
from addrmesh.errors import NotReady, RateLimited, RequestError
from addrmesh.store.records import Record
from addrmesh.store.store import Store, StoreUnavailable

PREFIX = "key/"
"""Of the records in the store."""
COUNTER = "quota/"
"""Prefix of the counters: requests ever answered for a key, by its id."""

SCOPES = frozenset({"parse", "validate", "match", "divisions", "feedback", "admin"})
"""One for each family of operations; a key with `*` may use them all."""

EXCHANGE_S = 0.25
"""How often nodes tell each other what they have let through."""
IDLE_S = 600.0
"""A key not used here for this long is not followed any more."""
RETRY_S = 1.0

_BEARER = re.compile(rb"(?i:bearer) am_([a-z2-7]{8})_([a-z2-7]{32})")


class Unauthenticated(RequestError):
    """There is no key, or not a valid one."""

    headers = ((b"www-authenticate", b"Bearer"),)


class Forbidden(RequestError):
    """The key is valid and not for this."""


class ApiKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the store holds of a key."""

    hash: str
    """SHA-256 of the secret, in hexadecimal digits."""
    label: str
    scopes: tuple[str, ...]
    rps: Annotated[float, msgspec.Meta(gt=0)]
    """Requests a second, over the whole fleet."""
    created: Annotated[datetime, msgspec.Meta(tz=True)]
    created_by: str
    burst: Annotated[float, msgspec.Meta(ge=1)] | None = None
    """Requests at once after a pause; by default two seconds' worth, and at least 2."""
    expires: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    revoked: bool = False

    def state(self, now: datetime) -> str:
        """Say whether it can be used."""
        if self.revoked:
            return "revoked"
        return "expired" if self.expires is not None and now >= self.expires else "active"


def new_secret() -> tuple[str, str, str]:
    """Return a new key's id, the key itself, to be shown once, and the hash to be stored."""
    key_id, secret = _random(5), _random(20)
    return key_id, f"am_{key_id}_{secret}", _hash(secret.encode())


def encode(key: ApiKey) -> bytes:
    """Return the value of a key's record."""
    return msgspec.json.encode(key)


decode = msgspec.json.Decoder(ApiKey).decode
"""Read the value of a key's record; msgspec.DecodeError if it is none."""


def _random(count: int) -> str:
    return base64.b32encode(secrets.token_bytes(count)).decode().lower()


def _hash(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, after its key has been verified."""

    id: str
    label: str
    scopes: frozenset[str]
    rps: float
    burst: float
    expires_at: float
    """Wall clock, in seconds; infinity if never."""


class KeyRing:
    """Every key there is, by id. A caller's header is verified once and then looked up."""

    def __init__(self) -> None:
        self._keys: dict[str, ApiKey] = {}
        self._verified: dict[bytes, Caller] = {}

    def apply(self, key_id: str, value: bytes | None) -> bool:
        """
        Take over the state of one key, and say whether it is news.

        Raises:
            msgspec.DecodeError: This is no key; what was known under the id is not accepted any more.
        """
        before = self._keys.pop(key_id, None)
        try:
            if value is not None:
                self._keys[key_id] = decode(value)
        finally:
            changed = self._keys.get(key_id) != before
            if changed:
                self._verified = {header: caller for header, caller in self._verified.items() if caller.id != key_id}
        return changed

    def dump(self) -> bytes:
        """Return everything it knows; there is no secret in it."""
        return msgspec.json.encode(self._keys)

    def restore(self, dumped: bytes) -> None:
        """
        Know again what was dumped.

        Raises:
            msgspec.DecodeError: That is not what `dump` returned.
        """
        self._keys = msgspec.json.decode(dumped, type=dict[str, ApiKey])

    def identify(self, header: bytes | None, now: float) -> Caller:
        """
        Return whose key is in an `Authorization` header.

        Raises:
            Unauthenticated: Nobody's, or not any more.
        """
        if header is None:
            raise Unauthenticated("send a key: Authorization: Bearer am_…; `addrmesh keys create` makes one")
        caller = self._verified.get(header) or self._verify(header)
        if now >= caller.expires_at:
            raise Unauthenticated(f"key {caller.id} has expired; ask its issuer for a new one")
        return caller

    def _verify(self, header: bytes) -> Caller:
        found = _BEARER.fullmatch(header)
        key_id = found[1].decode() if found else ""
        key = self._keys.get(key_id)
        if found is None or key is None or not compare_digest(key.hash, _hash(found[2])):
            raise Unauthenticated("this key is not valid; send Authorization: Bearer am_… as it was issued")
        if key.revoked:
            raise Unauthenticated(f"key {key_id} was revoked; ask its issuer for a new one")
        caller = self._verified[header] = Caller(
            key_id,
            key.label,
            SCOPES if "*" in key.scopes else frozenset(key.scopes),
            key.rps,
            key.burst or max(2 * key.rps, 2.0),
            key.expires.timestamp() if key.expires else math.inf,
        )
        return caller


@dataclass(slots=True)
class _Bucket:
    """What a key may still do, as far as this node knows."""

    caller: Caller
    tokens: float
    at: float
    """When `tokens` was true."""
    unsent: int = 0
    """Let through here and not yet told to the others."""
    seen: int | None = None
    """The fleet's total when it was last read; None: what was before is of no interest."""


class Quota:
    """
    A token bucket for each key, which the whole fleet draws from.

    Every node keeps the bucket itself: it fills at `rps` up to `burst`, a request here takes a token at once, one
    elsewhere as soon as it is heard of, down to a debt that is paid off before anything more is let through. So no
    request waits for the store, the nodes' clocks need not agree, and what is let through too much is let through
    less later.

    Let N be the nodes and K the time until a node has heard of a request elsewhere: two exchanges and the lag between
    regions, at most a second. In any span of T seconds the fleet lets through at most

        burst + rps * T + (N - 1) * (burst + rps * K)

    requests of a key: the last summand is the worst overshoot, when all nodes are flooded at once after a pause, and
    does not grow with T. A node that has just started, or was not asked for a key for `IDLE_S`, does not know what was
    before its next exchange: each may add `burst + rps * EXCHANGE_S`, once. A caller that stays below `rps`, and below
    `burst - rps * K` at once, is never refused.

    What cannot be heard of is not waited for: `share` is the part of every quota that this node grants, 1 / N while
    its region's store is gone, and the part of the regions that it sees while some are cut off. Until the store has
    noticed that they are, each side grants everything.
    """

    def __init__(self) -> None:
        self.nodes = 1
        """How many there are in the fleet."""
        self.share = 1.0
        self._buckets: dict[str, _Bucket] = {}
        self._log = structlog.get_logger()

    def take(self, caller: Caller, now: float) -> None:
        """
        Count a request.

        Raises:
            RateLimited: The key has no token left.
        """
        bucket = self._bucket(caller, now)
        if bucket.tokens < 1:
            raise RateLimited(
                f"key {caller.id} may send {caller.rps:g} requests a second; send them more slowly",
                retry_after_s=(1 - bucket.tokens) / (caller.rps * self.share),
            )
        bucket.tokens -= 1
        bucket.unsent += 1

    def headers(self, caller: Caller, now: float) -> tuple[tuple[bytes, bytes], ...]:
        """Return `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-09), for every reply."""
        left = self._bucket(caller, now).tokens
        until_full = math.ceil((caller.burst - left) / (caller.rps * self.share))
        return (
            (b"ratelimit-policy", b'"key";q=%d;w=%d' % (caller.burst, math.ceil(caller.burst / caller.rps))),
            (b"ratelimit", b'"key";r=%d;t=%d' % (max(0, int(left)), until_full)),
        )

    async def exchange(self, store: Store, now: float) -> None:
        """Tell the others what was let through here, and hear what they let through."""
        status = await store.status()
        if not status.writable:
            self._be_alone()
            return
        self._grant(sum(origin.link_up for origin in status.origins) / len(status.origins))
        try:
            for key_id, bucket in list(self._buckets.items()):
                await self._exchange_one(store, COUNTER + key_id, bucket)
                if now - bucket.at > IDLE_S:
                    del self._buckets[key_id]
        except StoreUnavailable:
            self._be_alone()

    def _be_alone(self) -> None:
        self._grant(1 / self.nodes)
        for bucket in self._buckets.values():
            # Each keeps to its share now; summed up later, that would be a debt nobody has made.
            bucket.unsent, bucket.seen = 0, None

    async def _exchange_one(self, store: Store, counter: str, bucket: _Bucket) -> None:
        sent, bucket.unsent = bucket.unsent, 0
        if sent:
            await store.add(counter, sent)
        total = await store.total(counter)
        if bucket.seen is not None:
            # The total jumps when a snapshot is restored or a link catches up: no key is locked out for that.
            caller, elsewhere = bucket.caller, max(0, total - bucket.seen - sent)
            bucket.tokens = max(bucket.tokens - elsewhere, -self.nodes * (caller.burst + caller.rps))
        bucket.seen = total

    def _bucket(self, caller: Caller, now: float) -> _Bucket:
        size = max(1.0, caller.burst * self.share)
        bucket = self._buckets.get(caller.id)
        if bucket is None:
            bucket = self._buckets[caller.id] = _Bucket(caller, size, now)
            return bucket
        passed = max(0.0, now - bucket.at)  # a wall clock may go back
        bucket.tokens = min(size, bucket.tokens + passed * caller.rps * self.share)
        bucket.caller, bucket.at = caller, now
        return bucket

    def _grant(self, share: float) -> None:
        if share == self.share:
            return
        self._log.warning("quota.share_changed", before=round(self.share, 3), share=round(share, 3))
        self.share = share
        for bucket in self._buckets.values():
            bucket.seen = None


class Access:
    """
    What the node asks, once for each request under `/v1`.

    Args:
        last_known_good: File that keeps the keys (their hashes) for a start without a store; none if None.
    """

    def __init__(self, last_known_good: Path | None = None) -> None:
        self.quota = Quota()
        self._ring = KeyRing()
        self._file = last_known_good
        self._log = structlog.get_logger()
        self._is_informed = last_known_good is not None and self._restore(last_known_good)

    def authorize(self, header: bytes | None, scope: str, now: float) -> Caller:
        """
        Return who asks, and count the request.

        Args:
            header: Value of `Authorization`.
            scope: What the request needs.
            now: Wall clock, in seconds.

        Raises:
            Unauthenticated: No valid key.
            Forbidden: It names the scope that is missing.
            RateLimited: The key's quota is used up.
            NotReady: This node has not heard of any keys since it was set up.
        """
        try:
            caller = self._ring.identify(header, now)
        except Unauthenticated:
            if header is not None and not self._is_informed:
                raise NotReady("this node does not know the keys yet; ask another one") from None
            raise
        if scope not in caller.scopes:
            raise Forbidden(f"key {caller.id} lacks the scope {scope!r}; ask its issuer for a key that has it")
        self.quota.take(caller, now)
        return caller

    async def follow(self, store: Store) -> None:
        """Keep up with the store, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_keys(store))
            tasks.create_task(self._follow_quotas(store))

    async def _follow_quotas(self, store: Store) -> None:
        while True:
            await self.quota.exchange(store, time.time())
            await asyncio.sleep(EXCHANGE_S)

    async def _follow_keys(self, store: Store) -> None:
        while True:
            try:
                known = await store.scan(PREFIX)
                break
            except StoreUnavailable:
                await asyncio.sleep(RETRY_S)
        for record in known:
            self._apply(record)
        self._is_informed = True
        self._save()
        async with aclosing(store.watch(PREFIX)) as records:
            async for record in records:
                if self._apply(record):
                    self._save()

    def _apply(self, record: Record) -> bool:
        try:
            return self._ring.apply(record.key.removeprefix(PREFIX), record.value)
        except msgspec.DecodeError as error:
            self._log.warning("key.unreadable", key=record.key, reason=str(error))
            return True

    def _restore(self, file: Path) -> bool:
        try:
            self._ring.restore(file.read_bytes())
        except FileNotFoundError:
            return False
        except (OSError, msgspec.DecodeError) as error:
            self._log.warning("keys.last_known_good_unreadable", file=str(file), reason=str(error))
            return False
        return True

    def _save(self) -> None:
        if self._file is None:
            return
        try:
            replace_file(self._file, self._ring.dump(), private=True)
        except OSError as error:
            self._log.warning("keys.last_known_good_unwritable", file=str(self._file), reason=str(error))
