"""What the rendered Envoy does with nodes that die, hang, refuse, slow down or change; counted at the client."""

import asyncio
import inspect
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from addrmesh.edge import envoy
from addrmesh.edge.check import RenderRejected, check
from addrmesh.edge.files import RenderedFile
from addrmesh.topology.routing import Traffic, Verdicts, route
from addrmesh.topology.spec import FleetSpec, Overrides
from support.edges import Edge, FakeNode, Sent, eventually, failures, fake_nodes, load, require, two_regions

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture(scope="module")
def engine() -> None:
    require("envoy")


@pytest.fixture
def spec() -> FleetSpec:
    return two_regions()


async def under_load(edge: Edge, then: Callable[[], object], *, rps: float = 150, seconds: float = 1.6) -> list[Sent]:
    """Send, and do `then` after 0.4 s."""
    running = asyncio.create_task(load(edge.url, rps=rps, seconds=seconds))
    await asyncio.sleep(0.4)
    if inspect.isawaitable(doing := then()):
        await doing
    return await running


async def test_requests_stay_in_the_region_and_carry_its_name(edge: Edge, nodes: dict[str, FakeNode]) -> None:
    sent = await load(edge.url, rps=100, seconds=0.5)
    assert {s.node for s in sent} == {"eu/node-1", "eu/node-2"}
    async with httpx.AsyncClient() as client:
        reply = await client.post(
            f"{edge.url}/v1/address:parse",
            json={},
            headers={"x-addrmesh-edge": "forged", "x-request-id": "mine", "x-deadline-ms": "700"},
        )
    assert reply.json()["edge"] == "eu"
    seen = next(r for n in nodes.values() for r in n.requests if r.get("x-request-id") == "mine")
    assert seen["x-deadline-ms"] == "700"
    assert "forged" not in str(seen)


async def test_a_killed_node_fails_no_request(edge: Edge, nodes: dict[str, FakeNode]) -> None:
    sent = await under_load(edge, nodes["eu/node-1"].kill)
    assert failures(sent) == []
    assert {s.node for s in sent if s.at_s > 1.2} == {"eu/node-2"}


async def test_a_hung_node_fails_no_request(edge: Edge, nodes: dict[str, FakeNode]) -> None:
    sent = await under_load(edge, lambda: setattr(nodes["eu/node-1"], "is_hung", True))
    assert failures(sent) == []
    assert max(s.took_s for s in sent) < 1
    assert {s.node for s in sent if s.at_s > 1.2} == {"eu/node-2"}


async def test_a_killed_region_is_served_by_the_other(edge: Edge, nodes: dict[str, FakeNode]) -> None:
    async def kill() -> None:
        await nodes["eu/node-1"].kill()
        await nodes["eu/node-2"].kill()

    sent = await under_load(edge, kill)
    assert failures(sent) == []
    assert {s.node for s in sent if s.at_s > 1.2} == {"cn/node-1", "cn/node-2"}


async def test_a_hung_region_is_served_by_the_other(edge: Edge, nodes: dict[str, FakeNode]) -> None:
    def hang() -> None:
        nodes["eu/node-1"].is_hung = nodes["eu/node-2"].is_hung = True

    sent = await under_load(edge, hang)
    assert failures(sent) == []
    assert {s.node for s in sent if s.at_s > 1.2} == {"cn/node-1", "cn/node-2"}


async def test_red_probes_everywhere_stop_nothing(edge: Edge, nodes: dict[str, FakeNode]) -> None:
    def red() -> None:
        for node in nodes.values():
            node.is_ready = False

    sent = await under_load(edge, red)
    await eventually(lambda: not any(edge.is_healthy(n) for n in nodes.values()), "every probe is red")
    sent += await load(edge.url, rps=150, seconds=0.5)
    assert failures(sent) == []


async def test_slowness_everywhere_is_not_an_outage(edge: Edge, nodes: dict[str, FakeNode]) -> None:
    def slow() -> None:
        for node in nodes.values():
            node.delay_s = 0.3

    assert failures(await under_load(edge, slow, rps=100, seconds=2)) == []


async def test_a_node_that_answers_30_per_cent_errors_fails_no_request(edge: Edge, nodes: dict[str, FakeNode]) -> None:
    nodes["eu/node-1"].status_of = lambda count: 500 if count % 10 < 3 else 200
    assert failures(await load(edge.url, rps=150, seconds=1)) == []


async def test_a_drained_node_gets_nothing_new_and_no_request_fails(
    edge: Edge, nodes: dict[str, FakeNode], spec: FleetSpec
) -> None:
    nodes["eu/node-1"].delay_s = 0.08
    drained = route(spec, "eu", Traffic(drained_nodes=("eu/node-1",)))
    sent = await under_load(edge, lambda: edge.apply(drained))
    assert failures(sent) == []
    assert {s.node for s in sent if s.at_s > 0.6} == {"eu/node-2"}
    edge.apply(edge.table)
    sent = await load(edge.url, rps=150, seconds=0.6)
    assert "eu/node-1" in {s.node for s in sent}


async def test_weights_are_obeyed(edge: Edge, spec: FleetSpec, nodes: dict[str, FakeNode]) -> None:
    edge.apply(route(spec, "eu", verdicts=Verdicts(weights={"eu/node-1": 20})))
    await eventually(lambda: f"{nodes['eu/node-1'].port}::weight::20" in edge.get("/clusters"), "the weight arrived")
    counts = Counter(s.node for s in await load(edge.url, rps=300, seconds=1))
    assert 0.10 < counts["eu/node-1"] / counts.total() < 0.25  # 20 : 100 is 0.17


async def test_a_node_of_another_release_gets_no_traffic(
    edge: Edge, nodes: dict[str, FakeNode], spec: FleetSpec
) -> None:
    nodes["eu/node-1"].release = nodes["cn/node-1"].release = nodes["cn/node-2"].release = "r@2"
    releases = {"eu": "r@2", "cn": "r@1"}
    assert edge.apply(route(spec, "eu", releases=releases)) == ["eds.json", "eds-own.json"]
    await eventually(lambda: not edge.is_healthy(nodes["eu/node-2"]), "the old release is kept out")
    await eventually(lambda: not edge.is_healthy(nodes["cn/node-1"]), "regions may serve different releases")
    assert edge.is_healthy(nodes["eu/node-1"])
    sent = await load(edge.url, rps=150, seconds=0.6)
    assert failures(sent) == []
    assert {s.node for s in sent} == {"eu/node-1"}


async def test_overload_spills_to_the_next_region_before_anyone_is_refused(
    edge: Edge, nodes: dict[str, FakeNode]
) -> None:
    for node in nodes.values():
        node.delay_s = 0.05
    nodes["eu/node-1"].shed_above = nodes["eu/node-2"].shed_above = 3  # 120 requests a second, half of what comes
    sent = await load(edge.url, rps=240, seconds=1.5)
    by_region = Counter(str(s.node)[:2] for s in sent)
    assert failures(sent) == []
    assert by_region["eu"] > 100, "an overloaded node was ejected"
    assert by_region["cn"] > 100
    assert edge.stat("cluster.nodes.outlier_detection.ejections_enforced_total") == 0


async def test_new_figures_are_taken_without_a_lost_request(
    edge: Edge, nodes: dict[str, FakeNode], spec: FleetSpec
) -> None:
    faster = spec.model_copy(update={"overrides": Overrides(probe_interval_ms=200, route_timeout_ms=2500)})
    changed: list[str] = []
    sent = await under_load(edge, lambda: changed.extend(edge.apply(route(faster, "eu"))))
    assert failures(sent) == []
    assert {"lds.json", "cds.json"} <= set(changed)
    await eventually(lambda: edge.stat("cluster_manager.cds.update_success") >= 2, "the cluster was replaced")
    assert edge.stat("cluster_manager.cds.update_rejected") == edge.stat("listener_manager.lds.update_rejected") == 0


async def test_a_bulk_stream_is_answered_while_it_is_sent(edge: Edge, nodes: dict[str, FakeNode]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.table.listener.port, limit=4_000_000)
    writer.write(
        b"POST /v1/addresses:bulkParse HTTP/1.1\r\nhost: edge\r\ntransfer-encoding: chunked\r\n\r\n4\r\none\n\r\n"
    )
    async with asyncio.timeout(5):
        await reader.readuntil(b"one\n")
        more = b"x" * 2_000_000  # beyond what is buffered for anything else
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(more), more))
        answer = await reader.readuntil(b"\r\n0\r\n\r\n")
    assert answer.count(b"x") == len(more)
    writer.close()


@pytest.mark.parametrize("status", [422, 429, 504])
async def test_an_answer_that_another_node_would_give_too_is_not_retried(
    edge: Edge, nodes: dict[str, FakeNode], status: int
) -> None:
    for node in nodes.values():
        node.status_of = lambda _: status
    (sent,) = await load(edge.url, rps=1, seconds=1)
    assert sent.status == status
    assert sum(n.served for n in nodes.values()) == 1


async def test_a_caller_cannot_change_timeouts_and_retries(edge: Edge, nodes: dict[str, FakeNode]) -> None:
    for node in nodes.values():
        node.delay_s = 0.05
    nodes["eu/node-1"].status_of = nodes["eu/node-2"].status_of = lambda _: 500
    forged = {"x-envoy-upstream-rq-timeout-ms": "1", "x-envoy-max-retries": "0", "x-envoy-retry-on": "none"}
    async with httpx.AsyncClient() as client:
        reply = await client.post(f"{edge.url}/v1/address:parse", json={}, headers=forged)
    assert reply.status_code == 200
    assert not any(name.startswith("x-envoy") for name in reply.headers)


async def test_a_body_beyond_the_limit_is_refused_as_a_problem(edge: Edge, nodes: dict[str, FakeNode]) -> None:
    async with httpx.AsyncClient() as client:
        reply = await client.post(f"{edge.url}/v1/address:parse", content=b"x" * 1_200_000)
    assert (reply.status_code, reply.json()["code"]) == (413, "input-too-long")
    assert reply.headers["content-type"] == "application/problem+json"


async def test_without_any_node_the_edge_says_so_and_when_to_try_again(edge: Edge, nodes: dict[str, FakeNode]) -> None:
    for node in nodes.values():
        await node.kill()
    async with httpx.AsyncClient() as client:
        reply = await client.post(f"{edge.url}/v1/address:parse", json={}, headers={"x-request-id": "mine"})
    assert (reply.status_code, reply.json()["code"]) == (503, "no-node-available")
    assert reply.json()["request_id"] == "mine"
    assert reply.headers["retry-after"] == "1"


@pytest.mark.parametrize("path", ["bootstrap.json", "lds.json", "cds.json", "eds.json"])
def test_the_real_envoy_accepts_what_is_rendered_and_refuses_what_is_broken(spec: FleetSpec, path: str) -> None:
    files = {f.path: f.content for f in envoy.render(route(spec, "eu"))}
    check("envoy", [RenderedFile(p, content) for p, content in files.items()])
    files[path] = files[path].replace(b'"address"', b'"addres"').replace(b'"lb_policy"', b'"lb_polcy"')
    with pytest.raises(RenderRejected, match=r"envoy refuses .*(addres|lb_polcy)"):
        check("envoy", [RenderedFile(p, content) for p, content in files.items()])


async def test_an_edge_alone_in_its_fleet_still_retries(tmp_path: Path) -> None:
    whole = two_regions()
    spec = whole.model_copy(update={"regions": whole.regions[:1], "round_trips": ()})
    async with fake_nodes(spec) as nodes, Edge(route(spec, "eu"), tmp_path).running() as edge:
        sent = await under_load(edge, nodes["eu/node-1"].kill, seconds=1)
    assert failures(sent) == []
