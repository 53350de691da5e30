import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from addrmesh.fleet.processes import (
    HUNG_AFTER_S,
    Keeper,
    ProcessFailed,
    ProcessSpec,
    ProcessStatus,
    Sighting,
    is_hung,
    is_kept_by,
    restart_delay_s,
    status_after,
    stop_orphans,
)

WELL = Sighting(answers=True, ready=True, release="r@1")
SILENT = Sighting(answers=False)
STARTING = ProcessStatus("eu", "node", "node-1", pid=1)
READY = ProcessStatus(
    "eu", "node", "node-1", pid=1, release="r@1", state="ready", started_at=100.0, answered_at=100.0, was_ready=True
)


def test_the_delay_doubles_with_each_death_in_a_row_up_to_a_limit() -> None:
    assert [restart_delay_s(n) for n in (1, 2, 3, 4, 7, 1000)] == [0.5, 1.0, 2.0, 4.0, 30.0, 30.0]


def test_a_starting_process_is_ready_when_its_probe_says_so() -> None:
    assert status_after(STARTING, exited=False, seen=SILENT, now=1.0) == STARTING
    ready = status_after(STARTING, exited=False, seen=WELL, now=1.0)
    assert (ready.state, ready.release, ready.was_ready) == ("ready", "r@1", True)


def test_no_news_changes_nothing() -> None:
    assert status_after(READY, exited=False, seen=None, now=500.0) == READY


def test_a_process_that_dies_before_it_was_ever_ready_has_failed() -> None:
    assert status_after(STARTING, exited=True, seen=None, now=1.0).state == "failed"


def test_a_process_that_stops_answering_is_unready_and_may_come_back() -> None:
    unready = status_after(READY, exited=False, seen=SILENT, now=101.0)
    assert unready.state == "unready"
    assert status_after(unready, exited=False, seen=WELL, now=102.0).state == "ready"


def test_a_process_is_hung_when_it_is_silent_for_long_but_not_while_it_says_no() -> None:
    silent = status_after(READY, exited=False, seen=SILENT, now=101.0)
    assert not is_hung(silent, 100.0 + HUNG_AFTER_S)
    assert is_hung(silent, 100.1 + HUNG_AFTER_S)
    draining = status_after(READY, exited=False, seen=Sighting(answers=True), now=200.0)
    assert draining.state == "unready"
    assert not is_hung(draining, 200.0)


def test_a_process_that_dies_waits_longer_each_time() -> None:
    first = status_after(READY, exited=True, seen=None, now=101.0)
    assert (first.state, first.pid, first.retry_at, first.deaths_in_row) == ("waiting", None, 101.5, 1)
    again = ProcessStatus(
        "eu", "node", "n", state="ready", started_at=101.5, was_ready=True, deaths_in_row=first.deaths_in_row
    )
    assert status_after(again, exited=True, seen=None, now=102.0).retry_at == 103.0


def test_a_process_that_ran_long_starts_again_without_a_grudge() -> None:
    old = ProcessStatus("eu", "node", "n", state="ready", started_at=0.0, was_ready=True, deaths_in_row=6)
    assert status_after(old, exited=True, seen=None, now=1000.0).deaths_in_row == 1


def test_a_waiting_process_stays_waiting_whatever_is_seen() -> None:
    waiting = ProcessStatus("eu", "node", "n", state="waiting", retry_at=9.0)
    assert status_after(waiting, exited=True, seen=WELL, now=1.0) == waiting


def spec(tmp_path: Path, name: str, code: str, *, ready: bool = True) -> ProcessSpec:
    return ProcessSpec(
        region="eu", kind="node", name=name, command=(sys.executable, "-c", code), log=tmp_path / f"{name}.log",
        probe=lambda: Sighting(answers=ready, ready=ready),
    )  # fmt: skip


def tick_until(keeper: Keeper, state: str) -> None:
    deadline = time.monotonic() + 10
    while any(status.state != state for status in keeper.statuses):
        assert time.monotonic() < deadline, keeper.statuses
        keeper.tick()
        time.sleep(0.01)


WAIT = "import time; time.sleep(60)"


def test_a_keeper_starts_what_is_new_stops_what_is_gone_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, drain_timeout_s=1.0)
    try:
        keeper.reconcile([spec(tmp_path, "a", WAIT), spec(tmp_path, "b", WAIT)])
        tick_until(keeper, "ready")
        a, b = (status.pid for status in keeper.statuses)
        assert a is not None
        assert b is not None
        assert is_kept_by(tmp_path, a)
        assert not is_kept_by(tmp_path / "other", a)
        keeper.reconcile([spec(tmp_path, "a", WAIT), spec(tmp_path, "c", WAIT)])
        tick_until(keeper, "ready")
        assert keeper.statuses[0].pid == a
        assert not is_kept_by(tmp_path, b)
    finally:
        keeper.stop()
    assert {status.state for status in keeper.statuses} == {"stopped"}


def test_what_has_changed_is_restarted_one_after_the_other(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, drain_timeout_s=1.0)
    before = [spec(tmp_path, name, WAIT) for name in "abc"]
    try:
        keeper.reconcile(before)
        tick_until(keeper, "ready")
        old = [status.pid for status in keeper.statuses]
        keeper.reconcile([replace(one, digest="new") for one in before])
        deadline = time.monotonic() + 10
        while any(status.pid == pid for status, pid in zip(keeper.statuses, old, strict=True)):
            assert time.monotonic() < deadline, keeper.statuses
            keeper.tick()
            assert sum(status.state != "ready" for status in keeper.statuses) <= 1
            time.sleep(0.01)
        tick_until(keeper, "ready")
        new = [status.pid for status in keeper.statuses]
        keeper.reconcile([replace(one, digest="new") for one in before])
        keeper.tick()
        assert [status.pid for status in keeper.statuses] == new, "what is as it should be is left alone"
    finally:
        keeper.stop()


def test_a_process_that_was_never_ready_ends_its_keeper_with_its_last_words(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, drain_timeout_s=1.0)
    try:
        keeper.reconcile([spec(tmp_path, "a", "import sys; sys.exit('error: no model here')", ready=False)])
        with pytest.raises(ProcessFailed, match=r"node eu/a ended with code 1 before it was ready: no model here"):
            tick_until(keeper, "ready")
    finally:
        keeper.stop()


def test_orphans_are_known_by_their_mark_and_stopped(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, drain_timeout_s=1.0)
    try:
        keeper.reconcile([spec(tmp_path, "a", WAIT)])
        pid = keeper.statuses[0].pid
        assert pid is not None
        tick_until(keeper, "ready")
        assert stop_orphans(tmp_path / "other", [pid], 5.0) == []
        assert is_kept_by(tmp_path, pid)
        assert stop_orphans(tmp_path, [pid, 2**22 - 1], 5.0) == []
        assert not is_kept_by(tmp_path, pid)
    finally:
        keeper.stop()
