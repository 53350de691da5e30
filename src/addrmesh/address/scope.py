"""What of a text is one address, and whether it is one in China at all."""

import re
from collections.abc import Sequence
from itertools import pairwise

from addrmesh.address import latin, premise
from addrmesh.address.admin import Resolution
from addrmesh.address.match_reading import same_words
from addrmesh.address.mentions import PLACES, Mention, named
from addrmesh.address.premise import Part
from addrmesh.address.types import NUMBERS, Component
from addrmesh.address.verdict import Fields

_ADDRESS_WORDS = re.compile(
    r"(?i)\b(?:road|rd|street|st|avenue|ave|lane|lu|jie|room|unit|flat|building|tower|district|floor|hao|no)\b"
)
HAN = re.compile(r"[一-鿿]")
_COUNTRIES_HAN = re.compile(
    r"(?:新加坡|越南|日本|东京都?|大阪|韩国|朝鲜平壤|首尔|美国|英国|法国|德国|意大利|西班牙|俄罗斯|马来西亚|泰国|曼谷|加拿大|澳大利亚|澳洲|新西兰"
    r"|印度|印尼|印度尼西亚|菲律宾|缅甸|柬埔寨|老挝|蒙古国|迪拜|阿联酋|巴西|荷兰|瑞士|瑞典)"
)
_COUNTRIES = re.compile(
    r"\b(?:USA|U\.S\.A\.?|United States|UK|United Kingdom|England|Scotland|Japan|Korea|Singapore|Malaysia|Thailand"
    r"|Vietnam|Canada|Australia|New Zealand|Germany|Deutschland|France|Italy|Italia|Spain|España|Russia|India|Indonesia"
    r"|Philippines|Brazil|Brasil|Netherlands|Switzerland|Sweden|UAE|Dubai|Mexico)\b"
)
_FOREIGN_LETTERS = re.compile(r"[぀-ヿ가-힣ᄀ-ᇿЀ-ӿ฀-๿؀-ۿ]|丁目")
_COMPANY = re.compile(r"(?:公司|集团|厂|店|商行|工作室|事务所|合作社)\Z")
_LISTED = re.compile(r"(?:\A|\s)1[.、)] ?[一-鿿].+\s2[.、)] ?[一-鿿]", re.DOTALL)
_NO_ROADS = re.compile("味道|知道|频道|报道|渠道|难道|一道|街道|公道|思路|一路|网路|[哪这那]里")


def is_foreign(given: str | Fields, text: str, resolution: Resolution, mentions: Sequence[Mention]) -> bool:
    """
    Return whether an address is in another country.

    Args:
        given: The request's address.
        text: The text that was tagged.
        resolution: What the divisions in it came to.
        mentions: The names in it.
    """
    if isinstance(given, Fields) and given.region_code not in (None, "", "CN", "HK", "MO", "TW"):
        return True
    if _FOREIGN_LETTERS.search(text):
        return True
    if _COUNTRIES_HAN.match(text):
        return not any(d.level in PLACES[:2] and d.in_force for m in mentions for d in m.divisions)
    if resolution.path or resolution.state in ("ambiguous", "conflict"):
        return False
    if _COUNTRIES.search(text):
        return True
    if not is_latin(text) or not _ADDRESS_WORDS.search(text):
        return False
    words = re.findall(r"[A-Za-zÀ-ÿ]{3,}", text)
    return len([w for w in words if not _ADDRESS_WORDS.fullmatch(w) and not latin.is_pinyin(w)]) > 1


def is_latin(text: str) -> bool:
    """Return whether a text is written without a single Chinese character."""
    return bool(text) and not HAN.search(text)


def is_address(text: str, mentions: Sequence[Mention], parts: Sequence[Part]) -> bool:
    """Return whether anything in a text names a place."""
    if any(m.divisions or m.is_zone for m in mentions):
        return True
    if is_latin(text):
        return bool(_ADDRESS_WORDS.search(text)) and bool(parts)
    numbered = any(p.type in (*NUMBERS, "village_group") for p in parts)
    named = any(p.type in ("road", "community", "intersection") and not _NO_ROADS.fullmatch(p.text) for p in parts)
    return (
        numbered
        or named
        or any(premise.sounds_like_place(p) for p in parts if premise.is_building(p) and len(p.text) > 2)
    )


def first_address(text: str, components: Sequence[Component]) -> tuple[list[Component], bool]:
    """Return the components of the first address, and whether there is another one."""
    roads = [c.type for c in components].count("road")
    if roads < 2 and not _goes_back(components):
        return list(components), False
    blocks: list[list[Component]] = [[]]
    for component in _with_whole_company(text, components):
        block = blocks[-1]
        kinds = {c.type for c in block}
        fresh = block and block[-1].type not in PLACES  # a chain of divisions goes on, it does not begin
        if component.type in PLACES and fresh and not kinds.isdisjoint(PLACES) and _has_premise(block):
            blocks.append([])
        elif component.type == "road" and "road" in kinds and "roadno" in kinds and block:
            between = text[block[-1].end : component.start]
            if any(c in between for c in ";、或和及/"):
                blocks.append([])
        blocks[-1].append(component)
    merged = list(blocks[0])
    several = False
    for block in blocks[1:]:
        if not _has_premise(block) or _same_place(text, merged, block):
            merged += [c for c in block if c.type in (*PLACES, "town") or not _holds(text, merged, c)]
        else:
            several = True
            break
    return merged, several or _numbered_roads(text, merged) > 1 or _LISTED.search(text) is not None


def _with_whole_company(text: str, components: Sequence[Component]) -> Sequence[Component]:
    """Return the components with a company that stands before the address as one: 浙江 is part of its name."""
    names = [c.type for c in components[:3]]
    for size in (2, 3):
        head, rest = components[:size], components[size:]
        touching = all(one.end == other.start for one, other in pairwise(head))
        if touching and names[size - 1 : size] == ["poi"] and {*names[: size - 1]} <= set(PLACES):
            start, end = head[0].start, head[-1].end
            if _COMPANY.search(text[start:end]) and any(c.type in PLACES for c in rest):
                return [head[-1]._replace(start=start), *rest]
    return components


def _numbered_roads(text: str, components: Sequence[Component]) -> int:
    """Return how many numbers on roads there are; 99弄12号 goes with the road before it."""
    roads: set[str] = set()
    road = ""
    for component in components:
        if component.type == "road":
            said = text[component.start : component.end]
            road = road if said[0].isdigit() else said
        elif component.type == "roadno" and road:
            roads.add(road + text[component.start : component.end])
            road = ""
    return len(roads)


def _goes_back(components: Sequence[Component]) -> bool:
    """Return whether a division stands behind what is finer than one."""
    finer = False
    for component in components:
        if component.type in PLACES:
            if finer:
                return True
        elif component.type != "town":
            finer = True
    return False


def _has_premise(block: Sequence[Component]) -> bool:
    kinds = {c.type for c in block}
    named = not kinds.isdisjoint(("road", "community", "poi"))
    numbered = not kinds.isdisjoint(NUMBERS) or "village_group" in kinds
    return named and (numbered or ("poi" in kinds and not kinds.isdisjoint(("prov", "city"))))


def _holds(text: str, block: Sequence[Component], component: Component) -> bool:
    said = text[component.start : component.end]
    return any(c.type == component.type and text[c.start : c.end] == said for c in block)


def _same_place(text: str, one: Sequence[Component], other: Sequence[Component]) -> bool:
    """Return whether two addresses may be one, said twice or in two ways: no road, number or building differs."""
    mine, theirs = _said(text, one), _said(text, other)
    for kind in ("road", "roadno", "houseno", "cellno", "roomno", "poi", "community"):
        if kind in mine and kind in theirs and not any(same_words(p, q) for p in mine[kind] for q in theirs[kind]):
            return False
    return all(
        name in mine[kind]
        or any(not {d.row for d in named(name)}.isdisjoint(d.row for d in named(p)) for p in mine[kind])
        for kind in PLACES
        if kind in mine
        for name in theirs.get(kind, ())
    )


def _said(text: str, components: Sequence[Component]) -> dict[str, set[str]]:
    said: dict[str, set[str]] = {}
    for component in components:
        said.setdefault(component.type, set()).add(text[component.start : component.end])
    return said
