import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.contract.cli.conftest import Command


def test_json_is_one_document_with_spans_of_the_callers_text(addrmesh: "Command") -> None:
    done = addrmesh("parse", "--json", "文一路 ９６９号", "无")
    document = json.loads(done.stdout)
    assert (document["schema"], document["release"]) == (1, "double@000000000000")
    assert document["items"] == [
        {"components": [{"type": "roadno", "text": "969", "input_text": "９６９", "span": [4, 7], "confidence": 0.9}]},
        {"components": []},
    ]


def test_lines_of_stdin_are_addresses_when_none_is_given(addrmesh: "Command") -> None:
    done = addrmesh("parse", "--json", stdin="\ufeff甲路1号\r\n\n乙路2号".encode())
    assert [item["components"][0]["text"] for item in json.loads(done.stdout)["items"]] == ["1", "2"]


def test_a_pipe_gets_a_plain_table(addrmesh: "Command") -> None:
    done = addrmesh("parse", "甲路1号")
    assert done.stdout.decode() == "type    名称    text  confidence\nroadno  门牌号  1     0.90\n"


def test_bytes_that_are_no_text_do_not_crash_it(addrmesh: "Command") -> None:
    done = addrmesh("parse", "--json", b"\xff\xfe7\xe8")
    assert done.returncode == 0
    assert json.loads(done.stdout)["items"][0]["components"][0]["span"] == [2, 3]


def test_a_blank_or_too_long_address_is_a_usage_error(addrmesh: "Command") -> None:
    for text, message in (
        (" \u200b", "the address is blank"),
        ("路" * 2001, "2001 code points, the limit is 2000"),
    ):
        done = addrmesh("parse", "甲", text)
        assert done.returncode == 2
        assert done.stderr.decode().startswith("error: address 2 of 2: ")
        assert message in done.stderr.decode()


def test_the_stack_trace_is_shown_only_when_asked_for(addrmesh: "Command") -> None:
    assert b"Traceback" not in addrmesh("parse", " ").stderr
    assert b"Traceback" in addrmesh("parse", " ", ADDRMESH_DEBUG="1").stderr


def test_nothing_slow_is_imported(addrmesh: "Command") -> None:
    code = (
        "import sys; sys.argv = ['addrmesh', 'parse', '1']\n"
        "from addrmesh.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "addrmesh"],
        check=True,
        capture_output=True,
        text=True,
        env=addrmesh.environ,
    )
    # pydantic is there: typer 0.29 reads every parameter with it.
    assert not {"fastapi", "uvicorn", "httpx", "rich", "yaml", "addrmesh.settings"} & set(done.stdout.split())
