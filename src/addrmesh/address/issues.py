"""
The catalogue of issues: their codes, which are stable, their severities and their texts in two languages.

A code can come in several severities: the same thing may only be told, may need a look, or may stop an order.
"""

from collections.abc import Iterator
from typing import NamedTuple

from addrmesh.address.verdict import Issue, Language, Severity


class Kind(NamedTuple):
    """What one code means. `{}` in a text is where the part of the address stands that it is about."""

    severities: tuple[Severity, ...]
    zh: str
    en: str
    meaning: str


CATALOGUE: dict[str, Kind] = {
    "ADMIN_INFERRED": Kind(
        ("info", "warning"),
        "已补全{}",
        "filled in {}",
        "a level was filled in; a warning when it rests on a hint, on a town alone or on a short name alone",
    ),
    "ADMIN_ALIAS": Kind(("info",), "已将简称写全:{}", "wrote out the short name: {}", "a short form was expanded"),
    "ADMIN_REPEATED": Kind(
        ("info",), "重复的行政区划已合并:{}", "repeated division left out: {}", "a part stands twice"
    ),
    "ADMIN_MISSING": Kind(
        ("error", "warning"),
        "缺少{},请补充",
        "{} is missing, please add it",
        "a level is absent and follows from nothing; a warning in Hong Kong, where street and area tell the district",
    ),
    "ADMIN_AMBIGUOUS": Kind(
        ("error",), "“{}”有多个可能,请选择", "several divisions fit “{}”, please choose", "the candidates are listed"
    ),
    "ADMIN_CONFLICT": Kind(
        ("warning", "error"),
        "“{}”与其他行政区划矛盾",
        "“{}” contradicts the other divisions",
        "a warning when the others outvote it, an error when nothing decides",
    ),
    "ADMIN_OUTDATED": Kind(
        ("warning",), "行政区划已变更:{}", "the division has changed: {}", "renamed, merged, split or abolished"
    ),
    "ADMIN_FUNCTIONAL_ZONE": Kind(
        ("info", "warning"),
        "“{}”是功能区,不是行政区",
        "“{}” is a development zone, not a division",
        "kept as `devzone`; a warning when no district is known",
    ),
    "ROAD_MISSING": Kind(
        ("error",),
        "缺少道路、村或小区名称",
        "a road, a village or a building is missing",
        "nothing that a number could belong to",
    ),
    "PREMISE_MISSING": Kind(
        ("warning", "error"),
        "缺少门牌号或楼宇名称",
        "a house number or a building is missing",
        "a warning when the place is only described by one nearby",
    ),
    "SUBPREMISE_MISSING": Kind(
        ("info", "error"),
        "缺少楼栋、单元或房间号",
        "a building number, unit or room is missing",
        "an error where asked for",
    ),
    "SPELL_CORRECTED": Kind(
        ("warning",), "疑似错字,已更正:{}", "corrected the spelling: {}", "a typing error was corrected"
    ),
    "SCRIPT_CONVERTED": Kind(("info",), "繁体已转为简体", "traditional characters were converted", "script"),
    "WIDTH_NORMALIZED": Kind(("info",), "全角字符已转为半角", "full-width characters were converted", "width"),
    "REORDERED": Kind(("info",), "已调整地址顺序", "the parts were put in order", "fine before coarse, or mixed"),
    "TRANSLITERATED": Kind(
        ("warning",), "已由拼音或英文转写", "read from pinyin or English", "written in Latin letters"
    ),
    "CONTACT_REMOVED": Kind(
        ("info",),
        "已将收件人信息与地址分开",
        "the receiver was taken out of the address",
        "name, phone, id number, postcode",
    ),
    "NOISE_REMOVED": Kind(
        ("info",), "已去除与地址无关的内容", "what is no part of an address was left out", "notes, markup"
    ),
    "UNRESOLVED_TOKENS": Kind(
        ("warning", "info", "error"),
        "无法识别:{}",
        "could not place: {}",
        "text or a division that is not known; told where it stands apart and has no word of a place in it",
    ),
    "MULTIPLE_ADDRESSES": Kind(
        ("error",),
        "包含多个地址,请只保留一个",
        "this holds several addresses, please keep one",
        "more than one address",
    ),
    "NOT_AN_ADDRESS": Kind(("error",), "这不是地址", "this is not an address", "nothing in it names a place"),
    "REGION_UNSUPPORTED": Kind(("error",), "暂不支持中国以外的地址", "not an address in China", "another country"),
    "POSTCODE_MISMATCH": Kind(
        ("warning",),
        "邮政编码与省份不符:{}",
        "the postcode belongs to another province: {}",
        "postcode and province differ",
    ),
}


def issue(
    code: str,
    language: Language,
    about: str = "",
    severity: Severity | None = None,
    component: str | None = None,
    suggestion: dict[str, str] | None = None,
    effective: str | None = None,
) -> Issue:
    """Return an issue with its text; the mildest severity that the code has when none is given."""
    kind = CATALOGUE[code]
    message = (kind.zh if language == "zh-CN" else kind.en).replace("{}", about)
    return Issue(code, severity or kind.severities[0], component, message, suggestion, effective)


def issue_rows() -> Iterator[tuple[str, str, str, str, str]]:
    """Yield code, severities, meaning and the two texts of every issue, for the reference page."""
    for code, kind in CATALOGUE.items():
        zh, en = (text.replace("{}", "…") for text in (kind.zh, kind.en))
        yield code, ", ".join(kind.severities), kind.meaning, zh, en
