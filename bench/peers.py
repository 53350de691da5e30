"""
Other ways to serve the very same model: throughput and latency beside ours, on one core each.

    .venv/bin/python bench/venvs.py      # once
    .venv/bin/python bench/peers.py

Every server loads the same release and runs the same normaliser, features, network and decoder (`servers/`), in its own
environment with the same onnxruntime; each has one worker and its own batching on, and is tied with all its processes
to one core. Only one runs at a time; rounds alternate between them. Every address is sent once.

Throughput is a closed loop with 32 connections. Latency is an open loop at two rates that are equal for all: one that
every server that runs can bear (70 % of the slowest), and half of what our node can do. A server that cannot bear the
second answers late or refuses; the table says how much it answered.
"""

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import bodies
import venvs
from addresses import distinct
from processes import BENCH, Failed, Server, free_port, load, node_command, prepare, serving
from results import Run, arguments, ratios

SERVERS = BENCH / "servers"
OURS = "addrmesh"
SLOWEST_SHARE, OUR_SHARE = 0.7, 0.5
CLOSED_POOL = 100_000
SAME_ANSWERS = 50
"""Addresses whose answers every server must agree on before anything is measured."""


class Peer(NamedTuple):
    """How a server is started and asked."""

    path: str
    ready: str
    command: Callable[[int], list[str | Path]]
    takes_list: bool = False


def script(name: str, *before_port: str) -> Callable[[int], list[str | Path]]:
    """Return the command of a peer that is a script of ours, as a function of the port."""
    return lambda port: [venvs.python(name), SERVERS / f"{name}_app.py", *before_port, str(port)]


def bentoml(port: int) -> list[str | Path]:
    """Return the command that serves with BentoML."""
    program = venvs.python("bentoml").with_name("bentoml")
    where = ["--working-dir", SERVERS, "--host", "127.0.0.1", "--port", str(port)]
    return [program, "serve", "bentoml_app:Parse", *where, "--quiet", "--do-not-track"]


PEERS = {
    "fastapi": Peer("/parse", "/readyz", script("fastapi")),
    "litserve": Peer("/parse", "/health", script("litserve")),
    "mosec": Peer("/inference", "/", script("mosec", "--address", "127.0.0.1", "--port")),
    "bentoml": Peer("/parse", "/readyz", bentoml, takes_list=True),
}


class Bench:
    """
    The servers and the files of requests.

    Args:
        release: Directory of the release, or None for the one in the package.
        work: Folder for whatever is written on the way.
    """

    def __init__(self, release: Path | None, work: Path) -> None:
        self._release, self._work = release, work
        self._files: dict[bool, Path] = {}

    def fill(self, count: int) -> None:
        """Write `count` distinct addresses in both shapes of body."""
        addresses = distinct(count)
        for takes_list, documents in ((False, bodies.single(addresses)), (True, bodies.lists(addresses, 1))):
            self._files[takes_list] = bodies.write(self._work / f"{takes_list}.ndjson", documents)

    def serve(self, name: str) -> AbstractContextManager[Server]:
        """Start a server; use it as a context."""
        port = free_port()
        if name == OURS:
            return serving(node_command(port, self._release), port=port)
        environ = {"BENTOML_HOME": str(self._work / "bentoml"), "BENTOML_DO_NOT_TRACK": "true", "HOME": str(self._work)}
        if self._release:
            environ["BENCH_RELEASE"] = str(self._release.resolve())
        peer = PEERS[name]
        return serving(peer.command(port), port=port, ready=peer.ready, **environ)

    def load(self, server: Server, name: str, seconds: float, **options: float) -> dict[str, Any]:
        """Send requests in the shape this server takes."""
        path, takes_list = _shape(name)
        return load(server, path, self._files[takes_list], seconds=seconds, **options)

    def components(self, server: Server, name: str, address: str) -> Any:
        """Return what a server finds in one address."""
        path, takes_list = _shape(name)
        body = {"addresses": [address]} if takes_list else {"address": address}
        status, reply = server.ask(path, json.dumps(body).encode())
        if status != 200:
            raise Failed(f"{name} answers with status {status}")
        found = json.loads(reply)
        return (found[0] if takes_list else found.get("result", found))["components"]


def _shape(name: str) -> tuple[str, bool]:
    """Return the path of a server and whether a request is a list."""
    peer = PEERS.get(name)
    return (peer.path, peer.takes_list) if peer else ("/v1/address:parse", False)


def usable(run: Run, bench: Bench) -> list[str]:
    """Return the servers that are installed, start, and give our node's answers; note why the others do not."""
    addresses = distinct(SAME_ANSWERS)
    expected = []
    found = []
    for name in (OURS, *PEERS):
        reason = None if name == OURS else venvs.failure(name)
        if reason is None:
            try:
                with bench.serve(name) as server:
                    answers = [bench.components(server, name, address) for address in addresses]
            except (Failed, OSError) as error:
                reason = " ".join(str(error).split())[-300:]
            else:
                expected = expected or answers
                reason = None if answers == expected else "its answers differ from those of our node"
        if reason is None:
            found.append(name)
            if name != OURS:
                run.peer(f"{name} venv", venvs.packages(name))
        elif name == OURS:
            raise Failed(reason)
        else:
            run.note(f"{name} was not measured: {reason}")
    run.say(f"same answers to {len(addresses)} addresses: {', '.join(found)}")
    return found


def main() -> None:
    """Measure and write `peers.json`."""
    parser = arguments(
        "Our node beside other servers of the same model.",
        seconds=8.0, warm_up=2.0, rounds=5, connections=32, open_connections=256,
    )  # fmt: skip
    options = parser.parse_args()
    prepare()
    run = Run("peers", options)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.release, Path(folder))
        bench.fill(CLOSED_POOL)
        names = usable(run, bench)
        closed: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for number in range(1, options.rounds + 1):
            for name in names:
                with bench.serve(name) as server:
                    warm = bench.load(server, name, options.warm_up, connections=options.connections)
                    found = bench.load(
                        server, name, options.seconds, connections=options.connections, first=warm["sent"]
                    )
                closed[name].append(run.add(f"{name}, closed loop", number, found))
        capacity = {name: median(found["ok_per_s"] for found in rounds) for name, rounds in closed.items()}
        loads = {
            "bearable for all": SLOWEST_SHARE * min(capacity.values()),
            "half of addrmesh": OUR_SHARE * capacity[OURS],
        }
        bench.fill(min(bodies.MOST, int(sum(loads.values()) * options.seconds * 1.2 + 8 * capacity[OURS]) + 2000))
        opened: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for number in range(1, options.rounds + 1):
            for name in names:
                with bench.serve(name) as server:
                    sent = bench.load(server, name, options.warm_up, connections=8)["sent"]
                    for load_name, rate in loads.items():
                        found = bench.load(
                            server, name, options.seconds, rate=rate, seed=number, first=sent,
                            connections=options.open_connections,
                        )  # fmt: skip
                        sent += found["sent"]
                        opened.setdefault((load_name, name), []).append(
                            run.add(f"{name}, open loop, {load_name}", number, found | {"rate_per_s": rate})
                        )

    ours = [found["ok_per_s"] for found in closed[OURS]]
    for name, rounds in closed.items():
        rates = [found["ok_per_s"] for found in rounds]
        run.row(f"{name}: closed loop, {options.connections} connections", rates, "requests/s")
        run.row(f"{name}: CPU", [f["server_cpu_us_per_answer"] for f in rounds], "us per request")
        run.row(f"{name}: memory", [f["server_rss_mib"] for f in rounds], "MiB, shared pages counted per process")
    for name in names[1:]:
        run.row(f"addrmesh / {name}, closed loop", ratios(ours, [f["ok_per_s"] for f in closed[name]]), "x")
    for (load_name, name), rounds in opened.items():
        label = f"{name}: open loop, {load_name} ({loads[load_name]:,.0f}/s)"
        for percentile in ("p50", "p99"):
            if values := [f["latency_ms"]["200"][percentile] for f in rounds if "200" in f["latency_ms"]]:
                run.row(f"{label}: {percentile}", values, "ms")
        run.row(f"{label}: answered", [100 * f["ok_per_s"] / f["offered_per_s"] for f in rounds], "% within the time")
    run.note(f"All on one core of {os.cpu_count()}; one worker each; every server's own batching on.")
    run.write()


if __name__ == "__main__":
    main()
