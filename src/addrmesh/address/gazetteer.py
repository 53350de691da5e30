"""
The gazetteer: names of administrative divisions, found in a text at one pass.

`gazetteer.bin` is compiled by `training/compile_tables.py`. After one line of JSON, which says where the facts come
from, it holds two parts: the names the tagger was trained with (current names, short forms and names out of use
since 1981, by level; read here), and the divisions themselves (read by `divisions`). A release of the model is bound
to the names alone, so facts may be corrected under it. Aho-Corasick (pyahocorasick) finds all names in one scan.
"""

import lzma
from functools import cache
from importlib.resources import files
from typing import Any

import ahocorasick
import msgspec

LEVELS = ("prov", "city", "district", "town")


class Head(msgspec.Struct, frozen=True):
    """The first line of `gazetteer.bin`: what the file holds, from whom, and under which licence."""

    schema: int
    version: str
    names_bytes: int
    sources: list[str]


@cache
def parts() -> tuple[Head, bytes, bytes]:
    """Return the head of the packed file, the names and the divisions, the latter two as they are packed."""
    line, _, rest = files(__package__).joinpath("gazetteer.bin").read_bytes().partition(b"\n")
    head = msgspec.json.decode(line, type=Head)
    return head, rest[: head.names_bytes], rest[head.names_bytes :]


def digest() -> str:
    """Return the sha256 of the packed names, which a release names in its manifest."""
    import hashlib

    return hashlib.sha256(parts()[1]).hexdigest()


@cache
def _tables() -> tuple[str, dict[str, list[str]]]:
    head, *rows = lzma.decompress(parts()[1]).decode().split("\n")
    return head.split("\t")[0], {level: names.split(" ") for level, names in (row.split("\t") for row in rows)}


def version() -> str:
    """Return the vintage of the names, e.g. `nbs2023-06+mca2024-12`; `divisions.version()` is that of the facts."""
    return _tables()[0]


def names(level: str) -> list[str]:
    """Return the names of a level, full and short, sorted."""
    return _tables()[1][level]


@cache
def automaton() -> Any:
    """
    Return the automaton over all names.

    `automaton().iter(text)` yields `(position of the last character, (length, levels))`; bit i of `levels` is set
    when the name exists at `LEVELS[i]`.
    """
    *upper, lowest = LEVELS
    above, towns = [name for level in upper for name in names(level)], names(lowest)
    # A sample goes first: the automaton looks through the first characters in the order in which they came, so the
    # common ones should come early.
    levels = dict.fromkeys(above[::20] + towns[::40] + above, 0) | dict.fromkeys(towns, 1 << len(upper))
    for bit, level in enumerate(upper):
        for name in names(level):
            levels[name] |= 1 << bit
    # Names share their values: a tuple for each takes 4 MB.
    longest = max(map(len, levels))
    values = [[(length, mask) for length in range(longest + 1)] for mask in range(1 << len(LEVELS))]
    result = ahocorasick.Automaton()
    add = result.add_word
    for name, mask in levels.items():
        add(name, values[mask][len(name)])
    result.make_automaton()
    return result
