from pathlib import Path

import pytest

from addrmesh.fleet.local import AlreadyUp, NodeStatus, StateDirectory, node_after, restart_delay_s

READY = NodeStatus("node-1", "http://x", pid=1, release="r@1", state="ready", started_at=100.0, was_ready=True)


def test_the_delay_doubles_with_each_death_in_a_row_up_to_a_limit() -> None:
    assert [restart_delay_s(n) for n in (1, 2, 3, 4, 7, 1000)] == [0.5, 1.0, 2.0, 4.0, 30.0, 30.0]


def test_a_starting_node_is_ready_when_its_probe_says_so() -> None:
    starting = NodeStatus("node-1", "http://x", pid=1)
    assert node_after(starting, exited=False, release=None, now=1.0) == starting
    ready = node_after(starting, exited=False, release="r@1", now=1.0)
    assert (ready.state, ready.release, ready.was_ready) == ("ready", "r@1", True)


def test_a_node_that_dies_before_it_was_ever_ready_has_failed() -> None:
    assert node_after(NodeStatus("n", "u", pid=1), exited=True, release=None, now=1.0).state == "failed"


def test_a_node_that_stops_answering_is_unready_and_may_come_back() -> None:
    unready = node_after(READY, exited=False, release=None, now=101.0)
    assert unready.state == "unready"
    assert node_after(unready, exited=False, release="r@1", now=102.0).state == "ready"


def test_a_node_that_dies_waits_longer_each_time() -> None:
    first = node_after(READY, exited=True, release=None, now=101.0)
    assert (first.state, first.pid, first.retry_at, first.deaths_in_row) == ("waiting", None, 101.5, 1)
    again = NodeStatus("n", "u", state="ready", started_at=101.5, was_ready=True, deaths_in_row=1)
    assert node_after(again, exited=True, release=None, now=102.0).retry_at == 103.0


def test_a_node_that_ran_long_starts_again_without_a_grudge() -> None:
    old = NodeStatus("n", "u", state="ready", started_at=0.0, was_ready=True, deaths_in_row=6)
    assert node_after(old, exited=True, release=None, now=1000.0).deaths_in_row == 1


def test_a_waiting_node_stays_waiting_whatever_is_seen() -> None:
    waiting = NodeStatus("n", "u", state="waiting", retry_at=9.0)
    assert node_after(waiting, exited=True, release=None, now=1.0) == waiting


def test_the_lock_tells_whether_a_supervisor_lives(tmp_path: Path) -> None:
    directory = StateDirectory(tmp_path / "state")
    assert not directory.is_locked()
    with directory.lock():
        assert directory.is_locked()
        with pytest.raises(AlreadyUp, match="addrmesh down"):
            directory.lock()
    assert not directory.is_locked()


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"ADDRMESH_STATE_DIR": "/a", "XDG_STATE_HOME": "/b"}, Path("/a")),
        ({"XDG_STATE_HOME": "/b"}, Path("/b/addrmesh")),
        ({}, Path.home() / ".local/state/addrmesh"),
    ],
)
def test_the_state_directory_follows_the_environment(environ: dict[str, str], path: Path) -> None:
    assert StateDirectory.of(environ).path == path
