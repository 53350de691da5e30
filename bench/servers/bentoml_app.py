"""
BentoML with adaptive batching: one worker process.

    bench/.venvs/bentoml/bin/bentoml serve bentoml_app:Parse --working-dir bench/servers --host 127.0.0.1 --port PORT

A batchable endpoint takes a list, so a request is a list of one address.
"""

from typing import Any

import bentoml
from shared_parser import MAX_BATCH, Parser


@bentoml.service(workers=1, traffic={"timeout": 30}, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Parse:
    """One address per request, batches inside."""

    def __init__(self) -> None:
        self.parser = Parser()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=10_000)
    def parse(self, addresses: list[str]) -> list[dict[str, Any]]:
        """Parse a batch."""
        return self.parser.parse(addresses)
