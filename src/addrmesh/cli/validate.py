"""`addrmesh validate`: what an address is and whether an order can be sent there, for people or as JSON; offline."""

import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal

import typer

from addrmesh.address.types import TYPE_NAMES
from addrmesh.address.verdict import Granularity, Language, Options, RegionHint, Request, Result
from addrmesh.cli import model, terminal
from addrmesh.cli.terminal import aligned, visible
from addrmesh.errors import ConfigError, InvalidText, RequestError

CHUNK_ROWS = 64

Hint = Annotated[
    str | None, typer.Option(help="Code of the division that is expected; decides between equals.", show_default=False)
]
AdminStyle = Literal["mca", "ecommerce"]
Style = Annotated[
    AdminStyle,
    typer.Option(help="City of a county directly under its province: none, or the heading that shops use."),
]
MinGranularity = Annotated[Granularity, typer.Option(help="The coarsest place that is good enough.")]
Lang = Annotated[Language, typer.Option("--language", help="Of the messages.")]


def validate(
    text: Annotated[
        list[str] | None,
        typer.Argument(help="Addresses; without any, the lines of stdin.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    hint: Hint = None,
    style: Style = "mca",
    min_granularity: MinGranularity = "PREMISE",
    language: Lang = "zh-CN",
    romanize: Annotated[bool, typer.Option("--romanize", help="Write the address in Latin letters too.")] = False,
    release: Annotated[
        Path | None, typer.Option(help="Directory of a release instead of the one that comes with addrmesh.")
    ] = None,
    device: model.Device = "auto",
) -> None:
    """
    Judge addresses: written out and completed, with codes, and ACCEPT, CONFIRM or FIX.

    Example: addrmesh validate 杭州江干区下沙街道幸福街1号
    """
    from addrmesh.address.divisions import version
    from addrmesh.address.questions import Validation

    opened = model.find_release(release)
    options = options_of(hint, style, min_granularity, language, romanize=romanize)
    addresses = list(terminal.addresses(text))
    questions = []
    for number, address in enumerate(addresses, 1):
        try:
            questions.append(Validation.of(request_of(address, *options), opened.manifest.limits.max_code_points))
        except RequestError as error:
            raise InvalidText(f"address {number} of {len(addresses)}: {error}") from error
    texts = [text for question in questions for text in question.texts]
    found = []
    with closing(model.load(opened, device)) as engine:
        for start in range(0, len(texts), CHUNK_ROWS):
            found += engine.predict(texts[start : start + CHUNK_ROWS])
    tagged = iter(found)
    results = [question.answer([next(tagged) for _ in question.texts]) for question in questions]
    if as_json:
        from addrmesh.cli.document import print_document

        print_document(release=opened.id, gazetteer_version=version(), items=results)
    else:
        sys.stdout.write("\n".join(map(_shown, results)))


def options_of(
    hint: str | None, style: AdminStyle, min_granularity: Granularity, language: Language, *, romanize: bool = False
) -> tuple[RegionHint | None, Options, Language]:
    """
    Return what the command line asks for.

    Raises:
        ConfigError: Nothing has the code of the hint.
    """
    from addrmesh.address.divisions import by_code

    if hint is not None and by_code(hint) is None:
        raise ConfigError(f"--hint: no division has the code {hint!r}; `addrmesh divisions` lists them")
    options = Options(admin_style=style, min_granularity=min_granularity, romanize=romanize)
    return RegionHint(hint) if hint else None, options, language


def request_of(text: str, hint: RegionHint | None, options: Options, language: Language) -> Request:
    """Return the request for one address."""
    return Request(text, hint, options, language)


def _shown(result: Result) -> str:
    verdict, address = result.verdict, result.address
    codes = "  ".join(filter(None, (address.adcode, address.town_code)))
    lines = [f"{verdict.possible_next_action}  {visible(address.formatted_address)}  {codes}".rstrip()]
    if address.formatted_address_latin:
        lines.append(f"  {visible(address.formatted_address_latin)}")
    if address.components:
        rows = [("type", "名称", "text", "source", "level", "confidence")]
        rows += [
            (c.type, TYPE_NAMES[c.type][0], visible(c.text), c.source, c.confirmation_level, f"{c.confidence:.2f}")
            for c in address.components
        ]
        lines += [f"  {line}" for line in aligned(rows)]
    if (receiver := result.receiver) is not None:
        told = filter(None, (receiver.name, receiver.phone, receiver.id_number))
        lines.append(f"  receiver  {visible('  '.join(told))}")
    lines += [f"  {issue.severity:7}  {issue.code}  {visible(issue.message)}" for issue in result.issues]
    lines += [f"  candidate  {one.adcode or '-'}  {one.formatted_address}" for one in result.candidates]
    return "\n".join(lines) + "\n"
