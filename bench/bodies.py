"""Request bodies for the load generator, one JSON document per line, and the streams of addresses in them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from addresses import generate

MOST = 600_000
"""Bodies in one file."""


def write(path: Path, documents: Iterable[dict[str, Any]]) -> Path:
    """Write one body per line."""
    path.write_bytes(msgspec.json.Encoder().encode_lines(documents))
    return path


def single(addresses: Iterable[str]) -> Iterable[dict[str, Any]]:
    """Return a body per address, as `/v1/address:parse` takes it."""
    return ({"address": address} for address in addresses)


def lists(addresses: list[str], size: int) -> Iterable[dict[str, Any]]:
    """Return a body per `size` addresses, as `/v1/addresses:batchParse` takes it."""
    return ({"addresses": addresses[at : at + size]} for at in range(0, len(addresses) - size + 1, size))


def zipf(requests: int, universe: int, exponent: float, seed: int = 1) -> list[str]:
    """
    Return a stream in which the address of rank r is drawn with probability proportional to `r ** -exponent`.

    Args:
        requests: Length of the stream.
        universe: Number of distinct addresses there are; most of them are never drawn.
        exponent: 0 would draw all alike; calls to an address service are near 1 (`serving.md`, section 4.5).
        seed: Of the draws.
    """
    weights = np.arange(1, universe + 1, dtype=np.float64) ** -exponent
    shares = np.cumsum(weights) / weights.sum()
    ranks = np.searchsorted(shares, np.random.default_rng(seed).random(requests))
    source = generate()
    by_rank: dict[int, str] = {}
    stream = []
    for rank in ranks.tolist():
        if rank not in by_rank:
            by_rank[rank] = next(source)
        stream.append(by_rank[rank])
    return stream
