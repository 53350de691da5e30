"""
Puts rendered files where a running engine sees them, and keeps what was there as the last known good.

Only files whose digest differs are touched, so installing twice does nothing. `roll_back` undoes the last installation.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from addrmesh.atomic_file import replace_file
from addrmesh.edge.files import RenderedFile

PREVIOUS = "previous"
"""Folder, in the edge's directory, of the files the last installation replaced."""


def install(files: Sequence[RenderedFile], directory: Path) -> list[str]:
    """
    Replace the files that differ, one rename each, in the order given.

    Returns:
        The paths that changed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    changed = [f for f in files if not is_installed(f, directory)]
    if not changed:
        return []
    previous = directory / PREVIOUS
    shutil.rmtree(previous, ignore_errors=True)
    previous.mkdir()
    for file in changed:
        if before := _installed(file.path, directory):
            replace_file(previous / file.path, before.content, durable=True)
    for file in changed:
        replace_file(directory / file.path, file.content, durable=True)
    return [f.path for f in changed]


def roll_back(directory: Path) -> list[str]:
    """
    Put back what the last installation replaced.

    Returns:
        The paths that changed; none if there was no earlier installation.
    """
    previous = sorted(directory.joinpath(PREVIOUS).glob("[!.]*"))
    return install([RenderedFile(p.name, p.read_bytes()) for p in previous], directory)


def is_installed(file: RenderedFile, directory: Path) -> bool:
    """Say whether a file is in place as it was rendered."""
    return _installed(file.path, directory) == file


def _installed(path: str, directory: Path) -> RenderedFile | None:
    try:
        return RenderedFile(path, directory.joinpath(path).read_bytes())
    except FileNotFoundError:
        return None
