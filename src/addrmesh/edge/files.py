"""
Files of an edge, as values: a renderer is a function from a routing table to these, and equal tables give equal bytes.

`check.py` asks the real engine whether it takes them, `install.py` puts them where a running engine sees them.
"""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class RenderedFile:
    """A file to be written; `path` is relative to the edge's directory."""

    path: str
    content: bytes

    @property
    def sha256(self) -> str:
        """Digest of the content."""
        return hashlib.sha256(self.content).hexdigest()
