"""
Components without a model: divisions from the gazetteer, the rest by the words that end them.

Much coarser than the tagger, for when no engine answers: it knows no buildings but those whose names say what they
are. An answer made from it is never better than CONFIRM.
"""

import re

from addrmesh.address import divisions
from addrmesh.address.types import Component

_CONFIDENCE = 0.5
"""Of everything found here; nothing was calibrated."""

_HAN = "一-鿿"
_DIGITS = r"\d一二三四五六七八九十"
_ROAD_END = "大道|大街|胡同|路|街|巷|道|弄"
_BUILDINGS = "小区|花园|花苑|家园|公寓|大厦|大楼|广场|中心|学校|大学|学院|中学|小学|医院|酒店|公司|超市|市场"
_REST = re.compile(
    "|".join(
        f"(?P<{kind}>{pattern})"
        for kind, pattern in (
            ("village_group", rf"第?[{_DIGITS}]+(?:生产)?(?:组|队|社)"),
            ("cellno", r"\d+单元"),
            ("houseno", r"(?:\d+号楼|\d+[栋幢座]|[A-Z]座)"),
            ("floorno", rf"(?:地下|负)?[{_DIGITS}]+[楼层]|\d+F"),
            ("roomno", r"[A-Z]?\d+室|(?<=[楼层元座栋幢-])[A-Z]?\d{3,4}(?!\d)"),
            ("roadno", rf"[甲乙丙丁]?[{_DIGITS}]+(?:[-~]\d+)?号"),
            ("road", rf"[{_HAN}\d]{{1,8}}?(?:{_ROAD_END})(?:[东南西北中{_DIGITS}]段)?"),
            ("community", rf"[{_HAN}]{{1,8}}?(?:村|社区|居委会)"),
            ("poi", rf"[{_HAN}A-Za-z\d]{{2,12}}?(?:{_BUILDINGS})"),
        )
    )
)  # fmt: skip
_AFTER_NAME = re.compile(
    rf"(?:[东南西北中]?(?:{_ROAD_END})|大厦|大学|医院|商会|饭店|酒店|花园|小区|广场|火锅|拉面|小吃)"
)
_SKIPPED = frozenset(" ,;.:、()[]【】/-")


def components(text: str) -> tuple[Component, ...]:
    """Return the components of a canonical text, by position."""
    names: dict[int, tuple[int, str]] = {}
    for match in divisions.scan(text):
        current = [d for d in match.divisions if d.in_force] or list(match.divisions)
        longest = names.get(match.start, (0, ""))[0]
        if match.end > longest and not _AFTER_NAME.match(text, match.end):
            names[match.start] = match.end, current[0].level
    found: list[Component] = []
    at = 0
    fresh = True  # whether a division may begin here: at the start, behind a division, behind a separator
    while at < len(text):
        if fresh and at in names:
            end, level = names[at]
            found.append(Component(level, at, end, _CONFIDENCE))
            at = end
        elif text[at] in _SKIPPED:
            fresh, at = True, at + 1
        elif part := _REST.match(text, at):
            found.append(Component(part.lastgroup or "", at, part.end(), _CONFIDENCE))
            fresh, at = False, part.end()
        else:
            fresh, at = False, at + 1
    return tuple(found)
