"""
Distinct, real-looking addresses from a seeded generator; nobody lives there.

Names of divisions come from the packaged gazetteer, combined at random (a city need not lie in its province); roads,
compounds, shops and numbers are invented. The same seed gives the same addresses. No text comes from a data set.
"""

import random
from collections.abc import Iterator

from addrmesh.address import gazetteer

SEED = 20_240_601

_ROAD_FIRST = "文科建人中新和长解东西南北金银凤龙云江湖海春秋学府迎朝望景永兴泰安康宁嘉祥瑞华明光天桂松梅兰竹荷"
_ROAD_SECOND = "一二三民山设放京平阳庆水源港岭桥泉河林园苑波涛霞旭辉盛隆昌顺德义礼智信丰裕通达晖晨熙"
_ROAD_KINDS = ("路", "路", "路", "街", "街", "大道", "大街", "东路", "西路", "北路", "南街", "中路", "巷")
_PLACE_ENDS = (
    "花园", "小区", "家园", "公寓", "大厦", "广场", "新村", "科技园", "名苑", "华庭", "商务中心", "国际城",
    "产业园", "购物中心", "工业园", "人民医院", "中学", "酒店",
)  # fmt: skip
_SHOPS = ("菜鸟驿站", "便利店", "生鲜超市", "快递柜", "物业中心", "咖啡店", "药房", "门卫室")
_HINTS = ("对面", "旁边", "北门", "南门", "附近", "东50米", "斜对面")


def generate(seed: int = SEED) -> Iterator[str]:
    """Yield addresses for ever, each once."""
    draw = random.Random(seed)
    names = {level: gazetteer.names(level) for level in gazetteer.LEVELS}
    seen: set[str] = set()
    while True:
        address = _address(draw, names)
        if address not in seen:
            seen.add(address)
            yield address


def distinct(count: int, seed: int = SEED) -> list[str]:
    """Return `count` addresses, no two of them equal."""
    source = generate(seed)
    return [next(source) for _ in range(count)]


def _address(draw: random.Random, names: dict[str, list[str]]) -> str:
    chance, pick, number = draw.random, draw.choice, draw.randint
    parts = []
    if chance() < 0.6:
        parts.append(pick(names["prov"]))
    if chance() < 0.8:
        parts.append(pick(names["city"]))
    if chance() < 0.85:
        parts.append(pick(names["district"]))
    if chance() < 0.35:
        parts.append(pick(names["town"]))
    if chance() < 0.8:
        parts.append(pick(_ROAD_FIRST) + pick(_ROAD_SECOND) + pick(_ROAD_KINDS))
        if chance() < 0.85:
            parts.append(f"{number(1, 1999)}号")
    if chance() < 0.7 or len(parts) < 3:
        parts.append(pick(_ROAD_SECOND) + pick(_ROAD_FIRST) + pick(_PLACE_ENDS))
    if chance() < 0.5:
        parts.append(f"{number(1, 60)}{pick(('号楼', '幢', '栋', '座'))}")
        if chance() < 0.5:
            parts.append(f"{number(1, 6)}单元")
        if chance() < 0.8:
            parts.append(f"{number(1, 33)}{number(0, 9):02}{pick(('室', '室', ''))}")
    elif chance() < 0.3:
        parts.append(pick(_SHOPS))
    if chance() < 0.08:
        parts.append(pick(_HINTS))
    return "".join(parts)
