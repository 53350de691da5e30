"""`addrmesh bulk`: a file of addresses to a file of results, as fast as the model, in constant memory."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from addrmesh.address.normalize import normalize_within
from addrmesh.address.wire import ParseResult, to_wire
from addrmesh.cli import model
from addrmesh.cli.exits import ExitCode
from addrmesh.cli.records import Input, Problem, Record, problem
from addrmesh.cli.results import Output, Progress, open_output
from addrmesh.errors import AddrmeshError, ConfigError, InvalidText, RequestError, TextTooLong

if TYPE_CHECKING:
    from addrmesh.inference.engine import Engine

app = typer.Typer(help="Parse files of addresses.", no_args_is_help=True)

CHUNK_LINES = 128
"""Results are written this many at a time: enough to keep the model busy, little to repeat after a crash."""


class Parsed(msgspec.Struct, frozen=True, gc=False):
    """A line of the output whose address was parsed."""

    id: msgspec.Raw
    line: int
    status: int
    result: ParseResult


class NotParsed(msgspec.Struct, frozen=True, gc=False):
    """A line of the output whose address was not parsed, and why."""

    id: msgspec.Raw
    line: int
    status: int
    problem: Problem


@dataclass
class Summary:
    """What a run did."""

    ok: int = 0
    failed: int = 0
    skipped: int = 0
    """Lines that an earlier run had done."""
    last_line: int = 0


@app.callback()
def bulk() -> None:
    """
    Parse files of addresses.

    Example: addrmesh bulk parse orders.csv -o parsed.ndjson
    """


@app.command("parse")
def parse_file(
    source: Annotated[str, typer.Argument(metavar="IN", help="CSV with a header, or NDJSON; - is stdin.")],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="OUT", help="NDJSON file for the results; - is stdout.")
    ] = "-",
    column: Annotated[
        str | None,
        typer.Option(help="Column, or NDJSON key, with the address; needed when the header does not tell."),
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of IN, such as gb18030.", show_default="utf-8")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last complete line of OUT.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Write over OUT; with --resume, go on although it was made from something else."),
    ] = False,
    release: Annotated[
        Path | None, typer.Option(help="Directory of a release instead of the one that comes with addrmesh.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document on stdout.")] = False,
) -> None:
    """
    Parse every address of a file; a line that cannot be parsed becomes a problem in its place.

    Example: addrmesh bulk parse orders.csv -o parsed.ndjson --column 收货地址 --resume
    """
    to_stdout = output == "-"
    if to_stdout and (as_json or resume):
        raise ConfigError(f"{'--json' if as_json else '--resume'} needs a file for the results: -o OUT")
    if (
        source != "-"
        and not to_stdout
        and Path(output).exists()
        and Path(source).exists()
        and Path(source).samefile(output)
    ):
        raise ConfigError(f"{output}: is the input; choose another name for the results")
    opened = model.find_release(release)
    with closing(Input(source, column=column, encoding=encoding)) as records:
        progress = Progress(1, opened.id, records.fingerprint, column, records.encoding)
        with closing(
            Output(sys.stdout.fileno(), owned=False)
            if to_stdout
            else open_output(Path(output), progress, resume=resume, force=force)
        ) as results:
            started = time.monotonic()
            summary = Summary()
            try:
                with closing(model.load(opened)) as engine, _progress_bar(records) as show:
                    run(records.records(), results, engine, summary, show)
            except BrokenPipeError:
                raise
            except (KeyboardInterrupt, OSError, AddrmeshError) as error:
                _explain_stop(error, summary, output)
                raise typer.Exit(
                    ExitCode.INTERRUPTED if isinstance(error, KeyboardInterrupt) else ExitCode.FAILED
                ) from error
    elapsed_s = time.monotonic() - started
    _print_summary(summary, elapsed_s, opened.id, output, as_json=as_json)


def run(
    records: Iterator[Record],
    output: Output,
    engine: "Engine",
    summary: Summary,
    show: Callable[[Summary], None] = lambda _: None,
) -> None:
    """
    Answer the records in order and write each chunk when it is complete.

    Args:
        records: What `output` has answered before is passed over.
        output: Receives whole lines only.
        engine: Must be of the release that made what `output` holds.
        summary: Counts what has been written; right also when this raises.
        show: Called after each chunk.
    """
    encode = msgspec.json.Encoder().encode_lines
    limit = engine.release.manifest.limits.max_code_points
    for record in records:
        if record.line > output.done_line:
            break
        summary.skipped += 1
    else:
        return
    chunk = [record, *islice(records, CHUNK_LINES - 1)]
    while chunk:
        answers = _answer(chunk, engine, limit)
        output.write(encode(answers))
        failed = sum(type(answer) is NotParsed for answer in answers)
        summary.failed += failed
        summary.ok += len(answers) - failed
        summary.last_line = chunk[-1].line
        show(summary)
        chunk = list(islice(records, CHUNK_LINES))


def _answer(chunk: list[Record], engine: "Engine", limit: int) -> list[Parsed | NotParsed]:
    answers: list[Parsed | NotParsed | None] = []
    waiting, texts = [], []
    for at, record in enumerate(chunk):
        line, id_, address, trouble = record
        if trouble is None:
            try:
                canonical = normalize_within(address, limit)
            except RequestError as error:
                trouble = _as_problem(error)
            else:
                waiting.append((at, id_, line, address, canonical))
                texts.append(canonical.text)
                answers.append(None)
                continue
        answers.append(NotParsed(id_, line, trouble.status, trouble))
    if texts:
        for (at, id_, line, address, canonical), found in zip(waiting, engine.predict(texts), strict=True):
            answers[at] = Parsed(id_, line, 200, to_wire(address, canonical, found))
    return answers  # type: ignore[return-value] # every None has been replaced


def _as_problem(error: RequestError) -> Problem:
    match error:
        case TextTooLong():
            return problem(413, "input-too-long", "The input is longer than the limit", str(error))
        case InvalidText():
            return problem(422, "invalid-text", "The address is empty or blank", str(error))
        case _:
            raise AssertionError(f"{type(error).__name__} has no problem document; this is a bug") from error


@contextmanager
def _progress_bar(records: Input) -> Iterator[Callable[[Summary], None]]:
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = [BarColumn(), TaskProgressColumn()] if records.size_bytes else []
    bar = Progress(
        *columns,
        TextColumn("{task.fields[done]:,} addresses  {task.fields[rate]:,.0f}/s"),
        *([TimeRemainingColumn()] if records.size_bytes else []),
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
    )
    task = bar.add_task("parse", total=records.size_bytes, done=0, rate=0.0)
    started = shown = time.monotonic()

    def show(summary: Summary) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown < 0.2:
            return
        shown = now
        done = summary.ok + summary.failed
        read = records.read_bytes if records.size_bytes else None
        bar.update(task, completed=read, done=done, rate=done / (now - started), refresh=True)

    with bar:
        yield show


def _explain_stop(error: BaseException, summary: Summary, output: str) -> None:
    match error:
        case KeyboardInterrupt():
            why = "interrupted"
        case OSError():
            why = f"error: {error.strerror or error}"
        case _:
            why = f"error: {error}"
    kept = f"{summary.ok + summary.failed:,} results were written"
    how = "" if output == "-" else f" and are kept in {output}; go on with --resume"
    sys.stderr.write(f"{why}; {kept}{how}\n")


def _print_summary(summary: Summary, elapsed_s: float, release: str, output: str, *, as_json: bool) -> None:
    lines = summary.ok + summary.failed
    rate = lines / elapsed_s if elapsed_s else 0.0
    before = f", {summary.skipped:,} were done before" if summary.skipped else ""
    place = "" if output == "-" else f"; results in {output}"
    sys.stderr.write(
        f"{lines:,} addresses: {summary.ok:,} parsed, {summary.failed:,} not{before}; "
        f"{elapsed_s:.1f} s, {rate:,.0f}/s; release {release}{place}\n"
    )
    if as_json:
        from addrmesh.cli.document import print_document

        print_document(
            release=release,
            output=output,
            ok=summary.ok,
            failed=summary.failed,
            skipped=summary.skipped,
            elapsed_s=round(elapsed_s, 3),
            addresses_per_s=round(rate, 1),
        )
