"""
Compile how Chinese is written in Latin letters: `src/addrmesh/address/pinyin.bin`.

    .venv/bin/pip install pypinyin
    python training/compile_pinyin.py

Takes the usual reading of every character, and the words in which some character is read otherwise, from pypinyin
(MIT); how names of places are read where that differs is listed here. The package needs neither at run time. Same
wheel, same bytes.
"""

import zlib
from collections import defaultdict
from itertools import chain
from pathlib import Path

import msgspec
from pypinyin import lazy_pinyin
from pypinyin.constants import PHRASES_DICT

from addrmesh.address import gazetteer, pinyin

OUT = Path(pinyin.__file__).with_name("pinyin.bin")
LONGEST = 4

USUAL = {
    "都": "du", "朝": "chao", "长": "chang", "厦": "sha", "单": "dan", "乐": "le", "会": "hui", "区": "qu", "番": "fan",
    "行": "xing", "解": "jie", "台": "tai", "洞": "dong", "重": "chong", "盛": "sheng", "曾": "zeng", "尉": "wei",
    "什": "shi", "佛": "fo", "勒": "le", "泊": "bo", "浚": "xun", "卡": "ka", "还": "huan", "茄": "qie",
}  # fmt: skip
"""The usual reading in names, where a dictionary of speech has another one first."""

PLACES = {
    "朝阳": "chao yang", "洪洞": "hong tong", "六合": "lu he", "六安": "lu an", "单县": "shan xian", "筠连": "jun lian",
    "解州": "hai zhou", "涡阳": "guo yang", "宕昌": "tan chang", "厦门": "xia men", "昌都县": "chang du xian",
    "南乐": "nan le", "召陵": "shao ling", "崆峒": "kong tong", "漯河": "luo he", "珲春": "hun chun", "畹町": "wan ding",
    "称多": "chen duo", "穆棱": "mu ling", "繁峙": "fan shi", "荥经": "ying jing", "蚌山": "beng shan",
    "闵行": "min hang", "马尾": "ma wei", "伽师": "jia shi", "会稽": "kuai ji", "民乐": "min le",
    "浪卡子": "lang ka zi", "东涌": "dong chong", "葵涌": "kui chong", "大涌": "da chong", "麻涌": "ma chong",
}  # fmt: skip
"""Names of places that are read otherwise than their characters usually are, or than a dictionary of speech has them."""


def reading(text: str) -> list[str]:
    """Return the syllables of a word, without tones; `v` is ü."""
    return [syllable.replace("ü", "v") for syllable in lazy_pinyin(text)]


def main() -> None:
    """Write the table."""
    used = {chr(code) for code in range(0x4E00, 0xA000)}
    used.update(chain.from_iterable(name for level in gazetteer.LEVELS for name in gazetteer.names(level)))
    characters = {c: s for c in sorted(used) for s in reading(c) if s != c and s.isascii() and s.isalpha()} | USUAL
    words = {}
    for word in (*PHRASES_DICT, *PLACES):
        syllables = PLACES[word].split() if word in PLACES else reading(word)
        known = len(syllables) == len(word) and all(c in characters for c in word)
        if 2 <= len(word) <= LONGEST and known and syllables != [characters[c] for c in word]:
            words[word] = " ".join(syllables)
    by_syllable: dict[str, str] = defaultdict(str)
    for character, syllable in characters.items():
        by_syllable[syllable] += character
    table = pinyin.Pinyin(dict(sorted(by_syllable.items())), dict(sorted(words.items())))
    OUT.write_bytes(zlib.compress(msgspec.msgpack.encode(table), 9))
    print(f"{OUT}: {OUT.stat().st_size:,} bytes, {len(characters):,} characters, {len(words):,} words")


if __name__ == "__main__":
    main()
