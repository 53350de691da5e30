"""The store of one region, as a node follows it: a redis-server, and what a test writes into it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from addrmesh.store.connection import Endpoint
from addrmesh.store.redis import RedisStore
from support.redis import RedisProcess, free_port


class Region:
    """A redis-server and what is asked of it, from this process."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.server = RedisProcess(directory / "redis", self.port)
        self.server.start(f"port {self.port}\nbind 127.0.0.1\ndir {directory / 'redis'}\nsave ''\n")
        self.url = f"redis://127.0.0.1:{self.port}"

    def write(self, work: Callable[[RedisStore], Any]) -> Any:
        async def asked() -> Any:
            store = RedisStore("local", Endpoint("127.0.0.1", self.port), {})
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(asked())
