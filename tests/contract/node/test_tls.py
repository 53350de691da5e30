"""A node behind TLS, over real sockets: who is let in, and whom a caller believes."""

import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import uvicorn

from addrmesh.fleet.certs import init, renew
from addrmesh.node.app import create_app
from addrmesh.node.hot import HotProtocol
from addrmesh.node.server import bind
from addrmesh.settings import NodeSettings, Server
from addrmesh.topology.spec import FleetSpec, check
from support.engines import DigitsEngine, release

SPEC = check(
    {
        "regions": [
            {
                "name": "eu",
                "location": {"latitude": 50, "longitude": 8},
                "nodes": [{"name": "node-1", "port": 8001}, {"name": "node-2", "port": 8002}],
                "edge": {"port": 8000, "admin_port": 8019},
            }
        ]
    },
    "test",
)


def authority(directory: Path, spec: FleetSpec = SPEC, now: datetime | None = None) -> Path:
    init(spec, directory, now or datetime.now(UTC))
    return directory


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return authority(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same names, signed by somebody else."""
    return authority(tmp_path_factory.mktemp("foreign"))


@pytest.fixture(params=["httptools", HotProtocol], ids=["uvicorn", "hot"])
def serve(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., str]]:
    """Serves `eu.node-1` with the files of a directory; returns its URL."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(directory: Path, ca: Path | None = None) -> str:
        settings = NodeSettings(server=Server(port=0))
        sock = bind(settings.server, settings.limits.body_timeout_s)
        config = uvicorn.Config(
            create_app(settings, engine=DigitsEngine(release(tmp_path))),
            loop="uvloop",
            http=request.param,
            ws="none",
            log_config=None,
            ssl_certfile=directory / "eu.node-1.pem",
            ssl_keyfile=directory / "eu.node-1.key",
            ssl_ca_certs=str(ca or directory / "ca.pem"),
            ssl_cert_reqs=ssl.CERT_REQUIRED,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([sock],))
        thread.start()
        running.append((server, thread))
        return f"https://127.0.0.1:{sock.getsockname()[1]}"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the node did not stop"


def client(url: str, trusting: Path, proving: Path | None = None, name: str = "eu.edge") -> httpx.Client:
    """A caller that trusts one authority and proves itself with a file of another directory, or not at all."""
    context = ssl.create_default_context(cafile=trusting)
    if proving is not None:
        context.load_cert_chain(proving / f"{name}.pem", proving / f"{name}.key")
    return httpx.Client(base_url=url, verify=context, timeout=15)


def parsed(caller: httpx.Client) -> httpx.Response:
    with caller:
        for _ in range(500):
            if caller.get("/readyz").status_code == 200:
                break
            threading.Event().wait(0.01)
        return caller.post("/v1/address:parse", json={"address": "路12号"})


@pytest.mark.parametrize("name", ["eu.edge", "eu.node-2", "eu.supervisor", "operator"])
def test_every_process_of_the_fleet_is_served(serve, certs: Path, name: str):
    reply = parsed(client(serve(certs), certs / "ca.pem", certs, name))
    assert (reply.status_code, reply.json()["result"]["components"][0]["text"]) == (200, "12")


def refuses(url: str, certs: Path, proving: Path | None) -> None:
    """
    The caller trusts the node, which ends the connection; one with a proper certificate is served.

    In TLS 1.3 a caller has shaken hands before it hears of this, and uvloop gives no reason.
    """
    with client(url, certs / "ca.pem", proving) as caller:
        for path in ("/livez", "/readyz"):
            with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
                caller.get(path)
    assert parsed(client(url, certs / "ca.pem", certs)).status_code == 200


def test_a_caller_without_a_certificate_is_refused(serve, certs: Path):
    refuses(serve(certs), certs, None)


def test_a_certificate_of_another_authority_is_refused(serve, certs: Path, foreign: Path):
    refuses(serve(certs), certs, foreign)


def test_a_certificate_that_has_ended_is_refused(serve, certs: Path, tmp_path: Path):
    for kind in ("pem", "key"):
        (tmp_path / f"ca.{kind}").write_bytes((certs / f"ca.{kind}").read_bytes())
    renew(SPEC, tmp_path, datetime.now(UTC) - timedelta(days=366))
    refuses(serve(certs), certs, tmp_path)


def test_a_caller_refuses_a_node_of_another_authority(serve, certs: Path, foreign: Path):
    with (
        client(serve(certs), foreign / "ca.pem", foreign) as caller,
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        caller.get("/livez")


def test_a_node_cannot_stand_in_for_another(serve, certs: Path):
    with client(serve(certs), certs / "ca.pem", certs) as caller:
        assert caller.get("/livez", extensions={"sni_hostname": "eu.node-1"}).status_code == 200
    with (
        client(serve(certs), certs / "ca.pem", certs) as caller,
        pytest.raises(httpx.ConnectError, match=r"eu\.node-2"),
    ):
        caller.get("/livez", extensions={"sni_hostname": "eu.node-2"})


def test_a_node_that_trusts_both_authorities_serves_the_callers_of_either(
    serve, certs: Path, foreign: Path, tmp_path: Path
):
    both = tmp_path / "both.pem"
    both.write_bytes((certs / "ca.pem").read_bytes() + (foreign / "ca.pem").read_bytes())
    url = serve(certs, both)
    for proving in (certs, foreign):
        assert parsed(client(url, both, proving)).status_code == 200


def test_renewing_beside_a_running_node_disturbs_no_caller(serve, tmp_path: Path):
    directory = authority(tmp_path / "certs", now=datetime.now(UTC) - timedelta(days=350))
    url = serve(directory)
    assert parsed(client(url, directory / "ca.pem", directory)).status_code == 200
    assert "eu.node-1" in renew(SPEC, directory, datetime.now(UTC))
    assert parsed(client(url, directory / "ca.pem", directory)).status_code == 200  # a renewed caller, an old node
    assert parsed(client(serve(directory), directory / "ca.pem", directory)).status_code == 200
