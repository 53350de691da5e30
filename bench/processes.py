"""
Child processes, each tied to a core, measured through /proc and stopped whatever happens.

Everything measured runs on `SERVED` with one thread per numeric library; whatever drives it, on `DRIVER`.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
ADDRMESH = Path(sys.executable).with_name("addrmesh")

SERVED = 0
DRIVER = min(1, (os.cpu_count() or 1) - 1)
BOTH = (SERVED, DRIVER)
"""What is measured on two cores has these; the generator, which is then nearly idle, shares the second."""
TICKS = os.sysconf("SC_CLK_TCK")
START_LIMIT_S = 90.0
STOP_LIMIT_S = 15.0
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Failed(Exception):
    """A child did not do what it was started for."""


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a measured process: ours without any settings of addrmesh, one thread, and `more`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ADDRMESH_", "PYTHON"))}
    return kept | ONE_THREAD | more


def prepare(*cores: int) -> None:
    """Keep this process on `cores`, by default off the measured one, and make SIGTERM stop the children, then exit."""
    os.sched_setaffinity(0, cores or (DRIVER,))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


class Finished(NamedTuple):
    """What a process that ran to its end took."""

    wall_s: float
    cpu_s: float
    """user + system of the process and its reaped children (`os.wait4`)."""
    peak_rss_mib: float
    """The kernel's high-water mark (VmHWM), read every 10 ms: `ru_maxrss` would start from the size of this process."""


def run_to_end(command: Sequence[str | Path], *, limit_s: float) -> Finished:
    """
    Run a command on the measured core and wait for it.

    Raises:
        Failed: It failed or took longer than `limit_s`; the last of its stderr is in the message.
    """
    with tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        child = subprocess.Popen(
            ["taskset", "-c", str(SERVED), *command],
            env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
        )  # fmt: skip
        peak = _Peak(child.pid)
        timer = threading.Timer(limit_s, child.kill)
        timer.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            child.wait()
            raise
        finally:
            wall_s = time.perf_counter() - started
            timer.cancel()
            peak_kib = peak.stop()
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            errors.seek(0)
            last = errors.read()[-800:].decode("utf-8", "replace")
            raise Failed(f"{command[0]} ended with {child.returncode}: {last}")
    return Finished(wall_s, usage.ru_utime + usage.ru_stime, peak_kib / 1024)


class _Peak:
    """Reads the high-water mark of a process every 10 ms, on a thread."""

    def __init__(self, pid: int) -> None:
        self._pid, self._kib = pid, 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> int:
        """Stop reading and return the largest value, in KiB."""
        self._stopped.set()
        self._thread.join()
        return self._kib

    def _watch(self) -> None:
        while not self._stopped.wait(0.01):
            self._kib = max(self._kib, _status_kib(self._pid, "VmHWM"))


class Server(NamedTuple):
    """A server that is ready."""

    pid: int
    port: int
    ready_after_s: float

    def cpu_s(self) -> float:
        """Return user + system seconds so far, of the process and everything it started."""
        return sum(_cpu_ticks(pid) for pid in _tree(self.pid)) / TICKS

    def rss_mib(self) -> float:
        """Return the resident memory of the process and everything it started, shared pages counted in each."""
        return sum(_status_kib(pid, "VmRSS") for pid in _tree(self.pid)) / 1024

    def pss_mib(self) -> float:
        """Return the same, each shared page divided among those that share it."""
        return pss_mib(_tree(self.pid))

    def ask(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return status and body of a GET, or of a POST of JSON when `body` is given."""
        return _ask(self.port, path, body)


@contextmanager
def serving(
    command: Sequence[str | Path],
    *,
    port: int,
    ready: str = "/readyz",
    pause_s: float = 0.05,
    cores: Sequence[int] = (SERVED,),
    **environ: str,
) -> Iterator[Server]:
    """
    Start a server on the measured core, wait until `GET ready` answers 200, and stop it and its children at the end.

    Args:
        command: Must make it listen on 127.0.0.1:`port`.
        port: Free, from `free_port`.
        ready: Path that answers 200 when it takes requests.
        pause_s: Between two questions; the resolution of `ready_after_s`.
        cores: Others than the measured one.
        environ: Added to its environment.
    """
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        child = subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, cores)), *command],
            env=environment(**environ), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            while not _is_ready(port, ready):
                if child.poll() is not None or time.perf_counter() - started > START_LIMIT_S:
                    log.seek(0)
                    raise Failed(f"{command[0]} is not ready: {log.read()[-1500:].decode('utf-8', 'replace')}")
                time.sleep(pause_s)
            yield Server(child.pid, port, time.perf_counter() - started)
        finally:
            _stop(child)


def pss_mib(pids: Iterable[int]) -> float:
    """Return the resident memory of some processes, each shared page divided among those that share it."""
    return sum(_kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss") for pid in pids) / 1024


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def node_command(port: int, release: Path | None) -> list[str | Path]:
    """Return the command that serves a release with our node."""
    command: list[str | Path] = [ADDRMESH, "node", "serve", "--host", "127.0.0.1", "--port", str(port)]
    return [*command, "--release", release] if release else command


def load(server: Server, path: str, bodies: Path, *, seconds: float, **options: float) -> dict[str, Any]:
    """
    Run the load generator on the other core and return what it measured, with the server's CPU.

    Args:
        server: Target.
        path: Of the requests, which are POSTs.
        bodies: One JSON body per line.
        seconds: How long requests are sent.
        options: More of the generator's options, such as `connections`, `rate` or `first`.
    """
    command: list[str | Path] = [
        "taskset", "-c", str(DRIVER), sys.executable, BENCH / "load.py", "--port", str(server.port), "--path", path,
        "--bodies", bodies, "--seconds", str(seconds),
    ]  # fmt: skip
    for name, value in options.items():
        command += [f"--{name}", *([] if value is True else [str(value)])]
    before = server.cpu_s()
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=seconds + 120, env=environment()
    )  # the generator ends by itself; the limit is for a machine that has stopped
    if done.returncode:
        raise Failed(done.stderr.strip()[-800:])
    report: dict[str, Any] = json.loads(done.stdout)
    cpu_s = server.cpu_s() - before
    return report | {
        "server_cpu_s": round(cpu_s, 3),
        "server_cpu_us_per_answer": round(1e6 * cpu_s / max(1, report["answered"]), 2),
        "server_rss_mib": round(server.rss_mib(), 1),
    }


def _is_ready(port: int, path: str) -> bool:
    try:
        return _ask(port, path)[0] == 200
    except OSError:
        return False


def _ask(port: int, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET" if body is None else "POST", path, body, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        return reply.status, reply.read()
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()


def _stop(child: "subprocess.Popen[bytes]") -> None:
    """End a process that leads a session, and whatever of that session is left."""
    family = _tree(child.pid)
    child.terminate()
    try:
        child.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    for pid in family:
        try:
            if os.getsid(pid) == child.pid:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _tree(root: int) -> list[int]:
    """Return a process and its living descendants."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _cpu_ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:15]))  # utime, stime, and those of reaped children


def _status_kib(pid: int, key: str) -> int:
    return _kib(Path(f"/proc/{pid}/status"), key)


def _kib(file: Path, key: str) -> int:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{key}:")), 0)
