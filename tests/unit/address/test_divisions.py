"""Divisions: facts, lookups, and what became of what."""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from addrmesh.address import divisions, gazetteer
from addrmesh.address.divisions import Division, by_code, children, find, is_within, path, successors
from addrmesh.address.normalize import normalize
from addrmesh.cli import divisions as command

ROOT = Path(__file__).parents[3]
SOURCES = Path(os.environ.get("LABELLED_DATA", ROOT.parent / "shared" / "data")) / "gazetteer"
LEVEL_OF = {"省级": "prov", "地级": "city", "县级": "district"}

FACTS = [
    ("110105", "北京市/朝阳区", "1981", None),
    ("110103", "北京市/崇文区", "1981", "2010"),
    ("120119", "天津市/蓟州区", "2016", None),
    ("140214", "山西省/大同市/云冈区", "2018", None),
    ("150121", "内蒙古自治区/呼和浩特市/土默特左旗", "1981", None),
    ("152502", "内蒙古自治区/锡林郭勒盟/锡林浩特市", "1983", None),
    ("210281", "辽宁省/大连市/瓦房店市", "1990", None),
    ("220104", "吉林省/长春市/朝阳区", "1983", None),
    ("222400", "吉林省/延边朝鲜族自治州", "1981", None),
    ("231282", "黑龙江省/绥化市/肇东市", "1999", None),
    ("232700", "黑龙江省/大兴安岭地区", "1981", None),
    ("310115", "上海市/浦东新区", "1992", None),
    ("320509", "江苏省/苏州市/吴江区", "2012", None),
    ("320584", "江苏省/苏州市/吴江市", "1992", "2012"),
    ("330114", "浙江省/杭州市/钱塘区", "2021", None),
    ("330104", "浙江省/杭州市/江干区", "1983", "2021"),
    ("330110", "浙江省/杭州市/余杭区", "2001", None),
    ("341400", "安徽省/巢湖市", "1999", "2011"),
    ("350128", "福建省/福州市/平潭县", "1983", None),
    ("360000", "江西省", "1981", None),
    ("370116", "山东省/济南市/莱芜区", "2018", None),
    ("371200", "山东省/莱芜市", "1992", "2018"),
    ("410204", "河南省/开封市/鼓楼区", "1983", None),
    ("419001", "河南省/济源市", "1996", None),
    ("420606", "湖北省/襄阳市/樊城区", "2010", None),
    ("420600", "湖北省/襄阳市", "2010", None),
    ("429021", "湖北省/神农架林区", "1994", None),
    ("433100", "湖南省/湘西土家族苗族自治州", "1981", None),
    ("441900", "广东省/东莞市", "1988", None),
    ("442000", "广东省/中山市", "1988", None),
    ("440311", "广东省/深圳市/光明区", "2018", None),
    ("450127", "广西壮族自治区/南宁市/横县", "2002", "2021"),
    ("460203", "海南省/三亚市/吉阳区", "2014", None),
    ("460302", "海南省/三沙市/西沙区", "2020", None),
    ("460400", "海南省/儋州市", "2015", None),
    ("469025", "海南省/白沙黎族自治县", "2001", None),
    ("500101", "重庆市/万州区", "1998", None),
    ("500156", "重庆市/武隆区", "2016", None),
    ("510184", "四川省/成都市/崇州市", "1994", None),
    ("533103", "云南省/德宏傣族景颇族自治州/芒市", "2010", None),
    ("540102", "西藏自治区/拉萨市/城关区", "1983", None),
    ("610116", "陕西省/西安市/长安区", "2002", None),
    ("620200", "甘肃省/嘉峪关市", "1981", None),
    ("632626", "青海省/果洛藏族自治州/玛多县", "1981", None),
    ("640500", "宁夏回族自治区/中卫市", "2003", None),
    ("650402", "新疆维吾尔自治区/吐鲁番市/高昌区", "2015", None),
    ("653228", "新疆维吾尔自治区/和田地区/和康县", "2024", None),
    ("659001", "新疆维吾尔自治区/石河子市", "1985", None),
    ("659012", "新疆维吾尔自治区/白杨市", "2023", None),
    ("710000", "台湾省", "1981", None),
    ("820000", "澳门特别行政区", "1999", None),
]
TOWNS = [
    ("110101001", "北京市/东城区/东华门街道"),
    ("330114001", "浙江省/杭州市/钱塘区/下沙街道"),
    ("440311001", "广东省/深圳市/光明区/光明街道"),
    ("460400100", "海南省/儋州市/那大镇"),
    ("620201101", "甘肃省/嘉峪关市/峪泉镇"),
    ("460323451", "海南省/三沙市/西沙区/中沙岛礁"),
    ("659012504", "新疆维吾尔自治区/白杨市/一六四团"),
    ("320576050", "江苏省/苏州市/苏州工业园区/娄葑街道"),
    ("232761006", "黑龙江省/大兴安岭地区/加格达奇区/光明街道"),
    ("500112009", "重庆市/两江新区/人和街道"),
    ("500112143", "重庆市/北碚区/大盛镇"),
]


def spelt(division: Division) -> str:
    return "/".join(part.name for part in path(division))


def codes(found: tuple[Division, ...]) -> list[str | None]:
    return [division.code for division in found]


def only(name: str, *, within: str | None = None) -> Division:
    """Return the one division of a full name, in force if any is."""
    return find(name, within=by_code(within) if within else None)[0]


def every() -> Iterator[Division]:
    """Every period of every code, the uncoded divisions and all towns."""
    table = divisions._table()
    return map(table.division, range(table.upper + len(table.town_names)))


def every_period(code: str) -> list[Division]:
    table = divisions._table()
    return list(map(table.division, table.periods(code)))


def rows(name: str) -> list[dict[str, str]]:
    if not SOURCES.is_dir():
        pytest.skip(f"the sources of the gazetteer are not at {SOURCES}; set LABELLED_DATA")
    with (SOURCES / name).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("code", "where", "begin", "end"), FACTS)
def test_a_code_stands_for_its_division(code: str, where: str, begin: str, end: str | None) -> None:
    division = by_code(code)
    assert division is not None
    assert (spelt(division), division.valid_from, division.valid_to) == (where, begin, end)


@pytest.mark.parametrize(("code", "where"), TOWNS)
def test_a_town_lies_where_its_district_is_now(code: str, where: str) -> None:
    town = by_code(code)
    assert town is not None
    assert spelt(town) == where


def test_every_row_of_the_civil_affairs_history_is_there() -> None:
    changed_since = {"500105", "500112"}
    for row in rows("areacodes-history.csv"):
        code, begin, end = row["代码"], row["启用时间"], row["变更/弃用时间"] or None
        found = [d for d in every_period(code) if (d.name, d.valid_from) == (row["名称"], begin)]
        assert len(found) == 1, row
        assert found[0].level == LEVEL_OF[row["级别"]]
        assert found[0].valid_to == end or code in changed_since
        expected = [row["一级行政区"], row["二级行政区"], row["名称"]]
        parts = [part for i, part in enumerate(expected) if part not in ("", "直辖") and part not in expected[:i]]
        assert list(dict.fromkeys(part.name for part in path(found[0]))) == parts, row


def test_every_town_of_the_statistics_bureau_is_there_with_its_district() -> None:
    for row in rows("nbs2023-streets.csv"):
        town = by_code(row["code"])
        assert town is not None
        name = normalize(row["name"]).text
        assert town.name in (name, name.removesuffix("办事处"))
        if town.parent != row["areaCode"]:
            assert row["areaCode"] in ("500105", "500112", "500109", "460321", "460322", "460323", "620201")


def test_what_is_in_force_above_the_towns_is_the_ministry_s_list_and_the_later_changes() -> None:
    listed = {row["代码"] for row in rows("areacodes-history.csv") if row["状态"] == "在用"}
    held = {d.code for d in every() if d.in_force and d.level in ("prov", "city", "district") and d.code}
    assert held - listed == {"500157", "232761", "232762", "232763", "232764"}
    assert listed - held == {"500105", "500112"}


def test_no_pseudo_unit_is_a_division() -> None:
    assert not {"市辖区", "县", "省直辖县级行政区划", "自治区直辖县级行政区划"} & {d.name for d in every()}


def test_every_name_is_canonical_text() -> None:
    assert [d.name for d in every() if normalize(d.name).text != d.name] == []


def test_everything_has_a_path_from_a_province_through_wider_levels() -> None:
    order = {level: i for i, level in enumerate(("prov", "city", "district", "devzone", "town"))}
    for division in every():
        parts = path(division)
        assert parts[0].level == "prov", division
        assert parts[-1] == division
        ranks = [order[part.level] for part in parts if part.level != "devzone"]
        assert ranks == sorted(set(ranks)), division
        if division.in_force:
            assert all(part.in_force for part in parts), division


def test_everything_is_found_by_its_full_name_at_its_level() -> None:
    for division in every():
        found = find(division.name, division.level)
        assert division in found or any(d.code == division.code and d.row > division.row for d in found)
        assert not division.in_force or division in found


def test_everything_is_found_by_its_short_names_among_its_neighbours() -> None:
    for division in every():
        for short in division.short:
            assert len(short) > 1
            assert not division.in_force or division in find(short, division.level, within=path(division)[0])


def test_whatever_was_abolished_leads_to_what_is_in_force() -> None:
    for division in every():
        now = successors(division)
        assert now, division
        assert all(d.in_force for d in now), division
        assert (now[0] == division) == division.in_force, division


@pytest.mark.parametrize(
    ("within", "district", "town", "now"),
    [
        ("330100", "江干区", None, ["330102", "330114"]),
        ("330100", "江干区", "下沙街道", ["330114"]),
        ("330100", "江干区", "下沙街道办事处", ["330114"]),
        ("330100", "江干区", "下沙镇", ["330114"]),
        ("330100", "江干区", "凯旋街道", ["330102"]),
        ("330100", "江干区", "没有街道", ["330102", "330114"]),
        ("330100", "下城区", "东新街道", ["330105"]),
        ("330100", "余杭区", "临平街道", ["330113"]),
        ("330100", "余杭区", "仓前街道", ["330110"]),
        ("440300", "宝安区", "光明街道", ["440311"]),
        ("440300", "宝安区", "龙华街道", ["440309"]),
        ("440300", "宝安区", "西乡街道", ["440306"]),
        ("110000", "崇文区", None, ["110101"]),
        ("320000", "吴江市", None, ["320509"]),
        ("500000", "江北区", "观音桥街道", ["500157"]),
        ("500000", "渝北区", "统景镇", ["500109"]),
        ("500000", "北碚区", "水土街道", ["500157"]),
        ("370000", "莱芜市", None, ["370116", "370117"]),
        ("120000", "红桥区", None, ["120106", "120113"]),
        ("420000", "襄樊市", None, ["420600"]),
    ],
)
def test_a_town_says_which_part_of_a_divided_district_is_meant(
    within: str, district: str, town: str | None, now: list[str]
) -> None:
    assert codes(successors(only(district, within=within), town)) == now


def test_a_dissolved_prefecture_is_followed_through_its_counties() -> None:
    now = codes(successors(only("唐山地区")))
    assert {"130281", "130283", "130302"} <= set(now)  # 遵化, 迁安, and 海港区 in what is Qinhuangdao now
    assert "130200" not in now


@pytest.mark.parametrize(
    ("name", "level", "within", "at", "found"),
    [
        ("余杭区", None, None, None, ["330110"]),
        ("朝阳区", "district", None, None, ["110105", "220104"]),
        ("朝阳区", "district", "220000", None, ["220104"]),
        ("鼓楼区", "district", None, None, ["320106", "320302", "350102", "410204"]),
        ("市中区", "district", None, "2024-06-30", ["370103", "370402", "511002", "511102"]),
        ("吉林", "prov", None, None, ["220000"]),
        ("吉林市", "city", None, None, ["220200"]),
        ("恩施州", None, None, None, ["422800"]),
        ("恩施", "city", None, "2024-06-30", ["422800"]),
        ("延边", None, None, None, ["222400"]),
        ("内蒙", None, None, None, ["150000"]),
        ("内蒙古", None, None, None, ["150000"]),
        ("景宁县", None, None, "2024-06-30", ["331127"]),
        ("浦东", "district", None, None, ["310115"]),
        ("神农架", "district", None, "2024-06-30", ["429021"]),
        ("石河子", "district", None, "2024-06-30", ["659001"]),
        ("吴江市", "district", "320000", None, ["320584"]),
        ("吴江市", "district", None, "2013-01-01", []),
        ("观塘区", None, None, None, [None]),
        ("北区", "district", "810000", None, [None]),
        ("大堂区", None, "820000", None, [None]),
        ("台北", "city", None, None, [None]),
        ("下沙街道办事处", "town", "330100", None, ["330114001"]),
        ("苏州工业园区", "devzone", None, None, ["320576"]),
        ("下花园区", "district", None, None, ["130706"]),
        ("不存在区", None, None, None, []),
        ("", None, None, None, []),
    ],
)
def test_a_name_is_found(
    name: str, level: divisions.Level | None, within: str | None, at: str | None, found: list[str | None]
) -> None:
    assert codes(find(name, level, by_code(within) if within else None, at)) == found


def test_what_is_in_force_comes_before_what_was_and_full_names_before_short_forms() -> None:
    for name in ("恩施", "朝阳", "吉林", "重庆市", "石河子市", "市中区"):
        found = find(name)
        keys = [(not d.in_force, d.name != name) for d in found]
        assert keys == sorted(keys)


def test_places_are_what_is_found_above_the_towns() -> None:
    names = {form for division in every() for form in (division.name, *division.short)}
    assert any(d.level == "town" for d in find("城关"))
    assert not any(d.level == "town" for d in divisions.places("城关"))
    for name in names:
        assert divisions.places(name) == tuple(d for d in find(name) if d.level in ("prov", "city", "district"))


def test_a_code_is_found_once_though_it_had_the_name_in_several_periods() -> None:
    assert [(d.code, d.valid_from) for d in find("樊城区")] == [("420606", "2010")]
    assert [(d.code, d.valid_from) for d in find("樊城区", at="2000-01-01")] == [("420606", "1995")]


def test_a_division_lies_in_a_city_that_was_called_otherwise() -> None:
    former = by_code("420606", at="2000-01-01")
    city = by_code("420600")
    assert former is not None
    assert city is not None
    assert path(former)[1].name == "襄樊市"
    assert city.name == "襄阳市"
    assert is_within(former, city)


@pytest.mark.parametrize(
    ("code", "at", "name"),
    [
        ("420600", "2005-01-01", "襄樊市"),
        ("420600", "2010-06-01", "襄阳市"),  # both held in that year as far as the source tells; the later is given
        ("420600", None, "襄阳市"),
        ("330104", "2020-01-01", "江干区"),
        ("330104", "2022-01-01", None),
        ("330114", "2020-01-01", None),
        ("500105", "2025-11-05", "江北区"),
        ("500105", "2025-11-07", None),
        ("330114001", "1990-01-01", "下沙街道"),  # towns have no history
        ("999999", None, None),
        ("330114999", None, None),
        ("", None, None),
        ("３３０１０４", None, None),
    ],
)
def test_a_code_on_a_day(code: str, at: str | None, name: str | None) -> None:
    found = by_code(code, at)
    assert (found and found.name) == name


def test_the_children_of_a_city_on_a_day() -> None:
    now = [d.name for d in children("330100")]
    then = [d.name for d in children("330100", at="2020-01-01")]
    assert "钱塘区" in now
    assert "江干区" not in now
    assert "钱塘区" not in then
    assert "江干区" in then


def test_provinces_are_the_children_of_nothing() -> None:
    assert len(children()) == 34
    assert {d.level for d in children()} == {"prov"}
    assert "海南省" not in {d.name for d in children(at="1985-01-01")}


@pytest.mark.parametrize("code", ["441900", "442000", "460400", "620200"])
def test_a_city_without_districts_has_its_towns_right_below(code: str) -> None:
    assert {d.level for d in children(code)} <= {"town", "devzone"}
    assert any(d.level == "town" for d in children(code))


def test_counties_governed_by_a_province_stand_beside_its_cities() -> None:
    assert {"469025", "469005", "460100"} <= {d.code for d in children("460000")}
    assert {"659001", "650100"} <= {d.code for d in children("650000")}


def test_only_the_published_codes_of_hong_kong_macao_and_taiwan_are_given() -> None:
    for code, count in (("810000", 18), ("820000", 7), ("710000", 22)):
        below = children(code)
        assert len(below) == count
        assert {d.code for d in below} == {None}
        assert {d.parent for d in below} == {code}


def test_scan_finds_an_old_address_level_by_level() -> None:
    matches = {(m.start, m.end): codes(m.divisions) for m in divisions.scan("浙江省杭州市江干区下沙街道")}
    assert matches[0, 3] == ["330000"]
    assert matches[3, 6] == ["330100"]
    assert matches[6, 9] == ["330104"]
    assert matches[9, 13][0] == "330114001"
    assert list(matches) == sorted(matches, key=lambda span: (span[0], -span[1]))


@pytest.mark.parametrize("name", ["恩施州", "内蒙", "苏州工业园区", "下花园区", "花地玛堂区"])
def test_scan_finds_names_that_the_tagger_s_gazetteer_lacks(name: str) -> None:
    assert name not in {known for level in gazetteer.LEVELS for known in gazetteer.names(level)}
    assert (1, 1 + len(name)) in {(m.start, m.end) for m in divisions.scan(f"在{name}号")}


PIECES = st.sampled_from(
    ["朝阳区", "海州", "杭州市", "城关镇", "恩施州", "西湖", "市中区", "路", "1号", "a", "省", "区"]
)


@given(st.lists(PIECES, max_size=6))
def test_scan_gives_what_find_gives_at_every_place(pieces: list[str]) -> None:
    text = "".join(pieces)
    matches = list(divisions.scan(text))
    for match in matches:
        assert match.divisions == find(text[match.start : match.end])
        assert match.divisions
    spans = {(match.start, match.end) for match in matches}
    for start in range(len(text)):
        for end in range(start + 2, len(text) + 1):
            assert bool(find(text[start:end])) == ((start, end) in spans), text[start:end]


@given(st.text(max_size=8))
def test_any_text_may_be_asked_for(text: str) -> None:
    assert all(text.removesuffix("办事处") in (d.name, *d.short) for d in find(text))
    assert by_code(text) is None or by_code(text).code == text  # type: ignore[union-attr]


def test_the_listing_shows_a_division_and_what_lies_below() -> None:
    shown = divisions.listing("330100", "2020-01-01")
    assert shown is not None
    assert shown.parent is not None
    assert shown.parent.name == "杭州市"
    assert "江干区" in [entry.name for entry in shown.divisions]
    assert shown.gazetteer_version == divisions.version()


def test_the_listing_of_nothing_is_the_provinces_and_that_of_an_unknown_code_is_none() -> None:
    provinces = divisions.listing()
    assert provinces is not None
    assert provinces.parent is None
    assert len(provinces.divisions) == 34
    assert divisions.listing("999999") is None


def test_the_detail_shows_path_successors_and_the_periods_of_a_code() -> None:
    shown = divisions.detail("420606", "2000-01-01")
    assert shown is not None
    assert [entry.name for entry in shown.path] == ["湖北省", "襄樊市", "樊城区"]
    assert (shown.division.valid_from, shown.division.valid_to) == ("1995", "2010")
    assert [entry.valid_from for entry in shown.periods][-1] == "2010"
    former = divisions.detail("330104", "2020-01-01")
    assert former is not None
    assert [entry.name for entry in former.successors] == ["上城区", "钱塘区"]
    assert divisions.detail("330104", "2022-01-01") is None


@pytest.mark.parametrize("at", ["2020", "2020-13-01", "20200101", "yesterday", "2020-01-01T00:00:00", ""])
def test_a_date_that_is_none_is_refused(at: str) -> None:
    with pytest.raises(divisions.InvalidDate, match="2020-01-31"):
        divisions.detail("330100", at)
    with pytest.raises(divisions.InvalidDate):
        divisions.listing("330100", at)


def run(*arguments: str) -> str:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command.divisions)
    return CliRunner().invoke(app, arguments, catch_exceptions=False).output


def test_the_command_shows_what_became_of_an_old_name() -> None:
    shown = run("江干区")
    assert shown.splitlines()[0].split() == ["330104", "district", "1983-2021", "江干区"]
    assert "浙江省 > 杭州市 > 江干区" in shown
    assert "330102 上城区  330114 钱塘区" in shown


def test_the_command_lists_what_lies_below_a_code_on_a_day() -> None:
    assert "330104     district  1983-2021    江干区" in run("--parent", "330100", "--at", "2020-01-01").splitlines()
    assert len(run().splitlines()) == 34


def test_the_command_prints_one_document() -> None:
    shown = json.loads(run("鼓楼区", "--parent", "350000", "--json"))
    assert [found["division"]["code"] for found in shown["divisions"]] == ["350102"]
    below = json.loads(run("--parent", "460400", "--json"))
    assert below["parent"]["name"] == "儋州市"
    assert below["gazetteer_version"] == divisions.version()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["尚诚区"], "no division has or had the name or code 尚诚区; "),
        (["义务市"], "did you mean 义乌市"),
        (["330104", "--at", "2022-01-01"], "no division on 2022-01-01 has"),
        (["330104", "--parent", "320000"], "no division in 江苏省 has"),
        (["--parent", "999999"], "code 999999; `addrmesh divisions` lists the provinces"),
    ],
)
def test_the_command_says_what_it_did_not_find(arguments: list[str], message: str) -> None:
    with pytest.raises(command.UnknownDivision, match=message):
        run(*arguments)
