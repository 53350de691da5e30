"""
What would change if a spec were applied: data, made without touching anything, refused by name when unsafe.

A plan's digest covers the spec in use, the wanted one and the operators' decisions, so `apply --plan-digest` does
exactly what was reviewed or nothing.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from addrmesh.errors import ConfigError, Refused
from addrmesh.topology.figures import Finding, Warning, derive, lint  # noqa: A004 - the operator's word for it
from addrmesh.topology.routing import NoRegionLeft, Traffic, capacity_findings, validate
from addrmesh.topology.spec import FleetSpec, dump


class UnsafePlan(Refused):
    """Would leave the fleet unable to keep its promises; nothing was touched."""


@dataclass(frozen=True)
class Change:
    """One difference; a removed or added thing has nothing after or before."""

    path: str
    kind: Literal["add", "remove", "change"]
    before: Any = None
    after: Any = None

    def __str__(self) -> str:
        match self.kind:
            case "add":
                return f"+ {self.path}: {_shown(self.after)}"
            case "remove":
                return f"- {self.path}: {_shown(self.before)}"
            case "change":
                return f"~ {self.path}: {_shown(self.before)} → {_shown(self.after)}"


@dataclass(frozen=True)
class Plan:
    """What would change, what to mind, and why it is refused."""

    changes: tuple[Change, ...]
    warnings: tuple[Warning, ...]
    refusals: tuple[Finding, ...]
    digest: str

    def raise_if_unsafe(self, forced: frozenset[str] = frozenset()) -> None:
        """
        Return if nothing speaks against it but what was `forced` by name.

        Raises:
            UnsafePlan: It names every refusal and how to insist.
        """
        if left := [refusal for refusal in self.refusals if refusal.name not in forced]:
            told = "; ".join(f"{refusal.name}: {refusal.detail}" for refusal in left)
            raise UnsafePlan(f"{told}. To insist: {' '.join(f'--force {r.name}' for r in left)} --reason WHY")


def make_plan(current: FleetSpec | None, wanted: FleetSpec, traffic: Traffic, releases: Mapping[str, str]) -> Plan:
    """
    Compare.

    Args:
        current: The spec in use; None when there is none yet.
        wanted: The spec to apply.
        traffic: What operators decided; it stays.
        releases: What each region is told to serve.
    """
    before = _flat(current) if current else {}
    after = _flat(wanted)
    inputs = [dump(current) if current else "", dump(wanted), msgspec.json.encode(traffic).decode(), repr(releases)]
    return Plan(
        changes=tuple(_changes(before, after)),
        warnings=tuple(lint(wanted)),
        refusals=tuple(_refusals(wanted, traffic, releases)),
        digest="sha256:" + hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:16],
    )


def _refusals(wanted: FleetSpec, traffic: Traffic, releases: Mapping[str, str]) -> Iterator[Finding]:
    try:
        validate(wanted, traffic)
    except NoRegionLeft:
        pass  # `capacity_findings` says so
    except ConfigError as error:
        yield Finding("unknown-name", str(error))
    yield from capacity_findings(wanted, traffic)
    told = {region.name: releases[region.name] for region in wanted.regions if region.name in releases}
    if len(set(told.values())) > 1:
        yield Finding("mixed-releases", ", ".join(f"{region} serves {release}" for region, release in told.items()))


def _flat(spec: FleetSpec) -> dict[str, Any]:
    """Return every value of the spec by its path, lists by name, and the figures that follow from it."""
    flat: dict[str, Any] = {}

    def walk(path: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(f"{path}.{key}" if path else key, item)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for position, item in enumerate(value):
                name = item.get("name") or item.get("of") or "-".join(item.get("between", [str(position)]))
                walk(f"{path}[{name}]", {k: v for k, v in item.items() if k not in ("name", "of", "between")})
        else:
            flat[path] = value

    walk("", spec.model_dump(mode="json", exclude_none=True))
    for region in spec.regions:
        walk(f"figures[{region.name}]", msgspec.to_builtins(derive(spec, region.name)))
    return flat


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for path in sorted(before.keys() | after.keys()):
        if path not in after:
            yield Change(path, "remove", before=before[path])
        elif path not in before:
            yield Change(path, "add", after=after[path])
        elif before[path] != after[path]:
            yield Change(path, "change", before[path], after[path])


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
