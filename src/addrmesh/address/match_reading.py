"""
What is known of one address, for comparing: names, numbers and divisions, each written in one way.

`prepare` writes numbers in one way before an address is parsed, so two ways to write one number cannot get two
answers; `Reading` gathers the facts of a parsed address; the functions at the end say when two facts are one.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from addrmesh.address.types import Component

DIVISIONS = ("prov", "city", "district", "town")


class Side(NamedTuple):
    """One of the two addresses."""

    text: str
    """What was parsed: `prepare` of the canonical text."""
    components: Sequence[Component]
    division: tuple[str | None, ...] | None = None
    """Codes of the validated province, city, district and town, None where one is not known."""


# ---------------------------------------------------------------- one way to write a number

_NUMERAL = "零〇一二三四五六七八九"
_DIGIT = {**{c: max(0, i - 1) for i, c in enumerate(_NUMERAL)}, "两": 2}
_UNIT = "号楼|号院|号|栋|幢|座|单元|层|楼|室|房|组|期|弄|巷|排"
_SPOKEN = re.compile(rf"第?([{_NUMERAL}两十][{_NUMERAL}十百]*)(?={_UNIT})")
_DASHES = str.maketrans("－—–−~～‐‑", "--------")
_GAP = re.compile(r"(?<=[0-9A-Za-z])\s+(?=[0-9A-Za-z])")  # "3 502" is two numbers, not 3502
_BLANK = re.compile(r"\s+")
_STOREY = re.compile(r"(?<=\d)F(?![0-9A-Z层楼])")
_STOREY_TWICE = re.compile(r"(?<![0-9A-Z])F(?=\d+[层楼])|(?<=\d)F(?=[层楼])")
_BASEMENT = re.compile(r"(?:负|地下)(?=\d+[层楼])")
_BUILT = re.compile(r"(?<=[0-9A-Z])(?:号?[栋幢]楼?)")  # 3幢, 3栋 and 3号楼 are one building
_BETWEEN = re.compile(r"(?<=\d)(?:号?之|至|到)(?=\d)")


def _spoken(numeral: str) -> str:
    if "十" not in numeral and "百" not in numeral:
        return "".join(str(_DIGIT[c]) for c in numeral)
    total = digit = 0
    for char in numeral:
        if char in "十百":
            total += (digit or 1) * (10 if char == "十" else 100)
            digit = 0
        else:
            digit = _DIGIT[char]
    return str(total + digit)


def prepare(canonical: str) -> str:
    """
    Write an address the way it is parsed for matching: no blanks, capital letters, numbers in digits.

    Two ways to write the same numbers become one text before the model sees them, so they cannot get two answers.
    """
    text = _BLANK.sub("", _GAP.sub("-", canonical)).upper().translate(_DASHES).replace("#", "号")
    text = _BASEMENT.sub("B", _SPOKEN.sub(lambda m: _spoken(m[1]), text.replace("首层", "1层")))
    text = _STOREY_TWICE.sub("", _STOREY.sub("层", text))
    return _BUILT.sub("号楼", _BETWEEN.sub("-", text)).replace("号号", "号")


# ---------------------------------------------------------------- what is known of one address

Number = tuple[str, ...]
"""`12` is one part, `12-3` and `12-18` are two."""

_KIND = {
    "号": "no", "号楼": "building", "栋": "building", "幢": "building", "座": "building",
    "单元": "cell", "层": "floor", "楼": "floor", "F": "floor", "室": "room", "房": "room", "户": "room",
    "弄": "lane", "巷": "lane", "胡同": "lane", "条": "lane", "里": "lane", "排": "lane",
    "路": "road", "街": "road", "道": "road", "大道": "road", "大街": "road", "马路": "road", "号路": "road",
    "省道": "road", "国道": "road", "县道": "road", "乡道": "road", "环": "road", "环路": "road", "段": "road",
    "号线": "line", "组": "group", "队": "group", "社": "group",
    "期": "part", "区": "part", "村": "part", "院": "part", "号院": "part", "号门": "gate", "门": "gate",
    "米": "distance", "M": "distance", "公里": "distance", "KM": "distance",
}  # fmt: skip
"""What the word behind a number makes of it; numbers of different kinds are not compared."""

_TYPE_KIND = {"roadno": "no", "houseno": "building", "cellno": "cell", "floorno": "floor", "roomno": "room"}
INNER = ("building", "cell", "room")
_ORDINAL = "甲乙丙丁戊"
_PART = rf"[A-Z{_ORDINAL}]?\d+[A-Z{_ORDINAL}]?"
_WORDS = "|".join(sorted(_KIND, key=len, reverse=True))
_NUMBER = re.compile(
    rf"({_PART}(?:[-/、,.]{_PART})*|(?<![A-Z])[A-Z{_ORDINAL}](?=座|栋|幢|区|单元|号楼|楼)|"
    rf"[{_NUMERAL}][{_NUMERAL}十百]*(?=号?[路街道巷里区村环门条院队社]|大道|大街|胡同|马路)|十[{_NUMERAL}]?(?=[路街道巷里区村环]))({_WORDS})?"
)
_PIECE = re.compile(_PART + rf"|[A-Z{_ORDINAL}]|[{_NUMERAL}十百]+")
_NOISE = re.compile(r"[^0-9A-Z\u3400-\u9fff\U00020000-\U0003ffff]+")
_SUFFIX = re.compile(
    "(?:街道办事处|街道办|街道|办事处|地区|特别行政区|壮族自治区|回族自治区|维吾尔自治区|"
    "(?:[\u4e00-\u9fff]{1,3}族)*自治[区州县旗]|省|市|新区|区|县|旗|镇|乡|盟|州)$"
)


def _value(piece: str) -> str:
    if piece[0] in _NUMERAL or piece[0] == "十":
        return _spoken(piece)
    digits = "".join(c for c in piece if c.isdigit()).lstrip("0") or ("0" if any(c.isdigit() for c in piece) else "")
    return digits + "".join(c for c in piece if not c.isdigit())


class Reading:
    """The facts of one address that comparing needs; worked out once, whatever it is compared with."""

    __slots__ = ("components", "core", "division", "numbers", "order", "parts", "plain", "skeleton", "text", "types")

    def __init__(self, side: Side) -> None:
        text = self.text = side.text
        self.plain = _NOISE.sub("", text)
        self.division = side.division
        self.components = side.components
        self.types = types = [""] * len(text)
        """The type of each character."""
        self.parts: dict[str, list[str]] = {}
        for type_, start, end, _ in side.components:
            types[start:end] = [type_] * (end - start)
            if words := _NOISE.sub("", text[start:end]):
                self.parts.setdefault(type_, []).append(words)
        self.order: list[Number] = []
        self.numbers: dict[str, set[Number]] = {}
        pieces: list[str] = []
        last = 0
        for found in _NUMBER.finditer(text):
            start = found.start()
            kind = _KIND.get(found[2] or "")
            places = list(_PIECE.finditer(found[1]))
            value = tuple([_value(piece[0]) for piece in places])
            its_types = [types[start + piece.start()] for piece in places]
            pieces += (
                *(c for c, t in zip(text[last:start], types[last:start], strict=True) if t not in DIVISIONS),
                "0",
            )
            last = found.end()
            self.order.append(value)
            if kind in (None, "no") and its_types[-1] in _TYPE_KIND:
                kind = _TYPE_KIND[its_types[-1]]
            if found[2] is None and len(value) > 1:
                # 39-7-2: the parts are a building, a unit and a room, from the right.
                kinds: Sequence[str] = [_TYPE_KIND.get(t, "bare") for t in its_types]
                if len(set(its_types)) == 1 and kind in INNER:
                    kinds = ("bare", *INNER)[-len(value) :] if len(value) <= 4 else ["bare"] * len(value)
                for one, its_kind in zip(value, kinds, strict=True):
                    self.numbers.setdefault(its_kind, set()).add((one,))
            else:
                self.numbers.setdefault(kind or "bare", set()).add(value)
        pieces += (c for c, t in zip(text[last:], types[last:], strict=True) if t not in DIVISIONS)
        self.skeleton = _NOISE.sub("", "".join(pieces))
        self.core = _NOISE.sub("", "".join([c for c, t in zip(text, types, strict=True) if t not in DIVISIONS]))
        """All but the divisions."""

    def names(self, *types: str) -> list[str]:
        """Return the texts of these types."""
        parts = self.parts
        return [words for type_ in types if type_ in parts for words in parts[type_]]


def same_number(x: Number, y: Number) -> bool:
    return x == y or _covers(x, y) or _covers(y, x)


def _covers(spread: Number, one: Number) -> bool:
    """Tell whether `one` stands in a range or list of numbers: 1-9号 has 3号, but 18-2号 is a door of its own."""
    if len(spread) < 2 or len(one) != 1:
        return False
    if len(spread) == 2 and spread[0].isdigit() and spread[1].isdigit() and one[0].isdigit():
        return int(spread[0]) < int(spread[1]) and int(spread[0]) <= int(one[0]) <= int(spread[1])
    return one[0] in spread


def agree(x: set[Number], y: set[Number]) -> int:
    """Return 0 when one is empty, 1 when one says no more than the other, -1 when each has what the other has not."""
    if not x or not y:
        return 0
    if x == y or all(any(same_number(p, q) for q in y) for p in x) or all(any(same_number(p, q) for q in x) for p in y):
        return 1
    return -1


@lru_cache(1 << 14)
def bare(name: str) -> str:
    return _SUFFIX.sub("", name) if len(name) > 2 else name


def same_name(x: str, y: str) -> bool:
    """Tell whether two names of a division may be one: with and without suffix, 县 become 区."""
    p, q = bare(x), bare(y)
    return p == q or (x == p and len(p) > 1 and q.startswith(p)) or (y == q and len(q) > 1 and p.startswith(q))


def agreement(x: Reading, y: Reading) -> dict[str, int]:
    """Return of each kind of number that both have: 1 when one says no more than the other, -1 when they differ."""
    return {kind: agree(x.numbers[kind], y.numbers[kind]) for kind in x.numbers.keys() & y.numbers.keys()}


def named(x: Sequence[str], y: Sequence[str]) -> int:
    """Return 0 when one is empty, 1 when they share the name of a division, -1 when not."""
    if not x or not y:
        return 0
    return 1 if any(same_name(p, q) for p in x for q in y) else -1


def same_words(p: str, q: str) -> bool:
    """Tell whether two components are one: 3, 3号 and 3号楼 by their numbers, the rest by their letters."""
    if p == q or spelt(p) == spelt(q):
        return True
    if not (p[0].isdigit() and q[0].isdigit()):
        return False
    numbers = [[_value(piece[0]) for piece in _PIECE.finditer(words)] for words in (p, q)]
    return numbers[0] == numbers[1]


_COURSE = re.compile("[东西南北中上下]")
_ORDER = re.compile(f"[{_NUMERAL}十0-9]+")
_NUMBERED = re.compile(f"[{_NUMERAL}十0-9A-Z{_ORDINAL}]?")


def turned(p: str, q: str) -> bool:
    """
    Tell whether roads differ in nothing but direction or number, as 解放东路 and 解放西路.

    解放路 may be both, and a road tagged with a word too many, as 北林和中路, may be 林和中路.
    """
    if _ends_with(p, q) or _ends_with(q, p):
        return False
    sides = []
    for road in (spelt(p), spelt(q)):
        rest = _COURSE.sub("", road)
        sides.append((_ORDER.sub("", rest), _COURSE.findall(road), _ORDER.findall(rest)))
    (root, course, order), (its_root, its_course, its_order) = sides
    return root == its_root and any(
        mine and theirs and mine != theirs for mine, theirs in ((course, its_course), (order, its_order))
    )


def _ends_with(longer: str, shorter: str) -> bool:
    return longer.endswith(shorter) and not _NUMBERED.fullmatch(longer[: -len(shorter)][-1:])


@lru_cache(1 << 14)
def spelt(road: str) -> str:
    """Return a name with its numerals as digits."""
    return road.translate(_AS_DIGITS)


_AS_DIGITS = str.maketrans({char: str(digit) for char, digit in _DIGIT.items()})
