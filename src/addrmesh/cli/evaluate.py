"""
`addrmesh evaluate`: how well a release finds the components of addresses that somebody has labelled.

A component counts as right when its type, its start and its end are. Nothing of the addresses is printed.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import typer

from addrmesh.address.normalize import normalize_within
from addrmesh.address.types import COMPONENT_TYPES
from addrmesh.address.wire import Tagset, to_wire
from addrmesh.cli import model
from addrmesh.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from addrmesh.inference.engine import Engine

Span = tuple[str, int, int]
CHUNK_ROWS = 64
OUTSIDE = "O"


class Labelled(NamedTuple):
    """An address with what is right."""

    address: str
    spans: list[Span]
    line: int
    """Where it begins in the file."""


class _Component(msgspec.Struct):
    type: str
    span: tuple[int, int]


class _Line(msgspec.Struct):
    address: str
    components: list[_Component]


@dataclass
class Score:
    """Counts by type, and of characters by (right type, found type)."""

    right: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    gold: Counter[str] = field(default_factory=Counter)
    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)
    addresses: int = 0
    exact: int = 0

    def add(self, length: int, gold: Iterable[Span], found: Iterable[Span]) -> None:
        """Count one address of `length` code points."""
        want, have = set(gold), set(found)
        self.right.update(name for name, *_ in want & have)
        self.found.update(name for name, *_ in have)
        self.gold.update(name for name, *_ in want)
        self.confusion.update(zip(_types(length, want), _types(length, have), strict=True))
        self.addresses += 1
        self.exact += want == have

    def row(self, name: str | None = None) -> dict[str, float]:
        """Return counts, precision, recall and F1 (percent) of a type, or of all."""
        right, found, gold = (c[name] if name else c.total() for c in (self.right, self.found, self.gold))
        shares = {"precision": (right, found), "recall": (right, gold), "f1": (2 * right, found + gold)}
        counts = {"gold": gold, "found": found, "right": right}
        return counts | {name: _percent(*share) for name, share in shares.items()}

    def types(self) -> list[str]:
        """Return the types that occur, coarse to fine, unknown ones last."""
        order = {name: place for place, name in enumerate(COMPONENT_TYPES)}
        return sorted(self.gold.keys() | self.found.keys(), key=lambda name: (order.get(name, len(order)), name))


def evaluate(
    file: Annotated[Path, typer.Argument(help="Labelled addresses: CoNLL, or NDJSON by its name .ndjson or .jsonl.")],
    release: Annotated[
        Path | None, typer.Option(help="Directory of a release instead of the one that comes with addrmesh.")
    ] = None,
    device: model.Device = "auto",
    tagset: Annotated[Tagset, typer.Option(help="mgeo leaves out the types MGeo does not know.")] = "addrmesh",
    picture: Annotated[
        Path | None, typer.Option(help="Draw which types are taken for which, as PNG or SVG; needs matplotlib.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """
    Measure a release on labelled addresses: precision, recall and F1 of each type.

    Example: addrmesh evaluate mine.conll --release /srv/releases/mgeo --picture confusion.png
    """
    opened = model.find_release(release)
    score, unknown, characters = Score(), 0, 0
    with closing(model.load(opened, device)) as engine:
        for labelled, spans in _answers(engine, read(file), tagset):
            score.add(len(labelled.address), labelled.spans, spans)
            characters += len(labelled.address)
            unknown += _unknown(engine, labelled.address)
    if not score.addresses:
        raise ConfigError(f"{file}: no labelled address is in it")
    if picture:
        _draw(score, picture, opened.id)
    if as_json:
        from addrmesh.cli.document import print_document

        print_document(
            release=opened.id, addresses=score.addresses, exact=score.exact, characters=characters, unknown=unknown,
            total=score.row(), types={name: score.row(name) for name in score.types()},
        )  # fmt: skip
        return
    typer.echo(f"{opened.id} on {score.addresses:,} addresses")
    typer.echo(f"{'type':15}{'gold':>8}{'found':>8}{'right':>8}{'precision':>11}{'recall':>8}{'F1':>8}")
    for name in [*score.types(), None]:
        row = score.row(name)
        counts = "".join(f"{row[key]:8,}" for key in ("gold", "found", "right"))
        typer.echo(f"{name or 'all':15}{counts}{row['precision']:11.2f}{row['recall']:8.2f}{row['f1']:8.2f}")
    typer.echo(f"{_percent(score.exact, score.addresses):.2f} % of the addresses are right as a whole")
    if unknown:
        typer.echo(f"{unknown:,} of {characters:,} characters are unknown to the model and look alike to it")


def read(file: Path) -> Iterator[Labelled]:
    """
    Read labelled addresses.

    CoNLL: a character and, last on the line, its label (`B-road`, `I-`, `E-`, `S-`, `O`), an empty line between
    addresses. NDJSON: `{"address": …, "components": [{"type": …, "span": [start, end]}, …]}`, as `addrmesh bulk`
    writes, with spans in code points.

    Raises:
        ConfigError: The file cannot be read, or a line is neither.
    """
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as UTF-8 text ({type(error).__name__})") from error
    lines = text.split("\n")
    return _ndjson(file, lines) if file.suffix in (".ndjson", ".jsonl") else _conll(file, lines)


def _ndjson(file: Path, lines: list[str]) -> Iterator[Labelled]:
    decode = msgspec.json.Decoder(_Line).decode
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = decode(line)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{file}:{number}: is not a labelled address: {error}") from error
        spans = [(c.type, *c.span) for c in row.components]
        if not all(0 <= start < end <= len(row.address) for _, start, end in spans):
            raise ConfigError(f"{file}:{number}: a span is not inside the address, in code points")
        yield Labelled(row.address, spans, number)


def _conll(file: Path, lines: list[str]) -> Iterator[Labelled]:
    characters: list[str] = []
    labels: list[str] = []
    for number, line in enumerate([*lines, ""], 1):
        if line.strip():
            parts = line.split("\t") if "\t" in line else line.rsplit(None, 1)
            character, label = parts[0], parts[-1].strip()
            if len(parts) < 2 or len(character) != 1 or not (label == OUTSIDE or label[:2] in ("B-", "I-", "E-", "S-")):
                raise ConfigError(f"{file}:{number}: expected one character and its label, such as B-road or O")
            characters.append(character)
            labels.append(label)
        elif characters:
            yield Labelled("".join(characters), _spans(labels), number - len(characters))
            characters, labels = [], []


def _spans(labels: list[str]) -> list[Span]:
    """Return the spans that BIES, BIO or IO labels spell: one opens where its type begins or changes."""
    spans: list[Span] = []
    going_on = False
    for place, label in enumerate(labels):
        does, _, kind = label.partition("-")
        if kind:
            if going_on and does in "IE" and spans[-1][0] == kind:
                spans[-1] = (kind, spans[-1][1], place + 1)
            else:
                spans.append((kind, place, place + 1))
        going_on = bool(kind) and does in "BI"
    return spans


def _answers(engine: "Engine", rows: Iterator[Labelled], tagset: Tagset) -> Iterator[tuple[Labelled, list[Span]]]:
    limit = engine.release.manifest.limits.max_code_points
    while chunk := list(islice(rows, CHUNK_ROWS)):
        canonicals = []
        for labelled in chunk:
            try:
                canonicals.append(normalize_within(labelled.address, limit))
            except RequestError as error:
                raise ConfigError(f"the address at line {labelled.line}: {error}") from error
        found = engine.predict([canonical.text for canonical in canonicals])
        for labelled, canonical, components in zip(chunk, canonicals, found, strict=True):
            shown = to_wire(labelled.address, canonical, components, tagset).components
            yield labelled, [(c.type, *c.span) for c in shown]


def _unknown(engine: "Engine", address: str) -> int:
    from addrmesh.inference.mgeo.engine import MGeoTagger

    return len(engine.tokenizer.unknown(address)) if isinstance(engine, MGeoTagger) else 0


def _types(length: int, spans: Iterable[Span]) -> list[str]:
    types = [OUTSIDE] * length
    for name, start, end in spans:
        types[start:end] = [name] * (end - start)
    return types


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def _draw(score: Score, target: Path, title: str) -> None:
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise ConfigError("--picture needs matplotlib; pip install matplotlib") from error
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = [*score.types(), OUTSIDE]
    shares = []
    for gold in names:
        counts = [score.confusion[gold, found] for found in names]
        shares.append([100 * count / max(1, sum(counts)) for count in counts])
    figure, axes = plt.subplots(figsize=(2 + 0.5 * len(names), 1.5 + 0.5 * len(names)), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for row, values in enumerate(shares):
        for column, value in enumerate(values):
            if value >= 0.5:
                axes.text(
                    column, row, f"{value:.0f}", ha="center", va="center", color="white" if value > 60 else "black"
                )
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("found")
    axes.set_ylabel("labelled")
    axes.set_title(f"{title}: % of the labelled type's characters")
    try:
        figure.savefig(target)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--picture {target}: cannot be written ({error})") from error
    finally:
        plt.close(figure)
