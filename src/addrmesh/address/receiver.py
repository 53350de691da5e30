"""
Names, phones and identity numbers in an order's text, and what else is no address: post codes, labels, notes, markup.

Everything is found in canonical text before it is tagged. Only what is sure is taken: a name needs a label, a phone
beside it or a title; a note needs words that no place bears. What is taken out is personal data: it goes into the
answer and nowhere else.
"""

import re
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from addrmesh.address import divisions, talk

What = Literal["name", "phone", "id_number", "postcode", "label", "noise", "heading"]


class Cut(NamedTuple):
    """A stretch of text that is no part of the address. `start` and `end` are what goes, `value` is what it says."""

    what: What
    start: int
    end: int
    value: tuple[int, int]


_HAN = "一-鿿"
_SURNAMES = (
    "王李张于刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方"
    "白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤温康施文牛樊葛邢安齐易乔伍庞颜倪庄聂章鲁岳翟殷詹申欧耿关兰焦俞左柳"
    "甘祝包宁尚符舒阮柯纪梅童凌毕单季裴霍涂成苗谷盛曲翁冉骆蓝路游辛靳管柴蒙鲍华喻祁蒲房滕屈饶解牟艾尤阳时穆农司卓古吉缪简车项连芦麦褚娄窦"
    "戚岑景党宫费卜冷晏席卫米柏宗瞿桂全佟应臧闵苟邬边卞姬师和仇栾隋商刁沙荣巫寇桑郎甄丛仲虞敖巩明佘池查麻苑迟邝官封谈匡鞠惠荆乐冀郁胥南班储原"
    "栗燕楚鄢谌奚粟冼蔺楼盘满闻厉伊仝区郜海阚花权强帅屠豆朴盖练廉禹井祖漆巴丰支卿国狄平计索宣晋相初门云容敬来扈晁芮都普阙浦戈伏鹿薄邸雍辜羊"
)
_DOUBLE = "欧阳|上官|司马|诸葛|夏侯|东方|皇甫|尉迟|公孙|令狐|慕容|宇文|司徒|长孙|端木|百里|南宫|独孤|轩辕"
_TITLE = "先生|女士|小姐|太太|老师|经理|师傅|同学|阿姨|叔叔"
_GIVEN = rf"(?:[{_HAN}]{{1,2}}|[*xX某]{{1,3}})"
_PERSON = re.compile(
    rf"(?:(?:{_DOUBLE})[{_HAN}*]{{1,2}}|[{_SURNAMES}](?:{_GIVEN})?(?:{_TITLE})|[{_SURNAMES}]{_GIVEN})\Z"
)
_TITLED = re.compile(
    rf"(?:{_DOUBLE}|[{_SURNAMES}])[{_HAN}]{{0,2}}(?:{_TITLE})\Z|[{_HAN}](?:先生|女士|小姐|太太)\Z|老[{_SURNAMES}]家?\Z"
)
_SIGNED = re.compile(
    rf"(?<=[\d号室楼栋幢层座元户 ,;])\(?(?P<v>(?:{_DOUBLE}|[{_SURNAMES}])[{_HAN}]{{0,2}}(?:{_TITLE}|(?= (?:{_TITLE}))))"
    rf"(?: (?:{_TITLE}))?(?:[台亲敬]启|[收 )])*\Z"
    rf"|(?<=[ ,;])(?P<w>[{_HAN}·]{{2,5}}(?<!家人)(?<![台柜卫代自店站点室处]))(?= ?\(?亲?收\)?\Z)"
)
_WORD_BEFORE_PHONE = re.compile(
    rf"(?!电话|手机|联系|收货|收件|本人|前台|门卫|自提|急件|快递|客服|谢谢|麻烦|加急|物业|保安|代收|家里|备注|中心|银行|酒店|公司)[{_HAN}]{{2,4}}(?<!中心|银行|酒店|公司|代收)"
)
_PLACE_END = frozenset("省市区县镇乡村路街巷道弄号室楼栋幢层座元苑园城府庄厦店场校院站组队屯里湾坊")
_LATIN_PERSON = re.compile(r"(?<![A-Za-z])[A-Z][a-z]+(?: [A-Z][a-z]+){1,2}\Z")

_ID = re.compile(
    r"(?:身份证(?:号码?)?[:： ]*)?(?<![\dXx])(?P<v>\d{6}(?:19|20)\d\d[01]\d[0-3]\d{4}[\dXx])(?![\dXx])"
)  # fmt: skip
_PHONE_LABEL = r"(?:(?:联系)?(?:电话|手机)(?:号码?)?|联系方式|TEL|Tel|tel|Mobile|mobile|Phone|phone)[::]? *"
_PHONE = re.compile(
    rf"(?:{_PHONE_LABEL}|或者?|/)?(?P<v>"
    r"(?<![\d*+])(?:(?:\+|00)?86[- ]?)?1[3-9]\d(?:[- ]?[\d*]{4}){2}(?![\d*])(?:(?:转|-)\d{1,6})?"
    r"|(?<![\d*])(?:\(0\d{2,3}\)|0\d{2,3}[- ])[ ]?\d{7,8}(?![\d*])(?:(?:转|-)\d{1,6})?"
    r"|(?<![\d*])[48]00[- ]?\d{3}[- ]?\d{4}(?!\d)"
    r"|(?<![\d*])(?:\+|00)85[23][- ]?\d{4}[- ]?\d{4}(?!\d)"
    r"|(?<![\d*])(?:(?:\+|00)886[- ]?|0)9\d{2}[- ]?\d{3}[- ]?\d{3}(?![\d*]))"
)
_LABELLED = re.compile(rf"{_PHONE_LABEL}(?P<v>[2-9]\d{{3}}[- ]?\d{{4}})(?!\d)")
_LONG_NUMBER = re.compile(r"[\d*](?:[- ]?[\d*]){5}")
_EDGE = r"\s,;.()\[\]【】、。!?!?:/|"
_POSTCODE = re.compile(
    rf"(?:邮政编码|邮编|邮码)[::]? *(?P<a>\d{{6}})(?!\d)|(?<![^{_EDGE}])(?<![A-Za-z]:)(?P<b>\d{{6}})(?![^{_EDGE}])"
)
_NAMED = re.compile(
    r"(?:收件人|收货人|寄件人|联系人|(?:我的?)?名字[是叫]?|姓名|收货人姓名|收件人姓名)"
    r"(?:[::] *| +|(?!电话|手机|信息|地址|姓名|详细|所在|方式|[在是不请要有已的就会可没未也都到来去说用写为和打错填])"
    r"(?=[一-鿿]{2,4}(?:(?![一-鿿])|电话|手机)))"
    rf"(?P<v>[{_HAN}·]{{2,4}}?(?=电话|手机)|[{_HAN}·]{{2,4}}(?![{_HAN}])"
    rf"|[{_HAN}][*xX某]{{1,3}}(?![{_HAN}])|[A-Z][a-z]+(?: [A-Z][a-z]+)*(?![{_HAN}]))"
)
_ADDRESS = "(?:(?:现在?|最新|新|原来?)的?|我的?|我们|详细|收货|收件|寄件|寄货|发货|家庭|公司|联系){0,3}地址"
_LABEL = re.compile(
    rf"(?<![{_HAN}])(?:国家|省份?|省市区?县?|地级市|县级市|城市|区县|县区|[市区县镇村家]|街道(?:地址)?|乡镇|门牌号?|公司|单位|学校|地点)[::]"
    rf"|{_ADDRESS}(?:(?:[改变换][成为到]|[是为])[::]?|[\d写]?[::])|(?<!\S)(?:{_ADDRESS}|省份|城市|区县|街道)(?=\s)"
    r"|(?:(?:所在)?(?:地区|区域)|收货信息|收件人?信息|收件人?|寄件人?|收货人?|发件人?)[::]"
)
_REMARK = re.compile(
    r"[(\[【](?:买家|卖家|客户|顾客|订单)?(?:备注|留言|说明)[::][^)\]】]*[)\]】]|(?:买家|卖家|客户|顾客|订单)?(?:备注|留言|说明)[::][^,;。!?]*"
)
_CODE = re.compile(
    r"(?:(?:订单|运单|快递|物流|工单|流水|单|客户|会员|取件|门禁|大门|开门)(?:单号|编号|代码|密码|号码?|码)"
    r"|编号|尾号|代码|密码|账号|微信号?|[Qq]{2}号?|[Vv][Xx]|UID|uid"
    r"|(?:仓库?|库位|转运)码|(?:订单|运单)(?=[#::]))[::是]? *"
    r"#?[A-Za-z\d][A-Za-z\d-]*[#*]?"
)
_CODE_CHARACTERS = frozenset("号码信QqVvUu单")
_HOURS = re.compile(
    r"(?:(?:周|星期)[一二三四五六日天](?:[至到~-](?:周|星期)?[一二三四五六日天])?)? *"
    r"\d{1,2}:\d\d(?:[至到~-]+\d{1,2}:\d\d)?(?:[之以]?[后前]?(?:送货?|收货|在家)?)?"
)
_SPEAKER = re.compile(rf"(?:\A|\n|\] *)(?P<v>[{_HAN}A-Za-z]{{1,4}}): ?")
_CUT_OFF = re.compile(rf"[(\[【][{_HAN}]{{0,2}}\Z")
_MARKUP = re.compile(r"<script.*?</script>|</?[A-Za-z][^>]*>|&[a-z]{2,6};|https?://\S+", re.DOTALL)
_PICTURES = re.compile("[←-⇿☀-➿⬀-⯿️\U0001f000-\U0001faff]+")
_HEADING = re.compile(
    r"(?:(?<=[省区 ,;/|-])|^)(?:自治区|省)直辖县级?行政(?:区划|单位)|直辖县级行政(?:区划|单位)|市辖区"
    r"|(?:(?<=\S\S )|^)县(?!\S)"
    rf"|(?<=新疆)(?:生产建设)?兵团第[一二三四五六七八九十\d]+师|(?<=新疆)生产建设兵团(?:第?[一二三四五六七八九十\d]+师(?!头))?"
    rf"|(?:(?<=北京市)|(?<=天津市)|(?<=上海市)|(?<=重庆市))县(?=[{_HAN}]{{1,12}}县)"
)
_SEGMENT = re.compile(r"[^\s,;!?。、()\[\]【】|/~\"'…:]+")
_CARRIER = "顺丰|圆通|中通|申通|韵达|百世|极兔|德邦|EMS|京东|邮政|快递|菜鸟"
_NOTE = re.compile(
    r"电联|联系(?!人)|\A(?:\d{1,2}月)?\d{1,2}[号日](?:(?:之?前|以[前后])(?:必须|一定|[要发送到寄收])|左右|[上下]午|早上|晚上|再[送发寄]|才|[到发送]货)|\A\d{1,2}月\d{1,2}[号日]|(?:打|来|致)电话?|短信|快递柜|"
    rf"(?:请|勿|别|不要|不用|不能|务必|麻烦|尽量|尽快)(?:先|提前|把|帮|给)?(?:放|送|打|按|敲|联系|寄|走|发|用|派|投|带|拍|快|轻|周|工作日|电|勿|不|别|在|到|务必|{_CARRIER})"
    rf"|(?<!解)放(?:在|到)?(?:门(?!店)|前台|家|物业|驿站|快递|丰巢|保安|传达|那|这|楼下|柜|自提)|送(?:货|到|达|上门|至)"
    r"|到了(?:再|先|给|请|打|叫|电|联)|到店|自取|自提|代收|代签|签收|谢谢|感谢|辛苦了|轻拿|轻放|易碎|勿压|加急|急件|\A急+\Z|急急"
    rf"|发(?:{_CARRIER}|货)|备注|工作日|双休|周末|节假日|周[一二三四五六日][至到~]|\d+(?:点(?!\d)|:\d\d)|上午|下午|晚上|中午|白天|随时"
    r"|上一单|[跟和同与]上次|老地址|老地方|\A同上\Z|(?:地址|信息)(?:保密|不详|未知|待定|略)|快[点些]?发|急用|[鞋尺衣]码|勿扰|\d(?:[kK][gG]|[mM][lL]|公?斤|克)[xX×*]\d|补?差价|接龙|群里|拼单|团购(?!网)|一?共\d+[件箱包袋]|发票|生日|不在家|无人(?!机|驾)|没人|家有|小孩|门铃|敲门|验货|拒收|包邮|客服(?![中部])"
    r"|货从|退货|换货|[红黄蓝绿黑白紫粉灰]色?\d+[件个条双]|(?:\A|[一-鿿]{2,})[xX×*]\d{1,2}[件个条双]?\Z|\A[\d一二两三四五六七八九十]+(?:件|箱|盒|瓶|包|袋|双|套|斤|公斤|元|块|岁|个|本|张|台|天)\Z|[运邮]费|总价|合计|(?<![\d一二三四五六七八九十百])(?:具体)?几号|忘(?:了|记)|不(?:知道|清楚|记得)|稍[后候]|回头|待补|[乘坐搭]\d+路|实付|付款|到付|代收货款|卸货|\A数量\d+|下单|\A(?:不要|不用|别[放送打按敲忘用发给])|\A(?:前台|本人)(?:代)?收\Z|\A(?:未知|不详|暂无|待定|没有|随便|无)\Z"
    r"|\A请|尽快|贵重|重要客户|(?:我们?)?(?:家|现)?(?:居?住)(?:在|于)|地址发|不要了|改一?下|\A改(?:成|为|到)(?=\Z|.{2,8}[省市区县])|\A亲+\Z|抬头|[红黄蓝绿黑白紫粉灰]色[A-Z\d]*(?:码.{0,3})?\Z|我是|我想|想买|请问|什么|怎么|(?:吗|呢|呀)\Z|昨天|今天|明天|不错|真好|吃了|多少钱|你好|您好|在吗|哈哈哈"
)
_NOTE_CHARACTER = re.compile(
    "[联系打致来短柜请勿别要用能务麻量快放送到自代签谢感辛轻易急发备作末假周点午晚白随单老同密详知待略票日在没无孩铃敲验拒邮客货退换件个条双箱盒瓶袋"
    "亲住址重费总合几忘知清稍回乘坐搭元岁本张台改抬色包套斤付我想问么吗呢呀昨今明错好吃少哈本休店暂便收:]"
    "(?<!单元)(?<!单(?=元))(?<!自(?=治))"
)
"""Each note has one of these; most addresses have none."""
_HOUSE = re.compile(r"\d(?:号(?![前后之以]|楼|线)|[栋幢弄]|单元)")
_NOT = re.compile("[不别勿]")
_PLACE = re.compile(r"[省市区县镇乡村路街巷弄号室楼栋幢层座元苑园店场厦城院馆所站局厂\d]")
_TO = re.compile(r"[到至往给在]{0,2}")


def cuts(text: str) -> Iterator[Cut]:
    """Yield what is no part of the address, in no order; stretches may touch but do not overlap."""
    taken: list[Cut] = []

    def take(what: What, start: int, end: int, value: tuple[int, int] | None = None) -> Cut | None:
        if any(start < cut.end and cut.start < end for cut in taken):
            return None
        taken.append(Cut(what, start, end, value or (start, end)))
        return taken[-1]

    if "<" in text or "&" in text or "://" in text:
        for match in _MARKUP.finditer(text):
            take("noise", *match.span())
    if not text.isascii():
        for match in _PICTURES.finditer(text):
            take("noise", *match.span())
    anchors = _numbers(text, take)
    for match in _NAMED.finditer(text) if ("人" in text or "名" in text) else ():
        take("name", *match.span(), match.span("v"))
    if ":" in text or "地址" in text:
        for match in _REMARK.finditer(text):
            take("noise", *match.span())
        for match in _LABEL.finditer(text):
            take("label", *match.span())
        for match in _HOURS.finditer(text):
            take("noise", *match.span())
        for match in _SPEAKER.finditer(text):
            if not _PLACE.search(match["v"]) and not any(d.level != "town" for d in divisions.find(match["v"])):
                take("noise", match.start("v"), match.end())
    if not _CODE_CHARACTERS.isdisjoint(text):
        for match in _CODE.finditer(text):
            take("noise", *match.span())
    for match in _CUT_OFF.finditer(text):
        take("noise", *match.span())
    if "直辖" in text or "辖区" in text or "市县" in text or "兵团" in text or " 县 " in text:
        for match in _HEADING.finditer(text):
            take("heading", *match.span())
    if not any(cut.what == "name" for cut in taken):
        if anchors:
            for start, end, behind in _names_beside(_blanked(text, taken), anchors):
                take("name", start, behind, (start, end))
        elif signed := _SIGNED.search(text):
            take("name", *signed.span(), signed.span("v") if signed["v"] else signed.span("w"))
    if _NOTE_CHARACTER.search(text):
        for start, end in _notes(text, taken):
            take("noise", start, end)
    yield from taken


def _numbers(text: str, take: Callable[..., Cut | None]) -> list[Cut]:
    """Take identity numbers, phones and post codes; return those that a name may stand beside."""
    anchors: list[Cut] = []
    if not _LONG_NUMBER.search(text):
        return anchors
    for what, pattern in (("id_number", _ID), ("phone", _PHONE)):
        found = [take(what, *match.span(), match.span("v")) for match in pattern.finditer(text)]
        anchors += [cut for cut in found if cut]
    for match in _LABELLED.finditer(text):
        if cut := take("phone", *match.span(), match.span("v")):
            anchors.append(cut)
    for match in _POSTCODE.finditer(text):
        take("postcode", *match.span(), match.span("a") if match["a"] else match.span("b"))
    return anchors


_TAKES = re.compile(r"[ (\[]*(?:亲?收|收件|签收)\Z")
_SEPARATORS = " ,;:-.()[]【】、。·|/\"'"


def _blanked(text: str, taken: list[Cut]) -> str:
    """Return the text with blanks in place of what was taken."""
    for cut in taken:
        text = text[: cut.start] + " " * (cut.end - cut.start) + text[cut.end :]
    return text


def _names_beside(text: str, anchors: list[Cut]) -> Iterator[tuple[int, int, int]]:
    """Yield start and end of the name beside each number, before it or else behind it, and where `(收)` ends."""
    for anchor in anchors:
        if name := _name_before(text, anchor.start) or _name_behind(text, anchor.end):
            yield name


def _name_before(text: str, end: int) -> tuple[int, int, int] | None:
    behind = end
    while end and text[end - 1] in _SEPARATORS:
        end -= 1
    if end and text[end - 1].isascii() and (latin := _LATIN_PERSON.search(text, 0, end)):
        return latin.start(), end, behind
    if takes := _TAKES.search(text, 0, end):
        end = takes.start()
    else:
        behind = end
    start = end
    while start and end - start < 7 and text[start - 1] not in _SEPARATORS:
        start -= 1
    if is_person(text[start:end]) or _sounds_like_name(text, start, end):
        return start, end, behind
    for size in (3, 2):  # `80号王测试138…`: glued to what stands before
        if end - size > 0 and text[end - size - 1] in "号室楼栋幢层座元组户队" and is_person(text[end - size : end]):
            return end - size, end, behind
    return None


def _sounds_like_name(text: str, start: int, end: int) -> bool:
    """Return whether a word between blanks right before a phone may be a name: 扎西, 完德 have no surname."""
    return (
        text[start - 1 : start] == " "
        and _WORD_BEFORE_PHONE.fullmatch(text, start, end) is not None
        and text[end - 1] not in _PLACE_END
        and not any(d.level in ("prov", "city", "district") for d in divisions.find(text[start:end]))
    )


def _name_behind(text: str, start: int) -> tuple[int, int, int] | None:
    while start < len(text) and text[start] in _SEPARATORS:
        start += 1
    end = start
    while end < len(text) and end - start < 7 and text[end] not in _SEPARATORS:
        end += 1
    return (start, end, end) if is_person(text[start:end]) else None


def is_surname(text: str) -> bool:
    """Return whether a character is a surname."""
    return len(text) == 1 and text in _SURNAMES


def is_person(text: str) -> bool:
    """Return whether a word that stands alone is a person's name rather than a place's."""
    if _TITLED.match(text):
        return True
    if "*" in text:
        return bool(_PERSON.match(text))
    if not 2 <= len(text) <= 4 or text[-1] in _PLACE_END or not _PERSON.match(text):
        return False
    return not divisions.find(text)


def _notes(text: str, taken: list[Cut]) -> Iterator[tuple[int, int]]:
    """Yield words to the courier and talk, segment by segment."""
    for segment in _SEGMENT.finditer(text):
        for start, end in _between(*segment.span(), taken):
            if talk.revokes(text, start, end):
                continue
            note = _NOTE.search(text[start:end])
            if note is None:
                yield from talk.around(text, start, end)
                continue
            at = start + note.start()
            if _names_division(text[start + note.end() : end]):  # 请寄到浙江省…
                if not _NOT.search(note[0]):  # 不要寄到浙江省… is left for the shopper
                    after = _TO.match(text, start + note.end(), end).end()  # type: ignore[union-attr]
                    yield at, after
                    yield from talk.around(text, after, end)
            elif not _HOUSE.search(text, at + len(note[0]), end):  # 送到5号 is more than a note
                if _PLACE.search(text[start:at]):
                    yield from talk.around(text, start, at)
                    yield at, end
                else:
                    yield start, end


def _between(start: int, end: int, taken: list[Cut]) -> Iterator[tuple[int, int]]:
    """Yield what is left of a stretch between what was taken."""
    for cut in sorted(taken, key=lambda cut: cut.start):
        if start < cut.end and cut.start < end:
            if start < cut.start:
                yield start, cut.start
            start = cut.end
    if start < end:
        yield start, end


def _names_division(text: str) -> bool:
    """Return whether a division is written out in a text."""
    return len(text) > 5 and any(
        d.name == text[match.start : match.end] and d.level in ("prov", "city", "district")
        for match in divisions.scan(text)
        for d in match.divisions
    )
