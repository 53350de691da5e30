"""
Which divisions an address means: from the names in it to one chain of divisions in force, or to why there is none.

Every name votes for the divisions that bear it or came from what bore it. A chain is believed when more names agree
with it than with any other; what disagrees is outvoted by two or more, and stays open against one. Two chains that the
same names fit are ambiguous, however likely one of them is. Nothing is guessed between two equally near spellings.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from addrmesh.address import divisions, spelling
from addrmesh.address.divisions import Division
from addrmesh.address.mentions import (
    AREAS,
    OVERSEAS,
    PLACES,
    SIDES,
    TOWN,
    ZONE,
    Mention,
    Rows,
    below,
    has_districts,
    heirs,
    in_han,
    replaced_by,
    town_in,
)

Kind = Literal["same", "alias", "outdated", "corrected", "against", "unknown", "zone"]


class Role(msgspec.Struct, frozen=True, gc=False):
    """What a mention turned out to be."""

    kind: Kind
    division: Division | None = None
    """In force, of the answered chain; None for what is in none."""
    former: Division | None = None
    """What the name stood for, where that is no more, or no more there."""


class Resolution(msgspec.Struct, frozen=True, gc=False):
    """The divisions of an address."""

    state: Literal["resolved", "ambiguous", "conflict", "none"]
    path: tuple[Division, ...] = ()
    """
    In force, from the province down to what the county level is; without the town. Where nothing is decided, as far
    down as the text names what all that it may mean share.
    """
    town: Division | None = None
    roles: tuple[Role, ...] = ()
    """One for each mention."""
    candidates: tuple[Division, ...] = ()
    weak: bool = False
    """Whether it rests on a hint, on a town alone or on a short name alone."""

    @property
    def division(self) -> Division | None:
        """The deepest division at county level or above."""
        return self.path[-1] if self.path else None


_TOWN_PLACE = 9
_LONG_AGO = "2000"


class _Chain(msgspec.Struct, frozen=True, gc=False):
    """How well the mentions fit one division."""

    target: Division
    path: tuple[Division, ...]
    town: Division | None
    sides: dict[int, tuple[int, Division | None]]
    """Of each agreeing mention: its place in the path or `_TOWN_PLACE`, and what it stood for if that is no more."""
    votes: set[object]
    """What agrees; the same thing written twice counts once."""
    direct: int
    """How many agree with what they stand for now."""
    full: int
    """How many of the agreeing names are written out."""

    said_as: Literal["current", "former"] | None
    """Whether the division itself is named, and how."""


def resolve(found: Sequence[Mention], hint: Division | None = None) -> Resolution:
    """
    Return the divisions that the mentions mean.

    Args:
        found: What `mentions` returned.
        hint: Where the caller expects the address; decides between chains that the text fits equally well.
    """
    voters = [i for i, m in enumerate(found) if m.divisions or (m.type == "town" and TOWN.search(m.text))]
    if not any(found[i].divisions for i in voters):
        return _without_names(found, hint)
    agree, chains = _current_chains(found, voters)
    if not chains or (hint is not None and not any(divisions.is_within(c.target, hint) for c in chains)):
        agree = {i: dict(found[i].rows) for i in voters}
        chains = _all_chains(found, agree)
    only_towns = not any(agree.values())
    if not chains:
        return _without_chain(found, agree, hint)
    most = max(len(c.votes) for c in chains)
    best = [c for c in chains if len(c.votes) == most]
    weak = only_towns
    if len(best) > 1:
        better = best if only_towns else _preferred(best, found)
        hinted = [c for c in best if hint is not None and divisions.is_within(c.target, hint)]
        if hinted and not any(c in hinted for c in better):
            better, weak = hinted, True  # 江北区 was in 重庆 too
        best = better
    if len(best) > 1 and hint is not None:
        inside = [c for c in best if divisions.is_within(c.target, hint)]
        if inside and len(inside) < len(best):
            best, weak = inside, len(inside) == 1
    if len(best) > 1:
        if len({frozenset(c.sides) for c in best}) > 1:
            return _open("conflict", found, agree, best, best)
        if only_towns:
            return _without_chain(found, agree, hint)
        return _open("ambiguous", found, agree, best, best[:1])
    chain = best[0]
    if len(chain.sides) < len(agree):
        against = agree.keys() - chain.sides.keys()
        for rival in chains:
            if not against.isdisjoint(rival.sides):
                ours, theirs = chain.votes - rival.votes, rival.votes - chain.votes
                if len(ours) < 2 or len(ours) <= len(theirs) or len(theirs) > 1:
                    return _open("conflict", found, agree, [chain, rival], [chain, rival])
    if chain.target.level == "district" and chain.town is None:
        name = found[next(iter(agree))]
        vague = len(agree) == 1 and not name.latin and (not chain.full or name.text in SIDES)
        weak = weak or vague or _had_namesake(found, chain)
    resolution = _finish(found, chain, agree, weak=weak)
    return _with_hint(resolution, hint) if hint is not None else resolution


def _with_hint(resolution: Resolution, hint: Division) -> Resolution:
    """Return a resolution whose every name is known and that leaves the district out with the one that is hinted."""
    last = resolution.path[-1]
    known = all(role.division is not None for role in resolution.roles)
    if known and last.level != "district" and hint.level == "district" and divisions.is_within(hint, last):
        return replace(resolution, path=divisions.path(hint), weak=True)
    return resolution


def _had_namesake(found: Sequence[Mention], chain: _Chain) -> bool:
    """Return whether the name meant another district not long ago, that all else fits as well: many still write it."""
    last = len(chain.path) - 1
    above = [chain.path[place] for place, _ in chain.sides.values() if place < last]
    return any(
        division.level == "district"
        and (division.valid_to or "") >= _LONG_AGO
        and chain.target not in heirs(division)
        and all(divisions.is_within(division, upper) for upper in above)
        for i, side in chain.sides.items()
        if side == (last, None)
        for division in found[i].divisions
    )


def _current_chains(found: Sequence[Mention], voters: Sequence[int]) -> tuple[dict[int, Rows], list[_Chain]]:
    """Return the chains of the last division named, if all names agree with one of them as things are now."""
    agree: dict[int, Rows] = {}
    for i in voters:
        rows = found[i].now
        if rows is None:
            return {}, []
        agree[i] = rows
    for i in reversed(voters):
        if agree[i]:
            chains = [_chain(d, found, agree) for d, _ in agree[i].values()]
            return agree, chains if any(c.direct == len(agree) and c.said_as for c in chains) else []
    return agree, []


def _all_chains(found: Sequence[Mention], agree: dict[int, Rows]) -> list[_Chain]:
    """Return the chains of everything that any mention may mean, now or once."""
    targets = {row: d for rows in agree.values() for row, (d, _) in rows.items()}
    _add_former_parents(found, agree)
    chains = [_chain(d, found, agree) for d in targets.values()]
    towns = [i for i, rows in agree.items() if not rows]
    if any(not any(i in c.sides for c in chains if c.said_as) for i in towns):
        more = _by_town(found, agree, towns, targets)
        chains = [_chain(d, found, agree) for d in (*targets.values(), *more)]
    said = [c for c in chains if c.town or c.said_as]
    orphans = set(agree).difference(*(c.sides for c in said))
    return said + [c for c in chains if not (c.town or c.said_as) and not orphans.isdisjoint(c.sides)]


def _add_former_parents(found: Sequence[Mention], agree: dict[int, Rows]) -> None:
    """Let what a division lay in once agree with its heirs: 资阳市 with 简阳市, which is in 成都市 now."""
    for i, rows in agree.items():
        for former in found[i].divisions:
            if former.in_force or former.level != "district":
                continue
            for j, others in agree.items():
                above = [d for d in found[j].divisions if d.level in PLACES[:2] and divisions.is_within(former, d)]
                if j != i and above:
                    for heir in heirs(former):
                        if heir.row in rows:
                            others.setdefault(heir.row, (heir, above[0]))


def _chain(target: Division, found: Sequence[Mention], agree: dict[int, Rows]) -> _Chain:
    path = divisions.path(target)
    sides: dict[int, tuple[int, Division | None]] = {}
    votes: set[object] = set()
    direct = full = 0
    town: Division | None = None
    said_as: Literal["current", "former"] | None = None
    taken: set[int] = set()
    for i, rows in agree.items():
        text = found[i].text
        best: tuple[bool, bool, int] | None = None
        for at, division in enumerate(path):
            if division.row in rows:
                place, former = _place(path, at, rows[division.row][1])
                rank = place in taken, former is not None, place
                if best is None or rank < best:
                    best, side = rank, (place, former)
        if best is not None:
            place, former = side
            taken.add(place)
            sides[i] = side
            if place == len(path) - 1 and said_as != "current":
                said_as = "current" if former is None else "former"
            votes.add((former.row, text) if former else path[place].row)
            direct += former is None
            full += text == (former or path[place]).name
        elif not rows or text[-1] == "区" or found[i].divisions[-1].level == "town":
            named = any((target, None) == some.get(target.row) for some in agree.values())
            here = _town(target, found[i], named=named)
            if here is not None and (town is None or here.row == town.row):
                town = here
                sides[i] = (_TOWN_PLACE, None)
                votes.add(here.row)
                direct += 1
                full += here.name == text
    return _Chain(target, path, town, sides, votes, direct, full, said_as)


def _town(target: Division, mention: Mention, *, named: bool) -> Division | None:
    """Return the town of a division, itself `named` or not, that a name means."""
    if target.code is not None:
        for division in mention.divisions:
            if division.parent == target.code and division.level == "town":
                return division
    return (
        town_in(target, mention.text) or _as_town(target, mention) or (_zone_town(target, mention) if named else None)
    )


def _as_town(target: Division, mention: Mention) -> Division | None:
    """Return the street office that a district of a city without districts is: 东莞市南城区."""
    if mention.text[-1] != "区" or target.level != "city" or target.code is None or has_districts(target):
        return None
    return town_in(target, mention.text[:-1] + "街道")


def _zone_town(target: Division, mention: Mention) -> Division | None:
    """Return the town that a zone of the district's city administers: the tables list 峨桥镇 there, not in 弋江区."""
    if target.level != "district":
        return None
    city = divisions.path(target)[:-1]
    for division in mention.divisions:
        if division.level == "town" and under_zone(division) and divisions.path(division)[:-2] == city:
            return division
    return None


def under_zone(town: Division) -> bool:
    """Return whether the tables list a town under a development zone."""
    return divisions.path(town)[-2].level == "devzone"


def _place(path: Sequence[Division], at: int, former: Division | None) -> tuple[int, Division | None]:
    """Return which place of a path a name stands for: a prefecture that is no more, for that of its counties now."""
    if former is not None and former.level != path[at].level:
        at = next((place for place, d in enumerate(path) if d.level == former.level), at)
    return at, former


def _by_town(
    found: Sequence[Mention], agree: dict[int, Rows], towns: Sequence[int], targets: dict[int, Division]
) -> list[Division]:
    """Return further targets: what has a town that none of the targets has. Adds to `agree` what gave it away."""
    more: dict[int, Division] = {}
    for i in towns:
        mention = found[i]
        for rows in agree.values():
            for division, former in list(rows.values()):
                if former is None and division.level == "district":
                    for heir in heirs(division):
                        if heir.row == division.row:
                            continue
                        if itself := any(mention.text == f"{short}镇" for short in heir.short):  # 龙港镇 is 龙港市 now
                            agree[i][heir.row] = (heir, division)
                        if itself or town_in(heir, mention.text):
                            rows.setdefault(heir.row, (heir, division))
                            more[heir.row] = heir
        parents = {divisions.path(d)[-2].row: divisions.path(d)[-2] for d in mention.divisions[:400]}
        inside = {row: d for row, d in parents.items() if any(up.row in targets for up in divisions.path(d))}
        if not inside and (len(parents) <= 3 or not targets):
            inside = parents
        if not inside:  # a town that has become a street office: no table has its name
            cities = [d for d in targets.values() if d.level == "city"]
            inside = {
                d.row: d for city in cities for d in below(city) if d.level == "district" and town_in(d, mention.text)
            }
        more.update(inside)
    return [d for row, d in more.items() if row not in targets]


def _preferred(best: list[_Chain], found: Sequence[Mention]) -> list[_Chain]:
    """
    Return the better of chains with as many votes.

    More levels named, current before former, what a county became before what it gave away earlier, what bore the name
    last before what bore it once, full before short.
    """
    for merit in (
        lambda c: len({place for place, _ in c.sides.values()}),
        lambda c: c.said_as == "current",
        lambda c: all(f.in_force or any(d in replaced_by(f) for d in c.path) for _, f in c.sides.values() if f),
        lambda c: min((f.valid_to or "" for _, f in c.sides.values() if f), default=""),
        lambda c: c.full,
        lambda c: any(
            not m.divisions and spelling.apart_by_one(m.text, c.target.name) for m in found if len(m.text) > 2
        ),
    ):
        most = max(map(merit, best))
        best = [c for c in best if merit(c) == most]
    if len(best) > 1 and not best[0].full:
        tagged = [c for c in best if any(found[i].type == c.target.level for i in c.sides)]
        best = tagged or best
    return best


def _open(
    state: Literal["ambiguous", "conflict"],
    found: Sequence[Mention],
    agree: dict[int, Rows],
    chains: Sequence[_Chain],
    judged: Sequence[_Chain],
) -> Resolution:
    """Return the resolution of what may be any of the chains; what not all the `judged` agree with stands against."""
    shared = _shared(found, chains)
    roles = []
    for i, mention in enumerate(found):
        if i not in agree:
            roles.append(Role("zone" if mention.is_zone else "unknown"))
            continue
        former = next((c.sides[i][1] for c in judged if i in c.sides and c.sides[i][1]), None)
        if former is not None:
            roles.append(Role("outdated", None, former))
        elif all(i in c.sides for c in judged):
            division = next((d for d in shared if d.row in agree[i]), None)
            roles.append(Role(_written(mention.text, division) if division else "same", division))
        else:
            roles.append(Role("against"))
    candidates = tuple(c.target for c in chains) if state == "ambiguous" else ()
    return Resolution(state, shared, roles=tuple(roles), candidates=candidates)


def _shared(found: Sequence[Mention], chains: Sequence[_Chain]) -> tuple[Division, ...]:
    """Return what all chains lie in, down to the last that the text names, above what not all agree with."""
    shared = [levels[0] for levels in zip(*(c.path for c in chains), strict=False) if len({d.row for d in levels}) == 1]
    for i, mention in enumerate(found):
        level = mention.divisions[0].level if mention.divisions else None
        if level in PLACES and not all(i in c.sides for c in chains):
            shared = shared[: PLACES.index(level)]
    places = [place for c in chains for place, former in c.sides.values() if former is None and place < len(shared)]
    return tuple(shared[: max(places, default=-1) + 1])


def _without_names(found: Sequence[Mention], hint: Division | None) -> Resolution:
    """Return the resolution of a text that names no division that there is or was."""
    guess = _nearest_of_all(found)
    if guess is not None:
        return _finish(found, _chain(guess, found, {}), {})
    if hint is not None and hint.level != "prov" and not has_districts(hint) and all(m.is_zone for m in found):
        return Resolution("resolved", divisions.path(hint), None, tuple(Role("zone") for _ in found), weak=True)
    return Resolution("none", roles=tuple(Role("zone" if m.is_zone else "unknown") for m in found))


def _without_chain(found: Sequence[Mention], agree: dict[int, Rows], hint: Division | None) -> Resolution:
    """Return the resolution of towns that could be anywhere."""
    if hint is not None:
        towns = [d for i in agree for d in found[i].divisions if d.level == "town" and divisions.is_within(d, hint)]
        inside = {up.row: up for d in towns for up in divisions.path(d)[-2:-1]}
        if len(inside) == 1:
            return _finish(found, _chain(next(iter(inside.values())), found, {i: {} for i in agree}), agree, weak=True)
    return Resolution("none", roles=tuple(Role("zone" if m.is_zone else "unknown") for m in found))


def _finish(found: Sequence[Mention], chain: _Chain, agree: dict[int, Rows], *, weak: bool = False) -> Resolution:
    """Give every mention its role, and look for what the unknown ones may have been meant to be."""
    path, town = chain.path, chain.town
    roles: dict[int, Role] = {}
    for i, mention in sorted(enumerate(found), key=lambda item: item[1].type == "town"):
        if i in chain.sides:
            place, former = chain.sides[i]
            division = town if place == _TOWN_PLACE else chain.path[place]
            if former is not None:
                roles[i] = Role("outdated", division, former)
            elif division is not None:
                roles[i] = Role(_written(mention.text, division), division)
            continue
        said = {r.division.row for r in roles.values() if r.division}
        if i in agree and mention.divisions and not mention.is_zone:
            meant = next((d for d in path if d.row not in said and spelling.abbreviates(mention.text, d.name)), None)
            vague = mention.divisions[0].level == "town" and len({d.parent for d in mention.divisions}) > 3
            if meant is not None:  # 巴州 in 新疆: the other 巴州 is far away
                roles[i] = Role("alias", meant)
            elif town is None and (office := _misheard(mention, path)):
                roles[i], town = Role("corrected", office), office
            else:
                roles[i] = Role("unknown" if vague else "against")
        else:
            role, extended = _meant(mention, path, town, said, found)
            roles[i] = Role("zone") if role.kind == "unknown" and mention.is_zone else role
            if extended is not None and extended.level == "town":
                town = extended
            elif extended is not None:
                path = divisions.path(extended)
    return Resolution("resolved", path, town, tuple(roles[i] for i in range(len(found))), weak=weak)


def _misheard(mention: Mention, path: Sequence[Division]) -> Division | None:
    """Return the one town of a district that sounds like a name which only towns elsewhere bear: 盘安镇, 磐安镇."""
    if mention.type != "town" or path[-1].level != "district":
        return None
    alike = [d for d in below(path[-1]) if d.level == "town" and spelling.sounds_like(mention.text, d.name)]
    return alike[0] if len(alike) == 1 else None


def _written(name: str, division: Division) -> Kind:
    """Return how a name of a division stands to its full one."""
    if name == division.name or (division.level == "town" and division.name.endswith(name)):
        return "same"
    if division.level != "town" or name in division.short or not TOWN.search(name):
        return "corrected" if division.level == "town" and name[-1] == "区" else "alias"
    longer = name[-1] == division.name[-1] and division.name.startswith(name[:-1])  # 竹里乡 for 竹里畲族乡
    longer = longer or division.name == name.replace("街道", "办事处街道")
    return (
        "alias"
        if longer or name.endswith("办事处") or any(form in division.name for form in in_han(name))
        else "outdated"
    )


def _meant(
    mention: Mention, path: Sequence[Division], town: Division | None, said: set[int], found: Sequence[Mention]
) -> tuple[Role, Division | None]:
    """Return what a name that nothing bears was meant to be, and the division it adds to the chain."""
    name = mention.text
    if name in AREAS and path[0].code in OVERSEAS:
        return Role("unknown"), None
    if mention.type != "town":
        for division in path:
            if division.row not in said and (ZONE.search(division.name) or not mention.is_zone):
                if spelling.abbreviates(name, division.name):
                    return Role("alias", division), None
                if any(
                    spelling.apart_by_one(name, form)
                    for form in (division.name, *division.short)
                    if len(name) > 2 or len(form) > 2
                ):
                    return Role("corrected", division), None
    if mention.type == "town" and town is not None:
        return Role("unknown"), None
    if path and town is None and (office := _as_town(path[-1], mention)):
        return Role("corrected", office), office
    pool = [d for d in below(path[-1]) if (d.level == "town") == (mention.type == "town") and d.level != "devzone"]
    if path[-1].level == "prov" and mention.type == "district":
        pool += [d for city in below(path[-1]) for d in below(city) if d.level == "district"]
    if mention.is_zone:  # 普东新区 may be 浦东新区, 高新区 is not 高陵区
        pool = [d for d in pool if ZONE.search(d.name)]
    short = [d for d in pool if spelling.abbreviates(name, d.name)]
    slips = [d for d in pool if spelling.is_slip(name, d.name, town=d.level == "town")]
    if any(d not in short for d in slips):  # 青区 in 成都 is 青羊区 with a character left out as likely as 青白江区
        short = []
    alike = [d for d in slips if spelling.sounds_like(name, d.name)]
    if mention.is_zone:  # there are more zones than are listed: 沈抚新区 is not 沈北新区
        slips = alike
    towns = [m.text for m in found if m.type == "town"]
    kinds: tuple[tuple[Kind, list[Division]], ...] = (("alias", short), ("corrected", slips), ("corrected", alike))
    for kind, fitting in kinds:
        likely = [d for d in fitting if any(town_in(d, t) for t in towns)] if len(fitting) > 1 else fitting
        if len(likely) == 1:
            return Role(kind, likely[0]), likely[0]
    return Role("unknown"), None


def _nearest_of_all(found: Sequence[Mention]) -> Division | None:
    """Return the province or city that the first name is a slip away from, if there is exactly one."""
    if not found or found[0].is_zone or found[0].type not in ("prov", "city") or len(found[0].text) < 3:
        return None
    pool = [d for prov in divisions.children() for d in (prov, *below(prov)) if d.level in ("prov", "city")]
    near = [d for d in pool if spelling.apart_by_one(found[0].text, d.name)]
    return near[0] if len(near) == 1 else None
