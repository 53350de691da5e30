"""`addrmesh config`: the settings a node started here would have, and the documents of the configuration centre."""

import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from addrmesh.cli import stores
from addrmesh.cli.exits import ExitCode
from addrmesh.errors import AddrmeshError, ConfigError

if TYPE_CHECKING:
    from addrmesh.store.documents import Document, Documents, Revision

T = TypeVar("T")

app = typer.Typer(help="Look at the settings; read and change the configuration documents.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The document, such as traffic.", show_default=False)]
Region = Annotated[
    str | None, typer.Option("--region", help="Region to ask.", show_default="the first that can be written")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the revision.", show_default=False)]
Author = Annotated[
    str | None,
    typer.Option("--author", help="Who; kept with the revision.", show_default="you@this machine"),
]
Expect = Annotated[
    str | None,
    typer.Option("--expect", help="Write only if this revision is effective.", show_default="the one found now"),
]
Source = Annotated[str, typer.Argument(help="File with YAML or JSON, - for standard input.", show_default=False)]


class NotWritten(AddrmeshError):
    """The document was never written."""


@app.callback()
def config() -> None:
    """
    Look at the settings; read and change the configuration documents.

    Example: addrmesh config set traffic traffic.yaml --reason 'less for n2, its disk is slow'
    """


@app.command()
def show(
    path: Annotated[
        Path | None,
        typer.Option("--config", help="YAML file with settings; by default the one ADDRMESH_CONFIG names."),
    ] = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    as_json: Json = False,
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


@app.command()
def get(
    name: Name,
    revision: Annotated[
        str | None, typer.Option("--revision", help="An earlier one, by the start of its id.", show_default="effective")
    ] = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """
    Print a document as YAML; who wrote it and why goes to standard error.

    Example: addrmesh config get traffic > traffic.yaml
    """
    from addrmesh.store.documents import as_yaml

    if revision is not None:
        earlier = _ask(region, lambda documents: documents.find(name, revision))
        _tell(earlier.id, earlier)
        _print(as_json, as_yaml(earlier.content), revision=_revision(earlier))
        return
    document = _ask(region, lambda documents: _existing(documents, name))
    _tell_document(document)
    _print(as_json, as_yaml(document.content), document=_document(document))


@app.command(name="set")
def set_(
    name: Name,
    source: Source,
    reason: Reason,
    author: Author = None,
    expect: Expect = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """
    Write a document from a file, after it was checked; prints what changed.

    Example: addrmesh config set traffic traffic.yaml --reason 'less for n2, its disk is slow'
    """
    content = _read(source)

    async def work(documents: "Documents") -> "tuple[Document | None, Document]":
        before = await documents.get(name)
        based = expect or (before.revision if before else None)
        return before, await documents.put(name, content, author=author or stores.author(), reason=reason, expect=based)

    _changed(*_ask(region, work), as_json=as_json)


@app.command()
def edit(name: Name, reason: Reason, author: Author = None, region: Region = None) -> None:
    """
    Open a document in $EDITOR and write it when the editor is left; unchanged, nothing is written.

    Example: addrmesh config edit traffic --reason 'drain n2'
    """
    from addrmesh.store.documents import as_yaml
    from addrmesh.yaml_file import parse_yaml

    before = _ask(region, lambda documents: documents.get(name))
    header = f"# {name} {before.revision if before else 'does not exist yet'}\n"
    by = author or stores.author()
    with _edited(header + (as_yaml(before.content) if before else ""), name) as text:
        content = parse_yaml(text, "what you have written")
        if content is None or (before and content == before.content):
            typer.echo(f"{name}: nothing was changed", err=True)
            return
        based = before.revision if before else None
        after = _ask(
            region,
            lambda documents: documents.put(name, content, author=by, reason=reason, expect=based),
        )
    _changed(before, after, as_json=False)


@app.command()
def diff(
    name: Name,
    old: Annotated[str | None, typer.Argument(help="Revision.", show_default="the one before NEW")] = None,
    new: Annotated[str | None, typer.Argument(help="Revision.", show_default="the effective one")] = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """
    Print what changed between two revisions, as a unified diff of YAML.

    Example: addrmesh config diff traffic 4e07408562bedb8b
    """

    async def work(documents: "Documents") -> list[str]:
        later = new or (await _existing(documents, name)).revision
        earlier = old or next(iter((await documents.find(name, later)).parents), None)
        if earlier is None:
            raise ConfigError(f"document {name}: {later} is its first revision, there is nothing to compare it with")
        return await documents.diff(name, earlier, later)

    lines = _ask(region, work)
    if as_json:
        _print(True, "", diff=lines)
    else:
        _print_diff(lines)


@app.command()
def history(name: Name, region: Region = None, as_json: Json = False) -> None:
    """
    Print every revision of a document, the latest first; * marks the effective one, ! one that contradicts it.

    Example: addrmesh config history traffic
    """

    async def work(documents: "Documents") -> "tuple[Document, list[Revision]]":
        return await _existing(documents, name), await documents.history(name)

    document, revisions = _ask(region, work)
    against = {other.id for other in document.conflict}
    lines = [
        f"{'*' if r.id == document.revision else '!' if r.id in against else ' '} {r.id}  {r.at:%Y-%m-%d %H:%M:%S}  "
        f"{r.author}: {r.reason}\n"
        for r in revisions
    ]
    _print(as_json, "".join(lines), effective=document.revision, revisions=[_revision(r) for r in revisions])


@app.command()
def rollback(
    name: Name,
    revision: Annotated[str, typer.Argument(help="Start of the id of an earlier revision.", show_default=False)],
    reason: Reason,
    author: Author = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """
    Write an earlier content again, as a new revision.

    Example: addrmesh config rollback traffic 4e07 --reason 'n2 is fine again'
    """

    async def work(documents: "Documents") -> "tuple[Document, Document]":
        before = await _existing(documents, name)
        return before, await documents.rollback(
            name, revision, author=author or stores.author(), reason=reason, expect=before.revision
        )

    _changed(*_ask(region, work), as_json=as_json)


@app.command()
def conflicts(region: Region = None, as_json: Json = False) -> None:
    """
    Print the documents that two regions changed while cut off from each other, with both sides; 5 if there are any.

    Example: addrmesh config conflicts
    """

    async def work(documents: "Documents") -> "list[Document]":
        found = [await documents.get(name) for name in await documents.names()]
        return [document for document in found if document and document.conflict]

    found = _ask(region, work)
    if as_json:
        _print(True, "", conflicts=[_document(document) for document in found])
    for document in [] if as_json else found:
        typer.echo(f"{document.name}")
        _tell(f"{document.revision} is effective", document, err=False)
        for other in document.conflict:
            _tell(f"{other.id} contradicts it", other, err=False)
            _print_diff(_diff(document.content, other.content, document.revision, other.id))
    if found:
        typer.echo("`addrmesh config resolve NAME` ends each, with --take REVISION or a FILE", err=True)
        raise typer.Exit(ExitCode.DIFFERENT)
    typer.echo("no document is in conflict", err=True)


@app.command()
def resolve(
    name: Name,
    reason: Reason,
    source: Annotated[
        str | None, typer.Argument(help="File with the content that replaces both sides, - for standard input.")
    ] = None,
    take: Annotated[str | None, typer.Option("--take", help="Or: the side to keep, by the start of its id.")] = None,
    author: Author = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """
    End a conflict with a revision that descends from all its sides.

    Example: addrmesh config resolve traffic --take 4e07 --reason 'agreed with cn'
    """
    if (source is None) == (take is None):
        raise ConfigError("say what the document should be: a FILE, or --take REVISION")
    replacement = _read(source) if source else None

    async def work(documents: "Documents") -> "tuple[Document, Document]":
        before = await _existing(documents, name)
        if not before.conflict:
            raise ConfigError(f"document {name} has no conflict; change it with `addrmesh config set`")
        content = (await documents.find(name, take)).content if take else replacement
        return before, await documents.resolve(
            name, content, author=author or stores.author(), reason=reason, expect=before.revision
        )

    _changed(*_ask(region, work), as_json=as_json)


def _ask(region: str | None, work: "Callable[[Documents], Awaitable[T]]") -> T:
    from addrmesh.store.documents import Documents
    from addrmesh.store.validators import VALIDATORS

    return stores.ask(region, lambda store: work(Documents(store, VALIDATORS)))


async def _existing(documents: "Documents", name: str) -> "Document":
    if (document := await documents.get(name)) is None:
        raise NotWritten(f"document {name} was never written; `addrmesh config set {name} FILE --reason ...` writes it")
    return document


def _read(source: str) -> Any:
    from addrmesh.yaml_file import parse_yaml, read_yaml

    return parse_yaml(sys.stdin.read(), "standard input") if source == "-" else read_yaml(Path(source))


@contextmanager
def _edited(text: str, name: str) -> Iterator[str]:
    """Lend what the user makes of `text` in an editor; if it cannot be used, it stays where the message says."""
    import os
    import shlex
    import subprocess
    import tempfile

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix=f"{name}-", suffix=".yaml", delete=False) as file:
        file.write(text)
    path = Path(file.name)
    try:
        subprocess.run([*shlex.split(editor), file.name], check=True)  # noqa: S603  the user's own choice
    except (OSError, subprocess.CalledProcessError) as error:
        path.unlink(missing_ok=True)
        raise ConfigError(f"editor {editor!r} failed: {error}; name another one in EDITOR") from error
    try:
        yield path.read_text(encoding="utf-8")
    except AddrmeshError:
        typer.echo(f"what you have written is kept in {path}", err=True)
        raise
    path.unlink()


def _changed(before: "Document | None", after: "Document", *, as_json: bool) -> None:
    """Print what a write has changed."""
    lines = _diff(before.content if before else {}, after.content, before.revision if before else "-", after.revision)
    if as_json:
        _print(True, "", document=_document(after), diff=lines)
    else:
        _print_diff(lines)
    _tell_document(after)


def _diff(old: Any, new: Any, old_name: str, new_name: str) -> list[str]:
    from addrmesh.store import documents

    return documents.diff(old, new, old_name, new_name)


def _print_diff(lines: list[str]) -> None:
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for number, line in enumerate(lines):
        typer.secho(line, fg=None if number < 2 else colours.get(line[:1]), bold=number < 2)


def _print(as_json: bool, text: str, **document: Any) -> None:
    if as_json:
        from addrmesh.cli.document import print_document

        print_document(**document)
    else:
        typer.echo(text, nl=False)


def _tell(what: str, by: "Document | Revision", *, err: bool = True) -> None:
    typer.echo(f'{what}: "{by.reason}", {by.author}, {by.at:%Y-%m-%d %H:%M:%S} UTC', err=err)


def _tell_document(document: "Document") -> None:
    _tell(f"{document.name} {document.revision}", document)
    for other in document.conflict:
        _tell(f"CONFLICT with {other.id}", other)
    if document.conflict:
        typer.echo("two regions changed it while cut off; `addrmesh config conflicts` shows both sides", err=True)


def _document(document: "Document") -> dict[str, Any]:
    import msgspec

    return msgspec.structs.asdict(document) | {"conflict": [_revision(other) for other in document.conflict]}


def _revision(revision: "Revision") -> dict[str, Any]:
    import msgspec

    return {"id": revision.id, **msgspec.structs.asdict(revision)}


def _shown(value: object) -> str:
    return "-" if value is None else str(value)
