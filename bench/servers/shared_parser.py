"""
What every peer serves: the same release through the same normaliser, features, network and decoder as our node.

The directory of the release comes in the variable `BENCH_RELEASE`; without it, the one in the package.
"""

import os
from pathlib import Path
from typing import Any

import msgspec

from addrmesh.address.normalize import normalize
from addrmesh.address.wire import to_wire
from addrmesh.inference.engine import load_engine
from addrmesh.inference.release import BUILTIN, open_release

MAX_BATCH = 32
"""Rows in one call of the model, for every peer that batches: the tagger itself runs 32 at a time."""


class Parser:
    """Text in, what a JSON reply holds out."""

    def __init__(self) -> None:
        given = os.environ.get("BENCH_RELEASE")
        self._engine = load_engine(open_release(Path(given) if given else BUILTIN))

    def parse(self, addresses: list[str]) -> list[dict[str, Any]]:
        """Return `{"components": [...]}` for each address, in order."""
        canonicals = [normalize(address) for address in addresses]
        found = self._engine.predict([canonical.text for canonical in canonicals])
        return [msgspec.to_builtins(to_wire(*given)) for given in zip(addresses, canonicals, found, strict=True)]
