"""Validation without a model: divisions, receivers, Latin letters, the decision rule."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from addrmesh.address import admin, divisions, latin, premise, receiver, spelling
from addrmesh.address.divisions import Division
from addrmesh.address.issues import CATALOGUE, issue, issue_rows
from addrmesh.address.mentions import has_districts, mentions
from addrmesh.address.reading import read, text_of
from addrmesh.address.types import COMPONENT_TYPES, Component
from addrmesh.address.validate import validate, validate_without_engine
from addrmesh.address.verdict import (
    ACTIONS,
    DecisionRule,
    Issue,
    Request,
    Result,
    decide,
    default_rule,
    load_rule,
)
from addrmesh.errors import ConfigError


def tagged(*names: tuple[str, str]) -> tuple[str, list[Component]]:
    """Return a text of these names and what a tagger that is always right finds in it."""
    text, found = "", []
    for kind, name in names:
        found.append(Component(kind, len(text), len(text) + len(name), 0.9))
        text += name
    return text, found


def resolved(*names: tuple[str, str], hint: str | None = None) -> admin.Resolution:
    text, found = tagged(*names)
    return admin.resolve(mentions(text, found), divisions.by_code(hint) if hint else None)


def validated(*names: tuple[str, str], **request: object) -> Result:
    text, found = tagged(*names)
    reading = read(msgspec.convert({"address": text, **request}, Request))
    assert reading.canonical.text == text
    return validate(reading, found)


def counties() -> list[Division]:
    """Return everything in force that an address must name: districts, and cities without any."""
    found = []
    for province in divisions.children():
        for city in divisions.children(province.code):
            below = divisions.children(city.code) if city.code and city.level == "city" else ()
            found += [city] if not has_districts(city) else [d for d in below if d.level == "district"]
    return [d for d in found if d.code and d.level != "devzone"]


def named_by_path(division: Division) -> list[tuple[str, str]]:
    return [(d.level, d.name) for d in divisions.path(division)]


def test_every_division_in_force_is_found_by_its_full_name() -> None:
    every = counties()
    assert len(every) > 2_800
    missed = [d.name for d in every if resolved(*named_by_path(d)).division != d]
    assert missed == []


def test_every_former_district_leads_to_what_is_there_now_or_asks_which() -> None:
    table = divisions._table()
    former = [table.division(row) for row in range(table.upper) if table.facts.levels[row] == 2]
    former = [d for d in former if (d.valid_to or "") >= "2000" and divisions.successors(d)]
    assert len(former) > 500
    wrong = []
    for district in former:
        result, heirs = resolved(*named_by_path(district)), set(divisions.successors(district))
        same = result.division is not None and result.division.name == district.name
        if not same and result.division not in heirs and heirs.isdisjoint(result.candidates):
            wrong.append((district.code, district.name))
    assert wrong == []


@given(st.sampled_from(counties()), st.permutations(range(3)))
def test_the_order_of_the_names_does_not_matter(district: Division, order: list[int]) -> None:
    names = named_by_path(district)
    shuffled = [names[i] for i in order if i < len(names)]
    assert resolved(*shuffled).division == district


@given(
    st.lists(st.sampled_from([("prov", "浙江省"), ("city", "宁波市"), ("district", "余杭区"), ("town", "五常街道")]))
)
def test_what_is_said_twice_counts_once(names: list[tuple[str, str]]) -> None:
    once, twice = resolved(*dict.fromkeys(names)), resolved(*dict.fromkeys(names), *names)
    assert (once.state, once.path) == (twice.state, twice.path)


def test_two_names_outvote_one_and_one_does_not_outvote_another() -> None:
    wrong_province = resolved(("prov", "江苏省"), ("city", "杭州市"), ("district", "余杭区"))
    assert wrong_province.division == divisions.by_code("330110")
    assert [role.kind for role in wrong_province.roles] == ["against", "same", "same"]
    assert resolved(("prov", "湖南省"), ("district", "福田区")).state == "conflict"
    assert resolved(("city", "宁波市"), ("district", "余杭区")).state == "conflict"


def test_a_hint_decides_between_namesakes_only_and_is_weak() -> None:
    names = [("district", "鼓楼区")]
    assert resolved(*names).state == "ambiguous"
    hinted = resolved(*names, hint="320300")
    assert (hinted.division, hinted.weak) == (divisions.by_code("320302"), True)
    assert resolved(*names, hint="440100").state == "ambiguous"
    complete = resolved(("city", "徐州市"), *names, hint="320100")
    assert (complete.division, complete.weak) == (divisions.by_code("320302"), False)


def test_a_county_that_moved_is_found_under_its_former_city() -> None:
    result = resolved(("prov", "四川省"), ("city", "资阳市"), ("district", "简阳市"))
    assert result.division == divisions.by_code("510185")
    assert result.roles[1].kind == "outdated"


@pytest.mark.parametrize(
    ("name", "full", "town", "slip"),
    [
        ("余行区", "余杭区", False, True),
        ("杭州州市", "杭州市", False, True),
        ("鲁乌木齐市", "乌鲁木齐市", False, True),
        ("五长街道", "五常街道", True, True),
        ("五湖街道", "五常街道", True, False),
        ("余杭区", "余杭区", False, False),
        ("梧桐区", "西湖区", False, False),
    ],
)
def test_a_slip_is_one_character_and_towns_must_sound_alike(name: str, full: str, town: bool, slip: bool) -> None:
    assert spelling.is_slip(name, full, town=town) is slip


@given(st.text("杭州市区县东西", max_size=6), st.text("杭州市区县东西", max_size=6))
def test_being_one_slip_apart_is_mutual(one: str, other: str) -> None:
    assert spelling.apart_by_one(one, other) is spelling.apart_by_one(other, one)


def test_nothing_is_guessed_between_two_equally_near_names() -> None:
    result = resolved(("prov", "辽宁省"), ("city", "鞍山市"), ("district", "铁中区"))
    assert result.division == divisions.by_code("210300")
    assert result.roles[-1].kind == "unknown"


# ---------------------------------------------------------------- what is no address


@pytest.mark.parametrize(
    ("text", "name", "phone", "rest"),
    [
        ("荷禾路8号 王测试 13800000001", "王测试", "13800000001", "荷禾路8号"),
        ("欧阳测试,138-0000-0001,荷禾路8号", "欧阳测试", "138-0000-0001", "荷禾路8号"),
        ("荷禾路8号王测试13800000001", "王测试", "13800000001", "荷禾路8号"),
        ("荷禾路8号 陈小姐(收) 0571-80000000", "陈小姐", "0571-80000000", "荷禾路8号"),
        ("John Smith 13800000001 荷禾路8号", "John Smith", "13800000001", "荷禾路8号"),
        ("荷禾路8号 邮编310000 收货人:李测试 电话 13800000001", "李测试", "13800000001", "荷禾路8号"),
        ("荷禾路8号 海淀 13800000001", None, "13800000001", "荷禾路8号 海淀"),
    ],
)
def test_the_receiver_is_set_apart(text: str, name: str | None, phone: str, rest: str) -> None:
    reading = read(Request(text))
    assert reading.receiver is not None
    assert (reading.receiver.name, reading.receiver.phone) == (name, phone)
    assert " ".join(reading.canonical.text.split()) == rest
    spans = reading.receiver.spans
    assert spans.phone is not None
    assert text[slice(*spans.phone)] == phone
    assert name is None or (spans.name is not None and text[slice(*spans.name)] == name)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("荷禾路8号放门卫", "荷禾路8号"),
        ("请寄到浙江省杭州市余杭区荷禾路8号 谢谢", "浙江省杭州市余杭区荷禾路8号"),
        ("解放路8号放疗中心", "解放路8号放疗中心"),
        ("荷禾路8号客服中心", "荷禾路8号客服中心"),
        ("荷禾路8号(急急急)周末送", "荷禾路8号("),
        ("<p>荷禾路8号</p>🏠", "荷禾路8号"),
        ("荷 禾 路 8 号", "荷禾路8号"),
    ],
)
def test_notes_and_markup_go_and_names_that_sound_like_notes_stay(text: str, rest: str) -> None:
    assert read(Request(text)).canonical.text.rstrip(" )") == rest


def test_no_name_in_the_gazetteer_is_taken_for_a_note_or_a_person() -> None:
    names = {name for level in divisions.LEVELS[:4] for name in divisions.gazetteer.names(level)}
    assert [name for name in sorted(names) if list(receiver.cuts(f"{name}荷禾路8号"))] == []


@given(st.text("浙江杭州路8号 ,王测试1380*<>p/（）０邮编:急", max_size=40))
def test_what_is_tagged_maps_back_to_the_callers_text(text: str) -> None:
    canonical = read(Request(text)).canonical
    places = [canonical.span(at, at + 1) for at in range(len(canonical.text))]
    assert places == sorted(places)
    assert all(0 <= start < end <= len(text) for start, end in places)


def test_a_receiver_is_not_given_back_unless_asked_for() -> None:
    request = {"address": "荷禾路8号 王测试 13800000001", "options": {"extract_receiver": False}}
    reading = read(msgspec.convert(request, Request))
    assert (reading.receiver, reading.contact_removed) == (None, True)


def test_fields_are_read_as_lines() -> None:
    given_ = {"administrative_area": "浙江省", "district": "余杭区", "address_lines": ["荷禾路8号", "3幢"]}
    assert text_of(msgspec.convert({"address": given_}, Request)) == "浙江省\n余杭区\n荷禾路8号\n3幢"


# ---------------------------------------------------------------- Latin letters


def test_names_in_pinyin_and_english_are_found_and_roads_are_not_names() -> None:
    text = "No. 5 Nanjing Road, Yuhang Qu, Xi'an, Inner Mongolia"
    assert [text[name.start : name.end] for name in latin.names(text)] == ["Yuhang Qu", "Xi'an", "Inner Mongolia"]
    assert [(c.type, text[c.start : c.end]) for c in latin.parts(text)] == [("roadno", "5"), ("road", "Nanjing Road")]


def test_a_spelling_that_two_provinces_share_means_both() -> None:
    assert [name.names for name in latin.names("Shanxi")] == [("山西省", "陕西省")]
    assert [name.names for name in latin.names("Shaanxi")] == [("陕西省",)]


# ---------------------------------------------------------------- premises


@pytest.mark.parametrize(
    ("names", "granularity", "lacks"),
    [
        ([("road", "荷禾路"), ("roadno", "8号")], "PREMISE", ()),
        ([("road", "荷禾路")], "ROUTE", ("premise",)),
        ([("road", "荷禾路"), ("roadno", "XX号")], "ROUTE", ("premise",)),
        ([("roadno", "8号")], "PREMISE", ("road",)),
        ([("community", "荷塘村")], "VILLAGE", ("premise",)),
        ([("community", "荷塘村"), ("poi", "第4生产队")], "PREMISE", ()),
        ([("poi", "荷塘购物中心"), ("roomno", "501")], "SUB_PREMISE", ()),
        ([("road", "荷禾路"), ("poi", "地铁站"), ("subpoi", "2号口")], "ROUTE", ("premise",)),
        ([("road", "荷禾路"), ("assist", "往东"), ("distance", "200米")], "ROUTE", ("premise",)),
        ([("poi", "asdfgh")], "DISTRICT", ("road",)),
    ],
)
def test_a_number_needs_a_road_and_a_road_needs_a_number(
    names: list[tuple[str, str]], granularity: str, lacks: tuple[str, ...]
) -> None:
    text, found = tagged(*names)
    parts, _ = premise.parts(text, found, ())
    judged = premise.judge(parts, "DISTRICT")
    assert judged.granularity == granularity
    assert ("road" in lacks, "premise" in lacks) == (judged.road_missing, judged.premise_missing)


# ---------------------------------------------------------------- verdicts

CLEAN = (("prov", "浙江省"), ("city", "杭州市"), ("district", "余杭区"), ("road", "荷禾路"), ("roadno", "8号"))


def test_a_clean_address_is_accepted_and_only_its_divisions_are_confirmed() -> None:
    result = validated(*CLEAN)
    assert result.verdict.possible_next_action == "ACCEPT"
    assert result.verdict.validation_granularity == "DISTRICT"
    confirmed = [c.type for c in result.address.components if c.confirmation_level == "CONFIRMED"]
    assert confirmed == ["prov", "city", "district"]


def test_messages_come_in_the_language_asked_for() -> None:
    old = (("district", "萧山市"), ("road", "荷禾路"), ("roadno", "8号"))
    assert validated(*old).issues[0].message.startswith("行政区划已变更")
    assert validated(*old, language_code="en").issues[0].message.startswith("the division has changed")


@given(st.text("浙江省杭州市余杭区五常街道荷禾路鼓楼上海朝阳吉林镇村8号室幢,。 ABab", max_size=30))
def test_without_an_engine_nothing_is_accepted_and_every_fix_says_why(text: str) -> None:
    result = validate_without_engine(read(Request(text)))
    assert result.verdict.possible_next_action != "ACCEPT"
    if result.verdict.possible_next_action == "FIX":
        assert any(found.severity == "error" for found in result.issues)
    for component in result.address.components:
        if component.span is not None:
            assert text[slice(*component.span)] == component.input_text


WORDS = (
    "皖", "新", "粤", "九龙", "新界", "旺角", "浙江", "杭州市", "信宜", "黄山", "济源市", "轵城镇", "北区", "东区",
    "新园区", "高新区", "工业园区", "一二八团", "中山路", "312国道", "K12+300", "公里", "12号", "附3号", "甲", "弄",
    "胡同", "街道", "办", "大厦", "公寓", "楼", "5号门", "面", "档口", "对面", "第三家", "王大庆", "我家", "不是",
    "寄到", "·", ",", "(", "】", "Lu", "Zhen", "8Hao", " ", "香港", "澳门", "湾仔", "路", "市", "3栋", "或者", "小区",
    "。", "88街坊", "9 门 ", "村", "新区", "江北", "26号", "监城市", "州", "71团", "几组", "X组", "度假区", "台湾",
    "员林市", "12公里",
)  # fmt: skip


@example([("新园区", "devzone"), ("街道", "town")])
@example([("皖", "devzone"), ("312国道", "prov"), ("办", "road")])
@example([("一二八团", "cellno"), ("88街坊", "road")])
@given(st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from([*COMPONENT_TYPES, ""])), min_size=1, max_size=8))
def test_whatever_a_tagger_finds_in_a_text_is_judged(said: list[tuple[str, str]]) -> None:
    reading = read(Request("".join(word for word, _ in said)))
    text = reading.canonical.text
    found, at = [], 0
    for word, kind in said:
        start, at = at, min(at + len(word), len(text))
        if kind and start < at:
            found.append(Component(kind, start, at, 0.6))
    result = validate(reading, found if text else [])
    assert result.verdict.possible_next_action in ACTIONS
    spans = [c.span for c in result.address.components if c.span]
    assert all(0 <= start < end <= len(reading.text) for start, end in spans)


def test_as_many_candidates_are_given_as_asked_for() -> None:
    names = (("district", "鼓楼区"), ("road", "荷禾路"), ("roadno", "8号"))
    assert len(validated(*names, options={"candidates": 2}).candidates) == 2
    assert validated(*names, options={"candidates": 0}).candidates == []


# ---------------------------------------------------------------- the decision rule


def test_the_strictest_issue_decides() -> None:
    info, warning = issue("ADMIN_ALIAS", "en"), issue("SPELL_CORRECTED", "en")
    rule = default_rule()
    assert decide([], rule) == "ACCEPT"
    assert decide([info, warning, info], rule) == "CONFIRM"
    assert decide([info], rule, floor="CONFIRM") == "CONFIRM"


@given(st.sampled_from(sorted(CATALOGUE)), st.sampled_from(ACTIONS), st.sampled_from(ACTIONS))
def test_no_rule_accepts_an_error(code: str, error: str, exception: str) -> None:
    actions = {"error": "FIX" if error == "ACCEPT" else error, "warning": "ACCEPT", "info": "ACCEPT"}
    rule = msgspec.convert({"severities": actions, "exceptions": {code: exception}}, DecisionRule)
    assert rule.action(Issue(code, "error", None, "")) != "ACCEPT"


def test_an_exception_is_for_a_code_or_for_one_of_its_severities() -> None:
    severities = '[severities]\nerror = "FIX"\nwarning = "CONFIRM"\ninfo = "ACCEPT"\n'
    exceptions = '[exceptions]\n"ADMIN_CONFLICT/warning" = "FIX"\nADMIN_ALIAS = "CONFIRM"'
    rule = load_rule(severities + exceptions)
    assert rule.action(issue("ADMIN_CONFLICT", "en", severity="warning")) == "FIX"
    assert rule.action(issue("ADMIN_ALIAS", "en")) == "CONFIRM"
    assert rule.action(issue("ADMIN_INFERRED", "en")) == "ACCEPT"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "severities = 1",
        "[severities]\nerror = 'ACCEPT'\nwarning = 'CONFIRM'\ninfo = 'ACCEPT'",
        "[severities]\nerror = 'FIX'",
    ],
)
def test_a_rule_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="decision rule"):
        load_rule(text)


def test_every_issue_has_a_text_in_both_languages() -> None:
    rows = list(issue_rows())
    assert [row[0] for row in rows] == list(CATALOGUE)
    assert all(
        not zh.isascii() and en.replace("…", "").replace("“", "").replace("”", "").isascii() for *_, zh, en in rows
    )
