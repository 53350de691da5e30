"""TLS towards users and mutual TLS towards nodes, with both engines."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from addrmesh.edge.check import check
from addrmesh.edge.render import render
from addrmesh.topology.routing import route
from addrmesh.topology.spec import FleetSpec
from support.edges import Edge, FakeNode, eventually, fake_nodes, require, two_regions

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private authority, and a certificate for each process."""
    directory = tmp_path_factory.mktemp("tls")
    openssl(directory, "req", "-x509", *NEW_KEY, "-subj", "/CN=addrmesh", "-keyout", "ca.key", "-out", "ca.pem")
    for name in ("eu.edge", *(f"{region}.node-{i}" for region in ("eu", "cn") for i in (1, 2))):
        issue(directory, name, *NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.pem")
    return directory


def issue(directory: Path, name: str, *arguments: str) -> None:
    openssl(
        directory, "req", "-x509", "-CA", "ca.pem", "-CAkey", "ca.key", "-subj", f"/CN={name}", "-days", "2",
        "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE",
        *arguments,
    )  # fmt: skip


def openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


@pytest.fixture(params=["envoy", "nginx"])
def spec(request: pytest.FixtureRequest, certificates: Path) -> FleetSpec:
    require(request.param)
    return two_regions(request.param, tls={"directory": str(certificates)})


def server(certificates: Path, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
    return context


@pytest.fixture
async def nodes(spec: FleetSpec, certificates: Path) -> AsyncIterator[dict[str, FakeNode]]:
    names = {f"{r.name}/{n.name}": f"{r.name}.{n.name}" for r in spec.regions for n in r.nodes}
    names["eu/node-1"] = names["cn/node-1"]
    async with fake_nodes(spec, {node: server(certificates, name) for node, name in names.items()}) as nodes:
        yield nodes


async def test_a_node_that_proves_to_be_another_process_is_not_asked(
    spec: FleetSpec, nodes: dict[str, FakeNode], certificates: Path, tmp_path: Path
) -> None:
    table = route(spec, "eu")
    check(table.listener.kind, render(table))
    trusted = ssl.create_default_context(cafile=certificates / "ca.pem")
    async with Edge(table, tmp_path).running() as edge, httpx.AsyncClient(verify=trusted) as client:
        for _ in range(6):
            reply = await client.post(f"{edge.url}/v1/address:parse", json={})
            assert (reply.status_code, reply.json()["node"]) == (200, "eu/node-2")
    assert nodes["eu/node-1"].requests == []


async def test_envoy_takes_a_renewed_certificate_while_it_runs(certificates: Path, tmp_path: Path) -> None:
    require("envoy")
    spec = two_regions(tls={"directory": str(certificates)})
    at = ("127.0.0.1", spec.region("eu").edge.port)
    async with Edge(route(spec, "eu"), tmp_path).running():
        before = await asyncio.to_thread(ssl.get_server_certificate, at)
        issue(certificates, "eu.edge", "-key", "eu.edge.key", "-out", "eu.edge.renewed")
        (certificates / "eu.edge.renewed").rename(certificates / "eu.edge.pem")
        await eventually(lambda: ssl.get_server_certificate(at) != before, "the renewed certificate is served")
