from pathlib import Path

import pytest

from addrmesh.cli.results import Progress, open_output
from addrmesh.errors import ConfigError, Refused

PROGRESS = Progress(1, "small@1", "abc", None, "utf-8")


def result(line: int) -> bytes:
    return b'{"id":null,"line":%d,"status":200}\n' % line


def start(path: Path, data: bytes, progress: Progress = PROGRESS) -> None:
    output = open_output(path, progress, resume=False, force=True)
    output.write(data)
    output.close()


def resumed(path: Path, progress: Progress = PROGRESS, *, force: bool = False) -> int:
    output = open_output(path, progress, resume=True, force=force)
    output.close()
    return output.done_line


def test_resume_goes_on_after_the_last_complete_line(tmp_path: Path) -> None:
    start(tmp_path / "out", result(2) + result(3))
    assert resumed(tmp_path / "out") == 3


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    start(tmp_path / "out", result(2) + result(3)[:-5])
    assert resumed(tmp_path / "out") == 2
    assert (tmp_path / "out").read_bytes() == result(2)


def test_resume_starts_at_the_beginning_when_there_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    assert resumed(tmp_path / "out") == 0
    start(tmp_path / "torn", b'{"id":nul')
    assert resumed(tmp_path / "torn") == 0
    assert (tmp_path / "torn").read_bytes() == b""


def test_an_existing_result_is_not_overwritten_unless_told(tmp_path: Path) -> None:
    start(tmp_path / "out", result(2))
    with pytest.raises(Refused, match=r"--resume.*--force"):
        open_output(tmp_path / "out", PROGRESS, resume=False, force=False)
    assert (tmp_path / "out").read_bytes() == result(2)
    open_output(tmp_path / "out", PROGRESS, resume=False, force=True).close()
    assert (tmp_path / "out").read_bytes() == b""


def test_an_empty_file_in_the_way_is_used(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    output = open_output(tmp_path / "out", PROGRESS, resume=False, force=False)
    output.close()
    assert output.done_line == 0


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Progress(1, "small@2", "abc", None, "utf-8"), r"made by release small@1, this is small@2"),
        (Progress(1, "small@1", "xyz", None, "utf-8"), r"another input"),
        (Progress(1, "small@1", "abc", "地址", "utf-8"), r"another input, column"),
    ],
)
def test_resume_refuses_to_mix_what_was_made_differently(tmp_path: Path, other: Progress, message: str) -> None:
    start(tmp_path / "out", result(2) + b"torn")
    with pytest.raises(Refused, match=message):
        resumed(tmp_path / "out", other)
    assert (tmp_path / "out").read_bytes() == result(2) + b"torn"
    assert resumed(tmp_path / "out", other, force=True) == 2


def test_resume_refuses_a_file_that_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("my thesis\n")
    with pytest.raises(Refused, match="does not say what made"):
        resumed(tmp_path / "out")
    with pytest.raises(Refused, match="not a result of addrmesh bulk"):
        resumed(tmp_path / "out", force=True)
    assert (tmp_path / "out").read_text() == "my thesis\n"


def test_two_processes_do_not_write_one_result(tmp_path: Path) -> None:
    output = open_output(tmp_path / "out", PROGRESS, resume=False, force=False)
    with pytest.raises(Refused, match="being written by another process"):
        open_output(tmp_path / "out", PROGRESS, resume=True, force=False)
    output.close()


def test_a_place_that_cannot_be_written_is_found_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        open_output(tmp_path / "none" / "out", PROGRESS, resume=False, force=False)
