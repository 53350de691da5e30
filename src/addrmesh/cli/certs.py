"""`addrmesh certs`: the fleet's private certificate authority."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from addrmesh.cli.exits import ExitCode
from addrmesh.errors import Refused

if TYPE_CHECKING:
    from addrmesh.topology.spec import FleetSpec

app = typer.Typer(help="Make and renew the fleet's certificates.", no_args_is_help=True)

SpecPath = Annotated[
    Path | None, typer.Option("--spec", help="The fleet spec.", show_default="ADDRMESH_FLEET, else what runs here")
]
Directory = Annotated[
    Path | None, typer.Option("--directory", help="Where the files lie.", show_default="tls.directory of the spec")
]


@app.callback()
def certs() -> None:
    """
    Make and renew the fleet's certificates.

    Example: addrmesh certs show
    """


@app.command()
def init(spec: SpecPath = None, directory: Directory = None) -> None:
    """
    Make an authority, and a certificate for every process of the fleet; nothing is overwritten.

    Example: addrmesh certs init --spec fleet.yaml
    """
    from addrmesh.fleet import certs

    fleet, place = _open(spec, directory)
    try:
        made = certs.init(fleet, place, datetime.now(UTC))
    except certs.AlreadyThere as error:
        raise Refused(str(error)) from error
    typer.echo(f"made {len(made)} certificates in {place}: {', '.join(made)}", err=True)
    typer.echo(f"keep {place / 'ca.key'} away from the fleet's machines: it is needed to renew, not to run", err=True)


@app.command()
def renew(
    spec: SpecPath = None,
    directory: Directory = None,
    days: Annotated[int, typer.Option(help="Reissue what ends within this many days.", min=0)] = 30,
) -> None:
    """
    Issue what is missing, ends soon or does not fit the spec any more; print the names.

    Example: addrmesh certs renew --days 60
    """
    from addrmesh.fleet import certs

    fleet, place = _open(spec, directory)
    issued = certs.renew(fleet, place, datetime.now(UTC), within_days=days)
    for name in issued:
        typer.echo(name)
    todo = "bring the files to their machines and restart these processes in turn" if issued else "nothing is due"
    typer.echo(f"issued {len(issued)} in {place}; {todo}", err=True)


@app.command()
def show(
    spec: SpecPath = None,
    directory: Directory = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """
    List every certificate with its names and the days it has left; 5 if one is missing or ends within 30 days.

    Example: addrmesh certs show --json
    """
    from addrmesh.cli.document import print_document
    from addrmesh.fleet import certs

    fleet, place = _open(spec, directory)
    found = certs.inspect(fleet, place, datetime.now(UTC))
    if as_json:
        print_document(certificates=found)
    else:
        width = max(len(one.name) for one in found)
        for one in found:
            left = "missing" if one.days_left is None else f"{one.days_left} days"
            typer.echo(f"{one.name:{width}}  {left:>9}  {', '.join(one.names)}".rstrip())
    if any(one.is_due for one in found):
        raise typer.Exit(ExitCode.DIFFERENT)


def _open(spec: Path | None, directory: Path | None) -> tuple["FleetSpec", Path]:
    from addrmesh.cli.stores import fleet_spec
    from addrmesh.errors import ConfigError

    fleet = fleet_spec(spec)
    place = directory or (fleet.tls.directory if fleet.tls else None)
    if place is None:
        raise ConfigError("the fleet spec has no section tls; add `tls: {directory: certs}`, or name a --directory")
    return fleet, place
