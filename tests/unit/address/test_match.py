"""What two addresses may be called, and what no likeness may override."""

import os
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addrmesh.address.match import LABELS, LEVELS, Match, Model, Reading, Side, guards, load_model, match, prepare
from addrmesh.address.normalize import normalize
from addrmesh.address.types import Component
from addrmesh.inference.engine import Engine
from support.engines import builtin


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model()


@pytest.fixture(scope="module")
def engine() -> Engine:
    return builtin()


def side(*parts: str, division: tuple[str | None, ...] | None = None) -> Side:
    """Put a side together from `type:text`, prepared as the node does; parts without a type are not labelled."""
    text, components = "", []
    for part in parts:
        type_, _, words = part.rpartition(":")
        words = prepare(normalize(words).text)
        if type_:
            components.append(Component(type_, len(text), len(text) + len(words), 1.0))
        text += words
    return Side(text, tuple(components), division)


def stopped(a: Side, b: Side) -> tuple[str, ...]:
    return guards(Reading(a), Reading(b))


def parsed(engine: Engine, address: str) -> Side:
    text = prepare(normalize(address).text)
    return Side(text, engine.predict([text])[0])


HOME = ("prov:浙江省", "city:湖州市", "district:安吉县", "town:梅溪镇", "road:云帆路", "roadno:18号")
INSIDE = ("poi:听松苑", "houseno:3幢", "cellno:2单元", "roomno:501室")


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("三号楼", "3号楼"),
        ("十二幢", "12栋"),
        ("二十号楼", "20幢"),
        ("3＃楼", "3号楼"),
        ("3#", "3号"),
        ("一百零五室", "105室"),
        ("五〇二室", "502室"),
        ("第三组", "3组"),
        ("18 号", "18号"),
        ("18号之2", "18-2"),
        ("18－2號", "18-2号"),
        ("负一层", "地下1层"),
        ("首层", "一层"),
        ("ａ座", "A座"),
        ("3栋 502", "3号楼502"),
    ],
)
def test_one_number_is_prepared_one_way(one: str, other: str) -> None:
    assert prepare(normalize(one).text) == prepare(normalize(other).text)


@pytest.mark.parametrize("name", ["三门峡市", "六合区", "二七区", "九江市", "五指山市", "十堰市", "四方坪", "千岛湖镇"])
def test_numerals_in_names_stay(name: str) -> None:
    assert prepare(name) == name


def test_a_blank_between_two_numbers_keeps_them_apart() -> None:
    assert prepare("3 502") != prepare("3502")


@pytest.mark.parametrize(
    ("one", "other", "guard"),
    [
        (("road:云帆路", "roadno:18号"), ("road:云帆路", "roadno:81号"), "ROADNO_DIFFERS"),
        (("road:云帆路", "roadno:18号"), ("road:云帆路", "roadno:18-2号"), "ROADNO_DIFFERS"),
        (("road:云帆路", "roadno:1-3号"), ("road:云帆路", "roadno:4号"), "ROADNO_DIFFERS"),
        (("road:云帆路", "roadno:1-3号"), ("road:云帆路", "roadno:1-4号"), "ROADNO_DIFFERS"),
        (("road:云帆路", "road:33弄", "roadno:5号"), ("road:云帆路", "road:34弄", "roadno:5号"), "ROADNO_DIFFERS"),
        (("poi:听松苑", "houseno:1号楼"), ("poi:听松苑", "houseno:11号楼"), "BUILDING_DIFFERS"),
        (("poi:听松苑", "houseno:三号楼"), ("poi:听松苑", "houseno:4幢"), "BUILDING_DIFFERS"),
        (("poi:听松苑", "houseno:A座"), ("poi:听松苑", "houseno:B座"), "BUILDING_DIFFERS"),
        (("poi:听松苑", "houseno:甲3栋"), ("poi:听松苑", "houseno:乙3栋"), "BUILDING_DIFFERS"),
        (("poi:云帆小区听松苑", "houseno:8幢"), ("poi:云帆小区望月苑", "houseno:8号楼"), "BUILDING_DIFFERS"),
        (("poi:听松苑", "cellno:2单元"), ("poi:听松苑", "cellno:一单元"), "SUBPREMISE_DIFFERS"),
        (("poi:听松苑", "floorno:2层"), ("poi:听松苑", "floorno:3楼"), "SUBPREMISE_DIFFERS"),
        (("poi:听松苑", "roomno:506室"), ("poi:听松苑", "roomno:605"), "SUBPREMISE_DIFFERS"),
        (("poi:听松苑", "roomno:2-501"), ("poi:听松苑", "cellno:2单元", "roomno:502室"), "SUBPREMISE_DIFFERS"),
        (("community:石桥村", "village_group:三组"), ("community:石桥村", "village_group:4组"), "NUMBER_DIFFERS"),
        (("poi:听松苑", "subpoi:一期"), ("poi:听松苑", "subpoi:二期"), "NUMBER_DIFFERS"),
        (("road:解放东路", "roadno:9号"), ("road:解放西路", "roadno:9号"), "ROAD_DIFFERS"),
        (("road:纬三路",), ("road:纬四路",), "ROAD_DIFFERS"),
        (("road:三号路",), ("road:十三号路",), "ROAD_DIFFERS"),
        (("road:环城北路西段",), ("road:环城北路东段",), "ROAD_DIFFERS"),
        (("city:湖州市", "road:云帆路"), ("city:嘉兴市", "road:云帆路"), "DIVISION_DIFFERS"),
        (("district:安吉县", "road:云帆路"), ("district:德清县", "road:云帆路"), "DIVISION_DIFFERS"),
        (("town:梅溪镇", "road:云帆路"), ("town:递铺街道", "road:云帆路"), "DIVISION_DIFFERS"),
    ],
)
def test_what_differs_is_named_and_never_exact(
    model: Model, one: tuple[str, ...], other: tuple[str, ...], guard: str
) -> None:
    a, b = side(*one), side(*other)
    assert guard in stopped(a, b)
    assert match(a, b, model).probabilities["exact_match"] == 0.0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("road:云帆路", "roadno:18号"), ("road:云帆路", "roadno:018号")),
        (("road:云帆路", "roadno:1-9号"), ("road:云帆路", "roadno:3号")),
        (("poi:听松苑", "houseno:3幢"), ("poi:听松苑", "houseno:三号楼")),
        (("poi:听松苑", "houseno:3幢", "roomno:501"), ("poi:听松苑", "houseno:3栋")),
        (("poi:听松苑", "houseno:甲3栋"), ("poi:听松苑", "houseno:3甲栋")),
        (("poi:云帆小区听松苑", "houseno:8幢"), ("poi:听松苑云帆小区望月苑", "houseno:8幢")),
        (("poi:金夏苑", "houseno:8幢"), ("poi:金厦苑", "houseno:8幢")),
        (("poi:听松苑", "roomno:2-501"), ("poi:听松苑", "cellno:2单元", "roomno:501室")),
        (("poi:听松苑", "roomno:3-2-501"), ("poi:听松苑", "houseno:3栋", "cellno:2单元", "roomno:501室")),
        (("district:安吉县", "road:云帆路"), ("prov:浙江省", "road:云帆路")),
        (("prov:新疆维吾尔自治区", "road:云帆路"), ("prov:新疆", "road:云帆路")),
        (("city:昆山市", "road:云帆路"), ("city:苏州市", "district:昆山市", "road:云帆路")),
        (("district:双流县", "road:云帆路"), ("district:双流区", "road:云帆路")),
        (("prov:北京市", "road:云帆路"), ("city:北京市", "road:云帆路")),
        (("road:纬三路",), ("road:纬3路",)),
        (("road:文一路",), ("road:文一西路",)),
        (("road:北林和中路",), ("road:林和中路",)),
    ],
)
def test_two_ways_to_write_one_thing_are_no_difference(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert stopped(side(*one), side(*other)) == ()


def test_numbers_the_tagger_missed_still_count() -> None:
    a, b = side("poi:听松苑", "乙方仓 7"), side("poi:听松苑", "乙方仓 9")
    assert "NUMBER_DIFFERS" in stopped(a, b)


def test_numbers_tagged_differently_still_count() -> None:
    a, b = side("road:云帆路", "roadno:18", "poi:听松苑"), side("road:云帆路", "houseno:81", "poi:听松苑")
    assert stopped(a, b) != ()


# ---------------------------------------------------------------- divisions


def test_validated_codes_overrule_names() -> None:
    a = side("district:即墨市", "road:云帆路", division=("370000", "370200", "370215", None))
    b = side("district:即墨区", "road:云帆路", division=("370000", "370200", "370215", None))
    elsewhere = side("district:即墨区", "road:云帆路", division=("370000", "370200", "370214", None))
    assert stopped(a, b) == ()
    assert stopped(a, elsewhere) == ("DIVISION_DIFFERS",)


def test_a_renamed_district_with_one_code_is_no_difference() -> None:
    a = side("district:渌口区", "road:云帆路", division=("430000", "430200", "430212", None))
    b = side("district:株洲县", "road:云帆路", division=("430000", "430200", "430212", None))
    assert stopped(a, b) == ()


def test_an_unknown_code_is_no_difference() -> None:
    a = side("road:云帆路", division=("330000", "330500", None, None))
    b = side("road:云帆路", division=("330000", "330500", "330523", None))
    assert stopped(a, b) == ()


def test_one_road_in_two_cities_is_no_match(model: Model) -> None:
    answer = match(side("city:湖州市", *HOME[4:]), side("city:嘉兴市", *HOME[4:]), model)
    assert (answer.label, answer.guards) == ("not_match", ("DIVISION_DIFFERS",))


def test_a_code_alone_can_tell_two_cities(model: Model) -> None:
    answer = match(
        side(*HOME[4:], division=("330000", "330500", None, None)),
        side(*HOME[4:], division=("330000", "330400", None, None)),
        model,
    )
    assert answer.label == "not_match"


# ---------------------------------------------------------------- what the answer says


def test_differences_name_both_sides(model: Model) -> None:
    answer = match(side(*HOME, *INSIDE), side(*HOME, *INSIDE[:3], "roomno:605室"), model)
    assert [tuple(d) for d in answer.differences] == [("roomno", "501室", "605室")]
    assert answer.guards == ("SUBPREMISE_DIFFERS",)
    assert answer.deepest_common_level == "PREMISE"
    assert answer.label == "partial_match"


@pytest.mark.parametrize(
    ("one", "other", "level"),
    [
        (HOME[:1], HOME[:1], "PROVINCE"),
        (HOME[:2], HOME[:3], "CITY"),
        (HOME[:3], HOME[:3], "DISTRICT"),
        (HOME[:4], HOME[:4], "TOWN"),
        ((*HOME[:4], "community:石桥村"), (*HOME[:4], "community:石桥村"), "VILLAGE"),
        (HOME[:5], HOME, "ROUTE"),
        (HOME, (*HOME[:5], "roadno:20号"), "ROUTE"),
        (HOME, (*HOME, *INSIDE), "PREMISE"),
        ((*HOME, *INSIDE[:2]), (*HOME, *INSIDE), "SUB_PREMISE"),
        (HOME, ("prov:浙江省", "city:嘉兴市", *HOME[4:]), "PROVINCE"),
        (("road:云帆路",), ("road:听雨巷",), "NONE"),
    ],
)
def test_the_deepest_common_level(model: Model, one: tuple[str, ...], other: tuple[str, ...], level: str) -> None:
    assert match(side(*one), side(*other), model).deepest_common_level == level
    assert match(side(*other), side(*one), model).deepest_common_level == level


def test_the_model_alone_tells_three_plain_cases(model: Model, engine: Engine) -> None:
    whole = parsed(engine, "浙江省湖州市安吉县梅溪镇云帆路18号听松苑3幢")
    assert match(whole, parsed(engine, "安吉县梅溪镇云帆路18号听松苑3幢2单元501"), model).label == "exact_match"
    assert match(whole, parsed(engine, "云帆路18号听松苑南门"), model).label == "partial_match"
    assert match(whole, parsed(engine, "宏图大道与凤凰街交叉口西200米百川商贸城"), model).label == "not_match"


def test_a_pair_takes_well_under_two_milliseconds(model: Model) -> None:
    a, b = side(*HOME, *INSIDE), side(*HOME[2:], "poi:听松园", "houseno:3幢")
    match(a, b, model)
    started = time.process_time()
    for _ in range(50):
        match(a, b, model)
    assert (time.process_time() - started) / 50 < 0.002


ASK = """
from addrmesh.address.match import Side, load_model, match, prepare
from addrmesh.address.types import Component
types = [("district", 0, 3), ("road", 3, 6), ("roadno", 6, 9), ("poi", 9, 12)]
one = Side("安吉县云帆路18号听松苑", [Component(*one, 1.0) for one in types])
other = Side("梅溪镇听松园(南门)", (Component("town", 0, 3, 1.0), Component("poi", 3, 6, 1.0)))
print(match(one, other, load_model()))
"""


def test_the_answer_is_the_same_to_the_last_bit_in_every_process() -> None:
    answers = {
        subprocess.run(
            [sys.executable, "-c", ASK], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(answers) == 1
    assert b"partial_match" in answers.pop()


# ---------------------------------------------------------------- properties

NAMES = st.sampled_from(["听松苑", "云帆广场", "百川大厦", "石桥小学", "明月里"])
PLACES = st.builds(
    lambda head, road, no, poi, house, unit, room: [
        *head,
        f"road:{road}",
        f"roadno:{no}号",
        f"poi:{poi}",
        f"houseno:{house}幢",
        f"cellno:{unit}单元",
        f"roomno:{room}室",
    ],
    st.sampled_from([HOME[:4], HOME[2:4], HOME[:1], ("city:嘉兴市", "district:南湖区"), ()]),
    st.sampled_from(["云帆路", "听雨东路", "听雨西路", "纬三路", "凤凰大道"]),
    st.integers(1, 300),
    NAMES,
    st.integers(1, 60),
    st.integers(1, 6),
    st.integers(101, 3999),
)
NUMBERED = {"roadno": 300, "houseno": 60, "cellno": 6, "roomno": 3999}


def flipped(answer: Match) -> Match:
    return answer._replace(differences=tuple([d._replace(a=d.b, b=d.a) for d in answer.differences]))


@settings(max_examples=60, deadline=None)
@given(PLACES, PLACES)
def test_exchanging_the_sides_changes_nothing(one: list[str], other: list[str]) -> None:
    model = load_model()
    assert match(side(*one), side(*other), model) == flipped(match(side(*other), side(*one), model))


@settings(max_examples=60, deadline=None)
@given(PLACES)
def test_an_address_is_exactly_itself(one: list[str]) -> None:
    answer = match(side(*one), side(*one), load_model())
    assert (answer.label, answer.differences, answer.guards) == ("exact_match", (), ())
    assert answer.deepest_common_level == "SUB_PREMISE"


@settings(max_examples=100, deadline=None)
@given(PLACES, st.sampled_from(sorted(NUMBERED)), st.integers(1, 5000), st.booleans())
def test_another_number_is_never_exact(one: list[str], which: str, number: int, shorter: bool) -> None:
    at = next(i for i, part in enumerate(one) if part.startswith(f"{which}:"))
    unit = one[at].lstrip(f"{which}:0123456789")
    changed = [*one[:at], f"{which}:{number}{unit}", *one[at + 1 :]]
    if shorter:
        changed = [part for part in changed if part.partition(":")[0] not in ("prov", "city", "district", "town")]
    answer = match(side(*one), side(*changed), load_model())
    same = one[at] == f"{which}:{number}{unit}"
    assert same or (answer.label != "exact_match" and answer.probabilities["exact_match"] == 0.0)
    assert same or answer.guards


@settings(max_examples=60, deadline=None)
@given(PLACES, PLACES)
def test_probabilities_are_probabilities_and_the_label_is_the_likeliest(one: list[str], other: list[str]) -> None:
    answer = match(side(*one), side(*other), load_model())
    assert set(answer.probabilities) == set(LABELS)
    assert sum(answer.probabilities.values()) == pytest.approx(1.0)
    assert min(answer.probabilities.values()) >= 0.0
    assert answer.score == max(answer.probabilities.values())
    assert answer.deepest_common_level in LEVELS


DIGITS = "零一二三四五六七八九"


def in_words(number: int) -> str:
    """Write 1 to 99 as people say it."""
    tens, ones = divmod(number, 10)
    return (("" if tens == 1 else DIGITS[tens]) + "十" if tens else "") + (DIGITS[ones] if ones or not tens else "")


@settings(max_examples=60, deadline=None)
@given(PLACES, st.integers(1, 99), st.integers(1, 9), st.sampled_from(["幢", "栋", "号楼"]), st.booleans())
def test_how_it_is_written_changes_nothing(one: list[str], house: int, unit: int, word: str, wide: bool) -> None:
    model = load_model()
    base = [part for part in one if not part.startswith(("houseno", "cellno"))]
    plain = [*base, f"houseno:{house}幢", f"cellno:{unit}单元"]
    other = [*base, f"houseno:{in_words(house)}{word}", f"cellno: {DIGITS[unit]} 单元"]
    if wide:
        other = [part.translate({ord("0") + i: ord("０") + i for i in range(10)}) for part in other]
    against = side(*HOME, *INSIDE)
    assert match(side(*plain), against, model) == match(side(*other), against, model)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.sampled_from(["安吉县", "云帆路", "18号", "听松苑", "3幢", "三", "-", "2-501", "A座", "(", "米"]), max_size=8
    )
)
def test_any_text_gets_an_answer(parts: list[str]) -> None:
    one, other = side("x", *parts), side("x", *reversed(parts))
    assert match(one, other, load_model()).label in LABELS


MUTATED = [
    ("浙江省湖州市安吉县梅溪镇云帆路18号听松苑3幢2单元501室", "浙江省湖州市安吉县梅溪镇云帆路81号听松苑3幢2单元501室"),
    ("湖州市安吉县云帆路18号听松苑1号楼", "安吉县云帆路18号听松苑11号楼"),
    ("安吉县听松苑3-2-501", "安吉县听松苑3-2-502"),
    ("安吉县听松苑三期12栋", "安吉县听松苑二期12栋"),
    ("云帆路33弄5号602", "云帆路33弄5号603"),
    ("云帆路与听雨街交叉口北100米明月超市", "云帆路与听雨街交叉口北200米明月超市"),
    ("石桥村四组27号", "石桥村五组27号"),
    ("百川大厦A座1203", "百川大厦B座1203"),
    ("杭州市云帆路18号百川大厦", "宁波市云帆路18号百川大厦"),
]


@pytest.mark.parametrize(("one", "other"), MUTATED)
def test_through_the_tagger_another_number_or_city_is_never_exact(
    model: Model, engine: Engine, one: str, other: str
) -> None:
    answer = match(parsed(engine, one), parsed(engine, other), model)
    assert answer.guards
    assert answer.label != "exact_match"
