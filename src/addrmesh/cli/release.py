"""`addrmesh release`: build one from a checkpoint; what it is made of, and whether it is still that."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from addrmesh.address.normalize import normalize_within
from addrmesh.cli import model
from addrmesh.cli.exits import ExitCode
from addrmesh.errors import ConfigError, Refused

if TYPE_CHECKING:
    from addrmesh.inference.release import Release

app = typer.Typer(help="Build, look at and check releases of a model.", no_args_is_help=True)

ReleasePath = Annotated[
    Path | None,
    typer.Argument(help="Directory of the release.", show_default="the one that comes with addrmesh"),
]


@app.callback()
def release() -> None:
    """
    Build, look at and check releases of a model.

    Example: addrmesh release verify /srv/releases/addrmesh-small
    """


@app.command()
def pull(
    model_id: Annotated[
        str, typer.Argument(help="ModelScope id, such as iic/mgeo_geographic_elements_tagging_chinese_base.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory for the checkpoint's files.")],
    revision: Annotated[str | None, typer.Option(help="Tag or branch on the hub.", show_default="the hub's")] = None,
) -> None:
    """
    Fetch a checkpoint from ModelScope without building it, to carry it to a machine without network.

    Example: addrmesh release pull iic/mgeo_geographic_elements_tagging_chinese_base -o mgeo
    """
    from addrmesh.inference.mgeo.hub import fetch

    typer.echo(f"fetched to {fetch(model_id, out, revision=revision)}")


@app.command()
def build(
    source: Annotated[str, typer.Option("--from", help="Directory of an MGeo checkpoint, or its ModelScope id.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory of the release; its last part is the name.")],
    revision: Annotated[str | None, typer.Option(help="Tag or branch on the hub.", show_default="the hub's")] = None,
    precision: Annotated[
        Literal["int8", "fp32", "bf16", "fp16"],
        typer.Option(help="int8 and, as the reference, fp32 run on a CPU; bf16 and fp16 are for a GPU."),
    ] = "int8",
    decoding: Annotated[
        Literal["strict", "compatible"],
        typer.Option(help="compatible gives the spans of ModelScope's pipeline, with its defects."),
    ] = "strict",
    sha256: Annotated[str | None, typer.Option(help="What pytorch_model.bin must be.", show_default=False)] = None,
) -> None:
    """
    Build a release from an MGeo checkpoint; needs the extra `mgeo`.

    Example: addrmesh release build --from iic/mgeo_geographic_elements_tagging_chinese_base -o /srv/releases/mgeo
    """
    from addrmesh.inference.build import build_release
    from addrmesh.inference.mgeo.hub import fetch, is_model_id

    if out.exists():
        raise Refused(f"{out} exists; name a directory that does not, or remove it")
    folder = Path(source)
    origin = None
    if not folder.is_dir():
        if not is_model_id(source):
            raise ConfigError(f"--from {source} is neither a directory nor a ModelScope id (owner/name)")
        folder = fetch(source, revision=revision)
        origin = f"{source}@{revision or 'default'}"
    release = build_release(folder, out, precision=precision, decoding=decoding, origin=origin, sha256=sha256)
    typer.echo(f"{release.id}: {release.manifest.task}, {precision}, in {out}; addrmesh release verify {out}")


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
    for key in ("task", "family", "source", "precision", "decoding", "created", "licence", "gazetteer_version"):
        typer.echo(f"{key:18}  {manifest[key]}")
    typer.echo(f"max_code_points     {opened.manifest.limits.max_code_points}")
    types = dict.fromkeys(tag.partition("-")[2] for tag in opened.manifest.tags if "-" in tag)
    what, names = ("components", tuple(types)) if types else ("labels", opened.manifest.tags)
    typer.echo(f"{what:18}  {' '.join(names)}")
    for name, entry in sorted(opened.manifest.files.items()):
        typer.echo(f"file                {entry.sha256[:12]}  {entry.bytes:>10,} bytes  {name}")


@app.command()
def verify(path: ReleasePath = None, device: model.Device = "auto") -> None:
    """
    Check every file of a release, load it, and compare its answers with its probe set.

    Example: addrmesh release verify /srv/releases/addrmesh-small
    """
    opened = model.find_release(path)
    pairs = opened.manifest.task in ("entity-alignment", "rerank")
    expected, answers = _pair_answers(opened) if pairs else _answers(opened, device)
    differing = [n for n, (want, got) in enumerate(zip(expected, answers, strict=True), 1) if want != got]
    if differing:
        numbers = ", ".join(map(str, differing[:10])) + (", …" if len(differing) > 10 else "")
        typer.echo(
            f"{opened.id}: {len(differing)} of {len(expected)} probes are answered differently: {numbers}",
            err=True,
        )
        typer.echo("This machine does not run the model as it was meant; do not serve it from here.", err=True)
        raise typer.Exit(ExitCode.DIFFERENT)
    typer.echo(
        f"{opened.id}: {len(opened.manifest.files)} files are intact, {len(expected)} probes are answered as expected"
    )


def _answers(release: "Release", device: str) -> tuple[list[Any], list[Any]]:
    probes = release.probes()
    texts = [normalize_within(probe.address, release.manifest.limits.max_code_points).text for probe in probes]
    with closing(model.load(release, device)) as engine:
        found = engine.predict(texts)
    return [p.components for p in probes], [[(c.type, c.start, c.end) for c in answer] for answer in found]


def _pair_answers(release: "Release") -> tuple[list[Any], list[Any]]:
    from addrmesh.inference.mgeo.engine import PairScorer
    from addrmesh.inference.release import rounded

    probes = release.pair_probes()
    with closing(PairScorer(release)) as scorer:
        found = scorer.score([(probe.first, probe.second) for probe in probes])
    return [probe.scores for probe in probes], list(map(rounded, found))
