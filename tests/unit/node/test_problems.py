import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from addrmesh import errors
from addrmesh.node import catalogue, lifecycle, openapi
from addrmesh.node.operations import PARSE
from addrmesh.node.problems import BY_CODE, KINDS, BadRequest, headers_of, invalid_body, kind_of, problem


def every(cls):
    return {cls}.union(*(every(child) for child in cls.__subclasses__()))


def test_every_error_that_can_meet_a_request_has_its_row():
    expected = {
        errors.InvalidText: 422, errors.TextTooLong: 413, errors.Overloaded: 503, errors.RateLimited: 429,
        errors.DeadlineExceeded: 504, errors.NotReady: 503, lifecycle.Draining: 503, lifecycle.WrongRelease: 503,
        errors.EngineError: 500,
    }  # fmt: skip
    for error, status in expected.items():
        assert kind_of(error.__new__(error)).status == status, error


def test_every_error_of_the_tree_becomes_some_problem():
    for error in every(errors.AddrmeshError) - {BadRequest}:
        assert kind_of(error.__new__(error)) in KINDS


def test_an_error_nobody_foresaw_shows_nothing_of_itself():
    document = problem(ValueError("浙江省杭州市"), "r-1")
    assert (document.status, document.code) == (500, "internal")
    assert "浙江" not in str(document)


def test_an_unavailable_node_says_when_to_come_back():
    error = errors.Overloaded("busy", retry_after_s=0.0301)
    assert problem(error, "r").retry_after_ms == 31
    assert headers_of(error) == ((b"retry-after", b"1"),)


def test_codes_are_unique_and_named_in_both_languages():
    assert len(BY_CODE) == len(KINDS) == len(catalogue.PROBLEM_NAMES)
    assert all(kind.en.isascii() and not kind.zh.isascii() for kind in KINDS)


def test_the_openapi_document_promises_only_codes_of_the_catalogue():
    promised = {
        code
        for operation in openapi._OPERATIONS.values()
        for response in operation["responses"].values()
        for code in response.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }
    assert promised <= BY_CODE.keys()


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_what_is_wrong_with_a_body_is_said_without_quoting_it(name, value):
    marked = "门牌" + value
    for body in (
        {"address": "1", "门牌" + name: 1},
        {"address": "1", "options": {"tagset": marked}},
        {"address": {marked: 1}},
        {"address": [marked]},
    ):
        with pytest.raises(msgspec.ValidationError) as refused:
            PARSE.decode(msgspec.json.encode(_encodable(body)))
        assert "门牌" not in str(problem(invalid_body(refused.value), "r"))


def _encodable(value):
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return [_encodable(item) for item in value] if isinstance(value, list) else value
