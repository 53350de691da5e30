"""The model as the commands use it: loaded here in this process, no server needed."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from addrmesh.inference.engine import Engine
    from addrmesh.inference.release import Release


def find_release(path: Path | None) -> "Release":
    """Open the release in `path`, or the one that comes with the package."""
    from addrmesh.inference.release import BUILTIN, open_release

    return open_release(path or BUILTIN)


def load(release: "Release") -> "Engine":
    """Load the model of a release."""
    from addrmesh.inference.engine import load_engine

    return load_engine(release)
