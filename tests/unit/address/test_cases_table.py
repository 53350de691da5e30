"""The tables of hard cases are sound: their form, their facts against the division tables, their balance."""

import csv
import json
import os
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from addrmesh.address.types import COMPONENT_TYPES

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("LABELLED_DATA", ROOT.parent / "shared" / "data"))
TABLE: list[dict[str, Any]] = [
    case
    for name in ("validate", "validate_blind", "validate_unseen")
    for case in yaml.safe_load((ROOT / f"tests/cases/{name}.yaml").read_text("utf-8"))
]

ACTIONS = {"ACCEPT", "CONFIRM", "FIX"}
GRANULARITIES = {"NONE", "PROVINCE", "CITY", "DISTRICT", "TOWN", "VILLAGE", "ROUTE", "PREMISE", "SUB_PREMISE"}
NEVER_ACCEPTED = {
    "ADMIN_MISSING", "ADMIN_AMBIGUOUS", "ADMIN_CONFLICT", "ADMIN_OUTDATED", "ROAD_MISSING", "PREMISE_MISSING",
    "SPELL_CORRECTED", "TRANSLITERATED", "MULTIPLE_ADDRESSES", "NOT_AN_ADDRESS", "REGION_UNSUPPORTED",
}  # fmt: skip
ISSUES = NEVER_ACCEPTED | {
    "ADMIN_INFERRED", "ADMIN_ALIAS", "ADMIN_REPEATED", "ADMIN_FUNCTIONAL_ZONE", "SUBPREMISE_MISSING",
    "SCRIPT_CONVERTED", "WIDTH_NORMALIZED", "REORDERED", "CONTACT_REMOVED", "NOISE_REMOVED", "UNRESOLVED_TOKENS",
    "POSTCODE_MISMATCH",
}  # fmt: skip
ALWAYS_FIXED = {"MULTIPLE_ADDRESSES", "NOT_AN_ADDRESS", "REGION_UNSUPPORTED", "ADMIN_AMBIGUOUS", "ADMIN_MISSING"}
DIVISION = {"prov", "city", "district", "town", "adcode", "town_code"}
EXPECT = DIVISION | {"action", "granularity", "fields", "receiver", "issues", "not_issues", "candidates"}
INPUT = {"address_lines", "administrative_area", "locality", "district", "postal_code", "region_code"}
MUNICIPALITIES = {"11", "12", "31", "50"}
PSEUDO_CITIES = {"省直辖县级行政区划", "自治区直辖县级行政区划"}

each_case = pytest.mark.parametrize("case", TABLE, ids=[case["id"] for case in TABLE])


def actions(case: dict[str, Any]) -> set[str]:
    action = case["expect"]["action"]
    return {action} if isinstance(action, str) else set(action)


def words(case: dict[str, Any]) -> str:
    """Return all text of the input."""
    given = case["input"]
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)


@cache
def rows(name: str) -> dict[str, list[list[str]]]:
    """Return the rows of a division table by code."""
    path = DATA / "gazetteer" / name
    if not path.exists():
        pytest.skip(f"the division tables are not at {path.parent}: set LABELLED_DATA to check the facts")
    table: dict[str, list[list[str]]] = {}
    with path.open(encoding="utf-8") as file:
        for row in list(csv.reader(file))[1:]:
            table.setdefault(row[0], []).append(row)
    return table


def counties() -> dict[str, list[list[str]]]:
    """Return code, province, city, name, level, state, from, to, new codes: county level and above, since 1981."""
    return rows("areacodes-history.csv")


def in_force(code: str) -> list[str]:
    found = [row for row in counties().get(code, ()) if row[5] == "在用"]
    assert found, f"{code} is not in force"
    return found[0]


def successors(code: str) -> set[str]:
    """Return every code that the code became, step by step, and the code itself."""
    reached: set[str] = set()
    ahead = [code]
    while ahead:
        code = ahead.pop()
        if code not in reached:
            reached.add(code)
            ahead += [new for row in counties()[code] for new in re.findall(r"\d{6}", row[8])]
    return reached


def check_division(case: dict[str, Any]) -> None:
    """Check that the names are those of the code; without one, that such a city is in such a province."""
    expect = case["expect"]
    code = expect.get("adcode")
    if code is None:
        assert not [key for key in ("district", "town_code") if expect.get(key)]
        province, city = expect.get("prov"), expect.get("city")
        above = [row for found in counties().values() for row in found if row[5] == "在用" and row[1] == province]
        assert above or not province
        assert not city or city in (province, *(row[3] for row in above if row[4] == "地级"))
        return
    _, province, city, name, level, *_ = in_force(code)
    assert expect["prov"] == province
    if level == "县级":
        assert expect["district"] == name
        if city != "直辖":
            assert expect["city"] == city
        elif code[:2] in MUNICIPALITIES:
            assert expect["city"] == province
        elif case.get("options", {}).get("admin_style") == "ecommerce":
            assert expect["city"] in PSEUDO_CITIES
        else:
            assert expect["city"] is None
    elif level == "地级" or code[:2] in MUNICIPALITIES:
        assert (expect["city"], expect["district"]) == (name, None)


def check_town(expect: dict[str, Any]) -> None:
    """Check that the town is in the division; without a code, that it is somewhere in the city."""
    town, code = expect.get("town") or "", expect.get("town_code")
    if code:
        assert town
        [[_, name, parent, *_]] = rows("nbs2023-streets.csv")[code]
        assert name.endswith(town)
        assert parent == expect["adcode"]
    elif town:
        names = [row[1] for [row] in rows("nbs2023-streets.csv").values() if row[2][:4] == expect["adcode"][:4]]
        assert [name for name in names if name.endswith(town)]


def check_source(source: str, wanted: set[str]) -> None:
    """Check that a row named as a source is in its table, and that a row out of force leads to what is expected."""
    table, *rest = source.split()
    match table, rest:
        case "areacodes", [code, name, span, state, "->", new]:
            row = [name, state, *span.split("-"), new.strip("-")]
            assert row in [[past[3], *past[5:]] for past in counties()[code]]
            assert wanted <= successors(code)
        case "areacodes", [code, name, *_]:
            assert in_force(code)[3] == name
        case "nbs2023-areas" | "nbs2023-streets", [code, name]:
            assert rows(f"{table}.csv")[code][0][1] == name
        case _:
            assert table not in {"areacodes", "nbs2023-areas", "nbs2023-streets"}


def test_names_and_inputs_are_unique() -> None:
    asked = [json.dumps([case.get(key) for key in ("input", "options", "region_hint")]) for case in TABLE]
    for values in ([case["id"] for case in TABLE], asked):
        assert not [value for value, times in Counter(values).items() if times > 1]


def test_there_are_enough_cases_of_every_class_and_action() -> None:
    assert len(TABLE) >= 240
    assert min(Counter(case["class"] for case in TABLE).values()) >= 8
    sole = Counter(next(iter(actions(case))) for case in TABLE if len(actions(case)) == 1)
    assert min(sole[action] for action in ACTIONS) >= 80


def test_at_most_one_case_in_ten_leaves_the_action_open() -> None:
    assert sum(len(actions(case)) > 1 for case in TABLE) <= len(TABLE) / 10


def test_every_province_is_examined() -> None:
    provinces = {row[3] for past in counties().values() for row in past if row[4] == "省级" and row[5] == "在用"}
    assert len(provinces) == 34
    assert provinces <= {case["expect"].get("prov") for case in TABLE}


@each_case
def test_the_form_of_a_case(case: dict[str, Any]) -> None:
    required = {"id", "class", "input", "expect", "source", "why"}
    assert required <= set(case) <= required | {"options", "region_hint"}
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", case["id"])
    assert words(case).strip()
    if not isinstance(case["input"], str):
        assert set(case["input"]) <= INPUT
        assert all(isinstance(line, str) and line for line in case["input"]["address_lines"])
    assert "text itself" in case["source"]
    assert case["why"]

    expect = case["expect"]
    assert set(expect) <= EXPECT
    assert actions(case) < ACTIONS
    assert expect.get("granularity", "NONE") in GRANULARITIES
    assert set(expect.get("fields", {})) <= set(COMPONENT_TYPES) - DIVISION
    assert set(expect.get("receiver", {})) <= {"name", "phone"}
    present, absent = set(expect.get("issues", ())), set(expect.get("not_issues", ()))
    assert present | absent <= ISSUES
    assert not present & absent


@each_case
def test_what_is_accepted_is_decided_and_what_is_not_decided_is_fixed(case: dict[str, Any]) -> None:
    expect = case["expect"]
    issues = set(expect.get("issues", ()))
    if "ACCEPT" in actions(case):
        assert expect["adcode"]
        assert not issues & NEVER_ACCEPTED
    if issues & ALWAYS_FIXED:
        assert actions(case) == {"FIX"}
    if "candidates" in expect:
        assert "ADMIN_AMBIGUOUS" in issues
        assert expect["adcode"] is None
        assert len(set(expect["candidates"])) >= 2


@each_case
def test_the_facts_of_a_case_are_in_the_division_tables(case: dict[str, Any]) -> None:
    expect = case["expect"]
    candidates = set(expect.get("candidates", ()))
    wanted = {expect["adcode"]} if expect.get("adcode") else candidates
    check_division(case)
    check_town(expect)
    for source in case["source"]:
        check_source(source, wanted)
    if not [source for source in case["source"] if " -> " in source]:
        assert len({in_force(code)[3] for code in candidates}) <= 1, "the candidates bear different names"


def test_numbers_of_persons_are_invented() -> None:
    for text in map(words, TABLE):
        for number in re.findall(r"(?<!\d)1[3-9][\d*]{9}(?!\d)", text.replace("-", "").replace("+86 ", "")):
            assert "00000" in number or "****" in number
        for number in re.findall(r"(?<!\d)\d{17}[\dX](?!\d)", text):
            assert number[6:10] == "1900"


def test_no_input_is_a_labelled_text() -> None:
    corpora = [DATA / name for name in ("ccks21-addr", "naacl19-addr", "ccks21-addr-pairs")]
    if not all(corpus.is_dir() for corpus in corpora):
        pytest.skip(f"the labelled texts are not under {DATA}: set LABELLED_DATA to compare")
    asked = {re.sub(r"\d", "0", case["input"]) for case in TABLE if isinstance(case["input"], str)}
    compared = 0
    for path in (path for corpus in corpora for path in corpus.iterdir() if path.name != "README.md"):
        lines = re.sub(r"\d", "0", path.read_text("utf-8")).splitlines()
        tokens = "".join(line.split()[0] if line.strip() else "\n" for line in lines)
        texts = {cell for line in lines for cell in line.split("\t")} | set(tokens.split("\n"))
        compared += len(texts)
        assert not {text for text in asked & texts if len(text) > 8}
    assert compared > 10_000
