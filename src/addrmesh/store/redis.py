"""
The store over Redis: writes go to the own region's primary, reads merge it with the replicas of the others.

    write ──▶ primary of the own region ──(Redis replication)──▶ its replicas in the other regions
    read  ──▶ primary, and the replica here of every other region ──▶ merge

Every server is asked at once; one that does not answer is left out, and one that hangs is not asked again for a
moment, so that a stopped replica slows one read and not all of them.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

import structlog

from addrmesh import clock
from addrmesh.errors import ConfigError
from addrmesh.store.connection import Changes, Connection, Endpoint, Hung
from addrmesh.store.merge import merge, merge_cells, newest
from addrmesh.store.records import Record, Version, check_region, drift_ms
from addrmesh.store.store import (
    ABSENT,
    ANY,
    TOMBSTONE_KEEP_S,
    Durability,
    Expect,
    OriginStatus,
    RevisionConflict,
    StoreStatus,
    StoreUnavailable,
    Written,
    check_amount,
    no_replica,
)

RESYNC_S = 0.5
"""A watcher looks at least this often, also when no hint arrives."""
RECONNECT_S = 0.1
REST_S = 1.0
"""How long a server that hangs is left out of reads."""

_T = TypeVar("_T")

log = structlog.get_logger()


class RedisStore:
    """One region's view; connects when it is first asked."""

    def __init__(
        self,
        region: str,
        primary: Endpoint,
        replicas: Mapping[str, Endpoint] | None = None,
        *,
        wall_ms: Callable[[], int] = clock.wall_ms,
        timeout_s: float = 1.0,
        wait_s: float = 0.5,
    ) -> None:
        """
        Describe the servers; nothing is connected yet.

        `replicas` holds, by region, the server here that replicates it. One server may take `timeout_s` to answer,
        and a write that was asked to waits `wait_s` for other regions, which must be less.
        """
        if wait_s >= timeout_s:
            raise ConfigError(f"wait_s is {wait_s} and must be less than timeout_s, which is {timeout_s}")
        self.region = check_region(region)
        self._primary = Connection(f"the primary of region {region}", primary, timeout_s=timeout_s)
        self._replicas = {
            check_region(other): Connection(f"the replica of region {other} in {region}", endpoint, timeout_s=timeout_s)
            for other, endpoint in (replicas or {}).items()
        }
        self._connections = {region: self._primary, **self._replicas}
        self._wall_ms = wall_ms
        self._wait_s = wait_s
        self._seen: Version | None = None
        self._resting_until: dict[Connection, float] = {}

    async def get(self, key: str) -> Record | None:
        record = self._see(newest(await self._from_all(lambda server: server.get(key))))
        return record if record and record.value is not None else None

    async def put(
        self, key: str, value: bytes, *, expect: Expect = ANY, durability: Durability = Durability.LOCAL
    ) -> Written:
        return await self._write(key, value, expect, durability)

    async def delete(self, key: str, *, expect: Expect = ANY, durability: Durability = Durability.LOCAL) -> Written:
        return await self._write(key, None, expect, durability)

    async def _write(self, key: str, value: bytes | None, expect: Expect, durability: Durability) -> Written:
        answers = await self._ask(self._replicas.values(), lambda server: server.get(key))
        others = self._see(newest(answer for answer in answers if not isinstance(answer, StoreUnavailable)))
        asked = durability.regions(len(self._replicas))
        done, version, confirmed = await self._primary.write(
            key,
            value,
            expect="*" if expect is ANY else "" if expect is ABSENT else str(expect),
            others=others,
            seen=self._seen,
            now_ms=self._wall_ms(),
            region=self.region,
            wait_for=asked,
            wait_s=self._wait_s,
        )
        if done and version:
            record = Record(key, value, version)
            self._see(record)
            return Written(record, durable=confirmed, asked=asked)
        if expect is ANY:
            raise AssertionError("a write that expects anything was refused; this is a bug")
        raise RevisionConflict(key, expect, version)

    async def scan(self, prefix: str) -> list[Record]:
        winners = merge(*await self._from_all(lambda server: server.scan(prefix)))
        return [record for _, record in sorted(winners.items()) if record.value is not None]

    async def watch(self, prefix: str) -> AsyncGenerator[Record, None]:
        first = await self._ask(self._connections.values(), lambda server: server.changes(None, prefix))
        known = [Changes(None, []) if isinstance(answer, StoreUnavailable) else answer for answer in first]
        winners = merge(*(records for _, records in known))
        seen = {key: record.version for key, record in winners.items()}
        for record in winners.values():
            self._see(record)
            if record.value is not None:
                yield record
        changed: asyncio.Queue[Record | Exception] = asyncio.Queue()
        followers = {
            asyncio.create_task(_follow(server, since, prefix, changed))
            for server, (since, _) in zip(self._connections.values(), known, strict=True)
        }
        try:
            while True:
                change = await changed.get()
                if isinstance(change, Exception):
                    raise change
                if change.key not in seen or seen[change.key] < change.version:
                    seen[change.key] = change.version
                    self._see(change)
                    yield change
        finally:
            while followers:  # redis-py may swallow a cancellation that comes together with an answer
                for follower in followers:
                    follower.cancel()
                followers = (await asyncio.wait(followers, timeout=0.02))[1]

    async def add(self, counter: str, amount: int = 1, *, ttl_s: float | None = None) -> None:
        check_amount(amount)
        await self._primary.add(counter, amount, ttl_s)

    async def total(self, counter: str) -> int:
        return sum(merge_cells(*await self._from_all(lambda server: server.cells(counter))).values())

    async def export(self) -> list[Record]:
        return list(merge(*await self._from_all(_everything)).values())

    async def absorb(self, records: Iterable[Record]) -> int:
        return await self._primary.absorb(records)

    async def adopt(self, lost_region: str) -> tuple[int, int]:
        if lost_region not in self._replicas:
            raise no_replica(lost_region, self._replicas)
        return await self._primary.absorb_all(self._replicas[lost_region])

    async def sweep(self, keep_s: float = TOMBSTONE_KEEP_S) -> int:
        """
        Forget old tombstones, in two steps that need every region in sight.

        Another region may still hold what a tombstone deleted. So at half the time each region puts the tombstone
        in the place of its own older record, and only what is older nowhere is forgotten at the full time.
        """
        status = await self.status()
        if not all(origin.link_up for origin in status.origins):
            return 0
        own, *others = views = await self._from_all(_everything)
        if len(views) < len(self._connections):
            return 0
        held, now_ms = merge(own), self._wall_ms()
        deleted = [record for record in merge(own, *others).values() if record.value is None]
        await self._primary.absorb(
            record
            for record in deleted
            if record.version.wall_ms < now_ms - keep_s * 500 and record.key in held and held[record.key] != record
        )
        older = {r.key for view in others for r in view if r.value is not None}
        return await self._primary.forget(
            record
            for record in deleted
            if record.version.wall_ms < now_ms - keep_s * 1000
            and held.get(record.key) == record
            and record.key not in older
        )

    async def status(self) -> StoreStatus:
        async def look(server: Connection) -> tuple[Mapping[str, Any], Version | None]:
            return await server.replication(), await server.clock()

        answers = await self._ask(self._connections.values(), look)
        origins = [
            OriginStatus(region, False, False, None, None)
            if isinstance(answer, StoreUnavailable)
            else _origin_status(region, answer[0])
            for region, answer in zip(self._connections, answers, strict=True)
        ]
        clocks = [answer[1] for answer in answers if not isinstance(answer, StoreUnavailable) and answer[1]]
        highest = max([*clocks, *([self._seen] if self._seen else [])], default=None)
        return StoreStatus(self.region, origins[0].link_up, tuple(origins), drift_ms(self._wall_ms(), highest))

    async def close(self) -> None:
        await asyncio.gather(*(server.close() for server in self._connections.values()))

    def _see(self, record: Record | None) -> Record | None:
        """Keep the highest version, so that what we write next is later than what we have read."""
        if record and (self._seen is None or self._seen < record.version):
            self._seen = record.version
        return record

    async def _from_all(self, question: Callable[[Connection], Awaitable[_T]]) -> list[_T]:
        """Return the answers of the servers that answer, the own primary's first."""
        answers = await self._ask(self._connections.values(), question)
        useful = [answer for answer in answers if not isinstance(answer, StoreUnavailable)]
        if not useful:
            reasons = "; ".join(str(answer) for answer in answers if isinstance(answer, StoreUnavailable))
            raise StoreUnavailable(f"nothing can be read in region {self.region}: {reasons}")
        return useful

    async def _ask(
        self, servers: Iterable[Connection], question: Callable[[Connection], Awaitable[_T]]
    ) -> list[_T | StoreUnavailable]:
        return await asyncio.gather(*(self._ask_one(server, question) for server in servers))

    async def _ask_one(
        self, server: Connection, question: Callable[[Connection], Awaitable[_T]]
    ) -> _T | StoreUnavailable:
        if time.monotonic() < self._resting_until.get(server, 0.0):
            return StoreUnavailable(f"{server.name} did not answer a moment ago")
        try:
            return await question(server)
        except StoreUnavailable as error:
            if isinstance(error, Hung):
                self._resting_until[server] = time.monotonic() + REST_S
            return error


async def _everything(server: Connection) -> list[Record]:
    async with aclosing(server.chunks()) as chunks:
        return [record async for chunk in chunks for record in chunk]


async def _follow(
    server: Connection, since: int | None, prefix: str, changed: asyncio.Queue[Record | Exception]
) -> None:
    """
    Put what changes on one server into the queue, for ever.

    Messages are only hints to look. What has changed is always read from the server's list of changes, from where
    the last look ended; after a lost connection from the start, because the server may have come back with an
    older history.
    """
    reachable = True
    try:
        while True:
            try:
                async with server.subscribed() as hints:
                    while True:
                        since, records = await server.changes(since, prefix)
                        reachable = True
                        for record in records:
                            changed.put_nowait(record)
                        with server.translated():
                            await hints.get_message(ignore_subscribe_messages=True, timeout=RESYNC_S)
            except StoreUnavailable as error:
                if reachable:
                    log.warning("store.unwatched", reason=str(error))
                reachable, since = False, None
            await asyncio.sleep(RECONNECT_S)
    except Exception as error:  # noqa: BLE001  the watcher raises it
        changed.put_nowait(error)


def _origin_status(region: str, info: Mapping[str, Any]) -> OriginStatus:
    if info["role"] == "master":
        return OriginStatus(region, True, True, 0.0, info["master_repl_offset"])
    up = info["master_link_status"] == "up"
    silent_s = info["master_last_io_seconds_ago"] if up else info["master_link_down_since_seconds"]
    return OriginStatus(region, True, up, float(silent_s) if silent_s >= 0 else None, info["slave_repl_offset"])
