"""
From a text and the tagger's components to a verdict a checkout can act on.

Divisions come from the gazetteer, segmentation from the tagger. Nothing is CONFIRMED that the gazetteer does not hold,
and ACCEPT means: one address, one chain of divisions that everything written agrees with, and a place on it.

    reading = read(request)                                   what is no address is set aside
    components = tagger.predict([reading.canonical.text])     unless it is empty
    validate(reading, components)
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from addrmesh.address import admin, divisions, latin, premise, scope, talk
from addrmesh.address.admin import Resolution, Role
from addrmesh.address.borders import mended
from addrmesh.address.divisions import Division
from addrmesh.address.issues import issue
from addrmesh.address.mentions import AREAS, MUNICIPALITIES, OVERSEAS, PLACES, PROVINCE_LETTERS, Mention, has_districts
from addrmesh.address.mentions import mentions as find_mentions
from addrmesh.address.postcode import province_of
from addrmesh.address.premise import Part
from addrmesh.address.reading import Reading
from addrmesh.address.receiver import is_person, is_surname
from addrmesh.address.romanize import romanized
from addrmesh.address.types import Component
from addrmesh.address.verdict import (
    GRANULARITIES,
    ORDER,
    Action,
    Address,
    Candidate,
    DecisionRule,
    Granularity,
    Issue,
    Language,
    Receiver,
    Result,
    ResultComponent,
    Severity,
    Source,
    Spans,
    Verdict,
    decide,
    default_rule,
)

_LEVELS: dict[str, Granularity] = {"prov": "PROVINCE", "city": "CITY", "district": "DISTRICT", "devzone": "DISTRICT"}
_SOURCES: dict[str, tuple[int, Source]] = {
    "same": (0, "INPUT"), "alias": (1, "NORMALIZED"), "corrected": (2, "SPELL_CORRECTED"), "outdated": (3, "REPLACED"),
}  # fmt: skip
"""What a role makes of a component, the closest to the input first."""

_NAMES = {
    "zh-CN": {"prov": "省级", "city": "地级", "district": "区县", "town": "乡镇街道"},
    "en": {"prov": "province", "city": "city", "district": "district", "town": "town"},
}


def validate(
    reading: Reading, components: Sequence[Component], *, rule: DecisionRule | None = None, floor: Action = "ACCEPT"
) -> Result:
    """
    Judge one address.

    Args:
        reading: What `read` made of the request.
        components: What the tagger found in `reading.canonical.text`.
        rule: The decision rule; None for the package's own.
        floor: The mildest action to give.
    """
    result = _Case(reading, components).result(rule or default_rule(), floor)
    return romanized(result) if reading.request.options.romanize else result


def validate_without_engine(reading: Reading, *, rule: DecisionRule | None = None) -> Result:
    """Judge one address by gazetteer and rules alone; the answer is never better than CONFIRM."""
    from addrmesh.address.rules import components

    return validate(reading, components(reading.canonical.text), rule=rule, floor="CONFIRM")


@dataclass(slots=True)
class _Case:
    """One address on its way to a verdict."""

    reading: Reading
    components: Sequence[Component]
    issues: list[Issue] = field(default_factory=list)
    unresolved: list[str] = field(default_factory=list)

    @property
    def language(self) -> Language:
        return self.reading.request.language_code

    def report(
        self,
        code: str,
        about: str = "",
        severity: Severity | None = None,
        component: str | None = None,
        suggestion: dict[str, str] | None = None,
        effective: str | None = None,
    ) -> None:
        """Note an issue, once for each part it is about."""
        found = issue(code, self.language, about, severity, component, suggestion, effective)
        if found not in self.issues:
            self.issues.append(found)

    def result(self, rule: DecisionRule, floor: Action) -> Result:
        """Return the answer."""
        reading = self.reading
        text = reading.canonical.text
        pure_latin = scope.is_latin(text)
        streets = [] if pure_latin else latin.streets(text)
        # The tagger knows no English.
        components = latin.parts(text) if pure_latin else self.components
        if any(c.type != "poi" for c in streets) or (not pure_latin and _ENGLISH.search(text)):
            self.report("TRANSLITERATED")
        components = _unsigned(text, mended(text, components, streets))
        first, several = scope.first_address(text, components)
        mentions = find_mentions(text, first)
        resolution = admin.resolve(mentions, self._hint())
        parts, dropped = premise.parts(text, first, mentions)
        if scope.is_foreign(reading.request.address, text, resolution, mentions):
            self.report("REGION_UNSUPPORTED")
            return self._nothing(rule, floor)
        if not scope.is_address(text, mentions, parts):
            self.report("NOT_AN_ADDRESS")
            return self._nothing(rule, floor)
        if several:
            self.report("MULTIPLE_ADDRESSES")
        receiver = reading.receiver
        left = _left(text, components, mentions)
        if receiver is None or receiver.name is None:
            receiver, left = self._late_name(text, left, receiver)
        answered = self._divisions(mentions, resolution)
        judged = premise.judge(parts, _deepest(answered), latin=pure_latin)
        self._structure(resolution, mentions, judged)
        said = [
            (at, end)
            for at, end in left
            if scope.HAN.search(t := text[at:end]) and t not in _JOINTS and (at or t not in _ENDS)
        ]
        aside = [
            t
            for at, end in said
            if _is_talk(text, at, end) and (t := text[at:end]) not in PROVINCE_LETTERS and not _DOUBT.search(t)
        ]
        tokens = [t for at, end in said if (t := text[at:end]) not in aside]
        doubts = [p.text for p in parts if _is_doubtful(text, p)]
        self.unresolved += [*dropped, *tokens, *doubts]
        if aside and not self.unresolved:
            self.report("UNRESOLVED_TOKENS", "、".join(aside), "info")
        self.unresolved += aside
        if len(self.unresolved) > len(aside):
            # One name that is not known against one that is: nothing decides.
            unknown = any(
                r.kind == "unknown" and m.type in PLACES and not _is_beyond(m, resolution)
                for m, r in zip(mentions, resolution.roles, strict=True)
            )
            alone = unknown and len([r for r in resolution.roles if r.division is not None]) < 2
            self.report("UNRESOLVED_TOKENS", "、".join(self.unresolved), "error" if alone else "warning")
        self._form(mentions, parts)
        self._postcode(resolution)
        below = [self._part(p) for p in parts]
        return self._answer(answered, below, resolution, mentions, judged, receiver, rule, floor)

    # -- what it is

    def _hint(self) -> Division | None:
        hint = self.reading.request.region_hint
        found = divisions.by_code(hint.adcode) if hint else None
        return found if found and found.in_force else None

    def _late_name(
        self, text: str, left: list[tuple[int, int]], receiver: Receiver | None
    ) -> tuple[Receiver | None, list[tuple[int, int]]]:
        """Take a name that no component claims and that stands alone at either end."""
        for stretch in left:
            start, end = stretch
            end -= text[start:end].endswith("收")
            if (stretch[1] == len(text) or start == 0) and (is_person(text[start:end]) or is_surname(text[start:end])):
                rest = [s for s in left if s != stretch]
                self.report("CONTACT_REMOVED")
                if not self.reading.request.options.extract_receiver:
                    return None, rest
                held = receiver or Receiver()
                spans = Spans(self.reading.canonical.span(start, end), held.spans.phone, held.spans.id_number)
                return Receiver(text[start:end], held.phone, held.id_number, spans), rest
        return receiver, left

    # -- divisions

    def _divisions(self, mentions: Sequence[Mention], resolution: Resolution) -> list[ResultComponent]:
        """Return the divisions of the answer, and report what was done to what was written."""
        written: dict[int, tuple[int, Mention, Source]] = {}  # of each division, the mention closest to it
        for mention, role in zip(mentions, resolution.roles, strict=True):
            if role.kind != "same" or mention.latin or mention.is_zone:
                self._report_role(mention, role, resolution)
            if role.division is not None and role.kind in _SOURCES:
                rank, source = _SOURCES[role.kind]
                row = role.division.row
                if row not in written or rank < written[row][0]:
                    written[row] = rank, mention, source
        if resolution.state == "conflict":
            about = [m.text for m, r in zip(mentions, resolution.roles, strict=True) if r.kind == "against"]
            self.report("ADMIN_CONFLICT", "、".join(about or [m.text for m in mentions]), "error")
        if resolution.state == "ambiguous":
            self.report("ADMIN_AMBIGUOUS", "、".join(m.text for m in mentions if m.divisions and not m.is_zone))
        chain = [*resolution.path, *([resolution.town] if resolution.town else [])]
        if resolution.town and resolution.path[-1].level == "district" and admin.under_zone(resolution.town):
            # Which district it is in is the caller's word alone.
            self.report("ADMIN_FUNCTIONAL_ZONE", divisions.path(resolution.town)[-2].name, "warning", "town")
        answered = [self._division(d, written.get(d.row)) for d in chain if d.level != "devzone"]
        inferred = [c for c in answered if c.source == "INFERRED"]
        severity: Severity = "warning" if resolution.weak else "info"
        for component in inferred:
            self.report("ADMIN_INFERRED", component.text, severity, component.type)
        if resolution.weak and not inferred:
            self.report("ADMIN_INFERRED", answered[-1].text, "warning", answered[-1].type)
        return answered

    def _report_role(self, mention: Mention, role: Role, resolution: Resolution) -> None:
        level = role.division.level if role.division else mention.type
        if mention.latin:
            self.report("TRANSLITERATED")
        elif role.kind == "alias" and role.division and not role.division.name.endswith(mention.text):
            self.report("ADMIN_ALIAS", f"{mention.text} → {role.division.name}", None, level)
        if role.kind == "corrected" and role.division:
            new = {level: role.division.name}
            self.report("SPELL_CORRECTED", f"{mention.text} → {role.division.name}", None, level, new)
        elif role.kind == "outdated":
            self._report_outdated(mention, role, resolution)
        elif role.kind == "against" and resolution.state == "resolved":
            self.report("ADMIN_CONFLICT", mention.text, "warning", mention.type)
        elif role.kind == "unknown" and resolution.state == "resolved" and not _is_area(mention, resolution):
            self.unresolved.append(mention.text)
        elif role.kind == "zone":
            division = resolution.division
            known = division is not None and (division.level == "district" or resolution.town is not None)
            self.report("ADMIN_FUNCTIONAL_ZONE", mention.text, "info" if known else "warning", "devzone")
        elif role.division and role.division.level == "devzone":
            written = [r.division for r in resolution.roles if r.division is not None]
            known = resolution.town is not None or any(
                d.level == "district" and (d in written or mention.text.startswith(d.name)) for d in resolution.path
            )
            self.report("ADMIN_FUNCTIONAL_ZONE", mention.text, "info" if known else "warning", "devzone")

    def _report_outdated(self, mention: Mention, role: Role, resolution: Resolution) -> None:
        former, now = role.former, role.division
        if former is None or now is None:
            if former is not None and not former.in_force:
                self.report("ADMIN_OUTDATED", former.name, None, former.level, None, former.valid_to)
            elif now is not None:  # 下沙镇, by its name: towns have no record
                self.report("ADMIN_OUTDATED", f"{mention.text} → {now.name}", None, now.level, {now.level: now.name})
            return
        old, new, since = former.name, now.name, former.valid_to or now.valid_from
        if former.in_force and former.level != "district" and resolution.division:
            # What lay in it once lies elsewhere now.
            now = resolution.division
            old, new, since = f"{former.name}{now.name}", "".join(d.name for d in resolution.path), now.valid_from
        suggestion = {now.level: now.name} | ({"adcode": now.code} if now.code else {})
        self.report("ADMIN_OUTDATED", f"{old} → {new}", None, former.level, suggestion, since)

    def _division(self, division: Division, best: tuple[int, Mention, Source] | None) -> ResultComponent:
        if best is None:
            return ResultComponent(
                division.level, division.name, None, "INFERRED", "CONFIRMED", 1.0, division.code, None
            )
        _, mention, source = best
        span, written = self._written(mention.start, mention.end)
        return ResultComponent(
            division.level, division.name, written, source,
            "CONFIRMED", round(mention.confidence, 4), division.code, span,
        )  # fmt: skip

    def _written(self, start: int, end: int) -> tuple[tuple[int, int], str]:
        """Return where a stretch of the tagged text stands in the caller's, and what is written there."""
        span = first, last = self.reading.canonical.span(start, end)
        return span, self.reading.text[first:last]

    # -- below

    def _structure(self, resolution: Resolution, mentions: Sequence[Mention], found: premise.Premise) -> None:
        """Report what is missing."""
        division = resolution.division
        if resolution.state in ("resolved", "none") and (missing := _missing_level(division)):
            zone = any(m.is_zone for m in mentions)
            beyond = any(
                r.kind == "unknown"
                and not _is_area(m, resolution)
                and (m.type in PLACES or (division is not None and division.code in OVERSEAS))
                and _is_beyond(m, resolution)
                for m, r in zip(mentions, resolution.roles, strict=True)
            )
            if not beyond and not (zone and division and division.level == "city"):
                # In Hong Kong many leave the district out, and street and area tell it.
                severity: Severity | None = "warning" if division and division.code == "810000" else None
                self.report("ADMIN_MISSING", _NAMES[self.language][missing], severity, missing)
        asked = self.reading.request.options.min_granularity
        enough = GRANULARITIES.index(found.granularity) >= GRANULARITIES.index(asked)
        wanted = GRANULARITIES.index(asked)
        if wanted >= GRANULARITIES.index("ROUTE") and found.road_missing:
            self.report("ROAD_MISSING", component="road")
        elif not enough and wanted >= GRANULARITIES.index("PREMISE"):
            if found.granularity == "PREMISE":
                self.report("SUBPREMISE_MISSING", severity="error", component="roomno")
            else:
                self.report("PREMISE_MISSING", severity="error", component="roadno")
        elif not enough:
            self.report("ROAD_MISSING", component="road")
        if found.vague:
            self.report("PREMISE_MISSING", severity="warning", component="roadno")

    def _form(self, mentions: Sequence[Mention], parts: Sequence[Part]) -> None:
        """Report how it was written."""
        reading = self.reading
        if _is_reordered(mentions, parts):
            self.report("REORDERED")
        if repeated := _repeated(mentions):
            self.report("ADMIN_REPEATED", "、".join(repeated))
        script, width = reading.converted
        if script:
            self.report("SCRIPT_CONVERTED")
        if width:
            self.report("WIDTH_NORMALIZED")
        if scope.is_latin(reading.canonical.text):
            self.report("TRANSLITERATED")
        self._removed()

    def _removed(self) -> None:
        if self.reading.contact_removed:
            self.report("CONTACT_REMOVED")
        if self.reading.noise_removed:
            self.report("NOISE_REMOVED")

    def _postcode(self, resolution: Resolution) -> None:
        code, path = self.reading.postcode, resolution.path
        meant = province_of(code) if code else None
        if meant and path and path[0].code and meant != path[0].code[:2]:
            province = divisions.by_code(f"{meant}0000")
            self.report("POSTCODE_MISMATCH", province.name if province else "", None, None)

    def _part(self, part: Part) -> ResultComponent:
        span, written = self._written(part.start, part.end)
        source: Source = "INPUT" if written == part.text else "NORMALIZED"
        return ResultComponent(
            part.type, part.text, written, source, "UNCONFIRMED_BUT_PLAUSIBLE", round(part.confidence, 4), None, span
        )

    # -- the answer

    def _nothing(self, rule: DecisionRule, floor: Action) -> Result:
        """Return the answer to what is no address here."""
        self._removed()
        action = decide(self.issues, rule, floor)
        verdict = Verdict(action, "NONE", "NONE", False, False, False, False, False, False, 0.0)
        return Result(verdict, Address("", None, None, [], [], []), self.reading.receiver, self.issues, [])

    def _answer(
        self,
        answered: list[ResultComponent],
        below: list[ResultComponent],
        resolution: Resolution,
        mentions: Sequence[Mention],
        judged: premise.Premise,
        receiver: Receiver | None,
        rule: DecisionRule,
        floor: Action,
    ) -> Result:
        decided = resolution.state == "resolved"
        components = self._styled(answered)
        if decided:
            roles = list(zip(mentions, resolution.roles, strict=True))
            kept = [m for m, r in roles if r.kind == "unknown" and _is_beyond(m, resolution)]
            zones = [m for m, r in roles if m.is_zone and r.kind != "corrected"]
            components = [
                *components,
                *(self._named(m, "community" if _is_area(m, resolution) else m.type) for m in kept),
                *(self._named(m, "devzone") for m in zones),
            ]
        reordered = any(i.code == "REORDERED" for i in self.issues)
        components = components + (sorted(below, key=lambda c: ORDER[c.type]) if reordered else below)
        deepest = _deepest(answered)
        sources = {c.source for c in components}
        coded = [c for c in answered if decided and c.code and len(c.code) == 6]
        towns = [c.code for c in answered if c.type == "town"]
        missing = [
            i.component for i in self.issues if i.severity == "error" and i.component and i.code.endswith("_MISSING")
        ]
        verdict = Verdict(
            decide(self.issues, rule, floor),
            judged.granularity,
            deepest,
            not missing and decided,
            "INFERRED" in sources,
            "REPLACED" in sources,
            "SPELL_CORRECTED" in sources,
            any(c.confirmation_level != "CONFIRMED" for c in components),
            bool(self.unresolved),
            min([c.confidence for c in components], default=0.0),
        )
        address = Address(
            _formatted(components), coded[-1].code if coded else None, towns[0] if towns else None,
            components, missing, self.unresolved,
        )  # fmt: skip
        candidates = [_candidate(d) for d in resolution.candidates[: max(self.reading.request.options.candidates, 0)]]
        return Result(verdict, address, receiver, self.issues, candidates)

    def _styled(self, answered: list[ResultComponent]) -> list[ResultComponent]:
        """Return the divisions with a city where the style asks for one: a municipality is its own."""
        if not answered:
            return answered
        province, rest = answered[0], answered[1:]
        if province.code in MUNICIPALITIES:
            return [province, replace(province, type="city"), *rest]
        ecommerce = self.reading.request.options.admin_style == "ecommerce"
        if ecommerce and province.code not in OVERSEAS and rest and rest[0].type == "district":
            heading = f"{province.text[-3:] if province.text.endswith('自治区') else '省'}直辖县级行政区划"
            city = ResultComponent("city", heading, None, "INFERRED", "UNCONFIRMED_BUT_PLAUSIBLE", 1.0, None, None)
            return [province, city, *rest]
        return answered

    def _named(self, mention: Mention, kind: str) -> ResultComponent:
        known = next((d for d in mention.divisions if d.level == kind), None)
        span, written = self._written(mention.start, mention.end)
        return ResultComponent(
            kind, mention.text, written, "INPUT" if written == mention.text else "NORMALIZED",
            "CONFIRMED" if known else "UNCONFIRMED_BUT_PLAUSIBLE", round(mention.confidence, 4),
            known.code if known else None, span,
        )  # fmt: skip


_ENGLISH = re.compile(
    r"(?i)\b(?:room|rm|flat|road|rd|street|avenue|ave|floor|bldg|district|building|plaza|mansion|tower|cent(?:re|er)|court|garden|estate)\b|[a-z]{4,}(?=[路街道巷镇村])"
)
_SURE = 0.7
_JOINTS = frozenset((*"与和的在附增办及至之第内里旁侧处到近收转", "位于", "中国", "全层", "整层"))
_ENDS = frozenset("省市区县")  # at the very start: of a name that was cut off
_LOOSE = re.compile(r"[^\s,;.:!?。、()\[\]【】「」『』《》|/\-—~*#\"'…]+")


def _unsigned(text: str, components: Sequence[Component]) -> Sequence[Component]:
    """Return the components without a last one that the tagger took for a building and that reads as a name."""
    if not components:
        return components
    kind, start, end, confidence = components[-1]
    alone = end == len(text) and text[start - 1 : start] in (" ", ",", ";")
    if kind in ("poi", "subpoi") and alone and confidence < _SURE and is_person(text[start:end]):
        return components[:-1]
    return components


def _left(text: str, components: Sequence[Component], mentions: Sequence[Mention]) -> list[tuple[int, int]]:
    """Return the stretches of text that no component covers."""
    left: list[tuple[int, int]] = []
    at = 0
    spans = [(c.start, c.end) for c in components]
    if any(m.latin or m.type not in PLACES for m in mentions):
        spans = sorted(spans + [(m.start, m.end) for m in mentions])
    for start, end in spans:
        if start > at:
            left.append((at, start))
        at = max(at, end)
    if at < len(text):
        left.append((at, len(text)))
    return [(a + m.start(), a + m.end()) for a, b in left for m in _LOOSE.finditer(text[a:b])]


_TALK = re.compile(
    r"[^省市区县州盟旗镇乡村屯庄寨堡营路街道巷弄里坊号栋幢楼座层室户苑园院城厦宅库仓场店铺站桥门口岸湾沟坡岭山河湖馆所厂校港塘\W\dA-Za-z]+\Z"
)
_TWO_NUMBERS = re.compile(r"(?<!\d)\d+号\d+号\Z")
_DOUBT = re.compile(
    "[不别勿非改换错旧原或待问未没无何哪忘假误拆变迁废停暂搬]|大[概约]|可能|也许|好像|应该|具体|以前|之前|后面|微信|再说|确认|失效|临时|乱写|随便"
    "|国外|退回|通知"
)


def _is_doubtful(text: str, part: Part) -> bool:
    """Return whether a part is none, takes the address back, is cut off or is a second number of its kind."""
    if part.type == "cellno" and part.text.endswith("单"):
        return True
    if part.type == "houseno" and part.text.endswith("号") and _TWO_NUMBERS.search(text, 0, part.end):
        return not text[part.end : part.end + 1].isalnum()
    if part.type in ("poi", "subpoi") and talk.revokes(part.text):
        return True
    return premise.is_veiled(part) or (_DOUBT.search(part.text) is not None and _is_talk(text, part.start, part.end))


def _is_talk(text: str, start: int, end: int) -> bool:
    """Return whether a stretch that stands alone has no word that places have."""
    alone = not (text[start - 1 : start].isalnum() or text[end : end + 1].isalnum())
    return alone and _TALK.match(text, start, end) is not None


def _is_beyond(mention: Mention, resolution: Resolution) -> bool:
    """Return whether a name that is not known stands below all that the gazetteer holds there."""
    division = resolution.division
    if division is not None and division.code in ("810000", "820000"):
        return not mention.divisions
    if mention.type == "town":
        return division is not None and resolution.town is None
    return mention.type == "district" and division is not None and division.level == "city" and division.code is None


def _is_area(mention: Mention, resolution: Resolution) -> bool:
    """Return whether a name is one of Hong Kong's areas; that the district is left out is said of such an address."""
    division = resolution.division
    return division is not None and division.code == "810000" and mention.text in AREAS


def _missing_level(division: Division | None) -> str | None:
    """Return the level that an address needs and does not have."""
    if division is None or (division.level == "prov" and division.code != "820000"):
        return "district"
    return "district" if division.level == "city" and (division.code is None or has_districts(division)) else None


def _deepest(answered: Sequence[ResultComponent]) -> Granularity:
    if not answered:
        return "NONE"
    return "TOWN" if answered[-1].type == "town" else _LEVELS[answered[-1].type]


def _is_reordered(mentions: Sequence[Mention], parts: Sequence[Part]) -> bool:
    """Return whether divisions stand behind finer ones or behind what lies in them; a second round is no disorder."""
    if not mentions:
        return False
    if not parts or parts[0].start > mentions[-1].start:  # nothing below a division stands before one
        ranks = [ORDER[m.type] for m in mentions]
        if ranks == sorted(ranks):
            return False
    last = {m.divisions[0].row if m.divisions else m.text: m for m in mentions}
    rounds = sorted(last.values(), key=lambda m: m.start)
    if any(part.start < rounds[-1].start for part in parts if part.type != "devzone"):
        return True
    ranks = [ORDER[m.type] for m in rounds]
    return ranks != sorted(ranks)


def _repeated(mentions: Sequence[Mention]) -> list[str]:
    """Return what stands more than once; a municipality may stand twice, as province and as city."""
    seen: dict[int, int] = {}
    repeated: list[str] = []
    for mention in mentions:
        if mention.divisions:
            first = mention.divisions[0]
            seen[first.row] = seen.get(first.row, 0) + 1
            if seen[first.row] > (2 if first.code in MUNICIPALITIES else 1) and mention.text not in repeated:
                repeated.append(mention.text)
    return repeated


def _formatted(components: Iterable[ResultComponent]) -> str:
    """Return the address in one line; a municipality's name stands once."""
    words: list[str] = []
    for component in components:
        if words and component.type == "city" and words[-1] == component.text:
            continue
        if words and words[-1][-1:].isascii() and component.text[:1].isascii():
            words.append(" " if words[-1][-1].isalpha() and component.text[0].isalpha() else "-")
        words.append(component.text)
    return "".join(words)


def _candidate(division: Division) -> Candidate:
    path = {d.level: d.name for d in divisions.path(division)}
    province = path.get("prov", "")
    city = province if divisions.path(division)[0].code in MUNICIPALITIES else path.get("city")
    code = division.code or divisions.path(division)[0].code
    return Candidate(code, province, city, path.get("district"), "".join(dict.fromkeys(path.values())))
