"""`validate`, `match`, their bulk forms and `corrections`, as commands; the model is a double that knows numbers."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from addrmesh.address.normalize import normalize
from addrmesh.address.verdict import Result
from addrmesh.cli import corrections, stores
from addrmesh.node.corrections import PREFIX, PROPOSED, decode, digest, encode, proposed
from addrmesh.store.memory import MemoryStore

if TYPE_CHECKING:
    from conftest import Command

ADDRESS = "杭州江干区幸福街1号"


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_addresses_are_judged_for_people_and_as_json(addrmesh: "Command") -> None:
    shown = addrmesh("validate", "浙江省杭州市江干区1", " 13800001234 北京市海淀区2")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.decode().startswith(("FIX  ", "CONFIRM  "))
    done = addrmesh("validate", "--json", "--language", "en", "--hint", "110105", "朝阳区1")
    (item,) = json.loads(done.stdout)["items"]
    assert item["address"]["adcode"] == "110105"
    piped = addrmesh("validate", "--json", stdin="朝阳区1\n\n北京市2\n".encode())
    assert len(json.loads(piped.stdout)["items"]) == 2


def test_an_address_is_shown_in_latin_letters_where_asked_for(addrmesh: "Command") -> None:
    plain, romanized = (addrmesh("validate", *more, "小寨东路88号").stdout.decode() for more in ([], ["--romanize"]))
    assert "China" not in plain
    assert romanized.splitlines()[1] == "  No. 88, China"  # the double knows numbers only


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("validate", " "), "address 1 of 1"),
        (("validate", "1", "--hint", "999999"), "--hint"),
        (("match", "1", " "), "blank"),
    ],
)
def test_what_cannot_be_asked_is_one_clear_line(addrmesh: "Command", arguments: tuple[str, ...], told: str) -> None:
    done = addrmesh(*arguments)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert told in done.stderr.decode()


def test_two_addresses_are_compared(addrmesh: "Command") -> None:
    result = json.loads(addrmesh("match", "幸福街1号", "幸福街2号", "--json").stdout)["result"]
    assert result["label"] != "exact_match"
    assert result["guards"]
    assert addrmesh("match", "幸福街1号", "幸福街１ 号").stdout.startswith(b"exact_match")


def test_a_file_is_judged_line_by_line_and_gone_on_with(addrmesh: "Command", tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("编号,地址\na,杭州1\nb, \nc,北京2\n")
    run = ("bulk", "validate", "in.csv", "-o", "out.ndjson")
    assert addrmesh(*run).returncode == 0
    found = lines(tmp_path / "out.ndjson")
    assert [(one["id"], one["status"]) for one in found] == [("a", 200), ("b", 422), ("c", 200)]
    assert found[0]["result"]["verdict"]["possible_next_action"] == "FIX"
    before = (tmp_path / "out.ndjson").read_bytes()
    assert addrmesh(*run, "--resume").returncode == 0
    assert (tmp_path / "out.ndjson").read_bytes() == before
    for other in (("--language", "en"), ("--style", "ecommerce")):
        assert addrmesh(*run, *other, "--resume").returncode == 3
    assert addrmesh("bulk", "parse", "in.csv", "-o", "out.ndjson", "--resume").returncode == 3


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("in.ndjson", '{"id":1,"a":"路1号","b":"路2号"}\n{"id":2,"a":"路1号"}\n{"id":3,"b":"路3","a":"路３"}\n'),
        ("in.csv", "id,b,a\n1,路2号,路1号\n2,路1号\n3,路3,路３\n"),
    ],
)
def test_a_file_of_pairs_is_compared(addrmesh: "Command", tmp_path: Path, name: str, data: str) -> None:
    (tmp_path / name).write_text(data)
    assert addrmesh("bulk", "match", name, "-o", "out.ndjson").returncode == 0
    first, second, third = lines(tmp_path / "out.ndjson")
    assert first["result"]["label"] != "exact_match"
    assert (second["status"], second["problem"]["code"]) == (422, "validation-failed")
    assert (str(third["id"]), third["result"]["label"]) == ("3", "exact_match")


# ---------------------------------------------------------------- corrections, on a store in this process


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    import asyncio

    store = MemoryStore()
    monkeypatch.setattr(stores, "ask", lambda _, work: asyncio.run(work(store)))
    return store


def values(store: MemoryStore, prefix: str) -> dict[str, Any]:
    return {key: decode(r.value) for key, r in store._records.items() if key.startswith(prefix) and r.value}


def test_a_correction_keeps_no_text_unless_told(store: MemoryStore, capsys: pytest.CaptureFixture[str]) -> None:
    corrections.add(f"{ADDRESS} 13800001234", ["city=杭州", "road=幸福街", "roadno=１号"])
    ((key, made),) = values(store, PREFIX).items()
    assert key == PREFIX + digest(normalize(ADDRESS).text)
    assert made.components == (("city", 0, 2), ("road", 5, 8), ("roadno", 8, 10))
    assert ADDRESS.encode() not in encode(made)
    corrections.add(ADDRESS, ["road=幸福街"], why="seen", keep_text=True)
    ((_, made),) = values(store, PREFIX).items()
    assert (made.text, made.why) == (ADDRESS, "seen")
    corrections.list_(as_json=True)
    (shown,) = json.loads(capsys.readouterr().out)["corrections"]
    assert (shown["corrects"], shown["text"]) == (["components"], ADDRESS)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ([], "nothing is approved"),
        (["street=幸福街"], "no such type"),
        (["road=别的街"], "does not stand there"),
        (["roadno=1号", "road=幸福街"], "behind the one before"),
    ],
)
def test_components_that_do_not_fit_are_refused_without_the_address(
    store: MemoryStore, told: list[str], message: str
) -> None:
    from addrmesh.errors import ConfigError

    with pytest.raises(ConfigError, match=message) as refused:
        corrections.add(ADDRESS, told)
    assert "幸福" not in str(refused.value)
    assert "别的" not in str(refused.value)
    assert not store._records


def test_a_result_is_approved_as_validate_prints_it(addrmesh: "Command", store: MemoryStore, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_bytes(addrmesh("validate", f"{ADDRESS} 13800001234", "--json").stdout)
    corrections.add(f"{ADDRESS} 13800001234", None, tmp_path / "r.json")
    ((_, made),) = values(store, PREFIX).items()
    assert made.result.receiver is None
    assert {component.span for component in made.result.address.components} == {None}


def test_what_is_exported_can_be_imported_and_removed(
    store: MemoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corrections.add(ADDRESS, ["road=幸福街"], keep_text=True)
    corrections.export()
    (tmp_path / "all.ndjson").write_text(capsys.readouterr().out)
    corrections.remove(ADDRESS)
    assert not [one for one in values(store, PREFIX).values() if one.is_active]
    corrections.import_(str(tmp_path / "all.ndjson"))
    ((key, made),) = values(store, PREFIX).items()
    assert (made.components, made.text) == ((("road", 5, 8),), None)
    corrections.remove(key.removeprefix(PREFIX))
    assert not [one for one in values(store, PREFIX).values() if one.is_active]


def test_a_proposal_is_approved_by_importing_it(
    addrmesh: "Command", store: MemoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import asyncio

    (item,) = json.loads(addrmesh("validate", ADDRESS, "--json").stdout)["items"]
    proposal = proposed(ADDRESS, msgspec.convert(item, Result))
    asyncio.run(store.put(PROPOSED + digest(ADDRESS), encode(proposal)))
    corrections.list_(proposed=True)
    assert ADDRESS in capsys.readouterr().out
    corrections.export(proposed=True)
    (tmp_path / "p.ndjson").write_text(capsys.readouterr().out)
    corrections.import_(str(tmp_path / "p.ndjson"))
    assert not values(store, PROPOSED)
    ((_, made),) = values(store, PREFIX).items()
    assert (made.result is not None, made.text) == (True, None)
    assert made.created <= datetime.now(UTC)


def test_no_line_of_a_bad_file_is_imported(store: MemoryStore, tmp_path: Path) -> None:
    from addrmesh.errors import ConfigError

    good = {"digest": "0" * 40, "created": "2026-01-01T00:00:00Z", "created_by": "x", "components": [["road", 0, 1]],
            "length": 1}  # fmt: skip
    for bad in ("{", json.dumps({**good, "length": 0}), json.dumps({**good, "digest": None}), '["幸福街"]'):
        (tmp_path / "bad.ndjson").write_text(f"{json.dumps(good)}\n{bad}\n")
        with pytest.raises(ConfigError, match="line 2") as refused:
            corrections.import_(str(tmp_path / "bad.ndjson"))
        assert "幸福" not in str(refused.value)
    assert not store._records
