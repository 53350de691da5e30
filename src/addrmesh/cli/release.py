"""`addrmesh release`: what a model is made of, and whether it is still that."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from addrmesh.address.normalize import normalize_within
from addrmesh.cli import model
from addrmesh.cli.exits import ExitCode

app = typer.Typer(help="Look at a release of the model.", no_args_is_help=True)

ReleasePath = Annotated[
    Path | None,
    typer.Argument(help="Directory of the release.", show_default="the one that comes with addrmesh"),
]


@app.callback()
def release() -> None:
    """
    Look at a release of the model.

    Example: addrmesh release verify /srv/releases/addrmesh-small
    """


@app.command()
def show(
    path: ReleasePath = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """
    Print what a release's manifest says, after checking its files against it.

    Example: addrmesh release show --json
    """
    import msgspec

    opened = model.find_release(path)
    if as_json:
        from addrmesh.cli.document import print_document

        print_document(release=opened.id, path=str(opened.path), manifest=opened.manifest)
        return
    manifest = msgspec.structs.asdict(opened.manifest)
    typer.echo(f"release             {opened.id}\npath                {opened.path}")
    for key in ("task", "family", "source", "precision", "created", "licence", "gazetteer_version"):
        typer.echo(f"{key:18}  {manifest[key]}")
    typer.echo(f"max_code_points     {opened.manifest.limits.max_code_points}")
    types = dict.fromkeys(tag.partition("-")[2] for tag in opened.manifest.tags if "-" in tag)
    typer.echo(f"components          {' '.join(types)}")
    for name, entry in sorted(opened.manifest.files.items()):
        typer.echo(f"file                {entry.sha256[:12]}  {entry.bytes:>10,} bytes  {name}")


@app.command()
def verify(path: ReleasePath = None) -> None:
    """
    Check every file of a release, load it, and compare its answers with its probe set.

    Example: addrmesh release verify /srv/releases/addrmesh-small
    """
    opened = model.find_release(path)
    limit = opened.manifest.limits.max_code_points
    probes = opened.probes()
    texts = [normalize_within(probe.address, limit).text for probe in probes]
    with closing(model.load(opened)) as engine:
        answers = engine.predict(texts)
    differing = [
        number
        for number, (probe, answer) in enumerate(zip(probes, answers, strict=True), 1)
        if [(c.type, c.start, c.end) for c in answer] != probe.components
    ]
    if differing:
        numbers = ", ".join(map(str, differing[:10])) + (", …" if len(differing) > 10 else "")
        typer.echo(
            f"{opened.id}: {len(differing)} of {len(probes)} probes are answered differently: {numbers}",
            err=True,
        )
        typer.echo("This machine does not run the model as it was meant; do not serve it from here.", err=True)
        raise typer.Exit(ExitCode.DIFFERENT)
    typer.echo(
        f"{opened.id}: {len(opened.manifest.files)} files are intact, {len(probes)} probes are answered as expected"
    )
