"""
What the store keeps: a value, or the fact that there is none any more, with the version that orders it.

A version is a hybrid logical clock: the wall clock where it can be, a counter where two writes share a millisecond
or somebody's clock runs ahead. Versions are totally ordered and never equal for two writes, so "the highest wins"
has the same result everywhere, in whatever order records arrive.
"""

import re
from dataclasses import dataclass, replace

from addrmesh.errors import ConfigError

COUNTER_LIMIT = 0x1_0000
DRIFT_ALARM_MS = 500
"""A clock this far ahead of ours wins every tie it should not; writes stay ordered, but somebody should look."""

_REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


@dataclass(frozen=True, order=True, slots=True)
class Version:
    """When and where a record was written. As text it sorts bytewise like the tuple itself."""

    wall_ms: int
    counter: int
    region: str

    def __str__(self) -> str:
        return f"{self.wall_ms:011x}.{self.counter:04x}.{self.region}"

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Read what `str` wrote; anything else is a ValueError."""
        wall, counter, region = text.split(".")
        return cls(int(wall, 16), int(counter, 16), region)


@dataclass(frozen=True, slots=True)
class Record:
    """One key's state; `value` is None when it has been deleted (a tombstone)."""

    key: str
    value: bytes | None
    version: Version


def tick(now_ms: int, seen: Version | None, region: str) -> Version:
    """Return the version of a write made now: later than `seen`, and at least the wall clock."""
    if seen is None or now_ms > seen.wall_ms:
        return Version(now_ms, 0, region)
    if seen.counter + 1 == COUNTER_LIMIT:
        return Version(seen.wall_ms + 1, 0, region)
    return replace(seen, counter=seen.counter + 1, region=region)


def drift_ms(now_ms: int, seen: Version | None) -> int:
    """Return how far ahead of our wall clock the highest version is."""
    return max(0, seen.wall_ms - now_ms) if seen else 0


def check_region(name: str) -> str:
    """
    Return `name`.

    Raises:
        ConfigError: It cannot be part of a version, a key and a user name.
    """
    if not _REGION.fullmatch(name):
        raise ConfigError(
            f"region {name!r}: use 1 to 32 small letters, digits and hyphens, as in eu-west, not ending with a hyphen"
        )
    return name
