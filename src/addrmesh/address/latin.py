"""
Addresses in pinyin and English, and how names sound.

Names of divisions are found by their pinyin, whatever case, apostrophe or word for their level they are written
with; roads, numbers and rooms by the English and pinyin words around them. `latin.bin` is compiled by
`training/compile_latin.py`. What a name means is left to `admin`: two divisions that sound alike stay two.
"""

import re
import zlib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import msgspec

from addrmesh.address.types import Component


class Sounds(msgspec.Struct, array_like=True, frozen=True):
    """Division names by their pinyin, characters by their syllable."""

    names: dict[str, list[str]]
    characters: dict[str, str]


class Name(NamedTuple):
    """A division's name in Latin letters, and the Chinese names it may stand for."""

    start: int
    end: int
    names: tuple[str, ...]
    levels: tuple[str, ...]
    """What the word behind it, as in `Yuhang District`, allows; empty if there is none."""


OFFICIAL = {
    "Inner Mongolia": "内蒙古自治区", "Shaanxi": "陕西省", "Harbin": "哈尔滨市", "Qiqihar": "齐齐哈尔市",
    "Hohhot": "呼和浩特市", "Ulanqab": "乌兰察布市", "Ordos": "鄂尔多斯市", "Hulunbuir": "呼伦贝尔市",
    "Bayannur": "巴彦淖尔市", "Xilingol": "锡林郭勒盟", "Alxa": "阿拉善盟", "Urumqi": "乌鲁木齐市",
    "Karamay": "克拉玛依市", "Turpan": "吐鲁番市", "Hotan": "和田地区", "Aksu": "阿克苏地区", "Ili": "伊犁哈萨克自治州",
    "Altay": "阿勒泰地区", "Bortala": "博尔塔拉蒙古自治州", "Bayingolin": "巴音郭楞蒙古自治州",
    "Kizilsu": "克孜勒苏柯尔克孜自治州", "Lhasa": "拉萨市", "Xigaze": "日喀则市", "Qamdo": "昌都市",
    "Nyingchi": "林芝市", "Nagqu": "那曲市", "Ngari": "阿里地区", "Garze": "甘孜藏族自治州", "Golog": "果洛藏族自治州",
    "Deqen": "迪庆藏族自治州",
}  # fmt: skip
"""Divisions whose name in Latin letters is another one than their pinyin."""
_EXONYMS = {name.lower().replace(" ", ""): meant for name, meant in OFFICIAL.items()} | {
    "hongkong": "香港特别行政区", "hongkongsar": "香港特别行政区", "macau": "澳门特别行政区", "macao": "澳门特别行政区",
    "taiwan": "台湾省", "tibet": "西藏自治区", "peking": "北京市", "kashgar": "喀什地区", "canton": "广州市",
    "tsingtao": "青岛市", "amoy": "厦门市",
    # Taiwan's cities and counties as its Ministry of the Interior writes them
    "taipei": "台北市", "newtaipei": "新北市", "keelung": "基隆市", "taichung": "台中市", "kaohsiung": "高雄市",
    "hsinchu": "新竹市", "hsinchucounty": "新竹县", "chiayi": "嘉义市", "chiayicounty": "嘉义县", "pingtung": "屏东县",
    "changhua": "彰化县", "hualien": "花莲县", "taitung": "台东县", "penghu": "澎湖县", "kinmen": "金门县",
    # Hong Kong's districts as the District Councils Ordinance (Cap. 547) names them
    "centralandwestern": "中西区", "wanchai": "湾仔区", "easterndistrict": "东区", "southerndistrict": "南区",
    "yautsimmong": "油尖旺区", "shamshuipo": "深水埗区", "kowlooncity": "九龙城区", "wongtaisin": "黄大仙区",
    "kwuntong": "观塘区", "kwaitsing": "葵青区", "tsuenwan": "荃湾区", "tuenmun": "屯门区", "yuenlong": "元朗区",
    "northdistrict": "北区", "taipo": "大埔区", "shatin": "沙田区", "saikung": "西贡区", "islandsdistrict": "离岛区",
}  # fmt: skip
_LEVELS = {
    "province": ("prov",), "sheng": ("prov",), "municipality": ("prov",), "city": ("prov", "city", "district"),
    "shi": ("prov", "city", "district"), "prefecture": ("city",), "zhou": ("city",), "district": ("district",),
    "qu": ("district",), "county": ("district",), "xian": ("district",), "banner": ("district",),
    "newarea": ("district",), "newdistrict": ("district",), "xinqu": ("district",), "dist": ("district",),
}  # fmt: skip
_GLUED = re.compile(f"(.+)({'|'.join(_LEVELS)})")
_HAN_LEVELS = "省市区县州盟旗"
_ROAD = {
    "road", "rd", "street", "st", "avenue", "ave", "lane", "ln", "boulevard", "blvd", "highway", "alley", "lu", "jie",
    "dajie", "dadao", "xiang", "nong", "hutong", "plaza", "mansion", "building", "tower", "garden", "gardens", "hotel",
    "center", "centre", "square", "university", "school", "hospital", "station", "park", "mall", "huayuan", "jiayuan",
    "xiaoqu", "gongyu", "dasha", "guangchang", "donglu", "xilu", "nanlu", "beilu", "zhonglu", "village", "cun", "zhen",
    "town", "jiedao", "subdistrict", "township", "industrial", "group",
}  # fmt: skip
_BESIDE = {
    "east", "west", "north", "south", "middle", "central", "first", "second", "third", "new", "dong", "xi", "nan",
    "bei", "zhong", "financial", "international",
}  # fmt: skip
_WORD = re.compile(r"[A-Za-zÀ-ÿ]+(?:['’`][A-Za-z]+)*")
_WORDS = re.compile(r"[A-Za-z]{2} [A-Za-z]{2}")
_CAPITAL = r"[A-Z][\w'’]*"
_NUMBER = r"[A-Za-z]?\d+(?:-\d+)*[A-Za-z]?"
_SECTION = r"(?:Section|Sec\.?) ?\d+"
_STREETS = "Road|Rd|Street|St|Avenue|Ave|Lane|Ln|Boulevard|Blvd|Highway|Alley"
_PINYIN_STREETS = "(?:dong|xi|nan|bei|zhong)?lu|(?:da ?)?jie|da ?dao|xiang|nong|hutong"
_TOWN = re.compile(r"(?i)\b([a-z'’]+(?:[ -][a-z'’]+){0,2}?)[ -]?(?:zhen|town|jie ?dao|sub-?district|township|xiang)\b")
_PLACES = "Plaza|Mansion|Gardens?|Square|Cent(?:er|re)|Hotel|University|School|Hospital|Park|Mall"
_PARTS = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("roomno", rf"(?i:\b(?:room|rm|unit|flat|apt|apartment|suite|ste|shop)\b\.? *#? *)(?P<a>{_NUMBER}|[A-Z]\b)"),
        ("houseno", rf"(?i:\b(?:building|bldg|tower|block|blk)\b\.? *#? *)(?P<a>{_NUMBER}|[A-Z]\b)"),
        ("floorno", r"(?i:(?P<a>\b\d+(?:st|nd|rd|th)? *(?:/ *F|F|floor)\b|\b(?:floor|fl)\.? *\d+))"),
        ("road", rf"(?i:(?P<a>(?:[a-z'’]+ ){{1,3}}(?:{_PINYIN_STREETS})\b))"),
        ("road", rf"(?P<a>\b(?:Rua|Avenida|Estrada|Travessa|Largo)(?: d[aeo]s?)?(?: (?!No\b){_CAPITAL})+)"),
        ("poi", rf"(?P<a>\bEdif[ií]cio(?: {_CAPITAL})+)"),
        ("community", r"(?i:(?P<a>(?:[a-z'’]+ ){1,2}(?:village|cun)\b|\b[a-z'’]{3,}cun\b))"),
        ("village_group", r"(?i:(?P<a>\bgroup \d+\b|\b\d+ ?zu\b))"),
        ("poi", r"(?i:(?P<a>(?:[a-z'’]+ ){1,3}(?:huayuan|jiayuan|xiaoqu|gongyu|dasha|guangchang)\b))"),
        ("road", rf"(?P<a>(?:{_SECTION}, ?)?(?:{_CAPITAL}\.? ){{1,4}}(?:{_STREETS})\b(?:\.?,? {_SECTION}\b)?)"),
        ("road", r"(?P<a>\b[A-Z][a-z]+(?:Lu|Jie|Da[Dd]ao|Road|Street|Avenue)\b)"),
        ("district", rf"(?P<a>\b{_CAPITAL}(?: {_CAPITAL}){{0,2}} (?:Dist|District)\b)"),
        ("poi", rf"(?P<a>(?:{_CAPITAL} ){{1,4}}(?:{_PLACES})\b)"),
        ("roadno", r"(?P<a>\b\d+(?:-\d+)? *(?i:hao)\b)"),
        ("roadno", rf"(?i:\b(?:{_STREETS}|{_PINYIN_STREETS})\b\.? +(?:no\.? *)?)(?P<a>\d{{1,4}}[A-Za-z]?\b)"),
        ("roadno", r"(?:\b(?i:no)\.? *|(?:^|[ ,]))(?P<a>\d{1,4}[A-Za-z]?)(?=,? *(?:[A-Z]))"),
    )
)  # fmt: skip


@cache
def _sounds() -> Sounds:
    return msgspec.msgpack.decode(zlib.decompress(files(__package__).joinpath("latin.bin").read_bytes()), type=Sounds)


@cache
def _readings() -> dict[str, set[str]]:
    readings: dict[str, set[str]] = {}
    for syllable, characters in _sounds().characters.items():
        for character in characters:
            readings.setdefault(character, set()).add(_folded(syllable))
    return readings


def _folded(syllable: str) -> str:
    """Return a syllable without what typists and dialects mix up: zh and z, n and l, -ng and -n."""
    for written, heard in (("zh", "z"), ("ch", "c"), ("sh", "s")):
        syllable = syllable.replace(written, heard)
    return syllable.removesuffix("g") if syllable.endswith("ng") else syllable


def sound_alike(one: str, other: str) -> bool:
    """Return whether two characters have a reading in common, or nearly so."""
    readings = _readings()
    return bool(readings.get(one, set()) & readings.get(other, set()))


def is_pinyin(word: str) -> bool:
    """Return whether a word can be read as syllables of pinyin."""
    rest = [word.lower().replace("'", "").replace("’", "")]
    while rest:
        ahead = rest.pop()
        if not ahead:
            return True
        rest += [ahead[size:] for size in range(1, 7) if ahead[:size] in _sounds().characters and size <= len(ahead)]
    return False


def names(text: str) -> Iterator[Name]:
    """Yield the division names in Latin letters, from left to right."""
    words = [
        (m.start(), m.end(), m[0].lower().replace("'", "").replace("’", "").replace("`", ""))
        for m in _WORD.finditer(text)
    ]
    at = 0
    while at < len(words):
        found, after = _name(words, at, text)
        if found:
            size = text[found.end : found.end + 1] in _HAN_LEVELS and found.end < len(text)
            yield found._replace(end=found.end + size)
        at = after


def _name(words: list[tuple[int, int, str]], at: int, text: str) -> tuple[Name | None, int]:
    """Return the name that begins at a word, and the word to go on with."""
    known = _sounds().names
    for size in range(min(5, len(words) - at), 0, -1):
        last = at + size - 1
        if any(text[words[i][1] : words[i + 1][0]].strip(" -") for i in range(at, last)):
            continue  # a comma or a number between
        key = "".join(word for *_, word in words[at : last + 1])
        meant = (_EXONYMS[key],) if key in _EXONYMS else tuple(known.get(key, ()))
        levels: tuple[str, ...] = ()
        if not meant and (glued := _GLUED.fullmatch(key)):  # LoudiShi
            meant, levels = tuple(known.get(glued[1], ())), _LEVELS[glued[2]]
        if not meant:
            continue
        following = [w for *_, w in words[last + 1 : last + 4]] if last + 1 < len(words) else []
        gap = text[words[last][1] : words[last + 1][0]] if following else ","
        street = bool(following) and following[0] in _ROAD and following[1:2] not in (["county"], ["xian"])
        if following and not gap.strip(" -"):
            if street or (following[0] in _BESIDE and len(following) > 1 and following[1] in _ROAD):
                return None, last + 2
            for words_used in (2, 1):
                word = "".join(following[:words_used])
                if word in _LEVELS and len(following) >= words_used:
                    end = last + words_used
                    return Name(words[at][0], words[end][1], meant, _LEVELS[word]), end + 1
        if street and not gap.strip():
            return None, last + 2
        return Name(words[at][0], words[last][1], meant, levels), last + 1
    return None, at + 1


def towns(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield where towns stand, from every word that the name may begin with, and what stands before 镇 in pinyin."""
    for match in _TOWN.finditer(text):
        starts = [word.start() for word in re.finditer(r"[^ -]+", match[1])]
        for start in starts:
            yield match.start() + start, match.end(), re.sub(r"[ '’-]", "", match[1][start:]).lower()


def streets(text: str) -> list[Component]:
    """Return the roads, their numbers and the buildings in Latin letters between Chinese characters."""
    if not _WORDS.search(text):
        return []
    return [c for c in parts(text) if c.type in ("road", "poi") or text[c.start : c.end].lower().endswith("hao")]


def parts(text: str) -> list[Component]:
    """Return roads, numbers, buildings and rooms written in Latin letters, by position."""
    found: list[Component] = []
    rest = text
    for name in names(text):
        rest = rest[: name.start] + "," * (name.end - name.start) + rest[name.end :]
    for kind, pattern in _PARTS:
        for match in pattern.finditer(rest):
            start, end = match.span("a")
            if not any(start < c.end and c.start < end for c in found):
                found.append(Component(kind, start, end, 0.5))
    return sorted(found, key=lambda c: c.start)
