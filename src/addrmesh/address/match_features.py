"""
How alike two addresses are, in numbers that a model can weigh.

A pair is read in one order only: first the side that looks like somebody's writing, then the one that looks like a
map's entry (`Likeness.written`). So the answer cannot depend on the order of the two, and the model may know which
is which. `facts` counts and compares; `tokens` names what the two have and lack, hashed.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from addrmesh.address import divisions
from addrmesh.address.match_guards import Compared
from addrmesh.address.match_reading import DIVISIONS, Reading, bare, named, spelt
from addrmesh.address.types import COMPONENT_TYPES

_KINDS = ("no", "building", "cell", "floor", "room", "lane", "road", "group", "part", "gate", "bare", "distance")
_PLACES = ("devzone", "community", "poi", "subpoi")
_COUNTED = (*DIVISIONS, "community", "road", "roadno", "poi", "subpoi", "houseno", "assist")
_NAMED = (*DIVISIONS, *_PLACES, "village_group")
_GATE = re.compile("[东南西北]+侧?门|门口|出入口|入口")
_DIGITS = str.maketrans("123456789", "000000000")

TYPE = {"": 0} | {type_: i for i, type_ in enumerate(COMPONENT_TYPES, start=1)}
RARITY = 1 << 14
"""Buckets of the table of how rare a pair of characters is."""
TOKENS = 65521
"""Buckets of tokens; a prime, so that sums of multiples spread."""
WRITTEN = 8191
"""Buckets of the tokens that tell writing from a map's entry; a prime."""


def bucket(pair: str) -> int:
    """Return the bucket of two characters."""
    return (ord(pair[0]) * 40503 + ord(pair[1]) * 9973) % RARITY


_A, _B, _C = 40503, 1299709, 15485863


def _token(kind: int, a: int = 0, b: int = 0, c: int = 0) -> int:
    """Return a number whose remainder by `TOKENS` is the bucket."""
    return kind * 2654435761 + a * _A + b * _B + c * _C


def _pairs(words: str) -> set[str]:
    return {words[i : i + 2] for i in range(len(words) - 1)}


class Tables(NamedTuple):
    """What the model knows of characters."""

    rarity: Callable[[str], int]
    """How rare a pair of characters is."""
    sound: dict[int, int]
    """For `str.translate`: every character becomes one that is spoken like it."""
    written: Sequence[int]
    """Weight of each bucket of `style`."""


class Likeness:
    """One side as the model sees it."""

    __slots__ = (
        "characters", "counts", "divisions", "folded", "heard", "last", "names", "nearby", "pairs", "places", "read",
        "roads", "sounds", "types", "weight", "where", "words", "words_pairs", "written",
    )  # fmt: skip

    def __init__(self, read: Reading, tables: Tables) -> None:
        self.read = read
        plain = read.plain
        self.folded = read.text.translate(_DIGITS)
        self.types = [TYPE[type_] for type_ in read.types]
        self.written = sum([tables.written[token] for token in style(self.folded, read)])
        self.places = read.names(*_PLACES)
        self.roads = read.names("road")
        self.nearby = read.names("town", "community")
        self.divisions = [bare(name) for name in read.names(*DIVISIONS)]
        self.characters = set(plain)
        self.words = "".join([c for c in read.core if not c.isdigit()])
        self.pairs = _pairs(plain)
        self.words_pairs = _pairs(self.words)
        self.names = {pair for place in self.places for pair in _pairs(place)}
        self.last = _pairs(self.places[-1]) if self.places else set()
        rarity = tables.rarity
        self.weight = {pair: rarity(pair) for pair in self.pairs | self.words_pairs | self.names}
        self.sounds = _pairs(plain.translate(tables.sound))
        self.heard: dict[str, int] = {}
        for place in self.places:
            spoken = place.translate(tables.sound)
            for i in range(len(place) - 1):
                pair = spoken[i : i + 2]
                self.heard[pair] = max(self.weight[place[i : i + 2]], self.heard.get(pair, 0))
        self.where = _where(read)
        self.counts = [
            len(plain), len(self.words), sum(map(len, self.places)), len(read.order), len(_GATE.findall(plain)),
            plain.count("店"), *[len(read.parts.get(type_, ())) for type_ in _COUNTED],
            *[len(read.numbers.get(kind, ())) for kind in _KINDS],
        ]  # fmt: skip


def style(folded: str, read: Reading) -> set[int]:
    """Return what of one side tells writing from a map's entry: how it begins and ends, its marks, its types."""
    numbers = [TYPE[component.type] for component in read.components]
    found = {1 * 7919 + len(folded) // 4}
    for i, (a, b) in enumerate(zip([0, *numbers], [*numbers, 0], strict=True)):
        found.add(2 * 7919 + a * 32 + b)
        found.add(3 * 7919 + (b if i < len(numbers) else 31))
    points = [ord(c) for c in folded]
    for start, part in ((4, points[:1]), (5, points[:2]), (6, points[-1:]), (7, points[-2:]), (8, points[-3:])):
        found.add(start * 7919 + sum([point * (31 * i + 1) for i, point in enumerate(part)]))
    found.update([9 * 7919 + point for point in points])
    found.update([10 * 7919 + p * 31 + q for p, q in pairwise(points) if p < 0x4E00 or q < 0x4E00])
    return {token % WRITTEN for token in found}


# ---------------------------------------------------------------- where a side lies, by the names it gives


@lru_cache(4096)
def _codes(name: str, type_: str) -> frozenset[str]:
    """Return the codes of what bears or bore a name: 2 digits of a province, 4 of a city, 6 of a county or town."""
    found = [d for d in divisions.find(name) if d.code and (d.level == "town") == (type_ == "town")]
    digits = {"prov": 2, "city": 4}
    return frozenset(str(d.code)[: digits.get(d.level, 6)] for d in found)


def _where(read: Reading) -> frozenset[str]:
    known: frozenset[str] = frozenset()
    for type_ in DIVISIONS:
        for name in read.names(type_):
            codes = _codes(name, type_)
            if known and codes:
                both = {max(p, q, key=len) for p in known for q in codes if p.startswith(q) or q.startswith(p)}
                known = frozenset(both) or known
            else:
                known = known or codes
    return known


def _near(a: frozenset[str], b: frozenset[str]) -> list[float]:
    """Return at each level how sure it is that both lie in one division, -1 where they do not, 0 unknown."""
    result = []
    for digits in (2, 4, 6):
        x, y = [{code[:digits] for code in side if len(code) >= digits} for side in (a, b)]
        result.append(0.0 if not x or not y else -1.0 if x.isdisjoint(y) else max(len(x), len(y)) ** -0.5)
    return [*result, len(a), len(b), max(map(len, a), default=0), max(map(len, b), default=0)]


# ---------------------------------------------------------------- facts


def _shared(pairs: set[str], weight: dict[str, int], other: set[str]) -> tuple[float, int, int, int]:
    """
    Return the share of `pairs` found in `other`, its weight, and the rarest pair found and not found.

    Weights are whole numbers: a sum over a set must not depend on its order, which changes from process to process.
    """
    found = [weight[pair] for pair in pairs & other]
    missed = [weight[pair] for pair in pairs - other]
    weight_found = sum(found)
    total = weight_found + sum(missed)
    return (weight_found / total if total else -1.0), weight_found, max(found, default=0), max(missed, default=0)


def _longest(x: str, y: str) -> int:
    """Return the length of the longest string that is in both."""
    best = start = 0
    while start + best < len(x):
        if x[start : start + best + 1] in y:
            best += 1
        else:
            start += 1
    return best


def _seen(x: Likeness, y: Likeness) -> list[float]:
    """How much of `x` is in `y`."""
    theirs, plain, weight = y.pairs, y.read.plain, x.weight
    heard = _shared(set(x.heard), x.heard, y.sounds)
    return [
        *_shared(x.pairs, weight, theirs),
        *_shared(x.words_pairs, weight, theirs),
        *_shared(x.names, weight, theirs),
        *_shared(x.last, weight, theirs),
        heard[0],
        heard[3],
        max([_longest(place, plain) / len(place) for place in x.places], default=-1.0),
        len(x.characters & y.characters) / (len(x.characters) or 1),
        sum([road in plain for road in x.roads]) if x.roads else -1.0,
        sum([place in plain for place in x.places]) if x.places else -1.0,
        sum([name in plain for name in x.nearby]) if x.nearby else -1.0,
        sum([name not in plain for name in x.divisions]),
        sum([number in y.read.order for number in x.read.order]),
        x.read.plain[-6:] in plain,
        *x.counts,
    ]


def facts(x: Likeness, y: Likeness, compared: Compared) -> list[float]:
    """Return counts and comparisons of a pair, `x` the side that looks written."""
    longest = _longest(x.words, y.words)
    same, alike = -1.0 if x.roads and y.roads else 0.0, 0.0
    for p in map(spelt, x.roads):
        for q in map(spelt, y.roads):
            same = max(same, 1.0 if p == q else 0.5 if p in q or q in p else -1.0)
            alike = max(alike, len(set(p) & set(q)) / max(len(set(p)), len(set(q))))
    whole = part = -1.0
    for p in x.places:
        for q in y.places:
            common = _longest(p, q)
            whole, part = max(whole, 2 * common / (len(p) + len(q))), max(part, common / min(len(p), len(q)))
    a, b = x.read, y.read
    doors = [[int(n[0]) for n in side.numbers.get("no", ()) if n[0].isdigit()] for side in (a, b)]
    return [
        *_seen(x, y), *_seen(y, x),
        longest, longest / max(1, min(len(x.words), len(y.words))), same, alike, compared.roads_differ, whole, part,
        min([abs(p - q) for p in doors[0] for q in doors[1]], default=-1),
        len(x.pairs & y.pairs) / (len(x.pairs | y.pairs) or 1),
        len(x.sounds & y.sounds) / (len(x.sounds | y.sounds) or 1),
        a.skeleton == b.skeleton,
        *[compared.numbers.get(kind, 0) for kind in _KINDS],
        *[named(a.parts.get(type_, ()), b.parts.get(type_, ())) for type_ in _NAMED],
        *_near(x.where, y.where),
    ]  # fmt: skip


# ---------------------------------------------------------------- tokens


def begins(text: str, other: str) -> list[bool]:
    """Tell of each character whether it and the next are in the other text."""
    return [text[i : i + 2] in other for i in range(len(text) - 1)] + [False]


def _side_tokens(x: Likeness, first: list[bool], side: int, out: list[int]) -> list[int]:
    """Add what `x` has and the other has not, and return how much of each component the other has."""
    folded, types = x.folded, x.types
    size, free = len(folded), side * 4096 + 1024
    if not size:
        return []
    hit = [a or b for a, b in zip(first, [False, *first], strict=False)]
    points = [ord(c) for c in folded]
    i = 0
    while i < size:
        type_ = types[i]
        base = side * 4096 + type_ * 8
        if hit[i] or 1 <= type_ <= 3:
            if hit[i] and i + 1 < size and hit[i + 1] and not 1 <= type_ <= 3 and types[i + 1] == type_:
                out.append(_token(base, points[i], points[i + 1]))
            i += 1
            continue
        end = i + 1
        while end < size and not hit[end] and types[end] == type_:
            end += 1
        left = i > 0 and hit[i - 1]
        right = 2 if end == size else int(hit[end])
        out.append(_token(base + 1, left * 3 + right))
        if end - i <= 6:
            whole = 0
            for point in points[i:end]:
                whole = whole * 33 + point
            out.append(_token(free, whole))
        run = points[i:end]
        one, two, any_two, three = _token(base + 2), _token(base + 3), _token(free + 1), _token(free + 2)
        out += [one + p * _A for p in run]
        for p, q in pairwise(run):
            out += two + p * _A + q * _B, any_two + p * _A + q * _B
        out += [three + p * _A + q * _B + r * _C for p, q, r in zip(run, run[1:], run[2:], strict=False)]
        out.append(_token(free + 3 + right, points[end - 1], points[end - 2] if end - i > 1 else 0))
        out.append(_token(free + 7 + left, points[i]))
        i = end
    tail = free + 16 + (size > 1 and hit[-1] and hit[-2])
    one, two, three = points[-1], points[-2] if size > 1 else 0, points[-3] if size > 2 else 0
    out += _token(tail, one), _token(tail + 2, one, two), _token(tail + 4, one, two, three)
    states = []
    for component in x.read.components:
        if component.type == "distance":
            continue
        found = sum(hit[component.start : component.end])
        whole = component.end - component.start
        states.append(TYPE[component.type] * 3 + (0 if found == 0 else 2 if found == whole else 1))
    base = free + 26
    out += [_token(base, state) for state in states]
    if states:
        out += _token(base + 1, states[-1]), _token(base + 2, states[-1], states[-2] if len(states) > 1 else 0)
    return [state for state in states if not 3 <= state < 12]


def _ending(x: Likeness) -> int:
    """Return the last two characters of the last place, as one number."""
    names = [c for c in x.read.components if c.type in ("poi", "subpoi")]
    if not names:
        return 0
    last = x.folded[names[-1].start : names[-1].end][-2:]
    return ord(last[0]) * 32 + ord(last[-1])


def tokens(x: Likeness, y: Likeness, compared: Compared, first: tuple[list[bool], list[bool]]) -> set[int]:
    """
    Return the buckets of what the two have and lack, `x` the side that looks written.

    Args:
        x: One side.
        y: The other.
        compared: Both.
        first: `begins` of each.
    """
    out: list[int] = []
    mine = _side_tokens(x, first[0], 1, out)
    theirs = _side_tokens(y, first[1], 2, out)
    out += [_token(10000, a, b) for a in set(mine[-4:]) for b in set(theirs[-4:])]
    out += _token(10001, sum([1 << a for a in set(mine)])), _token(10002, sum([1 << b for b in set(theirs)]))
    agreed = 0
    for kind, same in compared.numbers.items():
        number = _KINDS.index(kind) * 2 + (same > 0) if kind in _KINDS else 30 + (same > 0)
        agreed |= 1 << number
        out.append(_token(10003, number))
        out += [_token(10004, number, state) for state in theirs[-2:]]
    out.append(_token(10005, agreed))
    one, two = _ending(x), _ending(y)
    out += (
        _token(10006, one, two),
        _token(10007, one, theirs[-1] if theirs else 0),
        _token(10008, two, mine[-1] if mine else 0),
    )
    return {token % TOKENS for token in out}
