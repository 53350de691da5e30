"""Engines that are quick, deterministic, and fail or wait when told to; and the built-in model."""

import hashlib
import re
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import msgspec

from addrmesh.address.match import LABELS
from addrmesh.address.normalize import NORMALIZER_VERSION
from addrmesh.address.questions import Scored
from addrmesh.address.types import COMPONENT_TYPES, Component
from addrmesh.inference.engine import Engine, load_engine
from addrmesh.inference.release import BUILTIN, Calibration, Limits, Manifest, Release, open_release

PROBE = "文三路12号3"
CHANCES = (0.0, 0.125, 0.875)


@cache
def builtin() -> Engine:
    """The built-in model as it is served, loaded once."""
    return load_engine(open_release(BUILTIN))


def digits(text: str) -> tuple[Component, ...]:
    """One component per run of digits; type and confidence depend on the run alone."""
    found = []
    for run in re.finditer(r"[0-9]+", text):
        number = hashlib.sha256(run[0].encode()).digest()[0]
        kind = COMPONENT_TYPES[number % len(COMPONENT_TYPES)]
        found.append(Component(kind, run.start(), run.end(), number / 255))
    return tuple(found)


def release(path: Path, name: str = "digits", probes: Sequence[tuple[str, tuple[Component, ...]]] = ()) -> Release:
    """A release without a model, whose probe set the `digits` engine answers correctly unless told otherwise."""
    probes = probes or [(PROBE, digits(PROBE))]
    wanted = [{"address": text, "components": [c[:3] for c in components]} for text, components in probes]
    (path / "probes.json").write_bytes(msgspec.json.encode(wanted))
    manifest = Manifest(
        schema=1, name=name, task="tagging", family="digits", source="tests", precision="exact", created="2026-01-01",
        licence="Apache-2.0", tags=(), normalizer_version=NORMALIZER_VERSION, decoder_version=1,
        gazetteer_version="test", gazetteer_sha256="0" * 64, limits=Limits(2000),
        calibration=Calibration((0.0, 1.0), (0.0, 1.0)), files={},
    )  # fmt: skip
    return Release(f"{name}@0123456789ab", path, manifest)


def pair_release(path: Path, name: str = "align") -> Release:
    """A match release without a model, for pairs of up to 57 code points; `PairEngine` answers its probe set."""
    tagging = release(path, name)
    probe = {"first": PROBE, "second": PROBE, "scores": dict(zip(LABELS, CHANCES, strict=True))}
    (path / "probes.json").write_bytes(msgspec.json.encode([probe]))
    limits = msgspec.structs.replace(tagging.manifest.limits, max_tokens=60)
    manifest = msgspec.structs.replace(tagging.manifest, limits=limits, task="entity-alignment")
    return Release(tagging.id, path, manifest)


class DigitsEngine:
    """
    Finds runs of digits.

    `gate` makes it wait: close it with `gate.clear()`, open it with `gate.set()`; `entered` is set on each run.
    `fails` is asked about each text; what it returns is raised. `batches` holds what was run, in order.
    """

    quick = False

    def __init__(self, release: Release, fails: Callable[[str], Exception | None] = lambda _: None) -> None:
        self.release = release
        self.fails = fails
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.batches: list[list[str]] = []
        self.threads: set[int] = set()
        self.closed = False

    def predict(self, texts: Sequence[str]) -> list[tuple[Component, ...]]:
        self.threads.add(threading.get_ident())
        self.batches.append(list(texts))
        self.entered.set()
        if not self.gate.wait(20):
            raise AssertionError("nobody opened the gate")
        for text in texts:
            if error := self.fails(text):
                raise error
        return [digits(text) for text in texts]

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed = True


class PairEngine(DigitsEngine):
    """Says exact of every pair but those that `fails` fails on; waits when told to, as `DigitsEngine` does."""

    def predict(self, pairs: Sequence[tuple[str, str]]) -> list[Scored]:  # type: ignore[override]
        super().predict([f"{a}|{b}" for a, b in pairs])
        return [Scored(self.release.id, CHANCES) for _ in pairs]
