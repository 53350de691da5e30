"""The store of one node without Redis: same answers, nothing outlives the process."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable

from addrmesh import clock
from addrmesh.store.merge import merge
from addrmesh.store.records import Record, Version, check_region, drift_ms, tick
from addrmesh.store.store import (
    ABSENT,
    ANY,
    TOMBSTONE_KEEP_S,
    Durability,
    Expect,
    OriginStatus,
    RevisionConflict,
    StoreStatus,
    Written,
    check_amount,
    no_replica,
)


class MemoryStore:
    """One region, which is the whole world."""

    def __init__(self, region: str = "local", *, wall_ms: Callable[[], int] = clock.wall_ms) -> None:
        self.region = check_region(region)
        self._wall_ms = wall_ms
        self._records: dict[str, Record] = {}
        self._clock: Version | None = None
        self._counters: dict[str, tuple[int, float]] = {}
        self._watchers: set[asyncio.Queue[Record]] = set()

    async def get(self, key: str) -> Record | None:
        record = self._records.get(key)
        return record if record and record.value is not None else None

    async def put(
        self, key: str, value: bytes, *, expect: Expect = ANY, durability: Durability = Durability.LOCAL
    ) -> Written:
        return self._write(key, value, expect, durability)

    async def delete(self, key: str, *, expect: Expect = ANY, durability: Durability = Durability.LOCAL) -> Written:
        return self._write(key, None, expect, durability)

    def _write(self, key: str, value: bytes | None, expect: Expect, durability: Durability) -> Written:
        held = self._records.get(key)
        version = held.version if held else None
        if expect is ABSENT and held and held.value is not None:
            raise RevisionConflict(key, expect, version)
        if isinstance(expect, Version) and expect != version:
            raise RevisionConflict(key, expect, version)
        record = Record(key, value, tick(self._wall_ms(), self._clock, self.region))
        self._keep(record)
        return Written(record, durable=0, asked=durability.regions(0))

    def _keep(self, record: Record) -> None:
        self._records[record.key] = record
        self._clock = max(record.version, self._clock or record.version)
        for queue in self._watchers:
            queue.put_nowait(record)

    async def scan(self, prefix: str) -> list[Record]:
        found = [r for key, r in self._records.items() if key.startswith(prefix) and r.value is not None]
        return sorted(found, key=lambda record: record.key)

    async def watch(self, prefix: str) -> AsyncGenerator[Record, None]:
        queue: asyncio.Queue[Record] = asyncio.Queue()
        for record in await self.scan(prefix):
            queue.put_nowait(record)
        self._watchers.add(queue)
        try:
            while True:
                record = await queue.get()
                if record.key.startswith(prefix):
                    yield record
        finally:
            self._watchers.discard(queue)

    async def add(self, counter: str, amount: int = 1, *, ttl_s: float | None = None) -> None:
        check_amount(amount)
        held = await self.total(counter)
        until = self._counters[counter][1] if held else float("inf")
        if ttl_s is not None and until == float("inf"):
            until = self._wall_ms() + ttl_s * 1000
        self._counters[counter] = (held + amount, until)

    async def total(self, counter: str) -> int:
        amount, until = self._counters.get(counter, (0, float("inf")))
        if self._wall_ms() < until:
            return amount
        del self._counters[counter]
        return 0

    async def export(self) -> list[Record]:
        return list(self._records.values())

    async def absorb(self, records: Iterable[Record]) -> int:
        newer = [
            record
            for record in merge(records).values()
            if record.key not in self._records or self._records[record.key].version < record.version
        ]
        for record in newer:
            self._keep(record)
        return len(newer)

    async def adopt(self, lost_region: str) -> tuple[int, int]:
        raise no_replica(lost_region, ())

    async def sweep(self, keep_s: float = TOMBSTONE_KEEP_S) -> int:
        before = self._wall_ms() - keep_s * 1000
        old = [key for key, r in self._records.items() if r.value is None and r.version.wall_ms < before]
        for key in old:
            del self._records[key]
        return len(old)

    async def status(self) -> StoreStatus:
        own = OriginStatus(self.region, reachable=True, link_up=True, lag_seconds=0.0, offset=None)
        return StoreStatus(self.region, True, (own,), drift_ms(self._wall_ms(), self._clock))

    async def close(self) -> None:
        return
