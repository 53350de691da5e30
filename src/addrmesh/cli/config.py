"""`addrmesh config`: the settings that a node started here and now would have."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Look at the settings.", no_args_is_help=True)


@app.callback()
def config() -> None:
    """
    Look at the settings.

    Example: addrmesh config show --origin
    """


@app.command()
def show(
    path: Annotated[
        Path | None,
        typer.Option("--config", help="YAML file with settings; by default the one ADDRMESH_CONFIG names."),
    ] = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """
    Print every setting with the value a node would use.

    Example: addrmesh config show --config node.yaml --origin
    """
    from addrmesh.cli.document import print_document
    from addrmesh.settings import fields, load

    loaded = load(path)
    values = loaded.settings.model_dump(mode="json")
    by_key = {key: values[key.split(".")[0]][key.split(".")[1]] for key in fields()}
    if as_json:
        shown = {k: {"value": v, "origin": loaded.origins[k]} for k, v in by_key.items()} if origin else by_key
        print_document(settings=shown)
        return
    width = max(map(len, by_key))
    value_width = max(len(_shown(v)) for v in by_key.values())
    for key, value in by_key.items():
        line = f"{key:{width}}  {_shown(value):{value_width}}"
        typer.echo(f"{line}  {loaded.origins[key]}" if origin else line.rstrip())


def _shown(value: object) -> str:
    return "-" if value is None else str(value)
