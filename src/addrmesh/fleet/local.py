"""
The fleet on this machine: starts its nodes as child processes, keeps them alive, stops them.

One supervisor per state directory: it holds `fleet.lock` as long as it lives, so "is it up?" needs no guess
about process ids, and writes what it knows to `fleet.json` after every change. `node_after` decides what
happens to a node and touches nothing; `Supervisor` carries it out.

    starting ── ready ──▶ ready ◀──▶ unready          the process runs and answers, or does not
       │ exits              │ exits    │
       ▼                    ▼          ▼
    failed              waiting ── delay over ──▶ starting

A node that dies before it was ever ready ends `up`: it would do so again. One that has been ready is started
again, after a delay that doubles with each death in a row.
"""

import fcntl
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from addrmesh.errors import AddrmeshError, ConfigError
from addrmesh.fleet import ports

State = Literal["starting", "ready", "unready", "waiting", "failed", "stopped"]

FIRST_DELAY_S, MAX_DELAY_S = 0.5, 30.0
STEADY_AFTER_S = 60.0
"""A node that ran this long starts again without a grudge."""
PROBE_TIMEOUT_S = 1.0
TICK_S = 0.2
KILL_AFTER_S = 5.0
"""How long after its drain time a node that has not stopped is killed."""
LOCK_ATTEMPTS = 4
"""Whoever asks `is_locked` holds the lock for a moment; that must not look like a supervisor."""


class AlreadyUp(AddrmeshError):
    """A supervisor runs in this state directory."""


class NodeFailed(AddrmeshError):
    """A node ended before it was ever ready."""


@dataclass(frozen=True)
class NodeSpec:
    """What a node should be."""

    name: str
    host: str
    port: int

    @property
    def url(self) -> str:
        """Where callers reach it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


@dataclass(frozen=True)
class RegionSpec:
    """What a region should be."""

    name: str
    nodes: tuple[NodeSpec, ...]


class NodeStatus(msgspec.Struct, frozen=True):
    """What is known of a node."""

    name: str
    url: str
    pid: int | None = None
    release: str | None = None
    state: State = "starting"
    restarts: int = 0
    deaths_in_row: int = 0
    started_at: float = 0.0
    """Monotonic seconds."""
    retry_at: float = 0.0
    """Monotonic seconds; when a waiting node is started."""
    was_ready: bool = False


class RegionStatus(msgspec.Struct, frozen=True):
    """What is known of a region."""

    name: str
    nodes: tuple[NodeStatus, ...]


class FleetStatus(msgspec.Struct, frozen=True):
    """The contents of `fleet.json`."""

    supervisor: int
    regions: tuple[RegionStatus, ...]


def restart_delay_s(deaths_in_row: int) -> float:
    """Return how long to wait before starting a node again, in seconds."""
    return min(MAX_DELAY_S, FIRST_DELAY_S * 2.0 ** min(deaths_in_row - 1, 10))


def node_after(node: NodeStatus, *, exited: bool, release: str | None, now: float) -> NodeStatus:
    """
    Decide what a node is, given what was just seen of it.

    Args:
        node: What it was.
        exited: Its process has ended.
        release: What it serves, if its readiness probe was answered 200; else None.
        now: Monotonic seconds.
    """
    if node.state == "waiting":
        return node
    if exited:
        if not node.was_ready:
            return _with(node, state="failed", pid=None)
        deaths = 1 if now - node.started_at >= STEADY_AFTER_S else node.deaths_in_row + 1
        return _with(node, state="waiting", pid=None, deaths_in_row=deaths, retry_at=now + restart_delay_s(deaths))
    if release is not None:
        return _with(node, state="ready", release=release, was_ready=True)
    return _with(node, state="unready") if node.state == "ready" else node


def _with(node: NodeStatus, **changes: Any) -> NodeStatus:
    return msgspec.structs.replace(node, **changes)


class StateDirectory:
    """Where the supervisor leaves its lock, its state and the logs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.status_file = path / "fleet.json"
        self.lock_file = path / "fleet.lock"
        self.log_file = path / "supervisor.log"

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "StateDirectory":
        """Return the one of this user: ADDRMESH_STATE_DIR, else below XDG_STATE_HOME, else ~/.local/state."""
        if chosen := environ.get("ADDRMESH_STATE_DIR"):
            return cls(Path(chosen))
        base = environ.get("XDG_STATE_HOME")
        return cls((Path(base) if base else Path.home() / ".local" / "state") / "addrmesh")

    def create(self) -> None:
        """Make the directory, for this user alone."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be made ({error.strerror}); set ADDRMESH_STATE_DIR") from error

    def node_log(self, region: str, node: str) -> Path:
        """Return where a node's output goes."""
        return self.path / f"{region}.{node}.log"

    def lock(self) -> IO[str]:
        """
        Take the supervisor's lock and remove what an earlier one wrote; closing the file gives the lock back.

        Raises:
            AlreadyUp: Another process holds it, or nodes of a killed supervisor still run.
        """
        self.create()
        try:
            file = self.lock_file.open("a")
        except OSError as error:
            raise ConfigError(f"{self.lock_file}: cannot be written ({error.strerror})") from error
        for attempt in range(LOCK_ATTEMPTS):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if attempt + 1 < LOCK_ATTEMPTS:
                    time.sleep(0.05)
            else:
                if (status := self.read()) and (orphans := _orphans(status)):
                    file.close()
                    pids = ", ".join(map(str, orphans))
                    raise AlreadyUp(f"nodes of a killed supervisor still run (pid {pids}); `addrmesh down` stops them")
                self.status_file.unlink(missing_ok=True)
                return file
        file.close()
        raise AlreadyUp("addrmesh is already up here; see `addrmesh status`, stop it with `addrmesh down`")

    def is_locked(self) -> bool:
        """Say whether a supervisor lives."""
        try:
            with self.lock_file.open("r") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def write(self, status: FleetStatus) -> None:
        """Replace the state as one step."""
        new = self.status_file.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(status))
        new.replace(self.status_file)

    def read(self) -> FleetStatus | None:
        """Return the state last written, if any."""
        try:
            return msgspec.json.decode(self.status_file.read_bytes(), type=FleetStatus)
        except (OSError, msgspec.DecodeError):
            return None


def probe(url: str) -> str | None:
    """Return the release of a node that is ready; None when it is not ready or does not answer in time."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        ready = connection.getresponse()
        body = ready.read()
        if ready.status != http.client.OK:
            return None
        connection.request("GET", "/health")
        health = json.loads(connection.getresponse().read() or body)
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return str(health.get("model_version", "?")) if isinstance(health, dict) else "?"


class Supervisor:
    """Runs the nodes of the given regions until told to stop."""

    def __init__(
        self,
        regions: Sequence[RegionSpec],
        directory: StateDirectory,
        *,
        drain_timeout_s: float,
        show: Callable[[FleetStatus], None] = lambda _: None,
        node_command: Sequence[str] = (sys.executable, "-m", "addrmesh", "node", "serve"),
    ) -> None:
        """
        Prepare; nothing is started yet.

        Args:
            regions: What should run.
            directory: The caller holds its lock.
            drain_timeout_s: How long a node may take to finish its work.
            show: Called after each change.
            node_command: How a node is started, without its options.
        """
        self._regions, self._directory, self._drain_timeout_s = regions, directory, drain_timeout_s
        self._show, self._node_command = show, node_command
        self._processes: dict[tuple[str, str], subprocess.Popen[bytes]] = {}
        self.status = FleetStatus(
            os.getpid(),
            tuple(RegionStatus(r.name, tuple(NodeStatus(n.name, n.url) for n in r.nodes)) for r in regions),
        )

    def run(self, stop: threading.Event) -> None:
        """
        Start the nodes and keep them alive until `stop` is set; then stop them.

        Raises:
            NodeFailed: A node ended before it was ever ready.
        """
        try:
            self._each(self._start)
            while not stop.wait(TICK_S):
                self._each(self._tick)
                for region in self.status.regions:
                    for node in region.nodes:
                        if node.state == "failed":
                            raise NodeFailed(self._obituary(region.name, node.name))
        finally:
            self._stop()

    def _each(self, step: Callable[[str, NodeSpec, NodeStatus], NodeStatus]) -> None:
        regions = tuple(
            RegionStatus(spec.name, tuple(step(spec.name, n, s) for n, s in zip(spec.nodes, status.nodes, strict=True)))
            for spec, status in zip(self._regions, self.status.regions, strict=True)
        )
        if regions != self.status.regions:
            self.status = FleetStatus(self.status.supervisor, regions)
            self._directory.write(self.status)
            self._show(self.status)

    def _start(self, region: str, spec: NodeSpec, node: NodeStatus) -> NodeStatus:
        arguments = [
            f"--host={spec.host}",
            f"--port={spec.port}",
            f"--region={region}",
            f"--name={spec.name}",
        ]
        with self._directory.node_log(region, spec.name).open("ab") as log:
            # A session of its own: Ctrl-C reaches the supervisor alone, which then drains the nodes.
            process = subprocess.Popen(  # noqa: S603 # ourselves, with checked settings
                [*self._node_command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes[region, spec.name] = process
        return _with(node, pid=process.pid, state="starting", started_at=time.monotonic())

    def _tick(self, region: str, spec: NodeSpec, node: NodeStatus) -> NodeStatus:
        now = time.monotonic()
        if node.state == "waiting":
            return _with(self._start(region, spec, node), restarts=node.restarts + 1) if now >= node.retry_at else node
        exited = self._processes[region, spec.name].poll() is not None
        return node_after(node, exited=exited, release=None if exited else probe(spec.url), now=now)

    def _stop(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self._drain_timeout_s + KILL_AFTER_S
        for process in self._processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._each(lambda _region, _spec, node: _with(node, state="stopped", pid=None))
        self._directory.status_file.unlink(missing_ok=True)

    def _obituary(self, region: str, node: str) -> str:
        code = self._processes[region, node].returncode
        log = self._directory.node_log(region, node)
        lines = log.read_text("utf-8", "replace").strip().splitlines()
        last = f": {lines[-1].removeprefix('error: ')}" if lines else ""
        return f"node {region}/{node} ended with code {code} before it was ready{last}; its log is {log}"


def check_ports(regions: Sequence[RegionSpec]) -> None:
    """
    Find out before anything is started whether the nodes can listen.

    Raises:
        ConfigError: A port is taken; says by whom where that is known.
    """
    for region in regions:
        for node in region.nodes:
            if not ports.is_free(node.host, node.port):
                pid = ports.holder(node.port)
                who = f"by process {pid} ({command_of(pid)[:80]})" if pid else "by another process"
                raise ConfigError(
                    f"port {node.port} on {node.host} is taken {who}; stop it, or choose another (--port)"
                )


def command_of(pid: int) -> str:
    """Return a process's command line, where the system tells (Linux); else a question mark."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return "?"


def observe(status: FleetStatus) -> FleetStatus:
    """Return `status` with each node's state as its own probe tells it now."""

    def now(node: NodeStatus) -> NodeStatus:
        if node.state not in ("ready", "unready", "starting"):
            return node
        release = probe(node.url)
        return node_after(node, exited=False, release=release, now=0.0)

    return FleetStatus(status.supervisor, tuple(RegionStatus(r.name, tuple(map(now, r.nodes))) for r in status.regions))


def is_ready(status: FleetStatus) -> bool:
    """Say whether every node is ready."""
    return all(node.state == "ready" for region in status.regions for node in region.nodes)


def stop(directory: StateDirectory, *, timeout_s: float) -> FleetStatus | None:
    """
    Stop the supervisor of `directory` and wait until it and its nodes are gone.

    Nodes whose supervisor was killed are stopped too.

    Returns:
        What was running; None when nothing was.

    Raises:
        AddrmeshError: The supervisor is still there after `timeout_s` seconds.
    """
    status = directory.read()
    if not directory.is_locked():
        orphans = _orphans(status) if status else []
        for pid in orphans:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        _wait(lambda: not any(map(_is_node, orphans)), timeout_s, "nodes without a supervisor are still there")
        directory.status_file.unlink(missing_ok=True)
        return status if orphans else None
    if status is None:
        raise AddrmeshError(f"a supervisor holds {directory.lock_file} but has not said who it is; try again")
    with suppress(ProcessLookupError):
        os.kill(status.supervisor, signal.SIGTERM)
    _wait(lambda: not directory.is_locked(), timeout_s, f"supervisor {status.supervisor} is still there")
    return status


def _orphans(status: FleetStatus) -> list[int]:
    return [n.pid for r in status.regions for n in r.nodes if n.pid is not None and _is_node(n.pid)]


def _is_node(pid: int) -> bool:
    return "node serve" in command_of(pid)


def _wait(over: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not over():
        if time.monotonic() > deadline:
            raise AddrmeshError(f"{otherwise} after {timeout_s:.0f} s")
        time.sleep(0.05)
