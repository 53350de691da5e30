"""
`addrmesh parse`: the components of one or a few addresses, for people or as JSON.

It answers from a cold process while someone waits, so it imports little: no server, no pydantic, no rich.
"""

import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from addrmesh.address.normalize import normalize_within
from addrmesh.address.types import COMPONENT_TYPES, TYPE_NAMES
from addrmesh.address.wire import ParseResult, Tagset, to_wire
from addrmesh.cli import model, terminal
from addrmesh.cli.terminal import aligned, visible
from addrmesh.errors import InvalidText, RequestError

COLORS = (160, 166, 136, 142, 106, 70, 35, 37, 38, 33, 63, 99, 135, 171, 168, 131, 102, 67)
"""Mid-tones of the 256-colour palette, for dark and light terminals; the table names every type as well."""

COLOR_BY_TYPE = dict(zip(COMPONENT_TYPES, COLORS, strict=True))
CHUNK_ROWS = 64


def parse(
    text: Annotated[
        list[str] | None,
        typer.Argument(help="Addresses; without any, the lines of stdin.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    tagset: Annotated[Tagset, typer.Option(help="mgeo leaves out the types MGeo does not know.")] = "addrmesh",
    release: Annotated[
        Path | None, typer.Option(help="Directory of a release instead of the one that comes with addrmesh.")
    ] = None,
    device: model.Device = "auto",
) -> None:
    """
    Show the components of addresses.

    Example: addrmesh parse 浙江省杭州市余杭区文一西路969号
    """
    opened = model.find_release(release)
    canonicals = []
    addresses = list(terminal.addresses(text))
    for number, address in enumerate(addresses, 1):
        try:
            canonicals.append(normalize_within(address, opened.manifest.limits.max_code_points))
        except RequestError as error:
            raise InvalidText(f"address {number} of {len(addresses)}: {error}") from error
    with closing(model.load(opened, device)) as engine:
        found = []
        for start in range(0, len(canonicals), CHUNK_ROWS):
            found += engine.predict([c.text for c in canonicals[start : start + CHUNK_ROWS]])
    results = [to_wire(a, c, f, tagset) for a, c, f in zip(addresses, canonicals, found, strict=True)]
    if as_json:
        from addrmesh.cli.document import print_document

        print_document(release=opened.id, items=results)
    elif sys.stdout.isatty():
        color = not os.environ.get("NO_COLOR")
        sys.stdout.write("\n".join(map(_picture if color else _plain_picture, addresses, results)))
    else:
        sys.stdout.write("\n".join(map(_table, results)))


def _picture(address: str, result: ParseResult) -> str:
    """Return the address with its components coloured, above the table whose marks have the same colours."""
    pieces, done = [], 0
    for c in result.components:
        start, end = c.span
        pieces += [visible(address[done:start]), _colored(c.type, visible(address[start:end]))]
        done = end
    return "".join(pieces) + visible(address[done:]) + "\n" + _table(result, mark="■ ", color=True)


def _plain_picture(address: str, result: ParseResult) -> str:
    return visible(address) + "\n" + _table(result)


def _colored(type_: str, text: str) -> str:
    return f"\x1b[1;38;5;{COLOR_BY_TYPE[type_]}m{text}\x1b[0m"


def _table(result: ParseResult, *, mark: str = "", color: bool = False) -> str:
    if not result.components:
        return "no component found\n"
    rows = [("type", "名称", "text", "confidence")]
    rows += [(c.type, TYPE_NAMES[c.type][0], visible(c.text), f"{c.confidence:.2f}") for c in result.components]
    lines = []
    for line, component in zip(aligned(rows), [None, *result.components], strict=True):
        begin = _colored(component.type, mark) if color and component else " " * len(mark)
        lines.append(begin + line + "\n")
    return "".join(lines)
