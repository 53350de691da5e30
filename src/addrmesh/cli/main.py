"""
`addrmesh <noun> <verb>`: puts the commands together and turns errors into one clear line and an exit code.

stdout is the result, stderr is the story. A stack trace is shown only with `ADDRMESH_DEBUG=1`.
"""

import os
import sys
from typing import Annotated

import typer

from addrmesh import __version__
from addrmesh.cli import (
    bulk,
    certs,
    config,
    corrections,
    divisions,
    evaluate,
    fleet,
    keys,
    match,
    node,
    parse,
    release,
    rerank,
    store,
    supervisor,
    traffic,
    up,
    validate,
)
from addrmesh.cli.exits import ExitCode, exit_code
from addrmesh.errors import AddrmeshError

app = typer.Typer(
    name="addrmesh",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("parse")(parse.parse)
app.command("validate")(validate.validate)
app.command("match")(match.match)
app.command("rerank")(rerank.rerank)
app.add_typer(bulk.app, name="bulk")
app.command("divisions")(divisions.divisions)
app.command("up")(up.up)
app.command("status")(up.status)
app.command("down")(up.down)
app.command("drain")(traffic.drain)
app.command("undrain")(traffic.undrain)
app.add_typer(fleet.app, name="fleet")
app.add_typer(node.app, name="node")
app.add_typer(supervisor.app, name="supervisor")
app.add_typer(release.app, name="release")
app.command("evaluate")(evaluate.evaluate)
app.add_typer(config.app, name="config")
app.add_typer(store.app, name="store")
app.add_typer(corrections.app, name="corrections")
app.add_typer(keys.app, name="keys")
app.add_typer(certs.app, name="certs")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"addrmesh {__version__}")
        raise typer.Exit


@app.callback()
def addrmesh(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """
    Parse, validate and compare Chinese addresses, alone, in files or as a service; offline.

    Example: addrmesh parse 浙江省杭州市余杭区文一西路969号
    """


def main() -> None:
    """Run the command line; the entry point of the package."""
    try:
        app()
    except AddrmeshError as error:
        if _debugging():
            raise
        sys.stderr.write("".join(f"error: {line}\n" for line in str(error).splitlines()))
        sys.exit(exit_code(error))
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.FAILED)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:  # the outermost border: nobody is above who could handle it
        if _debugging():
            raise
        sys.stderr.write(f"error: {type(error).__name__}: {error}; ADDRMESH_DEBUG=1 shows where\n")
        sys.exit(ExitCode.FAILED)


def _debugging() -> bool:
    return os.environ.get("ADDRMESH_DEBUG") == "1"
