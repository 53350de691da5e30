"""
Harvest before re-attach: a primary that lost its last second takes it back from its replicas before they copy it.

A Redis replica copies its primary, whatever the primary has lost. So a primary starts with every region's
replication user off (`server.py`). `open_for_replicas` goes to each region's replica of this primary, takes over
what is newer there, and only then turns that region's user on. A region that cannot be reached stays off until it
can, and its replica keeps what it has; there is no moment at which it could be overwritten.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from addrmesh.store import keys
from addrmesh.store.connection import Connection
from addrmesh.store.store import StoreUnavailable


class Outcome(Enum):
    """What happened to one region's replication user."""

    ALREADY_OPEN = "already_open"
    OPENED = "opened"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Harvested:
    """One region's replica, after a look."""

    outcome: Outcome
    records: int = 0
    """Taken over from there."""
    counter_cells: int = 0
    reason: str | None = None
    """Why it has to wait."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one call of `open_for_replicas` did."""

    by_region: Mapping[str, Harvested]

    @property
    def is_open(self) -> bool:
        """Whether every region may replicate, so that nothing is left to do until the primary's next start."""
        return all(done.outcome is not Outcome.WAITING for done in self.by_region.values())


async def open_for_replicas(primary: Connection, remotes: Mapping[str, Connection]) -> Report:
    """
    Let every region replicate that has given back what the primary lacks.

    Call it every few seconds: it costs one command per region when there is nothing to do.

    `primary` is this region's primary, as supervisor; `remotes` are, by region, the replica of it that stands there.

    Raises:
        StoreUnavailable: The primary cannot be reached.
    """
    done = await asyncio.gather(*(_open_for(region, primary, remote) for region, remote in remotes.items()))
    return Report(dict(zip(remotes, done, strict=True)))


async def _open_for(region: str, primary: Connection, remote: Connection) -> Harvested:
    user = keys.replica_user(region)
    async with primary.same_connection() as redis:
        with primary.translated():
            known = await redis.acl_getuser(user)
        if known is None:
            return Harvested(Outcome.WAITING, reason=f"{primary.name} was started without user {user}; render it again")
        if "on" in known["flags"]:
            return Harvested(Outcome.ALREADY_OPEN)
        try:
            role = (await remote.replication())["role"]
            if role != "slave":
                return Harvested(Outcome.WAITING, reason=f"{remote.name} is no replica, but a {role}; check its port")
            records, cells = await primary.absorb_all(remote)
        except StoreUnavailable as error:
            return Harvested(Outcome.WAITING, reason=str(error))
        with primary.translated():  # on the first connection: the process that has taken over is the one that opens
            await redis.execute_command("ACL", "SETUSER", user, "on")
    return Harvested(Outcome.OPENED, records, cells)
