"""Files that are replaced in one step: whoever reads one sees the old content or the new, whole."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes | str, *, private: bool = False, durable: bool = False) -> None:
    """
    Write a file beside its predecessor and move it over that; its directory is made if need be.

    Several processes may replace the same file: the last one counts.

    Args:
        path: Of the file.
        content: Text is written as UTF-8.
        private: Readable by this user alone.
        durable: On the disk before this returns, for what must survive a power loss.

    Raises:
        OSError: It cannot be written; the predecessor is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if private else 0o644)
        with os.fdopen(descriptor, "wb") as out:
            out.write(content.encode() if isinstance(content, str) else content)
            if durable:
                out.flush()
                os.fsync(out.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
