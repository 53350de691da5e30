"""`addrmesh match`: do two addresses name the same place? Offline."""

import sys
from contextlib import closing
from typing import Annotated

import typer

from addrmesh.cli import model
from addrmesh.cli.terminal import aligned, visible


def match(
    a: Annotated[str, typer.Argument(help="An address.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    release: model.MatchReleasePath = None,
    device: model.Device = "auto",
) -> None:
    """
    Compare two addresses: an exact, a partial or no match, and what differs.

    Example: addrmesh match 文一西路969号3号楼 余杭区文一西路969号5幢
    """
    from addrmesh.address.questions import Matching
    from addrmesh.cli import terminal

    opened, scorer = model.for_matching(release)
    one, other = terminal.addresses([a, b])
    question = Matching.of(one, other, opened.manifest.limits.max_code_points)
    with closing(model.load(opened, device)) as engine, model.scoring(scorer) as score:
        (question,) = score([question])
        result = question.answer(engine.predict(question.texts) if question.texts else ())
    if as_json:
        from addrmesh.cli.document import print_document

        print_document(release=opened.id, result=result)
        return
    chances = "  ".join(f"{label} {chance:.2f}" for label, chance in result.probabilities.items())
    by = f"  by {result.scorer}" if scorer else ""
    lines = [f"{result.label}  same down to {result.deepest_common_level}", f"  {chances}{by}"]
    if result.guards:
        lines.append(f"  never exact: {', '.join(result.guards)}")
    if result.differences:
        rows = [("type", "a", "b"), *((d.type, visible(d.a), visible(d.b)) for d in result.differences)]
        lines += [f"  {line}" for line in aligned(rows)]
    sys.stdout.write("\n".join(lines) + "\n")
