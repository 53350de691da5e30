"""Addresses in Latin letters: names as they are read, the usual words translated, fine before coarse."""

from collections.abc import Iterator
from importlib.resources import files

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from addrmesh.address import divisions, gazetteer, latin
from addrmesh.address.pinyin import pinyin
from addrmesh.address.reading import read
from addrmesh.address.romanize import romanized
from addrmesh.address.types import COMPONENT_TYPES, Component
from addrmesh.address.validate import validate
from addrmesh.address.verdict import Address, Options, Request, Result, ResultComponent, Verdict

NOTHING = Verdict("ACCEPT", "NONE", "NONE", True, False, False, False, False, False, 1.0)


def component(kind: str, text: str, code: str | None = None) -> ResultComponent:
    return ResultComponent(kind, text, text, "INPUT", "CONFIRMED", 1.0, code, None)


def latin_of(*components: ResultComponent) -> Address:
    address = Address("", None, None, list(components), [], [])
    return romanized(Result(NOTHING, address, None, [], [])).address


def part(kind: str, text: str, code: str | None = None) -> object:
    return latin_of(component(kind, text, code)).components[0].text_latin


def in_force(code: str | None = None) -> Iterator[divisions.Division]:
    for division in divisions.children(code):
        if division.level in ("prov", "city", "district") and division.code not in ("710000", "810000", "820000"):
            yield division
            yield from in_force(division.code)


def answer(*named: tuple[str, str], romanize: bool = True) -> Address:
    """Validate an address whose components are known."""
    text = "".join(name for _, name in named)
    components, at = [], 0
    for kind, name in named:
        components.append(Component(kind, at, at + len(name), 1.0))
        at += len(name)
    return validate(read(Request(text, options=Options(romanize=romanize))), components).address


def test_an_address_is_written_fine_before_coarse() -> None:
    address = answer(
        ("city", "杭州市"), ("district", "余杭区"), ("town", "仓前街道"), ("road", "文一西路"), ("roadno", "969号"),
        ("poi", "阿里巴巴大厦"), ("houseno", "3号楼"), ("cellno", "2单元"), ("floorno", "五楼"), ("roomno", "501室"),
    )  # fmt: skip
    assert address.formatted_address_latin == (
        "Room 501, Floor 5, Unit 2, Building 3, Alibaba Tower, No. 969 Wenyi West Road, Cangqian Subdistrict, "
        "Yuhang District, Hangzhou, Zhejiang, China"
    )
    assert [c.text_latin for c in address.components[:3]] == ["Zhejiang", "Hangzhou", "Yuhang District"]


def test_nothing_is_romanised_unless_asked_for() -> None:
    address = answer(
        ("city", "杭州市"), ("district", "余杭区"), ("road", "文一西路"), ("roadno", "969号"), romanize=False
    )
    assert b"latin" not in msgspec.json.encode(address)


def test_a_municipality_and_a_heading_are_no_second_city() -> None:
    beijing = latin_of(component("prov", "北京市", "110000"), component("city", "北京市", "110000"))
    assert beijing.formatted_address_latin == "Beijing, China"
    heading = component("city", "省直辖县级行政区划")
    xiantao = latin_of(component("prov", "湖北省", "420000"), heading, component("district", "仙桃市", "429004"))
    assert xiantao.formatted_address_latin == "Xiantao, Hubei, China"


@pytest.mark.parametrize("code", ["710000", "810000", "820000"])
def test_where_pinyin_is_not_what_is_written_nothing_is(code: str) -> None:
    division = divisions.by_code(code)
    assert division
    address = latin_of(component("prov", division.name, code), component("road", "中正路"))
    assert address.formatted_address_latin is None
    assert latin_of().formatted_address_latin is None


@pytest.mark.parametrize(
    ("code", "written"),
    [
        ("500000", "Chongqing"), ("341500", "Lu'an"), ("350200", "Xiamen"), ("341600", "Bozhou"), ("610000", "Shaanxi"),
        ("140000", "Shanxi"), ("150000", "Inner Mongolia"), ("540000", "Xizang"), ("650000", "Xinjiang"),
        ("450000", "Guangxi"), ("230100", "Harbin"), ("650100", "Urumqi"), ("411100", "Luohe"), ("141100", "Lvliang"),
        ("110105", "Chaoyang District"), ("310112", "Minhang District"), ("310115", "Pudong New Area"),
        ("320116", "Luhe District"), ("130133", "Zhaoxian County"), ("360981", "Fengcheng"),
        ("361124", "Yanshan County"), ("371722", "Shanxian County"), ("410621", "Xunxian County"),
        ("440113", "Panyu District"), ("510117", "Pidu District"), ("141024", "Hongtong County"),
        ("341621", "Guoyang County"), ("222400", "Yanbian Prefecture"), ("420528", "Changyang County"),
        ("152200", "Xing'an League"), ("654000", "Ili Prefecture"), ("330110012", "Cangqian Subdistrict"),
    ],
)  # fmt: skip
def test_divisions_are_written_as_they_are_read(code: str, written: str) -> None:
    division = divisions.by_code(code)
    assert division
    assert part(division.level, division.name, code) == written


def test_every_division_is_written_in_ascii_and_understood_when_it_is_read_back() -> None:
    found = list(in_force())
    assert len(found) > 3000
    lost = []
    for division in found:
        written = str(part(division.level, division.name, division.code))
        assert written.isascii(), division.name
        if division.name not in {name for read in latin.names(written) for name in read.names}:
            lost.append((division.name, written))
    assert lost == []


def test_every_town_is_written_in_ascii() -> None:
    assert [name for name in gazetteer.names("town") if not pinyin(name).isascii()] == []


@pytest.mark.parametrize(
    ("road", "written"),
    [
        ("文一西路", "Wenyi West Road"), ("中山东一路", "Zhongshan East 1st Road"), ("世纪大道", "Shiji Avenue"),
        ("长安街", "Chang'an Street"), ("江东路", "Jiangdong Road"), ("广东中路", "Guangdong Middle Road"),
        ("西大街", "West Street"), ("解放路东段", "Jiefang Road East Section"), ("重庆路", "Chongqing Road"),
        ("航天大道一段", "Hangtian Avenue Section 1"), ("G104国道", "G104 National Road"), ("388弄", "Lane 388"),
        ("银行街", "Yinhang Street"), ("Nanjing Road", "Nanjing Road"), ("中关村大街", "Zhongguancun Street"),
    ],
)  # fmt: skip
def test_roads(road: str, written: str) -> None:
    assert part("road", road) == written


@pytest.mark.parametrize(
    ("kind", "text", "written"),
    [
        ("roadno", "969号", "No. 969"), ("roadno", "三号", "No. 3"), ("roadno", "一百二十号", "No. 120"),
        ("roadno", "一〇五号", "No. 105"), ("roadno", "甲3号", "No. Jia 3"), ("roadno", "5", "No. 5"),
        ("roadno", "388弄12号", "No. 12, Lane 388"), ("houseno", "3号楼", "Building 3"),
        ("houseno", "A座", "Building A"), ("houseno", "南3幢", "Building Nan 3"), ("houseno", "十五栋", "Building 15"),
        ("cellno", "二单元", "Unit 2"),
        ("floorno", "5F", "Floor 5"), ("floorno", "地下一层", "Floor -1"), ("roomno", "501室", "Room 501"),
        ("roomno", "传达室", "Chuandashi"), ("village_group", "第五生产队", "Group 5"), ("poi", "1号院", "No. 1"),
        ("poi", "浙江大学紫金港校区", "Zhejiang University Zijingang Campus"), ("poi", "国贸大厦", "Guomao Tower"),
        ("poi", "重庆火车站", "Chongqing Railway Station"), ("community", "李村", "Li Village"),
        ("community", "幸福社区", "Xingfu Community"),
    ],
)  # fmt: skip
def test_parts(kind: str, text: str, written: str) -> None:
    assert part(kind, text) == written


def test_a_number_stands_with_its_road_and_a_place_beside_with_what_it_is_beside() -> None:
    parts = [("road", "国定路"), ("road", "388弄"), ("roadno", "12号"), ("poi", "赛格广场"), ("assist", "对面")]
    line = latin_of(*(component(*one) for one in parts)).formatted_address_latin
    assert line == "Opposite Saige Plaza, No. 12, Lane 388, Guoding Road, China"


texts = st.text(st.sampled_from("东西南中一二三十百号楼栋幢座单元室层弄路街大道巷村社区A3F-# 〇长安重庆"), max_size=10)


@given(st.lists(st.tuples(st.sampled_from(COMPONENT_TYPES), texts), min_size=1, max_size=6))
def test_any_components_are_written_in_ascii_in_one_line(parts: list[tuple[str, str]]) -> None:
    line = latin_of(*(component(*one) for one in parts)).formatted_address_latin
    assert isinstance(line, str)
    assert line.isascii()
    assert line.endswith("China")
    assert ", ," not in line
    assert "  " not in line


def test_the_table_is_small() -> None:
    assert len(files("addrmesh.address").joinpath("pinyin.bin").read_bytes()) <= 200_000
