"""
Files of an edge, as values: a renderer is a function from a routing table to these, and equal tables give equal bytes.

`check.py` asks the real engine whether it takes them, `install.py` puts them where a running engine sees them.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RenderedFile:
    """A file to be written; `path` is relative to the edge's directory."""

    path: str
    content: bytes

    @property
    def sha256(self) -> str:
        """Digest of the content."""
        return hashlib.sha256(self.content).hexdigest()


def write(file: RenderedFile, directory: Path) -> None:
    """Put a file in place by one rename: a reader sees the old content or the new, never half."""
    target = directory / file.path
    new = target.with_name(f".{target.name}.new")
    with new.open("wb") as stream:
        stream.write(file.content)
        stream.flush()
        os.fsync(stream.fileno())
    new.rename(target)
