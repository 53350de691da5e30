"""
The gazetteer: names of administrative divisions, found in a text at one pass.

`gazetteer.bin` is compiled by `training/compile_tables.py`: current names, short forms and names out of use since
1981, by level. Aho-Corasick (pyahocorasick) finds all of them in one scan of the text.
"""

import lzma
from functools import cache
from importlib.resources import files
from typing import Any

import ahocorasick

LEVELS = ("prov", "city", "district", "town")


@cache
def _packed() -> bytes:
    return files(__package__).joinpath("gazetteer.bin").read_bytes()


def digest() -> str:
    """Return the sha256 of the compiled gazetteer, which a release names in its manifest."""
    import hashlib

    return hashlib.sha256(_packed()).hexdigest()


@cache
def _tables() -> tuple[str, dict[str, list[str]]]:
    head, *rows = lzma.decompress(_packed()).decode().split("\n")
    return head.split("\t")[0], {level: names.split(" ") for level, names in (row.split("\t") for row in rows)}


def version() -> str:
    """Return the vintage of the sources, e.g. `nbs2023-06+mca2024-12`."""
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
    levels: dict[str, int] = {}
    for bit, level in enumerate(LEVELS):
        for name in names(level):
            levels[name] = levels.get(name, 0) | 1 << bit
    result = ahocorasick.Automaton()
    for name, mask in levels.items():
        result.add_word(name, (len(name), mask))
    result.make_automaton()
    return result
