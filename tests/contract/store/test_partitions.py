"""Regions on real redis-servers, with faults: nothing acknowledged is lost, and everybody comes to the same view."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from addrmesh.store.connection import Connection, Endpoint
from addrmesh.store.documents import Documents
from addrmesh.store.harvest import Outcome, open_for_replicas
from addrmesh.store.records import Record, Version
from addrmesh.store.redis import RedisStore
from addrmesh.store.store import Durability, StoreUnavailable
from support.redis import RedisProcess, Regions, eventually, free_port, regions


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Regions]:
    async with regions(tmp_path, "eu", "cn") as started:
        yield started


async def values(store: RedisStore) -> dict[str, bytes | None]:
    return {record.key: record.value for record in await store.scan("")}


async def test_both_sides_write_during_a_partition_and_agree_within_3_s_after_it(two: Regions) -> None:
    eu, cn = two.stores["eu"], two.stores["cn"]
    acknowledged: dict[str, set[bytes]] = {}
    with two.dropped("eu", "cn"):
        for number in range(600):
            for name, store in (("eu", eu), ("cn", cn)):
                key = f"shared/{number % 50}" if number % 2 else f"{name}/{number}"
                await store.put(key, f"{name} {number}".encode())
                acknowledged.setdefault(key, set()).add(f"{name} {number}".encode())
        assert not await two.agree()
        # longer than the link timeout: both replicas have given their link up when it heals
        for here, origin in (("eu", "cn"), ("cn", "eu")):
            await eventually(lambda h=here, o=origin: down(two, h, o), "the replica notices")
    took = await eventually(two.agree, "both see the same", within_s=3)
    held = await values(eu)
    lost = {key for key, written in acknowledged.items() if held.get(key) not in written}
    assert (lost, len(held)) == (set(), 50 - 25 + 600), f"agreed after {took:.2f} s"


async def down(lab: Regions, here: str, origin: str) -> bool:
    return not next(o.link_up for o in (await lab.stores[here].status()).origins if o.region == origin)


async def test_the_winner_of_a_partition_is_the_higher_version_everywhere(two: Regions) -> None:
    eu, cn = two.stores["eu"], two.stores["cn"]
    with two.dropped("eu", "cn"):
        first = (await eu.put("k", b"eu")).record
        second = (await cn.put("k", b"cn")).record
        assert (await eu.get("k"), await cn.get("k")) == (first, second)
    await eventually(two.agree, "both see the same")
    assert await eu.get("k") == max(first, second, key=lambda record: record.version)


async def test_a_slow_clock_does_not_hide_a_write_behind_what_it_replaces(two: Regions) -> None:
    ahead = two.store("cn", wall_ms=lambda: 9_000_000_000_000)
    there = (await ahead.put("k", b"from the future")).record
    await ahead.close()
    eu = two.stores["eu"]
    await eventually(lambda: eu.get("k"), "the record arrives")
    assert (await eu.status()).drifting
    written = (await eu.put("k", b"now", expect=there.version)).record
    assert written.version > there.version
    assert await eu.get("k") == written


async def test_a_deletion_wins_over_the_older_record_of_another_region(two: Regions) -> None:
    eu, cn = two.stores["eu"], two.stores["cn"]
    await eu.put("k", b"1", durability=Durability.ALL_REGIONS)
    with two.dropped("eu", "cn"):
        assert await cn.get("k")
        await cn.delete("k")
    await eventually(two.agree, "both see the same")
    assert await eu.get("k") is None
    two.primaries["eu"].kill()
    two.primaries["eu"].start()
    await two.open("eu")
    await eventually(two.agree, "both see the same again")
    assert await cn.get("k") is None


async def test_a_forgotten_tombstone_does_not_resurrect_what_it_deleted(two: Regions) -> None:
    eu, cn = two.stores["eu"], two.stores["cn"]
    await eu.put("k", b"1")
    await eventually(lambda: cn.get("k"), "the record arrives")
    await cn.delete("k")
    await eventually(two.agree, "both see the tombstone")
    # cn has forgotten nothing: eu still holds the live record that the tombstone covers
    assert await cn.sweep(keep_s=0) == 0
    assert await eu.sweep(keep_s=0) == 0
    await eventually(lambda: swept(two), "both primaries forget it")
    assert await two.views() == [{}, {}]


async def swept(lab: Regions) -> bool:
    await asyncio.gather(*(store.sweep(keep_s=0) for store in lab.stores.values()))
    return await lab.views() == [{}, {}]


async def test_nothing_is_swept_while_a_region_is_out_of_sight(two: Regions) -> None:
    await two.stores["eu"].delete("k")
    two.replicas["eu", "cn"].kill()
    assert await two.stores["eu"].sweep(keep_s=0) == 0


async def test_counters_of_cut_off_regions_add_up(two: Regions) -> None:
    eu, cn = two.stores["eu"], two.stores["cn"]
    with two.dropped("eu", "cn"):
        for _ in range(30):
            await eu.add("n", 2)
            await cn.add("n", 3)
        assert (await eu.total("n"), await cn.total("n")) == (60, 90)

    async def totals() -> bool:
        return [await eu.total("n"), await cn.total("n")] == [150, 150]

    await eventually(totals, "both count 150")


async def test_a_counter_expires_everywhere(two: Regions) -> None:
    eu, cn = two.stores["eu"], two.stores["cn"]
    await eu.add("window", 5, ttl_s=0.5)
    await eu.add("window", 5, ttl_s=500)

    async def gone() -> bool:
        return [await eu.total("window"), await cn.total("window")] == [0, 0]

    assert await eu.total("window") == 10
    assert await eventually(gone, "the window ends", within_s=5) > 0.2


async def test_the_reply_says_how_far_a_write_got(two: Regions) -> None:
    eu = two.stores["eu"]
    for durability in (Durability.ONE_REGION, Durability.ALL_REGIONS):
        reached = await eu.put("k", b"1", durability=durability)
        assert (reached.durable, reached.asked) == (1, 1)
    local = await eu.put("k", b"2")
    assert (local.durable, local.asked) == (0, 0)
    with two.dropped("eu", "cn"):
        cut_off = await eu.put("k", b"3", durability=Durability.ALL_REGIONS)
        assert (cut_off.durable, cut_off.asked) == (0, 1)
        assert await eu.get("k") == cut_off.record


async def test_kill_9_of_every_server_loses_nothing_acknowledged(two: Regions) -> None:
    expected = {}
    for round_, server in enumerate([*two.primaries.values(), *two.replicas.values()]):
        for number in range(100):
            for store in two.stores.values():
                key = f"{store.region}/{round_}/{number}"
                expected[key] = (await store.put(key, key.encode())).record.value
        server.kill()
        server.start()
        for name in two.names:
            await two.open(name)
        await eventually(lambda: linked(two), "every replica is linked")
    await eventually(two.agree, "both see the same")
    assert await values(two.stores["eu"]) == expected


async def linked(lab: Regions) -> bool:
    statuses = [await store.status() for store in lab.stores.values()]
    return all(origin.link_up for status in statuses for origin in status.origins)


async def test_a_watcher_misses_nothing_while_servers_die_and_return(two: Regions) -> None:
    eu, cn = two.stores["eu"], two.stores["cn"]
    seen: dict[str, bytes | None] = {}
    order: list[Version] = []

    async def watch() -> None:
        async with aclosing(eu.watch("w/")) as watching:
            async for record in watching:
                seen[record.key] = record.value
                if record.key == "w/same":
                    order.append(record.version)

    watcher = asyncio.create_task(watch())
    try:
        expected: dict[str, bytes | None] = {}
        for round_, server in enumerate((two.replicas["eu", "cn"], two.primaries["eu"], two.primaries["cn"])):
            for number in range(20):
                await cn.put(f"w/{round_}/{number}", b"cn")
            await cn.put("w/same", str(round_).encode())
            server.kill()
            if server is not two.primaries["cn"]:
                await cn.put(f"w/{round_}/while-dead", b"cn")
                expected[f"w/{round_}/while-dead"] = b"cn"
            server.start()
            await two.open("eu")
            await two.open("cn")
            expected |= {f"w/{round_}/{number}": b"cn" for number in range(20)} | {"w/same": str(round_).encode()}
        await eventually(lambda: equal(seen, expected), "the watcher has seen every write")
        assert order == sorted(order)
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


async def equal(one: Any, other: Any) -> bool:
    return bool(one == other)


async def test_a_change_in_another_region_is_seen_well_within_a_second(two: Regions) -> None:
    async with aclosing(two.stores["eu"].watch("")) as watching:
        first = asyncio.ensure_future(anext(watching))
        await eventually(lambda: equal(len(asyncio.all_tasks()) > 1, True), "the watcher runs")
        took = []
        loop = asyncio.get_running_loop()
        for number in range(20):
            started = loop.time()
            await two.stores["cn"].put(f"k{number}", b"")
            await asyncio.wait_for(first, 5)
            took.append(loop.time() - started)
            first = asyncio.ensure_future(anext(watching))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    assert sorted(took)[10] < 0.1, took


async def test_reads_go_on_without_the_own_primary_and_writes_say_what_to_do(two: Regions) -> None:
    eu, cn = two.stores["eu"], two.stores["cn"]
    await cn.put("k", b"cn", durability=Durability.ALL_REGIONS)
    two.primaries["eu"].kill()
    record = await eu.get("k")
    assert record is not None
    assert record.value == b"cn"
    with pytest.raises(
        StoreUnavailable, match=r"the primary of region eu at 127\.0\.0\.1:\d+ cannot be reached.*check"
    ):
        await eu.put("k", b"eu")
    status = await eu.status()
    assert (status.writable, [origin.reachable for origin in status.origins]) == (False, [False, True])
    two.replicas["eu", "cn"].kill()
    with pytest.raises(StoreUnavailable, match="nothing can be read in region eu: the primary of region eu"):
        await eu.get("k")


async def test_a_hanging_replica_slows_one_read_and_not_the_next(two: Regions) -> None:
    eu = two.stores["eu"]
    await eu.put("k", b"1")
    loop = asyncio.get_running_loop()
    with two.replicas["eu", "cn"].paused():
        started = loop.time()
        assert await eu.get("k")
        slow = loop.time() - started
        started = loop.time()
        for _ in range(50):
            assert await eu.get("k")
        assert loop.time() - started < 10 < 50 * slow


async def test_a_region_that_is_lost_is_adopted(two: Regions) -> None:
    eu, cn = two.stores["eu"], two.stores["cn"]
    for number in range(1200):
        await cn.put(f"k{number}", b"cn")
    await cn.delete("k0")
    await cn.add("n", 7)
    await eu.add("n", 1)
    await cn.put("last", b"", durability=Durability.ALL_REGIONS)
    two.primaries["cn"].kill()
    assert await eu.adopt("cn") == (1201, 1)
    assert await eu.adopt("cn") == (0, 0)
    assert await eu.total("n") == 8
    two.replicas["eu", "cn"].kill()
    assert len(await eu.scan("k")) == 1199
    assert await eu.total("n") == 8
    alone = await eu.get("last")
    assert alone is not None


async def test_a_document_edited_on_both_sides_is_a_conflict_on_both_sides_until_it_is_resolved(two: Regions) -> None:
    eu, cn = (Documents(two.stores[name], {"traffic": lambda content: content}) for name in ("eu", "cn"))
    why = {"author": "lin", "reason": "a test"}
    first = await eu.put("traffic", {"n1": 1}, **why, expect=None)
    await eventually(lambda: cn.get("traffic"), "the document arrives")
    with two.dropped("eu", "cn"):
        await eu.put("traffic", {"n1": 2}, **why, expect=first.revision)
        await cn.put("traffic", {"n1": 3}, **why, expect=first.revision)

    async def same(sides: int) -> bool:
        one, other = await eu.get("traffic"), await cn.get("traffic")
        return one is not None and one == other and len(one.conflict) == sides - 1

    await eventually(lambda: same(2), "both regions show both sides")
    seen = await cn.get("traffic")
    assert seen is not None
    assert {seen.content["n1"], seen.conflict[0].content["n1"]} == {2, 3}
    await cn.resolve("traffic", {"n1": 4}, **why, expect=seen.revision)
    await eventually(lambda: same(1), "both regions show the resolution")


async def test_lag_and_link_are_told_by_origin(two: Regions) -> None:
    async def told(up: bool) -> bool:
        _, cn = (await two.stores["eu"].status()).origins
        return cn.link_up is up and cn.reachable and cn.lag_seconds is not None and (up or cn.lag_seconds >= 2)

    await eventually(lambda: told(True), "the link is up")
    with two.dropped("eu", "cn"):
        await eventually(lambda: told(False), "the link is down and the lag grows")


class TestHarvest:
    """A primary comes back without what it had acknowledged, as after a power loss."""

    async def lose_writes(self, two: Regions) -> dict[str, bytes]:
        """Write, copy the files, write on until the other region has it all, and go back to the copy."""
        eu = two.stores["eu"]
        for number in range(200):
            await eu.put(f"k{number}", b"before")
        await eu.add("n", 10)
        await eventually(two.agree, "both see the same")
        copy = two.primaries["eu"].data()
        for number in range(100, 700):
            await eu.put(f"k{number}", b"acknowledged")
        await eu.delete("k0")
        await eu.add("n", 5)
        await eu.put("last", b"", durability=Durability.ALL_REGIONS)
        await eventually(two.agree, "the other region has it all")
        two.primaries["eu"].lose_power_back_to(copy)
        two.primaries["eu"].start()
        return {"last": b""} | {f"k{n}": b"acknowledged" if n >= 100 else b"before" for n in range(1, 700)}

    async def test_the_plain_way_loses_acknowledged_writes_on_both_sides(self, two: Regions) -> None:
        expected = await self.lose_writes(two)
        await _turn_on(two, "eu")
        await two.linked("cn", "eu")
        await eventually(two.agree, "the replica was overwritten")
        held = await values(two.stores["cn"])
        assert len([key for key in expected if held.get(key) != expected[key]]) == 601
        assert held["k0"] == b"before"
        assert await two.stores["cn"].total("n") == 10

    async def test_with_harvest_none_is_lost(self, two: Regions) -> None:
        expected = await self.lose_writes(two)
        eu, cn = two.stores["eu"], two.stores["cn"]
        # the region takes writes at once; they must survive as well
        await eu.put("k650", b"after the power loss")
        await eu.add("n", 1)
        assert await values(cn) == expected
        report = await two.open("eu")
        # 600 puts, 1 delete, 1 last, less the key that has a newer value now
        assert report.by_region["cn"].outcome is Outcome.OPENED
        assert (report.by_region["cn"].records, report.by_region["cn"].counter_cells) == (601, 1)
        await two.linked("cn", "eu")
        await eventually(two.agree, "both see the same")
        assert await values(cn) == await values(eu) == expected | {"k650": b"after the power loss"}
        assert await cn.total("n") == await eu.total("n") == 16
        assert (await two.open("eu")).by_region["cn"].outcome is Outcome.ALREADY_OPEN

    async def test_a_region_that_cannot_be_reached_stays_off_and_keeps_what_it_has(self, two: Regions) -> None:
        expected = await self.lose_writes(two)
        with two.dropped("eu", "cn"):
            report = await two.open("eu")
            assert not report.is_open
            assert "does not answer" in (report.by_region["cn"].reason or "")
        # the way is free again, the primary is behind, and nobody has harvested: the replica knocks and is refused
        refused = await eventually(lambda: _refused(two), "the replica was refused")
        assert refused >= 0
        assert await values(two.stores["cn"]) == expected
        assert (await two.open("eu")).is_open
        await eventually(two.agree, "both see the same")
        assert await values(two.stores["eu"]) == expected

    async def test_an_empty_disk_is_filled_from_the_other_region(self, two: Regions) -> None:
        await two.stores["eu"].put("k", b"1", durability=Durability.ALL_REGIONS)
        empty = two.primaries["eu"].directory.with_name("empty")
        empty.mkdir()
        two.primaries["eu"].lose_power_back_to(empty)
        two.primaries["eu"].start()
        assert await two.stores["eu"].get("k") is None
        await two.open("eu")
        assert await values(two.stores["eu"]) == {"k": b"1"}

    async def test_a_server_that_is_no_replica_is_not_harvested(self, two: Regions) -> None:
        two.primaries["eu"].kill()
        two.primaries["eu"].start()
        primary = Connection("primary", Endpoint("127.0.0.1", two.primaries["eu"].port))
        wrong = Connection("the wrong one", Endpoint("127.0.0.1", two.primaries["cn"].port))
        report = await open_for_replicas(primary, {"cn": wrong, "ap": wrong})
        assert "is no replica, but a master" in (report.by_region["cn"].reason or "")
        assert "started without user replica-ap" in (report.by_region["ap"].reason or "")
        await primary.close()
        await wrong.close()


async def _turn_on(lab: Regions, region: str) -> None:
    primary = Connection(region, Endpoint("127.0.0.1", lab.primaries[region].port))
    await primary.redis.execute_command("ACL", "SETUSER", "replica-cn", "on")
    await primary.close()


async def _refused(lab: Regions) -> bool:
    primary = Connection("eu", Endpoint("127.0.0.1", lab.primaries["eu"].port))
    entries = await primary.redis.acl_log()
    await primary.close()
    return any("replica-cn" in str(entry) for entry in entries)


async def test_three_regions_agree_after_one_was_cut_off(tmp_path: Path) -> None:
    async with regions(tmp_path, "ap", "cn", "eu") as three:
        with three.dropped("ap", "cn"), three.dropped("ap", "eu"):
            for name, store in three.stores.items():
                for number in range(20):
                    await store.put(f"shared/{number}", name.encode())
                    await store.put(f"{name}/{number}", b"")
        await eventually(three.agree, "all three see the same")
        assert len(await three.stores["ap"].scan("")) == 80
        reached = await three.stores["eu"].put("k", b"", durability=Durability.ALL_REGIONS)
        assert (reached.durable, reached.asked) == (2, 2)


async def test_nobody_listening_is_told_as_unavailable() -> None:
    store = RedisStore("eu", Endpoint("127.0.0.1", free_port()))
    for ask in (store.get("k"), store.put("k", b""), store.scan(""), store.total("n"), store.add("n"), store.export()):
        with pytest.raises(StoreUnavailable):
            await ask
    assert not (await store.status()).writable
    assert await store.sweep() == 0
    with pytest.raises(StoreUnavailable):
        await store.absorb([Record("k", b"", Version(1, 0, "eu"))])
    await store.close()


class Restarting(Connection):
    """A replica that is read while the primary which reads it goes down and comes back."""

    def __init__(self, port: int, primary: RedisProcess) -> None:
        super().__init__("the replica", Endpoint("127.0.0.1", port))
        self._primary = primary

    async def counters(self) -> AsyncGenerator[tuple[str, Mapping[str, int], float | None], None]:
        self._primary.kill()
        self._primary.start()
        async for counter in super().counters():
            yield counter


async def test_a_primary_that_restarts_while_it_harvests_is_not_opened(two: Regions) -> None:
    two.primaries["eu"].kill()
    two.primaries["eu"].start()
    primary = Connection("primary", Endpoint("127.0.0.1", two.primaries["eu"].port))
    remote = Restarting(two.replicas["cn", "eu"].port, two.primaries["eu"])
    with pytest.raises(StoreUnavailable):
        await open_for_replicas(primary, {"cn": remote})
    assert "off" in (await primary.redis.acl_getuser("replica-cn"))["flags"]
    await primary.close()
    await remote.close()
