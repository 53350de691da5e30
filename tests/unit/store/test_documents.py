"""The configuration centre over the memory store; cut-off regions are two of them that absorb each other."""

import asyncio
import itertools
import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addrmesh.errors import ConfigError
from addrmesh.store.documents import (
    Document,
    DocumentRejected,
    Documents,
    EditedMeanwhile,
    Head,
    NoSuchRevision,
    as_yaml,
    diff,
    frontier,
)
from addrmesh.store.known_good import LastKnownGood
from addrmesh.store.memory import MemoryStore
from addrmesh.store.records import Version


def weights(content: Any) -> None:
    if not isinstance(content, dict) or any(weight < 0 for weight in content.values()):
        raise ValueError("weights are a mapping of node to a number from 0")


VALIDATORS = {"traffic": weights, "limits": lambda content: content}
LIN = {"author": "lin", "reason": "more for n1"}
ANA = {"author": "ana", "reason": "drain n2"}


class Side:
    """One region with a clock of its own."""

    def __init__(self, region: str, start_ms: int) -> None:
        ticks = itertools.count(start_ms, 1_000)
        self.store = MemoryStore(region, wall_ms=lambda: next(ticks))
        self.documents = Documents(self.store, VALIDATORS, wall_ms=lambda: next(ticks))

    async def hear(self, other: "Side") -> None:
        await self.store.absorb(await other.store.export())


@pytest.fixture
def eu() -> Side:
    return Side("eu", 1_800_000_000_000)


@pytest.fixture
def cn() -> Side:
    return Side("cn", 1_800_000_000_500)


async def started(eu: Side, cn: Side) -> Document:
    first = await eu.documents.put("traffic", {"n1": 1}, **LIN, expect=None)
    await cn.hear(eu)
    return first


async def cut_off(eu: Side, cn: Side) -> tuple[Document, Document]:
    """Let both regions edit without seeing each other, then see each other."""
    first = await started(eu, cn)
    ours = await eu.documents.put("traffic", {"n1": 2}, **LIN, expect=first.revision)
    theirs = await cn.documents.put("traffic", {"n1": 3}, **ANA, expect=first.revision)
    await eu.hear(cn)
    await cn.hear(eu)
    return ours, theirs


async def test_a_document_says_who_wrote_it_and_why(eu: Side) -> None:
    assert await eu.documents.get("traffic") is None
    written = await eu.documents.put("traffic", {"n1": 1}, **LIN, expect=None)
    assert await eu.documents.get("traffic") == written
    assert (written.content, written.author, written.reason, written.conflict) == ({"n1": 1}, "lin", "more for n1", ())
    assert await eu.documents.names() == ["traffic"]


async def test_an_edit_based_on_an_old_revision_is_told_who_changed_it_and_why(eu: Side) -> None:
    first = await eu.documents.put("traffic", {"n1": 1}, **LIN, expect=None)
    second = await eu.documents.put("traffic", {"n1": 2}, **ANA, expect=first.revision)
    with pytest.raises(EditedMeanwhile) as caught:
        await eu.documents.put("traffic", {"n1": 3}, **LIN, expect=first.revision)
    message = str(caught.value)
    assert message.startswith(f'document traffic is at {second.revision} by ana ("drain n2", 2027-01-15 ')
    assert f"your change is based on {first.revision}; read it again" in message
    with pytest.raises(EditedMeanwhile, match="you meant to create it"):
        await eu.documents.put("traffic", {"n1": 3}, **LIN, expect=None)
    with pytest.raises(EditedMeanwhile, match="does not exist"):
        await eu.documents.put("limits", 1, **LIN, expect="0123")


async def test_of_two_editors_at_the_same_moment_one_is_told(eu: Side) -> None:
    first = await eu.documents.put("traffic", {"n1": 1}, **LIN, expect=None)
    edits = [eu.documents.put("traffic", {"n1": n}, **ANA, expect=first.revision) for n in (5, 6)]
    outcomes = await asyncio.gather(*edits, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Document", "EditedMeanwhile"]


async def test_equal_content_writes_nothing(eu: Side) -> None:
    first = await eu.documents.put("traffic", {"n1": 1}, **LIN, expect=None)
    assert await eu.documents.put("traffic", {"n1": 1}, **ANA, expect=first.revision) == first
    assert len(await eu.documents.history("traffic")) == 1


async def test_what_breaks_a_rule_is_not_written(eu: Side) -> None:
    with pytest.raises(DocumentRejected, match="document traffic was not changed: weights are a mapping"):
        await eu.documents.put("traffic", {"n1": -1}, **LIN, expect=None)
    with pytest.raises(ConfigError, match="say who changes it and why"):
        await eu.documents.put("traffic", {}, author="lin", reason=" ", expect=None)
    with pytest.raises(ConfigError, match="there are limits, traffic; did you mean traffic"):
        await eu.documents.get("trafic")
    assert await eu.store.export() == []


async def test_two_regions_that_edit_while_cut_off_are_a_conflict_with_the_same_winner(eu: Side, cn: Side) -> None:
    ours, theirs = await cut_off(eu, cn)
    seen = await eu.documents.get("traffic")
    assert seen is not None
    assert seen == await cn.documents.get("traffic")
    (other,) = seen.conflict
    assert {seen.revision, other.id} == {ours.revision, theirs.revision}
    assert {(other.author, other.content["n1"]), (seen.author, seen.content["n1"])} == {("lin", 2), ("ana", 3)}


@pytest.mark.parametrize("editor", ["eu", "cn"], ids=["of-the-winning-side", "of-the-other-side"])
async def test_an_edit_does_not_end_a_conflict_and_a_resolution_does(eu: Side, cn: Side, editor: str) -> None:
    await cut_off(eu, cn)
    here, there = (eu, cn) if editor == "eu" else (cn, eu)
    seen = await here.documents.get("traffic")
    assert seen is not None
    assert seen.author == "lin", "eu is the winning side here"
    for weight in (7, 8):
        edited = await here.documents.put("traffic", {"n1": weight}, **LIN, expect=seen.revision)
        assert [other.id for other in edited.conflict] == [other.id for other in seen.conflict]
        seen = edited
    await there.hear(here)
    assert await there.documents.get("traffic") == seen
    resolved = await there.documents.resolve("traffic", {"n1": 4}, **ANA, expect=seen.revision)
    assert (resolved.conflict, resolved.content) == ((), {"n1": 4})
    await here.hear(there)
    assert await here.documents.get("traffic") == resolved
    assert len(await here.documents.history("traffic")) == 6
    after = await here.documents.put("traffic", {"n1": 5}, **LIN, expect=resolved.revision)
    assert after.conflict == ()


async def test_an_edit_that_has_seen_the_other_region_is_no_conflict(eu: Side, cn: Side) -> None:
    first = await started(eu, cn)
    theirs = await cn.documents.put("traffic", {"n1": 3}, **ANA, expect=first.revision)
    await eu.hear(cn)
    ours = await eu.documents.put("traffic", {"n1": 4}, **LIN, expect=theirs.revision)
    assert ours.conflict == ()
    assert [revision.author for revision in await eu.documents.history("traffic")] == ["lin", "ana", "lin"]


async def test_rollback_is_a_new_revision_with_old_content(eu: Side) -> None:
    first = await eu.documents.put("traffic", {"n1": 1}, **LIN, expect=None)
    second = await eu.documents.put("traffic", {"n1": 2}, **LIN, expect=first.revision)
    back = await eu.documents.rollback("traffic", first.revision[:8], **ANA, expect=second.revision)
    assert (back.content, back.author) == ({"n1": 1}, "ana")
    assert [revision.content["n1"] for revision in await eu.documents.history("traffic")] == [1, 2, 1]
    with pytest.raises(NoSuchRevision, match="revision 'zz' does not exist; there is"):
        await eu.documents.rollback("traffic", "zz", **ANA, expect=back.revision)


async def test_diff_shows_changed_lines_as_yaml(eu: Side) -> None:
    first = await eu.documents.put("traffic", {"n1": 1, "n2": 1}, **LIN, expect=None)
    second = await eu.documents.put("traffic", {"n1": 1, "n2": 0}, **LIN, expect=first.revision)
    lines = await eu.documents.diff("traffic", first.revision, second.revision)
    assert lines == [f"--- {first.revision}", f"+++ {second.revision}", "@@ -1,2 +1,2 @@", " n1: 1", "-n2: 1", "+n2: 0"]
    assert diff({"原因": 1}, {"原因": 1}, "a", "b") == []
    assert as_yaml({"原因": 1}) == "原因: 1\n"


async def test_a_revision_that_was_tampered_with_is_not_read(eu: Side) -> None:
    written = await eu.documents.put("traffic", {"n1": 1}, **LIN, expect=None)
    key = f"config/traffic/revision/{written.revision}"
    record = await eu.store.get(key)
    assert record is not None
    assert record.value is not None
    await eu.store.put(key, record.value.replace(b'"n1":1', b'"n1":9'))
    assert await Documents(eu.store, VALIDATORS).get("traffic") is None


async def test_watch_shows_each_effective_state_and_the_conflict(eu: Side, cn: Side) -> None:
    first = await started(eu, cn)
    async with aclosing(eu.documents.watch()) as watching:
        assert await anext(watching) == first
        ours = await eu.documents.put("traffic", {"n1": 2}, **LIN, expect=first.revision)
        assert await anext(watching) == ours
        await cn.documents.put("traffic", {"n1": 3}, **ANA, expect=first.revision)
        await eu.hear(cn)
        conflicting = await anext(watching)
        assert conflicting == await eu.documents.get("traffic")
        assert len(conflicting.conflict) == 1


async def test_watch_leaves_out_what_only_a_later_version_knows(eu: Side, cn: Side) -> None:
    first = await started(eu, cn)
    later = Documents(eu.store, {"later": lambda _: None})
    await later.put("later", 1, **LIN, expect=None)
    async with aclosing(eu.documents.watch()) as watching:
        assert await anext(watching) == first
        ours = await eu.documents.put("traffic", {"n1": 2}, **LIN, expect=first.revision)
        assert await anext(watching) == ours
    async with aclosing(later.watch()) as watching:
        assert (await anext(watching)).name == "later"


async def test_watch_starts_with_the_winner_of_all_heads(eu: Side, cn: Side) -> None:
    first = await started(eu, cn)
    latest = await cn.documents.put("traffic", {"n1": 3}, **ANA, expect=first.revision)
    await eu.hear(cn)
    async with aclosing(eu.documents.watch()) as watching:
        assert await anext(watching) == latest
        await eu.documents.put("limits", 1, **LIN, expect=None)
        assert (await anext(watching)).name == "limits"


revisions = st.integers(0, 9)


@given(
    st.dictionaries(revisions, st.sets(revisions, max_size=3), max_size=10),
    st.lists(
        st.tuples(st.lists(revisions, min_size=1, max_size=2, unique=True), st.integers(0, 50), st.just("cn")),
        min_size=1,
        max_size=4,
    ),
)
def test_a_head_is_shown_unless_another_one_has_seen_it(graph: dict[int, set[int]], drawn: list[Any]) -> None:
    # parents are older, so there are no cycles
    parents = {str(r): [str(p) for p in seen if p < r] for r, seen in graph.items()}
    heads = [
        Head(tuple(map(str, named)), Version(wall, number, region))
        for number, (named, wall, region) in enumerate(drawn)
    ]

    def above(revision: str) -> set[str]:
        direct = parents.get(revision, [])
        return set(direct).union(*(above(p) for p in direct))

    shown = frontier(heads, parents)
    named = {r for head in heads for r in head.revisions}
    assert set(shown) == {r for r in named if not any(r in above(other) for other in named)}
    latest = {r: max((head.version, -head.revisions.index(r)) for head in heads if r in head.revisions) for r in shown}
    assert shown == sorted(shown, key=lambda r: latest[r], reverse=True)
    assert shown == frontier(heads[::-1], parents)


async def test_last_known_good_is_read_back(eu: Side, tmp_path: Path) -> None:
    kept = LastKnownGood(tmp_path / "good")
    assert kept.load("traffic") is None
    document = await eu.documents.put("traffic", {"n1": 1}, **LIN, expect=None)
    kept.save(document)
    assert LastKnownGood(tmp_path / "good").load("traffic") == document
    second = await eu.documents.put("traffic", {"n1": 2}, **LIN, expect=document.revision)
    kept.save(second)
    assert kept.load("traffic") == second
    assert [file.name for file in (tmp_path / "good").iterdir()] == ["traffic.json"]


@pytest.mark.parametrize("damage", ["cut", "changed", "other"])
async def test_a_damaged_last_known_good_is_as_good_as_none(
    eu: Side, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = LastKnownGood(tmp_path)
    kept.save(await eu.documents.put("traffic", {"n1": 1}, **LIN, expect=None))
    file = tmp_path / "traffic.json"
    text = file.read_text()
    file.write_text({"cut": text[:-20], "changed": text.replace('"n1":1', '"n1":2'), "other": json.dumps([1])}[damage])
    assert kept.load("traffic") is None
    assert "document." in "".join(capsys.readouterr())  # where logs go depends on who configured them before


async def test_last_known_good_that_cannot_be_kept_says_what_that_means(eu: Side, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    document = await eu.documents.put("traffic", {"n1": 1}, **LIN, expect=None)
    with pytest.raises(ConfigError, match="a restart while every store is down"):
        LastKnownGood(tmp_path / "file").save(document)
