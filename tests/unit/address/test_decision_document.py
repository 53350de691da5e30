"""The configuration document `decision-rule`: what it may say."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from addrmesh.address.decision import decision_rule
from addrmesh.address.issues import CATALOGUE
from addrmesh.address.verdict import ACTIONS, SEVERITIES, Issue, default_rule
from addrmesh.errors import ConfigError

SEVERE = {"error": "FIX", "warning": "CONFIRM", "info": "ACCEPT"}
keys = st.builds(
    "{}{}".format, st.sampled_from([*CATALOGUE, "X"]), st.sampled_from(["", *map("/{}".format, SEVERITIES)])
)
actions = st.sampled_from([*ACTIONS, "MAYBE", None])
rules = st.fixed_dictionaries(
    {"severities": st.dictionaries(st.sampled_from(SEVERITIES), actions)},
    optional={"exceptions": st.dictionaries(keys, actions, max_size=3)},
)


def test_the_package_s_own_rule_is_a_document() -> None:
    text = files("addrmesh.address").joinpath("decision_rule.toml").read_text("utf-8")
    assert decision_rule(tomllib.loads(text)) == default_rule()


def test_the_command_on_the_page_writes_a_rule_that_is_accepted() -> None:
    page = (Path(__file__).parents[3] / "docs/explanation/decision-rule.md").read_text("utf-8")
    pasted = page.partition("<<'END'\n")[2].partition("\nEND\n")[0]
    assert decision_rule(yaml.safe_load(pasted)).exceptions["ADMIN_INFERRED/warning"] == "FIX"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "the document: found nothing, expected severities or exceptions"),
        ([SEVERE], "the document: found"),
        ({"severities": SEVERE, "more": 1}, "the document: found 'more', expected severities or exceptions"),
        ({}, "severities: found nothing, expected an action for each of info, warning, error"),
        ({"severities": {"error": "FIX"}}, "severities: found ['error'], expected an action for each of info"),
        (
            {"severities": {**SEVERE, "info": "accept"}},
            "severities.info: found 'accept', expected ACCEPT, CONFIRM or FIX",
        ),
        (
            {"severities": {**SEVERE, "info": ["FIX"]}},
            "severities.info: found ['FIX'], expected ACCEPT, CONFIRM or FIX",
        ),
        ({"severities": {**SEVERE, "error": "ACCEPT"}}, "severities.error: found 'ACCEPT', expected CONFIRM or FIX"),
        ({"severities": SEVERE, "exceptions": None}, "exceptions: found nothing"),
        ({"severities": SEVERE, "exceptions": {7: "FIX"}}, "exceptions: found '7', expected a code of docs/"),
    ],
)
def test_a_document_is_refused_for_its_key_with_what_was_found_and_expected(content: Any, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        decision_rule(content)
    assert str(refused.value).startswith(f"decision-rule: {told}")


@pytest.mark.parametrize(
    ("key", "action", "told"),
    [
        ("SUBPREMISE_MISING", "FIX", "did you mean SUBPREMISE_MISSING?"),
        ("ADMIN_OUTDATED/hard", "FIX", "found 'ADMIN_OUTDATED/hard', expected ADMIN_OUTDATED/warning"),
        ("ADMIN_OUTDATED", "STOP", "exceptions.ADMIN_OUTDATED: found 'STOP', expected ACCEPT, CONFIRM or FIX"),
        ("NOT_AN_ADDRESS", "ACCEPT", "an error is never accepted"),
        ("ADMIN_CONFLICT/error", "ACCEPT", "an error is never accepted"),
        ("ADMIN_CONFLICT", "ACCEPT", "ADMIN_CONFLICT/warning may be accepted"),
    ],
)
def test_an_exception_is_refused_for_what_is_wrong_with_it(key: str, action: str, told: str) -> None:
    with pytest.raises(ConfigError, match=r"^decision-rule: exceptions") as refused:
        decision_rule({"severities": SEVERE, "exceptions": {key: action}})
    assert told in str(refused.value)


def test_everything_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        decision_rule({"severities": {**SEVERE, "info": 1}, "exceptions": {"A": "FIX", "ADMIN_ALIAS": "B"}})
    assert str(refused.value).count("expected") == 3


@given(rules)
def test_what_is_accepted_never_accepts_an_error_and_does_what_it_says(content: dict[str, Any]) -> None:
    try:
        rule = decision_rule(content)
    except ConfigError:
        return
    for code in CATALOGUE:
        assert rule.action(Issue(code, "error", None, "")) != "ACCEPT"
    for key, action in content.get("exceptions", {}).items():
        code, _, severity = key.partition("/")
        shadowed = not severity and any(f"{code}/{one}" in content["exceptions"] for one in SEVERITIES)
        if not shadowed:
            for one in (severity,) if severity else CATALOGUE[code].severities:
                assert rule.action(Issue(code, one, None, "")) == action
