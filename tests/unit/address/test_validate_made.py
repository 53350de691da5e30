"""Addresses made from the gazetteer, right by their making or wrong by it."""

import random
from collections.abc import Iterable, Iterator

from addrmesh.address import divisions
from addrmesh.address.divisions import Division
from addrmesh.address.reading import read
from addrmesh.address.validate import validate
from addrmesh.address.verdict import Request, Result
from support.engines import builtin

ROAD = "荷禾路18号"
MUNICIPALITIES = ("110000", "120000", "310000", "500000")


def judged(texts: Iterable[str]) -> Iterator[tuple[str, Result]]:
    readings = [read(Request(text)) for text in texts]
    found = builtin().predict([reading.canonical.text for reading in readings])
    for reading, components in zip(readings, found, strict=True):
        yield reading.text, validate(reading, components)


def accepted(texts: Iterable[str]) -> list[str]:
    return [text for text, result in judged(texts) if result.verdict.possible_next_action == "ACCEPT"]


def cities() -> Iterator[tuple[Division, list[Division]]]:
    """Yield cities and municipalities with their districts and counties."""
    for province in divisions.children()[:-3]:
        for city in [province] if province.code in MUNICIPALITIES else divisions.children(province.code):
            below = [d for d in divisions.children(city.code) if d.level == "district"]
            if len(below) > 1:
                yield city, below


def towns(district: Division) -> list[str]:
    names = [t.name for t in divisions.children(district.code) if t.level == "town"]
    return [name for name in names if name.endswith(("街道", "镇", "乡"))]


def test_a_town_that_several_districts_of_a_city_have_is_asked_about() -> None:
    texts = []
    for city, below in cities():
        names = [name for district in below for name in towns(district)]
        texts += [f"{city.name}{name}{ROAD}" for name in sorted({name for name in names if names.count(name) > 1})]
    assert len(texts) > 150
    assert accepted(texts) == []


def test_a_town_of_another_district_of_the_city_is_never_accepted() -> None:
    draw, texts = random.Random(1), []
    for city, below in cities():
        mine, other = draw.sample(below, 2)
        foreign = sorted({*towns(other)} - {*towns(mine)})
        if foreign:
            texts.append(f"{city.name}{mine.name}{draw.choice(foreign)}{ROAD}")
    assert len(texts) > 250
    assert accepted(texts) == []


def test_a_district_of_another_city_is_never_accepted() -> None:
    draw, known = random.Random(2), list(cities())
    texts = []
    for city, _ in known:
        other, below = draw.choice(known)
        if other is not city:
            texts.append(f"{city.name}{draw.choice(below).name}{ROAD}")
    assert accepted(texts) == []


def test_a_misspelt_district_is_never_accepted_as_another() -> None:
    draw, meant = random.Random(3), dict[str, str | None]()
    characters = "".join(d.name for _, below in cities() for d in below)
    for city, below in cities():
        for district in below:
            name, at = district.name, draw.randrange(len(district.name) - 1)
            for written in (name[:at] + name[at + 1 :], name[:at] + draw.choice(characters) + name[at + 1 :]):
                if len(written) > 1 and not divisions.find(written):
                    meant[f"{city.name}{written}{ROAD}"] = district.code
    assert len(meant) > 3000
    wrong = [
        text
        for text, result in judged(meant)
        if result.verdict.possible_next_action == "ACCEPT" and result.address.adcode != meant[text]
    ]
    assert wrong == []
