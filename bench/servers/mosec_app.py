"""
mosec with dynamic batching: its HTTP server in Rust, one Python worker.

    bench/.venvs/mosec/bin/python bench/servers/mosec_app.py --address 127.0.0.1 --port PORT

A batch waits at most 1 ms, the shortest mosec knows; 5 and 10 ms gave no more throughput.
"""

from typing import Any

import mosec
from shared_parser import MAX_BATCH, Parser


class Parse(mosec.Worker):
    """One address per request, batches inside."""

    def __init__(self) -> None:
        super().__init__()
        self.parser = Parser()

    def forward(self, data: list[dict[str, str]]) -> list[dict[str, Any]]:
        """Parse a batch."""
        return self.parser.parse([item["address"] for item in data])


if __name__ == "__main__":
    server = mosec.Server()
    server.append_worker(Parse, num=1, max_batch_size=MAX_BATCH, max_wait_time=1)
    server.run()
