"""`addrmesh node`: one process that serves the HTTP API."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Run one node of the service.", no_args_is_help=True)


@app.callback()
def node() -> None:
    """
    Run one node of the service.

    Example: addrmesh node serve --port 8000
    """


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port; 0 takes any free one.", show_default="8000")] = None,
    region: Annotated[str | None, typer.Option(help="Region the node belongs to.", show_default="local")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the node in its region.", show_default="node-1")] = None,
    release: Annotated[Path | None, typer.Option(help="Directory of the release to serve.")] = None,
    match_release: Annotated[
        Path | None, typer.Option(help="Directory of a release for entity alignment, which then scores pairs.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N, for a release in fp16 or bf16.", show_default="auto")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with settings; see config/node.example.yaml.")] = None,
) -> None:
    """
    Serve the HTTP API until SIGTERM or Ctrl-C, then finish what was accepted.

    Example: addrmesh node serve --config node.yaml --port 8001
    """
    from addrmesh.node import server
    from addrmesh.settings import load

    loaded = load(
        config,
        overrides={
            "server.host": host,
            "server.port": port,
            "server.region": region,
            "server.name": name,
            "release.path": release,
            "match.release": match_release,
            "engine.device": device,
        },
    )
    server.serve(loaded.settings)
