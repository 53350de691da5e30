"""`addrmesh fleet`: compare what should be with what is, change it, and explain it."""

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from addrmesh.cli.document import print_document
from addrmesh.cli.exits import ExitCode
from addrmesh.cli.stores import author, fleet_spec, open_store
from addrmesh.errors import ConfigError, Refused

if TYPE_CHECKING:
    from addrmesh.fleet.plan import Plan
    from addrmesh.topology.documents import Releases
    from addrmesh.topology.routing import Traffic

app = typer.Typer(help="Compare what should be with what is, change it, explain it.", no_args_is_help=True)

_Spec = Annotated[Path | None, typer.Option("--spec", help="The fleet spec; by default the one in use.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.callback()
def fleet() -> None:
    """
    Compare what should be with what is, change it, explain it.

    Example: addrmesh fleet plan fleet.yaml
    """


@app.command()
def plan(
    spec: Annotated[Path, typer.Argument(metavar="FLEET.YAML", help="The wanted spec.")],
    as_json: _Json = False,
) -> None:
    """
    Show what a spec would change, and stop; the exit code is 5 when it would change something, 3 when it is unsafe.

    Example: addrmesh fleet plan fleet.yaml
    """
    made = asyncio.run(_plan(spec))
    if as_json:
        print_document(**_as_document(made))
    else:
        sys.stdout.write(_as_text(made))
    if made.refusals:
        raise typer.Exit(ExitCode.REFUSED)
    if made.changes:
        raise typer.Exit(ExitCode.DIFFERENT)


@app.command()
def apply(
    spec: Annotated[Path, typer.Argument(metavar="FLEET.YAML", help="The wanted spec.")],
    plan_digest: Annotated[str, typer.Option(help="Of the plan that was reviewed; anything else is refused.")],
    force: Annotated[list[str], typer.Option(help="Name of a refusal to overrule; repeat it for several.")] = [],  # noqa: B006
    reason: Annotated[str, typer.Option(help="Why; it goes into the history and the journal.")] = "not given",
) -> None:
    """
    Do what was reviewed: supervisors, edges and processes follow within seconds.

    Example: addrmesh fleet apply fleet.yaml --plan-digest sha256:0123456789abcdef --reason "third node in eu"
    """
    if force and reason == "not given":
        raise ConfigError("--force needs --reason: the journal should say why a refusal was overruled")
    asyncio.run(_apply(spec, plan_digest, frozenset(force), reason))


@app.command()
def status(as_json: _Json = False) -> None:
    """
    Show what `addrmesh up` runs here, as `addrmesh status` does.

    Example: addrmesh fleet status
    """
    from addrmesh.cli import up

    up.status(as_json)


@app.command()
def explain(
    client: Annotated[str, typer.Argument(metavar="ADDRESS", help="IP address of a client.")],
    spec: _Spec = None,
    as_json: _Json = False,
) -> None:
    """
    Say why a client goes where it goes: the region DNS names, then the order in which its edge tries the nodes.

    Example: addrmesh fleet explain 10.2.0.7
    """
    from dataclasses import asdict

    from addrmesh.fleet.local import StateDirectory
    from addrmesh.fleet.supervisor import last_verdicts
    from addrmesh.topology.routing import explain as explain_route

    fleet = fleet_spec(spec)
    traffic, _ = asyncio.run(_decisions())
    explained = explain_route(fleet, client, traffic, last_verdicts(fleet, StateDirectory.of(os.environ)))
    if as_json:
        print_document(**asdict(explained))
        return
    lines = [f"{client} belongs to {explained.network or 'no client network'}", "", "DNS, in this order:"]
    lines += [f"  {i}. {choice.region}: {choice.reason}" for i, choice in enumerate(explained.regions, 1)]
    lines += ["", f"the edge of {explained.regions[0].region}, in this order:"]
    lines += [f"  {i}. {choice.region}: {choice.reason}" for i, choice in enumerate(explained.groups, 1)]
    typer.echo("\n".join(lines))


@app.command()
def render(
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write to.")],
    region: Annotated[list[str], typer.Option(help="A region; repeat it for several.")] = [],  # noqa: B006
    dns: Annotated[bool, typer.Option("--dns", help="The name server's files, for PowerDNS.")] = False,
    spec: _Spec = None,
) -> None:
    """
    Write every file that a region's processes, or the name servers, read, for where something else starts them.

    Example: addrmesh fleet render --region eu -o /etc/addrmesh --spec fleet.yaml
    """
    from addrmesh.fleet.launch import write_dns_files, write_files
    from addrmesh.fleet.layout import FleetDirectory

    if not region and not dns:
        raise ConfigError("nothing to write: name a --region, or --dns")
    fleet, directory = fleet_spec(spec), FleetDirectory(output.absolute())
    written = [write_files(fleet, fleet.region(name), directory).path for name in region]
    written += [write_dns_files(fleet, directory)] if dns else []
    for path in sorted(p for place in written for p in place.rglob("*") if p.is_file()):
        typer.echo(str(path))


@app.command()
def doctor(spec: _Spec = None, as_json: _Json = False) -> None:
    """
    Measure every hop, compare releases, configuration and clocks, and say what to do; exit code 5 if anything is odd.

    Example: addrmesh fleet doctor
    """
    from addrmesh.fleet import doctor as diagnose

    report = asyncio.run(diagnose.examine(fleet_spec(spec)))
    if as_json:
        print_document(hops=[hop.as_dict() for hop in report.hops], findings=[f.as_dict() for f in report.findings])
    else:
        sys.stdout.write(diagnose.as_text(report))
    if report.findings:
        raise typer.Exit(ExitCode.DIFFERENT)


@app.command()
def journal(
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many entries.")] = 20,
    as_json: _Json = False,
) -> None:
    """
    Show what was done, by whom and why, newest first.

    Example: addrmesh fleet journal -n 5
    """
    from msgspec import to_builtins

    entries = asyncio.run(_journal(count))
    if as_json:
        print_document(entries=to_builtins(entries))
        return
    for entry in entries:
        typer.echo(f"{entry.at}  {entry.who}: {entry.what} ({entry.why})")


async def _journal(count: int) -> Any:
    from addrmesh.fleet.journal import last

    store = await open_store(None)
    try:
        return await last(store, count)
    finally:
        await store.close()


async def _decisions() -> "tuple[Traffic, Releases]":
    """Return what operators decided; nothing, where no store can be asked."""
    from addrmesh.store.documents import Documents
    from addrmesh.store.store import StoreUnavailable
    from addrmesh.store.validators import VALIDATORS
    from addrmesh.topology.documents import RELEASE, TRAFFIC, Releases
    from addrmesh.topology.documents import releases as read_releases
    from addrmesh.topology.routing import Traffic

    try:
        store = await open_store(None)
    except (StoreUnavailable, ConfigError):
        return Traffic(), Releases()
    try:
        documents = Documents(store, VALIDATORS)
        traffic, release = await documents.get(TRAFFIC), await documents.get(RELEASE)
    finally:
        await store.close()
    return (
        Traffic.from_dict(traffic.content) if traffic else Traffic(),
        read_releases(release.content) if release else Releases(),
    )


async def _plan(path: Path) -> "Plan":
    from addrmesh.fleet.plan import make_plan
    from addrmesh.topology.spec import read

    wanted = read(path)
    try:
        current = fleet_spec()
    except ConfigError:
        current = None
    traffic, releases = await _decisions()
    return make_plan(current, wanted, traffic, releases.by_region)


async def _apply(path: Path, digest: str, forced: frozenset[str], reason: str) -> None:
    from addrmesh.fleet import journal
    from addrmesh.store.documents import Documents
    from addrmesh.store.validators import VALIDATORS
    from addrmesh.topology.documents import FLEET
    from addrmesh.topology.spec import read

    made = await _plan(path)
    if made.digest != digest:
        raise Refused(f"the plan is now {made.digest}, reviewed was {digest}; see `addrmesh fleet plan {path}` again")
    made.raise_if_unsafe(forced)
    if not made.changes:
        typer.echo("nothing to change", err=True)
        return
    content = read(path).model_dump(mode="json", exclude_none=True, exclude={"secret_file", "tls"})
    store = await open_store(None)
    try:
        documents = Documents(store, VALIDATORS)
        current = await documents.get(FLEET)
        written = await documents.put(
            FLEET, content, author=author(), reason=reason, expect=current.revision if current else None
        )
        what = f"apply {digest} ({len(made.changes)} changes)"
        inputs = {"revision": written.revision, "forced": " ".join(sorted(forced))}
        await journal.record(store, who=author(), what=what, why=reason, inputs=inputs)
    finally:
        await store.close()
    typer.echo(f"applied {len(made.changes)} changes (revision {written.revision})", err=True)


def _as_text(made: "Plan") -> str:
    lines = [str(change) for change in made.changes] or ["nothing to change"]
    lines += ["", *(f"warning: {warning}" for warning in made.warnings)] if made.warnings else []
    lines += ["", *(f"refused: {refusal.name}: {refusal.detail}" for refusal in made.refusals)] if made.refusals else []
    return "\n".join([*lines, "", f"plan digest {made.digest}", ""])


def _as_document(made: "Plan") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "digest": made.digest,
        "changes": [asdict(change) for change in made.changes],
        "warnings": [asdict(warning) for warning in made.warnings],
        "refusals": [asdict(refusal) for refusal in made.refusals],
    }
