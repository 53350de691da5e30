"""`addrmesh up`, `status` and `down`: the service on this machine, in one command."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from addrmesh.cli.exits import ExitCode, Refused
from addrmesh.errors import AddrmeshError

if TYPE_CHECKING:
    from addrmesh.fleet.local import FleetStatus, RegionSpec, StateDirectory

DETACHED_START_TIMEOUT_S = 60.0
DOWN_TIMEOUT_S = 40.0
SETTLED = ("ready", "stopped", "failed")
"""States in which nothing is awaited."""
NOTHING_RUNS = "nothing is running; start it with: addrmesh up"


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Leave it running in the background.")] = False,
    port: Annotated[int | None, typer.Option(help="TCP port of the node.", show_default="8000")] = None,
    region: Annotated[str | None, typer.Option(help="Name of the region.", show_default="local")] = None,
) -> None:
    """
    Start the service here and keep it alive until Ctrl-C.

    Example: addrmesh up --port 8000
    """
    from addrmesh.fleet import local
    from addrmesh.settings import load

    settings = load(overrides={"server.port": port, "server.region": region}).settings
    server = settings.server
    regions = [local.RegionSpec(server.region, (local.NodeSpec(server.name, server.host, server.port),))]
    directory = local.StateDirectory.of(os.environ)
    try:
        lock = directory.lock()
    except local.AlreadyUp as error:
        raise Refused(str(error)) from error
    with lock:
        local.check_ports(regions)
        if not detach:
            _supervise(regions, directory, server.drain_timeout_s)
            return
    _detach(directory, server.port, server.region)


def status(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """
    Show what `addrmesh up` runs here; the exit code is 5 unless all of it is ready.

    Example: addrmesh status --json
    """
    from addrmesh.fleet import local

    directory = local.StateDirectory.of(os.environ)
    known = directory.read() if directory.is_locked() else None
    seen = local.observe(known) if known else None
    if as_json:
        from addrmesh.cli.document import print_document

        print_document(regions=_regions(seen) if seen else [])
    elif seen:
        sys.stdout.write(_table(seen))
    if not seen:
        typer.echo(NOTHING_RUNS, err=True)
    if not seen or not local.is_ready(seen):
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
    for region in stopped.regions:
        for node in region.nodes:
            typer.echo(f"stopped {region.name}/{node.name}", err=True)


def _supervise(regions: list["RegionSpec"], directory: "StateDirectory", drain_timeout_s: float) -> None:
    from addrmesh.fleet.local import Supervisor

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with _live() as show:
        Supervisor(regions, directory, drain_timeout_s=drain_timeout_s, show=show).run(stop)


@contextmanager
def _live() -> Iterator[Callable[["FleetStatus"], None]]:
    """Show each change: on a terminal with a spinner until all is ready; then the table."""
    from addrmesh.fleet.local import is_ready

    told: dict[str, str] = {}
    introduced = False

    def lines(fleet: "FleetStatus") -> None:
        nonlocal introduced
        for region in fleet.regions:
            for node in region.nodes:
                name = f"{region.name}/{node.name}"
                details = f" (pid {node.pid}, restarts {node.restarts})" if node.pid else ""
                news = node.state + details
                if told.get(name) != news:
                    told[name] = news
                    typer.echo(f"{time.strftime('%H:%M:%S')} {name} is {news}", err=True)
        if is_ready(fleet) and not introduced:
            introduced = True
            typer.echo(_table(fleet) + _next_steps(fleet), err=True)

    if not sys.stderr.isatty():
        yield lines
        return
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("starting …") as spinner:

        def show(fleet: "FleetStatus") -> None:
            spinner.stop()
            lines(fleet)
            states = {f"{r.name}/{n.name}": n.state for r in fleet.regions for n in r.nodes}
            if waiting := [f"{name} {state}" for name, state in states.items() if state not in SETTLED]:
                spinner.update(", ".join(waiting))
                spinner.start()

        yield show


def _detach(directory: "StateDirectory", port: int, region: str) -> None:
    from addrmesh.fleet.local import is_ready

    with directory.log_file.open("wb") as log:
        supervisor = subprocess.Popen(  # noqa: S603 # ourselves, with checked settings
            [sys.executable, "-m", "addrmesh", "up", f"--port={port}", f"--region={region}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + DETACHED_START_TIMEOUT_S
    while supervisor.poll() is None:
        fleet = directory.read()
        if fleet and fleet.supervisor == supervisor.pid and is_ready(fleet):
            typer.echo(_table(fleet) + _next_steps(fleet, detached=True), err=True)
            supervisor.returncode = 0  # it outlives us, which Popen would otherwise warn about
            return
        if time.monotonic() > deadline:
            supervisor.terminate()
            supervisor.wait()
            raise AddrmeshError(
                f"not ready after {DETACHED_START_TIMEOUT_S:.0f} s, stopped; its log is {directory.log_file}"
            )
        time.sleep(0.1)
    lines = directory.log_file.read_text("utf-8", "replace").strip().splitlines() or ["it said nothing"]
    typer.echo(lines[-1] if lines[-1].startswith("error: ") else f"error: {lines[-1]}", err=True)
    raise typer.Exit(supervisor.returncode)


def _regions(fleet: "FleetStatus") -> list[dict[str, object]]:
    return [
        {
            "name": region.name,
            "edge": None,
            "nodes": [
                {key: getattr(node, key) for key in ("name", "pid", "url", "release", "state", "restarts")}
                for node in region.nodes
            ],
            "stores": [],
        }
        for region in fleet.regions
    ]


def _table(fleet: "FleetStatus") -> str:
    rows = [("region", "node", "url", "release", "state", "pid", "restarts")]
    rows += [
        (r.name, n.name, n.url, n.release or "-", n.state, str(n.pid or "-"), str(n.restarts))
        for r in fleet.regions
        for n in r.nodes
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "".join("  ".join(f"{c:{w}}" for c, w in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows)


def _next_steps(fleet: "FleetStatus", *, detached: bool = False) -> str:
    url = fleet.regions[0].nodes[0].url
    end = "Stop it with: addrmesh down" if detached else "Ctrl-C stops it."
    body = """'{"address":"浙江省杭州市余杭区文一西路969号"}'"""
    return (
        f"\nTry:   curl -s {url}/v1/address:parse -H 'content-type: application/json' -d {body}\n"
        f"Read:  {url}/docs\n{end}"
    )
