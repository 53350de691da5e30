"""
Below the divisions: roads, numbers, buildings, villages, and how precise they make an address.

The tagger's components are repaired where its training data and ours differ in reading, then judged: a number needs
something to be a number of, a building needs a name, and a placeholder is no number.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from addrmesh.address.mentions import PLACES, ZONE, Mention, unspaced
from addrmesh.address.types import NUMBERS, Component
from addrmesh.address.verdict import Granularity

_HAN_NUMBER = "一二三四五六七八九十百零〇两"
_PLACEHOLDER = re.compile(r"第?[Xx×*?某○_＿-]+(?:号|室|栋|幢|楼|单元|层|座)?\Z")
_UNNAMED = re.compile("(?:路|街|道|大道|大街|巷|弄)(?![东西南北边旁口])|(?:或者?|还是)")
"""A road whose name was left open, and what joins two of something."""
_UNKNOWN_GROUP = re.compile(r"第?[Xx×*?某○_＿几]+(?:生产)?(?:组|队|社|小组|村民小组)\Z")
_NOTHING = re.compile(r"0+号?\Z|(?:未知|不详|暂无|待定|没有|随便|保密|测试|门牌号?|房间?号|详细|地址)+\Z")
_QUANTITY = re.compile(
    r"[\d.]+(?:元|块钱?|岁|公?斤|千克|克|折|年|月|天|分钟|小时|人|次|件|个|箱|包|双|套|瓶|罐|支|片|枚|袋|盒|%|[kK][gG]|[mM][lL])装?\Z"
)
_VAGUE = re.compile(rf"[\d{_HAN_NUMBER}]+[几多来]")
_GONE = re.compile(r"(?:失效|作废|拆迁|搬走|停用|无效)[了)]*\Z|改[为成]\Z")
_ALNUM = re.compile(r"[^\W_]")
_LONE_LETTER = re.compile(r"[A-WYZa-wyz](?:座|栋|幢|楼|室|单元|区)?\Z")
_FIGURE = re.compile(rf"[\d{_HAN_NUMBER}甲乙丙丁戊A-Za-z]")
_HOUSE = re.compile(rf"[甲乙丙丁]?[\d{_HAN_NUMBER}]+(?:[-~之][\d{_HAN_NUMBER}]+)?(?:号|號)(?:院|大院)?\Z")
_GROUP = re.compile(rf"第?[\d{_HAN_NUMBER}]+(?:生产)?(?:组|队|社|小组|生产队|村民小组|连|屯)\Z")
_LANE = re.compile(r"\d+(?:弄|巷)\Z")
_BESIDE = re.compile(r".*(?:对面|旁边?|附近|隔壁|后面|前面|对过|周边)\Z")
_NTH = re.compile(rf"第[\d{_HAN_NUMBER}]+家")
_SECTION = re.compile(rf"(?:[\d{_HAN_NUMBER}]+|[东南西北中])段\Z")
_VILLAGE_OFFICE = re.compile("村委会|居委会|村民委员会|党群服务中心|卫生室|小学|幼儿园")
_OFFICE = re.compile(rf"(?P<village>.{{2,}}(?:村|社区))(?P<office>{_VILLAGE_OFFICE.pattern})\Z")
_BOX = re.compile(r"信箱|邮箱|分箱")
_GENERIC = re.compile(
    r"(?:\w*(?:路|街|道|巷|弄|大道)?(?:地铁站|公交站|公交车站|站台|路口|十字路口|红绿灯|收费站|高速出口|桥头|桥下|门口|附近|旁边)|[东南西北]门|.*[那这哪][里儿边]|[\dA-Za-z]{1,3}区|[\dA-Za-z]+号?(?:出|入|出入)?口)\Z"
)
_COMMON = re.compile(
    rf"(?:[\d{_HAN_NUMBER}]+(?:小时|号))?(?:(?:小区|学校|医院|公司|超市|宿舍|厂区|标?准?厂房|工厂|厂|便利店|商店|小店|酒店|宾馆|公寓|仓库|车间|工地|单位|前台|门卫|传达室"
    rf"|住院部|菜鸟驿站|驿站|快递[站柜]|丰巢柜?|车[位库]|停车场|格口|储物柜|大院|大楼|门面|铺面|店面|档口|摊位|铺位|饭店|网吧|药店|市场|商场|银行|部队"
    rf"|地铁|轻轨|地块|家)(?:里面?|内)?[\d{_HAN_NUMBER}]*号?(?:门|床)?){{1,3}}(?:大?门口|外)?\Z"
    r"|.*(?:\d号?地块|标段.*)\Z"
    r"|(?:产业|工业|科技|创业|转移|物流|集聚|聚集|示范|高新){2,}(?:园区?|基地|区)\Z"
)
"""What many places have and what names none of them."""
_STATION = re.compile("地铁|轻轨|公交")
_MARKET = re.compile("(?:农贸|集贸|菜|批发)市场\\Z")
_WAY = re.compile(rf".*(?:[左右][拐转数]|直走|往里|进[来去]|[东西南北村][头尾]|铁门|就是|第[\d{_HAN_NUMBER}]+[家间])\Z")
"""The way to a place, as one tells it."""
_BUILDING = re.compile(
    r"(?:大厦|大楼|中心|广场|小区|花园|花苑|家园|公寓|公馆|别墅|新村|新城|山庄|学校|大学|学院|中学|小学|幼儿园|医院|卫生院|诊所|门诊部|药店|药房"
    r"|酒店|宾馆|旅馆|招待所|饭店|餐厅|酒家|茶楼|公司|集团|工厂|厂|城|苑|园|庭|府|邸|楼|店|馆|院|局|所|站|寺|庙|市场|超市|商行|商城|批发部|经营部|门市部"
    r"|银行|支行|分行|营业部|办事处|商会|政府|法院|基地|工作室|俱乐部|宿舍|仓库|项目部|村委会|居委会|里|坊|轩|阁|湾|郡|墅|汇|港|居|舍|寓|筑|场|营房|[中大支]队|客栈|民宿|农家乐|车间|厂房|码头|服务区|工地)"
)
_NAMED_SO = re.compile(rf"(?=.{{4}}).*{_BUILDING.pattern}\Z")
_VEILED = re.compile(r"[Xx×*?某]{2,}")
_HAN = re.compile(r"[一-鿿]")
INSIDE = ("houseno", "cellno", "floorno", "roomno")
_COUNTED = ("roadno", "houseno", "cellno", "roomno")
"""Numbers that confirm a building whose name does not say that it is one; every shop has a second floor."""
_HIGHWAY = re.compile(r"(?:[国省县乡]道|高速|公路|线)\Z")
_POST = re.compile(r"[Kk]\d|\d+(?:\.\d+)?(?:公里|千米|[Kk][Mm])处?\Z")
_FUEL = re.compile(r"(?=.{4}).*加油站\Z")
"""What alone along a highway is found by its name and a kilometre post; a guest house or a works is asked about."""
_TALK = re.compile(r"[,;。我你他她]|门牌|微信|那一|打电话|的\Z")
"""What no building's name holds."""


class Part(msgspec.Struct, frozen=True, gc=False):
    """A component below the divisions, as it is answered."""

    type: str
    start: int
    end: int
    text: str
    confidence: float


class Premise(NamedTuple):
    """What an address says below its divisions."""

    granularity: Granularity
    road_missing: bool
    premise_missing: bool
    vague: bool
    """Whether it only says what the place is near, or names a building in a way that few are named."""


def parts(text: str, components: Iterable[Component], mentions: Sequence[Mention]) -> tuple[list[Part], list[str]]:
    """Return the parts below the divisions, repaired, and the texts that are placeholders or nonsense."""
    behind = max([m.end for m in mentions], default=0)
    found: list[Part] = []
    dropped: list[str] = []
    for kind, at, end, confidence in components:
        start = at
        if kind in PLACES or kind == "town":
            continue
        if start < behind:
            start = max([start, *[m.end for m in mentions if m.start <= start < m.end]])
            if start >= end:
                continue
        written = text[start:end]
        if not _ALNUM.search(written):
            continue
        said = unspaced(written)
        if kind in NUMBERS:
            said = said.strip("-—–~")
        if (
            _NOTHING.match(said)
            or _GONE.search(said)
            or _is_unnamed(said, text, end)
            or (kind == "village_group" and _UNKNOWN_GROUP.match(said))
            or (kind in NUMBERS and not _is_number(kind, said, text, start))
        ):
            dropped.append(written)
            continue
        taken_for = "poi" if kind == "devzone" and not ZONE.search(said) else kind
        _append(found, Part(taken_for, start, end, said, confidence), text)
    return found, dropped


def _is_unnamed(said: str, text: str, end: int) -> bool:
    return (
        len(said) <= 2
        and (unnamed := _UNNAMED.match(said + text[end : end + 1])) is not None
        and unnamed.end() == len(said)
    )


def _is_number(kind: str, said: str, text: str, start: int) -> bool:
    """Return whether what was tagged as a number is one, and neither a placeholder nor a quantity."""
    if kind == "roadno" and not _FIGURE.search(said):
        return False
    if _PLACEHOLDER.match(said) and (kind == "roadno" or not _LONE_LETTER.match(said)):
        return False
    return not (_QUANTITY.match(said) or _VAGUE.match(text, start))


def _append(found: list[Part], part: Part, text: str) -> None:
    """Add a part, read anew in the light of the one before it."""
    last = found[-1] if found else None
    touching = last is not None and last.end == part.start
    if part.type != "village_group" and _GROUP.match(part.text):
        part = replace(part, type="village_group")
    if part.type == "roadno" and part.text.endswith("室"):
        part = replace(part, type="roomno")
    if (
        part.type in ("houseno", "roomno", "poi")
        and _HOUSE.match(part.text)
        and last
        and last.type == "road"
        and touching
    ):
        part = replace(part, type="roadno")
    if last and part.type in ("road", "assist") and last.type == "road" and touching and _SECTION.match(part.text):
        found[-1] = replace(last, end=part.end, text=last.text + part.text)
        return
    between = text[last.end : part.start] if last else ""
    if last and part.type in NUMBERS and last.type in NUMBERS and between in ("附", "增"):
        found[-1] = replace(last, end=part.end, text=last.text + between + part.text)
        return
    if (
        last
        and part.type == "floorno"
        and touching
        and last.type in ("poi", "subpoi")
        and last.text.endswith(("地下", "负"))
    ):
        size = 2 if last.text.endswith("地下") else 1
        part = replace(part, start=part.start - size, text=last.text[-size:] + part.text)
        if len(last.text) == size:
            found.pop()
        else:
            found[-1] = replace(last, end=last.end - size, text=last.text[:-size])
    if part.type == "community" and (_COMMON.match(part.text) or _WAY.match(part.text)):
        part = replace(part, type="poi")
    if part.type == "community" and (office := _OFFICE.match(part.text)):
        size = len(office["village"])
        found.append(replace(part, end=part.start + size, text=office["village"]))
        part = Part("poi", part.start + size, part.end, office["office"], part.confidence)
    found.append(part)


def is_building(part: Part) -> bool:
    """Return whether a part names a building, a compound or a shop that can be found by its name."""
    return part.type in ("poi", "subpoi") and _names_building(part.text)


@lru_cache(maxsize=1 << 12)
def _names_building(name: str) -> bool:
    return (
        bool(_HAN.search(name))
        and not _VEILED.match(name)
        and not _TALK.search(name)
        and not _GENERIC.match(name)
        and not _COMMON.match(name)
        and not _WAY.match(name)
        and not _BOX.search(name)
    )


def sounds_like_place(part: Part) -> bool:
    """Return whether a building's name ends as such names do, so that it is an address of some kind by itself."""
    return _BUILDING.search(part.text) is not None


def names_itself(part: Part) -> bool:
    """Return whether a building's name is one by its form, so that it needs no number: 云禾天地购物中心."""
    named = _NAMED_SO.match(part.text) or _VILLAGE_OFFICE.fullmatch(part.text)
    return (
        part.type in ("poi", "subpoi")
        and named is not None
        and not (_GENERIC.match(part.text) or _MARKET.match(part.text))
    )


def is_veiled(part: Part) -> bool:
    """Return whether a name was left out on purpose: XX路, 某某小区."""
    return part.type not in NUMBERS and _VEILED.match(part.text) is not None


def _at_post(road: Part, distance: Part) -> bool:
    """Return whether two parts are a highway and a kilometre post on it."""
    return (
        road.type == "road"
        and distance.type == "distance"
        and _HIGHWAY.search(road.text) is not None
        and _POST.match(distance.text) is not None
    )


def _is_aside(found: Sequence[Part], at: int) -> bool:
    """
    Return whether what a part is near is told besides.

    It is where it goes on a stretch of its own behind a number (77号,信用社隔壁), and where a building and its number
    follow (老车站旁边阳光花园7栋).
    """
    if any(sounds_like_place(one) and is_building(one) and n.type == "houseno" for one, n in pairwise(found[at + 1 :])):
        return True
    while at and found[at - 1].end == found[at].start:
        at -= 1
    return any(part.type in _COUNTED for part in found[:at])


def judge(found: Sequence[Part], deepest: Granularity, *, latin: bool = False) -> Premise:
    """
    Return how precise the parts make an address.

    Args:
        found: What `parts` returned.
        deepest: The granularity of the divisions alone.
        latin: Whether buildings may be named in Latin letters.
    """
    kinds = {part.type for part in found}
    road = any(part.type == "road" and not _LANE.match(part.text) for part in found)
    village = "community" in kinds or "village_group" in kinds
    building = any(is_building(part) or (latin and part.type == "poi") for part in found)
    boxed = any(_BOX.search(part.text) for part in found)
    lane = any(part.type == "road" and _LANE.match(part.text) for part in found)
    number = (lane or not kinds.isdisjoint(_COUNTED)) and not boxed
    inside = not kinds.isdisjoint(INSIDE)
    post = any(_at_post(one, other) for one, other in pairwise(found))
    posted = post and any(_FUEL.match(part.text) for part in found)
    beside = not kinds.isdisjoint(("assist", "distance"))
    on_road = road and (number or building)
    hamlets = [p for p in found if p.type == "community"][1:]  # 榆树村西沟屯
    hamlet = any(part.type == "village_group" and not _GROUP.match(part.text) for part in found)  # 马贵坡组
    in_village = village and (
        number
        or building
        or {"village_group", "community"} <= kinds
        or hamlet
        or any(not p.text.endswith(("村", "社区")) for p in hamlets)
    )
    if on_road or in_village or building:
        nearby = beside and not number and not inside and not posted and "village_group" not in kinds
        if nearby and (not building or "distance" in kinds) and not post:
            return Premise("ROUTE" if road else "VILLAGE" if village else deepest, False, True, False)
        odd = (
            building
            and kinds.isdisjoint(_COUNTED)
            and "village_group" not in kinds
            and not any(map(names_itself, found))
            and not latin
        )
        station = kinds.isdisjoint(("roadno", "roomno")) and any(_STATION.match(part.text) for part in found)
        next_to = "village_group" not in kinds and any(
            (part.type == "assist" and _BESIDE.match(part.text) and not _is_aside(found, at)) or _NTH.match(part.text)
            for at, part in enumerate(found)
        )
        return Premise("SUB_PREMISE" if inside else "PREMISE", False, False, nearby or odd or next_to or station)
    if number:
        return Premise("SUB_PREMISE" if inside else "PREMISE", True, False, False)
    if post and not building:
        return Premise("PREMISE", False, False, True)
    if road or "intersection" in kinds:
        return Premise("ROUTE", False, True, False)
    if village:
        return Premise("VILLAGE", False, True, False)
    return Premise(deepest, True, False, False)
