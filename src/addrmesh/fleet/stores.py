"""From the fleet spec to the stores: their configuration, and connections to them."""

from typing import Any

import redis

from addrmesh.errors import ConfigError
from addrmesh.fleet.layout import RegionDirectory
from addrmesh.fleet.secrets import password
from addrmesh.store import keys
from addrmesh.store.connection import Connection, Endpoint, Tls
from addrmesh.store.redis import RedisStore
from addrmesh.store.server import ServerSpec, primary_config, replica_config
from addrmesh.topology.spec import FleetSpec, StoreSpec


def configuration(spec: FleetSpec, region: str, files: RegionDirectory) -> dict[str, str]:
    """Return redis.conf of every store process of a region, by process."""
    store = spec.region(region).store
    if store is None:
        return {}
    others = [r.name for r in spec.regions if r.store and any(replica.of == region for replica in r.store.replicas)]
    found = {
        "primary": primary_config(
            _server(spec, region, store.port, "primary", files),
            {other: password(spec.secret_file, region, keys.replica_user(other)) for other in others},
        )
    }
    for replica in store.replicas:
        name = f"replica-{replica.of}"
        origin = _of(spec, replica.of)
        found[name] = replica_config(
            _server(spec, region, replica.port, name, files),
            region,
            Endpoint(
                origin.host,
                origin.port,
                password=password(spec.secret_file, replica.of, keys.replica_user(region)),
            ),
        )
    return found


def open_store(spec: FleetSpec, region: str, user: str = keys.CLIENT_USER) -> RedisStore:
    """
    Return a region's store; it connects when it is first asked.

    Raises:
        ConfigError: The region has none.
    """
    store = _of(spec, region)
    return RedisStore(
        region,
        endpoint(spec, region, store.port, user),
        {replica.of: endpoint(spec, region, replica.port, user) for replica in store.replicas},
    )


def remote_replicas(spec: FleetSpec, region: str) -> dict[str, Connection]:
    """Return a connection, as supervisor, to every replica that other regions keep of this region's primary."""
    return {
        other.name: Connection(
            f"the replica of region {region} in {other.name}",
            endpoint(spec, other.name, replica.port, keys.SUPERVISOR_USER),
        )
        for other in spec.regions
        if other.store
        for replica in other.store.replicas
        if replica.of == region
    }


def endpoint(spec: FleetSpec, region: str, port: int, user: str) -> Endpoint:
    """Return where a store process of a region is reached, as one of its users."""
    return Endpoint(
        _of(spec, region).host, port, user, password(spec.secret_file, region, user), _tls(spec, f"{region}.supervisor")
    )


def plain_client(at: Endpoint) -> redis.Redis:
    """Return a client that blocks, for probes in threads; it connects when it is first asked."""
    tls: dict[str, Any] = {}
    if at.tls:
        tls = {
            "ssl": True,
            "ssl_certfile": str(at.tls.certificate),
            "ssl_keyfile": str(at.tls.key),
            "ssl_ca_certs": str(at.tls.authority),
        }
    return redis.Redis(
        host=at.host, port=at.port, username=at.username, password=at.password,
        socket_timeout=1.0, socket_connect_timeout=1.0, protocol=2, **tls,
    )  # fmt: skip


def _server(spec: FleetSpec, region: str, port: int, process: str, files: RegionDirectory) -> ServerSpec:
    return ServerSpec(
        files.store(process),
        port,
        (_of(spec, region).host,),
        password(spec.secret_file, region, keys.CLIENT_USER),
        password(spec.secret_file, region, keys.SUPERVISOR_USER),
        _tls(spec, f"{region}.store"),
    )


def _of(spec: FleetSpec, region: str) -> StoreSpec:
    store = spec.region(region).store
    if store is None:
        having = ", ".join(r.name for r in spec.regions if r.store) or "none has"
        raise ConfigError(f"region {region!r} has no store ({having}); its spec needs a section `store`")
    return store


def _tls(spec: FleetSpec, name: str) -> Tls | None:
    at = spec.tls and spec.tls.directory
    return Tls(at / f"{name}.pem", at / f"{name}.key", at / "ca.pem") if at else None
