"""
From the fleet spec to the processes it needs on this machine, with the files they read when they start.

The same files serve where something else starts the processes: `addrmesh fleet render` writes them for one region.
"""

import hashlib
import os
import signal
import ssl
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import yaml

from addrmesh.atomic_file import replace_file
from addrmesh.binaries import find
from addrmesh.edge import envoy
from addrmesh.edge.check import binary, check
from addrmesh.edge.install import install
from addrmesh.edge.render import command, render
from addrmesh.fleet import stores
from addrmesh.fleet.layout import FleetDirectory, RegionDirectory
from addrmesh.fleet.observe import see_http, see_node, see_store, see_supervisor
from addrmesh.fleet.processes import ProcessSpec
from addrmesh.fleet.secrets import password
from addrmesh.store import keys
from addrmesh.topology.routing import route, zone
from addrmesh.topology.spec import FleetSpec, NodeSpec, RegionSpec


def processes(spec: FleetSpec, directory: FleetDirectory) -> list[ProcessSpec]:
    """Write what the processes read when they start, and return them, stores first."""
    found: list[ProcessSpec] = []
    for region in spec.regions:
        files = write_files(spec, region, directory)
        found += [
            *_stores(spec, region, files),
            *(_node(spec, region, node, files) for node in region.nodes),
            _edge(spec, region, files),
            _supervisor(region, directory, files),
        ]
    return found


def write_files(spec: FleetSpec, region: RegionSpec, directory: FleetDirectory) -> RegionDirectory:
    """Write every file of a region's processes but those that change while they run."""
    files = directory.region(region.name)
    for process, configuration in stores.configuration(spec, region.name, files).items():
        replace_file(files.store(process) / "redis.conf", configuration, private=True)
    if region.store:
        secret = password(spec.secret_file, region.name, keys.CLIENT_USER)
        replace_file(files.store_password, secret, private=True)
    for node in region.nodes:
        replace_file(files.node_settings(node.name), yaml.safe_dump(node_settings(spec, region, node, files)))
    for file in render(route(spec, region.name)):
        # The supervisor keeps the others true while the edge runs; here they only must exist.
        if file.path == envoy.BOOTSTRAP or not (files.edge / file.path).exists():
            replace_file(files.edge / file.path, file.content)
    return files


def write_dns_files(spec: FleetSpec, directory: FleetDirectory) -> Path:
    """
    Write the files of the fleet's name servers, which are the same on all of them, and return where they are.

    Raises:
        RenderRejected: The installed PowerDNS refuses them.
    """
    from addrmesh.edge import powerdns  # its database writer is an extra

    files = powerdns.render(zone(spec))
    check("powerdns", files)
    install(files, directory.dns)
    return directory.dns


def node_settings(spec: FleetSpec, region: RegionSpec, node: NodeSpec, files: RegionDirectory) -> dict[str, object]:
    """Return a node's settings as far as they follow from the fleet spec."""
    found: dict[str, object] = {
        "server": {"host": node.host, "port": node.port, "region": region.name, "name": node.name},
        "keys": {"required": spec.keys.required, "fleet_nodes": sum(len(r.nodes) for r in spec.regions)},
    }
    scheme = "rediss" if spec.tls else "redis"
    if region.store:
        at = f"{scheme}://{region.store.host}"
        found["store"] = {
            "primary": f"{at}:{region.store.port}",
            "replicas": {replica.of: f"{at}:{replica.port}" for replica in region.store.replicas},
            "password_file": str(files.store_password),
            "last_known_good": str(files.last_known_good(node.name)),
        }
    if spec.tls:
        name = f"{region.name}.{node.name}"
        found["tls"] = {
            "certificate": str(spec.tls.directory / f"{name}.pem"),
            "key": str(spec.tls.directory / f"{name}.key"),
            "ca": str(spec.tls.directory / "ca.pem"),
        }
    return found


def context(spec: FleetSpec, region: str) -> ssl.SSLContext | None:
    """Return how a region's supervisor proves itself to the fleet's processes; None in a fleet without TLS."""
    if spec.tls is None:
        return None
    made = ssl.create_default_context(cafile=spec.tls.directory / "ca.pem")
    made.load_cert_chain(
        spec.tls.directory / f"{region}.supervisor.pem", spec.tls.directory / f"{region}.supervisor.key"
    )
    return made


def _stores(spec: FleetSpec, region: RegionSpec, files: RegionDirectory) -> Iterator[ProcessSpec]:
    if region.store is None:
        return
    ports = {"primary": region.store.port} | {f"replica-{r.of}": r.port for r in region.store.replicas}
    for name, port in ports.items():
        client = stores.plain_client(stores.endpoint(spec, region.name, port, keys.SUPERVISOR_USER))
        configuration = files.store(name) / "redis.conf"
        yield ProcessSpec(
            region=region.name,
            kind="store",
            name=name,
            # The wheel's redis-server has no TLS, a distribution's has.
            command=(find("redis-server", packaged=spec.tls is None), str(configuration)),
            log=files.log(name),
            probe=partial(see_store, client),
            digest=_digest(configuration),
        )


def _node(spec: FleetSpec, region: RegionSpec, node: NodeSpec, files: RegionDirectory) -> ProcessSpec:
    settings = files.node_settings(node.name)
    return ProcessSpec(
        region=region.name,
        kind="node",
        name=node.name,
        command=(sys.executable, "-m", "addrmesh", "node", "serve", f"--config={settings}"),
        log=files.log(node.name),
        probe=partial(see_node, node.host, node.port, context(spec, region.name)),
        digest=_digest(settings),
    )


def _edge(spec: FleetSpec, region: RegionSpec, files: RegionDirectory) -> ProcessSpec:
    port, table = region.edge.admin_port, route(spec, region.name)
    return ProcessSpec(
        region=region.name,
        kind="edge",
        name="edge",
        command=tuple(command(table, str(binary(region.edge.kind)))),
        directory=files.edge,
        log=files.log("edge"),
        probe=partial(see_http, "127.0.0.1", port, "/ready"),
        digest="".join(f.sha256 for f in render(table) if f.path == envoy.BOOTSTRAP),
        ask_to_drain=partial(_drain_envoy, port) if region.edge.kind == "envoy" else partial(_drain_nginx, files),
    )


def _supervisor(region: RegionSpec, directory: FleetDirectory, files: RegionDirectory) -> ProcessSpec:
    return ProcessSpec(
        region=region.name,
        kind="supervisor",
        name="supervisor",
        command=(
            sys.executable, "-m", "addrmesh", "supervisor", "run", f"--region={region.name}",
            f"--spec={directory.spec_file}", f"--directory={directory.path}",
        ),
        log=files.log("supervisor"),
        probe=partial(see_supervisor, files.heartbeat),
        # It opens its stores when it starts; everything else of the spec it follows while it runs.
        digest=region.store.model_dump_json() if region.store else "",
    )  # fmt: skip


def _drain_nginx(files: RegionDirectory) -> float:
    with suppress(OSError, ValueError):
        os.kill(int((files.edge / "nginx.pid").read_text()), signal.SIGQUIT)
    return 0.0


def _drain_envoy(admin_port: int) -> float:
    connection = HTTPConnection("127.0.0.1", admin_port, timeout=1.0)
    try:
        connection.request("POST", "/drain_listeners?graceful")
        connection.getresponse().read()
    except (OSError, HTTPException):
        return 0.0
    finally:
        connection.close()
    return float(envoy.DRAIN_S)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
