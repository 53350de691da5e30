"""
What the edge adds to a request.

    .venv/bin/python bench/edge.py

A fleet of two regions runs on this machine. A user asks one address after the other on one warm connection: a node
itself, or the Envoy in front of the region's nodes. The rounds alternate; no address is sent twice, so no answer comes
from a node's memory.
"""

import asyncio
import os
from itertools import islice

from addresses import generate
from near import ask, fleet
from results import Run, arguments

WARM = 300


def main() -> None:
    """Measure and write `edge.json`."""
    options = arguments("What the edge adds to a request.", rounds=9, requests=1000).parse_args()
    run = Run("edge", options)
    source = generate()
    found: dict[str, dict[str, list[float]]] = {"node": {}, "edge": {}}
    with fleet() as (keeper, _):
        ports = {"node": keeper.port + 1, "edge": keeper.port}
        for port in ports.values():
            asyncio.run(ask(port, list(islice(source, WARM))))
        for number in range(1, options.rounds + 1):
            # Who goes first changes with every round: a machine that slows down meanwhile slows both.
            for what in sorted(ports, reverse=bool(number % 2)):
                taken = asyncio.run(ask(ports[what], list(islice(source, options.requests))))
                figures = {"p50_ms": taken[len(taken) // 2], "p99_ms": taken[int(len(taken) * 0.99)]}
                run.add(what, number, figures)
                for key, value in figures.items():
                    found[what].setdefault(key, []).append(value)
    for key, name in (("p50_ms", "p50"), ("p99_ms", "p99")):
        run.row(f"a node itself, {name}", found["node"][key], "ms")
        run.row(f"through the edge, {name}", found["edge"][key], "ms")
        added = [a - b for a, b in zip(found["edge"][key], found["node"][key], strict=True)]
        run.row(f"added by the edge, {name}", added, "ms")
    run.note("One connection, one request at a time: the figures are times of a fleet at rest, not of a busy one.")
    run.write()


if __name__ == "__main__":
    os.environ.pop("ADDRMESH_STATE_DIR", None)
    main()
