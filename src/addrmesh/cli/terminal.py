"""What commands that answer on a terminal share: the texts they are given, and tables of wide characters."""

import sys
import unicodedata
from collections.abc import Iterator, Sequence

import typer


def addresses(arguments: list[str] | None) -> Iterator[str]:
    """Yield the arguments, or the lines of stdin when there are none."""
    if arguments:
        # Bytes of an argument that are not UTF-8 arrive as lone surrogates, which cannot be printed.
        yield from (a.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for a in arguments)
    elif sys.stdin.isatty():
        raise typer.BadParameter("give an address, or pipe one per line into stdin", param_hint="TEXT")
    else:
        for line in sys.stdin.buffer:
            if line.strip():
                yield line.decode("utf-8", "replace").removeprefix("\ufeff").rstrip("\r\n")


def visible(text: str) -> str:
    """Blank out what would move the cursor or turn the line around."""
    return "".join(" " if unicodedata.category(c) in ("Cc", "Cf") else c for c in text)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for each row, with columns in one place; the last one is not filled up."""
    widths = [max(_columns(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return [
        "  ".join([*(cell + " " * (width - _columns(cell)) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    ]


def _columns(text: str) -> int:
    """Return how many terminal columns a text takes."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
