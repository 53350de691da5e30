"""
One redis-server of the store: what can be asked of it, and the only place where redis-py's errors are seen.

Nothing is retried here. A read costs the caller less to repeat than to wait for, and a write that got no answer may
have happened.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from redis import exceptions as theirs
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from addrmesh.store import keys
from addrmesh.store.records import Record, Version
from addrmesh.store.store import StoreUnavailable

_T = TypeVar("_T")

CHUNK = 500
"""Records read with one command; more would keep other callers waiting for milliseconds."""
WRITE_CHUNK = 100
"""Records written with one script, for the same reason."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM form: our certificate and key, and the authority that signs everybody's."""

    certificate: Path
    key: Path
    authority: Path


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a redis-server listens, and as whom to log in."""

    host: str
    port: int
    username: str | None = None
    password: str | None = None
    tls: Tls | None = None

    def __repr__(self) -> str:
        return f"{self.host}:{self.port}"


class Hung(StoreUnavailable):
    """A server accepts connections and does not answer."""


class Changes(NamedTuple):
    """Records written since a moment, and the moment up to which they are known."""

    until: int | None
    records: list[Record]


class Connection:
    """The records of one server; `name` is how errors call it."""

    def __init__(self, name: str, endpoint: Endpoint, *, timeout_s: float = 1.0) -> None:
        self.name = f"{name} at {endpoint!r}"
        tls: dict[str, Any] = {}
        if endpoint.tls:
            tls = {
                "ssl": True,
                "ssl_certfile": str(endpoint.tls.certificate),
                "ssl_keyfile": str(endpoint.tls.key),
                "ssl_ca_certs": str(endpoint.tls.authority),
            }
        # redis-py's types name the answers of every protocol and mode at once; they help nobody.
        self.redis: Any = Redis(
            host=endpoint.host,
            port=endpoint.port,
            username=endpoint.username,
            password=endpoint.password,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            **tls,
        )
        self._write, self._absorb, self._forget, self._count, self._absorb_cells = (
            self.redis.register_script(_script(script))
            for script in ("write", "absorb", "forget", "count", "absorb_cells")
        )

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn whatever redis-py raises into StoreUnavailable, which never quotes a value."""
        try:
            yield
        except (theirs.AuthenticationError, theirs.AuthorizationError, theirs.NoPermissionError) as error:
            raise StoreUnavailable(
                f"{self.name} refuses us ({type(error).__name__}); check user and password of the store"
            ) from error
        except theirs.BusyLoadingError as error:
            raise StoreUnavailable(f"{self.name} is loading its data; it answers when it is done") from error
        except (theirs.TimeoutError, TimeoutError) as error:
            raise Hung(f"{self.name} does not answer; check whether it hangs and whether packets arrive") from error
        except theirs.ResponseError as error:
            raise StoreUnavailable(
                f"{self.name} refused a command ({type(error).__name__}); is it a primary of this version of addrmesh?"
            ) from error
        except (theirs.RedisError, OSError, EOFError) as error:
            raise StoreUnavailable(
                f"{self.name} cannot be reached ({type(error).__name__}); check that it runs and that its port is open"
            ) from error

    async def get(self, key: str) -> Record | None:
        """Return what this server holds, tombstones too."""
        with self.translated():
            packed = await self.redis.hget(keys.RECORDS, key)
        return unpack(key, packed) if packed is not None else None

    async def get_many(self, names: Sequence[str]) -> list[Record]:
        """Return what this server holds of these keys, tombstones too."""
        found = []
        for chunk in _chunks(names, CHUNK):
            with self.translated():
                packed = await self.redis.hmget(keys.RECORDS, list(chunk))
            found += [unpack(key, value) for key, value in zip(chunk, packed, strict=True) if value is not None]
        return found

    async def scan(self, prefix: str) -> list[Record]:
        """Return the records whose key starts with `prefix`, tombstones too."""
        found: list[Record] = []
        after, end = b"[" + prefix.encode(), b"(" + prefix.encode() + b"\xff"
        while True:
            with self.translated():
                page = await self.redis.zrangebylex(keys.INDEX, after, end, start=0, num=CHUNK)
            found += await self.get_many([name.decode() for name in page])
            if len(page) < CHUNK:
                return found
            after = b"(" + page[-1]

    async def changes(self, since: int | None, prefix: str) -> Changes:
        """Return the records under `prefix` that were written here after `since`; None asks for all there are."""
        if since is None:
            with self.translated():
                newest = await self.redis.zrevrange(keys.CHANGES, 0, 0, withscores=True)
            return Changes(int(newest[0][1]) if newest else 0, await self.scan(prefix))
        found: list[Record] = []
        while True:
            with self.translated():
                page = await self.redis.zrangebyscore(
                    keys.CHANGES, f"({since}", "+inf", withscores=True, start=0, num=CHUNK
                )
            names = [key.decode() for key, _ in page]
            found += await self.get_many([name for name in names if name.startswith(prefix)])
            since = int(page[-1][1]) if page else since
            if len(page) < CHUNK:
                return Changes(since, found)

    async def chunks(self) -> AsyncGenerator[list[Record], None]:
        """Yield every record, some at a time; a record written meanwhile may or may not be among them."""
        cursor = 0
        while True:
            with self.translated():
                cursor, packed = await self.redis.hscan(keys.RECORDS, cursor, count=CHUNK)
            yield [unpack(key.decode(), value) for key, value in packed.items()]
            if cursor == 0:
                return

    async def write(
        self,
        key: str,
        value: bytes | None,
        *,
        expect: str,
        others: Record | None,
        seen: Version | None,
        now_ms: int,
        region: str,
        wait_for: int,
        wait_s: float,
    ) -> tuple[bool, Version | None, int]:
        """
        Write a record if the script finds what is expected, and let up to `wait_for` replicas confirm it.

        `expect` is a version, `*` for any, or empty for none; `others` is what the other regions hold of this key.

        Returns:
            Whether it was written; the version written or found; the replicas that confirmed.
        """
        arguments = (
            key,
            value or b"",
            int(value is not None),
            expect,
            str(others.version) if others else "",
            int(others is not None and others.value is not None),
            str(seen) if seen else "",
            now_ms,
            region,
            keys.CHANGED,
        )
        if not wait_for:
            with self.translated():
                done, version = await self._write(keys.SCRIPT_KEYS, arguments)
            return bool(done), _version(version), 0
        async with self.same_connection() as redis:
            with self.translated():
                done, version = await self._write(keys.SCRIPT_KEYS, arguments, client=redis)
            confirmed = 0
            if done:
                try:
                    with self.translated():
                        confirmed = await redis.wait(wait_for, int(wait_s * 1000))
                except StoreUnavailable:  # it is written; only how far it got is unknown
                    confirmed = 0
        return bool(done), _version(version), confirmed

    @asynccontextmanager
    async def same_connection(self) -> AsyncIterator[Any]:
        """
        Lend one connection, for commands that belong together.

        WAIT speaks of the writes of the connection it is sent on; and a server that restarts in between cannot
        answer the second command as if it were the one that answered the first.
        """
        with self.translated():
            redis = await self.redis.client().initialize()
        try:
            yield redis
        finally:
            await redis.aclose()

    async def absorb(self, records: Iterable[Record]) -> int:
        """Take over the records that are newer than ours; return how many."""
        absorbed = 0
        for chunk in _chunks(list(records), WRITE_CHUNK):
            arguments = [part for record in chunk for part in (record.key, pack(record))]
            with self.translated():
                absorbed += await self._absorb(keys.SCRIPT_KEYS, [keys.CHANGED, *arguments])
        return absorbed

    async def forget(self, tombstones: Iterable[Record]) -> int:
        """Remove these tombstones unless they have changed; return how many."""
        forgotten = 0
        for chunk in _chunks(list(tombstones), WRITE_CHUNK):
            with self.translated():
                forgotten += await self._forget(
                    keys.SCRIPT_KEYS, [part for record in chunk for part in (record.key, pack(record))]
                )
        return forgotten

    async def add(self, counter: str, amount: int, ttl_s: float | None) -> None:
        """Add to this server's cell of a counter."""
        with self.translated():
            await self._count([keys.counter(counter)], [amount, _ms(ttl_s)])

    async def cells(self, counter: str) -> dict[str, int]:
        """Return the cells of a counter that this server holds."""
        with self.translated():
            cells = await self.redis.hgetall(keys.counter(counter))
        return {run.decode(): int(amount) for run, amount in cells.items()}

    async def counters(self) -> AsyncGenerator[tuple[str, Mapping[str, int], float | None], None]:
        """Yield every counter: name, cells, and seconds until it expires."""
        with self.translated():
            async for key in self.redis.scan_iter(match=keys.COUNTER + "*", count=CHUNK):
                name = key.decode().removeprefix(keys.COUNTER)
                left_ms = await self.redis.pttl(key)
                yield name, await self.cells(name), left_ms / 1000 if left_ms >= 0 else None

    async def absorb_cells(self, counter: str, cells: Mapping[str, int], ttl_s: float | None) -> int:
        """Raise this server's cells of a counter to `cells`; return how many were behind."""
        arguments = [part for cell in cells.items() for part in cell]
        with self.translated():
            raised: int = await self._absorb_cells([keys.counter(counter)], [_ms(ttl_s), *arguments])
        return raised

    async def absorb_all(self, other: "Connection") -> tuple[int, int]:
        """Take over what `other` holds and we lack; return how many records and how many counter cells."""
        records = cells = 0
        async with aclosing(other.chunks()) as chunks:
            async for chunk in chunks:
                records += await self.absorb(chunk)
        async with aclosing(other.counters()) as counters:
            async for name, theirs_, ttl_s in counters:
                cells += await self.absorb_cells(name, theirs_, ttl_s)
        return records, cells

    async def replication(self) -> Mapping[str, Any]:
        """Return the server's own words on replication."""
        with self.translated():
            info: Mapping[str, Any] = await self.redis.info("replication")
        return info

    async def clock(self) -> Version | None:
        """Return the highest version that this server's primary has issued or absorbed."""
        with self.translated():
            return _version(await self.redis.get(keys.CLOCK) or b"")

    @asynccontextmanager
    async def subscribed(self) -> AsyncIterator[PubSub]:
        """Listen for the hint that something has changed."""
        subscription = self.redis.pubsub()
        try:
            with self.translated():
                await subscription.subscribe(keys.CHANGED)
            yield subscription
        finally:
            await subscription.aclose()

    async def close(self) -> None:
        """Close every connection to the server."""
        await self.redis.aclose()


def pack(record: Record) -> bytes:
    """Return the form in which a server keeps a record."""
    version = str(record.version).encode()
    return version if record.value is None else version + b"\n" + record.value


def unpack(key: str, packed: bytes) -> Record:
    """Read what `pack` or the scripts wrote."""
    version, newline, value = packed.partition(b"\n")
    return Record(key, value if newline else None, Version.parse(version.decode()))


def _version(text: bytes) -> Version | None:
    return Version.parse(text.decode()) if text else None


def _ms(seconds: float | None) -> int | str:
    return "" if seconds is None else max(1, round(seconds * 1000))


def _chunks(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _script(name: str) -> str:
    scripts = files("addrmesh.store") / "scripts"
    prelude = "" if name in {"forget", "count", "absorb_cells"} else (scripts / "common.lua").read_text()
    return prelude + (scripts / f"{name}.lua").read_text()
