"""The model as the commands use it: loaded here in this process, no server needed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from addrmesh.address.questions import Matching
    from addrmesh.inference.engine import Engine
    from addrmesh.inference.release import Release

MatchReleasePath = Annotated[
    Path | None,
    typer.Option(
        "--release", help="Directory of a release: one for entity alignment scores, one for elements tagging tags."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N, for a release in fp16 or bf16.")]


def find_release(path: Path | None) -> "Release":
    """Open the release in `path`, or the one that comes with the package."""
    from addrmesh.inference.release import BUILTIN, open_release

    return open_release(path or BUILTIN)


def load(release: "Release", device: str = "auto") -> "Engine":
    """Load the model of a release; `device` as `inference.engine.load_engine` takes it."""
    from addrmesh.inference.engine import load_engine

    return load_engine(release, device)


def for_matching(path: Path | None) -> "tuple[Release, Release | None]":
    """Open the release that tags and, where `path` holds one for entity alignment, that one as what scores."""
    opened = find_release(path)
    return (find_release(None), opened) if opened.manifest.task == "entity-alignment" else (opened, None)


@contextmanager
def scoring(release: "Release | None") -> "Iterator[Callable[[Sequence[Matching]], list[Matching]]]":
    """Give a function that adds to questions what a match release says; without one it returns them as they are."""
    if release is None:
        yield list
        return
    from addrmesh.inference.engine import load_aligner

    limit = release.manifest.limits.pair_code_points
    with closing(load_aligner(release)) as aligner:

        def scored(questions: "Sequence[Matching]") -> "list[Matching]":
            pairs = [question.pair(limit) for question in questions]
            found = iter(aligner.predict([pair for pair in pairs if pair]))
            return [q._replace(scored=next(found)) if pair else q for q, pair in zip(questions, pairs, strict=True)]

        yield scored
