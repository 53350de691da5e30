"""
A node process over a double: `python -m support.serve DIRECTORY [PORT]`.

It starts when DIRECTORY/load exists; an address that contains 9 is answered when DIRECTORY/open exists.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from addrmesh.address.types import Component
from addrmesh.errors import AddrmeshError
from addrmesh.node import node as node_module
from addrmesh.node.server import serve
from addrmesh.settings import Batching, NodeSettings, Server
from support.engines import DigitsEngine, release


def wait_for(file: Path) -> None:
    while not file.exists():
        time.sleep(0.005)


class Gated(DigitsEngine):
    def __init__(self, directory: Path) -> None:
        (directory / "release").mkdir(exist_ok=True)
        super().__init__(release(directory / "release"))
        self.directory = directory

    def predict(self, texts: Sequence[str]) -> list[tuple[Component, ...]]:
        if any("9" in text for text in texts):
            wait_for(self.directory / "open")
        return super().predict(texts)


def load(directory: Path) -> Gated:
    wait_for(directory / "load")
    return Gated(directory)


if __name__ == "__main__":
    directory, port = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    node_module.load_engine = lambda *_: load(directory)  # type: ignore[assignment,return-value]
    node_module.open_release = lambda _: None  # type: ignore[assignment,return-value]
    batching = Batching(default_deadline_ms=60_000, max_wait_ms=60_000)
    try:
        serve(NodeSettings(server=Server(port=port, drain_timeout_s=20), batching=batching))
    except AddrmeshError as error:
        sys.exit(str(error))
