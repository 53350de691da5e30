"""
A release on disk: one model, the tables it was trained with, and the proof that they are the ones meant.

A release is a directory with a `manifest.json` that names every other file with its sha256. The release id is
`name@` + the first 12 hex digits of the manifest's own sha256, so two nodes that report the same id run the same
bytes. `open_release` checks all of it; nothing in the directory is ever executed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from addrmesh.errors import ReleaseError

MANIFEST = "manifest.json"
BUILTIN = Path(__file__).parent.parent / "releases" / "addrmesh-small"
"""The release that comes with the package."""

IN_TORCH = ("fp16", "bf16")
"""Precisions that run in torch, on a GPU where there is one; others run in onnxruntime, on the CPU."""


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file of the release must be."""

    sha256: str
    bytes: int


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much the model takes at once."""

    max_code_points: int
    max_tokens: int | None = None
    """Of a text, or of a pair of texts together; None where characters are all that counts."""

    @property
    def pair_code_points(self) -> int:
        """How many code points two texts may have together: a character is a token at most, and three are special."""
        return (self.max_tokens or self.max_code_points) - 3


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A monotone piecewise-linear map from the network's raw span score to a probability."""

    score: tuple[float, ...]
    probability: tuple[float, ...]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of `manifest.json`."""

    schema: int
    name: str
    task: str
    family: str
    source: str
    precision: str
    created: str
    licence: str
    tags: tuple[str, ...]
    normalizer_version: int
    decoder_version: int
    gazetteer_version: str
    gazetteer_sha256: str
    limits: Limits
    calibration: Calibration
    files: dict[str, FileEntry]
    decoding: Literal["strict", "compatible"] = "strict"
    """`compatible`: spans as ModelScope's pipeline gives them."""


class Probe(msgspec.Struct, frozen=True):
    """An input with its expected answer: `[type, start, end]` per component."""

    address: str
    components: list[tuple[str, int, int]]


class PairProbe(msgspec.Struct, frozen=True):
    """Two inputs of a pair scorer with the expected probability of each label, to four decimals."""

    first: str
    second: str
    scores: dict[str, float]


def rounded(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the scores of a pair as a probe set holds them."""
    return {label: round(score, 4) for label, score in scores.items()}


@dataclass(frozen=True)
class Release:
    """A release whose files were found to be what the manifest says."""

    id: str
    path: Path
    manifest: Manifest

    def read(self, name: str) -> bytes:
        """Return the contents of one of the release's files."""
        return (self.path / name).read_bytes()

    def probes(self) -> list[Probe]:
        """Return the probe set: what a node must answer before it may serve."""
        return msgspec.json.decode(self.read("probes.json"), type=list[Probe])

    def pair_probes(self) -> list[PairProbe]:
        """Return the probe set of a pair scorer."""
        return msgspec.json.decode(self.read("probes.json"), type=list[PairProbe])


def open_release(path: Path) -> Release:
    """
    Read the manifest in `path` and check every file it names.

    Raises:
        ReleaseError: The manifest is missing or malformed, or a file is missing, extra, truncated or altered.
    """
    try:
        raw = (path / MANIFEST).read_bytes()
    except OSError as error:
        raise ReleaseError(f"{path} is not a release: {MANIFEST} cannot be read ({error.strerror})") from error
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ReleaseError(f"{path / MANIFEST} is malformed: {error}") from error
    if manifest.schema != 1:
        raise ReleaseError(f"{path / MANIFEST} has schema {manifest.schema}; this addrmesh reads schema 1")
    for name, entry in manifest.files.items():
        if Path(name).name != name:
            raise ReleaseError(f"{path / MANIFEST} names the file {name!r}; only plain names are allowed")
        _check_file(path / name, entry)
    if extra := sorted({child.name for child in path.iterdir()} - set(manifest.files) - {MANIFEST}):
        raise ReleaseError(f"{path} holds files that its manifest does not name: {', '.join(extra)}; remove them")
    return Release(f"{manifest.name}@{hashlib.sha256(raw).hexdigest()[:12]}", path, manifest)


def _check_file(file: Path, entry: FileEntry) -> None:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ReleaseError(f"{file} cannot be read ({error.strerror}); fetch the release again") from error
    found = hashlib.sha256(data).hexdigest()
    if found != entry.sha256:
        raise ReleaseError(
            f"{file} is not the file this release was made with: expected sha256 {entry.sha256} "
            f"({entry.bytes} bytes), found {found} ({len(data)} bytes); fetch the release again"
        )
