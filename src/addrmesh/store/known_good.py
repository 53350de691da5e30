"""
The configuration a node applied last, on its own disk: what it starts with when no store can be reached.

A file is written beside its predecessor and moved over it, so there is always a whole one. Its digest is checked
when it is read; a damaged file is as good as none, and the log says so.
"""

import hashlib
from pathlib import Path

import msgspec
import structlog

from addrmesh.atomic_file import replace_file
from addrmesh.errors import ConfigError
from addrmesh.store.documents import Document

log = structlog.get_logger()


class _File(msgspec.Struct, frozen=True):
    sha256: str
    document: msgspec.Raw


class LastKnownGood:
    """One file per document in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, document: Document) -> None:
        """
        Keep `document`, which was applied.

        Raises:
            ConfigError: The directory cannot be written.
        """
        encoded = msgspec.json.encode(document)
        kept = msgspec.json.encode(_File(hashlib.sha256(encoded).hexdigest(), msgspec.Raw(encoded)))
        try:
            replace_file(self._file(document.name), kept, durable=True)
        except OSError as error:
            raise ConfigError(
                f"the last known good {document.name} cannot be kept in {self._directory}: {error.strerror}; "
                "without it, a restart while every store is down starts with the defaults"
            ) from error

    def load(self, name: str) -> Document | None:
        """Return what was kept; None if nothing was, or if it is damaged."""
        file = self._file(name)
        try:
            kept = msgspec.json.decode(file.read_bytes(), type=_File)
            if hashlib.sha256(kept.document).hexdigest() == kept.sha256:
                return msgspec.json.decode(kept.document, type=Document)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("document.unreadable", document=name, file=str(file), error=type(error).__name__)
            return None
        log.warning("document.damaged", document=name, file=str(file))
        return None

    def _file(self, name: str) -> Path:
        return self._directory / f"{name}.json"
