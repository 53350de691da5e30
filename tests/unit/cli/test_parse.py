import pytest

from addrmesh.address.types import COMPONENT_TYPES, TYPE_NAMES
from addrmesh.address.wire import ParseResult, WireComponent
from addrmesh.cli import parse, terminal

RESULT = ParseResult(
    [
        WireComponent("road", "文一路", "文一路", (0, 3), 0.987),
        WireComponent("roadno", "9号", "９号", (3, 5), 0.5),
    ]
)


def test_every_component_type_has_a_chinese_name_and_a_colour_of_its_own() -> None:
    assert set(TYPE_NAMES) == set(COMPONENT_TYPES)
    assert len(set(parse.COLOR_BY_TYPE.values())) == len(COMPONENT_TYPES)


def test_the_table_lines_up_wide_characters() -> None:
    assert parse._table(RESULT).splitlines() == [
        "type    名称    text    confidence",
        "road    道路    文一路  0.99",
        "roadno  门牌号  9号     0.50",
    ]


def test_the_picture_is_readable_without_its_colours() -> None:
    picture = parse._picture("文一路９号 完", RESULT)
    plain = "".join(piece.partition("m")[2] if i else piece for i, piece in enumerate(picture.split("\x1b[")))
    assert plain.startswith("文一路９号 完\n")
    assert "■ road " in plain


def test_an_address_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in terminal.visible("a\x1b[2Jb\u202ec")


def test_an_address_without_components_says_so() -> None:
    assert parse._table(ParseResult([])) == "no component found\n"


def test_bytes_of_an_argument_that_are_no_text_are_replaced() -> None:
    assert list(terminal.addresses(["a\udcffb"])) == ["a\ufffdb"]


@pytest.mark.parametrize("type_", ["roomno"])
def test_the_mgeo_tagset_leaves_out_what_mgeo_does_not_know(type_: str) -> None:
    from addrmesh.address.normalize import normalize
    from addrmesh.address.types import Component
    from addrmesh.address.wire import to_wire

    components = [Component("road", 0, 1, 1.0), Component(type_, 1, 2, 1.0)]
    assert [c.type for c in to_wire("ab", normalize("ab"), components, "mgeo").components] == ["road"]
    assert [c.type for c in to_wire("ab", normalize("ab"), components).components] == ["road", type_]
