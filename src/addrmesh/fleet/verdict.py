"""
From what was observed to what a node is worth: pure, damped, and never on one witness alone.

Every supervisor and every edge is a vantage point. A node is slow, or dead, when two of them say so for several
rounds in a row and are not outvoted; one broken witness, or a cut link in front of it, moves nothing. A slow node
keeps a little traffic, so that its recovery is seen. When most nodes of a region look slow, none is: the cause is
elsewhere, and taking weight from all of them would move nothing (fail open).
"""

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

import msgspec

FULL_WEIGHT, SLOW_WEIGHT = 100, 10
WITNESSES = 2
FALL_ROUNDS, RISE_ROUNDS = 3, 8
"""Rounds in a row until a verdict is taken, and taken back: quick to protect users, slow to believe in a recovery."""
FRESH_S = 3.0
"""An observation older than this is no longer a witness."""
SLOW_FACTOR = 3.0
"""A slow node takes this many times as long as the median of its region, seen from the same place, ..."""
SLOW_MARGIN_MS = 50.0
"""... and at least this much longer: below it nobody notices, and a busy machine is that slow now and then."""


class NodeSeen(msgspec.Struct, frozen=True):
    """One node from one vantage point."""

    ready: bool
    latency_ms: float | None = None
    """Median of the last probes; None where the vantage point does not measure it."""


class Observation(msgspec.Struct, frozen=True):
    """Every node from one vantage point."""

    vantage: str
    at: float
    """Wall-clock seconds."""
    nodes: dict[str, NodeSeen]


class Verdict(msgspec.Struct, frozen=True):
    """What a node is worth."""

    weight: int = FULL_WEIGHT
    is_alive: bool = True
    slow_rounds: int = 0
    """Rounds in a row that disagreed with `weight`."""
    alive_rounds: int = 0
    """Rounds in a row that disagreed with `is_alive`."""


def judge(
    before: Mapping[str, Verdict], observations: Iterable[Observation], *, nodes: Iterable[str], now: float
) -> dict[str, Verdict]:
    """
    Return the verdict on each of `nodes` after one more round.

    Args:
        before: The last verdicts; a node that is not among them is trusted.
        observations: The latest of each vantage point.
        nodes: `region/name` of every node of the fleet.
        now: Wall-clock seconds.
    """
    fresh = [o for o in observations if now - o.at <= FRESH_S]
    nodes = list(nodes)
    slow = {node for node in nodes if sum(_looks_slow(node, o) for o in fresh) >= WITNESSES}
    for region in {_region(node) for node in nodes}:
        members = {node for node in nodes if _region(node) == region}
        if 2 * len(slow & members) > len(members):
            slow -= members
    dead = {node for node in nodes if _is_dead([o.nodes[node].ready for o in fresh if node in o.nodes])}
    return {node: _next(before.get(node, Verdict()), is_slow=node in slow, is_dead=node in dead) for node in nodes}


def _next(verdict: Verdict, *, is_slow: bool, is_dead: bool) -> Verdict:
    slow_rounds = verdict.slow_rounds + 1 if is_slow is (verdict.weight == FULL_WEIGHT) else 0
    alive_rounds = verdict.alive_rounds + 1 if is_dead is verdict.is_alive else 0
    changes: dict[str, Any] = {"slow_rounds": slow_rounds, "alive_rounds": alive_rounds}
    if slow_rounds >= (FALL_ROUNDS if is_slow else RISE_ROUNDS):
        changes |= {"weight": SLOW_WEIGHT if is_slow else FULL_WEIGHT, "slow_rounds": 0}
    if alive_rounds >= FALL_ROUNDS:
        changes |= {"is_alive": not is_dead, "alive_rounds": 0}
    return msgspec.structs.replace(verdict, **changes)


def _is_dead(ready: list[bool]) -> bool:
    return ready.count(False) >= max(WITNESSES, ready.count(True) + 1)


def _looks_slow(node: str, observation: Observation) -> bool:
    seen = observation.nodes.get(node)
    if seen is None or not seen.ready or seen.latency_ms is None:
        return False
    peers = [
        other.latency_ms
        for name, other in observation.nodes.items()
        if name != node and _region(name) == _region(node) and other.ready and other.latency_ms is not None
    ]
    if not peers:
        return False
    usual = median(peers)
    return seen.latency_ms > max(SLOW_FACTOR * usual, usual + SLOW_MARGIN_MS)


def _region(node: str) -> str:
    return node.partition("/")[0]
