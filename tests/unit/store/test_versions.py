import pytest
from hypothesis import given
from hypothesis import strategies as st

from addrmesh.errors import ConfigError
from addrmesh.store.connection import pack, unpack
from addrmesh.store.records import COUNTER_LIMIT, Record, Version, check_region, drift_ms, tick

versions = st.builds(
    Version, st.integers(0, 2**44 - 2), st.integers(0, COUNTER_LIMIT - 1), st.sampled_from(["a", "a-1", "a0", "cn"])
)


@given(versions, versions)
def test_text_sorts_like_the_version(one: Version, other: Version) -> None:
    assert (str(one) < str(other)) == (one < other)
    assert (str(one).encode() < str(other).encode()) == (one < other)


@given(versions)
def test_text_and_back(version: Version) -> None:
    assert Version.parse(str(version)) == version


@given(st.integers(0, 2**44 - 2), versions, st.sampled_from(["a", "zz"]))
def test_a_tick_is_later_than_what_was_seen_and_not_behind_the_clock(now: int, seen: Version, region: str) -> None:
    ticked = tick(now, seen, region)
    assert ticked > seen
    assert ticked.wall_ms >= now
    assert ticked.wall_ms <= max(now, seen.wall_ms + 1)
    assert (ticked.region, ticked.counter < COUNTER_LIMIT) == (region, True)


def test_the_first_tick_is_the_clock() -> None:
    assert tick(7, None, "eu") == Version(7, 0, "eu")


def test_drift_is_how_far_the_others_are_ahead() -> None:
    assert [drift_ms(100, None), drift_ms(100, Version(40, 0, "a")), drift_ms(100, Version(160, 0, "a"))] == [0, 0, 60]


@given(st.none() | st.binary(), versions)
def test_a_record_packed_and_unpacked_is_the_same(value: bytes | None, version: Version) -> None:
    record = Record("k", value, version)
    assert unpack("k", pack(record)) == record


@pytest.mark.parametrize("name", ["", "EU", "eu_west", "-eu", "eu-", "eu.west", "e" * 33, "欧"])
def test_a_name_that_does_not_fit_a_version_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="use 1 to 32 small letters"):
        check_region(name)


def test_names_of_regions() -> None:
    assert [check_region(name) for name in ("eu", "a", "ap-east-2", "e" * 32)] == ["eu", "a", "ap-east-2", "e" * 32]
