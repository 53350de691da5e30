from pathlib import Path

import pytest

from addrmesh.store.memory import MemoryStore
from addrmesh.store.records import Record, Version
from addrmesh.store.snapshot import Restored, SnapshotRefused, restore_snapshot, take_snapshot

DAY_MS = 86_400_000


@pytest.fixture
async def taken(tmp_path: Path) -> Path:
    store = MemoryStore("eu")
    await store.absorb(
        [Record("键", b"\x00\n\xff", Version(5, 0, "cn")), Record("gone", None, Version(6, 1, "eu")), *many()]
    )
    file = tmp_path / "snapshot"
    assert await take_snapshot(store, file, wall_ms=lambda: 1_000) == 42
    return file


def many() -> list[Record]:
    return [Record(f"k{number}", str(number).encode(), Version(7, number, "eu")) for number in range(40)]


async def test_what_was_taken_is_restored_with_versions_and_tombstones(taken: Path) -> None:
    store = MemoryStore("ap")
    assert await restore_snapshot(store, taken, wall_ms=lambda: 2_000) == Restored(42, 42)
    exported = {record.key: record for record in await store.export()}
    assert exported["键"] == Record("键", b"\x00\n\xff", Version(5, 0, "cn"))
    assert exported["gone"] == Record("gone", None, Version(6, 1, "eu"))
    assert await restore_snapshot(store, taken, wall_ms=lambda: 2_000) == Restored(42, 0)


async def test_restoring_merges_and_replaces_nothing_newer(taken: Path) -> None:
    store = MemoryStore("ap")
    newer = (await store.put("k1", b"newer")).record
    assert await restore_snapshot(store, taken, wall_ms=lambda: 2_000) == Restored(42, 41)
    assert await store.get("k1") == newer


def cuts(whole: bytes) -> list[int]:
    """Places to cut a file: at its ends, in its middle, before and after each line, but not before the last newline."""
    lines = [place + after for place, byte in enumerate(whole[:-1]) if byte == 10 for after in (0, 1)]
    return [0, 1, len(whole) // 2, len(whole) - 2, *lines]


async def test_a_file_cut_anywhere_is_refused(taken: Path) -> None:
    whole = taken.read_bytes()  # noqa: ASYNC240
    for length in cuts(whole):
        taken.write_bytes(whole[:length])  # noqa: ASYNC240
        store = MemoryStore("ap")
        with pytest.raises(SnapshotRefused, match="nothing was restored"):
            await restore_snapshot(store, taken, wall_ms=lambda: 2_000)
        assert await store.export() == []


async def test_a_changed_file_is_refused_with_both_digests(taken: Path) -> None:
    taken.write_bytes(taken.read_bytes().replace(b'"k1"', b'"k2"'))  # noqa: ASYNC240
    with pytest.raises(SnapshotRefused, match=r"expected sha256 \w{64}, found \w{64}"):
        await restore_snapshot(MemoryStore("ap"), taken)


async def test_a_snapshot_older_than_deletions_are_remembered_needs_insisting(taken: Path) -> None:
    store = MemoryStore("ap")
    with pytest.raises(SnapshotRefused, match="taken on 1970-01-01, and deletions are remembered for 30 days"):
        await restore_snapshot(store, taken, wall_ms=lambda: 31 * DAY_MS)
    assert (await restore_snapshot(store, taken, even_if_old=True, wall_ms=lambda: 31 * DAY_MS)).absorbed == 42
