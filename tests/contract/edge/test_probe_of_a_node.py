"""The edge's probe and header against a real node: the other tests use doubles with a node's manners."""

from collections.abc import Callable
from pathlib import Path

import httpx

from addrmesh.topology.routing import route
from addrmesh.topology.spec import FleetSpec
from support.edges import Edge, eventually, require, two_regions
from support.live import LiveNode


def fleet(node: LiveNode) -> FleetSpec:
    """A fleet with this one node, in `cn`: every request through the edge of `eu` is failed over."""
    whole = two_regions()
    eu, cn = whole.regions
    here = cn.model_copy(update={"nodes": (cn.nodes[0].model_copy(update={"port": node.port}),)})
    return whole.model_copy(update={"regions": (eu, here)})


async def test_a_node_is_held_to_the_release_of_its_region(start_node: Callable[..., LiveNode], tmp_path: Path) -> None:
    require("envoy")
    node = start_node()
    spec, served = fleet(node), node.engine.release.id
    async with Edge(route(spec, "eu", releases={"cn": served}), tmp_path).running() as edge:
        healthy = f"127.0.0.1:{node.port}::health_flags::healthy"
        await eventually(lambda: healthy in edge.get("/clusters"), "the node serves what it must")
        edge.apply(route(spec, "eu", releases={"cn": "other@0123456789ab"}))
        await eventually(lambda: healthy not in edge.get("/clusters"), "a node of another release is kept out")
        edge.apply(route(spec, "eu"))
        await eventually(lambda: healthy in edge.get("/clusters"), "without a release any will do")
        async with httpx.AsyncClient() as client:
            reply = await client.post(f"{edge.url}/v1/address:parse", json={"address": "文三路12号"})
        assert reply.status_code == 200
        assert (reply.json()["service"]["edge"], reply.json()["service"]["failed_over"]) == ("eu", True)
