"""What redis-server makes of our configuration: who may do what, and over what."""

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from addrmesh.errors import ConfigError
from addrmesh.store.connection import Connection, Endpoint, Tls
from addrmesh.store.harvest import Outcome, open_for_replicas
from addrmesh.store.redis import RedisStore
from addrmesh.store.server import ServerSpec, primary_config, replica_config
from addrmesh.store.store import Durability, StoreUnavailable
from support.redis import RedisProcess, eventually, find_redis_server, free_port

CLIENT, SUPERVISOR, REPLICA = "client-secret", "supervisor-secret", "replica-secret"


class Guarded:
    """A primary of eu with passwords, its replica in cn, and connections to both."""

    def __init__(self, directory: Path, tls: Tls | None = None, binary: str | None = None) -> None:
        self._tls = tls
        self.primary = RedisProcess(directory / "primary", free_port(), binary)
        self.replica = RedisProcess(directory / "replica", free_port(), binary)
        self.primary.start(primary_config(self._spec(self.primary), {"cn": REPLICA}))
        origin = Endpoint("127.0.0.1", self.primary.port, password=REPLICA)
        self.replica.start(replica_config(self._spec(self.replica), "cn", origin))
        self.supervisor = Connection("primary", self.at(self.primary, "supervisor", SUPERVISOR))
        self.remote = Connection("replica in cn", self.at(self.replica, "supervisor", SUPERVISOR))
        self.store = RedisStore("eu", self.at(self.primary, "addrmesh", CLIENT), timeout_s=6.0)

    def _spec(self, server: RedisProcess) -> ServerSpec:
        return ServerSpec(
            server.directory, server.port, client_password=CLIENT, supervisor_password=SUPERVISOR, tls=self._tls
        )

    def at(self, server: RedisProcess, username: str, password: str) -> Endpoint:
        return Endpoint("127.0.0.1", server.port, username, password, self._tls)

    async def replicates(self) -> bool:
        return bool((await self.remote.replication())["master_link_status"] == "up")

    async def stop(self) -> None:
        for closable in (self.supervisor, self.remote, self.store):
            await closable.close()
        self.primary.kill()
        self.replica.kill()


def binaries() -> list[str]:
    """Every redis-server here: versions differ in what they understand of access rules."""
    other = shutil.which("redis-server")
    return sorted({find_redis_server(), *([other] if other else [])})


@pytest.fixture(params=binaries())
async def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Guarded]:
    started = Guarded(tmp_path, binary=request.param)
    yield started
    await started.stop()


async def test_the_client_user_can_do_all_that_the_store_does(guarded: Guarded) -> None:
    store = guarded.store
    assert (await open_for_replicas(guarded.supervisor, {"cn": guarded.remote})).is_open
    await eventually(guarded.replicates, "the replica is linked")
    written = (await store.put("k", b"1")).record
    assert [await store.get("k"), *await store.scan("")] == [written, written]
    watching = store.watch("")
    assert await anext(watching) == written
    await store.put("k", b"2")
    assert (await anext(watching)).value == b"2"
    await watching.aclose()
    await store.add("n", 2, ttl_s=60)
    assert await store.total("n") == 2
    await store.absorb([written])
    await store.delete("k")
    assert await store.sweep(keep_s=-1) == 1
    assert await store.export() == []
    assert (await store.status()).writable
    both = RedisStore(
        "eu",
        guarded.at(guarded.primary, "addrmesh", CLIENT),
        {"cn": guarded.at(guarded.replica, "addrmesh", CLIENT)},
        timeout_s=6.0,
        wait_s=5.0,
    )
    assert (await both.put("k", b"3", durability=Durability.ALL_REGIONS)).durable == 1
    await both.close()


@pytest.mark.parametrize(
    "command",
    [
        ("ACL", "LIST"), ("CONFIG", "GET", "*"), ("FLUSHALL",), ("KEYS", "*"), ("SHUTDOWN",),
        ("SET", "somebody-elses", "1"), ("PUBLISH", "somebody-elses", ""), ("REPLICAOF", "NO", "ONE"),
    ],
    ids=lambda command: command[0],
)  # fmt: skip
async def test_the_client_user_can_do_nothing_else(guarded: Guarded, command: tuple[str, ...]) -> None:
    client = Connection("primary", guarded.at(guarded.primary, "addrmesh", CLIENT))
    with pytest.raises(StoreUnavailable, match="refuses us"), client.translated():
        await client.redis.execute_command(*command)
    await client.close()


@pytest.mark.parametrize(
    ("username", "password"),
    [(None, None), ("addrmesh", "wrong"), ("replica-cn", REPLICA), ("default", "")],
)
async def test_nobody_else_comes_in(guarded: Guarded, username: str | None, password: str | None) -> None:
    store = RedisStore("eu", Endpoint("127.0.0.1", guarded.primary.port, username, password))
    with pytest.raises(StoreUnavailable, match="check user and password"):
        await store.get("k")
    await store.close()


async def test_a_replication_user_is_off_at_every_start_and_may_only_replicate(guarded: Guarded) -> None:
    for _ in range(2):
        assert not await guarded.replicates()
        await eventually(lambda: opens(guarded), "the supervisor opens")
        await eventually(guarded.replicates, "the replica is linked")
        replica = Connection("primary", guarded.at(guarded.primary, "replica-cn", REPLICA))
        with pytest.raises(StoreUnavailable, match="refuses us"):
            await replica.get("k")
        await replica.close()
        guarded.primary.kill()
        guarded.primary.start()
        await eventually(lambda: unlinked(guarded), "the replica notices")


async def unlinked(guarded: Guarded) -> bool:
    return not await guarded.replicates()


async def opens(guarded: Guarded) -> bool:
    with suppress(StoreUnavailable):  # a connection from before the restart
        done = await open_for_replicas(guarded.supervisor, {"cn": guarded.remote})
        return done.by_region["cn"].outcome is Outcome.OPENED
    return False


def certificates(directory: Path) -> Tls:
    """An authority and one certificate that it signed, for 127.0.0.1."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("no openssl to make certificates with")

    def run(*arguments: object) -> None:
        subprocess.run([openssl, *map(str, arguments)], check=True, capture_output=True)

    authority, key, request, certificate = (directory / name for name in ("ca.pem", "key.pem", "request", "cert.pem"))
    authority_key, extension = directory / "ca-key.pem", directory / "extension"
    extension.write_text("subjectAltName=IP:127.0.0.1\n")
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj")
    run(*new, "/CN=test authority", "-x509", "-days", 2, "-keyout", authority_key, "-out", authority)
    run(*new, "/CN=test", "-keyout", key, "-out", request)
    run("x509", "-req", "-in", request, "-CA", authority, "-CAkey", authority_key, "-CAcreateserial", "-days", 2,
        "-extfile", extension, "-out", certificate)  # fmt: skip
    return Tls(certificate, key, authority)


def with_tls() -> str:
    for binary in binaries():
        tried = subprocess.run([binary, "--tls-port", "0", "--port", "nonsense"], capture_output=True, check=False)
        if b"tls-port" not in tried.stdout + tried.stderr:
            return binary
    pytest.skip("no redis-server here was built with TLS")


async def test_with_tls_clients_and_replicas_speak_nothing_else(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, certificates(tmp_path), with_tls())
    try:
        await open_for_replicas(guarded.supervisor, {"cn": guarded.remote})
        await eventually(guarded.replicates, "the replica is linked")
        await guarded.store.put("k", b"1")
        assert await guarded.store.get("k")
        plain = RedisStore("eu", Endpoint("127.0.0.1", guarded.primary.port, "addrmesh", CLIENT))
        with pytest.raises(StoreUnavailable):
            await plain.get("k")
        await plain.close()
    finally:
        await guarded.stop()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"bind": ("0.0.0.0",)}, "needs passwords"),
        ({"client_password": "x"}, "for both its users"),
        ({"client_password": "a b", "supervisor_password": "x"}, "no blanks"),
    ],
)
def test_a_configuration_that_would_be_unsafe_is_refused(tmp_path: Path, spec: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        primary_config(ServerSpec(tmp_path, 1, **spec), {})  # type: ignore[arg-type]


def test_a_replica_without_a_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs the password of replica-cn"):
        replica_config(ServerSpec(tmp_path, 1), "cn", Endpoint("127.0.0.1", 2))
