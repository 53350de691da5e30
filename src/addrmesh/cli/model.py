"""The model as the commands use it: loaded here in this process, no server needed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from addrmesh.inference.engine import Engine
    from addrmesh.inference.release import Release

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N, for a release in fp16 or bf16.")]


def find_release(path: Path | None) -> "Release":
    """Open the release in `path`, or the one that comes with the package."""
    from addrmesh.inference.release import BUILTIN, open_release

    return open_release(path or BUILTIN)


def load(release: "Release", device: str = "auto") -> "Engine":
    """Load the model of a release; `device` as `inference.engine.load_engine` takes it."""
    from addrmesh.inference.engine import load_engine

    return load_engine(release, device)
