"""What the rendered nginx does; where it is weaker than Envoy, the test says how weak."""

import asyncio
from pathlib import Path

import httpx
import pytest

from addrmesh.edge import nginx
from addrmesh.edge.check import RenderRejected, check
from addrmesh.edge.files import RenderedFile
from addrmesh.topology.routing import Traffic, Verdicts, route
from addrmesh.topology.spec import FleetSpec
from support.edges import Edge, FakeNode, failures, load, require, two_regions

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture(scope="module")
def engine() -> None:
    require("nginx")


@pytest.fixture
def spec() -> FleetSpec:
    # The test's clients come from 127.0.0.1, which belongs to the other region.
    spec = two_regions("nginx")
    eu, cn = spec.regions
    return spec.model_copy(update={"regions": (eu, cn.model_copy(update={"client_networks": ("127.0.0.0/8",)}))})


async def test_the_client_network_chooses_the_region(edge: Edge, nodes: dict[str, FakeNode]) -> None:
    sent = await load(edge.url, rps=100, seconds=0.4)
    assert {s.node for s in sent} == {"cn/node-1", "cn/node-2"}
    async with httpx.AsyncClient() as client:
        reply = await client.post(f"{edge.url}/v1/address:parse", json={}, headers={"x-addrmesh-edge": "forged"})
    assert reply.json()["edge"] == "eu"


async def test_a_killed_region_is_served_by_the_backups(edge: Edge, nodes: dict[str, FakeNode]) -> None:
    running = asyncio.create_task(load(edge.url, rps=150, seconds=1))
    await asyncio.sleep(0.3)
    await nodes["cn/node-1"].kill()
    await nodes["cn/node-2"].kill()
    sent = await running
    assert failures(sent) == []
    assert {s.node for s in sent if s.at_s > 0.5} == {"eu/node-1", "eu/node-2"}


async def test_a_hung_node_costs_its_requests_the_read_timeout_but_fails_none(
    edge: Edge, nodes: dict[str, FakeNode]
) -> None:
    nodes["cn/node-1"].is_hung = True
    sent = await load(edge.url, rps=40, seconds=0.5)
    assert failures(sent) == []
    assert 1 < max(s.took_s for s in sent) < 2


async def test_drained_and_dead_nodes_are_taken_out_by_a_reload_under_load(
    edge: Edge, nodes: dict[str, FakeNode], spec: FleetSpec
) -> None:
    running = asyncio.create_task(load(edge.url, rps=150, seconds=1.2, reconnects=True))
    await asyncio.sleep(0.3)
    edge.apply(route(spec, "eu", Traffic(drained_nodes=("cn/node-1",)), Verdicts(dead_nodes=("eu/node-1",))))
    sent = await running
    assert failures(sent) == []
    assert {s.node for s in sent if s.at_s > 0.8} == {"cn/node-2"}
    await nodes["cn/node-2"].kill()
    assert {s.node for s in await load(edge.url, rps=50, seconds=0.3)} == {"eu/node-2"}


async def test_what_exceeds_a_nodes_concurrency_goes_to_the_other_region(
    nodes: dict[str, FakeNode], spec: FleetSpec, tmp_path: Path
) -> None:
    small = spec.model_copy(update={"capacity": spec.capacity.model_copy(update={"node_concurrency": 1})})
    for node in nodes.values():
        node.delay_s = 0.05
    async with Edge(route(small, "eu"), tmp_path).running() as edge:
        sent = await load(edge.url, rps=80, seconds=1)  # twice what both may hold at once
    assert failures(sent) == []
    assert (nodes["cn/node-1"].most_active, nodes["cn/node-2"].most_active) == (1, 1)
    assert sum(str(s.node).startswith("eu/") for s in sent) > 20


def test_the_real_nginx_accepts_what_is_rendered_and_refuses_what_is_broken(spec: FleetSpec) -> None:
    (file,) = nginx.render(route(spec, "eu"))
    check("nginx", [file])
    with pytest.raises(RenderRejected, match=r"nginx refuses .*no_such_directive"):
        check("nginx", [RenderedFile("nginx.conf", file.content.replace(b"least_conn;", b"no_such_directive;"))])
