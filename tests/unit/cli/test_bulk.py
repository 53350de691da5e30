import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from addrmesh.address.types import Component
from addrmesh.cli.bulk import CHUNK_LINES, Summary, run
from addrmesh.cli.records import NOT_AN_ID, Record, problem
from addrmesh.cli.results import Output
from addrmesh.errors import EngineError


class FirstTwoEngine:
    """Labels the first two characters of each text; fails on the call numbered `fails_at`."""

    def __init__(self, fails_at: int = 0) -> None:
        limits = SimpleNamespace(max_code_points=20)
        self.release: Any = SimpleNamespace(manifest=SimpleNamespace(limits=limits))
        self.calls, self.fails_at = 0, fails_at

    def predict(self, texts: Sequence[str]) -> list[tuple[Component, ...]]:
        self.calls += 1
        if self.calls == self.fails_at:
            raise EngineError("out of memory")
        return [(Component("prov", 0, 2, 0.123456),) for _ in texts]

    def close(self) -> None: ...


def bulk(
    tmp_path: Path, records: list[Record], *, done_line: int = 0, engine: FirstTwoEngine | None = None
) -> tuple[list[Any], Summary]:
    summary = Summary()
    path = tmp_path / "out"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    output = Output(descriptor, done_line=done_line)
    try:
        run(iter(records), output, engine or FirstTwoEngine(), summary)
    finally:
        output.close()
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()], summary


def record(line: int, address: str = "浙江省", **more: Any) -> Record:
    return Record(line, NOT_AN_ID, address, **more)


def test_a_result_shows_the_component_in_the_callers_own_text(tmp_path: Path) -> None:
    written, _ = bulk(tmp_path, [Record(2, msgspec.Raw(b'"a"'), "\u200b ＡＢ省")])
    component = {"type": "prov", "text": " A", "input_text": " Ａ", "span": [1, 3], "confidence": 0.1235}
    assert written == [{"id": "a", "line": 2, "status": 200, "result": {"components": [component]}}]


def test_problems_stay_in_their_place(tmp_path: Path) -> None:
    bad = problem(400, "invalid-json", "Not JSON", "…")
    written, summary = bulk(
        tmp_path,
        [
            record(1),
            record(2, " "),
            record(3, "x" * 21),
            record(4, problem=bad),
            record(5, "㍿" * 6),
            record(6),
        ],
    )
    assert [(w["line"], w["status"], w.get("problem", {}).get("code")) for w in written] == [
        (1, 200, None), (2, 422, "invalid-text"), (3, 413, "input-too-long"), (4, 400, "invalid-json"),
        (5, 413, "input-too-long"), (6, 200, None),
    ]  # fmt: skip
    assert set(written[1]["problem"]) == {"type", "title", "status", "code", "detail"}
    assert (summary.ok, summary.failed) == (2, 4)


def test_lines_done_before_are_passed_over(tmp_path: Path) -> None:
    written, summary = bulk(tmp_path, [record(n) for n in range(2, 7)], done_line=4)
    assert [w["line"] for w in written] == [5, 6]
    assert (summary.skipped, summary.ok) == (3, 2)


@pytest.mark.parametrize("records", [[], [record(1)]])
def test_nothing_left_to_do_writes_nothing(tmp_path: Path, records: list[Record]) -> None:
    assert bulk(tmp_path, records, done_line=9)[0] == []


def test_the_model_is_asked_in_chunks_and_the_order_is_kept(tmp_path: Path) -> None:
    engine = FirstTwoEngine()
    count = 2 * CHUNK_LINES + 1
    written, _ = bulk(tmp_path, [record(n) for n in range(count)], done_line=-1, engine=engine)
    assert [w["line"] for w in written] == list(range(count))
    assert engine.calls == 3


def test_a_failing_model_keeps_the_chunks_before_it(tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        bulk(tmp_path, [record(n) for n in range(1, 200)], engine=FirstTwoEngine(fails_at=2))
    assert (tmp_path / "out").read_bytes().count(b"\n") == CHUNK_LINES
