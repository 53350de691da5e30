"""
MGeo on two cores: what a second engine process adds, and the whole service over HTTP beside ModelScope's pipeline.

    .venv/bin/python bench/venvs.py modelscope      # once
    .venv/bin/python bench/mgeo_cores.py --checkpoint DIR

DIR is as for `mgeo.py`; both sides serve it, ours as an int8 release that is built from it first.

Scaling: one engine process on core 0, then one on each core at the same time, by the wall clock, the same addresses.
Two things that share nothing but the machine say beside it what two cores can give at all, for they may be halves of
one: counting in Python, and oneDNN's int8 product of the network's largest shape.

HTTP: one address per request in a closed loop, no address twice to the same server. Ours is what `addrmesh up` runs for
one region: two nodes of one engine each, and an edge in front. It may let requests queue for a second, as the peers do
without end. The peers (`servers/modelscope_app.py`) are uvicorn with four workers and one pipeline in each: `recipe`
with the defaults of everything, `tuned` without padding and with one thread for each worker. All three stay up, one is
asked at a time, each with the number of connections at which it did most in a trial, and the next one only when it is
at rest. A peer answers so seldom that the end of the window matters: half of what its workers then have in hand counts.
"""

import multiprocessing as mp
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import bodies
from addresses import distinct
from addrmesh.address.normalize import normalize
from addrmesh.fleet.local import local_spec
from addrmesh.inference.build import build_release
from addrmesh.inference.mgeo.engine import MGeoTagger
from addrmesh.inference.release import open_release
from addrmesh.topology.spec import Capacity
from mgeo import answers, limit
from near import first_port, fleet
from processes import (
    BENCH,
    BOTH,
    ONE_THREAD,
    Failed,
    Server,
    free_port,
    load,
    node_command,
    prepare,
    pss_mib,
    serving,
)
from results import Run, arguments, ratios
from venvs import failure, packages, python

ROWS = 8
"""Addresses in one call of an engine: what it finds waiting when about sixteen callers share two nodes."""
POOL = 20_000
WORKERS = 4
AT_REST = 0.1
"""CPU-seconds in a second, of all workers of a peer, that are no work."""
PATIENT = {"ADDRMESH_BATCHING__MAX_WAIT_MS": "1000", "ADDRMESH_BATCHING__DEFAULT_DEADLINE_MS": "5000"}
CAPACITY = Capacity(node_rps=60, p99_ms=100)
"""Of a node with MGeo: with the default of 10 ms the edge would ask the second node as well after 100 ms."""


class Contender(NamedTuple):
    """A server that is up, and how it is asked."""

    server: Server
    path: str
    connections: Sequence[int]
    trial_s: float
    window_s: float
    is_peer: bool = True


def main() -> None:
    """Measure and write `mgeo_cores.json`."""
    parser = arguments(
        "MGeo on two cores.", rounds=5, window=3.0, control=1.0, ours=4.0, recipe=10.0, tuned=5.0, starts=3
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="directory of a tagging checkpoint")
    options = parser.parse_args()
    if reason := failure("modelscope"):
        sys.exit(f"no peers: {reason}")
    prepare(*BOTH)
    with tempfile.TemporaryDirectory() as folder:
        options.release = build_release(options.checkpoint, Path(folder) / "mgeo").path
        run = Run("mgeo_cores", options)
        run.peer("modelscope", packages("modelscope"))
        scaling(run, options)
        start(run, options)
        file = bodies.write(Path(folder) / "one.ndjson", bodies.single(distinct(POOL)))
        over_http(run, options, file)
    run.write()


def scaling(run: Run, options: Any) -> None:
    """Measure what two engine processes do, beside one."""
    context = mp.get_context("spawn")
    ends = []
    for core in BOTH:
        mine, theirs = context.Pipe()
        context.Process(target=worker, args=(core, options.release, theirs), daemon=True).start()
        theirs.close()  # so that a worker that dies is noticed
        ends.append(mine)
    found: dict[tuple[str, int], list[float]] = {}
    for number in range(1, options.rounds + 1):
        for what, seconds in (
            ("counting", options.control),
            ("int8 product", options.control),
            ("engine", options.window),
        ):
            for many in (1, 2):
                rate = together(ends[:many], what, seconds)
                found.setdefault((what, many), []).append(rate)
            run.add(what, number, {"one": found[what, 1][-1], "two": found[what, 2][-1]})
    for end in ends:
        end.send(None)
    run.row("one engine process", found["engine", 1], "addresses/s")
    run.row("two engine processes, one per core", found["engine", 2], "addresses/s")
    for what in ("engine", "counting", "int8 product"):
        run.row(f"{what}: two cores / one", ratios(found[what, 2], found[what, 1]), "x")


def together(ends: Sequence[Connection], what: str, seconds: float) -> float:
    """Return what the workers at the other ends do in a second, all at the same time."""
    for end in ends:
        end.send((what, seconds))
    rates: list[float] = [end.recv() for end in ends]
    return sum(rates)


def worker(core: int, release: Path, end: Connection) -> None:
    """Do on one core what is asked, until told to stop; reply with how much that was in a second."""
    os.sched_setaffinity(0, {core})
    texts = [normalize(address).text for address in distinct(512)]
    does: dict[str, Callable[[], float]] = {
        "counting": lambda: sum(1 for _ in range(10_000)),
        "int8 product": limit(),
        "engine": answers(MGeoTagger(open_release(release)), [texts[at : at + ROWS] for at in range(0, 512, ROWS)]),
    }
    while asked := end.recv():
        what, seconds = asked
        done, started = 0.0, time.monotonic()
        while (taken := time.monotonic() - started) < seconds:
            done += does[what]()
        end.send(done / taken)


def start(run: Run, options: Any) -> None:
    """Measure how long a node on each core takes to its first 200 from `/readyz`, both started at the same time."""

    def ready(core: int) -> float:
        port = free_port()
        with serving(node_command(port, options.release), port=port, pause_s=0.005, cores=(core,)) as server:
            return server.ready_after_s

    taken = []
    with ThreadPoolExecutor() as pool:
        for number in range(options.starts + 1):
            each = list(pool.map(ready, BOTH))
            if number:  # the one before brought the files into the page cache
                run.add("start", number, {f"core {core}": seconds for core, seconds in zip(BOTH, each, strict=True)})
                taken.append(max(each))
    run.row("two nodes: start to first 200 from /readyz of the later one", taken, "s")


def over_http(run: Run, options: Any, file: Path) -> None:
    """Measure requests a second, CPU and memory of our fleet and of the peers."""
    with ExitStack() as stack:
        spec = local_spec(regions=1, nodes=len(BOTH), port=first_port()).model_copy(update={"capacity": CAPACITY})
        keeper, status = stack.enter_context(fleet(spec, ADDRMESH_RELEASE__PATH=str(options.release), **PATIENT))
        contenders = {
            "addrmesh": Contender(keeper, "/v1/address:parse", (8, 16, 32), 3.0, options.ours, is_peer=False),
            "recipe": Contender(
                stack.enter_context(peer(options.checkpoint, threads=len(BOTH))),
                "/parse", (1, 2, 4), 8.0, options.recipe,
            ),
            "tuned": Contender(
                stack.enter_context(peer(options.checkpoint, threads=1, PADDING="longest")),
                "/parse", (4, 8, 16), 3.0, options.tuned,
            ),
        }  # fmt: skip
        sent = dict.fromkeys(contenders, 0)

        def ask(name: str, connections: int, seconds: float) -> dict[str, Any]:
            one = contenders[name]
            used = one.server.cpu_s()
            found = load(one.server, one.path, file, seconds=seconds, connections=connections, first=sent[name])
            if found["statuses"].keys() - {"200"}:
                raise Failed(f"{name} answers with {found['statuses']}")
            sent[name] += found["sent"]
            in_hand = 0
            if one.is_peer:
                in_hand = min(connections, WORKERS)
                rest(one.server)
            cpu_ms = 1000 * (one.server.cpu_s() - used) / found["sent"]
            return found | {"per_s": found["ok_per_s"] + in_hand / 2 / seconds, "cpu_ms": cpu_ms}

        best: dict[str, int] = {}
        for name, one in contenders.items():
            trials = {
                n: run.add(f"{name}, trial, {n} at a time", 1, ask(name, n, one.trial_s)) for n in one.connections
            }
            best[name] = max(trials, key=lambda n: trials[n]["per_s"])
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
        for number in range(1, options.rounds + 1):
            for name, one in contenders.items():
                rounds[name].append(run.add(name, number, ask(name, best[name], one.window_s)))
        answered_by_mgeo(keeper, len(BOTH))

        for name, found in rounds.items():
            run.row(f"{name}: closed loop, {best[name]} at a time", [f["per_s"] for f in found], "requests/s")
            run.row(f"{name}: CPU", [f["cpu_ms"] for f in found], "ms per request")
            run.row(f"{name}: p50", [f["latency_ms"]["200"]["p50"] for f in found], "ms")
        nodes = [process.pid for process in status.processes if process.kind == "node" and process.pid]
        run.row("addrmesh: memory of the nodes", [pss_mib(nodes)], "MiB (PSS)")
        run.row("addrmesh: memory with edge, store, supervisor and keeper", [keeper.pss_mib()], "MiB (PSS)")
        for name in ("recipe", "tuned"):
            run.row(f"{name}: memory", [contenders[name].server.pss_mib()], "MiB (PSS)")
            run.row(f"{name}: start to first 200 from /readyz", [contenders[name].server.ready_after_s], "s")
        for what, figure in (("requests/s", "per_s"), ("CPU", "cpu_ms")):
            for name in ("recipe", "tuned"):
                ours, theirs = ([f[figure] for f in rounds[one]] for one in ("addrmesh", name))
                pair = (ours, theirs) if figure == "per_s" else (theirs, ours)
                run.row(f"addrmesh / {name}, {what}", ratios(*pair), "x")
    run.note("Connections fall to uvicorn's workers by chance, some to one that has others: compare `tuned` by CPU.")


@contextmanager
def peer(checkpoint: Path, *, threads: int, **environ: str) -> Iterator[Server]:
    """Serve a checkpoint with ModelScope's pipeline until the context ends; it begins when every worker is ready."""
    port = free_port()
    app: list[str | Path] = ["modelscope_app:app", "--app-dir", BENCH / "servers"]
    options = ["--port", str(port), "--workers", str(WORKERS), "--log-level", "warning"]
    environ |= dict.fromkeys(ONE_THREAD, str(threads)) | {"CHECKPOINT": str(checkpoint.resolve())}
    command = [python("modelscope"), "-m", "uvicorn", *app, *options]
    with serving(command, port=port, cores=BOTH, **environ) as server:
        rest(server)  # the first worker that is ready answers for all
        yield server


def rest(server: Server) -> None:
    """Return when a server has no work, be it loading or requests whose callers have gone."""
    used = float("-inf")
    while (now := server.cpu_s()) - used > AT_REST:
        used = now
        time.sleep(1.0)


def answered_by_mgeo(edge: Server, nodes: int) -> None:
    """
    Make sure that no node asked its built-in model.

    Raises:
        Failed: One did, so the figures say nothing about MGeo.
    """
    for number in range(1, nodes + 1):
        _, metrics = edge._replace(port=edge.port + number).ask("/metrics")
        outcomes = set(re.findall(rb'parse_requests_total{outcome="(.+?)"}', metrics))
        if outcomes != {b"ok"}:
            raise Failed(f"node {number} did not answer everything with MGeo: {outcomes}")


if __name__ == "__main__":
    main()
