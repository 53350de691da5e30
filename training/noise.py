"""
What real orders carry and the labelled data do not: made here, with the labels that go with it.

Every function takes an example and returns another; added text is `O` unless said otherwise. All of it is drawn from
the lists below and the gazetteer, none from a person.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compile_tables import PSEUDO, SUFFIXES, ZONE, read_csv, short_form
from corpus import Example, Span, soft_rows, tag_rows

SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛阎段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤欧阳"
GIVEN = "伟芳娜秀英敏静丽强磊军洋勇艳杰娟涛明超兰霞平刚桂文辉玲鑫宇欣怡佳思雨梓涵浩然子轩俊博雅琪晨曦建国志华海燕春梅红雪松林婷婷小龙晓东立新"
NOTES = [
    "放前台",
    "放门卫",
    "放快递柜",
    "放丰巢",
    "放菜鸟驿站",
    "放门口即可",
    "请送货上门",
    "送货上门",
    "不要放驿站",
    "送到家门口",
    "到付",
    "货到付款",
    "加急",
    "易碎品轻放",
    "请勿暴晒",
    "周末勿送",
    "工作日送货",
    "周一至周五送",
    "下午送",
    "晚上六点后送",
    "请提前电话联系",
    "到了打电话",
    "打电话下楼取",
    "麻烦送上楼",
    "有电梯",
    "没有电梯",
    "本人签收",
    "谢谢",
    "谢谢师傅",
    "收",
    "亲启",
    "勿折",
    "尽快发货",
    "不要敲门",
    "放电表箱",
    "节假日均可送货",
    "代收",
    "转交",
    "快递放楼下",
    "不接电话发短信",
    "顺丰",
    "发顺丰",
    "备注请看",
]
LEAD = [
    "地址:",
    "收货地址:",
    "收件地址:",
    "详细地址:",
    "寄到",
    "寄:",
    "送到",
    "送货地址:",
    "配送地址:",
    "收件人地址:",
    "所在地区:",
    "住址:",
    "中国",
    "中国,",
    "地址",
    "收",
]
PERSON = ["收货人:", "收件人:", "联系人:", "姓名:", "收:", "收货人", "收件人"]
PHONE = ["电话:", "手机:", "手机号:", "联系电话:", "电话", "手机", "Tel:", "tel"]
BETWEEN = (" ", " ", " ", ",", "-", "/", "、", ";", ". ", "|")


@dataclass(frozen=True)
class Chain:
    """Names from province down to town; a level that does not exist is empty."""

    prov: str
    city: str
    district: str
    town: str


def read_chains(gazetteer: Path) -> tuple[list[Chain], dict[str, list[str]]]:
    """Read every town with the divisions above it, and the county names out of use by province."""
    provinces = {row["code"]: row["name"] for row in read_csv(gazetteer / "nbs2023-provinces.csv")}
    cities = {row["code"]: row["name"] for row in read_csv(gazetteer / "nbs2023-cities.csv")}
    areas = {row["code"]: row["name"] for row in read_csv(gazetteer / "nbs2023-areas.csv")}
    real = lambda name: "" if PSEUDO.match(name) or ZONE.search(name) else name
    chains = []
    for row in read_csv(gazetteer / "nbs2023-streets.csv"):
        prov, town = provinces[row["provinceCode"]], real(row["name"])
        city = prov if prov[:2] in ("北京", "天津", "上海", "重庆") else real(cities[row["cityCode"]])
        if town:
            chains.append(Chain(prov, city, real(areas[row["areaCode"]]), town))
    former: dict[str, list[str]] = {}
    for row in read_csv(gazetteer / "areacodes-history.csv"):
        if row["级别"] == "县级" and row["状态"] != "在用" and not PSEUDO.match(row["名称"]):
            former.setdefault(row["一级行政区"], []).append(row["名称"])
    return chains, former


def edit(example: Example, changes: list[tuple[int, int, str, list[Span]]]) -> Example:
    """
    Replace pieces of an example.

    Args:
        example: Left as it is.
        changes: Non-overlapping `(start, end, new text, spans within the new text)`.
    """
    rows, text, parts, at = soft_rows(example), "", [], 0
    spans: list[Span] = []
    for start, end, new, inner in sorted(changes, key=lambda change: change[:2]):
        parts.append(rows[at:start])
        text += example.text[at:start]
        fresh = np.zeros((len(new), rows.shape[1]), np.float16)
        if new:
            fresh[np.arange(len(new)), tag_rows(len(new), inner)] = 1
        spans += [(name, len(text) + s, len(text) + e) for name, s, e in inner]
        parts.append(fresh)
        text += new
        at = end
    parts.append(rows[at:])
    text += example.text[at:]
    touched = [(start, end) for start, end, _, _ in changes if start < end]
    for name, start, end in example.spans:
        if any(s < end and start < e for s, e in touched):
            continue
        before = sum(len(new) - (e - s) for s, e, new, _ in changes if e <= start)
        spans.append((name, start + before, end + before))
    return Example(text, sorted(spans, key=lambda span: span[1]), np.concatenate(parts))


def swap_divisions(example: Example, chains: list[Chain], former: dict[str, list[str]], draw: random.Random) -> Example:
    """Move the address elsewhere in China: its divisions become those of one town, in full, short or former form."""
    chain = draw.choice(chains)
    changes, seen = [], set()
    for name, start, end in example.spans:
        if name not in SUFFIXES:
            continue
        new = getattr(chain, name)
        if name == "district" and draw.random() < 0.12 and former.get(chain.prov):
            new = draw.choice(former[chain.prov])
        if name in seen or (name == "city" and new == chain.prov and "prov" in {s[0] for s in example.spans}):
            new = ""
        seen.add(name)
        if new and draw.random() < (0.12 if name == "town" else 0.3):
            new = short_form(name, new) or new
        changes.append((start, end, new, [(name, 0, len(new))] if new else []))
    return edit(example, changes) if changes else example


def person(draw: random.Random) -> str:
    title = draw.choice(("", "", "", "", "先生", "女士", "小姐", "老师"))
    return (
        draw.choice(SURNAMES)
        + ("" if title and draw.random() < 0.7 else "".join(draw.choices(GIVEN, k=draw.choice((1, 2, 2)))))
        + title
    )


def phone(draw: random.Random) -> str:
    return draw.choice(
        (
            "0" * 11,
            "0" * 11,
            "0" * 11,
            "000-0000-0000",
            "000 0000 0000",
            "+00 " + "0" * 11,
            "0000-00000000",
            "000-00000000",
            "000****0000",
            "00000000",
        )
    )


def contact(draw: random.Random) -> str:
    """A name, a phone, or both, as people write them before or after an address."""
    name = draw.choice(("", draw.choice(PERSON))) + person(draw)
    number = draw.choice(("", "", draw.choice(PHONE))) + phone(draw)
    gap = draw.choice((" ", " ", ",", ""))
    return draw.choice((name + gap + number, number + gap + name, name, number))


def note(draw: random.Random) -> str:
    text = draw.choice(NOTES)
    return draw.choice(
        (text, "(" + text + ")", "【" + text + "】", "," + text, " " + text, "(" + text, " " + text + "!", "、" + text)
    )


def add_noise(example: Example, draw: random.Random) -> Example:
    """Put contact data, notes, postcodes and labels around the address, and separators into it."""
    changes: list[tuple[int, int, str, list[Span]]] = []
    end = len(example.text)
    kind = draw.random()
    if kind < 0.45:
        changes.append((end, end, draw.choice((" ", " ", ",", "")) + contact(draw), []))
    elif kind < 0.7:
        changes.append((end, end, note(draw), []))
    elif kind < 0.8:
        changes.append((end, end, draw.choice((" ", ",", "邮编:", " 邮编", "(邮编")) + "000000", []))
    lead = draw.random()
    if lead < 0.2:
        changes.append((0, 0, draw.choice(LEAD), []))
    elif lead < 0.4:
        changes.append((0, 0, contact(draw) + draw.choice((" ", " ", ",", ", ")), []))
    elif lead < 0.45:
        changes.append((0, 0, "000000" + draw.choice((" ", "")), []))
    if draw.random() < 0.2:
        between = draw.choice(BETWEEN)
        changes += [
            (s, s, between, []) for name, s, _ in example.spans if s and (between == " " or draw.random() < 0.4)
        ]
    if draw.random() < 0.06:
        changes += [(e, e, draw.choice(("(", " (")) + draw.choice(NOTES) + ")", []) for _, _, e in example.spans[-1:]]
    return edit(example, changes)


def repeat_prefix(example: Example, draw: random.Random) -> Example:
    """Write the leading divisions twice, as forms that ask for region and address apart produce."""
    lead = []
    for name, start, end in sorted(example.spans, key=lambda span: span[1]):
        if name not in ("prov", "city", "district") or start != (lead[-1][2] if lead else 0):
            break
        lead.append((name, start, end))
    if not lead:
        return example
    stop = lead[-1][2]
    return edit(example, [(0, 0, example.text[:stop] + draw.choice(("", " ", " ")), lead)])


def mistype(example: Example, alphabet: str, draw: random.Random) -> Example:
    """Replace or drop one character of the address; its label stays."""
    at = draw.randrange(len(example.text))
    if not "\u4e00" <= example.text[at] <= "\u9fff":
        return example
    text = example.text[:at] + draw.choice(alphabet) + example.text[at + 1 :]
    return Example(text, example.spans, example.soft)


def number_tail(example: Example, draw: random.Random) -> Example:
    """Append building, unit, floor and room to an address that ends before them."""
    names = {name for name, *_ in example.spans}
    if names & {"houseno", "cellno", "floorno", "roomno", "assist", "distance"} or not names & {
        "poi",
        "roadno",
        "community",
    }:
        return example
    if max(end for _, _, end in example.spans) != len(example.text):
        return example
    digits = lambda *sizes: "0" * draw.choice(sizes)
    building = draw.choice(
        (
            digits(1, 1, 2) + draw.choice(("号楼", "栋", "幢", "座", "#", "#楼", "号")),
            "A" + draw.choice(("座", "栋", "幢")),
            digits(1, 2),
        )
    )
    unit = digits(1) + draw.choice(("单元", "单元", "门", "梯")) if draw.random() < 0.6 else ""
    floor = digits(1, 2) + draw.choice(("楼", "层", "F")) if draw.random() < 0.25 else ""
    room = digits(3, 3, 4) + draw.choice(("室", "室", "", "房", "号"))
    pieces: list[tuple[str, str]]
    if building.isdigit():
        unit, floor = ("0", "") if draw.random() < 0.5 else ("", "")
        room = digits(3, 3, 4) + draw.choice(("", "室"))
        parts = [("houseno", building), *([("cellno", unit)] if unit else []), ("roomno", room)]
        pieces = [part for i, piece in enumerate(parts) for part in ([("", "-")] if i else []) + [piece]]
        if example.text[-1] == "0":
            return example
    else:
        pieces = [
            ("houseno", building),
            ("cellno", unit),
            ("floorno", floor),
            ("roomno", room if draw.random() < 0.9 else ""),
        ]
    text, spans = "", []
    for name, piece in pieces:
        if piece and name:
            spans.append((name, len(text), len(text) + len(piece)))
        text += piece
    end = len(example.text)
    return edit(example, [(end, end, text, spans)])
