"""`addrmesh config` and `addrmesh store` over a store in memory."""

import asyncio
import itertools
import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from addrmesh.cli import store as store_commands
from addrmesh.cli import stores
from addrmesh.cli.config import NotWritten
from addrmesh.cli.main import app
from addrmesh.errors import ConfigError
from addrmesh.store.documents import Documents, EditedMeanwhile
from addrmesh.store.memory import MemoryStore
from addrmesh.store.records import Record, Version
from addrmesh.store.snapshot import SnapshotRefused

REASON = ("--reason", "a test", "--author", "lin")


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """The store that every command opens."""
    ticks = itertools.count(1_800_000_000_000, 1000)
    only = MemoryStore("eu", wall_ms=lambda: next(ticks))

    async def open_store(region: str | None) -> MemoryStore:
        assert region in {None, "eu"}
        return only

    monkeypatch.setattr(stores, "open_store", open_store)
    return only


def run(*arguments: object, given: str | None = None, commands: Any = app) -> Any:
    return CliRunner().invoke(commands, list(map(str, arguments)), input=given)


def set_limits(wait_ms: int) -> str:
    """Write the document `limits` and return its revision."""
    done = run("config", "set", "limits", "-", *REASON, "--json", given=f"max_wait_ms: {wait_ms}\n")
    assert done.exit_code == 0, done.exception
    return str(json.loads(done.stdout)["document"]["revision"])


def conflict(store: MemoryStore) -> tuple[str, str]:
    """Let another region change the same document without seeing ours; return the effective and the other revision."""
    theirs = MemoryStore("cn")
    base = Documents(store, {"limits": lambda content: content})
    other = Documents(theirs, {"limits": lambda content: content})

    async def work() -> tuple[str, str]:
        first = await base.put("limits", {"max_wait_ms": 1}, author="lin", reason="first", expect=None)
        await theirs.absorb(await store.export())
        await base.put("limits", {"max_wait_ms": 2}, author="lin", reason="ours", expect=first.revision)
        await other.put("limits", {"max_wait_ms": 3}, author="ana", reason="theirs", expect=first.revision)
        await store.absorb(await theirs.export())
        seen = await base.get("limits")
        assert seen is not None
        return seen.revision, seen.conflict[0].id

    return asyncio.run(work())


def test_set_and_get(tmp_path: Path) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text("max_wait_ms: 5\n")
    written = run("config", "set", "limits", file, *REASON, "--region", "eu")
    assert written.exit_code == 0
    assert "+max_wait_ms: 5" in written.stdout
    got = run("config", "get", "limits")
    assert yaml.safe_load(got.stdout) == {"max_wait_ms": 5}
    assert '"a test", lin, 20' in got.stderr
    document = json.loads(run("config", "get", "limits", "--json").stdout)["document"]
    assert (document["content"], document["author"], document["conflict"]) == ({"max_wait_ms": 5}, "lin", [])


def test_an_earlier_revision_is_printed() -> None:
    first = set_limits(1)
    set_limits(2)
    assert run("config", "get", "limits", "--revision", first[:8]).stdout == "max_wait_ms: 1\n"


def test_what_the_document_does_not_allow_is_refused(store: MemoryStore) -> None:
    refused = run("config", "set", "limits", "-", *REASON, given="max_wait: 5\n")
    assert isinstance(refused.exception, ConfigError)
    assert "limits" in str(refused.exception)
    broken = run("config", "set", "limits", "-", *REASON, given="a: 1\n b: 2\n")
    assert "standard input: is not YAML: mapping values are not allowed here in line 2" in str(broken.exception)
    missing = run("config", "set", "limits", "nowhere.yaml", *REASON)
    assert "nowhere.yaml: cannot be read" in str(missing.exception)
    assert asyncio.run(store.export()) == []


def test_a_decision_rule_that_would_accept_an_error_is_refused(store: MemoryStore) -> None:
    rule = {"severities": {"error": "FIX", "warning": "CONFIRM", "info": "ACCEPT"}}
    bad = {**rule, "exceptions": {"NOT_AN_ADDRESS": "ACCEPT"}}
    refused = run("config", "set", "decision-rule", "-", *REASON, given=json.dumps(bad))
    assert str(refused.exception).startswith(
        "decision-rule: exceptions.NOT_AN_ADDRESS: found 'ACCEPT', expected CONFIRM"
    )
    assert asyncio.run(store.export()) == []
    assert run("config", "set", "decision-rule", "-", *REASON, given=json.dumps(rule)).exit_code == 0


def test_a_change_based_on_an_old_revision_is_refused() -> None:
    first = set_limits(1)
    set_limits(2)
    late = run("config", "set", "limits", "-", *REASON, "--expect", first, given="max_wait_ms: 3\n")
    assert isinstance(late.exception, EditedMeanwhile)


def test_a_document_never_written_says_how_to_write_it() -> None:
    assert isinstance(run("config", "get", "limits").exception, NotWritten)
    assert "addrmesh config set limits FILE" in str(run("config", "history", "limits").exception)


def test_history_and_diff_and_rollback() -> None:
    first, second = set_limits(1), set_limits(2)
    lines = run("config", "history", "limits").stdout.splitlines()
    assert [line[:18] for line in lines] == [f"* {second}", f"  {first}"]
    assert [r["id"] for r in json.loads(run("config", "history", "limits", "--json").stdout)["revisions"]] == [
        second,
        first,
    ]
    expected = [f"--- {first}", f"+++ {second}", "@@ -1 +1 @@", "-max_wait_ms: 1", "+max_wait_ms: 2"]
    assert run("config", "diff", "limits").stdout.splitlines() == expected
    assert run("config", "diff", "limits", first, second).stdout.splitlines() == expected
    assert json.loads(run("config", "diff", "limits", "--json").stdout)["diff"] == expected
    assert run("config", "rollback", "limits", first[:6], *REASON).exit_code == 0
    assert run("config", "get", "limits").stdout == "max_wait_ms: 1\n"
    assert len(run("config", "history", "limits").stdout.splitlines()) == 3


def test_the_first_revision_has_nothing_to_compare_with() -> None:
    set_limits(1)
    assert "is its first revision" in str(run("config", "diff", "limits").exception)


def editor(tmp_path: Path, script: str) -> str:
    file = tmp_path / "editor"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


def test_edit_writes_what_the_editor_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(1)
    monkeypatch.setenv("EDITOR", editor(tmp_path, 'sed -i "s/: 1/: 7/" "$1"'))
    monkeypatch.delenv("VISUAL", raising=False)
    assert run("config", "edit", "limits", *REASON).exit_code == 0
    assert run("config", "get", "limits").stdout == "max_wait_ms: 7\n"


def test_edit_without_a_change_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(1)
    monkeypatch.setenv("VISUAL", editor(tmp_path, "true"))
    assert "nothing was changed" in run("config", "edit", "limits", *REASON).stderr
    assert len(run("config", "history", "limits").stdout.splitlines()) == 1


def test_edit_keeps_a_text_that_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", editor(tmp_path, 'echo "max_wait: 7" >> "$1"'))
    refused = run("config", "edit", "limits", *REASON)
    assert isinstance(refused.exception, ConfigError)
    kept = Path(refused.stderr.split("is kept in ")[1].strip())
    assert "max_wait: 7" in kept.read_text()
    kept.unlink()


def test_an_editor_that_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for broken in (editor(tmp_path, "exit 3"), str(tmp_path / "nothing")):
        monkeypatch.setenv("VISUAL", broken)
        assert "name another one in EDITOR" in str(run("config", "edit", "limits", *REASON).exception)


def test_a_conflict_is_shown_with_both_sides_until_it_is_resolved(store: MemoryStore) -> None:
    assert run("config", "conflicts").exit_code == 0
    effective, other = conflict(store)
    shown = run("config", "conflicts")
    assert shown.exit_code == 5
    for expected in (
        "limits\n",
        f"{effective} is effective",
        f"{other} contradicts it",
        '"ours", lin',
        '"theirs", ana',
    ):
        assert expected in shown.stdout
    assert "+max_wait_ms: " in shown.stdout
    (document,) = json.loads(run("config", "conflicts", "--json").stdout)["conflicts"]
    assert (document["revision"], [side["id"] for side in document["conflict"]]) == (effective, [other])
    assert f"CONFLICT with {other}" in run("config", "get", "limits").stderr
    assert f"! {other}" in run("config", "history", "limits").stdout
    resolved = run("config", "resolve", "limits", "--take", other, *REASON)
    assert resolved.exit_code == 0, resolved.exception
    assert run("config", "conflicts").exit_code == 0
    again = run("config", "resolve", "limits", "--take", other, *REASON)
    assert "has no conflict" in str(again.exception)


def test_a_conflict_is_resolved_with_a_third_content(store: MemoryStore) -> None:
    conflict(store)
    assert "say what the document should be" in str(run("config", "resolve", "limits", *REASON).exception)
    assert run("config", "resolve", "limits", "-", *REASON, given="max_wait_ms: 4\n").exit_code == 0
    assert run("config", "get", "limits").stdout == "max_wait_ms: 4\n"


def test_store_status_tells_a_drift_with_its_exit_code(store: MemoryStore) -> None:
    fine = run("status", commands=store_commands.app)
    assert fine.exit_code == 0
    assert "writable   yes" in fine.stdout
    asyncio.run(store.absorb([Record("k", b"", Version(1_900_000_000_000, 0, "cn"))]))
    drifting = run("status", "--json", commands=store_commands.app)
    assert drifting.exit_code == 5
    document = json.loads(drifting.stdout)
    assert (document["drifting"], document["status"]["origins"][0]["region"]) == (True, "eu")


def test_snapshot_and_restore(store: MemoryStore, tmp_path: Path) -> None:
    set_limits(1)
    file = tmp_path / "snapshot"
    assert "2 records" in run("snapshot", file, commands=store_commands.app).stderr
    restored = run("restore", file, "--even-if-old", commands=store_commands.app)
    assert "2 records, 0 of them newer" in restored.stderr
    file.write_text("half")
    assert isinstance(run("restore", file, commands=store_commands.app).exception, SnapshotRefused)


def test_adopting_what_is_not_here_is_refused() -> None:
    refused = run("adopt", "cn", commands=store_commands.app)
    assert "no replica of region 'cn' stands here; there are none" in str(refused.exception)
    assert "cannot adopt itself" in str(run("adopt", "eu", "--region", "eu", commands=store_commands.app).exception)
