"""The nodes of a `spec`, which each test file says, and the edge of its region `eu`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from addrmesh.topology.routing import route
from addrmesh.topology.spec import FleetSpec
from support.edges import Edge, FakeNode, fake_nodes


@pytest.fixture
async def nodes(spec: FleetSpec) -> AsyncIterator[dict[str, FakeNode]]:
    async with fake_nodes(spec) as nodes:
        yield nodes


@pytest.fixture
async def edge(spec: FleetSpec, nodes: dict[str, FakeNode], tmp_path: Path) -> AsyncIterator[Edge]:
    async with (edge := Edge(route(spec, "eu"), tmp_path)).running():
        yield edge
