from pathlib import Path

import msgspec
import pytest

from addrmesh.cli.records import Input, Record
from addrmesh.errors import ConfigError


def read(tmp_path: Path, name: str, data: bytes | str, **options: str) -> list[Record]:
    file = tmp_path / name
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    source = Input(str(file), **options)
    try:
        return list(source.records())
    finally:
        source.close()


def addresses(records: list[Record]) -> list[tuple[int, object, str]]:
    return [(r.line, msgspec.json.decode(r.id), r.address) for r in records]


def codes(records: list[Record]) -> list[tuple[int, str | None]]:
    return [(r.line, r.problem.code if r.problem else None) for r in records]


def test_csv_finds_the_one_column_that_holds_addresses(tmp_path: Path) -> None:
    found = read(tmp_path, "a.csv", "id,name,收货地址\n7,x,甲路1号\n8,y,乙路2号\n")
    assert addresses(found) == [(2, "7", "甲路1号"), (3, "8", "乙路2号")]


@pytest.mark.parametrize("data", ["\ufeffaddress\r\n甲\r\n乙\r\n", "address\n甲\n乙", "address\r\n甲\r\n\r\n乙\r\n"])
def test_csv_may_have_a_bom_crlf_blank_lines_or_no_last_newline(tmp_path: Path, data: str) -> None:
    assert [r.address for r in read(tmp_path, "a.csv", data)] == ["甲", "乙"]


def test_a_quoted_newline_belongs_to_the_address_and_lines_are_counted_on(tmp_path: Path) -> None:
    found = read(tmp_path, "a.csv", 'address\n"甲\n乙"\n丙\n')
    assert [(r.line, r.address) for r in found] == [(2, "甲\n乙"), (4, "丙")]


def test_tabs_and_semicolons_may_separate_columns(tmp_path: Path) -> None:
    assert [r.address for r in read(tmp_path, "a.csv", "id;地址\n1;甲\n")] == ["甲"]
    assert [r.address for r in read(tmp_path, "a.tsv", "id\t地址\n1\t甲,乙\n")] == ["甲,乙"]


def test_a_header_without_a_known_column_lists_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match="no column is known to hold addresses; name it with --column; the header has: id, where",
    ):
        read(tmp_path, "a.csv", "id,where\n1,甲\n")


def test_several_candidate_columns_are_not_guessed_between(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="several columns may hold addresses"):
        read(tmp_path, "a.csv", "地址,收货地址\n1,甲\n")
    assert [r.address for r in read(tmp_path, "a.csv", "地址,收货地址\n1,甲\n", column="收货地址")] == ["甲"]


def test_a_column_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no column 'x'; the header has: 地址"):
        read(tmp_path, "a.csv", "地址\n甲\n", column="x")


def test_a_short_or_broken_row_is_a_problem_and_reading_goes_on(tmp_path: Path) -> None:
    found = read(tmp_path, "a.csv", 'id,地址\n1\n2,"甲"x\n3,乙\n')
    assert codes(found) == [(2, "validation-failed"), (3, "invalid-csv"), (4, None)]


def test_an_empty_input_has_no_records(tmp_path: Path) -> None:
    assert read(tmp_path, "a.csv", b"") == []
    assert read(tmp_path, "a.ndjson", b"") == []


def test_ndjson_keeps_the_callers_id_as_it_is(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "a.ndjson",
        '\ufeff{"id":"x","address":"甲"}\r\n\n{"address":"乙","id":3,"more":[1]}\n{"address":"丙"}',
    )
    assert addresses(found) == [(1, "x", "甲"), (3, 3, "乙"), (4, None, "丙")]


def test_ndjson_is_recognised_without_its_extension(tmp_path: Path) -> None:
    assert [r.address for r in read(tmp_path, "data", '{"address":"甲"}\n')] == ["甲"]


def test_another_key_may_hold_the_address(tmp_path: Path) -> None:
    assert [r.address for r in read(tmp_path, "a.ndjson", '{"地址":"甲"}\n', column="地址")] == ["甲"]


def test_a_broken_line_is_a_problem_and_reading_goes_on(tmp_path: Path) -> None:
    lines = [
        b"{",
        b'{"id":9,"address":5}',
        b"[]",
        b'{"address":"\\ud800"}',
        b'{"address":"\xff"}',
        b'{"address":"x"}',
    ]
    found = read(tmp_path, "a.ndjson", b'{"address":"y"}\n' * 9000 + b"\n".join(lines))  # beyond what is sniffed
    assert [code for _, code in codes(found[9000:])] == [
        "invalid-json", "validation-failed", "validation-failed", "invalid-json", "invalid-json", None,
    ]  # fmt: skip
    assert msgspec.json.decode(found[9001].id) == 9


def test_no_problem_repeats_the_address(tmp_path: Path) -> None:
    found = read(tmp_path, "a.ndjson", '{"address":["秘密路1号"]}\n{"address":"秘密路\n')
    assert all("秘密" not in str(r.problem) for r in found)


def test_a_line_too_long_is_a_problem_and_is_not_kept(tmp_path: Path) -> None:
    found = read(tmp_path, "a.ndjson", b'{"address":"' + b"x" * 3_000_000 + b'"}\n{"address":"y"}\n')
    assert codes(found) == [(1, "input-too-long"), (2, None)]


def test_gb18030_is_recognised_and_the_option_is_named(tmp_path: Path) -> None:
    data = "地址\n浙江省杭州市\n".encode("gb18030")
    with pytest.raises(ConfigError, match="looks like GB18030; add --encoding gb18030"):
        read(tmp_path, "a.csv", data)
    assert [r.address for r in read(tmp_path, "a.csv", data, encoding="gb18030")] == ["浙江省杭州市"]
    ndjson = '{"address":"浙江省"}\n'.encode("gb18030")
    assert [r.address for r in read(tmp_path, "a.ndjson", ndjson, encoding="gb18030")] == ["浙江省"]


@pytest.mark.parametrize("data", ["地址\n甲".encode("utf-16"), b"PK\x03\x04\0\0", b"\xff\xffxx"])
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"is UTF-16|is not text|is not UTF-8"):
        read(tmp_path, "a.csv", data)


def test_utf8_whose_sniffed_head_ends_inside_a_character_is_utf8(tmp_path: Path) -> None:
    for padding in range(3):
        data = "address\n" + "x" * padding + "\n" + "路\n" * 20_000
        assert read(tmp_path, "a.csv", data)[-1].address == "路"


def test_bytes_that_are_no_text_far_into_a_csv_are_a_problem_of_their_row(tmp_path: Path) -> None:
    found = read(tmp_path, "a.csv", b"address\n" + b"x\n" * 40_000 + b"\xff\ny\n")
    assert codes(found[-2:]) == [(40_002, "invalid-encoding"), (40_003, None)]


def test_one_json_array_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="jq -c"):
        read(tmp_path, "a.json", '[{"address":"甲"}]')


def test_a_missing_input_is_an_error() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Input("/nowhere/a.csv")
