"""`addrmesh up`, `status` and `down`: a whole fleet on this machine, in one command."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from addrmesh.cli.exits import ExitCode
from addrmesh.errors import AddrmeshError

if TYPE_CHECKING:
    from addrmesh.fleet.local import FleetStatus, StateDirectory
    from addrmesh.fleet.processes import ProcessStatus
    from addrmesh.topology.spec import FleetSpec

DETACHED_START_TIMEOUT_S = 60.0
DOWN_TIMEOUT_S = 60.0
EDGES_TIMEOUT_S = 2.0
"""For edges to find nodes that are ready; until then the first requests may go to another region."""
SETTLED = ("ready", "stopped", "failed")
"""States in which nothing is awaited."""
NOTHING_RUNS = "nothing is running; start it with: addrmesh up"


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Leave it running in the background.")] = False,
    regions: Annotated[int, typer.Option(help="How many regions.")] = 2,
    nodes: Annotated[int, typer.Option(help="How many nodes in each region.")] = 2,
    port: Annotated[
        int, typer.Option(help="First TCP port; each region takes 20 from there, its edge the first.")
    ] = 8000,
    spec: Annotated[Path | None, typer.Option(help="Run this fleet instead; see config/fleet.example.yaml.")] = None,
) -> None:
    """
    Start a fleet here and keep it alive until Ctrl-C: regions that each have nodes, an edge and a store.

    Example: addrmesh up --regions 2 --nodes 2
    """
    from addrmesh.fleet import local
    from addrmesh.settings import load
    from addrmesh.topology.spec import read

    settings = load().settings  # a bad variable or file is found before anything is started
    fleet = read(spec) if spec else local.local_spec(regions=regions, nodes=nodes, port=port)
    directory = local.StateDirectory.of(os.environ)
    with directory.lock():
        local.check_ports(fleet)
        if not detach:
            _keep(fleet, directory, settings.server.drain_timeout_s)
            return
        directory.write_spec(fleet)
    _detach(directory)


def status(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """
    Show what `addrmesh up` runs here; the exit code is 5 unless all of it is ready.

    Example: addrmesh status --json
    """
    from addrmesh.cli.document import print_document
    from addrmesh.fleet import local

    directory = local.StateDirectory.of(os.environ)
    known = directory.read() if directory.is_locked() else None
    if known is None:
        if as_json:
            print_document(regions=[])
        typer.echo(NOTHING_RUNS, err=True)
        raise typer.Exit(ExitCode.DIFFERENT)
    spec = directory.read_spec()
    if as_json:
        print_document(regions=[_region(spec, known, region.name) for region in spec.regions])
    else:
        sys.stdout.write(_table(spec, known))
    if not known.is_ready:
        raise typer.Exit(ExitCode.DIFFERENT)


def down() -> None:
    """
    Stop what `addrmesh up` runs here, after it has finished what it accepted.

    Example: addrmesh down
    """
    from addrmesh.fleet import local

    stopped = local.stop(local.StateDirectory.of(os.environ), timeout_s=DOWN_TIMEOUT_S)
    if stopped is None:
        typer.echo("nothing is running", err=True)
        return
    for process in stopped.processes:
        typer.echo(f"stopped {process.id}", err=True)


def _keep(spec: "FleetSpec", directory: "StateDirectory", drain_timeout_s: float) -> None:
    from addrmesh.fleet.local import keep

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with _live(spec) as show:
        keep(spec, directory, stop, drain_timeout_s=drain_timeout_s, show=show)


@contextmanager
def _live(spec: "FleetSpec") -> Iterator[Callable[["FleetStatus"], None]]:
    """Show each change: on a terminal with a spinner until all is ready; then the table."""
    told: dict[str, str] = {}
    introduced = False

    def lines(fleet: "FleetStatus") -> None:
        nonlocal introduced
        for process in fleet.processes:
            details = f" (pid {process.pid}, restarts {process.restarts})" if process.pid else ""
            news = process.state + details
            if told.get(process.id) != news:
                told[process.id] = news
                typer.echo(f"{time.strftime('%H:%M:%S')} {process.id} is {news}", err=True)
        if fleet.is_ready and not introduced:
            introduced = True
            _wait_for_edges(spec)
            typer.echo(_table(spec, fleet) + _next_steps(spec), err=True)

    if not sys.stderr.isatty():
        yield lines
        return
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("starting …") as spinner:

        def show(fleet: "FleetStatus") -> None:
            spinner.stop()
            lines(fleet)
            if waiting := [f"{p.id} {p.state}" for p in fleet.processes if p.state not in SETTLED]:
                spinner.update(", ".join(waiting))
                spinner.start()

        yield show


def _wait_for_edges(spec: "FleetSpec") -> None:
    from addrmesh.fleet.observe import wait_for_edges

    asyncio.run(wait_for_edges(spec, EDGES_TIMEOUT_S))


def _detach(directory: "StateDirectory") -> None:
    with directory.log_file.open("wb") as log:
        keeper = subprocess.Popen(  # noqa: S603 # ourselves, with a checked spec
            [sys.executable, "-m", "addrmesh", "up", f"--spec={directory.spec_file}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + DETACHED_START_TIMEOUT_S
    while keeper.poll() is None:
        fleet = directory.read()
        if fleet and fleet.keeper == keeper.pid and fleet.is_ready:
            spec = directory.read_spec()
            _wait_for_edges(spec)
            typer.echo(_table(spec, fleet) + _next_steps(spec, detached=True), err=True)
            keeper.returncode = 0  # it outlives us, which Popen would otherwise warn about
            return
        if time.monotonic() > deadline:
            waiting = ", ".join(f"{p.id} {p.state}" for p in fleet.processes if p.state != "ready") if fleet else "all"
            keeper.terminate()
            keeper.wait()
            raise AddrmeshError(
                f"not ready after {DETACHED_START_TIMEOUT_S:.0f} s, stopped ({waiting}); see {directory.log_file}"
            )
        time.sleep(0.1)
    lines = directory.log_file.read_text("utf-8", "replace").strip().splitlines() or ["it said nothing"]
    typer.echo(lines[-1] if lines[-1].startswith("error: ") else f"error: {lines[-1]}", err=True)
    raise typer.Exit(keeper.returncode)


def _region(spec: "FleetSpec", fleet: "FleetStatus", name: str) -> dict[str, object]:
    """Return what `status --json` says of one region."""
    region = spec.region(name)
    of = {process.name: process for process in fleet.processes if process.region == name}
    edge, supervisor = of.get("edge"), of.get("supervisor")
    stores = [("primary", region.store.port)] if region.store else []
    stores += [(f"replica-{replica.of}", replica.port) for replica in region.store.replicas] if region.store else []
    return {
        "name": name,
        "edge": {
            "url": spec.url(region.edge),
            "pid": edge.pid if edge else None,
            "state": edge.state if edge else "stopped",
            "restarts": edge.restarts if edge else 0,
        },
        "nodes": [
            {
                "name": node.name,
                "pid": process.pid,
                "url": spec.url(node),
                "release": process.release,
                "state": process.state,
                "restarts": process.restarts,
            }
            for node in region.nodes
            if (process := of.get(node.name))
        ],
        "stores": [
            {
                "name": store,
                "role": "primary" if store == "primary" else "replica",
                "pid": process.pid,
                "port": port,
                "state": process.state,
                "lag_seconds": process.lag_seconds,
            }
            for store, port in stores
            if (process := of.get(store))
        ],
        "supervisor": {"pid": supervisor.pid, "state": supervisor.state} if supervisor else None,
    }


def _table(spec: "FleetSpec", fleet: "FleetStatus") -> str:
    rows = [("region", "process", "url or port", "release", "state", "pid", "restarts")] + [
        (
            p.region,
            p.name,
            _where(spec, p),
            p.release or "-",
            p.state,
            str(p.pid or "-"),
            str(p.restarts),
        )
        for p in fleet.processes
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "".join("  ".join(f"{c:{w}}" for c, w in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows)


def _where(spec: "FleetSpec", process: "ProcessStatus") -> str:
    region = spec.region(process.region)
    places = {node.name: spec.url(node) for node in region.nodes} | {"edge": spec.url(region.edge)}
    if region.store:
        places["primary"] = str(region.store.port)
        places |= {f"replica-{replica.of}": str(replica.port) for replica in region.store.replicas}
    return places.get(process.name, "-")


def _next_steps(spec: "FleetSpec", *, detached: bool = False) -> str:
    url = spec.url(spec.regions[0].edge)
    end = "Stop it with: addrmesh down" if detached else "Ctrl-C stops it."
    body = """'{"address":"浙江省杭州市余杭区文一西路969号"}'"""
    trust = f"--cacert {spec.tls.directory / 'ca.pem'} " if spec.tls else ""
    key = "-H 'authorization: Bearer KEY' " if spec.keys.required else ""
    how = "KEY:   addrmesh keys create --label me --scope parse --rps 50\n" if spec.keys.required else ""
    return (
        f"\nTry:   curl -s {trust}{url}/v1/address:parse {key}-H 'content-type: application/json' -d {body}\n{how}"
        f"Read:  {url}/docs\n{end}"
    )
