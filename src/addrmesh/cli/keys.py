"""`addrmesh keys`: who may use the API, for what, and how often."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from addrmesh.cli import stores
from addrmesh.errors import ConfigError

if TYPE_CHECKING:
    from addrmesh.node.access import ApiKey
    from addrmesh.store.records import Version
    from addrmesh.store.store import Store

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)

Region = Annotated[
    str | None, typer.Option(help="Region whose store is asked.", show_default="the first that can be written")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
KeyId = Annotated[str, typer.Argument(help="The key's id: the part between the underscores.")]


@app.callback()
def keys() -> None:
    """
    Make, list and revoke API keys.

    Example: addrmesh keys list
    """


@app.command()
def create(
    label: Annotated[str, typer.Option(help="Who it is for.")],
    scope: Annotated[list[str], typer.Option(help="What it may do; repeat it, or `*` for everything.")],
    rps: Annotated[float, typer.Option(help="Requests a second, over the whole fleet.")],
    burst: Annotated[
        float | None, typer.Option(help="Requests at once after a pause.", show_default="two seconds' worth")
    ] = None,
    days: Annotated[int | None, typer.Option(help="Days after which it expires.", min=1, show_default="never")] = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """
    Make a key and print it, this once: only a hash of it is kept.

    Example: addrmesh keys create --label checkout --scope parse --scope validate --rps 50
    """
    from addrmesh.cli.document import print_document
    from addrmesh.fleet import journal
    from addrmesh.node.access import PREFIX, SCOPES, ApiKey, encode, new_secret
    from addrmesh.store.store import ABSENT

    if unknown := sorted(set(scope) - SCOPES - {"*"}):
        raise ConfigError(f"--scope: found {', '.join(unknown)}, allowed: {', '.join(sorted(SCOPES))} or *")
    if not 0 < rps < float("inf"):
        raise ConfigError(f"--rps: found {rps:g}, allowed: a number above 0")
    if burst is not None and not 1 <= burst < float("inf"):
        raise ConfigError(f"--burst: found {burst:g}, allowed: a number, 1 or more")
    key_id, text, hashed = new_secret()
    now, who = datetime.now(UTC).replace(microsecond=0), stores.author()
    expires = now + timedelta(days=days) if days else None
    key = ApiKey(hashed, label, tuple(dict.fromkeys(scope)), rps, now, who, burst, expires)

    async def write(store: "Store") -> None:
        await store.put(PREFIX + key_id, encode(key), expect=ABSENT)
        await journal.record(store, who=who, what="key.created", why=label, inputs={"key": key_id})

    stores.ask(region, write)
    if as_json:
        print_document(secret=text, key=_shown(key_id, key))
    else:
        typer.echo(text)
    typer.echo(f"key {key_id} is made; it cannot be shown again. Nodes take it within a second.", err=True)


@app.command("list")
def list_(region: Region = None, as_json: AsJson = False) -> None:
    """
    List every key with its label, scopes, rate and state; never a secret.

    Example: addrmesh keys list --json
    """
    import msgspec

    from addrmesh.cli.document import print_document
    from addrmesh.node.access import PREFIX, decode

    found = []
    for record in stores.ask(region, lambda store: store.scan(PREFIX)):
        try:
            found.append(_shown(record.key.removeprefix(PREFIX), decode(record.value or b"")))
        except msgspec.DecodeError:
            typer.echo(f"{record.key} is no key that this version can read", err=True)
    if as_json:
        print_document(keys=found)
        return
    rows = [("id", "state", "rps", "scopes", "label")] + [
        (key["id"], key["state"], f"{key['rps']:g}", ",".join(key["scopes"]), key["label"]) for key in found
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    for row in rows:
        typer.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command()
def show(key_id: KeyId, region: Region = None, as_json: AsJson = False) -> None:
    """
    Print everything known of one key; never the secret.

    Example: addrmesh keys show abcd2345
    """
    from addrmesh.cli.document import print_document

    async def read(store: "Store") -> "ApiKey":
        return (await _find(store, key_id))[0]

    found = _shown(key_id, stores.ask(region, read))
    if as_json:
        print_document(key=found)
        return
    for name, value in found.items():
        typer.echo(f"{name:10}  {', '.join(value) if isinstance(value, tuple) else '-' if value is None else value}")


@app.command()
def revoke(
    key_id: KeyId,
    reason: Annotated[str, typer.Option(help="Why; it is kept in the journal.")],
    region: Region = None,
) -> None:
    """
    Withdraw a key for good. Nodes that see the store refuse it within a second, the others when they see it again.

    Example: addrmesh keys revoke abcd2345 --reason "found in a public repository"
    """
    import msgspec

    from addrmesh.fleet import journal
    from addrmesh.node.access import PREFIX, encode

    async def write(store: "Store") -> None:
        key, version = await _find(store, key_id)
        await store.put(PREFIX + key_id, encode(msgspec.structs.replace(key, revoked=True)), expect=version)
        await journal.record(store, who=stores.author(), what="key.revoked", why=reason, inputs={"key": key_id})

    stores.ask(region, write)
    typer.echo(f"key {key_id} is revoked", err=True)


async def _find(store: "Store", key_id: str) -> tuple["ApiKey", "Version"]:
    from addrmesh.node.access import PREFIX, decode

    record = await store.get(PREFIX + key_id)
    if record is None or record.value is None:
        raise ConfigError(f"there is no key {key_id!r}; `addrmesh keys list` shows the ids")
    return decode(record.value), record.version


def _shown(key_id: str, key: "ApiKey") -> dict[str, Any]:
    return {
        "id": key_id,
        "label": key.label,
        "state": key.state(datetime.now(UTC)),
        "scopes": key.scopes,
        "rps": key.rps,
        "burst": key.burst,
        "created": key.created,
        "created_by": key.created_by,
        "expires": key.expires,
    }
