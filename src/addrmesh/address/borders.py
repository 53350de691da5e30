"""
The borders of components, set where the tagger, trained on tidier texts, leaves out, cuts or runs together.

37号之2 is one number, 2735公里处 a distance and no number, 301户 on a line of its own a room; a road has its side
(桂洲大道|中|33号) and its whole name: 北书店|横街, 珠市|口东大街, but not the area of Hong Kong before it: 旺角|弼街.
Each kind of component has its rule: it takes a component and the one behind it and returns what stands in their place.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache

from addrmesh.address import divisions
from addrmesh.address.mentions import AREAS, PLACES, SIDES, named
from addrmesh.address.types import NUMBERS, Component

_HAN = "一-鿿"
_NUMERALS = "一二三四五六七八九十百零〇两"
_UNSURE = 0.5
"""The confidence of what only a rule found."""

_EDGES = "()[]【】「」『』《》,;:、。|"
_EDGE = re.compile(f"[{re.escape(_EDGES)}]")
_MEASURE = re.compile(r"(?:[Kk]\d+\+\d+|\d+(?:\.\d+)?(?: ?(?:公里|千米|[Kk][Mm])|米))处?")
_UNIT = re.compile("[里米Kk]")
_TAIL = re.compile(
    rf"之[\d{_NUMERALS}]+| ?附\d+号?| ?[甲乙丙丁](?![{_HAN}])"
    rf"|(?:底商|店面|铺面|商铺|门面|档口|车间|[铺档户室院])(?![{_HAN}])"
)
"""What belongs to the number before it."""
_STALL = re.compile("(?:档口|店面|铺面|商铺|门面|铺位|摊位)\\Z")
_MARKED = re.compile("(?:路|街|道|胡同|巷|里)[甲乙丙丁]\\Z")
_SIDE = re.compile(r"(?<=[路道街])[东西南北中](?= ?\d+ ?(?:号|弄|-\d))")
_BARE_ROAD = re.compile(rf"[东南西北中横前后新老大{_NUMERALS}]{{0,2}}(?:路|街|道|大道|大街|大马路)\Z")
_WING = re.compile("(?:公寓|宿舍|教学|办公|综合|住院|门诊)\\Z")
_GATE = re.compile(r"\d+号门\Z")
_LOOSE_ROOM = re.compile(rf"(?<![^\s,;(])(?P<n>[A-Za-z]?\d{{1,4}}(?:户|室|铺|档|号铺|店面))(?![{_HAN}\d])")
_ROOM_END = re.compile("[户室铺档店]")
_BARRACKS = re.compile(r"(?P<n>(?<!\d)\d{5}部队)")
_GATES = re.compile(r"(?<=[里苑园楼号寓]) ?(?P<n>\d+ ?门)(?= ?\d)")
_LOST_CITY = re.compile(rf"[{_HAN}]{{2,4}}(?<![超门早夜集菜])市\Z")
_BLOCK = re.compile(r"\d+街坊")
_STOREY = re.compile(r"\d+字楼\Z")
_IN_TAIWAN = re.compile("台湾.*县\\Z")
_COUNTY_TOWN = re.compile(rf"[{_HAN}]{{2}}[市镇乡]\Z")
_NEW_AREA = re.compile(rf"[{_HAN}]{{0,5}}(?:(?:旅游)?度假区|高新区|经开区|开发区|新区|示范区|保税区)(?![{_HAN}]?街道)")
_CUT_VILLAGE = re.compile(rf"[{_HAN}]{{4}}村\Z")
_HONG_KONG = re.compile("香港|澳门|\\A(?:九龙(?![坡县镇乡山湖街路大村])|新界|港岛)")
_PIECE = re.compile("[^,]+")
_ITS_LEVEL = {"省": "prov", "市": "city", "区": "district", "县": "district", "旗": "district"}


def mended(text: str, components: Sequence[Component], known: Sequence[Component] = ()) -> Sequence[Component]:
    """
    Return the components of a text with better borders.

    Args:
        text: That was tagged.
        components: By position.
        known: Some that are known better; they take the place of what they overlap.
    """
    found = _with(components, known) if known else list(components)
    if _EDGE.search(text):
        found = [piece for c in found if (rest := _trimmed(text, c)) for piece in _apart(text, rest)]
    if ("港" in text or "澳" in text or text[:1] in "九新") and _HONG_KONG.search(text):
        found = _with_areas(text, found)
    for match in _MEASURE.finditer(text) if _UNIT.search(text) else ():
        if not any(c.type == "distance" and c.start < match.end() and match.start() < c.end for c in found):
            found = _carved(found, *match.span(), "distance")
    for at in range(len(found) - 1, -1, -1):
        one = found[at] = _retyped(text, found[at], found[at - 1] if at else None)
        rule = _RULES.get(one.type)
        mend = rule(text, one, found[at + 1] if at + 1 < len(found) else None) if rule else None
        if mend is not None:
            found[at : at + 2] = mend
    for kind, there, pattern in (
        ("roomno", _ROOM_END.search(text) is not None, _LOOSE_ROOM),
        ("cellno", "门" in text, _GATES),
        ("poi", "部队" in text, _BARRACKS),
    ):
        if there:
            loose = [Component(kind, *match.span("n"), _UNSURE) for match in pattern.finditer(text)]
            found = _with(loose, found)
    return found


def _with(components: Iterable[Component], known: Sequence[Component]) -> list[Component]:
    rest = [c for c in components if not any(c.start < k.end and k.start < c.end for k in known)]
    return sorted([*rest, *known], key=lambda c: c.start)


@cache
def _area() -> re.Pattern[str]:
    """Find an area or district of Hong Kong or Macao behind what it lies in, that names no road and no building."""
    below = [d for code in ("810000", "820000") for d in divisions.children(code)]
    districts = [name for d in below for name in (d.name, *d.short)]
    names = "|".join(sorted({*AREAS, *districts} - SIDES, key=len, reverse=True))
    return re.compile(
        rf"(?:(?<=香港|澳门|九龙|新界|港岛|政区)|(?<=区))[ ,]?(?P<area>{names})"
        "(?![东南西北中新大]?(?:道|路|街|里|径|坊|[邨村]|广场|中心|大厦|商场|花园(?!街)|堂?区|[站城苑])|码头|酒店|医院)"
    )


def _trimmed(text: str, component: Component) -> Component | None:
    """Return a component without what stands around it; None if nothing is left."""
    said = text[component.start : component.end]
    start = component.end - len(said.lstrip(_EDGES))
    end = component.start + len(said.rstrip(_EDGES))
    return component._replace(start=start, end=end) if start < end else None


def _apart(text: str, component: Component) -> list[Component]:
    """Return a building that commas part and that has divisions in it, in pieces: 东台市,监城市."""
    if component.type != "poi" or "," not in text[component.start : component.end]:
        return [component]
    pieces = [
        Component(_kind(match[0]), *match.span(), component.confidence)
        for match in _PIECE.finditer(text, component.start, component.end)
    ]
    return pieces if any(piece.type != "poi" for piece in pieces) else [component]


def _kind(piece: str) -> str:
    """Return the level of a division, as the gazetteer has it or as the name ends; `poi` for anything else."""
    level = _ITS_LEVEL.get(piece[-1], "poi") if 2 < len(piece) < 6 else "poi"
    return next((d.level for d in named(piece) if d.level in PLACES and d.in_force), level)


def _with_areas(text: str, components: list[Component]) -> list[Component]:
    """Return the components with Hong Kong's areas on their own; what is cut off a road goes back: 轩|尼诗道."""
    for match in _area().finditer(text):
        start, end = match.span("area")
        components = _carved(components, start, end, "district")
        road = next((c for c in components if c.type == "road" and end <= c.start <= end + 2), None)
        if road and text[end : road.start].isalnum():
            components = [c for c in components if not end <= c.start < road.start]
            components[components.index(road)] = road._replace(start=end)
    return components


def _carved(components: list[Component], start: int, end: int, kind: str) -> list[Component]:
    """Return the components with a stretch that some of them share as one of its own kind."""
    sharing = [c for c in components if c.start < end and start < c.end]
    rest = [c for c in components if c not in sharing]
    before = [c._replace(end=start) for c in sharing if c.start < start]
    behind = [c._replace(start=end) for c in sharing if c.end > end]
    whole = Component(kind, start, end, min([c.confidence for c in sharing], default=_UNSURE))
    return sorted([*rest, *before, whole, *behind], key=lambda c: c.start)


def _retyped(text: str, one: Component, before: Component | None) -> Component:
    kind, start, end, _ = one
    if kind in ("poi", "subpoi"):
        meant = _type_of_building(text, one, before)
        return one if meant == kind else one._replace(type=meant)
    if kind == "road":
        if end - start > 1 and text.startswith("道办", start - 1):  # 桃花坪街道办|大桥路
            return one._replace(start=start + 1)
        if text.startswith("嘎查", end - 2):
            return one._replace(type="community")
    elif kind == "community" and text.startswith("胡同", end - 2):
        return one._replace(type="road")
    elif kind == "houseno" and text[end - 1] == "楼" and _STOREY.match(text, start, end):
        return one._replace(type="floorno")
    return one


def _type_of_building(text: str, one: Component, before: Component | None) -> str:
    """Return what the tagger took for a building: a misspelt city on its own, a zone right behind one, a stall."""
    kind, start, end, _ = one
    if text[end - 1] == "市" and _LOST_CITY.match(text, start, end) and _alone(text, one):
        return "city"
    if text[start:end] in ("香港", "澳门"):
        return "prov"
    if kind == "poi":
        if before and before.type in PLACES[:2] and before.end == start and _NEW_AREA.match(text, start, end):
            return "devzone"
        if text[end - 1] in "市镇乡" and _COUNTY_TOWN.match(text, start, end) and _IN_TAIWAN.search(text, 0, start):
            return "town"
        if text[end - 1] in "户室铺档面" and _LOOSE_ROOM.fullmatch(text, start, end):
            return "roomno"
    return kind


def _alone(text: str, one: Component) -> bool:
    return not (text[one.start - 1 : one.start].isalnum() or text[one.end : one.end + 1].isalnum())


def _number(text: str, one: Component, behind: Component | None) -> list[Component] | None:
    rest = [behind] if behind else []
    if tail := _TAIL.match(text, one.end, behind.start if behind else len(text)):
        return [one._replace(end=tail.end()), *rest]
    if behind and behind.start == one.end and _STALL.match(text, behind.start, behind.end):
        return [Component("roomno", one.start, behind.end, one.confidence)]
    return _gate(text, one, rest)


def _gate(text: str, one: Component, rest: list[Component]) -> list[Component] | None:
    """Return 5号门面, cut behind 门."""
    if text.startswith("面", one.end) and _GATE.match(text, one.start, one.end):
        return [Component("roomno", one.start, one.end + 1, one.confidence), *rest]
    return None


def _road(text: str, one: Component, behind: Component | None) -> list[Component] | None:
    if behind and behind.start == one.end and behind.type in NUMBERS and _MARKED.search(text, one.start, one.end):
        return [one._replace(end=one.end - 1), behind._replace(start=one.end - 1)]
    if block := _BLOCK.match(text, one.start):  # 88街|坊
        return [
            one._replace(type="community", end=block.end()),
            *([behind] if behind and behind.start >= block.end() else []),
        ]
    if _SIDE.match(text, one.end):
        rest = [behind._replace(start=max(behind.start, one.end + 1))] if behind and behind.end > one.end + 1 else []
        return [one._replace(end=one.end + 1), *rest]
    return None


def _building(text: str, one: Component, behind: Component | None) -> list[Component] | None:
    rest = [behind] if behind else []
    free = behind is None or behind.start > one.end
    if free and text.startswith("楼", one.end) and _WING.search(text, one.start, one.end):
        return [one._replace(end=one.end + 1), *rest]
    cut = behind is not None and not free and (one.type, behind.type) == ("poi", "road")
    if behind and cut and _BARE_ROAD.match(text, behind.start, behind.end):
        return [behind._replace(start=one.start)]
    return _gate(text, one, rest)


def _place(text: str, one: Component, behind: Component | None) -> list[Component] | None:
    """Return 珠市|口东大街 as the road that it is."""
    if behind is None or behind.type != "road" or behind.start != one.end or one.end - one.start != 2:
        return None
    name = text[one.start : one.end]
    if name[1] != "市" or any(d.level in PLACES for d in named(name)):
        return None
    return [behind._replace(start=one.start)]


def _zone(text: str, one: Component, behind: Component | None) -> list[Component] | None:
    """Return 高新区|生物园, a zone and what lies in it."""
    zone = _NEW_AREA.match(text, one.start, one.end)
    if zone is None or zone.end() == one.end or named(text[one.start : one.end]):
        return None
    return [
        one._replace(end=zone.end()),
        Component("poi", zone.end(), one.end, one.confidence),
        *([behind] if behind else []),
    ]


def _village(text: str, one: Component, behind: Component | None) -> list[Component] | None:
    """Return 赫图|阿拉村 as one name; 榆树村|西沟屯 are two."""
    if behind is None or behind.type != "community" or behind.start != one.end or one.end - one.start != 2:
        return None
    return [behind._replace(start=one.start)] if _CUT_VILLAGE.match(text, one.start, behind.end) else None


_RULES: dict[str, Callable[[str, Component, Component | None], list[Component] | None]] = {
    **dict.fromkeys(NUMBERS, _number),
    "road": _road,
    **dict.fromkeys(("poi", "subpoi"), _building),
    **dict.fromkeys((*PLACES, "town"), _place),
    "devzone": _zone,
    "community": _village,
}
