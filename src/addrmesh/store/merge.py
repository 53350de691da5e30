"""
Several views of the same records become one: the highest version wins.

Merging is commutative, associative and idempotent, so regions that have seen the same records agree, whatever the
order. A tombstone is a record like any other: what it deleted stays deleted.
"""

from collections.abc import Iterable, Mapping

from addrmesh.store.records import Record


def newest(records: Iterable[Record | None]) -> Record | None:
    """Return the winner among states of one key."""
    return max((record for record in records if record), key=lambda record: record.version, default=None)


def merge(*views: Iterable[Record]) -> dict[str, Record]:
    """Return the winner of every key, by key."""
    winners: dict[str, Record] = {}
    for view in views:
        for record in view:
            held = winners.get(record.key)
            if held is None or record.version > held.version:
                winners[record.key] = record
    return winners


def merge_cells(*views: Mapping[str, int]) -> dict[str, int]:
    """
    Return the cells of one counter as far as any view knows them.

    A cell is written by one run of one server and only grows, so the larger number is the later one.
    """
    cells: dict[str, int] = {}
    for view in views:
        for cell, amount in view.items():
            cells[cell] = max(amount, cells.get(cell, 0))
    return cells
