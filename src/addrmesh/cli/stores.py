"""Which fleet a command talks about, and the store it writes to."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from addrmesh.errors import ConfigError

if TYPE_CHECKING:
    from addrmesh.store.store import Store
    from addrmesh.topology.spec import FleetSpec

T = TypeVar("T")

VARIABLE = "ADDRMESH_FLEET"


def fleet_spec(path: Path | None = None) -> "FleetSpec":
    """
    Return the fleet's spec: of `path`, else of ADDRMESH_FLEET, else of what `addrmesh up` runs here.

    Raises:
        ConfigError: There is none, or it has mistakes.
    """
    from addrmesh.fleet.local import StateDirectory
    from addrmesh.topology.spec import read

    chosen = path or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if chosen is None:
        directory = StateDirectory.of(os.environ)
        chosen = directory.applied_file if directory.applied_file.exists() else directory.spec_file
        if not chosen.exists():
            raise ConfigError(f"no fleet is known here; start one with `addrmesh up`, or name its spec in {VARIABLE}")
    return read(chosen)


async def open_store(region: str | None) -> "Store":
    """
    Return a region's store; by default of the first region that can be written now.

    Raises:
        ConfigError: The region does not exist or has no store.
        StoreUnavailable: No region's primary can be reached.
    """
    from addrmesh.fleet import stores
    from addrmesh.store.store import StoreUnavailable

    spec = fleet_spec()
    if region is not None:
        spec.region(region)
        return stores.open_store(spec, region)
    tried = [r.name for r in spec.regions if r.store]
    for name in tried:
        store = stores.open_store(spec, name)
        if (await store.status()).writable:
            return store
        await store.close()
    where = ", ".join(tried) or "no region of this fleet has one"
    raise StoreUnavailable(f"no primary can be reached ({where}); see `addrmesh status`, or `addrmesh fleet doctor`")


def ask(region: str | None, work: "Callable[[Store], Awaitable[T]]") -> T:
    """Open a region's store (`open_store`), do the work, close it."""

    async def asked() -> T:
        store = await open_store(region)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(asked())


def author() -> str:
    """Return who is at the command line, for histories and the journal."""
    import getpass
    import socket

    return f"{getpass.getuser()}@{socket.gethostname()}"
