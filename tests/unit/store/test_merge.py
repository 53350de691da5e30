from hypothesis import given
from hypothesis import strategies as st

from addrmesh.store.merge import merge, merge_cells, newest
from addrmesh.store.records import Record, Version

versions = st.builds(Version, st.integers(0, 3), st.integers(0, 2), st.sampled_from(["ap", "cn", "eu"]))


def value_of(key: str, version: Version) -> bytes | None:
    """As in life, one version of a key has one value, here a tombstone for some."""
    return None if (version.wall_ms + version.counter) % 2 else f"{key} {version}".encode()


@st.composite
def views(draw: st.DrawFn) -> list[Record]:
    written = draw(st.lists(st.tuples(st.sampled_from("abc"), versions), max_size=8))
    return [Record(key, value_of(key, version), version) for key, version in written]


@given(views(), views())
def test_merging_is_commutative(one: list[Record], other: list[Record]) -> None:
    assert merge(one, other) == merge(other, one)


@given(views(), views(), views())
def test_merging_is_associative(a: list[Record], b: list[Record], c: list[Record]) -> None:
    left = merge(merge(a, b).values(), c)
    right = merge(a, merge(b, c).values())
    assert left == right == merge(a, b, c)


@given(views())
def test_merging_is_idempotent(view: list[Record]) -> None:
    assert merge(view, view) == merge(view) == merge(merge(view).values())


@given(views(), views())
def test_a_tombstone_is_only_followed_by_something_newer(one: list[Record], other: list[Record]) -> None:
    merged = merge(one, other)
    for record in (*one, *other):
        if record.value is None and merged[record.key].value is not None:
            assert merged[record.key].version > record.version


@given(views())
def test_the_winner_of_a_key_is_its_newest_record(view: list[Record]) -> None:
    for key, winner in merge(view).items():
        assert winner == newest(record for record in view if record.key == key)


def test_of_nothing_nothing_wins() -> None:
    assert newest([None, None]) is None
    assert merge() == {}


cells = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9))


@given(cells, cells, cells)
def test_counter_cells_merge_in_any_order_and_never_shrink(
    a: dict[str, int], b: dict[str, int], c: dict[str, int]
) -> None:
    merged = merge_cells(a, b, c)
    assert merged == merge_cells(c, merge_cells(b, a)) == merge_cells(merged, a)
    assert sum(merged.values()) >= max(map(sum, (a.values(), b.values(), c.values())))
