"""What every store promises; the same suite runs over memory and over a real redis-server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from addrmesh.errors import ConfigError
from addrmesh.store.connection import Endpoint
from addrmesh.store.memory import MemoryStore
from addrmesh.store.records import Record, Version
from addrmesh.store.redis import RedisStore
from addrmesh.store.server import ServerSpec, primary_config
from addrmesh.store.store import ABSENT, Durability, RevisionConflict, Store
from support.redis import RedisProcess, free_port


class Clock:
    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "redis"])
async def open_store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> AsyncIterator[Callable[[], Store]]:
    """Opens the store; a second call is a second process of the same region, where there can be one."""
    if request.param == "memory":
        only = MemoryStore("eu", wall_ms=clock)
        yield lambda: only
        return
    server = RedisProcess(tmp_path / "redis", free_port())
    server.start(primary_config(ServerSpec(server.directory, server.port), {}))
    opened: list[RedisStore] = []

    def start() -> RedisStore:
        opened.append(RedisStore("eu", Endpoint("127.0.0.1", server.port), wall_ms=clock))
        return opened[-1]

    yield start
    for store in opened:
        await store.close()
    server.kill()


@pytest.fixture
def store(open_store: Callable[[], Store]) -> Store:
    return open_store()


async def next_of(watching: AsyncIterator[Record]) -> tuple[str, bytes | None]:
    record = await asyncio.wait_for(anext(watching), 10)
    return record.key, record.value


async def test_what_was_put_is_read_by_everybody(store: Store, open_store: Callable[[], Store]) -> None:
    written = await store.put("k", b"\x00\xff\n")
    assert await store.get("k") == written.record == Record("k", b"\x00\xff\n", written.record.version)
    assert await open_store().get("k") == written.record


async def test_an_empty_value_is_a_value(store: Store) -> None:
    await store.put("k", b"")
    record = await store.get("k")
    assert record is not None
    assert record.value == b""


async def test_what_was_never_put_is_none(store: Store) -> None:
    assert await store.get("k") is None


async def test_what_was_deleted_is_none_and_stays_known_as_a_tombstone(store: Store) -> None:
    await store.put("k", b"1")
    deleted = await store.delete("k")
    assert await store.get("k") is None
    assert await store.export() == [Record("k", None, deleted.record.version)]


async def test_each_write_is_ordered_after_the_last_whatever_the_clock_does(store: Store, clock: Clock) -> None:
    versions = []
    for clock.ms in (5_000_000_000, 5_000_000_000, 4_000_000_000, 5_000_000_001):
        versions.append((await store.put("k", b"")).record.version)
    assert versions == [
        Version(5_000_000_000, 0, "eu"), Version(5_000_000_000, 1, "eu"),
        Version(5_000_000_000, 2, "eu"), Version(5_000_000_001, 0, "eu"),
    ]  # fmt: skip


async def test_a_full_counter_moves_the_clock(store: Store, clock: Clock) -> None:
    await store.absorb([Record("other", b"", Version(clock.ms, 0xFFFF, "cn"))])
    assert (await store.put("k", b"")).record.version == Version(clock.ms + 1, 0, "eu")


async def test_of_two_writers_with_the_same_expectation_one_wins(store: Store, open_store: Callable[[], Store]) -> None:
    first = (await store.put("k", b"0")).record.version
    outcomes = await asyncio.gather(
        store.put("k", b"1", expect=first), open_store().put("k", b"2", expect=first), return_exceptions=True
    )
    (conflict,) = [outcome for outcome in outcomes if isinstance(outcome, RevisionConflict)]
    record = await store.get("k")
    assert record is not None
    assert (conflict.key, conflict.expected, conflict.found) == ("k", first, record.version)
    assert f"expected version {first}, found version {record.version}, written in eu" in str(conflict)


async def test_absent_expects_that_there_is_no_value(store: Store) -> None:
    await store.put("k", b"1", expect=ABSENT)
    with pytest.raises(RevisionConflict, match="expected nothing there"):
        await store.put("k", b"2", expect=ABSENT)
    await store.delete("k")
    await store.put("k", b"3", expect=ABSENT)


async def test_a_refused_write_writes_nothing(store: Store) -> None:
    missing = Version(1, 0, "eu")
    with pytest.raises(RevisionConflict, match="found nothing"):
        await store.put("k", b"1", expect=missing)
    with pytest.raises(RevisionConflict):
        await store.delete("k", expect=missing)
    assert await store.export() == []


async def test_scan_returns_values_by_key_under_the_prefix(store: Store) -> None:
    for key in ("b/2", "a/1", "b/1", "b", "b/删", "c/1"):
        await store.put(key, b"")
    await store.delete("b/2")
    assert [record.key for record in await store.scan("b/")] == ["b/1", "b/删"]
    assert len(await store.scan("")) == 5


async def test_watch_yields_what_there_is_and_then_what_changes(store: Store) -> None:
    await store.put("a/1", b"1")
    await store.put("b/1", b"1")
    await store.put("a/gone", b"1")
    await store.delete("a/gone")
    async with aclosing(store.watch("a/")) as watching:
        assert await next_of(watching) == ("a/1", b"1")
        await store.put("b/2", b"2")
        await store.put("a/2", b"2")
        assert await next_of(watching) == ("a/2", b"2")
        await store.delete("a/1")
        assert await next_of(watching) == ("a/1", None)


async def test_more_records_than_fit_one_command_are_all_seen(store: Store, clock: Clock) -> None:
    records = [Record(f"k{number:04}", b"", Version(clock.ms, number, "cn")) for number in range(1_500)]
    assert await store.absorb(records[:1_000]) == 1_000
    assert await store.scan("k") == records[:1_000]
    assert await store.scan("k0") == records[:1_000]
    async with aclosing(store.watch("k")) as watching:
        seen = [await anext(watching) for _ in range(1_000)]
        assert await store.absorb(records) == 500
        seen += [await anext(watching) for _ in range(500)]
    assert sorted(seen, key=lambda record: record.key) == records
    assert len(await store.export()) == 1_500


async def test_two_watchers_see_the_same(store: Store, open_store: Callable[[], Store]) -> None:
    async with aclosing(store.watch("")) as one, aclosing(open_store().watch("")) as other:
        await store.put("k", b"1")
        assert await next_of(one) == await next_of(other) == ("k", b"1")


async def test_a_watch_ends_when_it_is_closed_while_changes_arrive(store: Store) -> None:
    async with asyncio.timeout(10):
        for number in range(10):
            async with aclosing(store.watch("")) as watching:
                await store.put("k", b"1")
                await anext(watching)
                await store.put("k", str(number).encode())
                await anext(watching)


async def test_counters_add_up(store: Store, open_store: Callable[[], Store]) -> None:
    assert await store.total("n") == 0
    await asyncio.gather(*(open_store().add("n", amount) for amount in (1, 2, 3, 4)))
    assert await store.total("n") == 10
    with pytest.raises(ConfigError, match="only grow"):
        await store.add("n", 0)


async def test_absorbing_keeps_the_newer_and_may_be_repeated(store: Store) -> None:
    held = (await store.put("k", b"held")).record
    older = Record(
        "k", b"older", Version(held.version.wall_ms, 0, "cn") if held.version.counter else Version(1, 0, "cn")
    )
    newer = Record("n", None, Version(held.version.wall_ms + 5, 0, "cn"))
    assert await store.absorb([older, newer]) == 1
    assert await store.absorb([older, newer]) == 0
    assert sorted(await store.export(), key=lambda record: record.key) == [held, newer]
    assert (await store.put("n", b"")).record.version > newer.version


async def test_the_sweep_forgets_old_tombstones_only(store: Store, clock: Clock) -> None:
    await store.put("live", b"")
    await store.delete("old")
    clock.ms += 2_000
    await store.delete("young")
    assert await store.sweep(keep_s=1) == 1
    assert {record.key for record in await store.export()} == {"live", "young"}


async def test_a_version_ahead_of_our_clock_raises_the_alarm(store: Store, clock: Clock) -> None:
    await store.absorb([Record("k", b"", Version(clock.ms + 900, 0, "cn"))])
    status = await store.status()
    assert (status.drift_ms, status.drifting) == (900, True)
    clock.ms += 500
    assert not (await store.status()).drifting


async def test_the_status_of_one_region(store: Store) -> None:
    status = await store.status()
    (own,) = status.origins
    assert (status.writable, own.region, own.reachable, own.link_up, own.lag_seconds) == (True, "eu", True, True, 0)


async def test_with_one_region_every_durability_is_reached(store: Store) -> None:
    written = await store.put("k", b"", durability=Durability.ALL_REGIONS)
    assert (written.durable, written.asked) == (0, 0)
