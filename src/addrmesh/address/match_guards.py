"""
What two addresses certainly do or do not share, whatever a model says.

A guard names a difference that rules out an exact match: two different numbers, units or divisions. What one side
leaves out is no difference.
"""

import re
from typing import Literal, NamedTuple, get_args

from addrmesh.address import latin
from addrmesh.address.match_reading import (
    DIVISIONS,
    INNER,
    Reading,
    agreement,
    named,
    same_name,
    same_number,
    same_words,
    spelt,
    turned,
)
from addrmesh.address.types import COMPONENT_TYPES

Guard = Literal[
    "DIVISION_DIFFERS", "ROAD_DIFFERS", "ROADNO_DIFFERS", "BUILDING_DIFFERS", "SUBPREMISE_DIFFERS", "NUMBER_DIFFERS"
]

Level = Literal["NONE", "PROVINCE", "CITY", "DISTRICT", "TOWN", "VILLAGE", "ROUTE", "PREMISE", "SUB_PREMISE"]
LEVELS: tuple[Level, ...] = get_args(Level)


class Difference(NamedTuple):
    """Components of one type that both sides have and that are not the same."""

    type: str
    a: str
    b: str


_GUARD_OF: dict[str, Guard] = {
    "no": "ROADNO_DIFFERS", "lane": "ROADNO_DIFFERS", "building": "BUILDING_DIFFERS", "cell": "SUBPREMISE_DIFFERS",
    "floor": "SUBPREMISE_DIFFERS", "room": "SUBPREMISE_DIFFERS", "road": "ROAD_DIFFERS",
}  # fmt: skip


class Compared:
    """Two readings side by side, with what guards, levels and features all ask for."""

    __slots__ = ("divided", "numbers", "roads_differ", "x", "y")

    def __init__(self, x: Reading, y: Reading) -> None:
        self.x, self.y = x, y
        self.divided = _divided(x, y)
        """The coarsest level (0 province) at which the two lie in different divisions."""
        self.roads_differ = _roads_differ(x, y)
        self.numbers = agreement(x, y)

    def guards(self) -> tuple[Guard, ...]:
        """Return what the two certainly do not share, coarse to fine; any of it rules out an exact match."""
        found: set[Guard] = {_GUARD_OF.get(kind, "NUMBER_DIFFERS") for kind, same in self.numbers.items() if same < 0}
        if self.divided is not None:
            found.add("DIVISION_DIFFERS")
        if self.roads_differ:
            found.add("ROAD_DIFFERS")
        if _courts_differ(self.x, self.y):
            found.add("BUILDING_DIFFERS")
        # Whatever the tagger makes of them: the same words around other numbers are another place.
        if not found and self.x.skeleton == self.y.skeleton and not _same_numbers(self.x, self.y):
            found.add("NUMBER_DIFFERS")
        return tuple([guard for guard in get_args(Guard) if guard in found]) if found else ()

    def level(self) -> Level:
        """Return the finest level at which both are known to be the same, with nothing coarser known to differ."""
        x, y = self.x, self.y
        level = 0
        for depth, type_ in enumerate(DIVISIONS, start=1):
            if self.divided is not None and depth > self.divided:
                return LEVELS[level]
            if _looked_up(x, y, depth - 1) or _shared_division(x.names(type_), y.names(type_), x, y):
                level = depth
        if any(same_words(p, q) for t in ("community", "village_group") for p in x.names(t) for q in y.names(t)):
            level = 5
        roads = any(same_words(p, q) for p in x.names("road") for q in y.names("road"))
        if roads:
            level = 6
        if self.numbers.get("lane", 0) < 0 or self.roads_differ:
            return LEVELS[level]
        place = any(p == q for t in ("poi", "devzone", "subpoi") for p in x.names(t) for q in y.names(t))
        door = self.numbers.get("no", 0)
        if not place and (door < 1 or not (roads or level)):
            return LEVELS[level]
        inner = [self.numbers.get(kind, 0) for kind in (*INNER, "floor")]
        return "SUB_PREMISE" if door >= 0 and min(inner) >= 0 and max(inner) > 0 else "PREMISE"


def guards(x: Reading, y: Reading) -> tuple[Guard, ...]:
    """Return what the two certainly do not share, coarse to fine."""
    return Compared(x, y).guards()


def _same_numbers(x: Reading, y: Reading) -> bool:
    return len(x.order) == len(y.order) and all(map(same_number, x.order, y.order))


def _divided(x: Reading, y: Reading) -> int | None:
    if x.division and y.division:
        for level, (p, q) in enumerate(zip(x.division, y.division, strict=False)):
            if p and q and p != q:
                return level
    for level, type_ in enumerate(DIVISIONS):
        mine, theirs = x.parts.get(type_), y.parts.get(type_)
        if not mine or not theirs or mine == theirs or _looked_up(x, y, level):
            continue  # once both are looked up and agree, how they are written does not matter
        left = [p for p in mine if not any(same_name(p, q) for q in theirs) and not _stands_in(p, y)]
        if left and [q for q in theirs if not any(same_name(p, q) for p in mine) and not _stands_in(q, x)]:
            return level
    return None


def _looked_up(x: Reading, y: Reading, level: int) -> bool:
    return all(side.division and len(side.division) > level and side.division[level] for side in (x, y))


def _shared_division(mine: list[str], theirs: list[str], x: Reading, y: Reading) -> bool:
    return named(mine, theirs) > 0 or any(_stands_in(p, y) for p in mine) or any(_stands_in(q, x) for q in theirs)


def _stands_in(name: str, other: Reading) -> bool:
    """Tell whether the other has the name at any level: 昆山市 may be tagged city in one and district in the other."""
    return any(_one_spelling(name, known) for known in other.names(*DIVISIONS))


def _one_spelling(p: str, q: str) -> bool:
    return p == q or (min(len(p), len(q)) > 1 and (p.startswith(q) or q.startswith(p)))


def _roads_differ(x: Reading, y: Reading) -> bool:
    mine, theirs = [[spelt(road) for road in side.parts.get("road", ())] for side in (x, y)]
    left = [p for p in mine if p not in theirs]
    right = [q for q in theirs if q not in mine]
    return any(turned(p, q) for p in left for q in right)


_COURT = re.compile(r"([一-鿿]{1,2})([居园苑宫阁轩庭坊村邸府湾郡城里])(\d+)(?=号楼)")
"""The name before a building's number, its kind and the number, as `prepare` writes them: 芙蓉|居|15号楼."""


def _courts_differ(x: Reading, y: Reading) -> bool:
    """
    Tell whether both name a building of one number, in courts of one kind with different names: 芙蓉居15幢, 翡翠居15幢.

    A name that stands elsewhere in the other, or sounds alike, is no difference.
    """
    if "号楼" not in x.text or "号楼" not in y.text:
        return False
    mine, theirs = _COURT.findall(spelt(x.text)), _COURT.findall(spelt(y.text))
    return any(
        p[1:] == q[1:]
        and p[0][-1] not in y.plain
        and q[0][-1] not in x.plain
        and not latin.sound_alike(p[0][-1], q[0][-1])
        for p in mine
        for q in theirs
    )


def differences(x: Reading, y: Reading) -> list[Difference]:
    result = []
    for type_ in COMPONENT_TYPES:
        mine, theirs = x.parts.get(type_), y.parts.get(type_)
        if not mine or not theirs or mine == theirs or type_ in ("assist", "distance", "intersection"):
            continue
        same = same_name if type_ in DIVISIONS else same_words
        left = [p for p in mine if not any(same(p, q) for q in theirs)]
        right = [q for q in theirs if not any(same(p, q) for p in mine)]
        if left and right:
            result.append(Difference(type_, left[0], right[0]))
    return result
