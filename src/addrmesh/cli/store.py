"""`addrmesh store`: what a region's store sees, its backup, and the end of a lost region."""

from pathlib import Path
from typing import Annotated

import typer

from addrmesh.cli import stores
from addrmesh.cli.exits import ExitCode
from addrmesh.errors import ConfigError

app = typer.Typer(help="Look at the replicated store; back it up.", no_args_is_help=True)

Region = Annotated[
    str | None, typer.Option("--region", help="Region to ask.", show_default="the first that can be written")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.callback()
def store() -> None:
    """
    Look at the replicated store; back it up.

    Example: addrmesh store status --region eu
    """


@app.command()
def status(region: Region = None, as_json: Json = False) -> None:
    """
    Print what a region's store sees of every region; 5 if something does not work.

    Example: addrmesh store status --region eu
    """
    found = stores.ask(region, lambda store: store.status())
    if as_json:
        from addrmesh.cli.document import print_document

        print_document(status=found, drifting=found.drifting)
    else:
        typer.echo(f"region     {found.region}\nwritable   {'yes' if found.writable else 'no'}")
        typer.echo(f"drift      {found.drift_ms} ms{', more than is harmless' if found.drifting else ''}")
        for origin in found.origins:
            state = "up" if origin.link_up else "link down" if origin.reachable else "cannot be reached"
            lag = "-" if origin.lag_seconds is None else f"{origin.lag_seconds:.0f} s"
            typer.echo(f"origin     {origin.region:16} {state:18} lag {lag:8} offset {origin.offset or '-'}")
    if found.drifting or not all(origin.link_up for origin in found.origins):
        raise typer.Exit(ExitCode.DIFFERENT)


@app.command()
def snapshot(
    file: Annotated[Path, typer.Argument(help="File to write.", show_default=False)], region: Region = None
) -> None:
    """
    Write everything a region sees into one file, with a checksum.

    Example: addrmesh store snapshot /srv/backup/addrmesh.ndjson
    """
    from addrmesh.store.snapshot import take_snapshot

    records = stores.ask(region, lambda store: take_snapshot(store, file))
    typer.echo(f"{file}: {records} records", err=True)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A snapshot.", show_default=False)],
    even_if_old: Annotated[
        bool, typer.Option("--even-if-old", help="Also if what was deleted since could come back.")
    ] = False,
    region: Region = None,
) -> None:
    """
    Merge a snapshot into a region; nothing newer is replaced.

    Example: addrmesh store restore /srv/backup/addrmesh.ndjson
    """
    from addrmesh.store.snapshot import restore_snapshot

    restored = stores.ask(region, lambda store: restore_snapshot(store, file, even_if_old=even_if_old))
    typer.echo(f"{file}: {restored.records} records, {restored.absorbed} of them newer than what was there", err=True)


@app.command()
def adopt(
    lost: Annotated[str, typer.Argument(help="The region that will not come back.", show_default=False)],
    region: Region = None,
) -> None:
    """
    Copy what a lost region has written into this one, so that its replica here can be dropped.

    Example: addrmesh store adopt cn --region eu
    """
    if lost == region:
        raise ConfigError(f"region {lost} cannot adopt itself; name the region that goes on with --region")
    records, cells = stores.ask(region, lambda store: store.adopt(lost))
    typer.echo(f"adopted {records} records and {cells} counters of {lost}; its replicas can be dropped", err=True)
