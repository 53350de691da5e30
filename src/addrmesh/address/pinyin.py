"""
Names in pinyin, without tones and in ASCII: `v` for ü, as it is typed.

`pinyin.bin` is compiled by `training/compile_pinyin.py`.
"""

import re
import zlib
from functools import cache
from importlib.resources import files

import msgspec

_MARKS = str.maketrans({"（": " (", "）": ") ", "、": ", ", "·": " "})
_HAN = re.compile(r"[㐀-鿿〇]+")


class Pinyin(msgspec.Struct, array_like=True, frozen=True):
    """The usual reading of each character, and the words in which one is read otherwise."""

    characters: dict[str, str]
    """By syllable."""
    words: dict[str, str]


@cache
def _table() -> tuple[dict[str, str], dict[str, str], int]:
    data = zlib.decompress(files(__package__).joinpath("pinyin.bin").read_bytes())
    table = msgspec.msgpack.decode(data, type=Pinyin)
    by_character = {character: syllable for syllable, found in table.characters.items() for character in found}
    return by_character, table.words, max(map(len, table.words))


def pinyin(text: str) -> str:
    """Return text in pinyin, a word for each stretch of Chinese characters: 长安 is Chang'an. The rest stays."""
    return " ".join(_HAN.sub(lambda found: f" {_word(found[0])} ", text.translate(_MARKS)).split())


def key(text: str) -> str:
    """Return a name in pinyin as one word to look it up by: 长安 is changan."""
    return pinyin(text).lower().replace("'", "").replace(" ", "")


def _word(characters: str) -> str:
    usual, words, longest = _table()
    syllables: list[str] = []
    at = 0
    while at < len(characters):
        size = next((n for n in range(longest, 1, -1) if characters[at : at + n] in words), 1)
        piece = characters[at : at + size]
        syllables += words[piece].split() if size > 1 else [usual.get(piece, piece)]
        at += size
    return "".join(f"'{s}" if i and s[0] in "aoe" else s for i, s in enumerate(syllables)).capitalize()
