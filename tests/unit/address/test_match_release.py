"""Guards and identity stand above whatever scores a pair; what a match release is asked has one order."""

from itertools import permutations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from addrmesh.address.match import LABELS, Reading, Side, guards, load_model, match, prepare
from addrmesh.address.match_model import MODEL_VERSION
from addrmesh.address.normalize import normalize
from addrmesh.address.questions import Matching, Scored, builtin_scorer
from addrmesh.address.types import Component

CERTAIN = (0.0, 0.0, 1.0)
PARTS = {
    "prov": ("浙江省", "江苏省"),
    "city": ("湖州市", "嘉兴市"),
    "district": ("安吉县", "德清县"),
    "road": ("云帆路", "解放东路", "解放西路"),
    "roadno": ("18号", "81号", "十八号", "18-2号"),
    "poi": ("听松苑", "望月楼"),
    "houseno": ("1号楼", "11幢", "A座"),
    "cellno": ("2单元", "二单元", "3单元"),
    "roomno": ("506室", "605室"),
}


@st.composite
def sides(draw: st.DrawFn) -> Side:
    """An address of some parts, each labelled as what it is."""
    text, components = "", []
    for type_, words in PARTS.items():
        if draw(st.booleans()):
            part = prepare(draw(st.sampled_from(words)))
            components.append(Component(type_, len(text), len(text) + len(part), 1.0))
            text += part
    return Side(text, tuple(components))


chances = st.tuples(*[st.floats(0, 1)] * 3).filter(any).map(lambda three: tuple(one / sum(three) for one in three))


@given(sides(), sides(), chances)
def test_no_scorer_makes_exact_of_what_a_guard_tells_apart(a: Side, b: Side, said: tuple[float, ...]) -> None:
    for scored in (said, CERTAIN):
        result = match(a, b, load_model(), scored)
        if guards(Reading(a), Reading(b)):
            assert result.label != "exact_match"
            assert result.probabilities["exact_match"] == 0
            assert result.probabilities["not_match"] >= scored[0]
        elif a.text and a.text == b.text:
            assert result.probabilities["exact_match"] == 1
        else:
            assert tuple(result.probabilities[label] for label in LABELS) == scored


def test_every_kind_of_number_is_told_apart_whatever_the_scorer_says() -> None:
    for type_ in ("roadno", "houseno", "cellno", "roomno", "road", "district", "city", "prov"):
        for one, other in permutations(PARTS[type_][-2:]):
            a, b = (Side(text := prepare(word), (Component(type_, 0, len(text), 1.0),)) for word in (one, other))
            result = match(a, b, load_model(), CERTAIN)
            assert result.label != "exact_match", (one, other)
            if type_ in ("city", "prov"):
                assert result.label == "not_match"


def test_the_same_text_is_exact_whatever_the_scorer_says() -> None:
    a = Side("云帆路18号", (Component("road", 0, 3, 1.0), Component("roadno", 3, 6, 1.0)))
    assert match(a, a, load_model(), (1.0, 0.0, 0.0)).label == "exact_match"


@given(st.text("云帆路18号-[a ", min_size=1, max_size=9), st.text("云帆路18号-[a ", min_size=1, max_size=9))
@example("云帆路", "路云帆")
def test_the_order_of_two_addresses_is_not_what_a_release_is_asked(one: str, other: str) -> None:
    a, b = (prepare(normalize(text).text) for text in (one, other))
    there, back = (Matching(*texts, explain=True).pair(100) for texts in ((a, b), (b, a)))
    assert there == back
    assert there is None or set(there) == {a, b}


@pytest.mark.parametrize(
    ("a", "b"), [("云帆路18号", "云帆路１８号"), ("13800138000", "云帆路18号"), ("云帆路" * 20, "帆云路" * 20)]
)
def test_a_release_is_not_asked_about_one_text_no_text_or_more_than_it_reads(a: str, b: str) -> None:
    assert Matching.of(a, b, 2000).pair(100) is None


def test_an_answer_names_who_scored_and_has_no_other_shape() -> None:
    question = Matching("云帆路18号", "云帆路", explain=True)
    found = [[Component("road", 0, 3, 1.0), Component("roadno", 3, 6, 1.0)], [Component("road", 0, 3, 1.0)]]
    plain = question.answer(found)
    by_release = question._replace(scored=Scored("r@1", (0.25, 0.5, 0.25))).answer(found)
    assert plain.scorer == builtin_scorer() == f"addrmesh-match@{MODEL_VERSION}"
    assert (by_release.scorer, by_release.label, by_release.score) == ("r@1", "partial_match", 0.5)
    assert by_release.probabilities == {"exact_match": 0.25, "partial_match": 0.5, "not_match": 0.25}
    assert (by_release.guards, by_release.differences) == (plain.guards, plain.differences)
