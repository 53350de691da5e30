"""
Talk around an address, as it comes out of a chat: `老板,我家在山东省德州市…23号你看着发吧`.

What is said in a clause that names no place goes, and so does what leads up to the first division in one or follows the
last number. Talk that may take something back (不是, 改成, 以前, 可能 …) stays for somebody to look at.
"""

import re
from collections.abc import Iterator

from addrmesh.address import divisions

_SAYS = re.compile(
    "[我你您他她咱俩吗吧呢呀嗯喂谁啥买]|们(?!沟)|的(?!士)|了(?!凡)|这[个边里]?|老板|麻烦|谢谢|名字|还是|不用|没有?|别[人怕放忘]|给|寄[到给]?|那[款件个家边]|打不通|包结实|快递|[大小]件"
)
"""Words that places do not have."""
_LEADS = re.compile("[我你您他她咱喂嗯]|[寄送发写]|(?:在|到|是|往|给|就|啊|呢|吧)\\Z|老家|地址|家住")
"""What leads up to an address."""
_FOLLOWS = re.compile("(?<=[号室栋幢元楼层组户队])(?=[我你您他她请])")
_PLACE = re.compile(
    r"\d(?:号|弄|幢|栋|单元|室|组|队)|[路街巷弄道]\d|[一-鿿](?:路|街|巷|胡同|小区|村|镇|乡|大道)(?![一-鿿]*[的人])"
)
_TAKES_BACK = re.compile(
    "不[是对同]|不(?:确定|知道|清楚|记得|一定|要寄|要送|要发)|记不|改|换|错|旧|原来|以前|或|可能|大概|也许|好像|应该|假|误|拆|搬(?![进楼上运])|迁|废|失效|停用|暂"
    "|待定|未定|忘|(?<!请)问|别[寄送发](?!错)|先不|另[一外]|哪个?|几号|没有?(?:门牌|写|定)|无门牌|再(?:告诉|说|定|发你)|定位|剩下|下次|[上同跟]次|二选一|随便"
)
_REVOKES = re.compile(
    r"不是[我这本]|不(?:住|在这)|(?:[别勿]|不[要用])[寄送发](?:[到往给来]?[这那此本]|\Z)|搬(?:走|家|了)|[写填弄]错|旧地址|(?:以前|原来)的地?址?\Z|改[寄送]"
    "|换[成到]|不知道.{0,3}几号|记不清"
)
_SHORTEST = 2


def revokes(text: str, start: int = 0, end: int | None = None) -> bool:
    """Return whether a clause certainly takes an address back; nothing of it is a mere note then."""
    return _REVOKES.search(text[start:end]) is not None


def around(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the talk in a clause of a text."""
    if not (_SAYS.search(text, start, end) or _LEADS.search(text, start, end)):
        return
    begins = _first_division(text, start, end)
    if begins is None:
        said = text[start:end]
        talk = _SAYS.search(said) and not _PLACE.search(said) and not _TAKES_BACK.search(said)
        if talk and len(said) >= _SHORTEST:
            yield start, end
        return
    lead = text[start:begins]
    if _LEADS.search(lead) and not _PLACE.search(lead) and not _TAKES_BACK.search(lead):
        yield start, begins
    if follows := _FOLLOWS.search(text, begins, end):
        rest = text[follows.start() : end]
        if not _PLACE.search(rest) and not _TAKES_BACK.search(rest):
            yield follows.start(), end


def _first_division(text: str, start: int, end: int) -> int | None:
    """Return where the first division that is written out begins, or what stands right before it and lies around it."""
    found = [(m.start + start, m.end + start, m.divisions) for m in divisions.scan(text[start:end])]
    full = [
        (one, other)
        for one, other, bearing in found
        if other - one > _SHORTEST
        and any(d.name == text[one:other] and d.level in ("prov", "city", "district", "town") for d in bearing)
    ]
    if not full:
        return None
    first = full[0][0]
    while before := [one for one, other, bearing in found if other == first and bearing[0].level != "town"]:
        first = min(before)
    return first
