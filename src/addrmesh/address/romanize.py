"""
Addresses in Latin letters, fine before coarse, as couriers abroad write them.

    Room 501, Building 3, No. 969 Wenyi West Road, Cangqian Subdistrict, Yuhang District, Hangzhou, Zhejiang, China

Names are in pinyin without tones, `v` for ü as it is typed, divisions in their official spelling where it is another
one; words for what a thing is are translated. Hong Kong, Macao and Taiwan spell names otherwise, by rules and habits
that pinyin would betray: they get nothing.
"""

import re
from collections.abc import Callable, Iterator, Sequence

from msgspec.structs import replace

from addrmesh.address import divisions
from addrmesh.address.latin import OFFICIAL
from addrmesh.address.mentions import OVERSEAS
from addrmesh.address.pinyin import pinyin
from addrmesh.address.verdict import Result, ResultComponent

_DIVISIONS = {
    "特别行政区": "", "自治区": "", "省": "", "市": "", "地区": "Prefecture", "自治州": "Prefecture", "盟": "League",
    "新区": "New Area", "区": "District", "自治县": "County", "县": "County", "自治旗": "Banner", "旗": "Banner",
    "街道": "Subdistrict", "镇": "Town", "民族乡": "Township", "族乡": "Township", "乡": "Township",
}  # fmt: skip
"""By the end of a name. Provinces and cities go without a word, as on any parcel."""

_ROADS = {
    "高速公路": "Expressway", "高速": "Expressway", "国道": "National Road", "省道": "Provincial Road",
    "县道": "County Road", "公路": "Highway", "大道": "Avenue", "大街": "Street", "胡同": "Hutong", "路": "Road",
    "街": "Street", "巷": "Lane", "弄": "Lane", "道": "Road",
}  # fmt: skip
_SIDES = {"东": "East", "西": "West", "南": "South", "北": "North", "中": "Middle"}
_VILLAGES = {
    "村民委员会": "Village", "村委会": "Village", "社区居委会": "Community", "居委会": "Community", "社区": "Community",
    "村": "Village",
}  # fmt: skip
_WORDS = {
    "经济技术开发区": "Economic and Technological Development Zone", "高新技术产业开发区": "High-tech Zone",
    "高新技术开发区": "High-tech Zone", "高新区": "High-tech Zone", "经济开发区": "Economic Development Zone",
    "开发区": "Development Zone", "保税区": "Bonded Zone", "工业园区": "Industrial Park", "工业园": "Industrial Park",
    "工业区": "Industrial Zone", "产业园": "Industrial Park", "科技园": "Science Park", "软件园": "Software Park",
    "创业园": "Business Park", "物流园": "Logistics Park", "小区": "Residential Quarter", "花园": "Garden",
    "公寓": "Apartments", "宿舍": "Dormitory", "大厦": "Tower", "大楼": "Building", "写字楼": "Office Building",
    "广场": "Plaza", "中心": "Center", "国际": "International", "商城": "Mall", "商场": "Mall", "购物": "Shopping",
    "超市": "Supermarket", "市场": "Market", "酒店": "Hotel", "宾馆": "Hotel", "饭店": "Hotel", "大学": "University",
    "学院": "College", "中学": "Middle School", "小学": "Primary School", "幼儿园": "Kindergarten", "学校": "School",
    "校区": "Campus", "医院": "Hospital", "卫生院": "Clinic", "药店": "Pharmacy", "公园": "Park", "体育馆": "Gymnasium",
    "图书馆": "Library", "博物馆": "Museum", "火车站": "Railway Station", "地铁站": "Metro Station",
    "汽车站": "Bus Station", "机场": "Airport", "银行": "Bank", "有限公司": "Company", "公司": "Company",
    "集团": "Group", "科技": "Technology", "工厂": "Factory", "派出所": "Police Station", "邮局": "Post Office",
    "驿站": "Parcel Station", "快递柜": "Parcel Locker", "路口": "Road Intersection", "街口": "Street Intersection",
    "交叉口": "Intersection", "交汇处": "Intersection", "东门": "East Gate", "西门": "West Gate", "南门": "South Gate",
    "北门": "North Gate", "对面": "Opposite", "附近": "Near", "旁边": "Beside", "旁": "Beside", "东侧": "East Side",
    "西侧": "West Side", "南侧": "South Side", "北侧": "North Side", "新区": "New Area", "中国": "China", "米": "m",
}  # fmt: skip

_NUMERALS = "〇零一二三四五六七八九"
_HAN_NUMBER = re.compile(f"[{_NUMERALS}十百]+")
_NUMBERED: dict[str, tuple[str, str]] = {
    "roadno": ("No.", "号院?"), "houseno": ("Building", "号楼|[栋幢座楼号]"), "cellno": ("Unit", "单元|号?门|梯"),
    "floorno": ("Floor", "[层楼F]"), "roomno": ("Room", "号?[室房]|[户号]"),
    "village_group": ("Group", "村民小组|组|社|生产队|队"),
}  # fmt: skip
"""What stands before a number, and what is written behind it."""

_NUMBER = rf"[A-Za-z]?[\dA-Za-z{_NUMERALS}十百#]*(?:[-~/][\dA-Za-z]+)*"
_MARK = "[甲乙丙丁东南西北中附临]"
_LANES = re.compile(r"([\dA-Za-z][\dA-Za-z-]*)(支?弄|号院?)")
_SPLIT = re.compile("|".join(sorted(_WORDS, key=len, reverse=True)))
_ROAD = re.compile(rf"(.+?)({'|'.join(_ROADS)})(?:([{''.join(_SIDES)}\d{_NUMERALS}十])段)?")
_SIDED = re.compile(rf"(.{{2,}})([{''.join(_SIDES)}])({_HAN_NUMBER.pattern})?")
_NAMES = {chinese: latin for latin, chinese in OFFICIAL.items()}
_HEADING = "直辖县级行政区划"
"""What shops write for the city of a county directly under its province; it is no place."""


def romanized(result: Result) -> Result:
    """Return a result with its address in Latin letters too, as a whole and part by part."""
    address = result.address
    if not address.components or address.components[0].code in OVERSEAS:
        return replace(result, address=replace(address, formatted_address_latin=None))
    components = [replace(component, text_latin=_latin(component)) for component in address.components]
    line = ", ".join([*_line(components), "China"])
    return replace(result, address=replace(address, formatted_address_latin=line, components=components))


def _line(components: Sequence[ResultComponent]) -> Iterator[str]:
    """Yield what stands between the commas."""
    before = ""  # No. 969, which belongs to the road behind it; Opposite, which belongs to anything
    joins = False
    for component in reversed(components):
        part, kind = component.text_latin or "", component.type
        twice = kind == "prov" and any(c.type == "city" and c.text == component.text for c in components)
        if not part or twice or component.text.endswith(_HEADING):
            continue
        if before and (joins or (kind == "road" and "Lane" not in before and not part.startswith("Lane"))):
            part = f"{before} {part}"
        elif before:
            yield before
        before, joins = (part, kind == "assist") if kind in ("roadno", "assist") else ("", False)
        if not before:
            yield part
    if before:
        yield before


def _latin(component: ResultComponent) -> str:
    kind, text = component.type, component.text
    if kind in _NUMBERED:
        return _numbered(kind, text)
    by_kind: dict[str, Callable[[], str]] = {
        "road": lambda: _road(text),
        "community": lambda: _ended(text, _VILLAGES),
        **dict.fromkeys(("prov", "city", "district", "town"), lambda: _division(text, component.code)),
    }
    return by_kind.get(kind, lambda: _words(text))()


def _division(name: str, code: str | None) -> str:
    suffix = next((end for end in _DIVISIONS if name.endswith(end)), "")
    known = divisions.by_code(code) if code else None
    short = min((s for s in known.short if name.startswith(s)), key=len, default="") if known else ""
    # A name of one character keeps the word behind it: 赵县 is Zhaoxian County.
    stem = short if len(short) > 1 else name.removesuffix(suffix) if len(name) - len(suffix) > 1 else name
    return f"{_NAMES.get(name) or pinyin(stem)} {_DIVISIONS.get(suffix, '')}".strip()


def _road(text: str) -> str:
    found = _ROAD.fullmatch(text)
    if found is None or _LANES.fullmatch(text):
        return _words(text)
    stem, kind, section = found.groups()
    words = [_SIDES.get(stem) or pinyin(stem)]
    if sided := _SIDED.fullmatch(stem):
        words = [pinyin(sided[1]), _SIDES[sided[2]], *([_ordinal(_digits(sided[3]))] if sided[3] else [])]
    words.append(_ROADS[kind])
    if section:
        words.append(f"{_SIDES[section]} Section" if section in _SIDES else f"Section {_digits(section)}")
    return " ".join(words)


def _ordinal(number: str) -> str:
    return number + {"1": "st", "2": "nd", "3": "rd"}.get(number, "th")


def _ended(text: str, ends: dict[str, str]) -> str:
    end = next((end for end in ends if text.endswith(end) and text != end), "")
    return f"{_words(text.removesuffix(end))} {ends.get(end, '')}".strip()


def _words(text: str) -> str:
    """Return a name with the usual words in it translated, and 388弄12号 as No. 12, Lane 388."""
    lanes = list(_LANES.finditer(text))
    if lanes and "".join(found[0] for found in lanes) == text:
        named = [f"{'No.' if found[2].startswith('号') else 'Lane'} {_digits(found[1])}" for found in lanes]
        return ", ".join(reversed(named))
    parts: list[str] = []
    at = 0
    for found in _SPLIT.finditer(text):
        parts += [pinyin(text[at : found.start()]), _WORDS[found[0]]]
        at = found.end()
    return " ".join(filter(None, [*parts, pinyin(text[at:])]))


def _numbered(kind: str, text: str) -> str:
    word, behind = _NUMBERED[kind]
    if found := re.fullmatch(rf"第?(负|地下)?({_MARK}?)({_NUMBER})(?:{behind})?", text):
        below, mark, number = found.groups()
        if number := _digits(number).strip("#Ff" if kind == "floorno" else "#"):
            return " ".join(filter(None, (word, pinyin(mark), f"-{number}" if below else number)))
    return _words(text)


def _digits(text: str) -> str:
    """Return a number with Chinese numerals as digits: 二十三 is 23, 一〇五 is 105."""
    return _HAN_NUMBER.sub(lambda found: _value(found[0]), text)


def _value(numerals: str) -> str:
    if not {*numerals} & {*"十百"}:
        return "".join(str(max(_NUMERALS.index(n) - 1, 0)) for n in numerals)
    total = last = 0
    for numeral in numerals:
        if numeral in "十百":
            total, last = total + (last or 1) * (10 if numeral == "十" else 100), 0
        else:
            last = max(_NUMERALS.index(numeral) - 1, 0)
    return str(total + last)
