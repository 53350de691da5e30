"""
LitServe with dynamic batching: one API server process, one worker process.

    bench/.venvs/litserve/bin/python bench/servers/litserve_app.py PORT

Of waits of 0, 2 and 10 ms, each with both of LitServe's queues, 2 ms without `fast_queue` served this model best on one
core: as many requests per second as 10 ms within the noise, at a lower latency.
"""

import sys
from typing import Any

import litserve
from shared_parser import MAX_BATCH, Parser


class ParseAPI(litserve.LitAPI):
    """One address per request, batches inside."""

    def setup(self, device: Any) -> None:  # noqa: ARG002 - LitServe's signature
        """Load the model in the worker process."""
        self.parser = Parser()

    def decode_request(self, request: dict[str, str]) -> str:
        """Take the address out of the body."""
        return request["address"]

    def batch(self, inputs: list[str]) -> list[str]:
        """Leave the addresses as they are."""
        return list(inputs)

    def predict(self, addresses: list[str]) -> list[dict[str, Any]]:
        """Parse a batch."""
        return self.parser.parse(addresses)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return one reply per address."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Leave the reply as it is."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(
        ParseAPI(max_batch_size=MAX_BATCH, batch_timeout=0.002, api_path="/parse"),
        accelerator="cpu", devices=1, workers_per_device=1, fast_queue=False,
    )  # fmt: skip
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="warning"
    )
