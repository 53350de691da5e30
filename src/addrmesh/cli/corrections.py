"""`addrmesh corrections`: answers that somebody has approved, which win over the model in every region."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from addrmesh.cli import stores
from addrmesh.errors import ConfigError

if TYPE_CHECKING:
    from addrmesh.address.verdict import Result
    from addrmesh.node.corrections import Correction
    from addrmesh.store.records import Record
    from addrmesh.store.store import Store

app = typer.Typer(help="Approve answers that win over the model.", no_args_is_help=True)

Region = Annotated[
    str | None, typer.Option(help="Region whose store is asked.", show_default="the first that can be written")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
KeepText = Annotated[
    bool, typer.Option("--keep-text", help="Keep the address itself in the store, not only its digest.")
]


@app.callback()
def corrections() -> None:
    """
    Approve answers that win over the model.

    Example: addrmesh corrections list
    """


@app.command()
def add(
    text: Annotated[str, typer.Argument(help="The address, as customers write it.")],
    component: Annotated[
        list[str] | None,
        typer.Option(
            help="TYPE=TEXT, in the order of the address; together they replace the model's.", show_default=False
        ),
    ] = None,
    result: Annotated[
        Path | None,
        typer.Option(help="File with the result that validation shall answer, as in `addrmesh validate --json`."),
    ] = None,
    why: Annotated[str, typer.Option(help="The reason; it is kept.")] = "",
    keep_text: KeepText = False,
    region: Region = None,
) -> None:
    """
    Approve the components of an address, what its validation answers, or both.

    Example: addrmesh corrections add 杭州文三路口1号 --component road=文三路口 --component roadno=1号
    """
    from addrmesh.node.corrections import PREFIX, Correction, anonymous, digest, encode

    canonical = _canonical(text)
    approved = None if result is None else anonymous(_result(result))
    parts = _components(canonical, component or [])
    correction = Correction(
        _now(), stores.author(), why, parts, len(canonical), approved, canonical if keep_text else None
    )
    if not correction.is_active:
        raise ConfigError("nothing is approved; say --component TYPE=TEXT or --result FILE")
    key = digest(canonical)
    stores.ask(region, lambda store: store.put(PREFIX + key, encode(correction)))
    typer.echo(f"correction {key} is made; nodes apply it within a second", err=True)


@app.command("list")
def list_(
    proposed: Annotated[bool, typer.Option("--proposed", help="What callers propose, instead.")] = False,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """
    List the corrections in force by digest, with what they correct, who made them and why.

    Example: addrmesh corrections list --proposed
    """
    from addrmesh.cli.document import print_document

    found = [_shown(key, correction) for key, correction in _read(region, proposed=proposed)]
    if as_json:
        print_document(corrections=found)
        return
    for one in found:
        typer.echo(f"{one['digest']}  {','.join(one['corrects']):17}  {one['created_by']}  {one['text'] or one['why']}")


@app.command()
def remove(
    address_or_digest: Annotated[str, typer.Argument(help="The address, or the digest that `list` shows.")],
    proposed: Annotated[bool, typer.Option("--proposed", help="Drop a proposal, instead.")] = False,
    region: Region = None,
) -> None:
    """
    Take a correction back: the model answers again.

    Example: addrmesh corrections remove 杭州文三路口1号
    """
    from addrmesh.node.corrections import PREFIX, PROPOSED, Correction, digest, encode

    prefix = PROPOSED if proposed else PREFIX
    known = {key for key, _ in _read(region, proposed=proposed)}
    key = address_or_digest
    if key not in known:
        key = digest(_canonical(address_or_digest))
    if key not in known:
        raise ConfigError("there is no such correction; `addrmesh corrections list` shows the digests")

    async def write(store: "Store") -> None:
        if proposed:
            await store.delete(prefix + key)
        else:
            # Kept as taken back, so that a node that was away learns of it.
            await store.put(prefix + key, encode(Correction(_now(), stores.author())))

    stores.ask(region, write)
    typer.echo(f"correction {key} is taken back", err=True)


@app.command("export")
def export(
    proposed: Annotated[bool, typer.Option("--proposed", help="What callers propose, instead.")] = False,
    region: Region = None,
) -> None:
    """
    Print every correction as one line of JSON, for a review, a backup or another fleet.

    Example: addrmesh corrections export --proposed
    """
    import msgspec

    for key, correction in _read(region, proposed=proposed):
        line = {"digest": key, **msgspec.to_builtins(correction)}
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")


@app.command("import")
def import_(
    source: Annotated[str, typer.Argument(metavar="IN", help="Lines that `export` printed; - is stdin.")],
    keep_text: KeepText = False,
    region: Region = None,
) -> None:
    """
    Approve every correction of a file; none is, if one line cannot be read. A proposal among them is one no more.

    Example: addrmesh corrections import approved.ndjson
    """
    import msgspec

    from addrmesh.node.corrections import PREFIX, PROPOSED, encode

    lines = list(_lines(source))

    async def write(store: "Store") -> None:
        for key, correction in lines:
            kept = correction if keep_text else msgspec.structs.replace(correction, text=None)
            await store.put(PREFIX + key, encode(kept))
            if await store.get(PROPOSED + key) is not None:
                await store.delete(PROPOSED + key)

    stores.ask(region, write)
    typer.echo(f"{len(lines)} corrections are made; nodes apply them within a second", err=True)


@app.command()
def feedback(region: Region = None, as_json: AsJson = False) -> None:
    """
    Show how often callers used what was answered, by conclusion.

    Example: addrmesh corrections feedback
    """
    from addrmesh.cli.document import print_document
    from addrmesh.node.corrections import CONCLUSIONS, FEEDBACK

    async def read(store: "Store") -> dict[str, int]:
        return {name: await store.total(FEEDBACK + name) for name in CONCLUSIONS}

    totals = stores.ask(region, read)
    if as_json:
        print_document(feedback=totals)
        return
    for name, total in totals.items():
        typer.echo(f"{name:17}  {total}")


def _canonical(text: str) -> str:
    """Return what of an address is tagged, and so corrected: its canonical text without the receiver."""
    from addrmesh.address.questions import Validation
    from addrmesh.address.verdict import Request

    return Validation.of(Request(text), 2000).reading.canonical.text


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _result(file: Path) -> "Result":
    """Read a result: the document that `addrmesh validate --json` prints for one address, or its item."""
    import msgspec

    from addrmesh.address.verdict import Result

    try:
        document: Any = msgspec.json.decode(file.read_bytes())
        if isinstance(document, dict) and len(document.get("items", ())) == 1:
            document = document["items"][0]
        return msgspec.convert(document, Result)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{file}: is no result; `addrmesh validate TEXT --json` prints one") from error


def _components(canonical: str, told: list[str]) -> tuple[tuple[str, int, int], ...]:
    """Find each `TYPE=TEXT` behind the one before."""
    from addrmesh.address.normalize import normalize
    from addrmesh.address.types import COMPONENT_TYPES

    found = []
    behind = 0
    for number, one in enumerate(told, 1):
        kind, _, text = one.partition("=")
        if kind not in COMPONENT_TYPES:
            raise ConfigError(f"--component {number}: no such type; there are {', '.join(COMPONENT_TYPES)}")
        wanted = normalize(text).text
        start = canonical.find(wanted, behind) if wanted else -1
        if start < 0:
            raise ConfigError(f"--component {number} ({kind}): the text does not stand there, behind the one before")
        behind = start + len(wanted)
        found.append((kind, start, behind))
    return tuple(found)


def _read(region: str | None, *, proposed: bool) -> "Iterator[tuple[str, Correction]]":
    """Yield what is in force, or what is proposed."""
    import msgspec

    from addrmesh.node.corrections import PREFIX, PROPOSED, decode

    prefix = PROPOSED if proposed else PREFIX

    async def scan(store: "Store") -> "list[Record]":
        return await store.scan(prefix)

    for record in stores.ask(region, scan):
        try:
            correction = decode(record.value or b"")
        except msgspec.DecodeError:
            typer.echo(f"{record.key} is no correction that this version can read", err=True)
            continue
        if correction.is_active:
            yield record.key.removeprefix(prefix), correction


def _lines(source: str) -> "Iterator[tuple[str, Correction]]":
    import msgspec

    from addrmesh.node.corrections import Correction, anonymous, digest

    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read ({error.strerror})") from error
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            told = msgspec.json.decode(line, type=dict[str, Any])
            key = told.pop("digest", None)
            correction = msgspec.convert(told, Correction)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{source}, line {number}: is no correction, as `export` prints them") from error
        if key is None and correction.text is not None:
            key = digest(correction.text)
        if not isinstance(key, str) or not correction.is_active:
            raise ConfigError(f"{source}, line {number}: has no digest and no text, or corrects nothing")
        if correction.result is not None:
            correction = msgspec.structs.replace(correction, result=anonymous(correction.result))
        yield key, correction


def _shown(key: str, correction: "Correction") -> dict[str, Any]:
    corrects = [name for name in ("components", "result") if getattr(correction, name)]
    return {
        "digest": key,
        "corrects": corrects,
        "created": correction.created,
        "created_by": correction.created_by,
        "why": correction.why,
        "text": correction.text,
    }
