import asyncio
import json
import math
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addrmesh.errors import NotReady, RateLimited
from addrmesh.node.access import (
    EXCHANGE_S,
    PREFIX,
    Access,
    ApiKey,
    Caller,
    Forbidden,
    KeyRing,
    Quota,
    Unauthenticated,
    encode,
    new_secret,
)
from addrmesh.store.memory import MemoryStore
from addrmesh.store.store import OriginStatus, StoreStatus, StoreUnavailable
from support.redis import eventually, regions

NOW = 1_800_000_000.0
CREATED = datetime.fromtimestamp(NOW, UTC)
NODES = 4


def issue(**fields: object) -> tuple[str, bytes, ApiKey]:
    """A key's id, the header that carries it, and its record."""
    key_id, text, hashed = new_secret()
    given = {"scopes": ("parse",), "rps": 1000.0, **fields}
    return (
        key_id,
        b"Bearer " + text.encode(),
        ApiKey(hash=hashed, label="shop", created=CREATED, created_by="a", **given),
    )


def ring_of(*keys: tuple[str, bytes, ApiKey]) -> KeyRing:
    ring = KeyRing()
    for key_id, _, key in keys:
        ring.apply(key_id, encode(key))
    return ring


def test_a_key_identifies_its_caller_whatever_the_case_of_the_scheme():
    key_id, header, key = issue(burst=7)
    ring = ring_of((key_id, header, key))
    caller = ring.identify(header, NOW)
    assert caller == Caller(key_id, "shop", frozenset({"parse"}), 1000.0, 7, math.inf)
    assert ring.identify(header, NOW) is caller
    assert ring.identify(header.replace(b"Bearer", b"bearer"), NOW) == caller


def test_the_secret_is_160_random_bits_and_only_its_hash_is_stored():
    _, header, key = issue()
    secret = header.rpartition(b"_")[2]
    assert len(secret) * 5 == 160
    assert secret not in encode(key)
    assert len({new_secret()[1] for _ in range(1000)}) == 1000


@given(st.binary(max_size=60) | st.text(alphabet="am_abc234 Bearer", max_size=60).map(str.encode))
def test_what_is_not_a_key_identifies_nobody_and_is_not_quoted(header):
    ring = ring_of(issue())
    with pytest.raises(Unauthenticated) as refused:
        ring.identify(header, NOW)
    assert refused.value.headers == ((b"www-authenticate", b"Bearer"),)
    assert str(refused.value) == "this key is not valid; send Authorization: Bearer am_… as it was issued"


def test_another_keys_secret_is_refused_as_one_that_does_not_exist():
    mine, other = issue(), issue()
    swapped = mine[1].rpartition(b"_")[0] + b"_" + other[1].rpartition(b"_")[2]
    for header in (swapped, issue()[1]):
        with pytest.raises(Unauthenticated, match="not valid"):
            ring_of(mine, other).identify(header, NOW)


def test_no_key_says_how_to_get_one():
    with pytest.raises(Unauthenticated, match="addrmesh keys create"):
        KeyRing().identify(None, NOW)


def test_a_key_ends_when_it_expires():
    key_id, header, key = issue(expires=CREATED + timedelta(seconds=10))
    ring = ring_of((key_id, header, key))
    assert ring.identify(header, NOW + 9.9).id == key_id
    with pytest.raises(Unauthenticated, match="expired"):
        ring.identify(header, NOW + 10)
    assert [key.state(CREATED + timedelta(seconds=s)) for s in (9, 10)] == ["active", "expired"]


def test_a_revoked_key_is_refused_although_it_was_verified_before():
    key_id, header, key = issue()
    ring = ring_of((key_id, header, key))
    ring.identify(header, NOW)
    assert ring.apply(key_id, encode(msgspec.structs.replace(key, revoked=True)))
    with pytest.raises(Unauthenticated, match=f"key {key_id} was revoked"):
        ring.identify(header, NOW)


def test_a_record_that_is_no_key_withdraws_the_key():
    key_id, header, key = issue()
    ring = ring_of((key_id, header, key))
    ring.identify(header, NOW)
    with pytest.raises(msgspec.DecodeError):
        ring.apply(key_id, b'{"hash": 1}')
    with pytest.raises(Unauthenticated):
        ring.identify(header, NOW)


def test_a_record_with_fields_of_a_later_version_is_a_key():
    key_id, header, key = issue()
    ring = KeyRing()
    ring.apply(key_id, msgspec.json.encode(msgspec.to_builtins(key) | {"colour": "red"}))
    assert ring.identify(header, NOW).id == key_id


def test_what_was_known_is_no_news():
    key_id, _, key = issue()
    ring = KeyRing()
    assert [ring.apply(key_id, encode(key)) for _ in range(2)] == [True, False]
    assert [ring.apply(key_id, None) for _ in range(2)] == [True, False]


async def informed_of(access: Access, header: bytes) -> None:
    """Return when a node that follows its store knows the key in `header`, which has then been used once."""
    for _ in range(1000):
        try:
            access.authorize(header, "parse", NOW)
        except (Unauthenticated, NotReady):
            await asyncio.sleep(0)
        else:
            return
    raise AssertionError("the key never became known")


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_node_follows_the_store_and_starts_without_it(tmp_path: Path):
    file = tmp_path / "lkg" / "keys.json"
    store = MemoryStore()
    first, second = issue(), issue()
    await store.put(PREFIX + first[0], encode(first[2]))
    access = Access(file)
    with pytest.raises(NotReady):  # not 401: another node may know the key
        access.authorize(first[1], "parse", NOW)
    following = asyncio.create_task(access.follow(store))
    await informed_of(access, first[1])
    await store.put(PREFIX + second[0], encode(second[2]))
    await informed_of(access, second[1])
    await store.put(PREFIX + first[0], b"not a key")
    await store.put(PREFIX + "other", b"{}")
    await stop(following)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert second[1].rpartition(b"_")[2] not in file.read_bytes()
    alone = Access(file)
    assert alone.authorize(second[1], "parse", NOW).id == second[0]
    with pytest.raises(Unauthenticated):
        alone.authorize(issue()[1], "parse", NOW)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"x": {}}', None])
def test_a_last_known_good_that_cannot_be_read_does_not_stop_the_start(tmp_path: Path, content: bytes | None):
    file = tmp_path / "keys.json"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with pytest.raises(NotReady):
        Access(file).authorize(issue()[1], "parse", NOW)


async def test_a_missing_scope_is_named_and_costs_nothing(tmp_path: Path):
    store = MemoryStore()
    one, every = issue(rps=0.5, burst=2), issue(scopes=("*",))
    for key_id, _, key in (one, every):
        await store.put(PREFIX + key_id, encode(key))
    access = Access()
    following = asyncio.create_task(access.follow(store))
    await informed_of(access, one[1])  # takes the first of two
    for _ in range(5):
        with pytest.raises(Forbidden, match="'match'"):
            access.authorize(one[1], "match", NOW)
    access.authorize(one[1], "parse", NOW)
    with pytest.raises(RateLimited) as refused:
        access.authorize(one[1], "parse", NOW)
    assert refused.value.retry_after_s == 2.0
    assert access.authorize(every[1], "admin", NOW).id == every[0]
    await stop(following)


def test_the_headers_tell_the_policy_and_what_is_left():
    quota, caller = Quota(), Caller("k", "shop", frozenset(), 10.0, 20.0, math.inf)
    for _ in range(5):
        quota.take(caller, NOW)
    assert quota.headers(caller, NOW) == ((b"ratelimit-policy", b'"key";q=20;w=2'), (b"ratelimit", b'"key";r=15;t=1'))


def test_a_clock_that_jumps_neither_locks_a_key_out_nor_fills_it_beyond_its_burst():
    quota, caller = Quota(), Caller("k", "shop", frozenset(), 10.0, 20.0, math.inf)
    assert drained(quota, caller, NOW) == 20
    assert drained(quota, caller, NOW - 3600) == 0
    assert drained(quota, caller, NOW - 3599) == 10
    assert drained(quota, caller, NOW + 3600) == 20


def drained(quota: Quota, caller: Caller, now: float) -> int:
    """How many requests are let through at once."""
    for count in range(10_000):
        try:
            quota.take(caller, now)
        except RateLimited:
            return count
    raise AssertionError("there is no limit")


class Regions:
    """Two regions' counters in simulated time: what one counts, the other sees `lag_s` later, or after a partition."""

    def __init__(self, lag_s: float) -> None:
        self.lag_s, self.now = lag_s, 0.0
        self.cut_at = math.inf
        self.down = False
        self.events: list[tuple[float, int, int]] = []

    def store(self, region: int) -> "RegionStore":
        return RegionStore(self, region)


class RegionStore:
    """The part of the store that quotas use."""

    def __init__(self, world: Regions, region: int) -> None:
        self._world, self._region = world, region

    async def status(self) -> StoreStatus:
        up = self._world.cut_at == math.inf
        here = OriginStatus("here", not self._world.down, not self._world.down, 0.0, 0)
        there = OriginStatus("there", reachable=True, link_up=up, lag_seconds=0.0, offset=0)
        return StoreStatus("here", not self._world.down, (here, there), 0)

    async def add(self, counter: str, amount: int = 1, *, ttl_s: float | None = None) -> None:  # noqa: ARG002
        if self._world.down:
            raise StoreUnavailable("down")
        self._world.events.append((self._world.now, self._region, amount))

    async def total(self, counter: str) -> int:  # noqa: ARG002
        until = min(self._world.now - self._world.lag_s, self._world.cut_at)
        return sum(n for t, region, n in self._world.events if region == self._region or t <= until)


class Fleet:
    """Four nodes in two regions; time goes on in steps."""

    STEP_S = 0.01
    EVERY = round(EXCHANGE_S / STEP_S)

    def __init__(self, caller: Caller, lag_s: float = 0.0, phases: tuple[int, ...] = (0, 6, 12, 18)) -> None:
        self.caller, self.phases = caller, phases
        self.world = Regions(lag_s)
        self.nodes = [Quota() for _ in range(NODES)]
        self.stores = [self.world.store(i % 2) for i in range(NODES)]
        for node in self.nodes:
            node.nodes = NODES
        self._step = 0

    async def step(self, offered: tuple[int, ...]) -> list[int]:
        """Let some requests arrive at each node; return how many each lets through."""
        self._step += 1
        now = self.world.now = self._step * self.STEP_S
        passed = [0] * NODES
        for i, node in enumerate(self.nodes):
            if self._step % self.EVERY == self.phases[i]:
                await node.exchange(self.stores[i], now)
            for _ in range(offered[i]):
                try:
                    node.take(self.caller, now)
                except RateLimited:
                    break
                passed[i] += 1
        return passed

    async def flood(self, seconds: float) -> list[int]:
        """Ask every node for more than there is; return how many are let through in each step."""
        return [sum(await self.step((10_000,) * NODES)) for _ in range(round(seconds / self.STEP_S))]

    async def warm_up(self) -> None:
        """Let every node hear of the key, and the buckets fill again."""
        await self.step((1,) * NODES)
        await self.pause(2 + 2 * self.caller.burst / self.caller.rps)

    async def pause(self, seconds: float) -> None:
        for _ in range(round(seconds / self.STEP_S)):
            await self.step((0,) * NODES)


def worst_excess(passed: list[int], rps: float) -> float:
    """The most that any span of steps holds beyond its `rps`."""
    worst = running = 0.0
    for count in passed:
        running = max(0.0, running + count - rps * Fleet.STEP_S)
        worst = max(worst, running)
    return worst


def caller(rps: float, burst: float) -> Caller:
    return Caller("k", "shop", frozenset({"parse"}), rps, burst, math.inf)


phases = st.tuples(*[st.integers(0, Fleet.EVERY - 1)] * NODES)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.5, 100), st.floats(1, 200), st.integers(0, 60), phases)
def test_no_span_lets_through_more_than_the_docstring_promises(rps, burst, lag_steps, phases):
    async def run() -> float:
        fleet = Fleet(caller(rps, burst), lag_steps * Fleet.STEP_S, phases)
        await fleet.warm_up()
        return worst_excess(await fleet.flood(8), rps)

    knowing_s = 2 * EXCHANGE_S + (lag_steps + 1) * Fleet.STEP_S
    bound = burst + (NODES - 1) * (burst + rps * knowing_s)
    assert asyncio.run(run()) <= bound + rps * Fleet.STEP_S + 1e-6


@settings(max_examples=15, deadline=None)
@given(st.floats(0.5, 100), st.integers(0, 60), phases)
def test_a_fleet_that_has_just_started_adds_one_burst_for_each_node_at_most(rps, lag_steps, phases):
    burst = 2 * rps if rps > 1 else 2.0

    async def run() -> float:
        return worst_excess(await Fleet(caller(rps, burst), lag_steps * Fleet.STEP_S, phases).flood(8), rps)

    knowing_s = 2 * EXCHANGE_S + (lag_steps + 1) * Fleet.STEP_S
    bound = burst + (NODES - 1) * (burst + rps * knowing_s) + NODES * (burst + rps * EXCHANGE_S)
    assert asyncio.run(run()) <= bound + rps * Fleet.STEP_S + 1e-6


async def test_a_flood_gets_its_rate_in_the_long_run():
    fleet = Fleet(caller(rps=20, burst=40), lag_s=0.15)
    await fleet.flood(30)
    assert sum(await fleet.flood(60)) == pytest.approx(20 * 60, rel=0.05)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.5, 80), st.integers(0, 30), phases, st.randoms(use_true_random=False))
def test_a_caller_within_its_rate_is_never_refused_wherever_it_asks(rps, lag_steps, phases, random: Random):
    async def run() -> None:
        fleet = Fleet(caller(rps, max(2 * rps, 2.0)), lag_steps * Fleet.STEP_S, phases)
        due = 0.0
        for _ in range(800):
            due += 0.98 * rps * Fleet.STEP_S
            offered = [0] * NODES
            while due >= 1:
                offered[random.randrange(NODES)] += 1
                due -= 1
            assert await fleet.step(tuple(offered)) == offered

    asyncio.run(run())


async def test_without_its_store_each_node_keeps_to_its_share_and_owes_nothing_afterwards():
    fleet = Fleet(caller(rps=20, burst=40))
    fleet.world.down = True
    await fleet.flood(10)
    assert [node.share for node in fleet.nodes] == [0.25] * NODES
    passed = [await fleet.step((10_000,) * NODES) for _ in range(2000)]
    assert [sum(node) for node in zip(*passed, strict=True)] == [pytest.approx(100, abs=2)] * NODES
    await fleet.pause(5)
    assert await fleet.step((10_000,) * NODES) == [10] * NODES
    fleet.world.down = False
    await fleet.flood(1)
    assert [node.share for node in fleet.nodes] == [1.0] * NODES
    await fleet.pause(3)
    for _ in range(8):
        assert await fleet.step((1,) * NODES) == [1] * NODES
        await fleet.pause(0.25)


async def test_regions_that_are_cut_off_share_the_quota_and_no_debt_is_left_when_they_meet_again():
    fleet = Fleet(caller(rps=20, burst=40), lag_s=0.1)
    await fleet.flood(5)
    fleet.world.cut_at = fleet.world.now
    await fleet.flood(10)
    assert [node.share for node in fleet.nodes] == [0.5] * NODES
    assert sum(await fleet.flood(60)) == pytest.approx(20 * 60, rel=0.05)
    fleet.world.cut_at = math.inf
    assert sum(await fleet.flood(10)) == pytest.approx(20 * 10, rel=0.3)


async def test_a_total_that_jumps_locks_no_key_out_for_long():
    quota, store, asking = Quota(), MemoryStore(), caller(rps=10, burst=20)
    quota.take(asking, NOW)
    await quota.exchange(store, NOW)
    await store.add("quota/k", 1_000_000)
    await quota.exchange(store, NOW)
    with pytest.raises(RateLimited):
        quota.take(asking, NOW)
    quota.take(asking, NOW + 3.2)


async def test_an_idle_key_is_not_followed_for_ever():
    quota, store = Quota(), MemoryStore()
    quota.take(caller(rps=1, burst=2), NOW)
    await quota.exchange(store, NOW + 1)
    assert quota._buckets
    await quota.exchange(store, NOW + 3600)
    assert not quota._buckets
    assert await store.total("quota/k") == 1


async def test_two_regions_of_real_redis_draw_from_one_quota(tmp_path: Path):
    async with regions(tmp_path, "eu", "cn") as running:
        quotas, asking = {name: Quota() for name in running.stores}, caller(rps=10, burst=20)
        for name, quota in quotas.items():
            quota.nodes = 2
            quota.take(asking, NOW)
            await quota.exchange(running.stores[name], NOW)

        async def heard() -> bool:
            await quotas["cn"].exchange(running.stores["cn"], NOW)
            return quotas["cn"].headers(asking, NOW)[1][1].startswith(b'"key";r=0;')

        assert drained(quotas["eu"], asking, NOW) == 19
        await quotas["eu"].exchange(running.stores["eu"], NOW)
        await eventually(heard, "cn hears what eu let through")
        with pytest.raises(RateLimited):
            quotas["cn"].take(asking, NOW)
        running.primaries["cn"].kill()
        await quotas["cn"].exchange(running.stores["cn"], NOW)
        assert quotas["cn"].share == 0.5


def test_the_dump_of_a_ring_holds_no_secret_and_is_what_it_restores():
    key_id, header, key = issue()
    ring = ring_of((key_id, header, key))
    dumped = ring.dump()
    assert set(json.loads(dumped)[key_id]) == {"hash", "label", "scopes", "rps", "created", "created_by"}
    again = KeyRing()
    again.restore(dumped)
    assert again.identify(header, NOW).id == key_id
