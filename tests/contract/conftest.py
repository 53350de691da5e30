"""Nodes to ask, over real sockets."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from addrmesh.node.hot import HotProtocol
from addrmesh.settings import Limits, NodeSettings, Server
from support.engines import DigitsEngine, PairEngine, release
from support.live import LiveNode


@pytest.fixture(params=["httptools", HotProtocol], ids=["uvicorn", "hot"])
def start_node(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., LiveNode]]:
    """
    Starts nodes with the settings given by section; they stop when the test ends.

    Every test runs over uvicorn's own protocol and over ours: a caller must see no difference.
    """
    started: list[LiveNode] = []

    def start(engine: DigitsEngine | None = None, *, scorer: PairEngine | None = None, **sections: object) -> LiveNode:
        settings = NodeSettings(**{"server": Server(port=0), "limits": Limits(body_timeout_s=0.4), **sections})
        node = LiveNode(engine or DigitsEngine(release(tmp_path)), settings, request.param, scorer)
        node.start()
        started.append(node)
        return node

    yield start
    for node in started:
        node.stop()


@pytest.fixture
def node(start_node: Callable[..., LiveNode]) -> LiveNode:
    return start_node()


@pytest.fixture
def client(node: LiveNode) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=node.url, timeout=15) as client:
        yield client
