"""A node without a server: its handlers, in this process."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from addrmesh.node.node import Node
from addrmesh.node.routes import Routes
from addrmesh.settings import NodeSettings
from support.engines import DigitsEngine, release

if TYPE_CHECKING:
    from addrmesh.node.asgi import Endpoint


class InProcess:
    """Asks a node's endpoints as the ASGI server would; answers are (status, headers, body)."""

    def __init__(self, engine: DigitsEngine, settings: NodeSettings, runner: "asyncio.Runner") -> None:
        self.engine, self.runner = engine, runner
        self.node = Node(settings, lambda: engine)
        self.endpoints: dict[str, Endpoint] = {e.path: e for e in Routes(self.node).endpoints()}

    async def ask(self, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        named = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        scope = {"headers": [(k.encode(), v.encode()) for k, v in named.items()], "query_string": b""}
        await self.node.responder.respond(self.endpoints[path], scope, receive, send)
        start, content = sent
        return start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, content["body"]

    async def parse(self, address: str, **options: str) -> tuple[int, dict[str, Any]]:
        asked = {"address": address} | ({"options": options} if options else {})
        status, _, body = await self.ask("/v1/address:parse", json.dumps(asked).encode())
        return status, json.loads(body)

    def run(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)


@contextmanager
def in_process(path: Path, settings: NodeSettings | None = None) -> Iterator[InProcess]:
    """Start a node on an event loop of its own; each `run` turns that loop."""
    with asyncio.Runner() as runner:
        node = InProcess(DigitsEngine(release(path)), settings or NodeSettings(), runner)
        runner.run(node.node.start())
        yield node
        node.engine.gate.set()
        runner.run(node.node.stop())
