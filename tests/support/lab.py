"""
Two regions as processes, to be disturbed.

`Lab` starts the processes that `addrmesh up` would start, from the same files, but keeps nothing alive: what a test
kills stays dead. The edges and the supervisors of each region see every node through a link of their own (the spec
allows it: a node's port is where it is *reached*), so that a test can bring distance, silence and errors in between.
`Up` is the command itself.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil

from addrmesh.client.replies import ParseResult
from addrmesh.fleet.launch import processes
from addrmesh.fleet.layout import FleetDirectory
from addrmesh.fleet.local import PORTS_PER_REGION, StateDirectory, local_spec
from addrmesh.fleet.processes import ProcessSpec, ProcessStatus
from addrmesh.fleet.secrets import make as make_secret
from addrmesh.fleet.supervisor import Heartbeat
from addrmesh.fleet.verdict import FULL_WEIGHT
from addrmesh.topology.spec import FleetSpec, RegionSpec, RoundTrip
from support.links import Link, Network
from support.ports import free_block

PATIENCE_S = 60.0
REGIONS = ("eu", "cn")
NODES = ("eu/node-1", "eu/node-2", "cn/node-1", "cn/node-2")
ROUND_TRIP_MS = 30.0
RPS = 100.0
"""Over both edges: what two shared cores carry beside the fleet itself."""
LAST_LINES = 40
FLEET_PORTS, LINK_PORTS = 2 * PORTS_PER_REGION, 20


def wait_until(condition: Callable[[], Any], what: str, within_s: float = PATIENCE_S) -> float:
    """Poll processes that cannot tell us by themselves; return how many seconds that took."""
    start = time.monotonic()
    while not (last := condition()):
        assert time.monotonic() < start + within_s, f"not within {within_s:.0f} s: {what}; last seen: {last!r}"
        time.sleep(0.02)
    return time.monotonic() - start


@contextmanager
def hung(*pids: int) -> Iterator[None]:
    """Stop processes, as a deadlock or a dying disk does: their sockets stay open."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def two_regions() -> FleetSpec:
    """The fleet of `addrmesh up`, 30 ms apart, with the load of the lab as its peak: what is derived must carry it."""
    spec = local_spec(regions=2, nodes=2, port=free_block(FLEET_PORTS + LINK_PORTS))
    regions = tuple(region.model_copy(update={"peak_rps": RPS / 2}) for region in spec.regions)
    trip = RoundTrip(between=REGIONS, ms=ROUND_TRIP_MS)
    return spec.model_copy(update={"regions": regions, "round_trips": (trip,)})


def wait_until_content(spec: FleetSpec, region: str) -> None:
    """Wait until the edge of a region finds every node healthy."""

    admin = f"http://127.0.0.1:{spec.region(region).edge.admin_port}/clusters"

    def is_content() -> bool:
        flags = re.findall(r"::health_flags::(.*)", httpx.get(admin).text)
        return len(flags) >= len(NODES) and {*flags} == {"healthy"}

    wait_until(is_content, f"the edge of {region} finds every node healthy")


def answers_of(url: str) -> dict[str, ParseResult]:
    """Ask a node for a hundred addresses in one batch: what every node must answer to each alone."""
    addresses = [f"浙江省杭州市余杭区文一西路{number}号{number % 30 + 1}幢" for number in range(1, 101)]
    items = httpx.post(f"{url}/v1/addresses:batchParse", json={"addresses": addresses}, timeout=30).json()["items"]
    return {a: msgspec.convert(item["result"], ParseResult) for a, item in zip(addresses, items, strict=True)}


def _environment(**more: str) -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("ADDRMESH_")} | more


def _tails(directory: Path) -> str:
    """Return the end of every log below a directory."""
    found = []
    for log in sorted(directory.rglob("*.log")):
        lines = log.read_text("utf-8", "replace").splitlines()[-LAST_LINES:]
        found.append(f"--- {log.relative_to(directory)}\n" + "\n".join(lines))
    return "\n".join(found)


class Process:
    """A process of the fleet, as `addrmesh up` would start it."""

    def __init__(self, spec: ProcessSpec) -> None:
        self._spec = spec
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._spec.log.parent.mkdir(parents=True, exist_ok=True)
        with self._spec.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._spec.command, cwd=self._spec.directory, stdout=log, stderr=log, env=_environment()
            )

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            assert self._process
            assert self._process.poll() is None, f"{self._spec.id} ended with code {self._process.returncode}"
            return self._spec.probe().ready

        wait_until(is_ready, f"{self._spec.id} is ready")

    def kill(self) -> None:
        """`kill -9`."""
        if self._process:
            self._process.kill()
            self._process.wait(PATIENCE_S)


class Lab:
    """
    A fleet whose parts a test can kill, hang, cut off and slow down.

    Attributes:
        processes: By `region/name`.
        links: By the region that looks and the node it sees, as in `("eu", "cn/node-1")`.
        edges: URLs by region.
    """

    def __init__(self, directory: Path, spec: FleetSpec, network: Network) -> None:
        self.directory, self._network = directory, network
        make_secret(directory / "secret")
        self.spec = spec.model_copy(update={"secret_file": directory / "secret"})
        self._next_port = count(spec.regions[0].edge.port + FLEET_PORTS).__next__
        self.links: dict[tuple[str, str], Link] = {}
        for here in REGIONS:
            for node in NODES:
                round_trip_s = 0.0 if node.startswith(here) else ROUND_TRIP_MS / 1000
                self.links[here, node] = network.link(self._next_port(), self._port(node), round_trip_s)
        self.edges = {region.name: self.spec.url(region.edge) for region in self.spec.regions}
        found = [p for p in processes(self.spec, self._files("fleet")) if p.kind in ("store", "node")]
        for here in REGIONS:
            view = self._seen_from(here)
            files = self._files(f"seen-from-{here}")
            files.write_spec(view)
            found += [p for p in processes(view, files) if p.region == here and p.kind in ("edge", "supervisor")]
        self.processes = {spec.id: Process(spec) for spec in found}

    def start(self) -> None:
        for process in self.processes.values():
            process.start()
        self.settle()

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()

    @contextmanager
    def killed(self, *names: str) -> Iterator[None]:
        """`kill -9`, and start again afterwards, one after the other: starting takes the cores that users need here."""
        for name in names:
            self.processes[name].kill()
            for link in self.links_to(name):
                self._network.do(link.refuse())
        try:
            yield
        finally:
            for name in names:
                for link in self.links_to(name):
                    self._network.do(link.listen())
                self.processes[name].start()
                self.processes[name].wait_until_ready()

    def hung(self, *names: str) -> AbstractContextManager[None]:
        return hung(*(self.processes[name].pid for name in names))

    def links_to(self, *nodes: str) -> list[Link]:
        return [link for (_, node), link in self.links.items() if node in nodes]

    def distant_edge(self, region: str) -> str:
        """Return the URL of an edge for users who are a region away."""
        port = self.spec.region(region).edge.port
        return f"http://127.0.0.1:{self._network.link(self._next_port(), port, ROUND_TRIP_MS / 1000).port}"

    def weight(self, node: str, *, seen_from: str) -> int:
        """What the supervisor of a region has concluded and written into its edge's files."""
        beat = self._files(f"seen-from-{seen_from}").region(seen_from).heartbeat.read_bytes()
        return msgspec.json.decode(beat, type=Heartbeat).weights[node]

    def settle(self) -> None:
        """Wait until everything is well again: every process, every node in the eyes of every edge, every weight."""
        for process in self.processes.values():
            process.wait_until_ready()
        for here in REGIONS:
            wait_until_content(self.spec, here)
        pairs = [(node, here) for node in NODES for here in REGIONS]
        wait_until(lambda: all(self.weight(n, seen_from=here) == FULL_WEIGHT for n, here in pairs), "no node is slow")

    def logs(self) -> str:
        return _tails(self.directory)

    def _port(self, node: str) -> int:
        region, _, name = node.partition("/")
        return next(n.port for n in self.spec.region(region).nodes if n.name == name)

    def _files(self, name: str) -> FleetDirectory:
        return FleetDirectory(self.directory / name)

    def _seen_from(self, here: str) -> FleetSpec:
        """The spec on the machines of a region, where every node is reached through a link."""

        def linked(region: RegionSpec) -> RegionSpec:
            nodes = [
                node.model_copy(update={"port": self.links[here, f"{region.name}/{node.name}"].port})
                for node in region.nodes
            ]
            return region.model_copy(update={"nodes": tuple(nodes)})

        return self.spec.model_copy(update={"regions": tuple(map(linked, self.spec.regions))})


class Up:
    """`addrmesh up`, which keeps its processes alive."""

    def __init__(self, directory: Path, spec: FleetSpec) -> None:
        self._directory = directory
        self.state = StateDirectory(directory / "state")
        self.spec = spec
        self.edges = {region.name: spec.url(region.edge) for region in spec.regions}

    def start(self) -> None:
        wanted = FleetDirectory(self._directory / "wanted")
        wanted.write_spec(self.spec)
        self("up", "--detach", f"--spec={wanted.spec_file}")
        self.settle()

    def stop(self) -> None:
        self("down")

    def __call__(self, *words: str, exits: int = 0) -> str:
        """Run `addrmesh` and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "addrmesh", *words],
            check=False, capture_output=True, text=True, timeout=PATIENCE_S,
            env=_environment(ADDRMESH_STATE_DIR=str(self.state.path)),
        )  # fmt: skip
        assert done.returncode == exits, f"addrmesh {' '.join(words)}: {done.returncode} {done.stderr}"
        return done.stdout

    def pid(self, name: str) -> int:
        """The process of `region/name` as it runs now."""
        pid = self._known(name).pid
        assert pid, f"{name} does not run"
        return pid

    def restarts(self, name: str) -> int:
        """How often the keeper has started it again."""
        return self._known(name).restarts

    def _known(self, name: str) -> ProcessStatus:
        known = self.state.read()
        process = known and known.of(*name.split("/"))
        assert process, f"{name} is no process of this fleet"
        return process

    def is_well(self) -> bool:
        known = self.state.read()
        return known is not None and known.is_ready and all(psutil.pid_exists(p.pid or 0) for p in known.processes)

    def settle(self) -> None:
        wait_until(self.is_well, "every process is ready")
        for here in REGIONS:
            wait_until_content(self.spec, here)

    def logs(self) -> str:
        return _tails(self.state.path)
