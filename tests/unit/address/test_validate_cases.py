"""Every hard case, through the built-in model as it is served."""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from addrmesh.address import divisions
from addrmesh.address.normalize import normalize
from addrmesh.address.reading import read, text_of
from addrmesh.address.validate import validate, validate_without_engine
from addrmesh.address.verdict import Request, Result
from support.engines import builtin

ROOT = Path(__file__).parents[3]
TABLE: list[dict[str, Any]] = [
    case
    for name in ("validate", "validate_blind", "validate_unseen")
    for case in yaml.safe_load((ROOT / f"tests/cases/{name}.yaml").read_text("utf-8"))
]
DIVISION = ("prov", "city", "district", "adcode")


@cache
def answers() -> dict[str, Result]:
    readings = [read(request(case)) for case in TABLE]
    texts = [reading.canonical.text for reading in readings]
    tagged = dict(zip(filled := list(filter(None, texts)), builtin().predict(filled), strict=True))
    return {
        case["id"]: validate(reading, tagged.get(text, ()))
        for case, reading, text in zip(TABLE, readings, texts, strict=True)
    }


def request(case: dict[str, Any]) -> Request:
    rest = {key: case[key] for key in ("options", "region_hint") if key in case}
    rest.setdefault("options", {}).setdefault("candidates", 20)
    return msgspec.convert({"address": case["input"], **rest}, Request)


def wrong(case: dict[str, Any], result: Result) -> Iterator[str]:
    """Yield the keys of the expectation that the answer misses, with what it has."""
    expect = case["expect"]
    parts: dict[str, list[str]] = {}
    for component in result.address.components:
        parts.setdefault(component.type, []).append(component.text)
    action = result.verdict.possible_next_action
    if action not in ([expect["action"]] if isinstance(expect["action"], str) else expect["action"]):
        yield f"action {action}"
    for level in ("prov", "city", "district", "town"):
        if level in expect and not same_name(level, expect[level], parts.get(level, [])):
            yield f"{level} {parts.get(level)}"
    for code in ("adcode", "town_code"):
        if code in expect and getattr(result.address, code) != expect[code]:
            yield f"{code} {getattr(result.address, code)}"
    for kind, texts in expect.get("fields", {}).items():
        wanted = [texts] if isinstance(texts, str) else texts
        if not {normalize(text).text for text in wanted} <= set(parts.get(kind, ())):
            yield f"fields.{kind} {parts.get(kind)}"
    for part, text in expect.get("receiver", {}).items():
        if result.receiver is None or getattr(result.receiver, part) != text:
            yield f"receiver.{part} {result.receiver}"
    codes = {issue.code for issue in result.issues}
    for code in expect.get("issues", ()):
        if code not in codes:
            yield f"issues lacks {code}"
    for code in expect.get("not_issues", ()):
        if code in codes:
            yield f"issues has {code}"
    if "granularity" in expect and result.verdict.input_granularity != expect["granularity"]:
        yield f"granularity {result.verdict.input_granularity}"
    if "candidates" in expect:
        found = {candidate.adcode for candidate in result.candidates}
        if len(found) < 2 or not found <= set(expect["candidates"]):
            yield f"candidates {found}"


def same_name(level: str, wanted: str | None, found: list[str]) -> bool:
    if wanted is None or not found:
        return wanted is None and not found
    return wanted in found or (
        level == "town" and any(text.endswith(wanted) or wanted.endswith(text) for text in found)
    )


@pytest.mark.parametrize("case", TABLE, ids=[case["id"] for case in TABLE])
def test_the_answer_is_right(case: dict[str, Any]) -> None:
    result = answers()[case["id"]]
    assert not list(wrong(case, result)), msgspec.json.encode(result).decode()


def test_no_case_is_accepted_that_must_not_be() -> None:
    never = [c["id"] for c in TABLE if "ACCEPT" not in c["expect"]["action"]]
    accepted = [name for name in never if answers()[name].verdict.possible_next_action == "ACCEPT"]
    mistaken = [
        c["id"]
        for c in TABLE
        if answers()[c["id"]].verdict.possible_next_action == "ACCEPT"
        and any(w.startswith(("prov", "city", "district", "adcode", "town")) for w in wrong(c, answers()[c["id"]]))
    ]
    assert accepted + mistaken == []


def test_divisions_actions_and_fields_are_right_often_enough() -> None:
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for case in TABLE:
        missed = [line.split()[0] for line in wrong(case, answers()[case["id"]])]
        expect = case["expect"]
        asked["action"] += 1
        right["action"] += "action" not in missed
        if "adcode" in expect:
            asked["division"] += 1
            right["division"] += not set(missed) & set(DIVISION)
        for kind in expect.get("fields", {}):
            asked["fields"] += 1
            right["fields"] += f"fields.{kind}" not in missed
    share = {what: right[what] / asked[what] for what in asked}
    assert share["division"] >= 0.97
    assert share["action"] >= 0.95
    assert share["fields"] >= 0.90


@pytest.mark.parametrize("case", TABLE, ids=[case["id"] for case in TABLE])
def test_an_answer_keeps_its_promises(case: dict[str, Any]) -> None:
    result, text = answers()[case["id"]], text_of(request(case))
    for component in result.address.components:
        if component.span is not None:
            assert text[slice(*component.span)] == component.input_text
        if component.confirmation_level == "CONFIRMED" and component.code:
            held = divisions.by_code(component.code)
            assert held is not None
            assert held.name == component.text
    if result.verdict.possible_next_action == "FIX":
        assert any(issue.severity == "error" for issue in result.issues)


def test_nothing_is_accepted_without_an_engine() -> None:
    readings = [read(request(case)) for case in TABLE]
    assert {validate_without_engine(reading).verdict.possible_next_action for reading in readings} == {"CONFIRM", "FIX"}
