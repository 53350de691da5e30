"""
Users near a region against users of a single region far away.

    .venv/bin/python bench/near.py

A fleet of two regions runs on this machine. A user asks one address after the other on one warm connection: near, at
its region's edge; far, at the same edge behind a proxy that holds back every chunk by half of the round trip in each
direction. The rounds alternate. The gain is arithmetic, so the formula is printed with it:

    gain = 1 - (near round trip + service) / (far round trip + service)

where the service time is what the near user sees without any distance. TCP and TLS handshakes, which multiply the
round trip, are left out: they would flatter the gain.
"""

import asyncio
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Self

import yaml

from addresses import generate
from addrmesh.fleet.local import FleetStatus, StateDirectory, local_spec
from addrmesh.topology.spec import FleetSpec
from processes import ADDRMESH, Failed, Server, environment, free_port
from results import Run, arguments, ratios

NEAR_MS = 2.0
"""Round trip to a region in the same metropolitan area."""
DISTANCES = {"here": 0.0, "near": NEAR_MS, "30 ms": 30.0, "150 ms": 150.0, "300 ms": 300.0}
HEAD = b"POST /v1/address:parse HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


def first_port() -> int:
    """Return where a fleet's block of ports may begin."""
    return 20_000 + free_port() % 10_000


@contextmanager
def fleet(spec: FleetSpec | None = None, **environ: str) -> Iterator[tuple[Server, FleetStatus]]:
    """Run a fleet, by default of two regions; yield its keeper with the first edge's port, and what it keeps."""
    spec = spec or local_spec(regions=2, nodes=2, port=first_port())
    with tempfile.TemporaryDirectory(prefix="addrmesh-near-") as state:
        variables = environment(ADDRMESH_STATE_DIR=state, **environ)
        file = Path(state) / "bench.yaml"
        file.write_text(yaml.safe_dump(spec.model_dump(mode="json", exclude_defaults=True)), "utf-8")
        started = time.perf_counter()
        subprocess.run([ADDRMESH, "up", "--detach", f"--spec={file}"], env=variables, check=True, capture_output=True)
        try:
            if (status := StateDirectory(Path(state)).read()) is None:
                raise Failed("the fleet that was ready is gone")
            yield Server(status.keeper, spec.regions[0].edge.port, time.perf_counter() - started), status
        finally:
            subprocess.run([ADDRMESH, "down"], env=variables, check=True, capture_output=True)


class Distance:
    """A proxy to `port` that adds a round trip; it runs on a thread of its own, on a port of its own."""

    def __init__(self, port: int, round_trip_ms: float) -> None:
        self._upstream, self._hold_s = port, round_trip_ms / 2000
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._upstream)
        with suppress(asyncio.CancelledError):
            await asyncio.gather(self._carry(reader, back), self._carry(there, writer))

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while chunk := await source.read(65536):
            self._loop.call_later(self._hold_s, target.write, chunk)
        self._loop.call_later(self._hold_s, target.close)


async def ask(port: int, addresses: list[str]) -> list[float]:
    """Ask for each address in turn on one connection; return the milliseconds each took."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    taken = []
    for address in addresses:
        body = json.dumps({"address": address}).encode()
        started = time.perf_counter()
        writer.write(HEAD % len(body) + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        taken.append((time.perf_counter() - started) * 1000)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the edge answered {answer.split(b' ')[1].decode()}")
    writer.close()
    return sorted(taken)


def main() -> None:
    """Measure and write `near.json`."""
    parser = arguments("Near users against far ones.", rounds=5, requests=300)
    options = parser.parse_args()
    run = Run("near", options)
    source = generate()
    found: dict[str, dict[str, list[float]]] = {}
    with fleet() as (keeper, _):
        edge = keeper.port
        asyncio.run(ask(edge, list(islice(source, 200))))  # warm
        for number in range(1, options.rounds + 1):
            for name, distance_ms in (
                ("here", 0.0),
                ("near", NEAR_MS),
                ("30 ms", 30.0),
                ("150 ms", 150.0),
                ("300 ms", 300.0),
            ):
                # Far requests take long, and their spread is the proxy's: a third of them is enough.
                texts = list(islice(source, options.requests if distance_ms < 10 else options.requests // 3))
                if distance_ms:
                    with Distance(edge, distance_ms) as proxy:
                        taken = asyncio.run(ask(proxy.port, texts))
                else:
                    taken = asyncio.run(ask(edge, texts))
                figures = {"p50_ms": taken[len(taken) // 2], "p99_ms": taken[int(len(taken) * 0.99)]}
                run.add(name, number, figures)
                for key, value in figures.items():
                    found.setdefault(name, {}).setdefault(key, []).append(value)
    service = run.row("at the edge itself, p50", found["here"]["p50_ms"], "ms")
    run.row(f"near user ({NEAR_MS:g} ms), p50", found["near"]["p50_ms"], "ms")
    run.row(f"near user ({NEAR_MS:g} ms), p99", found["near"]["p99_ms"], "ms")
    for name in ("30 ms", "150 ms", "300 ms"):
        run.row(f"far user ({name}), p50", found[name]["p50_ms"], "ms")
        run.row(f"far user ({name}), p99", found[name]["p99_ms"], "ms")
        gains = [100 * (1 - ratio) for ratio in ratios(found["near"]["p50_ms"], found[name]["p50_ms"])]
        run.row(f"less latency at p50 than from {name} away", gains, "%")
        far = float(name.split()[0])
        expected = 100 * (1 - (NEAR_MS + service) / (far + service))
        run.note(f"{name}: 1 - ({NEAR_MS:g} + {service:.2f}) / ({far:g} + {service:.2f}) = {expected:.1f} %")
    run.note(
        "The distance is emulated by a proxy in user space on warm connections; real networks add jitter and loss."
    )
    run.write()


if __name__ == "__main__":
    os.environ.pop("ADDRMESH_STATE_DIR", None)
    main()
