import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import subprocess

    from tests.contract.cli.conftest import Command


LINES = 1000


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    path = tmp_path / "orders.csv"
    path.write_text("编号,收货地址\n" + "".join(f"{n},文一路{n}号\n" for n in range(LINES)), "utf-8")
    return path


def results(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def stalled(addrmesh: "Command", tmp_path: Path, *more: str) -> "subprocess.Popen[bytes]":
    """Start a run and return it when its model has stopped in the middle."""
    mark = tmp_path / "stalled"
    environ = {"DOUBLE_STALL_AFTER": "300", "DOUBLE_STALLED": str(mark)}
    process = addrmesh.start("bulk", "parse", "orders.csv", "-o", "out.ndjson", *more, **environ)
    addrmesh.wait_until(mark.exists, "the model to stall")
    mark.unlink()
    return process


def test_a_file_becomes_a_file_in_the_same_order(addrmesh: "Command", orders: Path, tmp_path: Path) -> None:
    done = addrmesh("bulk", "parse", "orders.csv", "-o", "out.ndjson", "--json")
    assert done.returncode == 0, done.stderr
    written = results(tmp_path / "out.ndjson")
    assert [(w["id"], w["line"]) for w in written] == [(str(n), n + 2) for n in range(LINES)]
    assert written[7]["result"]["components"][0]["input_text"] == "7"
    summary = json.loads(done.stdout)
    assert (summary["schema"], summary["ok"], summary["failed"]) == (1, LINES, 0)


def test_stdin_to_stdout_keeps_broken_lines_as_problems(addrmesh: "Command") -> None:
    done = addrmesh("bulk", "parse", "-", stdin='{"id":1,"address":"甲路1号"}\n{oops\n\n{"id":2}\n'.encode())
    assert done.returncode == 0
    written = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(w["id"], w["line"], w["status"]) for w in written] == [(1, 1, 200), (None, 2, 400), (2, 4, 422)]
    assert b"3 addresses: 1 parsed, 2 not" in done.stderr


def test_a_killed_run_is_resumed_without_gap_or_repetition(addrmesh: "Command", orders: Path, tmp_path: Path) -> None:
    process = stalled(addrmesh, tmp_path)
    process.kill()
    process.communicate()
    with (tmp_path / "out.ndjson").open("ab") as out:
        out.write(b'{"id":"torn')
    done = addrmesh("bulk", "parse", "orders.csv", "-o", "out.ndjson", "--resume", "--json")
    assert done.returncode == 0, done.stderr
    assert [w["line"] for w in results(tmp_path / "out.ndjson")] == list(range(2, LINES + 2))
    assert json.loads(done.stdout)["skipped"] == 384


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(addrmesh: "Command", orders: Path, tmp_path: Path) -> None:
    process = stalled(addrmesh, tmp_path)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert told.decode() == "interrupted; 384 results were written and are kept in out.ndjson; go on with --resume\n"
    assert len(results(tmp_path / "out.ndjson")) == 384


def test_resuming_what_is_complete_does_nothing(addrmesh: "Command", orders: Path, tmp_path: Path) -> None:
    addrmesh("bulk", "parse", "orders.csv", "-o", "out.ndjson")
    before = (tmp_path / "out.ndjson").read_bytes()
    assert addrmesh("bulk", "parse", "orders.csv", "-o", "out.ndjson", "--resume").returncode == 0
    assert (tmp_path / "out.ndjson").read_bytes() == before


def test_another_release_is_not_mixed_in(addrmesh: "Command", orders: Path, tmp_path: Path) -> None:
    process = stalled(addrmesh, tmp_path)
    process.kill()
    process.communicate()
    resume = ("bulk", "parse", "orders.csv", "-o", "out.ndjson", "--resume")
    refused = addrmesh(*resume, DOUBLE_RELEASE="double@1")
    assert refused.returncode == 3
    assert b"made by release double@000000000000, this is double@1" in refused.stderr
    assert addrmesh(*resume, "--force", DOUBLE_RELEASE="double@1").returncode == 0


def test_an_existing_result_is_refused(addrmesh: "Command", orders: Path, tmp_path: Path) -> None:
    (tmp_path / "out.ndjson").write_text("something\n")
    done = addrmesh("bulk", "parse", "orders.csv", "-o", "out.ndjson")
    assert done.returncode == 3
    assert b"out.ndjson exists" in done.stderr


def test_the_input_is_never_overwritten(addrmesh: "Command", orders: Path) -> None:
    before = orders.read_bytes()
    assert addrmesh("bulk", "parse", "orders.csv", "-o", "orders.csv", "--force").returncode == 2
    assert orders.read_bytes() == before


def test_an_unwritable_result_is_found_before_any_work(addrmesh: "Command", orders: Path, tmp_path: Path) -> None:
    mark = tmp_path / "stalled"
    done = addrmesh("bulk", "parse", "orders.csv", "-o", "none/out", DOUBLE_STALL_AFTER="0", DOUBLE_STALLED=str(mark))
    assert done.returncode == 2
    assert done.stderr == b"error: none/out: cannot be written (No such file or directory)\n"
    assert not mark.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line_and_exit_code_1(addrmesh: "Command", orders: Path) -> None:
    done = addrmesh("bulk", "parse", "orders.csv", "-o", "/dev/full")
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: No space left on device; 0 results were written")
    assert done.stderr.count(b"\n") == 1


def test_a_reader_that_has_enough_is_no_error_message(addrmesh: "Command", orders: Path) -> None:
    process = addrmesh.start("bulk", "parse", "orders.csv")
    assert process.stdout
    assert process.stderr
    os.read(process.stdout.fileno(), 10)
    process.stdout.close()
    told = process.stderr.read()
    process.stderr.close()
    process.wait(30)
    assert b"Traceback" not in told


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", "id,where\n1,甲\n".encode(), "no column is known to hold addresses"),
        ("a.csv", "地址\n甲路\n".encode("gb18030"), "add --encoding gb18030"),
        ("a.bin", b"\x7fELF\0\0", "is not text"),
    ],
)
def test_an_unusable_input_is_one_clear_line(
    addrmesh: "Command", tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    done = addrmesh("bulk", "parse", name, "-o", "out.ndjson")
    assert done.returncode == 2
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert not (tmp_path / "out.ndjson").exists()


def test_an_empty_input_gives_an_empty_result(addrmesh: "Command", tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    done = addrmesh("bulk", "parse", "empty.csv", "-o", "out.ndjson")
    assert done.returncode == 0
    assert (tmp_path / "out.ndjson").read_bytes() == b""
