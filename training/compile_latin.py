"""
Compile how division names and their characters sound: `src/addrmesh/address/latin.bin`.

    .venv/bin/pip install pypinyin
    python training/compile_latin.py

Takes the names from the compiled gazetteer and the pinyin from pypinyin (MIT), so it runs after `compile_tables.py`,
and what addrmesh itself writes from `pinyin.bin`, so it runs after `compile_pinyin.py`: it must read its own writing.
The package needs neither at run time. Same wheel, same gazetteer, same bytes.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import msgspec
from pypinyin import Style, lazy_pinyin, pinyin

from addrmesh.address import divisions, gazetteer
from addrmesh.address.latin import Sounds
from addrmesh.address.pinyin import key

OUT = Path(divisions.__file__).with_name("latin.bin")
SUFFIXES = (
    "特别行政区",
    "自治区",
    "自治州",
    "自治县",
    "自治旗",
    "新区",
    "地区",
    "林区",
    "省",
    "市",
    "区",
    "县",
    "州",
    "盟",
    "旗",
)

COMMON = {bytes((row, cell)).decode("gb2312", "ignore") for row in range(0xB0, 0xF8) for cell in range(0xA1, 0xFF)} - {
    ""
}
"""The 6,763 characters of GB 2312."""

ALSO = {
    "朝": "chao", "长": "chang zhang", "重": "chong", "乐": "le yue", "都": "du", "厦": "xia", "六": "lu liu", "蔚": "yu wei",
    "单": "shan", "铅": "yan qian", "蚌": "beng", "泌": "bi mi", "莘": "shen xin", "浚": "xun jun", "牟": "mu mou",
    "洞": "tong dong", "解": "xie jie", "盛": "sheng", "番": "pan fan", "会": "kuai hui", "台": "tai", "荥": "xing ying",
}  # fmt: skip
"""How these sound in place names, where a dictionary of words reads them otherwise or people differ."""


def spellings(stem: str) -> set[str]:
    """Return the ways to write a name in pinyin, without tones and in one word."""
    usual = lazy_pinyin(stem, v_to_u=False)
    if len(usual) != len(stem):
        return set()
    ways = [{sound, *ALSO.get(character, "").split()} for character, sound in zip(stem, usual, strict=True)]
    return {"".join(way).replace("ü", "v") for way in product(*ways)} | {key(stem)}


def below(code: str | None = None) -> Iterator[divisions.Division]:
    """Yield the divisions in force, without towns and zones."""
    for division in divisions.children(code):
        if division.level in gazetteer.LEVELS[:3]:
            yield division
            if division.code:
                yield from below(division.code)


def stems(name: str, short: tuple[str, ...]) -> set[str]:
    """Return what of a name is written in Latin letters without a word for its level."""
    found = {name, *short}
    for suffix in SUFFIXES:
        if name.endswith(suffix) and len(name) - len(suffix) > 1:
            found.add(name.removesuffix(suffix))
            break
    return found


def main() -> None:
    """Write the table."""
    keys: dict[str, set[str]] = defaultdict(set)
    characters: set[str] = set()
    for level in gazetteer.LEVELS[:3]:
        for name in gazetteer.names(level):
            for division in divisions.find(name):
                if division.level in gazetteer.LEVELS[:3]:
                    characters.update(division.name)
                    for stem in stems(division.name, division.short):
                        for key in spellings(stem):
                            keys[key].add(division.name)
    for division in below():  # those too whose names the tagger's part of the gazetteer lacks
        for stem in stems(division.name, division.short):
            for key in spellings(stem):
                keys[key].add(division.name)
    for name in gazetteer.names("town"):
        characters.update(name)
    syllables: dict[str, set[str]] = defaultdict(set)
    for character in characters:
        for sound in pinyin(character, style=Style.NORMAL, heteronym=True)[0]:
            if sound.isascii() and sound.isalpha():
                syllables[sound].add(character)
    # What is typed for a name's character need not be in any name: 催家坝镇 for 崔家坝镇.
    for character in sorted(COMMON - characters):
        for sound in pinyin(character, style=Style.NORMAL, heteronym=True)[0]:
            if sound in syllables:
                syllables[sound].add(character)
    sounds = Sounds(
        {key: sorted(names) for key, names in sorted(keys.items()) if key.isascii() and key.isalpha()},
        {sound: "".join(sorted(found)) for sound, found in sorted(syllables.items())},
    )
    OUT.write_bytes(zlib.compress(msgspec.msgpack.encode(sounds), 9))
    print(f"{OUT}: {OUT.stat().st_size:,} bytes, {len(sounds.names):,} keys, {len(sounds.characters):,} syllables")


if __name__ == "__main__":
    main()
