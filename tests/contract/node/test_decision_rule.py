"""The decision rule as nodes follow it: at once, from a real store, and from their disk when there is none."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from addrmesh.settings import Store
from addrmesh.store.documents import Document, Documents
from addrmesh.store.redis import RedisStore
from addrmesh.store.validators import VALIDATORS
from support.live import LiveNode
from support.region import Region
from support.waiting import within

ADDRESS = "abc"  # not an address: FIX by the package's rule
STRICT = {"error": "FIX", "warning": "CONFIRM", "info": "ACCEPT"}
MILD = {"severities": {**STRICT, "error": "CONFIRM"}, "exceptions": {}}
PACKAGED = {"severities": STRICT, "exceptions": {}}
ACCEPTING = {"severities": dict.fromkeys(STRICT, "ACCEPT"), "exceptions": {}}


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    region = Region(tmp_path)
    yield region
    region.server.kill()


def put(content: Any, validators: Any = VALIDATORS) -> Callable[[RedisStore], Any]:
    async def work(store: RedisStore) -> Document:
        documents = Documents(store, validators)
        before = await documents.get("decision-rule")
        return await documents.put(
            "decision-rule", content, author="lin", reason="test", expect=before.revision if before else None
        )

    return work


def actions(node: LiveNode) -> set[str]:
    """What every way of asking answers."""
    with httpx.Client(base_url=node.url, timeout=15) as client:
        one = client.post("/v1/address:validate", json={"address": ADDRESS}).json()["result"]
        (item,) = client.post("/v1/addresses:batchValidate", json={"addresses": [ADDRESS]}).json()["items"]
        line = client.post(
            "/v1/addresses:bulkValidate",
            content=f'{{"address":"{ADDRESS}"}}\n',
            headers={"Content-Type": "application/x-ndjson"},
        ).text.partition("\n")[0]
        google = client.post("/v1:validateAddress", json={"address": {"addressLines": [ADDRESS]}}).json()["result"]
    found = {one["verdict"]["possible_next_action"], item["result"]["verdict"]["possible_next_action"]}
    found.add(google["verdict"]["possibleNextAction"])
    return found | {action for action in ("ACCEPT", "CONFIRM", "FIX") if f'"possible_next_action":"{action}"' in line}


def applied(node: LiveNode) -> str | None:
    return httpx.get(f"{node.url}/health").json()["configuration"].get("decision-rule")


def test_a_new_rule_holds_within_a_second_however_one_asks_and_survives_the_store(start_node, region, tmp_path):
    kept = Store(primary=region.url, last_known_good=tmp_path / "known")
    node = start_node(store=kept)
    assert (actions(node), applied(node)) == ({"FIX"}, None)
    written = region.write(put(MILD))
    assert within(1.0, lambda: applied(node) == written.revision)
    assert actions(node) == {"CONFIRM"}, "also what the node remembers"
    assert within(5.0, (tmp_path / "known/decision-rule.json").exists)

    region.server.kill()
    assert actions(node) == {"CONFIRM"}
    alone = start_node(store=kept)
    assert (actions(alone), applied(alone)) == ({"CONFIRM"}, written.revision), "from its disk, without any store"

    region.server.start()
    region.write(put(PACKAGED))
    assert within(10.0, lambda: actions(node) == actions(alone) == {"FIX"})


def test_a_rule_that_accepts_errors_is_rejected_with_a_log_event_and_changes_nothing(start_node, region, capfd):
    logged: list[str] = []

    def log() -> str:
        logged.append(capfd.readouterr().err)
        return "".join(logged)

    node = start_node(store=Store(primary=region.url))
    good = region.write(put(MILD))
    assert within(5.0, lambda: applied(node) == good.revision)
    region.write(put(ACCEPTING, {"decision-rule": lambda content: content}))  # past the validator
    assert within(5.0, lambda: "document.rejected" in log())
    assert "severities.error: found 'ACCEPT'" in log()
    assert (applied(node), actions(node)) == (good.revision, {"CONFIRM"})
