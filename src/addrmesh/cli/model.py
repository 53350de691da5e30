"""The model as the commands use it: loaded here in this process, no server needed."""

from pathlib import Path
from typing import TYPE_CHECKING

from addrmesh.address.normalize import Canonical, normalize
from addrmesh.errors import InvalidText, TextTooLong

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


def canonical(address: str, limit: int) -> Canonical:
    """
    Return the canonical form of an address that the model can take.

    Raises:
        InvalidText: It is empty or blank.
        TextTooLong: It, or its canonical form, is longer than `limit` code points.
    """
    if len(address) > limit:
        raise TextTooLong(len(address), limit)
    found = normalize(address)
    if not found.text or found.text.isspace():
        raise InvalidText("the address is blank; nothing in it can be seen")
    if len(found.text) > limit:  # one compatibility character may stand for many
        raise TextTooLong(len(found.text), limit)
    return found
