"""
The administrative divisions of China: what is in force, what was since 1981, and what became of it.

Every answer comes from the packed gazetteer; nothing else is read. Names are matched exactly, full, short or former.
The civil affairs history knows years only, so in the year of a change both the old and the new division hold; towns
have no history, and a town's code is the last one published (2023), even where its district has changed since.
"""

import gc
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from datetime import date
from functools import cache, cached_property
from itertools import accumulate, chain
from typing import Any, Literal, NamedTuple

import ahocorasick
import msgspec

from addrmesh.address import gazetteer
from addrmesh.errors import RequestError

Level = Literal["prov", "city", "district", "town", "devzone"]
LEVELS: tuple[Level, ...] = ("prov", "city", "district", "town", "devzone")
"""The levels of the tagger, and zones: what the statistics bureau codes like a county or town but is no division."""
_PLACES = LEVELS[:3]


class InvalidDate(RequestError):
    """The date is not one."""


class Facts(msgspec.Struct, array_like=True, frozen=True):
    """
    The packed divisions, as columns. A row is a period of a code; rows are sorted by code and time, towns follow.

    `parents` and `became` hold row numbers; -1 and empty strings stand for none. A town's code is the sum of the steps
    so far, its short form the first `town_short` characters of its name; `town_order` is the order of their names.
    `extra_names` are the names that the tagger's part of the gazetteer lacks.
    """

    codes: list[str]
    names: list[str]
    short: list[list[str]]
    levels: list[int]
    parents: list[int]
    begins: list[str]
    ends: list[str]
    became: list[list[tuple[int, str]]]
    town_code_steps: list[int]
    town_names: str
    town_order: list[int]
    town_short: bytes
    town_levels: bytes
    town_parents: list[int]
    extra_names: list[str]


class Division(msgspec.Struct, frozen=True, gc=False):
    """
    A division during one period of its code, or a town.

    Dates are a year or a day. `valid_from` is None where unknown (towns, zones), `1981` may mean earlier; `valid_to`
    is None for what is in force. `code` is None where none is published: below Hong Kong, Macao and Taiwan.
    """

    row: int
    code: str | None
    name: str
    level: Level
    parent: str | None
    valid_from: str | None
    valid_to: str | None
    short: tuple[str, ...]

    @property
    def in_force(self) -> bool:
        """Whether it exists now."""
        return self.valid_to is None

    def held(self, at: str) -> bool:
        """Return whether it existed on the day `at`, as far as the sources tell."""
        begin, end = self.valid_from or "", self.valid_to
        return begin <= at[: len(begin)] and (end is None or at[: len(end)] <= end)


class Match(NamedTuple):
    """A name in a text, and everything that bears or bore it."""

    start: int
    end: int
    divisions: tuple[Division, ...]


class _Table:
    """The columns, and the indexes that lookups need; each is made when first used."""

    def __init__(self) -> None:
        facts = msgspec.msgpack.decode(zlib.decompress(gazetteer.parts()[2]), type=Facts)
        self.facts = facts
        self.upper = len(facts.codes)
        self.town_names = facts.town_names.split("\n")
        self.town_codes = list(accumulate(facts.town_code_steps))
        self._divisions: dict[int, Division] = {}
        self._paths: dict[int, tuple[Division, ...]] = {}

    @cached_property
    def by_name(self) -> dict[str, list[int]]:
        """The rows of each full and short name."""
        rows: dict[str, list[int]] = {}
        for row, (name, short) in enumerate(zip(self.facts.names, self.facts.short, strict=True)):
            for form in (name, *short):
                rows.setdefault(form, []).append(row)
        return rows

    @cached_property
    def towns_by_code(self) -> list[int]:
        """The towns in the order of their codes; they stand in that order but for those that have moved."""
        return sorted(range(len(self.town_codes)), key=self.town_codes.__getitem__)

    def town_coded(self, code: int) -> int | None:
        """Return the row of the town of a code."""
        codes, order = self.town_codes, self.towns_by_code
        place = bisect_left(order, code, key=codes.__getitem__)
        return self.upper + order[place] if place < len(order) and codes[order[place]] == code else None

    @cached_property
    def below(self) -> dict[int, list[int]]:
        """The rows right below each row, towns aside."""
        rows: dict[int, list[int]] = {}
        for row, parent in enumerate(self.facts.parents):
            rows.setdefault(parent, []).append(row)
        return rows

    @cached_property
    def extra_names(self) -> Any:
        """An automaton over the names that the tagger's part of the gazetteer lacks."""
        result = ahocorasick.Automaton()
        for name in self.facts.extra_names:
            result.add_word(name, (len(name), 0))
        result.make_automaton()
        return result

    @cached_property
    def uncoded(self) -> int:
        """How many rows, the last ones, have no code."""
        return self.facts.codes.count("")

    @cached_property
    def towns_by_name(self) -> list[str]:
        """The names of the towns, sorted as `town_order` is."""
        return list(map(self.town_names.__getitem__, self.facts.town_order))

    def towns_named(self, name: str) -> list[int]:
        """Return the rows of the towns of a full or short name."""
        names, short, order = self.towns_by_name, self.facts.town_short, self.facts.town_order
        found: list[int] = []
        for place in range(bisect_left(names, name), len(names)):
            if not names[place].startswith(name):
                break
            town = order[place]
            if len(name) in (len(names[place]), short[town]):
                found.append(self.upper + town)
        return found

    def periods(self, code: str) -> range:
        """Return the rows of a code above the towns."""
        coded = self.upper - self.uncoded
        return range(bisect_left(self.facts.codes, code, 0, coded), bisect_right(self.facts.codes, code, 0, coded))

    def towns_of(self, row: int) -> range:
        """Return the rows of the towns right below `row`."""
        parents = self.facts.town_parents
        return range(self.upper + bisect_left(parents, row), self.upper + bisect_right(parents, row))

    def parent(self, row: int) -> int:
        """Return the row above `row`, -1 for a province."""
        return self.facts.parents[row] if row < self.upper else self.facts.town_parents[row - self.upper]

    def became(self, row: int) -> list[tuple[int, str]]:
        """Return the rows that `row` or a part of it passed to, each with the date."""
        if row >= self.upper:
            return []
        became, end = self.facts.became[row], self.facts.ends[row]
        if not end or any(day == end for _, day in became):
            return became
        return became + [(child, end) for child in self.below.get(row, []) if self.facts.ends[child] == end]

    def division(self, row: int) -> Division:
        """Return the division of a row, the same one every time."""
        division = self._divisions.get(row)
        if division is None:
            division = self._divisions[row] = self._division(row)
        return division

    def path(self, row: int) -> tuple[Division, ...]:
        """Return what a row lies in, from the province down to itself."""
        path = self._paths.get(row)
        if path is None:
            parent = self.parent(row)
            path = self._paths[row] = (*(self.path(parent) if parent >= 0 else ()), self.division(row))
        return path

    def _division(self, row: int) -> Division:
        facts, parent = self.facts, self.parent(row)
        above = facts.codes[parent] if parent >= 0 else None
        if row < self.upper:
            code, begin, end = facts.codes[row] or None, facts.begins[row] or None, facts.ends[row] or None
            level = LEVELS[facts.levels[row]]
            return Division(row, code, facts.names[row], level, above, begin, end, tuple(facts.short[row]))
        town = row - self.upper
        name, length = self.town_names[town], facts.town_short[town]
        short = (name[:length],) if length else ()
        code = f"{self.town_codes[town]:09}"
        return Division(row, code, name, LEVELS[facts.town_levels[town]], above, None, None, short)


@cache
def _table() -> _Table:
    return _Table()


def warm() -> None:
    """Load now what the first lookups would load, so that no request waits for it."""
    collecting = gc.isenabled()
    gc.disable()  # it would walk all that is being loaded, and find that all of it stays
    try:
        table = _table()
        for index in ("by_name", "towns_by_code", "below", "extra_names"):
            getattr(table, index)
    finally:
        if collecting:
            gc.enable()


def version() -> str:
    """Return the vintage of the divisions: statistics bureau, civil affairs, day of the last later change."""
    return gazetteer.parts()[0].version


def find(
    name: str, level: Level | None = None, within: Division | None = None, at: str | None = None
) -> tuple[Division, ...]:
    """
    Return what bears or bore `name`: in force before former, full names before short forms, wide before narrow.

    A code that had the name in several periods, as when its city was renamed, is given once, in the last.

    Args:
        name: Full, short or former; 街道办事处 is read as 街道.
        level: Only this level.
        within: Only what lies or lay in this division, at any depth.
        at: Only what existed on this day (ISO).
    """
    if name.endswith("街道办事处"):
        name = name.removesuffix("办事处")
    table = _table()
    rows = table.by_name.get(name, [])
    if name and level in (None, "town", "devzone"):
        rows = rows + table.towns_named(name)
    found = [
        division
        for division in map(table.division, rows)
        if (level is None or division.level == level)
        and (at is None or division.held(at))
        and (within is None or is_within(division, within))
    ]
    return _in_order(name, found)


def places(name: str) -> tuple[Division, ...]:
    """Return the provinces, cities and districts of what `find` returns."""
    table = _table()
    found = map(table.division, table.by_name.get(name, ()))
    return _in_order(name, [division for division in found if division.level in _PLACES])


def _in_order(name: str, found: list[Division]) -> tuple[Division, ...]:
    if len(found) > 1:
        once = {(d.code or d.row, d.name): d for d in found}  # of a code's periods with this name, the last
        found = sorted(once.values(), key=lambda d: (not d.in_force, d.name != name, LEVELS.index(d.level), d.row))
    return tuple(found)


def by_code(code: str, at: str | None = None) -> Division | None:
    """Return the division of a code of 6 or 9 digits, on the day `at` or in its last period."""
    table = _table()
    if len(code) == 9 and code.isascii() and code.isdigit():
        row = table.town_coded(int(code))
        return None if row is None else table.division(row)
    found = [table.division(row) for row in table.periods(code)]
    held = [division for division in found if at is None or division.held(at)]
    return held[-1] if held else None


def children(code: str | None = None, at: str | None = None) -> tuple[Division, ...]:
    """
    Return what lies right below a code, in the order of codes; zones last.

    Args:
        code: Of a province, city or district; None for the provinces.
        at: The day (ISO) whose divisions are meant; None for what is in force. Towns are those of 2023 on any day.
    """
    table = _table()
    above = [-1] if code is None else list(table.periods(code))
    rows = chain.from_iterable(chain(table.below.get(row, []), table.towns_of(row)) for row in above)
    found = [d for d in map(table.division, rows) if (d.in_force if at is None else d.held(at))]
    return tuple(sorted(found, key=lambda d: (d.level == "devzone", d.row)))


def path(division: Division) -> tuple[Division, ...]:
    """Return what `division` lies in, from the province down to itself, as it was at the end of its time."""
    return _table().path(division.row)


def is_within(division: Division, other: Division) -> bool:
    """Return whether `division` is or lies in `other`, whatever `other` was called at the time."""
    table, row = _table(), division.row
    while row >= 0:
        if row == other.row or (row < table.upper and other.code and table.facts.codes[row] == other.code):
            return True
        row = table.parent(row)
    return False


def successors(division: Division, town: str | None = None, *, at_end: bool = False) -> tuple[Division, ...]:
    """
    Return what is in force now where `division` was: itself, what was split off, what replaced it.

    A prefecture that no one division replaced is followed through the counties it had at its end. Empty where the
    sources name nothing.

    Args:
        division: In force or former.
        town: A town of it, which narrows the answer: to `division` itself if it still has the town, or else to those
            that have it now. All stay candidates where none has it.
        at_end: Leave out what it, and what replaced it, gave away without ending.
    """
    table = _table()
    same = [row for row in table.periods(division.code or "") if table.facts.names[row] == division.name]
    reached, ahead = {division.row, *same}, [(row, "") for row in (same or [division.row])]
    while ahead:
        row, since = ahead.pop()
        for new, day in table.became(row):
            if at_end and day[:4] < (table.facts.ends[row] or "9999")[:4]:
                continue
            if day[:4] >= since[:4] and new not in reached:  # what it gave away before it got this land is no matter
                reached.add(new)
                ahead.append((new, day))
    held = [d for d in map(table.division, sorted(reached, key=lambda r: (r != division.row, r))) if d.in_force]
    if division.in_force:  # a county's land may have gone to its city itself: that says no more than its path
        held = [d for d in held if d == division or not is_within(division, d)]
    now = [d for d in held if not any(is_within(d, other) for other in held if other != d)]
    if town is None or len(now) < 2:
        return tuple(now)
    having = [candidate for candidate in now if town_of(candidate, town)]
    return tuple(having[:1] if having and having[0].row == division.row else having or now)


def town_of(district: Division, name: str) -> Division | None:
    """Return the town of a district, or city without districts, by its name; 下沙镇 finds 下沙街道 if it alone fits."""
    table = _table()
    if name.endswith("街道办事处"):
        name = name.removesuffix("办事处")
    towns = [table.division(row) for row in table.towns_of(district.row)]
    for town in towns:
        if town.name == name:
            return town
    bare = _bare(name)
    alike = [town for town in towns if bare in (town.name, *town.short)]
    return alike[0] if len(alike) == 1 else None


def _bare(town: str) -> str:
    for suffix in ("街道", "地区", "镇", "乡"):
        if town.endswith(suffix) and len(town) - len(suffix) > 1:
            return town.removesuffix(suffix)
    return town


def scan(text: str) -> Iterator[Match]:
    """Yield every name in `text`, overlapping ones too, from left to right, of those at one place the longest first."""
    spans = {
        (last - length + 1, last + 1)
        for automaton in (gazetteer.automaton(), _table().extra_names)
        for last, (length, _) in automaton.iter(text)
    }
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if divisions := find(text[start:end]):
            yield Match(start, end, divisions)


class Entry(msgspec.Struct, frozen=True):
    """A division, as lists show it."""

    code: str | None
    name: str
    level: Level
    parent: str | None
    valid_from: str | None
    valid_to: str | None


class Listing(msgspec.Struct, frozen=True):
    """What lies right below a division; what `GET /v1/divisions` answers."""

    parent: Entry | None
    divisions: list[Entry]
    gazetteer_version: str


class Detail(msgspec.Struct, frozen=True):
    """One division with its surroundings; what `GET /v1/divisions/{code}` answers."""

    division: Entry
    short_names: tuple[str, ...]
    path: list[Entry]
    successors: list[Entry]
    """What is in force now where it was, itself left out."""
    periods: list[Entry]
    """Everything its code has stood for."""
    gazetteer_version: str


def listing(parent: str | None = None, at: str | None = None) -> Listing | None:
    """
    Return what lies right below `parent` (None: the provinces), or None if nothing ever had that code.

    Raises:
        InvalidDate: `at` is not a day.
    """
    check_date(at)
    above = by_code(parent, at) or by_code(parent) if parent is not None else None
    if parent is not None and above is None:
        return None
    return Listing(None if above is None else _entry(above), _entries(children(parent, at)), version())


def detail(code: str, at: str | None = None) -> Detail | None:
    """
    Return the division of a code on the day `at`, or now, or at its end; None if the code stood for nothing then.

    Raises:
        InvalidDate: `at` is not a day.
    """
    check_date(at)
    division = by_code(code, at)
    return None if division is None else describe(division)


def describe(division: Division) -> Detail:
    """Return a division with its path, its successors and the periods of its code."""
    others = [d for d in successors(division) if d.row != division.row]
    table = _table()
    same = [table.division(row) for row in table.periods(division.code or "")] or [division]
    return Detail(
        _entry(division), division.short, _entries(path(division)), _entries(others), _entries(same), version()
    )


def check_date(at: str | None) -> None:
    """
    Check that `at` is None or a day.

    Raises:
        InvalidDate: It is not.
    """
    try:
        valid = at is None or date.fromisoformat(at).isoformat() == at
    except ValueError:
        valid = False
    if not valid:
        raise InvalidDate("the date must be a day of the calendar, as in 2020-01-31")


def _entry(division: Division) -> Entry:
    d = division
    return Entry(d.code, d.name, d.level, d.parent, d.valid_from, d.valid_to)


def _entries(divisions: Iterable[Division]) -> list[Entry]:
    return [_entry(division) for division in divisions]
