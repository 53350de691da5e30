"""
The HTTP node under load: one address per request, node on one core, load generator on the other.

    .venv/bin/python bench/node.py

Rounds alternate between what is compared; every measurement begins with a new node, so its cache is empty, and sends
every address once, so the cache cannot help (except where it is the subject). What is measured:

1. `max`: requests/s in a closed loop; `constant`: the same node whose parse handler replies with a constant
   (`servers/constant.py`); `bare`: the least an ASGI application can do (`servers/bare.py`).
2. `batch`: `/v1/addresses:batchParse` with 100 addresses per request.
3. `half`, `1x`, `2x`, `4x`: open loop at that share of the capacity, which is the median of `max`. Latency counts from
   the scheduled arrival. A refusal is any reply that is not 200.
4. `cache on`, `cache off`: a Zipf stream, closed loop, after the cache has had time to fill.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bodies
from addresses import distinct
from processes import BENCH, Server, free_port, load, node_command, prepare, serving
from results import Run, arguments, ratios

PARSE, BATCH = "/v1/address:parse", "/v1/addresses:batchParse"
BATCH_SIZE = 100
BATCH_CONNECTIONS = 4
CLOSED_POOL = 150_000
"""Distinct addresses for one closed loop: more than the node can answer in its time."""
HALF, LOADS = 0.5, (1.0, 2.0, 4.0)

Measured = list[dict[str, Any]]


class Bench:
    """What all parts share: options, the work folder and the record."""

    def __init__(self, options: argparse.Namespace, run: Run, work: Path) -> None:
        self.options, self.run, self.work = options, run, work
        self.measured: dict[str, Measured] = {}

    def node(self, **environ: str) -> Any:
        """Serve the release with our node; use it as a context."""
        port = free_port()
        return serving(node_command(port, self.options.release), port=port, **environ)

    def keep(self, what: str, number: int, figures: dict[str, Any]) -> None:
        """Record one measurement."""
        self.measured.setdefault(what, []).append(self.run.add(what, number, figures))

    def values(self, what: str, figure: str) -> list[float]:
        """Return a figure of every round."""
        return [found[figure] for found in self.measured[what]]

    def closed(self, server: Server, file: Path, path: str = PARSE, **more: float) -> dict[str, Any]:
        """Warm the server up with requests of its own, then run a closed loop."""
        given = {"connections": self.options.connections} | more
        warm = load(server, path, file, seconds=self.options.warm_up, **given)
        first = 0 if more.get("repeat") else warm["sent"]
        return load(server, path, file, seconds=self.options.seconds, **given | {"first": first})


def capacity(bench: Bench) -> None:
    """Measure `max`, `batch`, `constant` and `bare`, alternating."""
    pool = distinct(CLOSED_POOL)
    one = bodies.write(bench.work / "one.ndjson", bodies.single(pool))
    hundred = bodies.write(bench.work / "hundred.ndjson", bodies.lists(pool, BATCH_SIZE))
    del pool
    release = [bench.options.release] if bench.options.release else []
    for number in range(1, bench.options.rounds + 1):
        with bench.node() as server:
            found = bench.closed(server, one)
            bench.keep("max", number, found | {"cache_hits": cache_hits(server)})
        with bench.node() as server:
            found = bench.closed(server, hundred, BATCH, connections=BATCH_CONNECTIONS)
            addresses = BATCH_SIZE * found["ok_per_s"]
            used = BATCH_SIZE * found["statuses"].get("200", 0) / found["server_cpu_s"]
            bench.keep("batch", number, found | {"addresses_per_s": addresses, "addresses_per_cpu_s": used})
        port = free_port()
        command = [sys.executable, BENCH / "servers" / "constant.py", str(port), *release]
        with serving(command, port=port) as server:
            bench.keep("constant", number, bench.closed(server, one, repeat=True))
        port = free_port()
        with serving([sys.executable, BENCH / "servers" / "bare.py", str(port)], port=port) as server:
            bench.keep("bare", number, bench.closed(server, one, repeat=True))

    row, values = bench.run.row, bench.values
    row("one address per request, closed loop", values("max", "ok_per_s"), "requests/s")
    refused = [100 * _refused(found) / found["answered"] for found in bench.measured["max"]]
    row("one address per request, closed loop: refused", refused, "% of requests")
    row("one address per request, node's CPU", values("max", "server_cpu_us_per_answer"), "us per request")
    row("constant reply, closed loop", values("constant", "ok_per_s"), "requests/s")
    row("constant reply, node's CPU (front-end cost)", values("constant", "server_cpu_us_per_answer"), "us per request")
    row("bare ASGI reply, server's CPU", values("bare", "server_cpu_us_per_answer"), "us per request")
    row("one address / constant reply", ratios(values("max", "ok_per_s"), values("constant", "ok_per_s")), "x")
    row(f"batch of {BATCH_SIZE}, closed loop", values("batch", "addresses_per_s"), "addresses/s")
    row(f"batch of {BATCH_SIZE}, per CPU-second", values("batch", "addresses_per_cpu_s"), "addresses per CPU-second")


def open_loop(bench: Bench, capacity_per_s: float) -> None:
    """Measure latency at half the capacity, then overload, each on a new node."""
    options = bench.options
    most = int(1.1 * max(LOADS) * capacity_per_s * options.seconds) + 2000
    count = min(bodies.MOST, most + int(1.5 * capacity_per_s * options.warm_up))
    file = bodies.write(bench.work / "open.ndjson", bodies.single(distinct(count)))
    for number in range(1, options.rounds + 1):
        for share in (HALF, *LOADS):
            with bench.node() as server:
                warm = load(server, PARSE, file, seconds=options.warm_up, connections=8)
                found = load(
                    server, PARSE, file, seconds=options.seconds, rate=share * capacity_per_s, seed=number,
                    first=warm["sent"], connections=options.open_connections,
                )  # fmt: skip
                bench.keep(_name(share), number, found | {"cache_hits": cache_hits(server)})

    row = bench.run.row
    for percentile in ("p50", "p99"):
        values = _latencies(bench.measured[_name(HALF)], accepted=True, percentile=percentile)
        row(f"half of capacity, open loop: {percentile}", values, "ms")
    for share in LOADS:
        rounds = bench.measured[_name(share)]
        label = f"{share:g}x capacity, open loop"
        goodput = bench.values(_name(share), "ok_per_s")
        row(f"{label}: goodput", goodput, "requests/s")
        row(f"{label}: goodput / capacity", [value / capacity_per_s for value in goodput], "x")
        row(f"{label}: p99 of accepted", _latencies(rounds, accepted=True, percentile="p99"), "ms")
        row(f"{label}: refused", [100 * _refused(found) / found["sent"] for found in rounds], "% of requests")
        if refusals := _latencies(rounds, accepted=False, percentile="p99"):
            row(f"{label}: p99 of time to refusal", refusals, "ms")
        row(
            f"{label}: node's CPU", bench.values(_name(share), "server_cpu_us_per_answer"), "us per reply of any status"
        )
        row(f"{label}: no reply", bench.values(_name(share), "unanswered"), "requests")
    late = max(found["generator_late_ms"]["p99"] for found in bench.measured[_name(HALF)])
    bench.run.note(f"At half of capacity the generator sent 99 % of the requests at most {late:.2g} ms late.")
    overloaded = [found for share in LOADS for found in bench.measured[_name(share)]]
    statuses = sorted({status for found in overloaded for status in found["statuses"]})
    bench.run.note(f"Statuses seen under overload: {', '.join(statuses)}.")


def cache(bench: Bench) -> None:
    """Measure a Zipf stream with the cache on and off, alternating."""
    options = bench.options
    stream = bodies.zipf(options.zipf_requests, options.zipf_universe, options.zipf_exponent)
    file = bodies.write(bench.work / "zipf.ndjson", bodies.single(stream))
    del stream
    for number in range(1, options.rounds + 1):
        for what, environ in (("cache on", {}), ("cache off", {"ADDRMESH_CACHE__ENTRIES": "0"})):
            with bench.node(**environ) as server:
                seconds = options.fill if not environ else options.warm_up
                filled = load(server, PARSE, file, seconds=seconds, connections=options.connections)
                hits = cache_hits(server)
                found = load(
                    server, PARSE, file, seconds=options.seconds, first=filled["sent"], connections=options.connections
                )
                found |= {"filled_with": filled["sent"], "hit_ratio": (cache_hits(server) - hits) / found["sent"]}
                bench.keep(what, number, found)
    row, on, off = bench.run.row, bench.values("cache on", "ok_per_s"), bench.values("cache off", "ok_per_s")
    label = f"Zipf {options.zipf_exponent:g} over {options.zipf_universe:,}"
    row(f"{label}, cache on", on, "requests/s")
    row(f"{label}, cache off", off, "requests/s")
    row(f"{label}, on / off", ratios(on, off), "x")
    row(f"{label}, share of hits", bench.values("cache on", "hit_ratio"), "of requests")


def cache_hits(server: Server) -> float:
    """Return how many addresses the node has answered from memory, by its own count."""
    metrics = server.ask("/metrics")[1].decode()
    found = re.search(r"^\w*cache_hits_total(?:\{[^}]*\})? (\S+)$", metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _name(share: float) -> str:
    return "half" if share == HALF else f"{share:g}x"


def _refused(found: dict[str, Any]) -> int:
    return sum(count for status, count in found["statuses"].items() if status != "200")


def _latencies(rounds: Measured, *, accepted: bool, percentile: str) -> Sequence[float]:
    """Return a percentile per round; of several kinds of refusal, that of the commonest."""
    found = []
    for measured in rounds:
        wanted = {s: n for s, n in measured["statuses"].items() if (s == "200") == accepted}
        if wanted:
            found.append(measured["latency_ms"][max(wanted, key=wanted.__getitem__)][percentile])
    return found


def main() -> None:
    """Measure and write `node.json`."""
    parser = arguments(
        "The HTTP node under load.",
        seconds=8.0, warm_up=1.0, fill=15.0, rounds=5, connections=64, open_connections=512,
        zipf_requests=400_000, zipf_universe=1_000_000, zipf_exponent=1.0,
    )  # fmt: skip
    options = parser.parse_args()
    prepare()
    run = Run("node", options)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, run, Path(folder))
        capacity(bench)
        rates = sorted(bench.values("max", "ok_per_s"))
        open_loop(bench, rates[len(rates) // 2])
        cache(bench)
    share = max(found["generator_cpu_share"] for found in bench.measured["bare"])
    run.note(f"In a closed loop the generator used at most {share:.0%} of its core; near 100 % it would be the limit.")
    run.write()


if __name__ == "__main__":
    main()
