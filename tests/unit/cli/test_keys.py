import asyncio
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
import typer
from typer.testing import CliRunner

from addrmesh.cli import keys
from addrmesh.cli import stores as stores_module
from addrmesh.errors import ConfigError
from addrmesh.fleet import journal
from addrmesh.node.access import PREFIX, KeyRing, Unauthenticated, decode
from addrmesh.store.memory import MemoryStore


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """The store every command opens; `asked` holds the regions they asked for."""
    store = MemoryStore()
    store.asked = []

    async def open_store(region: str | None) -> MemoryStore:
        store.asked.append(region)
        return store

    monkeypatch.setattr(stores_module, "open_store", open_store)
    return store


def run(*arguments: str):
    root = typer.Typer()
    root.add_typer(keys.app, name="keys")
    return CliRunner().invoke(root, ["keys", *arguments])


def create(*more: str) -> str:
    """Make a key for parsing; return it."""
    done = run("create", "--label", "checkout", "--scope", "parse", "--rps", "50", *more)
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def ring(store: MemoryStore) -> KeyRing:
    known = KeyRing()
    for record in asyncio.run(store.scan(PREFIX)):
        known.apply(record.key.removeprefix(PREFIX), record.value)
    return known


def caller(store: MemoryStore, secret: str, now: datetime | None = None):
    return ring(store).identify(f"Bearer {secret}".encode(), (now or datetime.now(UTC)).timestamp())


def test_a_new_key_is_printed_once_and_works(store: MemoryStore):
    secret = create("--scope", "match", "--burst", "120", "--region", "cn")
    assert re.fullmatch("am_[a-z2-7]{8}_[a-z2-7]{32}", secret)
    assert store.asked == ["cn"]
    found = caller(store, secret)
    assert (found.label, found.scopes, found.rps, found.burst) == ("checkout", {"parse", "match"}, 50, 120)
    everything = [*asyncio.run(store.export()), run("list").output, run("show", found.id).output]
    assert secret.rpartition("_")[2] not in repr(everything)


def test_a_key_can_end_by_itself(store: MemoryStore):
    secret = create("--days", "30")
    assert caller(store, secret, datetime.now(UTC) + timedelta(days=29))
    with pytest.raises(Unauthenticated, match="expired"):
        caller(store, secret, datetime.now(UTC) + timedelta(days=30, minutes=1))


def test_keys_are_listed_with_their_state(store: MemoryStore):
    first, second = create(), create("--scope", "*")
    assert run("revoke", second.split("_")[1], "--reason", "leaked").exit_code == 0
    asyncio.run(store.put(PREFIX + "later", b'{"of": "a later version"}'))
    shown = run("list", "--json")
    assert "key/later is no key that this version can read" in shown.stderr
    found = {one["id"]: one for one in json.loads(shown.stdout)["keys"]}
    assert {i: one["state"] for i, one in found.items()} == {
        first.split("_")[1]: "active",
        second.split("_")[1]: "revoked",
    }
    assert found[second.split("_")[1]]["scopes"] == ["parse", "*"]
    assert not any("hash" in one for one in found.values())
    table = [line.split() for line in run("list").stdout.splitlines()]
    assert table[0] == ["id", "state", "rps", "scopes", "label"]
    assert [first.split("_")[1], "active", "50", "parse", "checkout"] in table


def test_one_key_is_shown_whole(store: MemoryStore):
    key_id = create().split("_")[1]
    shown = json.loads(run("show", key_id, "--json").stdout)["key"]
    kept = decode(asyncio.run(store.get(PREFIX + key_id)).value)
    assert (shown["id"], shown["created_by"], shown["expires"]) == (key_id, kept.created_by, None)
    assert f"created     {kept.created}" in run("show", key_id).stdout.splitlines()


def test_with_json_the_secret_is_in_the_document(store: MemoryStore):
    made = json.loads(create("--json"))
    assert caller(store, made["secret"]).id == made["key"]["id"]


def test_a_revoked_key_stays_as_revoked_and_the_journal_says_why(store: MemoryStore):
    secret = create()
    key_id = secret.split("_")[1]
    assert run("revoke", key_id, "--reason", "found in a repository").exit_code == 0
    with pytest.raises(Unauthenticated, match="revoked"):
        caller(store, secret)
    told = {entry.what: entry for entry in asyncio.run(journal.last(store, 9))}
    assert told["key.revoked"].why == "found in a repository"
    assert told["key.created"].inputs == {"key": key_id}


@pytest.mark.parametrize("verb", [["show"], ["revoke", "--reason", "x"]])
def test_a_key_that_is_not_there_is_named_with_what_to_do(store: MemoryStore, verb: list[str]):
    refused = run(*verb, "abcd2345")
    assert isinstance(refused.exception, ConfigError)
    assert str(refused.exception) == "there is no key 'abcd2345'; `addrmesh keys list` shows the ids"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scope", "pars", "--rps", "1"], "--scope: found pars, allowed: admin, divisions"),
        (["--scope", "parse", "--rps", "0"], "--rps: found 0"),
        (["--scope", "parse", "--rps", "nan"], "--rps: found nan"),
        (["--scope", "parse", "--rps", "1", "--burst", "0.5"], "--burst: found 0.5"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(store: MemoryStore, arguments: list[str], said: str):
    refused = run("create", "--label", "x", *arguments)
    assert isinstance(refused.exception, ConfigError)
    assert str(refused.exception).startswith(said)
    assert asyncio.run(store.export()) == []
