"""
What the rest of addrmesh may ask of the store. `redis.py` keeps it across regions, `memory.py` for one node alone.

A write goes to the own region only and never waits for another one unless asked to. A read merges what every region
has written as far as it has arrived here. The store knows records, not what they mean.
"""

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from addrmesh.errors import AddrmeshError, ConfigError, Unavailable
from addrmesh.store.records import DRIFT_ALARM_MS, Record, Version

TOMBSTONE_KEEP_S = 30 * 86_400.0
"""How long a deletion is remembered. No partition and no snapshot may be older than this."""


class StoreUnavailable(Unavailable):
    """No server that could answer is reachable."""


class RevisionConflict(AddrmeshError):
    """Somebody else wrote first."""

    def __init__(self, key: str, expected: "Version | Absent", found: Version | None) -> None:
        self.key, self.expected, self.found = key, expected, found
        wanted = "nothing there" if expected is ABSENT else f"version {expected}"
        got = f"version {found}, written in {found.region}" if found else "nothing"
        super().__init__(f"{key}: expected {wanted}, found {got}; read it again and repeat the change")


class Any_(Enum):  # noqa: N801  the type of one value
    """Write whatever is there."""

    ANY = "any"


class Absent(Enum):
    """Write only if there is no value."""

    ABSENT = "absent"


ANY = Any_.ANY
ABSENT = Absent.ABSENT

Expect = Version | Any_ | Absent


class Durability(Enum):
    """How many other regions a write should have reached before it is acknowledged."""

    LOCAL = "local"
    ONE_REGION = "one_region"
    ALL_REGIONS = "all_regions"

    def regions(self, others: int) -> int:
        """Return the number asked for, of `others` that exist."""
        return {Durability.LOCAL: 0, Durability.ONE_REGION: min(1, others), Durability.ALL_REGIONS: others}[self]


@dataclass(frozen=True, slots=True)
class Written:
    """A write that was acknowledged; fewer `durable` regions than `asked` means that they did not confirm in time."""

    record: Record
    durable: int
    """Other regions known to hold it."""
    asked: int


@dataclass(frozen=True, slots=True)
class OriginStatus:
    """The server here that holds what one region has written."""

    region: str
    reachable: bool
    link_up: bool
    """Whether a replica hears from its primary; true for a primary that can be reached."""
    lag_seconds: float | None
    """Since a replica last heard from its primary, whole seconds; None if it never did."""
    offset: int | None
    """Bytes of the origin's replication stream held here."""


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What works now, seen from one process."""

    region: str
    writable: bool
    origins: tuple[OriginStatus, ...]
    """The own region first."""
    drift_ms: int
    """How far the highest version seen is ahead of our wall clock."""

    @property
    def drifting(self) -> bool:
        """Whether some region's clock is ahead by more than is harmless."""
        return self.drift_ms > DRIFT_ALARM_MS


class Store(Protocol):
    """
    The replicated store, seen from one region.

    Every method that writes raises StoreUnavailable when the own region's primary cannot be reached; then the write
    may or may not have happened. Reads raise it only when no server at all can be reached: with some of them gone,
    they answer from what is left, and `status` says so.
    """

    @property
    def region(self) -> str:
        """The region whose primary this store writes."""
        ...

    async def get(self, key: str) -> Record | None:
        """Return the winning record; None if there is none or it was deleted."""
        ...

    async def put(
        self, key: str, value: bytes, *, expect: Expect = ANY, durability: Durability = Durability.LOCAL
    ) -> Written:
        """
        Write a value, ordered after everything this process and its primary have seen.

        `expect` is the version that must still be the winner here, ABSENT, or ANY. A region that cannot be seen
        from here may have written meanwhile; then the higher version wins. `durability` waits for other regions; a
        wait that times out is no error, `Written.durable` says how far the write got.

        Raises:
            RevisionConflict: Something else was found; nothing was written.
        """
        ...

    async def delete(self, key: str, *, expect: Expect = ANY, durability: Durability = Durability.LOCAL) -> Written:
        """Write a tombstone; arguments and errors as for `put`."""
        ...

    async def scan(self, prefix: str) -> list[Record]:
        """Return the winning records that have a value, by key."""
        ...

    def watch(self, prefix: str) -> AsyncGenerator[Record, None]:
        """
        Yield the records there are, then every later winner, tombstones too; for ever.

        A key that changes twice in a moment may be yielded once, with its last state. Nothing is missed when a
        server goes away and comes back, and no key ever goes back to an older version. Close it with `aclosing`.
        """
        ...

    async def add(self, counter: str, amount: int = 1, *, ttl_s: float | None = None) -> None:
        """
        Add to a counter, which only grows: by at least 1.

        With `ttl_s`, the counter disappears that long after its first `add`.
        """
        ...

    async def total(self, counter: str) -> int:
        """Return the sum over all regions, as far as it has arrived here."""
        ...

    async def export(self) -> list[Record]:
        """Return every winning record, tombstones too."""
        ...

    async def absorb(self, records: Iterable[Record]) -> int:
        """Merge records into the own region, as they are; return how many were newer than ours."""
        ...

    async def adopt(self, lost_region: str) -> tuple[int, int]:
        """
        Take over what a region lost for good has written, so that its replica here can be dropped.

        Returns:
            How many records and counter cells were taken over; running it again adds what is missing.

        Raises:
            ConfigError: There is no replica of that region here.
        """
        ...

    async def sweep(self, keep_s: float = TOMBSTONE_KEEP_S) -> int:
        """Forget the own region's tombstones that are older than this and needed nowhere; return how many."""
        ...

    async def status(self) -> StoreStatus:
        """Return what works; never raises."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


def no_replica(region: str, known: Iterable[str]) -> ConfigError:
    """Return the error for a region whose replica does not stand here."""
    return ConfigError(f"no replica of region {region!r} stands here; there are {', '.join(sorted(known)) or 'none'}")


def check_amount(amount: int) -> None:
    """
    Return if a counter may grow by `amount`.

    Raises:
        ConfigError: It would not grow.
    """
    if amount < 1:
        raise ConfigError(f"a counter was asked to grow by {amount}; counters only grow, by 1 or more")
