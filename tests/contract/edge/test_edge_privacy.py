"""An address is personal data: whatever becomes of its request, an edge keeps nothing of it."""

from pathlib import Path

import httpx
import pytest

from addrmesh.topology.routing import route
from support.edges import Edge, eventually, fake_nodes, require, two_regions

ADDRESS = "文三路9527号"


@pytest.mark.parametrize("kind", ["envoy", "nginx"])
async def test_nothing_of_a_request_is_left_behind(kind: str, tmp_path: Path) -> None:
    require(kind)
    spec = two_regions(kind)
    async with fake_nodes(spec) as nodes, Edge(route(spec, "eu"), tmp_path).running() as edge:
        async with httpx.AsyncClient(base_url=edge.url, timeout=10) as client:

            async def ask(size: int = 1) -> int:
                content = (ADDRESS * size).encode()
                return (await client.post("/v1/address:parse", params={"q": ADDRESS}, content=content)).status_code

            assert await ask() == 200
            assert await ask(size=20_000) == 200  # more than engines like to keep in memory
            assert await ask(size=80_000) == 413
            for node in nodes.values():
                node.status_of = lambda _: 500
            assert await ask() == 500
            for node in nodes.values():
                await node.kill()
            assert await ask() == 503
        await eventually(lambda: edge.get("/stats" if kind == "envoy" else "/stub_status"), "the edge still lives")
    written = contents(tmp_path)
    assert "log" in written
    assert [name for name, content in written.items() if "9527" in content] == []


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text(errors="replace") for path in directory.rglob("*") if path.is_file()}
