"""
The names in a tagged text that may be divisions.

The tagger says where names are; the gazetteer says what bears them. Where the tagger ran names together, cut one in
two or set a border one character off, the gazetteer decides.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, wraps
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from addrmesh.address import divisions, latin, spelling
from addrmesh.address.divisions import Division
from addrmesh.address.pinyin import key
from addrmesh.address.types import Component

PLACES = ("prov", "city", "district")
MUNICIPALITIES = frozenset(("110000", "120000", "310000", "500000"))
OVERSEAS = frozenset(("710000", "810000", "820000"))
"""Taiwan, Hong Kong, Macao: below them no codes are published and towns are not known."""

ZONE = re.compile(
    r"(?:新区|开发区|高新区|经开区|高开区|(?<![绿梁])(?<!下花)园区|保税区|示范区|度假区|港区|实验区|管理区|风景区|名胜区|合作区|试验区|集聚区|物流区|加工区"
    r"|工业区|产业区|商务区|商贸区|工业小区)\Z"
)
_ZONE_KIND = re.compile(
    r"(?:国家级?)?(?:高新|经济|经开|技术|开发|工业|保税|综合|出口|自贸|新区|航空|空港|临空|临港|科技|产业|软件|生态|旅游|化工|港区)"
)
"""What follows the city in a zone's name; 杭州湾新区 is not in 杭州."""

_NAMING = frozenset((*PLACES, "town", "devzone", "poi", "community"))
"""What the tagger may take a division's name for."""

AREAS = frozenset((
    "九龙", "新界", "港岛", "香港岛", "澳门半岛", "氹仔", "路环", "路氹", "路氹城", "离岛", "中环", "上环", "金钟",
    "铜锣湾", "北角", "鲗鱼涌", "柴湾", "坚尼地城", "香港仔", "尖沙咀", "油麻地", "旺角", "太子", "红磡", "土瓜湾",
    "佐敦", "大角咀", "石硖尾", "马头围", "启德", "新蒲岗", "慈云山", "钻石山", "乐富", "秀茂坪", "调景岭",
    "坑口", "宝琳", "西营盘", "石塘咀", "西环", "薄扶林", "半山", "跑马地", "大坑", "天后", "炮台山",
    "太古", "西湾河", "筲箕湾", "小西湾", "赤柱", "浅水湾", "黄竹坑", "鸭脷洲", "田湾", "华富", "深井", "葵芳", "葵兴",
    "荔景", "石门", "小沥源", "乌溪沙", "大埔墟", "太和", "锦田", "洪水桥", "屏山", "古洞", "沙头角", "东涌", "愉景湾",
    "梅窝", "大澳", "长洲", "坪洲", "南丫岛", "大屿山", "黑沙环", "新口岸", "祐汉", "筷子基", "高士德", "青洲",
    "何文田", "九龙塘", "九龙湾", "长沙湾", "荔枝角", "美孚", "牛头角", "蓝田", "油塘", "将军澳", "葵涌", "青衣",
    "大围", "火炭", "马鞍山", "粉岭", "上水", "天水围"
))  # fmt: skip
"""Areas of Hong Kong and Macao that are no district."""
TOWN = re.compile(r"(?:街道|街道办事处|镇|乡|苏木|团|农场|林场|林业局|牧场)\Z")
_STREET = re.compile(r".+(?:街道|镇|乡)\Z")
_LETTER = re.compile(r"[A-Za-z]")
PROVINCE_LETTERS = {
    "京": "北京市", "津": "天津市", "冀": "河北省", "晋": "山西省", "蒙": "内蒙古自治区", "辽": "辽宁省",
    "吉": "吉林省", "黑": "黑龙江省", "沪": "上海市", "申": "上海市", "苏": "江苏省", "浙": "浙江省", "皖": "安徽省",
    "闽": "福建省", "赣": "江西省", "鲁": "山东省", "豫": "河南省", "鄂": "湖北省", "湘": "湖南省", "粤": "广东省",
    "桂": "广西壮族自治区", "琼": "海南省", "渝": "重庆市", "川": "四川省", "蜀": "四川省", "贵": "贵州省",
    "黔": "贵州省", "云": "云南省", "滇": "云南省", "藏": "西藏自治区", "陕": "陕西省", "秦": "陕西省",
    "甘": "甘肃省", "陇": "甘肃省", "青": "青海省", "宁": "宁夏回族自治区", "新": "新疆维吾尔自治区",
}  # fmt: skip
"""The character that stands for a province, as on number plates."""
_TENS = re.compile(r"\A([2-9])([1-9])(?=团)")
_CORPS = re.compile(r"第?[〇一二三四五六七八九十百\d]+团\Z")
SIDES = frozenset(("东区", "西区", "南区", "北区", "中区"))
_HAN_DIGITS = str.maketrans("0123456789", "〇一二三四五六七八九")


Rows = dict[int, tuple[Division, Division | None]]
"""What is in force and agrees with a name, by row, each with what the name stood for if that is no more."""


class Mention(msgspec.Struct, frozen=True, gc=False):
    """A name in the text that may be a division's."""

    start: int
    end: int
    text: str
    type: str
    """What the tagger took it for."""
    confidence: float
    divisions: tuple[Division, ...]
    """Everything that bears or bore the name."""
    latin: bool = False
    is_zone: bool = False
    """Whether it names a development zone, known or not."""

    @property
    def now(self) -> Rows | None:
        """What is in force and bears the name; None where its history matters. Not to be changed."""
        return _kept(_NOW, _bearing_now, self.text, self.divisions)

    @property
    def rows(self) -> Rows:
        """What is in force and agrees with it. Not to be changed."""
        return _kept(_AGREEING, agreeing, self.text, self.divisions)


@lru_cache(maxsize=1 << 15)
def named(name: str) -> tuple[Division, ...]:
    """Return what bears or bore a name."""
    return divisions.find(name)


def _remembered(work_out: Callable[[Division], tuple[Division, ...]]) -> Callable[[Division], tuple[Division, ...]]:
    """Keep what is worked out for a division by its row: hashing the division takes longer than its path."""
    kept: dict[int, tuple[Division, ...]] = {}

    @wraps(work_out)
    def once(division: Division) -> tuple[Division, ...]:
        found = kept.get(division.row)
        if found is None:
            found = kept[division.row] = work_out(division)
        return found

    return once


@_remembered
def below(division: Division) -> tuple[Division, ...]:
    """Return what is in force right below a division; towns and zones too."""
    return divisions.children(division.code) if division.code else ()


_TOWNS: dict[tuple[int, str], Division | None] = {}
_MOST_TOWNS = 1 << 14


def town_in(district: Division, name: str) -> Division | None:
    """Return the town of a division by its name, also without the parent or corps that the table writes before it."""
    key = district.row, name
    if key not in _TOWNS:
        if len(_TOWNS) >= _MOST_TOWNS:  # names come from callers
            _TOWNS.clear()
        _TOWNS[key] = _town_in(district, name)
    return _TOWNS[key]


def in_han(name: str) -> tuple[str, str]:
    """Return how a name with a number is written in characters: 71团 is 七十一团, 128团 一二八团."""
    return name.translate(_HAN_DIGITS), _TENS.sub(r"\1十\2", name).translate(_HAN_DIGITS)


def _town_in(district: Division, name: str) -> Division | None:
    if district.code is None:
        return None
    towns = [d for d in below(district) if d.level == "town"]
    for town in towns:
        if name in (town.name, town.name.replace("办事处街道", "街道")):
            return town
    if towns and (alike := divisions.town_of(district, name)):
        return alike
    # Whose town it is takes two characters at least: 中坝街道 is not 关中坝街道.
    ending = [d for d in towns if d.name[2:].endswith(in_han(name))] if len(name) > 2 else []
    return ending[0] if len(ending) == 1 else None


@_remembered
def heirs(division: Division) -> tuple[Division, ...]:
    """Return what is in force where a division was, down to county level."""
    return divisions.successors(division)


@_remembered
def replaced_by(former: Division) -> tuple[Division, ...]:
    """Return what took the place of a former division when it ended, without what it had given away before."""
    return divisions.successors(former, at_end=True)


_Kept = TypeVar("_Kept", Rows, Rows | None)
_NOW: dict[tuple[str, int, int, int], Rows | None] = {}
_AGREEING: dict[tuple[str, int, int, int], Rows] = {}
_MOST_NAMES = 1 << 15
_NOTHING: Rows = {}


def _kept(
    cache: dict[tuple[str, int, int, int], _Kept],
    work_out: Callable[[str, Sequence[Division]], _Kept],
    name: str,
    bearing: Sequence[Division],
) -> _Kept:
    """Return what was worked out for a name before, or work it out."""
    if not bearing or (bearing[0].level == "town" and TOWN.search(name)):
        return _NOTHING
    # What bears a name is always the same; a level of it is told by its size and its ends.
    key = name, len(bearing), bearing[0].row, bearing[-1].row
    if key not in cache:
        if len(cache) >= _MOST_NAMES:  # names come from callers
            cache.clear()
        cache[key] = work_out(name, bearing)
    return cache[key]


def _bearing_now(name: str, bearing: Sequence[Division]) -> Rows | None:
    upper = [d for d in bearing if d.level != "town"]
    rows: Rows = {d.row: (d, None) for d in upper if d.in_force}
    short = any(d.name != name for d, _ in rows.values())
    if (upper and not rows) or (short and any(d.name == name for d in upper if not d.in_force)):
        return None
    return rows


def agreeing(name: str, bearing: Sequence[Division]) -> Rows:
    """Return what is in force and agrees with a name, from everything that bears or bore it."""
    rows: Rows = {}
    upper = [d for d in bearing if d.level != "town"]
    for division in upper:
        if division.in_force:
            rows[division.row] = (division, None)
            if division.name != name and not spelling.abbreviates(name, division.name):
                # 赣县 is short for 赣县区, and what that was called
                former = next((d for d in upper if d.name == name and division in heirs(d)), None)
                rows[division.row] = (division, former)
        elif not any(_recoded(division, other) for other in upper):
            for heir in heirs(division):
                short = spelling.abbreviates(name, heir.name)  # 彭水县, before it became autonomous
                rows.setdefault(heir.row, (heir, None if short else division))
    return rows


def _recoded(division: Division, other: Division) -> bool:
    """Return whether `other` is what a division became under another code, with its name and in its province."""
    return (
        (division.name, division.level) == (other.name, other.level)
        and division.valid_to is not None
        and (other.valid_from or "")[:4] == division.valid_to[:4]
        and (division.code or "")[:2] == (other.code or "")[:2]
        and division.row != other.row
    )


def has_districts(division: Division) -> bool:
    """Return whether a city has districts to name; 东莞 has none."""
    return any(d.level == "district" for d in below(division))


def unspaced(written: str) -> str:
    """Return what a component says: without blanks, unless it is all in Latin letters."""
    return written.strip() if written.isascii() else written.replace(" ", "")


def mentions(text: str, components: Iterable[Component]) -> list[Mention]:
    """Return the names in a tagged text that may be divisions, by position."""
    found: list[Mention] = []
    inside = False
    for component in components:
        kind, start, end, confidence = component
        if kind not in _NAMING and not (kind == "road" and text[end - 1] == "团"):
            inside = inside or kind == "road"
            continue
        written = unspaced(text[start:end])
        if not written:
            continue
        if kind == "poi" and found and found[-1].end == start and _CORPS.match(written):
            kind = "town"
        if kind == "road" and found and _CORPS.match(written) and any(town_in(d, written) for d in found[-1].divisions):
            kind = "town"
        if kind == "devzone" and written[-1] in "区县市" and not ZONE.search(written) and len(written) <= 5:
            kind = "district"
        if kind in PLACES and found and _swallows(text, found[-1], start):
            last = found[-1]  # 青岛是市南区: what stands where 市 should is part of the name
            found[-1] = replace(last, end=start, text=last.text + text[start - 1], divisions=())
        if kind in PLACES or kind == "town" or kind == "devzone":
            whole = end - start == len(written)
            for piece in _pieces(written, kind):
                bounds = (start + piece.start, start + piece.end) if whole else (start, end)
                bearing, zone = piece.divisions, piece.is_zone
                found.append(Mention(*bounds, piece.text, piece.type, confidence, bearing, False, zone))
        elif _alone(text, start, end) and not (inside and written in SIDES):
            bearing = divisions.places(written)
            known = bool(bearing) and bearing[0].in_force and not (inside and _is_short(written, bearing[0]))
            if known:
                found.append(Mention(start, end, written, bearing[0].level, confidence, bearing))
        elif start == 0 and written[:2] in ("香港", "澳门") and len(written) < 6:
            found.append(Mention(0, 2, written[:2], "prov", confidence, named(written[:2])))
        inside = inside or kind in ("town", "community")
    if found and text[0] in PROVINCE_LETTERS:
        found = _after_letter(text, found)
    if found and found[0].text in ("九龙", "新界", "港岛", "香港岛") and any(map(_in_hong_kong, found[1:])):
        found[0] = replace(found[0], type="prov", divisions=named("香港"))
    found = [_stuttered(text, mention) for mention in _joined(found)]
    if _LETTER.search(text):
        found = sorted(_latin(text, found), key=lambda m: (m.start, m.end))
    return found


def _after_letter(text: str, found: list[Mention]) -> list[Mention]:
    """Return the mentions with the province that one character in front of them stands for: 皖 黄山, 鄂恩施."""
    first, *others = found
    (province,) = (d for d in named(PROVINCE_LETTERS[text[0]]) if d.in_force and d.level == "prov")
    pieces = [first]
    if first.start == 0 and not first.divisions and text.startswith(first.text):
        if others and others[0].start == first.end and not named(first.text[1:]):  # 粤信|宜东镇街道
            first = replace(first, end=others[0].end, text=first.text + others[0].text)
            others = others[1:]
        pieces = [replace(p, confidence=first.confidence) for p in _split(1, first.text[1:], first.type)]
    elif not 0 < first.start <= 3 or any(map(str.isalnum, text[1 : first.start])):
        return found
    if not any(divisions.is_within(d, province) for p in pieces[:1] for d in p.divisions if d.level in PLACES):
        return found
    return [Mention(0, 1, text[0], "prov", first.confidence, (province,)), *pieces, *others]


def _stuttered(text: str, mention: Mention) -> Mention:
    """Return a short name with what follows where its last character was typed twice: 茂南|南区."""
    if text[mention.end : mention.end + 1] != mention.text[-1]:
        return mention
    for division in mention.divisions:
        if division.level in PLACES and division.name != mention.text and division.name.startswith(mention.text):
            again = division.name[len(mention.text) - 1 :]
            if text.startswith(again, mention.end):
                return replace(mention, end=mention.end + len(again), text=mention.text + again, divisions=())
    return mention


def _swallows(text: str, last: Mention, start: int) -> bool:
    """Return whether one character stands between a short name and the next, in place of its last."""
    return (
        last.end + 1 == start
        and "一" <= text[last.end] <= "鿿"
        and any(last.text in d.short for d in last.divisions)
        and not named(last.text + text[last.end])
    )


def _is_short(name: str, division: Division) -> bool:
    """Return whether a name is the short one of a district: behind a road 平房 is a kind of house."""
    return division.level == "district" and division.name != name


def _city_of_zone(pieces: list[Mention]) -> list[Mention]:
    """Return the city that a zone's name begins with: 成都高新区."""
    if len(pieces) != 1 or not pieces[0].is_zone or pieces[0].divisions:
        return []
    zone = pieces[0]
    if not _ZONE_KIND.search(zone.text):
        return []
    for size in range(len(zone.text) - 2, 1, -1):
        cities = tuple(
            d
            for d in divisions.places(zone.text[:size])
            if d.in_force and (d.level == "city" or d.code in MUNICIPALITIES or d.name == zone.text[:size])
        )
        if cities and _ZONE_KIND.match(zone.text, size):
            return [Mention(zone.start, zone.start + size, zone.text[:size], cities[0].level, zone.confidence, cities)]
    return []


def _alone(text: str, start: int, end: int) -> bool:
    """Return whether a stretch stands between separators."""
    before, behind = text[start - 1 : start], text[end : end + 1]
    return not (before.isalnum() or behind.isalnum())


def _bearing(name: str, kind: str) -> tuple[Division, ...]:
    """Return what a name may stand for where the tagger saw a division of this kind."""
    every = divisions.find(name)
    if kind == "devzone":  # 梁园区 is a district
        zones = [d for d in every if d.level == "devzone"]
        known = tuple(d for d in zones if any(s in name for up in divisions.path(d)[:-1] for s in up.short))
        return known or tuple(d for d in every if d.level == "district" and d.name == name)
    town = kind == "town" and TOWN.search(name) is not None
    fitting = tuple(d for d in every if (d.level == "town") == town)
    return fitting or every


@lru_cache(maxsize=1 << 15)
def _pieces(name: str, kind: str) -> tuple[Mention, ...]:
    """Return the mentions of a name as the tagger cut it, at 0."""
    pieces = _split(0, name, kind)
    return (*_city_of_zone(pieces), *pieces)


def _split(start: int, name: str, kind: str) -> list[Mention]:
    """Return one mention, or several where the tagger ran names together."""
    bearing = _bearing(name, kind)
    zone = all(d.level == "devzone" for d in bearing) if bearing else ZONE.search(name) is not None
    end = start + len(name)
    one = [Mention(start, end, name, kind, 0.0, bearing, is_zone=zone)]
    if kind == "devzone":
        return one if bearing or zone else []
    if bearing and not TOWN.search(name):
        return one
    for size in range(len(name) - 2, 1, -1):
        first, rest = name[:size], name[size:]
        upper = divisions.places(first)
        if not upper:
            continue
        whole = any(d.name == first for d in upper)
        if bearing and not (whole and _STREET.match(rest)):
            continue  # 北京市双河农场 is one name, 济源市沁园街道 two
        if TOWN.match(rest) or not (whole or kind == "prov" or named(rest) or _shortens(rest, upper)):
            continue
        level = upper[0].level
        following = _split(start + size, rest, "city" if level == "prov" and kind == "prov" else kind)
        return [Mention(start, start + size, first, level, 0.0, upper), *following]
    return one if bearing or kind != "prov" else _after_province(one[0])


def _shortens(name: str, upper: Iterable[Division]) -> bool:
    """Return whether a name leaves out part of what lies in one of some divisions: 锡盟 in 内蒙."""
    return any(spelling.abbreviates(name, d.name) for division in upper for d in below(division))


def _after_province(mention: Mention) -> list[Mention]:
    """Return 新疆 and 鲁 for 新疆鲁: a typing error has moved the border to what follows."""
    for size in (3, 2):
        upper = tuple(d for d in named(mention.text[:size]) if d.level == "prov")
        if upper and size < len(mention.text):
            border = mention.start + size
            return [
                replace(mention, end=border, text=mention.text[:size], divisions=upper, is_zone=False),
                replace(mention, start=border, text=mention.text[size:], type="city", is_zone=False),
            ]
    return [mention]


def _joined(found: list[Mention]) -> list[Mention]:
    """Mend borders between neighbours: 香港|特别行政区, 鲁|乌木齐市, 佳木斯|市郊区, 工业园区|街道."""
    result: list[Mention] = []
    for mention in found:
        last = result[-1] if result else None
        if last and last.end == mention.start and last.start < mention.start:
            name = last.text + mention.text
            if _names_zone(last, mention, result[-2].divisions if len(result) > 1 else ()):
                result[-1] = Mention(
                    last.start, mention.end, name, "devzone", last.confidence, named(name), is_zone=True
                )
                continue
            suffix = mention.text in ("街道", "镇", "乡", "市", "区", "县")
            bearing = named(name) if suffix or not (mention.divisions or _is_full(last)) else ()
            both = _ends(last.text) and TOWN.search(mention.text)  # 瑞州区|黄岗街道, though nothing bears either
            if (
                bearing
                or suffix
                or not (both or last.divisions or mention.divisions or last.is_zone or mention.is_zone)
            ):
                kind = "town" if suffix and len(mention.text) == 2 else last.type
                result[-1] = Mention(last.start, mention.end, name, kind, last.confidence, bearing)
                continue
            loose = not last.divisions or not mention.divisions or mention.text[0] in "市区县" or last.text[-1] == "市"
            if loose and (moved := _moved(last, mention)):
                result[-1:] = moved
                continue
        result.append(mention)
    if any(_is_overseas(mention.divisions) for mention in result):
        return _overseas(result)
    return result


def _names_zone(one: Mention, other: Mention, upper: Sequence[Division]) -> bool:
    """Return whether the tagger cut a new area in two: 江北|新区, 雄|安新区."""
    if other.text == "新区":  # 光明 in 深圳 is what 光明新区 became
        cut = not _is_full(one) and not _one_in_other(upper, [d for d in one.divisions if d.in_force])
    else:
        cut = len(one.text) == 1 and other.is_zone
    return cut and not any(d.level in PLACES for d in named(one.text + other.text))


def _ends(name: str) -> bool:
    """Return whether a name has the ending of a county or city."""
    return len(name) > 2 and name[-1] in "市区县旗"


def _is_overseas(bearing: Sequence[Division]) -> bool:
    """Return whether whatever bears a name lies in Hong Kong, Macao or Taiwan."""
    return bool(bearing) and all(divisions.path(d)[0].code in OVERSEAS for d in bearing)


def _in_hong_kong(mention: Mention) -> bool:
    return mention.text in AREAS or _is_overseas(mention.divisions)


def _is_full(mention: Mention) -> bool:
    """Return whether a name is written out: 济源市|轵城镇 is two, though the table has the town as one."""
    return any(d.name == mention.text and d.level in PLACES for d in mention.divisions)


def _moved(one: Mention, other: Mention) -> tuple[Mention, Mention] | None:
    """Return two neighbours with the border one character further on or back, if only then one lies in the other."""
    if _one_in_other(one.divisions, other.divisions) or one.end - one.start != len(one.text):
        return None
    name, border = one.text + other.text, len(one.text)
    for place in (border - 1, border + 1):
        first, second = name[:place], name[place:]
        if min(len(first), len(second)) < 2:
            continue
        upper, lower = divisions.places(first), divisions.places(second)
        # 伊犁|州尼勒可县
        misspelt = place > border and upper and not other.divisions and first[-1] in "州盟市" and _ends(second)
        if misspelt or _one_in_other(upper, lower):
            middle = one.start + place
            return (
                Mention(one.start, middle, first, "city", one.confidence, named(first)),
                Mention(middle, other.end, second, other.type, other.confidence, named(second)),
            )
    return None


def _one_in_other(upper: Sequence[Division], lower: Sequence[Division]) -> bool:
    return any(divisions.is_within(d, u) for u in upper if u.level in PLACES for d in lower if d.level in PLACES)


def _overseas(found: list[Mention]) -> list[Mention]:
    """
    Leave out Hong Kong's and Macao's areas where a district is named.

    Nothing below a city of Taiwan is taken for a division elsewhere.
    """
    result: list[Mention] = []
    below_city = False
    districts = [m for m in found[1:] if m.text not in AREAS]
    for mention in found:
        if below_city:
            result.append(replace(mention, type="town" if mention.type == "town" else "district", divisions=()))
        elif mention.text in AREAS and not any(d.code in OVERSEAS for d in mention.divisions):
            if not districts:
                result.append(replace(mention, type="district", divisions=()))
        else:
            result.append(mention)
            below_city = any(d.level == "city" and divisions.path(d)[0].code in OVERSEAS for d in mention.divisions)
    return result


def _latin(text: str, found: list[Mention]) -> list[Mention]:
    """Return the mentions with those in Latin letters, which the tagger cannot read."""
    for name in latin.names(text):
        crossed = [m for m in found if name.start < m.end and m.start < name.end]
        bearing = [d for written in name.names for d in named(written) if d.level in PLACES and d.name == written]
        fitting = [d for d in bearing if d.level in name.levels] if name.levels else bearing
        if not name.levels and any(d.level != "district" for d in bearing):
            fitting = [d for d in bearing if d.level != "district"]
        if fitting and not any(m.divisions for m in crossed):
            written = text[name.start : name.end]
            mention = Mention(name.start, name.end, written, fitting[0].level, 0.5, tuple(fitting), latin=True)
            found = [m for m in found if m not in crossed] + [mention]
    if any(d.level == "city" and _is_overseas((d,)) for m in found for d in m.divisions):  # Da'an Dist., Taipei
        found = [
            replace(m, divisions=()) if m.latin and m.type == "district" and not _is_overseas(m.divisions) else m
            for m in found
        ]
    return found + _latin_towns(text, found)


def _latin_towns(text: str, found: Sequence[Mention]) -> list[Mention]:
    """Return the towns in Latin letters, of the counties and of the cities without districts that are named."""
    said = list(latin.towns(text))
    if not said:
        return []
    named_here = {d.row: d for m in found for d in m.divisions if d.in_force and d.level in ("city", "district")}
    pool: dict[str, Division] = {}
    for division in named_here.values():
        pool |= {key(d.short[0] if d.short else d.name): d for d in below(division) if d.level == "town"}
    return [Mention(s, e, text[s:e], "town", 0.5, (pool[name],), latin=True) for s, e, name in said if name in pool]
