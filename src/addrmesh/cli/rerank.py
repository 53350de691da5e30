"""`addrmesh rerank`: which of several addresses answers a query best? Offline."""

import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from addrmesh.address.normalize import normalize_within
from addrmesh.cli import model, terminal
from addrmesh.cli.terminal import aligned, visible
from addrmesh.errors import InvalidText, RequestError


class Ranked(msgspec.Struct, frozen=True):
    """A candidate and how well it answers."""

    score: float
    index: int
    """Its place among the candidates as they were given, from 0."""
    address: str


def rerank(
    query: Annotated[str, typer.Argument(help="What is looked for.")],
    release: Annotated[Path, typer.Option(help="Directory of a release for rerank.")],
    candidates: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CANDIDATE]...", help="Addresses; without any, the lines of stdin.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """
    Sort addresses by how well they answer a query, the best first; scores are between 0 and 1.

    Example: addrmesh rerank 文一西路阿里巴巴 文一西路969号 文一路9号 --release /srv/releases/mgeo-rerank
    """
    from addrmesh.inference.engine import load_ranker
    from addrmesh.inference.mgeo.align import literal

    opened = model.find_release(release)
    with closing(load_ranker(opened)) as ranker:
        given = [*terminal.addresses([query]), *terminal.addresses(candidates)]
        first, *others = _canonical(given, opened.manifest.limits.pair_code_points)
        found = ranker.score([(literal(first), literal(other)) for other in others])
    scores = [one["score"] for one in found]
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    rows = [Ranked(round(scores[index], 4), index, given[index + 1]) for index in order]
    if as_json:
        from addrmesh.cli.document import print_document

        print_document(release=opened.id, items=rows)
        return
    lines = aligned([("score", "address"), *((f"{row.score:.4f}", visible(row.address)) for row in rows)])
    sys.stdout.write("\n".join(lines) + "\n")


def _canonical(given: list[str], limit: int) -> list[str]:
    """Return query and candidates as the model reads them; InvalidText if one is empty or too long beside the query."""
    texts: list[str] = []
    for number, text in enumerate(given):
        try:
            texts.append(normalize_within(text, limit).text)
            if number and (length := len(texts[0]) + len(texts[-1])) > limit:
                raise InvalidText(
                    f"it has {length} code points with the query, the release reads {limit}; shorten either"
                )
        except RequestError as error:
            who = f"candidate {number} of {len(given) - 1}" if number else "the query"
            raise InvalidText(f"{who}: {error}") from error
    return texts
