"""What an edge tells the name servers about its region."""

import asyncio
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from addrmesh.topology.routing import VERDICT_PATH, Traffic, route
from support.edges import Edge, eventually, fake_nodes, require, two_regions


def verdict(edge: Edge) -> int:
    try:
        with urllib.request.urlopen(edge.url + VERDICT_PATH, timeout=2) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("kind", ["envoy", "nginx"])
async def test_a_region_is_green_while_one_of_its_own_nodes_is_ready_and_not_drained(kind: str, tmp_path: Path) -> None:
    require(kind)
    spec = two_regions(kind)
    async with fake_nodes(spec) as nodes, (edge := Edge(route(spec, "eu"), tmp_path)).running():
        own = [node for name, node in nodes.items() if name.startswith("eu/")]
        await eventually(lambda: verdict(edge) == 200, "green")
        await own[0].kill()
        assert await asyncio.to_thread(verdict, edge) == 200
        edge.apply(route(spec, "eu", Traffic(drained_regions=("eu",))))
        await eventually(lambda: verdict(edge) == 503, "a drained region is red")
        edge.apply(route(spec, "eu"))
        await eventually(lambda: verdict(edge) == 200, "green again")
        await own[1].kill()
        assert await asyncio.to_thread(verdict, edge) >= 500, "the other region's nodes do not count"
