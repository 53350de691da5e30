"""
A backup in one file: a line of JSON per record, tombstones too, closed by a line with their number and digest.

Restoring merges, so it never replaces something newer and may be repeated. A file without its last line, or with
other content than that line says, is refused before anything is written. Counters are not part of it.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from addrmesh import clock
from addrmesh.atomic_file import replace_file
from addrmesh.errors import Refused
from addrmesh.store.records import Record, Version
from addrmesh.store.store import TOMBSTONE_KEEP_S, Store


class SnapshotRefused(Refused):
    """The file is not a whole snapshot, or too old to be merged safely."""


class _Header(msgspec.Struct, frozen=True):
    addrmesh_snapshot: int
    region: str
    taken_ms: int


class _Line(msgspec.Struct, frozen=True):
    key: str
    version: str
    value: bytes | None


class _Trailer(msgspec.Struct, frozen=True):
    records: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Restored:
    """What a snapshot held, and how much of it was newer than what was there."""

    records: int
    absorbed: int


async def take_snapshot(store: Store, file: Path, *, wall_ms: Callable[[], int] = clock.wall_ms) -> int:
    """Write everything the region sees into `file`, which is replaced when it is whole; return how many records."""
    records = sorted(await store.export(), key=lambda record: record.key)
    lines = [_Header(1, store.region, wall_ms()), *(_Line(r.key, str(r.version), r.value) for r in records)]
    body = msgspec.json.Encoder().encode_lines(lines)
    trailer = msgspec.json.encode(_Trailer(len(records), hashlib.sha256(body).hexdigest()))
    replace_file(file, body + trailer + b"\n", durable=True)
    return len(records)


async def restore_snapshot(
    store: Store, file: Path, *, even_if_old: bool = False, wall_ms: Callable[[], int] = clock.wall_ms
) -> Restored:
    """
    Merge a snapshot into the region.

    Raises:
        SnapshotRefused: The file is damaged, or older than deletions are remembered, and not `even_if_old`.
    """
    header, records = _read(file)
    age_s = wall_ms() / 1000 - header.taken_ms / 1000
    if age_s > TOMBSTONE_KEEP_S and not even_if_old:
        taken = datetime.fromtimestamp(header.taken_ms / 1000, UTC)
        raise SnapshotRefused(
            f"{file} was taken on {taken:%Y-%m-%d}, and deletions are remembered for {TOMBSTONE_KEEP_S / 86_400:.0f} "
            "days: what was deleted since could come back; insist only if that is wanted"
        )
    return Restored(len(records), await store.absorb(records))


def _read(file: Path) -> tuple[_Header, list[Record]]:
    data = file.read_bytes()
    body, _, last = data.removesuffix(b"\n").rpartition(b"\n")
    body += b"\n"
    try:
        trailer = msgspec.json.decode(last, type=_Trailer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SnapshotRefused(f"{file} ends before its last line; nothing was restored, take the file again") from error
    found = hashlib.sha256(body).hexdigest()
    if found != trailer.sha256:
        raise SnapshotRefused(
            f"{file} does not hold what its last line says: expected sha256 {trailer.sha256}, found {found}; "
            "nothing was restored, take the file again"
        )
    first, *lines = body.splitlines()
    decoder = msgspec.json.Decoder(_Line)
    records = [Record(line.key, line.value, Version.parse(line.version)) for line in map(decoder.decode, lines)]
    return msgspec.json.decode(first, type=_Header), records
