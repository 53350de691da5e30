"""What was done, by whom, why, and with what result; kept in the store, readable in every region."""

from collections.abc import Mapping
from datetime import UTC, datetime
from secrets import token_hex

import msgspec

from addrmesh.store.store import Durability, Store

PREFIX = "journal/"


class Entry(msgspec.Struct, frozen=True):
    """One line of the journal."""

    at: str
    """UTC, ISO 8601."""
    who: str
    what: str
    why: str
    inputs: dict[str, str] = {}


async def record(store: Store, *, who: str, what: str, why: str, inputs: Mapping[str, str] | None = None) -> None:
    """
    Write one entry.

    Raises:
        StoreUnavailable: It could not be written.
    """
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    entry = Entry(at, who, what, why, dict(inputs or {}))
    key = f"{PREFIX}{at}-{store.region}-{token_hex(3)}"
    await store.put(key, msgspec.json.encode(entry), durability=Durability.LOCAL)


async def last(store: Store, count: int) -> list[Entry]:
    """Return the latest entries of all regions, newest first."""
    records = sorted(await store.scan(PREFIX), key=lambda record: record.key, reverse=True)
    return [msgspec.json.decode(record.value, type=Entry) for record in records[:count] if record.value is not None]
