"""`addrmesh drain` and `undrain`: take a node or a region out of traffic, and put it back, within a second."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from addrmesh.cli.stores import author, fleet_spec, open_store
from addrmesh.errors import ConfigError, Refused

if TYPE_CHECKING:
    from addrmesh.topology.routing import Traffic
    from addrmesh.topology.spec import FleetSpec

_Targets = Annotated[list[str], typer.Argument(metavar="TARGET...", help="A region, or a node as region/node.")]
_Reason = Annotated[str, typer.Option(help="Why; it goes into the journal.")]


def drain(
    targets: _Targets,
    reason: _Reason = "not given",
    force: Annotated[bool, typer.Option(help="Also when no region is left, or too few nodes for the peak.")] = False,
) -> None:
    """
    Take nodes or regions out of traffic; what they have accepted is finished.

    Example: addrmesh drain eu/node-1 --reason "kernel update"
    """
    if force and reason == "not given":
        raise ConfigError("--force needs --reason: the journal should say why a refusal was overruled")
    asyncio.run(_change(targets, "drain", reason, force=force))


def undrain(targets: _Targets, reason: _Reason = "not given") -> None:
    """
    Put nodes or regions back into traffic.

    Example: addrmesh undrain eu/node-1
    """
    asyncio.run(_change(targets, "undrain", reason, force=True))


async def _change(targets: list[str], verb: str, reason: str, *, force: bool) -> None:
    from addrmesh.fleet import journal
    from addrmesh.store.documents import Documents
    from addrmesh.store.validators import VALIDATORS
    from addrmesh.topology.documents import TRAFFIC
    from addrmesh.topology.routing import Traffic

    spec = fleet_spec()
    store = await open_store(None)
    try:
        documents = Documents(store, VALIDATORS)
        current = await documents.get(TRAFFIC)
        before = Traffic.from_dict(current.content) if current else Traffic()
        after = _with(before, targets, is_drained=verb == "drain")
        _check(spec, after, force=force)
        if after == before:
            typer.echo("nothing to change", err=True)
            return
        written = await documents.put(
            TRAFFIC, after.to_dict(), author=author(), reason=reason, expect=current.revision if current else None
        )
        what = f"{verb} {' '.join(targets)}"
        await journal.record(store, who=author(), what=what, why=reason, inputs={"revision": written.revision})
    finally:
        await store.close()
    typer.echo(f"{verb}ed {', '.join(targets)} (revision {written.revision})", err=True)


def _with(traffic: "Traffic", targets: list[str], *, is_drained: bool) -> "Traffic":
    from msgspec.structs import replace

    def changed(names: tuple[str, ...], wanted: list[str]) -> tuple[str, ...]:
        return tuple(sorted({*names, *wanted} if is_drained else {*names} - {*wanted}))

    return replace(
        traffic,
        drained_nodes=changed(traffic.drained_nodes, [t for t in targets if "/" in t]),
        drained_regions=changed(traffic.drained_regions, [t for t in targets if "/" not in t]),
    )


def _check(spec: "FleetSpec", traffic: "Traffic", *, force: bool) -> None:
    from addrmesh.topology.routing import NoRegionLeft, capacity_findings, validate

    try:
        validate(spec, traffic)
    except NoRegionLeft as error:
        if not force:
            raise Refused(f'no-region-left: {error}. To insist: --force --reason "…"') from error
    if not force and (findings := capacity_findings(spec, traffic)):
        told = "; ".join(f"{finding.name}: {finding.detail}" for finding in findings)
        raise Refused(f'{told}. To insist: --force --reason "…"')
