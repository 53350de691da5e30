"""
The fleet on this machine: what `addrmesh up` runs, and the directory in which it is known.

One keeper per state directory: it holds `fleet.lock` as long as it lives, so "is it up?" needs no guess about process
ids, and writes what it knows to `fleet.json` after every change. `processes` turns a fleet spec into the processes it
needs; `processes.Keeper` runs them.
"""

import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from addrmesh.atomic_file import replace_file
from addrmesh.errors import AddrmeshError, ConfigError, Refused
from addrmesh.fleet import ports
from addrmesh.fleet.launch import processes
from addrmesh.fleet.layout import FleetDirectory
from addrmesh.fleet.processes import TICK_S, Keeper, ProcessStatus, command_of, is_kept_by, stop_orphans
from addrmesh.fleet.secrets import make as make_secret
from addrmesh.topology.spec import EdgeSpec, FleetSpec, Location, NodeSpec, RegionSpec, ReplicaSpec, StoreSpec, read

LOCK_ATTEMPTS = 4
"""Whoever asks `is_locked` holds the lock for a moment; that must not look like a keeper."""
PORTS_PER_REGION = 20
HOMES = {
    "eu": Location(latitude=50.1, longitude=8.7),
    "cn": Location(latitude=30.3, longitude=120.2),
    "us": Location(latitude=37.4, longitude=-122.1),
    "sg": Location(latitude=1.35, longitude=103.8),
    "br": Location(latitude=-23.5, longitude=-46.6),
}
"""The regions of a fleet nobody has described, in this order."""


class AlreadyUp(Refused):
    """A keeper runs in this state directory."""


class FleetStatus(msgspec.Struct, frozen=True):
    """The contents of `fleet.json`."""

    keeper: int
    processes: tuple[ProcessStatus, ...]

    @property
    def is_ready(self) -> bool:
        """Whether every process is ready."""
        return bool(self.processes) and all(process.state == "ready" for process in self.processes)

    def of(self, region: str, name: str) -> ProcessStatus | None:
        """Return what is known of one process."""
        return next((p for p in self.processes if (p.region, p.name) == (region, name)), None)


def local_spec(*, regions: int, nodes: int, port: int) -> FleetSpec:
    """
    Return a fleet for this machine: a block of ports for each region, the edge on its first.

    Raises:
        ConfigError: More regions or nodes than there is room for.
    """
    if not 1 <= regions <= len(HOMES):
        raise ConfigError(f"--regions is {regions}, allowed: 1 to {len(HOMES)}; describe a larger fleet with --spec")
    if not 1 <= nodes <= (most := PORTS_PER_REGION // 2 - 2):
        raise ConfigError(f"--nodes is {nodes}, allowed: 1 to {most}; describe larger regions with --spec")
    if port + regions * PORTS_PER_REGION > 65536:
        raise ConfigError(f"--port is {port}, but {regions} regions need {regions * PORTS_PER_REGION} ports from there")
    names = list(HOMES)[:regions]
    return FleetSpec(regions=tuple(_region(name, names, nodes, port) for name in names))


def _region(name: str, names: list[str], nodes: int, port: int) -> RegionSpec:
    first = port + names.index(name) * PORTS_PER_REGION
    store = first + PORTS_PER_REGION // 2
    others = [other for other in names if other != name]
    return RegionSpec(
        name=name,
        location=HOMES[name],
        client_networks=(f"10.{names.index(name) + 1}.0.0/16",),
        nodes=tuple(NodeSpec(name=f"node-{i}", port=first + i) for i in range(1, nodes + 1)),
        edge=EdgeSpec(port=first, admin_port=store - 1),
        store=StoreSpec(
            port=store, replicas=tuple(ReplicaSpec(of=other, port=store + 1 + i) for i, other in enumerate(others))
        ),
    )


class StateDirectory(FleetDirectory):
    """Where the keeper leaves its lock, its state, the stores' data and the logs."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.status_file = path / "fleet.json"
        self.lock_file = path / "fleet.lock"
        self.log_file = path / "up.log"

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "StateDirectory":
        """Return the one of this user: ADDRMESH_STATE_DIR, else below XDG_STATE_HOME, else ~/.local/state."""
        if chosen := environ.get("ADDRMESH_STATE_DIR"):
            return cls(Path(chosen).absolute())
        base = environ.get("XDG_STATE_HOME")
        return cls((Path(base) if base else Path.home() / ".local" / "state") / "addrmesh")

    def create(self) -> None:
        """Make the directory, for this user alone."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be made ({error.strerror}); set ADDRMESH_STATE_DIR") from error

    def lock(self) -> IO[str]:
        """
        Take the keeper's lock and remove what an earlier one wrote; closing the file gives the lock back.

        Raises:
            AlreadyUp: Another process holds it, or children of a killed keeper still run.
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
                if orphans := self.orphans():
                    file.close()
                    pids = ", ".join(map(str, orphans))
                    raise AlreadyUp(
                        f"processes of a killed `addrmesh up` still run (pid {pids}); `addrmesh down` stops them"
                    )
                self.status_file.unlink(missing_ok=True)
                return file
        file.close()
        raise AlreadyUp("addrmesh is already up here; see `addrmesh status`, stop it with `addrmesh down`")

    def is_locked(self) -> bool:
        """Say whether a keeper lives."""
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
        replace_file(self.status_file, msgspec.json.encode(status))

    def read(self) -> FleetStatus | None:
        """Return the state last written, if any."""
        try:
            return msgspec.json.decode(self.status_file.read_bytes(), type=FleetStatus)
        except (OSError, msgspec.DecodeError):
            return None

    def orphans(self) -> list[int]:
        """Return the processes last written that still run."""
        status = self.read()
        pids = [p.pid for p in status.processes if p.pid is not None] if status else []
        return [pid for pid in pids if is_kept_by(self.path, pid)]


def keep(
    spec: FleetSpec,
    directory: StateDirectory,
    stop: threading.Event,
    *,
    drain_timeout_s: float,
    show: Callable[[FleetStatus], None] = lambda _: None,
) -> None:
    """
    Run every process of `spec` until `stop` is set. The caller holds the directory's lock.

    A spec that the supervisors accept meanwhile (`addrmesh fleet apply`) takes its place.

    Raises:
        ProcessFailed: One ended before it was ever ready.
    """
    keeper = Keeper(directory.path, drain_timeout_s=drain_timeout_s)
    published: tuple[ProcessStatus, ...] = ()
    applied_since = 0
    directory.applied_file.unlink(missing_ok=True)
    make_secret(directory.path / spec.secret_file)
    directory.write_spec(spec)
    spec = directory.read_spec()
    try:
        keeper.reconcile(processes(spec, directory))
        while not stop.wait(TICK_S):
            keeper.tick()
            if (since := directory.applied_since()) != applied_since:
                applied_since = since
                if (applied := read(directory.applied_file)) != spec:
                    spec = applied
                    directory.write_spec(spec)
                    keeper.reconcile(processes(spec, directory))
            # The clock reading of each answer changes all the time; nobody wants a line for that.
            if (now := tuple(msgspec.structs.replace(s, answered_at=0.0) for s in keeper.statuses)) != published:
                published = now
                directory.write(FleetStatus(os.getpid(), published))
                show(FleetStatus(os.getpid(), published))
    finally:
        keeper.stop()
        show(FleetStatus(os.getpid(), keeper.statuses))
        directory.status_file.unlink(missing_ok=True)


def check_ports(spec: FleetSpec) -> None:
    """
    Find out before anything is started whether everything can listen.

    Raises:
        ConfigError: A port is taken; says for what, and by whom where that is known.
    """
    for what, host, port in spec.listeners():
        if not ports.is_free(host, port):
            pid = ports.holder(port)
            who = f"by process {pid} ({command_of(pid)[:80]})" if pid else "by another process"
            raise ConfigError(f"{what}: port {port} on {host} is taken {who}; stop it, or choose other ports (--port)")


def stop(directory: StateDirectory, *, timeout_s: float) -> FleetStatus | None:
    """
    Stop the keeper of `directory` and wait until it and its processes are gone.

    Processes whose keeper was killed are stopped too.

    Returns:
        What was running; None when nothing was.

    Raises:
        AddrmeshError: Something is still there after `timeout_s` seconds.
    """
    status = directory.read()
    if not directory.is_locked():
        orphans = directory.orphans()
        if left := stop_orphans(directory.path, orphans, timeout_s):
            pids = ", ".join(map(str, left))
            raise AddrmeshError(f"processes of a killed `addrmesh up` are still there after {timeout_s:.0f} s ({pids})")
        directory.status_file.unlink(missing_ok=True)
        return status if orphans else None
    if status is None:
        raise AddrmeshError(f"something holds {directory.lock_file} but has not said who it is; try again")
    with suppress(ProcessLookupError):
        os.kill(status.keeper, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while directory.is_locked():
        if time.monotonic() > deadline:
            raise AddrmeshError(f"`addrmesh up` (pid {status.keeper}) is still there after {timeout_s:.0f} s")
        time.sleep(0.05)
    return status
