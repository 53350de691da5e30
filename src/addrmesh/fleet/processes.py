"""
Child processes: started, kept alive, stopped.

`status_after` decides what a process is, given what was just seen of it, and touches nothing; `Keeper` carries it out.

    starting ── ready ──▶ ready ◀──▶ unready ── silent for long: killed
       │ exits              │ exits    │
       ▼                    ▼          ▼
    failed              waiting ── delay over ──▶ starting

A process that dies before it was ever ready ends its keeper: it would do so again. One that has been ready is started
again, after a delay that doubles with each death in a row.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import psutil

from addrmesh.errors import AddrmeshError

Kind = Literal["store", "node", "edge", "supervisor"]
State = Literal["starting", "ready", "unready", "waiting", "failed", "stopped"]

STOP_ORDER: tuple[Kind, ...] = ("supervisor", "edge", "node", "store")
"""What sends traffic stops before what it is sent to."""
FIRST_DELAY_S, MAX_DELAY_S = 0.5, 30.0
STEADY_AFTER_S = 60.0
"""A process that ran this long starts again without a grudge."""
HUNG_AFTER_S = 20.0
"""A process that was ready and has been silent for this long is killed, to be started again."""
TICK_S = 0.1
KILL_AFTER_S = 5.0
"""How long after its drain time a process that has not stopped is killed."""
MARK = "KEPT_BY_ADDRMESH"
"""Environment variable of every child: its keeper's directory. So a child is known although its keeper is gone."""


class ProcessFailed(AddrmeshError):
    """A process ended before it was ever ready."""


class Sighting(msgspec.Struct, frozen=True):
    """What a probe saw."""

    answers: bool
    ready: bool = False
    release: str | None = None
    """Of a node: what it serves."""
    lag_seconds: float | None = None
    """Of a replica: since it last heard from its primary."""


@dataclass(frozen=True)
class ProcessSpec:
    """
    What a process should be.

    Two specs with equal `command` and `digest` need no restart.
    """

    region: str
    kind: Kind
    name: str
    command: tuple[str, ...]
    log: Path
    probe: Callable[[], Sighting]
    directory: Path | None = None
    """Where it runs; by default where its keeper does."""
    digest: str = ""
    """Of the files it reads when it starts."""
    ask_to_drain: Callable[[], float] = lambda: 0.0
    """Called before it is told to stop; returns how long to wait then, in seconds."""

    @property
    def id(self) -> str:
        """Its name in the fleet."""
        return f"{self.region}/{self.name}"


class ProcessStatus(msgspec.Struct, frozen=True):
    """What is known of a process."""

    region: str
    kind: Kind
    name: str
    pid: int | None = None
    release: str | None = None
    lag_seconds: float | None = None
    state: State = "starting"
    restarts: int = 0
    deaths_in_row: int = 0
    started_at: float = 0.0
    """Monotonic seconds."""
    answered_at: float = 0.0
    """Monotonic seconds."""
    retry_at: float = 0.0
    """Monotonic seconds; when a waiting process is started."""
    was_ready: bool = False

    @property
    def id(self) -> str:
        """Its name in the fleet."""
        return f"{self.region}/{self.name}"


def restart_delay_s(deaths_in_row: int) -> float:
    """Return how long to wait before starting a process again, in seconds."""
    return min(MAX_DELAY_S, FIRST_DELAY_S * 2.0 ** min(deaths_in_row - 1, 10))


def status_after(process: ProcessStatus, *, exited: bool, seen: Sighting | None, now: float) -> ProcessStatus:
    """
    Decide what a process is, given what was just seen of it.

    Args:
        process: What it was.
        exited: It has ended.
        seen: What its probe saw; None when no probe has come back since the last time.
        now: Monotonic seconds.
    """
    if process.state == "waiting":
        return process
    if exited:
        if not process.was_ready:
            return _with(process, state="failed", pid=None)
        steady = now - process.started_at >= STEADY_AFTER_S
        deaths = 1 if steady else process.deaths_in_row + 1
        return _with(process, state="waiting", pid=None, deaths_in_row=deaths, retry_at=now + restart_delay_s(deaths))
    if seen is None:
        return process
    if seen.answers:
        process = _with(process, answered_at=now, lag_seconds=seen.lag_seconds)
    if seen.ready:
        return _with(process, state="ready", release=seen.release, was_ready=True)
    return _with(process, state="unready") if process.state == "ready" else process


def is_hung(process: ProcessStatus, now: float) -> bool:
    """Say whether a process that once was ready has said nothing for too long."""
    return process.state == "unready" and now - process.answered_at > HUNG_AFTER_S


def _with(process: ProcessStatus, **changes: Any) -> ProcessStatus:
    return msgspec.structs.replace(process, **changes)


class _Child:
    """One process and its probe."""

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.status = ProcessStatus(spec.region, spec.kind, spec.name)
        self.process: subprocess.Popen[bytes] | None = None
        self.probing: Future[Sighting] | None = None


class Keeper:
    """
    Runs processes until told to stop.

    Args:
        directory: What marks its children as its own.
        drain_timeout_s: How long a process may take to finish its work.
    """

    def __init__(self, directory: Path, *, drain_timeout_s: float) -> None:
        self._directory, self._drain_timeout_s = directory, drain_timeout_s
        self._children: dict[str, _Child] = {}
        self._changed: list[ProcessSpec] = []
        """What is to be restarted, in this order."""
        self._probes = ThreadPoolExecutor(max_workers=16, thread_name_prefix="probe")

    @property
    def statuses(self) -> tuple[ProcessStatus, ...]:
        """What is known of every process, in the order of the specs."""
        return tuple(child.status for child in self._children.values())

    def reconcile(self, specs: Iterable[ProcessSpec]) -> None:
        """
        Start what is new and stop what is gone. What starts differently from now on is restarted by `tick`.

        One after the other, each when all others are ready: a change that concerns every node must not stop them all.
        """
        wanted = {spec.id: spec for spec in specs}
        self._stop([child for name, child in self._children.items() if name not in wanted])
        self._children = {name: self._children.get(name) or _Child(spec) for name, spec in wanted.items()}
        self._changed = [
            spec
            for name, spec in wanted.items()
            if (spec.command, spec.digest) != (self._children[name].spec.command, self._children[name].spec.digest)
        ]
        for child in self._children.values():
            if child.process is None:
                self._start(child)

    def tick(self) -> None:
        """
        Look at every process once, and repair.

        Raises:
            ProcessFailed: One ended before it was ever ready.
        """
        for child in self._children.values():
            now = time.monotonic()
            if child.status.state == "waiting":
                if now >= child.status.retry_at:
                    child.status = _with(child.status, restarts=child.status.restarts + 1)
                    self._start(child)
                continue
            exited = child.process is None or child.process.poll() is not None
            child.status = status_after(child.status, exited=exited, seen=self._seen(child), now=now)
            if child.status.state == "failed":
                raise ProcessFailed(obituary(child.spec, child.process.returncode if child.process else None))
            if is_hung(child.status, now) and child.process:
                child.process.kill()
        if self._changed and all(
            child.status.state == "ready" for name, child in self._children.items() if name != self._changed[0].id
        ):
            self._restart(self._changed.pop(0))

    def stop(self) -> None:
        """Stop everything, what sends traffic first."""
        for kind in STOP_ORDER:
            self._stop([child for child in self._children.values() if child.spec.kind == kind])
        self._probes.shutdown(wait=False, cancel_futures=True)

    def _seen(self, child: _Child) -> Sighting | None:
        seen = None
        if child.probing is not None and child.probing.done():
            seen, child.probing = child.probing.result(), None
        if child.probing is None:
            child.probing = self._probes.submit(child.spec.probe)
        return seen

    def _start(self, child: _Child) -> None:
        spec = child.spec
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        with spec.log.open("ab") as log:
            # A session of its own: Ctrl-C reaches the keeper alone, which then stops its children in order.
            child.process = subprocess.Popen(  # noqa: S603 # ourselves, and engines with files we rendered
                spec.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=spec.directory,
                env={**os.environ, MARK: str(self._directory)},
            )
        child.probing = None
        now = time.monotonic()
        child.status = _with(child.status, pid=child.process.pid, state="starting", started_at=now, answered_at=now)

    def _restart(self, spec: ProcessSpec) -> None:
        self._stop([self._children[spec.id]])
        self._children[spec.id] = _Child(spec)
        self._start(self._children[spec.id])

    def _stop(self, children: Sequence[_Child]) -> None:
        running = [child.process for child in children if child.process is not None and child.process.poll() is None]
        time.sleep(max((child.spec.ask_to_drain() for child in children if child.process in running), default=0.0))
        for process in running:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)  # a stopped process would not see the first
        deadline = time.monotonic() + self._drain_timeout_s + KILL_AFTER_S
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for child in children:
            child.process = None
            child.status = _with(child.status, state="stopped", pid=None)


def obituary(spec: ProcessSpec, code: int | None) -> str:
    """Say how a process ended, with the last line it wrote."""
    lines = spec.log.read_text("utf-8", "replace").strip().splitlines() if spec.log.exists() else []
    last = f": {lines[-1].removeprefix('error: ')}" if lines else ""
    return f"{spec.kind} {spec.id} ended with code {code} before it was ready{last}; its log is {spec.log}"


def is_kept_by(directory: Path, pid: int) -> bool:
    """Say whether a living process is, or was, the child of the keeper of `directory`."""
    try:
        process = psutil.Process(pid)
        # Redis writes its title over its environment, but works in the directory of its data.
        return process.environ().get(MARK) == str(directory) or Path(process.cwd()).is_relative_to(directory)
    except (psutil.Error, OSError):
        return False


def stop_orphans(directory: Path, pids: Sequence[int], timeout_s: float) -> list[int]:
    """Stop processes whose keeper is gone; return those that are still there after `timeout_s` seconds."""
    orphans = [pid for pid in pids if is_kept_by(directory, pid)]
    for pid in orphans:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGCONT)
    deadline = time.monotonic() + timeout_s
    while orphans and time.monotonic() < deadline:
        time.sleep(0.05)
        orphans = [pid for pid in orphans if is_kept_by(directory, pid)]
    return orphans


def command_of(pid: int) -> str:
    """Return a process's command line; a question mark where the system does not tell."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except (psutil.Error, OSError):
        return "?"
