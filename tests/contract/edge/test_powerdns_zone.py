"""What a real PowerDNS answers from the rendered zone."""

import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from addrmesh.edge import powerdns
from addrmesh.edge.check import RenderRejected, binary, check
from addrmesh.edge.files import RenderedFile
from addrmesh.edge.install import install
from addrmesh.topology.routing import VERDICT_PATH, Zone, zone
from addrmesh.topology.spec import FleetSpec
from support.edges import free_ports, require, two_regions, wait_until

EU, CN = "127.0.0.2", "127.0.0.3"


class Verdicts(ThreadingHTTPServer):
    """The edges of both regions, which differ by address: 200 at `/regionz`, or 503 for the addresses in `red`."""

    def __init__(self) -> None:
        self.red: set[str] = set()

        class Handler(BaseHTTPRequestHandler):
            server: Verdicts

            def do_GET(self) -> None:
                is_green = self.path == VERDICT_PATH and self.headers["host"].split(":")[0] not in self.server.red
                self.send_response(200 if is_green else 503)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing: the test says what went wrong."""

        super().__init__(("0.0.0.0", 0), Handler)


@pytest.fixture(scope="module")
def verdicts() -> Iterator[Verdicts]:
    with Verdicts() as server:
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


def with_edges(spec: FleetSpec, port: int, *hosts: str) -> FleetSpec:
    regions = (
        r.model_copy(update={"edge": r.edge.model_copy(update={"host": host, "port": port})})
        for r, host in zip(spec.regions, hosts, strict=True)
    )
    dns = spec.dns.model_copy(update={"port": free_ports(1)[0]})
    return spec.model_copy(update={"regions": tuple(regions), "dns": dns})


@pytest.fixture(scope="module")
def rendered(verdicts: Verdicts) -> Zone:
    require("powerdns")
    return zone(with_edges(two_regions(), verdicts.server_port, EU, CN))


@pytest.fixture(scope="module")
def server(rendered: Zone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    directory = tmp_path_factory.mktemp("pdns")
    install(powerdns.render(rendered), directory)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(powerdns.command(str(binary("powerdns"))), cwd=directory, stdout=log, stderr=log)
    try:
        wait_until(lambda: ask(rendered, "10.1.0.1"), "the server answers")
        yield rendered
    finally:
        process.terminate()
        process.wait(10)
        print((directory / "log").read_text())


@pytest.fixture(autouse=True)
def green(request: pytest.FixtureRequest, verdicts: Verdicts) -> None:
    verdicts.red.clear()
    if "server" in request.fixturenames:
        at = request.getfixturevalue("server")
        wait_until(lambda: (ask(at, "10.1.0.1"), ask(at, "10.2.0.1")) == ({EU}, {CN}), "both regions are in")


def ask(at: Zone, client: str) -> set[str]:
    name = f"{at.dns.name}.{at.dns.zone}"
    run = subprocess.run(
        ["dig", f"@{at.dns.host}", "-p", str(at.dns.port), "+short", "+tries=1", "+time=1", f"+subnet={client}/24",
         name],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return set(run.stdout.split()) if run.returncode == 0 else set()


def test_users_are_sent_to_their_own_region(server: Zone) -> None:
    assert ask(server, "10.1.200.7") == {EU}
    assert ask(server, "10.2.200.7") == {CN}


def test_users_of_no_known_network_are_sent_to_the_first_region_and_not_to_a_random_one(server: Zone) -> None:
    assert {frozenset(ask(server, f"{i}.7.7.7")) for i in (8, 100, 203)} == {frozenset({EU})}


def test_a_dead_region_is_out_within_two_seconds_and_back_when_it_recovers(server: Zone, verdicts: Verdicts) -> None:
    start = time.monotonic()
    verdicts.red.add(CN)
    wait_until(lambda: ask(server, "10.2.0.1") == {EU}, "cn is out")
    assert time.monotonic() - start < 2
    assert ask(server, "10.1.0.1") == {EU}
    verdicts.red.clear()
    wait_until(lambda: ask(server, "10.2.0.1") == {CN}, "cn is back")


def test_the_answer_is_never_empty(server: Zone, verdicts: Verdicts) -> None:
    verdicts.red.update({EU, CN})
    wait_until(lambda: ask(server, "10.2.0.1") == {EU, CN}, "all regions are answered when all are red")


def test_records_are_short_lived(server: Zone) -> None:
    name = f"{server.dns.name}.{server.dns.zone}"
    answer = subprocess.run(
        ["dig", f"@{server.dns.host}", "-p", str(server.dns.port), "+noall", "+answer", name],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert answer.split()[1] == "5"


def test_the_real_server_accepts_what_is_rendered_and_refuses_what_is_broken(rendered: Zone) -> None:
    settings, *rest = powerdns.render(rendered)
    check("powerdns", [settings, *rest])
    with pytest.raises(RenderRejected, match=r"pdns_server refuses .*no-such-setting"):
        check("powerdns", [RenderedFile("pdns.conf", settings.content + b"no-such-setting=1\n"), *rest])


def test_equal_zones_give_equal_bytes(rendered: Zone) -> None:
    assert powerdns.render(rendered) == powerdns.render(rendered)
