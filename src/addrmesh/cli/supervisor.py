"""`addrmesh supervisor`: one region's control loop."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Run one region's control loop.", no_args_is_help=True)


@app.callback()
def supervisor() -> None:
    """
    Run one region's control loop.

    Example: addrmesh supervisor run --region eu --spec fleet.yaml --directory /var/lib/addrmesh
    """


@app.command()
def run(
    region: Annotated[str, typer.Option(help="The region.")],
    spec: Annotated[Path, typer.Option(help="The fleet spec.")],
    directory: Annotated[Path, typer.Option(help="Where the fleet's files lie on this machine.")],
) -> None:
    """
    Probe, judge and render until SIGTERM: off the request path, and not needed for serving.

    Example: addrmesh supervisor run --region eu --spec fleet.yaml --directory /var/lib/addrmesh
    """
    from addrmesh.fleet import supervisor

    supervisor.serve(spec, region, directory)
