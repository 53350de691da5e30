"""Labelled files are read, compared and counted; a wrong line is named by its number, never by its text."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from addrmesh.cli import evaluate, model
from addrmesh.cli.evaluate import Score, read
from addrmesh.errors import ConfigError
from support.engines import DigitsEngine, digits, release

ADDRESS = "文三路12号 3幢45"
WRONG = "甲路"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "release").mkdir()
    opened = release(tmp_path / "release")
    monkeypatch.setattr(model, "find_release", lambda _: opened)
    monkeypatch.setattr(model, "load", lambda opened, _: DigitsEngine(opened))
    app = typer.Typer()
    app.command()(evaluate.evaluate)
    return lambda *words: CliRunner().invoke(app, list(map(str, words)))


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    file = tmp_path / "mine.ndjson"
    right = [{"type": c.type, "span": [c.start, c.end]} for c in digits(ADDRESS)]
    rows = [
        {"address": ADDRESS, "components": right},
        {"address": "１２巷", "components": [{"type": "road", "span": [0, 3]}]},
    ]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")
    return file


def test_components_are_counted_by_type_in_the_callers_positions(run: Any, labelled: Path) -> None:
    document = json.loads(run(labelled, "--json").output)
    kinds = [c.type for c in digits(ADDRESS)]
    assert (document["addresses"], document["exact"]) == (2, 1)
    assert document["total"] == {
        "gold": 4, "found": 4, "right": 3, "precision": 75.0, "recall": 75.0, "f1": 75.0,
    }  # fmt: skip
    assert sum(document["types"][kind]["right"] for kind in set(kinds)) == 3


def test_the_table_shows_no_address(run: Any, labelled: Path) -> None:
    output = run(labelled).output
    assert "50.00 % of the addresses are right as a whole" in output
    assert "文三路" not in output


def test_the_confusion_is_drawn(run: Any, labelled: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    assert run(labelled, "--picture", tmp_path / "c.png").exit_code == 0
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("labels", "spans"),
    [
        (["B-road", "E-road", "S-poi", "O"], [("road", 0, 2), ("poi", 2, 3)]),
        (["B-road", "I-road", "B-road", "I-road"], [("road", 0, 2), ("road", 2, 4)]),
        (["I-road", "I-poi", "O", "E-poi"], [("road", 0, 1), ("poi", 1, 2), ("poi", 3, 4)]),
        (["S-poi", "E-poi", "E-poi", "I-poi"], [("poi", 0, 1), ("poi", 1, 2), ("poi", 2, 3), ("poi", 3, 4)]),
    ],
)
def test_conll_labels_spell_spans(tmp_path: Path, labels: list[str], spans: list[Any]) -> None:
    file = tmp_path / "mine.conll"
    rows = [f"{character}{tab}{label}" for character, label, tab in zip("甲路 号", labels, " \t\t ", strict=True)]
    file.write_text("\ufeff" + "\n".join(rows) + "\n\n\n乙 O", "utf-8")
    first, second = read(file)
    assert (first.address, first.spans, first.line) == ("甲路 号", spans, 1)
    assert (second.address, second.spans) == ("乙", [])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.conll", f"甲 B-road\n{WRONG} O\n"),
        ("a.conll", "甲 B-road\n路\n"),
        ("a.conll", "甲 B-road\n路 road\n"),
        ("a.ndjson", f'{{"address": "甲", "components": []}}\n{{"address": "{WRONG}"}}\n'),
        ("a.jsonl", f'\n{{"address": "{WRONG}", "components": [{{"type": "road", "span": [1, 3]}}]}}\n'),
    ],
)
def test_a_wrong_line_is_named_by_its_number(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=rf"{name}:2: ") as error:
        list(read(tmp_path / name))
    assert WRONG not in str(error.value)


def test_a_file_without_addresses_is_refused(run: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.conll").write_text("\n\n")
    assert "no labelled address is in it" in str(run(tmp_path / "empty.conll").exception)


def test_a_confused_character_is_counted_once() -> None:
    score = Score()
    score.add(4, [("road", 0, 3)], [("poi", 1, 4)])
    assert score.confusion == {("road", "O"): 1, ("road", "poi"): 2, ("O", "poi"): 1}
    assert score.row("road") == {"gold": 1, "found": 0, "right": 0, "precision": 0.0, "recall": 0.0, "f1": 0.0}
