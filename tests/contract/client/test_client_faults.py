"""The client against real servers that misbehave, and real nodes that are killed under load."""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faulty import Faulty, batch_of_one, black_hole, cut, faulty, garbage, hang, overloaded

from addrmesh.client import AsyncClient, BatchParseResult, Client, ClientError, NoAnswer, ParseResult, ProblemError
from support.engines import digits
from support.waiting import until

ADDRESS = "文三路12号345室"
TESTS = Path(__file__).parents[2]
PATIENT_S = 5.0
"""The machine that runs the tests may stall for longer than a shopper would wait."""


# One call


@pytest.mark.parametrize("fault", [hang, cut, overloaded, garbage])
async def test_the_other_region_answers_whatever_the_nearest_does(fault):
    async with faulty("eu") as eu, faulty("cn") as cn, AsyncClient([eu.url, cn.url], deadline_s=PATIENT_S) as client:
        eu.behave = fault
        assert (await client.parse(ADDRESS)).service.region == "cn"
        assert (len(eu.requests), len(cn.requests)) == (1, 1)


async def test_the_other_region_answers_when_packets_to_the_nearest_are_dropped():
    async with black_hole() as eu, faulty("cn") as cn, AsyncClient([eu, cn.url], deadline_s=PATIENT_S) as client:
        assert (await client.parse(ADDRESS)).service.region == "cn"


async def test_a_batch_goes_to_the_other_region_when_the_nearest_takes_no_connections():
    async with black_hole() as eu, faulty("cn") as cn, AsyncClient([eu, cn.url]) as client:
        cn.behave = batch_of_one
        assert await client.parse_many(["路"]) == [BatchParseResult(())]
        assert len(cn.requests) == 1


async def test_a_port_that_drops_packets_is_silent_until_the_deadline():
    async with black_hole() as eu, AsyncClient([eu], deadline_s=0.25) as client:
        with pytest.raises(NoAnswer, match=r"no (answer|connection)"):
            await client.parse(ADDRESS)


async def test_the_connection_of_a_loser_is_closed():
    async with faulty("eu") as eu, faulty("cn") as cn, AsyncClient([eu.url, cn.url], deadline_s=PATIENT_S) as client:
        for endpoint in client._course.fleet.endpoints:
            endpoint.probe_at = float("inf")  # no connection but that of the call
        eu.behave = hang
        await client.parse(ADDRESS)
        await until(lambda: eu.open == 0, "the client closed the connection that lost")
        assert cn.open == 1


async def test_an_address_is_in_no_error_and_no_url(capfd):
    async with faulty("eu") as eu, AsyncClient([eu.url], deadline_s=0.3) as client:
        for fault in (hang, cut, overloaded, garbage):
            eu.behave = fault
            with pytest.raises(ClientError) as error:
                await client.parse(ADDRESS)
            assert ADDRESS not in repr(error.value) + str(error.value)
        assert all("POST /v1/address:parse HTTP/1.1\r\n" in head for head in eu.requests)
    assert ADDRESS not in "".join(capfd.readouterr())


async def test_the_calls_of_one_request_share_its_id_and_shrink_its_deadline():
    async with faulty("eu") as eu, faulty("cn") as cn, AsyncClient([eu.url, cn.url], deadline_s=PATIENT_S) as client:
        eu.behave = cut
        await client.parse(ADDRESS)

        def header(server: Faulty, name: str) -> str:
            return next(
                v for k, _, v in (line.partition(": ") for line in server.requests[0].splitlines()) if k == name
            )

        assert header(eu, "X-Request-Id") == header(cn, "X-Request-Id")
        assert PATIENT_S * 1000 >= int(header(eu, "X-Deadline-Ms")) > int(header(cn, "X-Deadline-Ms")) > 0


# Keys and TLS


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", path, "-out", tmp_path / "c"],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + (tmp_path / "c").read_text())
    return path


async def test_a_server_that_asks_for_a_certificate_and_a_key_gets_both(certificate):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificate)
    tls.load_cert_chain(certificate)
    tls.verify_mode = ssl.CERT_REQUIRED
    async with faulty("eu", tls) as eu:
        async with AsyncClient(
            [eu.url], api_key="k-1", verify=certificate, cert=certificate, deadline_s=PATIENT_S
        ) as client:
            assert (await client.parse(ADDRESS)).service.region == "eu"
        assert "Authorization: Bearer k-1\r\n" in eu.requests[0]
        async with AsyncClient([eu.url], verify=certificate, deadline_s=1) as without_certificate:
            with pytest.raises(NoAnswer):
                await without_certificate.parse(ADDRESS)
        async with AsyncClient([eu.url], cert=certificate, deadline_s=1) as without_trust:
            with pytest.raises(NoAnswer):
                await without_trust.parse(ADDRESS)
        assert len(eu.requests) == 1


# A real node


def test_a_node_answers_as_typed_values(node):
    with Client([node.url], deadline_s=PATIENT_S) as client:
        reply = client.parse(ADDRESS)
        found = [(c.type, *c.span, round(c.confidence, 4)) for c in reply.result.components]
        assert found == [(kind, start, end, round(confidence, 4)) for kind, start, end, confidence in digits(ADDRESS)]
        assert all(ADDRESS[slice(*c.span)] == c.input_text for c in reply.result.components)
        assert reply.service.release == node.engine.release.id
        with pytest.raises(ProblemError) as error:
            client.parse(" ")
        assert (error.value.code, error.value.status) == ("invalid-text", 422)


def test_many_addresses_come_back_in_order_with_their_errors_in_place(node):
    addresses = [f"路{number}号" for number in range(250)]
    addresses[7] = addresses[240] = " "
    with Client([node.url]) as client:
        answers = client.parse_many(addresses)
        assert client.parse_many([]) == []
    assert [number for number, answer in enumerate(answers) if isinstance(answer, ProblemError)] == [7, 240]
    for number, answer in enumerate(answers):
        if isinstance(answer, ParseResult):
            assert [c.input_text for c in answer.components] == [str(number)]
        else:
            assert isinstance(answer, ProblemError)
            assert answer.code == "invalid-text"


def test_a_batch_that_nobody_answers_stands_in_the_place_of_its_items():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused
        with Client([f"http://127.0.0.1:{taken.getsockname()[1]}"]) as client:
            answers = client.parse_many(["a"] * 101, deadline_s=0.3)
    assert len(answers) == 101
    assert all(isinstance(answer, NoAnswer) for answer in answers)


def test_threads_share_a_client(node):
    before = set(threading.enumerate())
    with Client([node.url], deadline_s=PATIENT_S) as client, ThreadPoolExecutor(16) as pool:
        replies = pool.map(lambda number: (number, client.parse(f"路{number}号")), range(300))
        assert all([c.input_text for c in reply.result.components] == [str(number)] for number, reply in replies)
    assert set(threading.enumerate()) <= before


async def test_closing_while_threads_wait_ends_their_calls_with_an_error():
    async with faulty("eu") as eu:
        eu.behave = hang
        client = Client([eu.url], deadline_s=60)
        waiting = [asyncio.create_task(asyncio.to_thread(client.parse, ADDRESS)) for _ in range(4)]
        await until(lambda: len(eu.requests) == 4, "four calls are waiting")
        await asyncio.to_thread(client.close)
        await asyncio.to_thread(client.close)
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, ClientError)
            assert "closed during the call" in str(error)
        with pytest.raises(ClientError, match="the client is closed"):
            client.parse(ADDRESS)


# Regions under load


class NodeProcess:
    """A real node in a process of its own."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        (directory / "load").touch()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "support.serve", directory], cwd=TESTS, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            event = json.loads(line)
            if event["event"] == "node.listening":
                self.url = f"http://127.0.0.1:{event['port']}"
            if event["event"] == "node.started":
                break
        # What it says from now on must not fill the pipe.
        self.drain = threading.Thread(target=self.process.stderr.read)
        self.drain.start()

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.drain.join()
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[NodeProcess]]:
    started = [NodeProcess(tmp_path / name) for name in ("near", "far")]
    yield started
    for one in started:
        one.end()


async def open_loop(client: AsyncClient, seconds: float, rate: float = 50) -> list[object]:
    """Send calls at fixed times, whatever becomes of them; return what each ended with."""
    loop = asyncio.get_running_loop()
    began, calls = loop.time(), []
    for number in range(round(seconds * rate)):
        await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
        calls.append(asyncio.create_task(client.parse(f"路{number % 8}号")))
    return await asyncio.gather(*calls, return_exceptions=True)


def place(client: AsyncClient) -> None:
    """Put the first endpoint near and the second far: a busy machine could measure it the other way round."""
    for endpoint, endpoint.rtt_s in zip(client._course.fleet.endpoints, (0.001, 0.05), strict=True):
        endpoint.probe_at = float("inf")


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM], ids=["killed", "hung", "drained"])
async def test_a_region_lost_under_load_fails_no_request(nodes, fault):
    near, far = nodes
    async with AsyncClient([near.url, far.url], deadline_s=PATIENT_S) as client:
        place(client)
        before = asyncio.create_task(open_loop(client, 1.5))
        await asyncio.sleep(1)
        near.signal(fault)
        ended = await before + await open_loop(client, 2)
        assert [call for call in ended if isinstance(call, BaseException)] == []
        assert client._course.fleet.endpoints[0].ejected


async def test_a_region_that_hung_and_goes_on_is_used_again(nodes):
    near, far = nodes
    async with AsyncClient([near.url, far.url], deadline_s=PATIENT_S) as client:
        place(client)
        near.signal(signal.SIGSTOP)
        ended = await open_loop(client, 1)
        while not client._course.fleet.endpoints[0].ejected:
            ended += await open_loop(client, 0.1)
        near.signal(signal.SIGCONT)
        while client._course.fleet.endpoints[0].ejected:
            ended += await open_loop(client, 0.1)
        assert [call for call in ended if isinstance(call, BaseException)] == []
        far.signal(signal.SIGKILL)
        ended = await open_loop(client, 1)
        assert [call for call in ended if isinstance(call, BaseException)] == []


def test_a_program_that_forgets_to_close_its_client_ends(node):
    code = (
        "import sys; from addrmesh.client import Client; "
        f"print(Client([{node.url!r}], deadline_s=5).parse({ADDRESS!r}).service.region)"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
