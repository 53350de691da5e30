"""
Load generator: HTTP/1.1 over keep-alive connections to 127.0.0.1, as little work per request as Python allows.

    .venv/bin/python bench/load.py --port 8000 --path /v1/address:parse --bodies bodies.ndjson --seconds 5
    .venv/bin/python bench/load.py ... --rate 1000        # open loop instead of closed

`bodies.ndjson` holds one request body per line; the requests are put together before the clock starts, and a line is
sent at most once unless `--repeat` is given.

Closed loop (no `--rate`): every connection sends its next request when its reply is complete. Replies count when they
arrive before `--seconds` are over, and so does the rate.

Open loop (`--rate`): arrivals are a Poisson process. A request whose time has come takes an idle connection, or waits
for one; its latency counts **from its scheduled arrival** either way, so a slow server cannot hide by slowing the
generator down. The loop polls without sleeping, because uvloop's timers have a resolution of 1 ms: the generator needs
a core of its own.

Prints one JSON document. Milliseconds, seconds and requests are named; percentiles are of all requests with that
status, without interpolation.
"""

import argparse
import asyncio
import gc
import json
import math
import random
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import uvloop

HOST = "127.0.0.1"
MOST_REQUESTS = 2_000_000
MOST_SECONDS = 300.0
MOST_BROKEN = 200
"""Connections that may break before the run is given up."""
SETTLE_S = 0.5
"""How long the server has to accept the connections: a busy libuv accepts one per turn of its loop, so the last of
hundreds would begin the run with seconds of waiting."""
GRACE_S = 3.0
"""How long replies are awaited after the last request."""

Percentiles = dict[str, float]


class GeneratorError(Exception):
    """The run says nothing about the server."""


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._transport: asyncio.WriteTransport | None = None
        self._received = b""
        self._needed = 0
        self.started = 0.0
        """When the request under way was due, in seconds of `time.perf_counter`; 0 when there is none."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def send(self, request: bytes, due: float) -> None:
        self.started = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        if len(received) < self._needed:
            self._received = received
            return
        head_end = received.find(b"\r\n\r\n")
        if head_end < 0:
            self._received = received
            return
        at = received.find(b"ontent-", 0, head_end)
        while at >= 0 and received[at + 7 : at + 14].lower() != b"length:":
            at = received.find(b"ontent-", at + 7, head_end)
        if at < 0:
            self._load.give_up(GeneratorError("a reply has no Content-Length"))
            return
        line_end = received.find(b"\r\n", at)
        self._needed = head_end + 4 + int(received[at + 14 : line_end])
        if len(received) < self._needed:
            self._received = received
            return
        self._received, self._needed = b"", 0
        self._load.answered(self, received[9:12], self.started)

    def connection_lost(self, _: Exception | None) -> None:
        self._load.broke(self)

    def close(self) -> None:
        self._transport.close()


class Load:
    """
    One run.

    Args:
        port: Of the server.
        requests: Complete requests, sent in order; a closed loop ends with them, an open one needs one per arrival.
        connections: How many are kept open.
        seconds: How long requests are sent.
        dues: Scheduled arrivals in seconds from the start, or None for a closed loop.
    """

    def __init__(
        self, port: int, requests: Iterator[bytes], connections: int, seconds: float, dues: list[float] | None
    ) -> None:
        self._port, self._requests, self._seconds = port, requests, seconds
        self._size, self._dues = connections, deque(dues or ())
        self._open = dues is not None
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._idle: deque[Connection] = deque()
        self._all: set[Connection] = set()
        self._reconnects: set[asyncio.Task[None]] = set()
        self._busy = 0
        self._sending = True
        self._start = self._end = 0.0
        self.latencies: defaultdict[bytes, list[float]] = defaultdict(list)
        self.lateness: list[float] = []
        self.broken: Counter[str] = Counter()
        self.sent = self.in_window = self.ok_in_window = 0

    async def run(self) -> float:
        """Connect, send, wait for the replies; return how long requests were sent, in seconds."""
        for _ in range(self._size):
            await self._connect()
        await asyncio.sleep(SETTLE_S)
        self._start = time.perf_counter()
        self._end = self._start + self._seconds
        self._loop.call_later(self._seconds + GRACE_S, self._finish)
        if self._open:
            self._tick()
        else:
            for connection in list(self._idle):
                self._next(connection)
            self._idle.clear()
        try:
            await self._done
        finally:
            self._sending = False
            for task in self._reconnects:
                task.cancel()
            for connection in list(self._all):
                connection.close()
        return min(time.perf_counter(), self._end) - self._start

    @property
    def unanswered(self) -> int:
        """Requests that were due and have no reply: under way, waiting for a connection, or broken."""
        return self._busy + len(self._dues) + sum(self.broken.values())

    def answered(self, connection: Connection, status: bytes, due: float) -> None:
        now = time.perf_counter()
        self.latencies[status].append(now - due)
        self._busy -= 1
        connection.started = 0.0
        if now <= self._end:
            self.in_window += 1
            self.ok_in_window += status == b"200"
        if self._open:
            self._idle.append(connection)
            if not self._dues and not self._busy:
                self._finish()
        else:
            self._next(connection)

    def broke(self, connection: Connection) -> None:
        """Replace a connection that the server closed; a request on it is lost."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if not self._sending:
            return
        if connection.started:
            self._busy -= 1
            self.broken["under way"] += 1
            if self.broken["under way"] > MOST_BROKEN:
                self.give_up(GeneratorError(f"more than {MOST_BROKEN} connections broke during a request"))
                return
        task = self._loop.create_task(self._reconnect())
        self._reconnects.add(task)
        task.add_done_callback(self._reconnects.discard)

    def give_up(self, error: GeneratorError) -> None:
        if not self._done.done():
            self._done.set_exception(error)

    async def _connect(self) -> None:
        _, connection = await self._loop.create_connection(lambda: Connection(self), HOST, self._port)
        self._all.add(connection)
        self._idle.append(connection)

    async def _reconnect(self) -> None:
        try:
            await self._connect()
        except OSError as error:
            self.give_up(GeneratorError(f"the server takes no more connections ({error.strerror})"))
            return
        if not self._open:
            self._next(self._idle.pop())

    def _next(self, connection: Connection) -> None:
        now = time.perf_counter()
        request = next(self._requests, None) if self._sending and now < self._end else None
        if request is None:
            if self._sending and now < self._end:
                self._end = now  # out of requests: the window closes here
            if not self._busy:
                self._finish()
            return
        self._busy += 1
        self.sent += 1
        connection.send(request, now)

    def _tick(self) -> None:
        """Send what is due, then come back at once."""
        now = time.perf_counter()
        while self._dues and self._idle and (due := self._start + self._dues[0]) <= now:
            self._dues.popleft()
            self._busy += 1
            self.sent += 1
            self.lateness.append(now - due)
            self._idle.popleft().send(next(self._requests), due)
        if self._sending and not self._done.done():
            self._loop.call_soon(self._tick)

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(None)


def percentiles(seconds: list[float]) -> Percentiles:
    """Return p50, p90, p99, p99.9 and the maximum, in milliseconds."""
    ordered = sorted(seconds)
    ranks = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    return {
        name: round(1000 * ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3) for name, share in ranks.items()
    }


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Return the times of a Poisson process of `rate` per second, in seconds from its start."""
    draw, times, now = random.Random(seed), [], 0.0
    while (now := now + draw.expovariate(rate)) < seconds:
        times.append(now)
    return times


def read_requests(bodies: Path, path: str, first: int, count: int) -> list[bytes]:
    """Put together up to `count` requests from the lines of `bodies`, from number `first` on (0-based)."""
    with bodies.open("rb") as lines:
        chosen = list(islice(lines, first, first + count))
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: ".encode()
    return [b"%s%d\r\n\r\n%s" % (head, len(body), body) for body in (line.rstrip(b"\n") for line in chosen)]


async def measure(options: argparse.Namespace) -> dict[str, object]:
    """Run once and report."""
    dues = arrivals(options.rate, options.seconds, options.seed) if options.rate else None
    wanted = min(options.most, len(dues) if dues is not None else options.most)
    dues = dues[:wanted] if dues is not None else None
    requests = read_requests(options.bodies, options.path, options.first, wanted)
    if dues is not None and len(requests) < len(dues) and not options.repeat:
        raise GeneratorError(f"{options.bodies} has {len(requests)} bodies left for {len(dues)} arrivals")
    endless = islice(cycle(requests), wanted) if options.repeat else iter(requests)
    gc.disable()  # everything is kept until the end anyway; a collection would look like a slow server
    load = Load(options.port, endless, options.connections, options.seconds, dues)
    before = time.process_time()
    seconds = await load.run()
    return {
        "loop": "open" if options.rate else "closed",
        "connections": options.connections,
        "seconds": round(seconds, 3),
        "sent": load.sent,
        "answered": sum(map(len, load.latencies.values())),
        "answered_per_s": round(load.in_window / seconds, 2),
        "offered_per_s": round((len(dues) if dues is not None else load.sent) / seconds, 2),
        "ok_per_s": round(load.ok_in_window / seconds, 2),
        "statuses": {status.decode(): len(found) for status, found in sorted(load.latencies.items()) if found},
        "latency_ms": {status.decode(): percentiles(found) for status, found in load.latencies.items() if found},
        "unanswered": load.unanswered,
        "generator_late_ms": percentiles(load.lateness) if load.lateness else None,
        "generator_cpu_share": round((time.process_time() - before) / seconds, 3),
    }


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description="Closed- or open-loop HTTP load on 127.0.0.1.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--bodies", type=Path, required=True, help="one request body per line")
    parser.add_argument("--first", type=int, default=0, help="line to begin with, from 0")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=float, help="arrivals per second: an open loop")
    parser.add_argument("--most", type=int, default=MOST_REQUESTS, help="requests at most")
    parser.add_argument("--repeat", action="store_true", help="begin the bodies again when they are used up")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if not 0 < options.seconds <= MOST_SECONDS or not 0 < options.most <= MOST_REQUESTS or options.connections < 1:
        parser.error(f"--seconds up to {MOST_SECONDS:.0f}, --most up to {MOST_REQUESTS}, --connections from 1")
    try:
        report = uvloop.run(measure(options))
    except (GeneratorError, OSError) as error:
        sys.exit(f"load: {error}")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
