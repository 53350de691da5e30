"""`addrmesh divisions`: look a division up by name or code, in force or former."""

from typing import TYPE_CHECKING, Annotated

import typer

from addrmesh.errors import RequestError

if TYPE_CHECKING:
    from addrmesh.address.divisions import Detail, Entry, Listing


class UnknownDivision(RequestError):
    """Nothing in the gazetteer has this name or code."""


def divisions(
    name_or_code: Annotated[
        str | None, typer.Argument(help="Full, short or former name, or a code of 6 or 9 digits.", show_default=False)
    ] = None,
    parent: Annotated[
        str | None, typer.Option(help="Code of what it lies in; alone: list what lies right below.", show_default=False)
    ] = None,
    at: Annotated[str | None, typer.Option(help="Only what existed on this day, as in 2020-01-31.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """
    Look up administrative divisions: what a name or code stands for, where it lies, what became of it.

    Example: addrmesh divisions 江干区
    """
    from addrmesh.address.divisions import listing

    if name_or_code is None:
        listed = listing(parent, at)
        if listed is None:
            raise _unknown(parent, "")
        _show_listing(listed, as_json=as_json)
    else:
        _show_details(_details(name_or_code, parent, at), as_json=as_json)


def _details(name_or_code: str, parent: str | None, at: str | None) -> "list[Detail]":
    from addrmesh.address import divisions as table

    table.check_date(at)
    within = None if parent is None else table.by_code(parent)
    if parent is not None and within is None:
        raise _unknown(parent, "")
    when, where = f" on {at}" if at else "", f" in {within.name}" if within else ""
    if name_or_code.isdigit():
        one = table.by_code(name_or_code, at)
        if one is None or (within and not table.is_within(one, within)):
            raise _unknown(name_or_code, where + when)
        return [table.describe(one)]
    found = table.find(name_or_code, within=within, at=at)
    if not found:
        raise _unknown(name_or_code, where + when, _alike(name_or_code))
    return [table.describe(division) for division in found]


def _alike(name: str) -> list[str]:
    """Return names above the towns that differ from `name` in one character, but not in the last: 义务市, 义乌市."""
    from addrmesh.address import gazetteer

    names = {known for level in gazetteer.LEVELS[:3] for known in gazetteer.names(level) if len(known) == len(name) > 2}
    near = (known for known in names if known[-1] == name[-1] and sum(map(str.__ne__, known, name)) == 1)
    return sorted(near)[:5]


def _unknown(asked: str | None, conditions: str, alike: list[str] | None = None) -> UnknownDivision:
    advice = f"did you mean {' or '.join(alike)}?" if alike else "`addrmesh divisions` lists the provinces"
    return UnknownDivision(f"no division{conditions} has or had the name or code {asked}; {advice}")


def _show_listing(listed: "Listing", *, as_json: bool) -> None:
    if as_json:
        from addrmesh.cli.document import print_document

        print_document(**{field: getattr(listed, field) for field in listed.__struct_fields__})
        return
    for entry in listed.divisions:
        typer.echo(_line(entry))
    if not listed.divisions:
        typer.echo("nothing lies below it", err=True)


def _show_details(details: "list[Detail]", *, as_json: bool) -> None:
    if as_json:
        from addrmesh.cli.document import print_document

        print_document(divisions=details)
        return
    for detail in details:
        typer.echo(_line(detail.division))
        typer.echo(f"    path        {' > '.join(entry.name for entry in detail.path)}")
        if detail.short_names:
            typer.echo(f"    short       {' '.join(detail.short_names)}")
        if detail.successors:
            what = "split off" if detail.division.valid_to is None else "successors"
            typer.echo(f"    {what:10}  {'  '.join(_named(entry) for entry in detail.successors)}")
        others = [entry for entry in detail.periods if entry != detail.division]
        if others:
            typer.echo(f"    same code   {'  '.join(f'{e.name} {_validity(e)}' for e in others)}")


def _line(entry: "Entry") -> str:
    return f"{entry.code or '-':9}  {entry.level:8}  {_validity(entry):11}  {entry.name}".rstrip()


def _named(entry: "Entry") -> str:
    return f"{entry.code} {entry.name}" if entry.code else entry.name


def _validity(entry: "Entry") -> str:
    if entry.valid_from is None and entry.valid_to is None:
        return "in force"
    return f"{entry.valid_from or ''}-{entry.valid_to or ''}"
