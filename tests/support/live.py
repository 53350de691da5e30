"""A real node behind a real uvicorn, on a free port of this process; only the model is a double."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import httpx
import uvicorn

from addrmesh.node.app import NodeApp, create_app
from addrmesh.node.server import bind
from addrmesh.settings import NodeSettings
from support.engines import DigitsEngine, PairEngine


class LiveNode:
    """`app` served on `url`; `engine` is what it asks, and `scorer`, if there is one, about pairs."""

    def __init__(self, engine: Any, settings: NodeSettings, protocol: Any, scorer: PairEngine | None = None) -> None:
        self.engine, self.scorer = engine, scorer
        load_scorer = None if scorer is None else lambda: scorer
        self.app: NodeApp = create_app(settings, engine=engine, load_scorer=load_scorer)
        self.socket = bind(settings.server, settings.limits.body_timeout_s)
        self.port: int = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            self.app, loop="uvloop", http=protocol, ws="none", lifespan="on", log_config=None, access_log=False
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self.socket],))

    def loop_call(self, function: Callable[[], object]) -> None:
        """Call something on the node's event loop and wait for it."""
        loop = self._server.servers[0].get_loop()
        asyncio.run_coroutine_threadsafe(_called(function), loop).result(10)

    def start(self) -> None:
        self._thread.start()
        with httpx.Client(base_url=self.url) as client:
            for _ in range(500):  # each round trip is a wait of its own
                if client.get("/readyz").status_code == 200 or self.app.node.failed:
                    break
                threading.Event().wait(0.01)

    def stop(self) -> None:
        for engine in (self.engine, self.scorer):
            if isinstance(engine, DigitsEngine):
                engine.gate.set()
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "the node did not stop"


async def _called(function: Callable[[], object]) -> None:
    function()
