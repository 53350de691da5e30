"""
The output of `addrmesh bulk`: one line per record, appended and complete as far as it goes.

Beside OUT lies `OUT.progress`, which says what made it: the release, the input's first line and how it was
read. `--resume` continues only what the same release made from the same input. The end of OUT itself says how
far it is: a torn last line, from a crash or a full disk, is cut off and written again.
"""

import fcntl
import os
import stat
from pathlib import Path

import msgspec

from addrmesh.errors import ConfigError, Refused

TAIL_BYTES = 1 << 20
"""More than the longest line of a result."""


class Progress(msgspec.Struct, frozen=True):
    """The contents of `OUT.progress`."""

    schema: int
    release: str
    first_line_sha256: str
    column: str | None
    encoding: str
    question: str = "parse"
    """What was asked of each line, with everything else the answers depend on."""


class _Line(msgspec.Struct):
    line: int


class Output:
    """Where results go. `done_line` is the last line of the input that needs no work."""

    def __init__(self, descriptor: int, *, done_line: int = 0, owned: bool = True) -> None:
        self._descriptor, self._owned, self.done_line = descriptor, owned, done_line

    def write(self, data: bytes) -> None:
        """Write all of `data` now."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def close(self) -> None:
        """Close the file."""
        if self._owned:
            os.close(self._descriptor)


def open_output(path: Path, progress: Progress, *, resume: bool, force: bool) -> Output:
    """
    Open `path` for results, fresh or to go on.

    Raises:
        ConfigError: It cannot be written.
        Refused: It exists and neither `resume` nor `force` was said, it was made from something else, or
            another process is writing it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error
    try:
        done_line = _prepare(descriptor, path, progress, resume=resume, force=force)
    except BaseException:
        os.close(descriptor)
        raise
    return Output(descriptor, done_line=done_line)


def _prepare(descriptor: int, path: Path, progress: Progress, *, resume: bool, force: bool) -> int:
    _lock(descriptor, path)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):  # a pipe or a device: nothing to go on with
        return 0
    done_line = 0
    if resume and found.st_size:
        _check_same(path, progress, force=force)
        done_line = _cut_torn_line(descriptor, found.st_size, path)
    elif found.st_size and not force:
        raise Refused(f"{path} exists; go on with it (--resume), write over it (--force), or choose another name")
    else:
        os.ftruncate(descriptor, 0)
    _save(_sidecar(path), progress)
    return done_line


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Refused(f"{path} is being written by another process") from error
    except OSError:  # pipes, devices and some network file systems have no locks
        return


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".progress")


def _check_same(path: Path, wanted: Progress, *, force: bool) -> None:
    if force:
        return
    sidecar = _sidecar(path)
    try:
        made_by = msgspec.json.decode(sidecar.read_bytes(), type=Progress)
    except (OSError, msgspec.DecodeError) as error:
        raise Refused(f"{sidecar} does not say what made {path}; --force goes on with it all the same") from error
    if made_by.release != wanted.release:
        raise Refused(
            f"{path} was made by release {made_by.release}, this is {wanted.release}; "
            "--force alone starts again, --resume --force mixes the answers of both"
        )
    if made_by != wanted:
        raise Refused(
            f"{path} was made from another input, column or encoding, or with other options; "
            "--force goes on all the same"
        )


def _cut_torn_line(descriptor: int, size: int, path: Path) -> int:
    """Cut off what follows the last complete line and return the input line which that line answers."""
    start = max(0, size - TAIL_BYTES)
    tail = os.pread(descriptor, size - start, start)
    end = tail.rfind(b"\n") + 1
    if not end:
        if start:
            raise Refused(f"{path} is not a result of addrmesh bulk: its last line does not end")
        os.ftruncate(descriptor, 0)
        return 0
    last = tail[tail.rfind(b"\n", 0, end - 1) + 1 : end]
    try:
        done_line = msgspec.json.decode(last, type=_Line).line
    except msgspec.DecodeError as error:
        raise Refused(f"{path} is not a result of addrmesh bulk: its last line has no number") from error
    os.ftruncate(descriptor, start + end)
    return done_line


def _save(path: Path, progress: Progress) -> None:
    temporary = path.with_name(path.name + ".new")
    try:
        temporary.write_bytes(msgspec.json.encode(progress) + b"\n")
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error
