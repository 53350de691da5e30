"""
What a redis-server of the store is told: a primary of its own region, or a replica of another one. Pure: text out.

The ACL users are the lock of harvest-before-reattach (`harvest.py`): as long as a region's replication user is off,
its replica keeps what it has and waits. The file turns them off at every start, whatever the last process knew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from addrmesh.errors import ConfigError
from addrmesh.store import keys
from addrmesh.store.connection import Endpoint, Tls

REPL_PING_S = 1
REPL_TIMEOUT_S = 5
"""A replication link this long silent is taken down, so that it can come back when the network does."""


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """What primaries and replicas have in common."""

    directory: Path
    port: int
    bind: tuple[str, ...] = ("127.0.0.1",)
    client_password: str | None = None
    """Of the user `addrmesh`, for nodes and commands; None lets everybody on this machine in, and nobody else."""
    supervisor_password: str | None = None
    tls: Tls | None = None
    """Serve TLS only, and ask clients for a certificate."""
    fsync: str = "everysec"
    """`always` loses nothing in a power loss and takes nine times as long per write."""
    backlog_mb: int = 64


def primary_config(spec: ServerSpec, replica_passwords: Mapping[str, str]) -> str:
    """Return redis.conf for a region's primary; the passwords are by region that replicates from it."""
    users = [
        f"user {keys.replica_user(region)} off >{_secret(password)} +psync +replconf +ping"
        for region, password in sorted(replica_passwords.items())
    ]
    return _render([*_common(spec), *users])


def replica_config(spec: ServerSpec, region: str, origin: Endpoint) -> str:
    """
    Return redis.conf for the replica that `region` keeps of another region's primary.

    `origin` is that primary as reached from here, with the password of `region`'s replication user.
    """
    if origin.password is None:
        raise ConfigError(f"the replica in {region} of {origin!r} needs the password of {keys.replica_user(region)}")
    return _render(
        [
            *_common(spec),
            f"replicaof {origin.host} {origin.port}",
            f"masteruser {keys.replica_user(region)}",
            f"masterauth {_secret(origin.password)}",
            "replica-read-only yes",
            "replica-serve-stale-data yes",
        ]
    )


def _common(spec: ServerSpec) -> list[str]:
    passwords = spec.client_password, spec.supervisor_password
    if any(passwords) and not all(passwords):
        raise ConfigError("a store has passwords for both its users, client and supervisor, or for none")
    if not all(passwords) and not all(address in {"127.0.0.1", "::1"} for address in spec.bind):
        raise ConfigError(f"a store that listens on {' '.join(spec.bind)} needs passwords; without, only on 127.0.0.1")
    lines = [
        f"bind {' '.join(spec.bind)}",
        "daemonize no",
        f'dir "{spec.directory}"',
        'save ""',
        "appendonly yes",
        f"appendfsync {spec.fsync}",
        "maxmemory-policy noeviction",
        f"repl-backlog-size {spec.backlog_mb}mb",
        "repl-diskless-sync yes",
        "repl-diskless-sync-delay 0",
        f"repl-ping-replica-period {REPL_PING_S}",
        f"repl-timeout {REPL_TIMEOUT_S}",
        "tcp-keepalive 10",
    ]
    if spec.tls:
        lines += [
            "port 0",
            f"tls-port {spec.port}",
            f'tls-cert-file "{spec.tls.certificate}"',
            f'tls-key-file "{spec.tls.key}"',
            f'tls-ca-cert-file "{spec.tls.authority}"',
            "tls-auth-clients yes",
            "tls-replication yes",
        ]
    else:
        lines.append(f"port {spec.port}")
    if spec.client_password and spec.supervisor_password:
        commands = "+@read +@write +@connection +@pubsub +@scripting +@transaction -@dangerous +info +time +wait"
        ours = "resetchannels ~addrmesh:* &addrmesh:*"
        lines += [
            # Redis 7 replays the append-only file as the default user, which therefore may do everything, and cannot
            # be logged in as.
            "user default off resetpass ~* &* +@all",
            f"user {keys.SUPERVISOR_USER} on >{_secret(spec.supervisor_password)} ~* &* +@all",
            f"user {keys.CLIENT_USER} on >{_secret(spec.client_password)} {ours} {commands}",
        ]
    return lines


def _secret(password: str) -> str:
    if not password or any(character.isspace() or character in "\"'" for character in password):
        raise ConfigError("a store's password is not empty and has no blanks and no quotes; draw it at random")
    return password


def _render(lines: list[str]) -> str:
    return "# Written by addrmesh; changes are lost.\n" + "\n".join(lines) + "\n"
